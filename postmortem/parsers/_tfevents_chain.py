"""Follows TFRecord records from header to header through a window, thousands at a time where it can.

A training writes the same tags step after step, so the lengths of records repeat; once a period is seen, the headers of thousands of
records are predicted and compared at once. Where there is no period, small records are sifted out by what a header looks like. Either
way what does not hold costs nothing but the next few steps, which are taken one by one again.
"""

from __future__ import annotations

import numpy as np

from postmortem.parsers._crc32c import crc32c, masked_length, table, unmask
from postmortem.parsers._tfevents_rows import period
from postmortem.parsers._tfevents_window import FRAME, HEADER, Chunk, Window, joined

_STEPS, _MOST_STEPS = 48, 4096  # records taken one by one before a period is looked for
_WORTH = 512  # records predicted at once that make up for looking for a period
_LENGTHS, _LATEST = 1024, 8  # lengths looked at for a period, and pieces of the chain in which they are looked for
_SMALL = 512  # bytes: records that are shorter on average are sifted out where they have no period
_FIRST_ROWS = 32  # rows predicted at first; four times as many each time that all of them are right
_PIECE, _MOST_PIECE = 1 << 12, 1 << 18  # offsets looked at together while the chain is lost


class Chain:
    """The records of a window, collected until they are taken. `line` is the number that the next record will have."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.line = 1
        self._found: list[Chunk] = []
        self._patience = _STEPS  # records to take one by one before the next are predicted or sifted out

    def take(self) -> Chunk:
        """The records that have been collected since the last time."""
        found, self._found = self._found, []
        return joined(self.window, found)

    def follow(self, position: int, end: int, left: int) -> tuple[int, str]:
        """Collect the whole records from a position on, up to the end of the bytes in the window.

        `left` is the number of bytes from the start of the window to the end of the file. Returns where it stopped, and why if the
        chain is broken there ("" if it is not).
        """
        while True:
            offsets, position, broken = _step(self.window, position, end, left, self._patience)
            self._collect(np.array(offsets, np.int64))
            if len(offsets) < self._patience:
                return position, broken
            headers = self._many(position, end)
            if len(headers):
                self._collect(headers)
                position = int(headers[-1] + self.window.u64[headers[-1]]) + FRAME
            self._patience = _STEPS if len(headers) >= _WORTH else min(2 * self._patience, _MOST_STEPS)

    def _many(self, position: int, end: int) -> np.ndarray:
        """Offsets of the headers from a position on, as far as they can be told at once; maybe none."""
        latest = (one.lengths[-_LENGTHS:] for one in self._found[-_LATEST:])
        lengths = np.concatenate(list(latest))[-_LENGTHS:].tolist()
        if found := period(lengths):
            return _leap(self.window, position, end, np.array(lengths[-found:]))
        if sum(lengths) < _SMALL * len(lengths):
            return _sift(self.window, position, end)
        return np.empty(0, np.int64)

    def _collect(self, headers: np.ndarray) -> None:
        """Records by the offsets of their headers."""
        lines = np.arange(self.line, self.line + len(headers))
        self._found.append(Chunk(self.window, headers + HEADER.size, self.window.u64[headers].view(np.int64), lines))
        self.line += len(headers)


def _step(window: Window, position: int, end: int, left: int, most: int) -> tuple[list[int], int, str]:
    """At most so many records one by one. `left` is the number of bytes from the start of the window to the end of the file."""
    offsets: list[int] = []
    data, unpack, last = window.data, HEADER.unpack_from, end - HEADER.size
    for _ in range(most):
        if position > last:
            break
        length, stored = unpack(data, position)
        if masked_length(length) != stored:
            return offsets, position, "garbage" if length or stored else "zeros"
        following = position + length + FRAME
        if following > end:
            return offsets, position, "cut" if following > left else ""
        offsets.append(position)
        position = following
    return offsets, position, ""


def _leap(window: Window, position: int, end: int, pattern: np.ndarray) -> np.ndarray:
    """Offsets of the records that follow the pattern of lengths, each header compared with the predicted one."""
    lengths, sums = pattern.astype(np.uint64), np.array([masked_length(length) for length in pattern.tolist()], np.uint32)
    ends = np.cumsum(pattern + FRAME)
    span, places = int(ends[-1]), ends - pattern - FRAME
    parts = [np.empty(0, np.int64)]
    rows = _FIRST_ROWS
    while (count := min(rows, (end - position) // span)) > 0:
        offsets = position + np.arange(count)[:, None] * span + places
        right = ((window.u64[offsets] == lengths) & (window.u32[offsets + 8] == sums)).ravel()
        good = len(right) if right.all() else int(right.argmin())
        parts.append(offsets.ravel()[:good])
        if good < len(right):
            break
        position += count * span
        rows *= 4
    return np.concatenate(parts)


def _sift(window: Window, position: int, end: int) -> np.ndarray:
    """Offsets of the headers from a position on, found without following them: where a length below 64 kB stands with its right sum.

    Each must end where the next one begins; where that fails, something looks like a header by chance, and the rest is left.
    """
    parts = [np.empty(0, np.int64)]
    while position < end:
        last = min(position + _MOST_PIECE, end - HEADER.size + 1)
        zero = window.u8[position : last + 8] == 0
        two = zero[:-1] & zero[1:]
        four = two[:-2] & two[2:]
        headers = np.flatnonzero(four[2:-2] & two[6:]) + position  # bytes 2 to 7 of the length
        headers = headers[_right_sums(window, headers, 2)]
        following = headers + window.u64[headers].view(np.int64) + FRAME
        chained = np.concatenate([[position], following])[: len(headers)] == headers
        good = len(headers) if chained.all() else int(chained.argmin())
        while good and following[good - 1] > end:
            good -= 1
        parts.append(headers[:good])
        if good < len(headers) or not good:
            break
        position = int(following[-1])
    return np.concatenate(parts)


def _right_sums(window: Window, offsets: np.ndarray, width: int) -> np.ndarray:
    """Whether a length below 256**width stands at each offset (n,) with its right sum behind it."""
    sums = np.full(len(offsets), crc32c(bytes(8)), np.uint32)
    for place in range(width):  # linear: each byte adds its own part to the sum of eight zeros
        sums ^= table(7 - place)[window.u8[offsets + place]]
    return sums == unmask(window.u32[offsets + 8])


def find_header(window: Window, start: int, end: int, left: int) -> int | None:
    """The first offset at which a length stands with its right sum and fits into the file.

    Only lengths below 4 GB are looked for, and no sum that is 0 (one length in four billion): both keep long runs of zeros cheap.
    """
    first, piece, behind = start, _PIECE, end - HEADER.size + 1
    while first < behind:
        last = min(first + piece, behind)
        likely = (window.u32[first + 4 : last + 4] == 0) & (window.u32[first + 8 : last + 8] != 0)
        offsets = np.flatnonzero(likely) + first
        offsets = offsets[window.u64[offsets].astype(np.int64) <= left - offsets - FRAME]
        hits = offsets[_right_sums(window, offsets, 4)]
        if len(hits):
            return int(hits[0])
        first, piece = last, min(4 * piece, _MOST_PIECE)
    return None
