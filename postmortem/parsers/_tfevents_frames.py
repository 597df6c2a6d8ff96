"""Cuts a TFRecord file into records: 4 MB at a time, past any damage, without trusting a length that it has not checked.

A record is: length (uint64), masked CRC-32C of the length, the data, masked CRC-32C of the data. A training writes the same tags
step after step, so the lengths of records repeat; once a period is seen, the headers of thousands of records are predicted and
compared at once. A prediction that does not hold costs nothing but the next few steps, which are taken one by one again.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from postmortem.parsers._crc32c import crc32c, mask, masked_length, table, unmask

HEADER = struct.Struct("<QI")
FRAME = 16  # bytes of a record besides its data
CAPACITY = 4 << 20
_SLACK = 64  # bytes behind the buffer, so that a look at 8 bytes never leaves it
_STEPS, _MOST_STEPS = 48, 4096  # records taken one by one before a period is looked for
_WINDOW = 1024  # lengths looked at for a period
_PIECE, _MOST_PIECE = 1 << 12, 1 << 18  # offsets looked at together while the chain is lost
_MOST_LOADED = 64 << 20  # a record beyond this is never read whole
_SAME_TAIL = 4  # lengths compared before the whole period is


class Window:
    """A stretch of the file in memory, seen at every byte offset as numbers of several widths."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray(capacity + _SLACK)
        self.bytes = memoryview(self.data)
        self.u8 = np.frombuffer(self.data, np.uint8)
        self.u16, self.u32, self.u64 = (self._view(kind) for kind in ("<u2", "<u4", "<u8"))
        self.f32, self.f64 = self._view("<f4"), self._view("<f8")

    def _view(self, kind: str) -> np.ndarray:
        return np.ndarray((self.capacity + _SLACK - 8,), kind, buffer=self.data, strides=(1,))


@dataclass(slots=True)
class Chunk:
    """Whole records in the window: offsets of their data and lengths (n,) int64; `line` is the number of the first one."""

    window: Window
    starts: np.ndarray
    lengths: np.ndarray
    line: int


@dataclass(slots=True)
class BigRecord:
    """A record larger than the window: its first bytes, and how to get all of it. Unless loaded it is stepped over unread."""

    head: memoryview
    length: int
    line: int
    load: Callable[[], memoryview | None]


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
    """The records of one file, in order. `records` counts whole ones, `losses` what lies between or after them."""

    path: Path
    records: int = 0
    size: int = 0
    losses: list[Loss] = field(default_factory=list)
    _base: int = 0  # file offset of the first byte in the window
    _lost_at: int | None = None  # file offset where the chain of records broke and has not been found again
    _lost_how: str = "garbage"

    def chunks(self, capacity: int = CAPACITY) -> Iterator[Chunk | BigRecord]:
        """Read the file once. A chunk is valid until the next one is asked for. Raises OSError where the file cannot be read."""
        with open(self.path, "rb", buffering=0) as file:
            self.size = os.fstat(file.fileno()).st_size
            window = Window(min(capacity, max(self.size, 1)))
            kept = 0
            while got := file.readinto(window.bytes[kept : window.capacity]):
                end = kept + got
                position = yield from self._window(window, end)
                if (big := self._big(file, window, position, end)) is not None:
                    yield big
                    self._base += position + big.length + FRAME
                    file.seek(self._base)
                    kept = 0
                    continue
                self._base += position
                kept = end - position
                window.data[:kept] = window.data[position:end]
            if kept and self._lost_at is None:
                self._lost_at, self._lost_how = self._base, "cut"
            if self._lost_at is not None:
                self._found(self._base + kept, at_end=True)

    def _window(self, window: Window, end: int) -> Generator[Chunk, None, int]:
        """The whole records of the window; returns the offset of the first byte that is still needed."""
        position = 0
        while True:
            if self._lost_at is not None:
                header = _find_header(window, position, end, self.size - self._base)
                stop = max(position, end - HEADER.size + 1) if header is None else header
                if self._lost_how == "zeros" and window.u8[position:stop].any():
                    self._lost_how = "garbage"
                if header is None:
                    return stop
                self._found(self._base + header)
                position = header
            offsets, position, broken = _follow(window, position, end, self.size - self._base)
            if len(offsets):
                yield Chunk(window, offsets + HEADER.size, window.u64[offsets].astype(np.int64), self.records + 1)
                self.records += len(offsets)
            if not broken:
                return position
            self._lost_at, self._lost_how = self._base + position, broken
            position += 1  # the header here is no good: look behind its first byte

    def _found(self, offset: int, at_end: bool = False) -> None:
        """The chain goes on at a file offset: note what was lost before it."""
        start = self._lost_at if self._lost_at is not None else offset
        how = "garbage" if self._lost_how == "cut" and not at_end else self._lost_how
        self.losses.append(Loss(start, offset - start, self.records + 1, how, at_end))
        self._lost_at, self._lost_how = None, "garbage"

    def _big(self, file: BinaryIO, window: Window, position: int, end: int) -> BigRecord | None:
        """The record at a position if it is whole in the file but larger than the window."""
        if self._lost_at is not None or position + HEADER.size > end:
            return None
        length = int(HEADER.unpack_from(window.data, position)[0])
        if length + FRAME <= window.capacity:
            return None
        start = self._base + position + HEADER.size
        self.records += 1
        head = window.bytes[position + HEADER.size : end]
        return BigRecord(head, length, self.records, lambda: _load(file, start, length))


