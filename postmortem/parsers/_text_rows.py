"""Blocks of rows (`name: value`, one a line) whose own row with a counter says where all of them stand, even those above it.

A block is a run of indented lines, or what stands between a rule (`-----`) and the next rule or empty line. RLlib prints
`timesteps_total` near the end of its results, garage and rlkit print `Epoch` in their last row. A counter that a block says twice
does not speak for all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

LONGEST_BLOCK = 200  # lines; a longer run of rows is no block that was printed at once
_EDGE = re.compile(rb"(?:[-=+*#_~.>\s]|\xe2[\x80-\x9f][\x80-\xbf])*")  # an empty line or a rule
_INDENTED = (b"  ", b"\t", b" \t")
_ROW = re.compile(r"\s*+[^\W\d][\w./#%()-]*+(?: ++[\w./#%()-]++)*?(?:\s*+[:=]\s*+|\s{2,}+)\d[\d,]*+\s*+")  # a blank is tried once only


def is_row(message: str) -> bool:
    """Is the line a name and a whole number, and nothing else?"""
    return _ROW.fullmatch(message) is not None


def block_ids(segments: Iterable[bytes]) -> np.ndarray:
    """The number of the block that each segment stands in, -1: none."""
    ids, block, inside, ruled = [], -1, False, False
    for text in segments:
        if edge := _EDGE.fullmatch(text) is not None:
            ruled = bool(text.strip())
        now = not edge and (ruled or text.startswith(_INDENTED))
        block += now and not inside
        inside = now
        ids.append(block if now else -1)
    found = np.array(ids, np.int64)
    sizes = np.bincount(found[found >= 0], minlength=1)
    return np.where((found >= 0) & (sizes[found] <= LONGEST_BLOCK), found, -1)


def spoken(blocks: np.ndarray, orders: np.ndarray, values: np.ndarray) -> dict[int, float]:
    """What each block says, by its number: the value of its row with the best counter (lowest order), where there is one such row."""
    found: dict[int, tuple[int, float, int]] = {}  # order, value, rows of that order
    for block, order, value in zip(blocks.tolist(), orders.tolist(), values.tolist(), strict=True):
        best = found.get(block)
        if best is None or order < best[0]:
            found[block] = (order, value, 1)
        elif order == best[0]:
            found[block] = (order, value, best[2] + 1)
    return {block: value for block, (_, value, count) in found.items() if count == 1 and block >= 0}
