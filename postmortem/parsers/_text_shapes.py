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
_LONG_PIECE = 1 << 16  # bytes of equal lines that are compared at once
_SAMPLES = 20  # lines that tell whether a chunk is monotonous
_MOST_MARKER = 5  # a control character below it in a text would look like a marker
_KINDS = {ord("."): 3, ord(","): 4, ord(":"): 5, ord("_"): 2}
_MARKERS = bytes(_KINDS.get(b, 2 if chr(b).isalpha() or b >= 0x80 else 1) for b in range(256))


@dataclass(slots=True)
class Mined:
    """A chunk of a log, taken apart.

    data            PAD, then the chunk
    codes           data as bytes (uint8); words  data as overlapping little-endian uint64, one for each offset
    starts, ends    (segments,) offsets of the segments in data, without their line ends
    lines           (segments,) line number of each segment, of its first line where several were put together (_text_mend)
    keys            shape of each segment, or of each stretch of segments of one shape
    firsts          (stretches + 1,) the first segment of each stretch, and how many segments there are; None: each is its own
    edges           (2 * runs,) offsets of all runs of digits: of the byte before each and of its last one, in turn
    first           (segments + 1,) index of a segment's first run, and how many runs there are
    """

    data: bytes
    codes: np.ndarray
    words: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    lines: np.ndarray
    keys: list[bytes]
    firsts: np.ndarray | None
    edges: np.ndarray
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

    def pieces(self, first: np.ndarray, last: np.ndarray) -> list[bytes]:
        """The bytes from the first to the last segment of each stretch, the line ends between them included."""
        return [self.data[start:end] for start, end in zip(self.starts[first].tolist(), self.ends[last].tolist(), strict=True)]

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
    np.add(breaks[:-1], 1, out=starts[1:])
    is_digit = (codes - np.uint8(48)) < 10
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1])  # PAD begins, a line end closes
    before = edges[0::2]
    marked = codes.copy()
    if (codes <= _MOST_MARKER).any():
        marked[codes <= _MOST_MARKER] = _MOST_MARKER + 1
    marked[before + 1] = np.frombuffer(codes[before].tobytes().translate(_MARKERS), np.uint8)
    keys, firsts = _shapes(marked.tobytes().translate(_TO_NEWLINE, _DELETED))
    first = np.empty(len(breaks) + 1, np.int64)
    first[0], first[-1] = 0, len(edges) // 2
    first[1:-1] = np.searchsorted(edges, breaks[:-1]) >> 1  # a line end stands behind the edges of whole runs only
    lines = _lines(codes, breaks, line)
    if _WRAP in chunk:  # lines that were put together are still counted
        lines += np.searchsorted(np.flatnonzero(codes == _WRAP[0]), starts)
    return Mined(data, codes, words, starts, breaks, lines, keys, firsts, edges, first)


def _lines(codes: np.ndarray, breaks: np.ndarray, line: int) -> np.ndarray:
    r"""The line number of each segment: one more behind every `\n`, the same behind a `\r`."""
    ends_line = codes[breaks[:-1]] == 10
    if bool(ends_line.all()):
        return np.arange(line, line + len(breaks))
    lines = np.full(len(breaks), line)
    lines[1:] += np.cumsum(ends_line)
    return lines


def _shapes(text: bytes) -> tuple[list[bytes], np.ndarray | None]:
    """`keys` and `firsts` of the shapes that are the lines of a text.

    Most logs print one kind of line again and again: then each stretch of equal lines is found with a few comparisons of long
    pieces, where an object for each line and its look-up would cost as much as reading a number of it.
    """
    if not _monotonous(text):
        keys = text.split(b"\n")
        keys.pop()  # behind the last line end
        return keys, None
    keys, firsts, at, count = [], [0], 0, 0
    while at < len(text):
        end = text.index(b"\n", at) + 1
        key = piece = text[at:end]
        at, count, many = end, count + 1, 1
        while text.startswith(piece, at):  # twice as many lines as before, until there are not so many
            at, count = at + len(piece), count + many
            if len(piece) < _LONG_PIECE:
                piece, many = piece + piece, 2 * many
        while many > 1:
            many //= 2
            piece = piece[: many * len(key)]
            if text.startswith(piece, at):
                at, count = at + len(piece), count + many
        keys.append(key[:-1])
        firsts.append(count)
    return keys, np.array(firsts)


def _monotonous(text: bytes) -> bool:
    """Are nearly all lines like the one before them, judged by some?"""
    for place in range(0, len(text) - 1, len(text) // _SAMPLES + 1):
        begin = text.find(b"\n", place) + 1
        end = text.find(b"\n", begin) + 1
        if end and not text.startswith(text[begin:end], end):
            return False
    return True