def _load(file: BinaryIO, start: int, length: int) -> memoryview | None:
    """The data of one record by its own read, None where its sum is wrong or it is far too large."""
    if length > _MOST_LOADED:
        return None
    file.seek(start)
    data = file.read(length + 4)
    if len(data) < length + 4 or mask(crc32c(memoryview(data)[:length])) != int.from_bytes(data[length:], "little"):
        return None
    return memoryview(data)[:length]


def _follow(window: Window, position: int, end: int, left: int) -> tuple[np.ndarray, int, str]:
    """Offsets of the whole records from a position on, where it stopped, and why if the chain is broken there ("" if it is not)."""
    parts: list[np.ndarray] = []
    lengths: list[int] = []
    patience = _STEPS
    while True:
        offsets, position, broken = _step(window, position, end, left, patience, lengths)
        parts.append(np.array(offsets, np.int64))
        if len(offsets) < patience:
            return np.concatenate(parts), position, broken
        period = _period(lengths[-_WINDOW:])
        leapt = _leap(window, position, end, lengths[-period:]) if period else np.empty(0, np.int64)
        if len(leapt):
            parts.append(leapt)
            position = int(leapt[-1]) + int(window.u64[leapt[-1]]) + FRAME
            lengths.clear()
        patience = _STEPS if len(leapt) > _STEPS else min(2 * patience, _MOST_STEPS)


def _step(window: Window, position: int, end: int, left: int, most: int, lengths: list[int]) -> tuple[list[int], int, str]:
    """At most so many records one by one. `left` is the number of bytes from the start of the window to the end of the file."""
    offsets: list[int] = []
    data, unpack, size = window.data, HEADER.unpack_from, HEADER.size
    for _ in range(most):
        if position + size > end:
            break
        length, stored = unpack(data, position)
        if masked_length(length) != stored:
            return offsets, position, "garbage" if length or stored else "zeros"
        following = position + length + FRAME
        if following > left:
            return offsets, position, "cut"
        if following > end:
            break
        offsets.append(position)
        lengths.append(length)
        position = following
    return offsets, position, ""


def _period(lengths: list[int]) -> int:
    """The shortest period with which the last lengths repeat, 0 where they do not."""
    count = len(lengths)
    tail = lengths[-_SAME_TAIL:]
    for period in range(1, (count - _SAME_TAIL) // 2 + 1):
        if lengths[count - _SAME_TAIL - period : count - period] == tail and lengths[-period:] == lengths[-2 * period : -period]:
            return period
    return 0


def _leap(window: Window, position: int, end: int, pattern: list[int]) -> np.ndarray:
    """Offsets of the records that follow the pattern of lengths, each header compared with the predicted one."""
    lengths = np.array(pattern, np.uint64)
    sums = np.array([masked_length(length) for length in pattern], np.uint32)
    sizes = np.array(pattern, np.int64) + FRAME
    span, before = int(sizes.sum()), np.cumsum(sizes) - sizes
    parts: list[np.ndarray] = []
    rounds = 32
    while (count := min(rounds, (end - position) // span)) > 0:
        offsets = position + np.arange(count, dtype=np.int64)[:, None] * span + before
        right = ((window.u64[offsets] == lengths) & (window.u32[offsets + 8] == sums)).ravel()
        good = len(right) if right.all() else int(right.argmin())
        parts.append(offsets.ravel()[:good])
        if good < len(right):
            break
        position += count * span
        rounds *= 4
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _find_header(window: Window, start: int, end: int, left: int) -> int | None:
    """The first offset at which a length stands with its right sum and fits into the file.

    Only lengths below 4 GB are looked for, and no sum that is 0 (one length in four billion): both keep long runs of zeros cheap.
    """
    first, piece, behind = start, _PIECE, end - HEADER.size + 1
    while first < behind:
        last = min(first + piece, behind)
        likely = (window.u32[first + 4 : last + 4] == 0) & (window.u32[first + 8 : last + 8] != 0)
        offsets = np.flatnonzero(likely) + first
        offsets = offsets[window.u64[offsets].astype(np.int64) <= left - offsets - FRAME]
        sums = np.full(len(offsets), crc32c(bytes(8)), np.uint32)
        for place in range(4):  # linear: each byte adds its own part to the sum of eight zeros
            sums ^= table(7 - place)[window.u8[offsets + place]]
        hits = offsets[sums == unmask(window.u32[offsets + 8])]
        if len(hits):
            return int(hits[0])
        first, piece = last, min(4 * piece, _MOST_PIECE)
    return None
