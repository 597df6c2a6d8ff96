"""The bytes of a log as text: encodings, byte order marks, NULs, and whether every line carries a writer's label."""

from __future__ import annotations

import codecs
import os
from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import BinaryIO

from postmortem.parsers._text_prefix import LABELS
from postmortem.parsers._text_spans import pass_over, spans
from postmortem.parsers.base import SourceFile

_CONTROL = bytes(b for b in range(32) if b not in b"\t\n\r\x1b\x08\x0c\x07")
CHUNK = 1 << 19  # bytes of a log that are read at a time: what is made of them fits into the cache of a core
LONGEST_LINE = 8 << 20  # bytes without a line end after which a line is cut
_BOX = 64 << 10  # bytes of a box (`| name | 1.5 |`) or of a block of rows that are kept together
_RULES = (b"\n----", b"\n====", b"\n####", b"\n****", b"\n____")
_ZEROS = 64  # chunks of nothing but NULs after which a file is given up
_STRAY = 8  # control characters that a short log may hold (a line of it was copied from a terminal)
_FEWEST = 10  # lines that show a label
_WRITERS = 16  # processes or services that write into one file
_MOST_RANKS = 4_096  # a larger number before a colon is that of a process
_FIRST_PID = 300  # the system's own have those below it, and counters begin there


