"""Which stretches of a log are read, where somebody asked that of a huge one not all is: its beginning, its end, and some between."""

from __future__ import annotations

from typing import BinaryIO

BETWEEN = 64  # stretches between the beginning and the end, evenly spread: a curve of at least so many points is left
END_SHARE = 0.5  # of what is read lies at the end, where a run dies
BEGIN_SHARE = 0.25  # at the beginning, where its settings and its first losses stand
PIECE = 1 << 20  # bytes that are looked through at a time for line ends
NOWHERE = 8 << 20  # bytes without a line end after which a stretch begins in the middle of a line


def spans(size: int, most: int | None) -> list[tuple[int, int]]:
    """(start, end) of the bytes to read, of `most` in all; the whole file of `size` bytes where it is no larger, or nobody asked."""
    if most is None or size <= most:
        return [(0, size)]
    begin, end = int(most * BEGIN_SHARE), size - int(most * END_SHARE)
    each = max(1, int(most * (1 - BEGIN_SHARE - END_SHARE)) // BETWEEN)
    gap = (end - begin - BETWEEN * each) / (BETWEEN + 1)
    starts = (begin + int(gap + i * (gap + each)) for i in range(BETWEEN))
    return [(0, begin), *((start, start + each) for start in starts), (end, size)]


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
