"""What a parser is: it says how sure it is that a file is its own, then reads that file into a Reading."""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from postmortem.model import Reading
from postmortem.patterns import Wanted

HEAD_BYTES = 64 * 1024  # how much of a file a parser may look at before it claims it

# Confidence of a claim. The parser with the highest one reads the file; nobody at all: the file is "not claimed".
SURE = 1.0  # a magic number, a record that checks out, a schema that only this format has
LIKELY = 0.8  # content that fits this format and hardly another
PLAUSIBLE = 0.5  # content that this parser can read, and the name agrees
FALLBACK = 0.2  # readable as plain text, nothing more is known
NO = 0.0


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the run directory: where it is, what it is called in reports, its size when it was found."""

    path: Path
    name: str  # relative to the run directory, "/" on every system
    size: int
    head: bytes  # the first HEAD_BYTES bytes

    @property
    def basename(self) -> str:
        """Its name without folders."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def suffix(self) -> str:
        """The lower-case file name extension with its dot, "" where there is none; that of the file inside for one packed with gzip."""
        stem, suffix = os.path.splitext(self.basename)
        return (suffix if suffix != ".gz" else os.path.splitext(stem)[1]).lower()


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the parsers.

    wanted  finds lines worth keeping as events (None: none are)
    most    bytes of a log above which a sample of it is enough (None: all of every log is read)
    """

    wanted: Wanted | re.Pattern[str] | None = None
    most: int | None = None


class Parser(Protocol):
    """One file kind. Modules in `postmortem.parsers` with these names are parsers; there is no list to keep."""

    NAME: str  # as shown in readings ("tfevents")
    ABOUT: str  # one sentence: what it reads

    def claims(self, source: SourceFile) -> float:
        """How sure it is that the file is its own: SURE, LIKELY, PLAUSIBLE, FALLBACK or NO. Looks at the head first, the name second."""
        ...

    def read(self, source: SourceFile, request: Request) -> Reading:
        """Read the file. Damage becomes `rejected` and a note; raises only UnreadableFile or OSError."""
        ...
