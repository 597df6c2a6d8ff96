"""Recognises the files of an Aim repository. Its series lie in RocksDB tables, which only aim itself can open.

Decided on a repository that aim 3.29 wrote: the values stand in RocksDB tables (.sst, blocks packed with Snappy, the newest rows in a
write-ahead log beside them) under keys in an encoding of Aim's own. Neither that encoding nor the layout of the keys is published as a
format (they are Cython sources, changed by migrations), so nothing here could be held against a specification.
"""

from __future__ import annotations

import re

from postmortem.model import Reading
from postmortem.parsers.base import LIKELY, NO, SURE, Request, SourceFile

NAME = "aim"
ABOUT = "Aim repositories (.aim): recognised and named; the series in them cannot be read offline."

_ROCKSDB = re.compile(r"^(\d{6}\.(sst|log)|MANIFEST-\d{6}|OPTIONS-\d{6}|CURRENT|IDENTITY|LOCK|LOG(\.old\.\d+)?|\.corrupted)$")
_FOLDERS = re.compile(r"(^|/)(meta|seqs)/(index|chunks|progress)(/|$)")
_SQLITE = b"SQLite format 3\0"
_SQLITE_NAMES = ("run_metadata.sqlite", "aim_db")
UNREADABLE = "aim repository: not readable offline (its series are in RocksDB tables that only aim opens; a CSV export would be read)"


def claims(source: SourceFile) -> float:
    """Sure of RocksDB's files inside Aim's folders and of its two databases; likely of any other file in those folders."""
    folder = source.name.rpartition("/")[0]
    if _FOLDERS.search(folder) and _ROCKSDB.match(source.basename):
        return SURE
    if source.basename in _SQLITE_NAMES and source.head.startswith(_SQLITE):
        return SURE
    beside = source.basename == "VERSION" and (source.path.parent / _SQLITE_NAMES[0]).is_file()
    return LIKELY if beside else NO


def read(source: SourceFile, request: Request) -> Reading:
    """A note that says what the file is part of."""
    return Reading(source.name, NAME, notes=[UNREADABLE])
