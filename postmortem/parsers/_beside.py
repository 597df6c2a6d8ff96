"""Reads a log that holds reports of a GPU tool among other things: the reports as telemetry, the rest as any other log.

Jobs often call nvidia-smi before they start, and everything they print afterwards lands in the same file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from postmortem.frame import Block
from postmortem.model import Reading
from postmortem.parsers import text
from postmortem.parsers._telemetry import lines, stamp
from postmortem.parsers.base import Request, SourceFile

# Bytes of a log with other lines in which reports are looked for: a call of the tool before each epoch is found, a log of gigabytes is not
# read twice. A file that holds nothing but reports is read to its end.
MOST = 16 << 20
LONGEST = 4000  # characters; a longer line alone is damage and no log
# What may stand between two reports and is nothing of its own: `watch`, an echoed command, a rule
NOTHING = re.compile(r"^(?:Every [\d.,]+s: |\+{1,3} |[-=+*_#~\s]*$|[\w@.:~/-]*[$#] )")


def read(source: SourceFile, request: Request, feed: Callable[[int, str], bool], finish: Callable[[], Reading]) -> Reading:
    """Offer every line to `feed` (true: it is the tool's own), take the tool's reading from `finish`, and add what other lines hold."""
    own: list[int] = []
    others = seen = 0
    cut = False
    for line, row in lines(source):
        seen += len(row) + 1
        cut = bool(others) and seen > MOST
        if cut:
            break
        if feed(line, row):
            own.append(line)
        elif len(row) <= LONGEST and not NOTHING.match(row) and stamp(row) is None:
            others += 1
    reading = finish()
    if cut:
        reading.notes.append(f"larger than {MOST >> 20} MB: reports of the GPUs were looked for in its beginning only")
    return _added(reading, text.read(source, request), own) if others else reading


def _added(reading: Reading, log: Reading, own: Sequence[int]) -> Reading:
    """The reading of the tool with what the log says on lines that are not the tool's; the tool's alone where there is nothing else."""
    taken = np.asarray(own, np.int64)
    lines_of = set(own)
    log.blocks = [kept for block in log.blocks if (kept := _outside(block, taken)) is not None]
    log.events = [event for event in log.events if event.line not in lines_of]
    log.settings = [setting for setting in log.settings if setting.origin.line not in lines_of]
    if not (log.blocks or log.events):
        return reading
    events = sorted([*log.events, *reading.events], key=lambda event: event.line or 0)
    blocks = [*log.blocks, *reading.blocks]
    notes = [*log.notes, *reading.notes]
    if reading.rows:
        notes.append(f"{reading.rows:,} numbers are those of {reading.format}, which is called in this log")
    return Reading(reading.file, log.format, blocks, events, log.settings, log.rejected + reading.rejected, notes)


def _outside(block: Block, taken: np.ndarray) -> Block | None:
    """The points of a block that stand on other lines; None where there are none."""
    if block.lines is None or not len(taken):
        return block
    keep = ~np.isin(block.lines, taken)
    if keep.all():
        return block
    if not keep.any():
        return None
    columns = {name: getattr(block, name) for name in ("values", "lines", "steps", "epochs", "times", "segments")}
    return replace(block, **{name: column[keep] for name, column in columns.items() if column is not None})
