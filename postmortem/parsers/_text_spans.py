"""Which stretches of a log are read, where somebody asked that of a huge one not all is: some hundred, evenly spread."""

from __future__ import annotations

from typing import BinaryIO

STRETCHES = 256  # evenly spread over the log and of one size, so that a curve keeps its shape: no part of it has more points than another
END = 1 << 20  # bytes at the end that are read at least (a quarter of the sample at most): there a run dies
PIECE = 1 << 20  # bytes that are looked through at a time for line ends
NOWHERE = 8 << 20  # bytes without a line end after which a stretch begins in the middle of a line


def spans(size: int, most: int | None) -> list[tuple[int, int]]:
    """(start, end) of the bytes to read, of `most` in all; the whole file of `size` bytes where it is no larger, or nobody asked."""
    if most is None or size <= most:
        return [(0, size)]
    end = size - max(most // STRETCHES, min(END, most // 4))
    each = (most - (size - end)) // (STRETCHES - 1)
    return [*((int(i * end / (STRETCHES - 1)), int(i * end / (STRETCHES - 1)) + each) for i in range(STRETCHES - 1)), (end, size)]


def pass_over(file: BinaryIO, until: int) -> int:
    """Go to the first line that begins at or behind the byte `until`: the line ends that were passed over. They are counted, so that
    line numbers stay right; that reads the bytes, at some gigabytes a second."""
    lines = 0
    while (left := until - file.tell()) > 0 and (data := file.read(min(PIECE, left))):
        lines += data.count(b"\n")
    while file.tell() < until + NOWHERE and (data := file.read(PIECE)):
        cut = data.find(b"\n") + 1
        if cut:
            file.seek(cut - len(data), 1)
            return lines + 1
    return lines