def decoded_head(head: bytes) -> str | None:
    """The beginning of a file as text, None where it is binary."""
    encoding = encoding_of(head)
    if encoding.startswith("utf-16"):
        text = head[: len(head) // 2 * 2].decode(encoding, "replace")
        return text if text.count("\ufffd") <= len(text) * 0.01 else None
    odd = len(head) - len(head.translate(None, _CONTROL))
    if odd > max(len(head) * 0.02, min(_STRAY, len(head) // 8)) + (head.count(0) if head.count(0) < len(head) * 0.3 else 0):
        return None
    return head.decode(encoding, "replace")


def encoding_of(head: bytes) -> str:
    """utf-8, utf-16-le, utf-16-be or cp1252, judged by the first bytes."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16-le" if head[0] == 0xFF else "utf-16-be"
    if len(head) >= 4 and head[1::2].count(0) > 0.4 * len(head) // 2 and head[0::2].count(0) * 20 < len(head):
        return "utf-16-le"
    if len(head) >= 4 and head[0::2].count(0) > 0.4 * len(head) // 2 and head[1::2].count(0) * 20 < len(head):
        return "utf-16-be"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return "cp1252"
    return "utf-8"


class Bytes:
    """The bytes of one log in chunks of whole lines, in an encoding where a digit is a byte; what was odd is in `notes`."""

    def __init__(self, source: SourceFile, most: int | None = None) -> None:
        """Of a log with more than `most` bytes only a sample is read (`_text_spans`); None: all of any log."""
        self.source = source
        told = encoding_of(source.head)
        self._wide = told if told.startswith("utf-16") else ""
        self.encoding = "utf-8" if self._wide else told
        self.notes: list[str] = []
        self._spans = spans(source.size, None if self._wide else most)
        if len(self._spans) > 1:
            read = sum(end - start for start, end in self._spans)
            self.notes.append(
                f"a sample was read, as asked: {read:,} of {source.size:,} bytes, in {len(self._spans)} stretches from beginning to end; "
                "every line was counted"
            )

    def chunks(self) -> Iterator[bytes | int]:
        r"""Chunks that end behind a line end; the last one, or a line that never ends, may do without. `\r\n` is `\n`.

        A number stands for so many lines that are passed over.
        """
        with self.source.path.open("rb", buffering=0) as file:
            for start, end in self._spans:
                if start:
                    yield pass_over(file, start)
                rest = yield from self._whole_lines(file, file.tell() if start else 0, end)  # what is unpacked while it is read cannot tell
                if rest and end < self.source.size:
                    file.seek(-len(rest), os.SEEK_CUR)  # half a line is no line: it is passed over
                elif rest:
                    yield _plain(rest)

    def _whole_lines(self, file: BinaryIO, start: int, end: int) -> Generator[bytes, None, bytes]:
        """Chunks of whole lines from the byte `start`, where the file stands, to `end`; returns what is left of the last line."""
        rest = b""
        for data in self._pieces(file, start, end):
            cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1
            if cut < _BOX:  # the cut may hang on what was left before
                data, rest = rest + data, b""
                cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1
            if cut == 0:
                rest = data
                if len(data) > LONGEST_LINE:
                    self._note(f"a line of more than {LONGEST_LINE >> 20} MiB is read in pieces")
                    yield _plain(data)
                    rest = b""
                continue
            cut = _before_box(data, cut)
            if cut:
                yield _plain(b"".join((rest, memoryview(data)[:cut])))
                rest = b""
            rest += data[cut:]
        return rest

    def head(self, size: int) -> bytes:
        """The first bytes of the file, as they stand there."""
        with self.source.path.open("rb") as file:
            return file.read(min(size, self.source.size))

    def text(self, data: bytes) -> str:
        """Bytes of the file as text."""
        return data.decode(self._wide or self.encoding, "replace").replace("\0", "").removeprefix("\ufeff").replace("\r\n", "\n")

    def _pieces(self, file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
        """What the file holds from the byte `start`, where it stands, to `end`; decoded from UTF-16, without NULs and holes."""
        left, zeros, first = end - start, 0, start == 0
        decoder = codecs.getincrementaldecoder(self._wide)("replace") if self._wide else None
        while left > 0:
            data = file.read(min(CHUNK, left))
            if not data:
                self._note(f"the file ends {left:,} bytes earlier than when it was found")
                return
            left -= len(data)
            nuls = b"\0" in data and not self._wide
            if nuls and data.count(0) == len(data):
                zeros += 1
                self._note("a stretch of zero bytes is left out")
                skipped = _over_hole(file)
                left -= skipped
                if skipped < 0 or zeros >= _ZEROS:
                    return
                continue
            if decoder is not None:
                data = decoder.decode(data, final=left <= 0).encode("utf-8", "replace")
            if first:
                data, first = data.removeprefix(b"\xef\xbb\xbf"), False
            yield data.replace(b"\0", b"") if nuls else data

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _plain(block: bytes) -> bytes:
    if b"\r" in block and b"\n" in block and b"\r\n" in block:  # to look for two bytes is slow where one of them is common
        block = block.replace(b"\r\n", b"\n")
    return block.replace(b"\b", b"\r") if b"\b" in block else block


def _over_hole(file: BinaryIO) -> int:
    """Go to where a sparse file has data again: the bytes passed over, -1 where none follow."""
    here = file.tell()
    if not hasattr(os, "SEEK_DATA"):
        return 0
    try:
        return os.lseek(file.fileno(), here, os.SEEK_DATA) - here
    except OSError:
        return -1


def _before_box(block: bytes, cut: int) -> int:
    """A place to cut that goes through no box, dictionary or block of rows (_text_rows): their step may stand in their last row."""
    lowest = max(0, cut - _BOX)
    rule = max(block.rfind(mark, lowest, cut) for mark in _RULES) + 1
    if rule > lowest:
        return rule  # a block begins behind it, or ended before it
    place = cut
    while place > lowest:
        start = block.rfind(b"\n", 0, place - 1) + 1
        line = block[start:place]
        if not line.startswith((b"|", b"\xe2\x94\x82", b" ", b"\t", b"}")):
            return start if line.rfind(b"{") > line.rfind(b"}") else place
        place = start
    return cut


def whole(source: SourceFile) -> str:
    """The whole file as text."""
    with open(source.path, "rb") as file:
        data = file.read(source.size)
    return data.decode(encoding_of(source.head), "replace").replace("\0", "").removeprefix("\ufeff")


def labelled(text: str) -> str:
    """With which of LABELS every line begins, "" is none: with the rank (`srun --label`), a process, a service. Only growing is a counter."""
    lines = [line for line in text[:65536].splitlines() if line.strip()]
    if len(lines) < _FEWEST:
        return ""
    for kind, label in LABELS.items():
        told = [next(part for part in found.groups() if part) for line in lines if (found := label.match(line)) is not None]
        if len(told) >= 0.95 * len(lines) and _is_label(kind, told):
            return kind
    return ""


def _is_label(kind: str, told: list[str]) -> bool:
    """Are they labels of that kind, or numbers that count something?"""
    few = len(set(told)) <= _WRITERS
    if kind == "service":
        return few
    labels = [int(one) for one in told]
    if kind == "rank":
        return max(labels) < _MOST_RANKS and (len(set(labels)) == 1 or any(after < before for before, after in pairwise(labels)))
    return len(set(labels)) == 1 or (few and min(labels) >= _FIRST_PID and any(label % 10 for label in labels))
