r"""Finds the few shapes that the millions of lines of a log have, so that everything else is decided once for each shape.

A segment is what stands between two line ends (`\n`, `\r`). Its shape is the segment without digits, signs, dots, blanks and
bar glyphs, with a marker where each run of digits began. The marker says what stood before the run (a letter, a dot, a comma, a
colon or something else): two segments of one shape have the same words and the same numbers in the same places, so what a
number means in one of them it means in all of them. Making shapes is a scatter and one `bytes.translate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from postmortem.parsers._text_mend import WRAP

PAD = b" " * 24  # so that eight bytes before any digit can be loaded
LONG_KEY = 32_768  # a shape longer than this is no log line
LONG_LINE = 32_768  # bytes of a line that are looked at; what stands behind them is told, not read

_DELETED = bytes(b for b in range(256) if chr(b) in "0123456789+-. \t=>#*" or b == 0xE2 or 0x80 <= b <= 0x9F)
_WRAP = WRAP.encode()
_TO_NEWLINE = bytes(10 if b == 13 else b for b in range(256))
_KINDS = {ord("."): 3, ord(","): 4, ord(":"): 5, ord("_"): 2}
_MARKERS = bytes(_KINDS.get(b, 2 if chr(b).isalpha() or b >= 0x80 else 1) for b in range(256))


@dataclass(slots=True)
class Mined:
    """A chunk of a log, taken apart.

    data            PAD, then the chunk
    codes           data as bytes (uint8); words  data as overlapping little-endian uint64, one for each offset
    starts, ends    (segments,) offsets of the segments in data, without their line ends
    lines           (segments,) line number of each segment, of its first line where several were put together (_text_mend)
    keys            shape of each segment
    run_starts, run_ends  (runs,) offsets of all runs of digits;  first  (segments,) index of a segment's first run
    """

    data: bytes
    codes: np.ndarray
    words: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    lines: np.ndarray
    keys: list[bytes]
    run_starts: np.ndarray
    run_ends: np.ndarray
    first: np.ndarray

    @property
    def last_line(self) -> int:
        """The line in which the last segment ends."""
        return int(self.lines[-1]) + self.data.count(_WRAP, int(self.starts[-1]))

    @property
    def next_line(self) -> int:
        """The line in which the next chunk begins."""
        return self.last_line + int(self.codes[self.ends[-1]] == 10)

    def text(self, segment: int) -> bytes:
        """The bytes of a segment, no more than LONG_LINE of them."""
        start = int(self.starts[segment])
        return self.data[start : min(int(self.ends[segment]), start + LONG_LINE)]

    def texts(self, segments: list[int], encoding: str) -> list[str]:
        """The segments as texts, no more than LONG_LINE bytes of each; where all is ASCII, the chunk is decoded once."""
        starts = self.starts[segments]
        places = zip(starts.tolist(), np.minimum(self.ends[segments], starts + LONG_LINE).tolist(), strict=True)
        if self.data.isascii():
            whole = self.data.decode("ascii")
            return [whole[start:end] for start, end in places]
        return [self.data[start:end].decode(encoding, "replace") for start, end in places]

    @property
    def long(self) -> int:
        """How many segments are longer than LONG_LINE."""
        return int(np.count_nonzero(self.ends - self.starts > LONG_LINE))


def mined(chunk: bytes, line: int) -> Mined:
    """Take a chunk apart whose first segment stands in line `line`."""
    data = PAD + chunk if chunk.endswith((b"\n", b"\r")) else PAD + chunk + b"\n"
    codes = np.frombuffer(data, np.uint8)
    words = np.ndarray((len(data) - 7,), "<u8", buffer=data, strides=(1,))
    breaks = np.flatnonzero((codes == 10) | (codes == 13)) if b"\r" in chunk else np.flatnonzero(codes == 10)
    starts = np.empty(len(breaks), np.int64)
    starts[0] = len(PAD)
    starts[1:] = breaks[:-1] + 1
    lines = np.empty(len(breaks), np.int64)
    lines[0] = line
    np.cumsum(codes[breaks[:-1]] == 10, out=lines[1:])
    lines[1:] += line
    if _WRAP in chunk:  # lines that were put together are still counted
        lines += np.searchsorted(np.flatnonzero(codes == _WRAP[0]), starts)
    is_digit = (codes - np.uint8(48)) < 10
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1])  # before starts and ends in turn: PAD begins, a line end closes
    before = edges[0::2]
    run_starts, run_ends = before + 1, edges[1::2] + 1
    marked = codes.copy()
    marked[run_starts] = np.frombuffer(codes[before].tobytes().translate(_MARKERS), np.uint8)
    keys = marked.tobytes().translate(_TO_NEWLINE, _DELETED).split(b"\n")
    keys.pop()  # behind the last line end
    return Mined(data, codes, words, starts, breaks, lines, keys, run_starts, run_ends, np.searchsorted(run_starts, starts))
