"""Reads logs and tables that were packed with gzip (train.log.gz, metrics.csv.gz): unpacked in memory, within bounds, piece by piece."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

from postmortem.model import Reading
from postmortem.parsers import checkpoints
from postmortem.parsers._streams import Unread
from postmortem.parsers.base import HEAD_BYTES, NO, SURE, Request, SourceFile

NAME = "gzip"
ABOUT = "Logs, tables and JSON packed with gzip: read like the file inside; any other archive is named and stays closed."

MAGIC = b"\x1f\x8b\x08"
# What may be inside: the formats that read one file from its first byte to its last.
INSIDE = frozenset(("configs", "delimited", "json_document", "jsonlines", "samples", "text", "trainer_state", "wrapped"))
# A small archive can unpack to anything. Logs shrink to a tenth, very monotonous ones to a hundredth of their size.
AT_LEAST, TIMES, AT_MOST = 32 << 20, 100, 4 << 30
CHUNK = 1 << 20
_TAR = slice(257, 262), b"ustar"
_BROKEN = (OSError, EOFError, zlib.error)  # what the gzip module raises for damage


def claims(source: SourceFile) -> float:
    """Sure of anything that begins as gzip does."""
    return SURE if source.head.startswith(MAGIC) else NO


def read(source: SourceFile, request: Request) -> Reading:
    """The reading of the file inside, under the name of the archive. Nothing is written anywhere."""
    from postmortem import parsers  # the door of this folder, which imports this module

    head = b"".join(_pieces(source.path, HEAD_BYTES, []))
    inside = replace(source, head=head, size=len(head))
    closed = "tar archive" if head[_TAR[0]] == _TAR[1] else checkpoints.written_as_text(head)
    parser = None if closed else parsers.claim(inside, INSIDE)
    if parser is None:
        what = f"a {closed}" if closed else "no log and no table"
        return Reading(source.name, NAME, notes=[f"gzip archive, {source.size:,} bytes, not opened further: {what} inside"])
    wrong: list[str] = []
    size = sum(map(len, _pieces(source.path, min(AT_MOST, AT_LEAST + TIMES * source.size), wrong)))
    # The readers ask nothing of a path but to be opened, and that the stand-in can do. It cannot pass over bytes: no sample is read.
    stand_in = cast(Path, Unread(lambda: _pieces(source.path, size, [])))
    reading = parser.read(replace(inside, path=stand_in, size=size), replace(request, most=None))
    reading.notes.insert(0, "packed with gzip: line numbers are those of the file inside")
    reading.rejected += len(wrong)
    reading.notes += wrong
    return reading


def _pieces(path: Path, limit: int, wrong: list[str]) -> Iterator[bytes]:
    """The file inside, at most `limit` bytes of it. What hindered the rest is added to `wrong`: what stands before damage is read."""
    left = limit
    try:
        with gzip.open(path) as file:
            while left > 0 and (piece := cast(gzip.GzipFile, file).read1(min(CHUNK, left))):
                left -= len(piece)
                yield piece
            if left <= 0 and file.read(1):
                wrong.append(f"unpacks to more than {limit >> 20:,} MB: read only so far, the limit for an archive of its size")
    except _BROKEN as error:
        wrong.append(f"the archive is damaged: what could be unpacked is read ({str(error)[:100]})")
