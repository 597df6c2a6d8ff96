"""Finds the records of a window whose lengths follow the same pattern again and again: one row a repeat.

A training writes the same tags in the same order step after step, with a validation, a histogram or a picture in between now and
then. What repeats is taken out as rows of one shape, wherever it stands; whatever stood in between is left as single records.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from postmortem.parsers._tfevents_window import FRAME, HEADER, Chunk, Window

FEWEST = 64  # rows from which reading them as a table pays
_PLACES = 4  # places of a window at which a pattern is looked for
_LENGTHS = 1024  # lengths looked at for a period
_SAME_TAIL = 4  # lengths compared before the whole period is
_PATTERNS = 4  # different patterns taken out of one window


class Rows:
    """Rows of records that all have the same lengths, each row without a gap.

    starts   (n,) offsets of the first header of each row
    lines    (n,) number in the file of the first record of each row
    lengths  (period,) bytes of the data of each record of a row
    places   (period,) where these data begin, counted from the start of the row; span is the size of a row
    """

    def __init__(self, window: Window, starts: np.ndarray, lines: np.ndarray, lengths: np.ndarray) -> None:
        self.window, self.starts, self.lines, self.lengths = window, starts, lines, lengths
        ends = np.cumsum(lengths + FRAME)
        self.span, self.places = int(ends[-1]), ends - lengths - 4

    @functools.cached_property
    def _layout(self) -> tuple[bytearray | np.ndarray, int, int]:
        """The buffer in which the rows lie, offset of the first one, bytes from one to the next."""
        steps = np.diff(self.starts)
        if not len(steps) or bool((steps == steps[0]).all()):
            return self.window.data, int(self.starts[0]), int(steps[0]) if len(steps) else 0
        # one word more than a row needs, so that a look at 8 bytes never leaves it
        words = self.window.u64[self.starts[:, None] + np.arange(0, self.span + 8, 8)]
        return words, 0, words.strides[0]

    @functools.cached_property
    def octets(self) -> np.ndarray:
        """All bytes (n, span) uint8; not copied where the rows follow each other evenly."""
        buffer, first, step = self._layout
        return np.ndarray((len(self), self.span), np.uint8, buffer, first, (step, 1))

    def __len__(self) -> int:
        return len(self.starts)

    def column(self, kind: str, place: int) -> np.ndarray:
        """The numbers (n,) of a numpy type that lie at a place of every row."""
        buffer, first, step = self._layout
        return np.ndarray((len(self),), kind, buffer, first + place, (step,))

    def only(self, which: np.ndarray) -> Rows:
        """Some of the rows, by a mask. At least one."""
        return Rows(self.window, self.starts[which], self.lines[which], self.lengths)

    def records(self) -> Chunk:
        """The records, each on its own."""
        starts, lines = self.starts[:, None] + self.places, self.lines[:, None] + np.arange(len(self.lengths))
        return Chunk(self.window, starts.ravel(), np.tile(self.lengths, len(self)), lines.ravel())


def repeated(chunk: Chunk) -> tuple[list[Rows], Chunk]:
    """What repeats in a chunk, and the records that are left."""
    found: list[Rows] = []
    for _ in range(_PATTERNS):
        candidates = ((pattern, _matches(chunk, pattern)) for pattern in _patterns(chunk.lengths))
        pattern, firsts = next((one for one in candidates if len(one[1]) >= FEWEST), (None, None))
        if pattern is None or firsts is None:
            break
        found.append(Rows(chunk.window, chunk.starts[firsts] - HEADER.size, chunk.lines[firsts], pattern))
        left = np.ones(chunk.count, bool)
        left[firsts[:, None] + np.arange(len(pattern))] = False
        chunk = chunk.only(left)
    return found, chunk


def period(lengths: list[int]) -> int:
    """The shortest period with which the last lengths repeat, 0 where they do not."""
    count = len(lengths)
    tail = lengths[-_SAME_TAIL:]
    for length in range(1, (count - _SAME_TAIL) // 2 + 1):
        if lengths[count - _SAME_TAIL - length : count - length] == tail and lengths[-length:] == lengths[-2 * length : -length]:
            return length
    return 0


def _patterns(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Lengths that follow each other twice, as they are found at several places."""
    if len(lengths) >= FEWEST:
        for end in np.linspace(0, len(lengths), _PLACES + 1).astype(int)[1:].tolist():
            if found := period(lengths[max(0, end - _LENGTHS) : end].tolist()):
                yield lengths[end - found : end]


def _matches(chunk: Chunk, pattern: np.ndarray) -> np.ndarray:
    """The indices of records at which a row of this pattern begins, none within another row."""
    last = len(pattern) - 1
    firsts = np.flatnonzero(chunk.lengths[: max(chunk.count - last, 0)] == pattern[0])
    for place, length in enumerate(pattern.tolist()):  # few are left after the first comparisons
        firsts = firsts[chunk.lengths.take(firsts + place) == length]
    gapless = chunk.starts[firsts + last] - chunk.starts[firsts] == int(pattern[:-1].sum()) + FRAME * last
    firsts = firsts[gapless & (chunk.lines[firsts + last] - chunk.lines[firsts] == last)]
    if bool((np.diff(firsts) > last).all()):
        return firsts
    apart, free = [], 0
    for first in firsts.tolist():
        if first >= free:
            apart.append(first)
            free = first + last + 1
    return np.array(apart)
