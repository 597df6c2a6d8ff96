"""Recognises Git LFS pointers: three lines that stand for a file whose content was never fetched."""

from __future__ import annotations

import re

from postmortem.model import Reading
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "lfs_pointer"
ABOUT = "Git LFS pointers: the file is not here, only its name and size; says so."

_SIZE = re.compile(rb"^size (\d+)\s*$", re.MULTILINE)


def claims(source: SourceFile) -> float:
    """Sure by the first line, which the LFS specification fixes."""
    return SURE if source.size < 1024 and source.head.startswith(b"version https://git-lfs.github.com/spec/") else NO


def read(source: SourceFile, request: Request) -> Reading:
    """Nothing can be read; the note says how to get the content."""
    size = _SIZE.search(source.head)
    told = f" of {int(size[1]):,} bytes" if size and len(size[1]) < 16 else ""
    return Reading(source.name, NAME, notes=[f"a Git LFS pointer: the file{told} was not fetched (`git lfs pull` gets it)"])
