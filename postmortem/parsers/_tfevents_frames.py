"""Cuts a TFRecord file into records: 4 MB at a time, past any damage, without trusting a length that it has not checked.

A record is: length (uint64), masked CRC-32C of the length, the data, masked CRC-32C of the data. Where the reader of the data says
that a large record need not be read, the file is moved on behind it, and what follows comes into the window in its place: a file
of a few numbers between many pictures costs what the numbers cost.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from postmortem.parsers._crc32c import crc32c, mask
from postmortem.parsers._tfevents_chain import Chain, find_header
from postmortem.parsers._tfevents_window import FRAME, HEADER, Chunk, Window

CAPACITY = 4 << 20
_MOST_LOADED = 64 << 20  # a record beyond this is never read whole
_SKIPPED = 32 << 10  # bytes from which it pays to step over a record instead of reading it
_AFTER_SKIP = 16 << 10  # bytes read behind a record that was stepped over, for the next such one may be near; then twice as many


@dataclass(slots=True)
class BigRecord:
    """A record larger than the window that nobody wants to step over. `data` is None where its sum is wrong or it is far too large."""

    line: int
    data: memoryview | None


@dataclass(slots=True)
class Loss:
    """Bytes that belong to no whole record. how: "cut" (a record that the file ends in), "zeros", "garbage"."""

    offset: int
    size: int
    line: int
    how: str
    at_end: bool = False


@dataclass(slots=True)
class RecordFile:
    """The records of one file, in order. `losses` is what lies between or after whole ones.

    unwanted  is given the first bytes of the data of a large record and its length: what it is, if it need not be read, else None
    skipped   how many of each were stepped over; their length sums were checked, their data were not looked at
    """

    path: Path
    unwanted: Callable[[memoryview, int], str | None] = lambda head, length: None
    skipped: Counter[str] = field(default_factory=Counter)
    size: int = 0
    losses: list[Loss] = field(default_factory=list)
    _base: int = 0  # file offset of the window's first byte, as it would be if nothing had been stepped over since
    _lost_at: int | None = None  # file offset where the chain of records broke and has not been found again
    _lost_how: str = "garbage"

    def chunks(self, capacity: int = CAPACITY) -> Iterator[Chunk | BigRecord]:
        """Read the file once. What comes is valid until the next one is asked for. Raises OSError where the file cannot be read."""
        with open(self.path, "rb", buffering=0) as file:
            self.size = os.fstat(file.fileno()).st_size
            window = Window(min(capacity, max(self.size, 1)))
            chain, position, end, most = Chain(window), 0, 0, window.capacity
            while got := file.readinto(window.bytes[end : min(end + most, window.capacity)]):
                end += got
                position = self._scan(chain, position, end)
                if self._step_over(file, chain, position, end):
                    end, most = position, _AFTER_SKIP
                    continue
                most = min(2 * most, window.capacity)
                if end < window.capacity:
                    continue
                yield chain.take()
                if (big := self._big(file, chain, position, end)) is not None:
                    yield big
                    position = end = 0
                    continue
                window.data[: end - position] = window.data[position:end]
                self._base += position
                position, end = 0, end - position
            yield chain.take()
            if end > position and self._lost_at is None:
                self._lost_at, self._lost_how = self._base + position, "cut"
            if self._lost_at is not None:
                self._found(self._base + end, chain.line, at_end=True)

    def _scan(self, chain: Chain, position: int, end: int) -> int:
        """Collect the whole records of the window from a position on; returns the offset of the first byte that is still needed."""
        window, left = chain.window, self.size - self._base
        while True:
            if self._lost_at is not None:
                header = find_header(window, position, end, left)
                stop = max(position, end - HEADER.size + 1) if header is None else header
                if self._lost_how == "zeros" and window.u8[position:stop].any():
                    self._lost_how = "garbage"
                if header is None:
                    return stop
                self._found(self._base + header, chain.line)
                position = header
            position, broken = chain.follow(position, end, left)
            if not broken:
                return position
            self._lost_at, self._lost_how = self._base + position, broken
            position += 1  # the header here is no good: look behind its first byte

    def _found(self, offset: int, line: int, at_end: bool = False) -> None:
        """The chain goes on at a file offset: note what was lost before it."""
        start = self._lost_at if self._lost_at is not None else offset
        how = "garbage" if self._lost_how == "cut" and not at_end else self._lost_how
        self.losses.append(Loss(start, offset - start, line, how, at_end))
        self._lost_at, self._lost_how = None, "garbage"

    def _length(self, window: Window, position: int, end: int) -> int:
        """The length of the record that the window ends in; 0 where not even its header is whole. `follow` has checked its sum."""
        return int(HEADER.unpack_from(window.data, position)[0]) if self._lost_at is None and position + HEADER.size <= end else 0

    def _step_over(self, file: BinaryIO, chain: Chain, position: int, end: int) -> bool:
        """Move the file behind the record that the window ends in, if it is large and unwanted."""
        length = self._length(chain.window, position, end)
        what = self.unwanted(chain.window.bytes[position + HEADER.size : end], length) if length >= _SKIPPED else None
        if what is None:
            return False
        self.skipped[what] += 1
        chain.line += 1
        self._base += length + FRAME
        file.seek(self._base + position)
        return True

    def _big(self, file: BinaryIO, chain: Chain, position: int, end: int) -> BigRecord | None:
        """The record that the window ends in, read for itself, if it is larger than the window."""
        length = self._length(chain.window, position, end)
        if not length or length + FRAME <= chain.window.capacity:
            return None
        start = self._base + position
        big = BigRecord(chain.line, _load(file, start + HEADER.size, length))
        chain.line += 1
        self._base = start + length + FRAME
        file.seek(self._base)
        return big


def _load(file: BinaryIO, start: int, length: int) -> memoryview | None:
    """The data of one record by its own read, None where its sum is wrong or it is far too large."""
    if length > _MOST_LOADED:
        return None
    file.seek(start)
    data = file.read(length + 4)
    if len(data) < length + 4 or mask(crc32c(memoryview(data)[:length])) != int.from_bytes(data[length:], "little"):
        return None
    return memoryview(data)[:length]
