"""Who reads which file: every parser says how sure it is, the surest one reads, and what nobody reads is told."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from types import ModuleType

from postmortem.errors import UnreadableFile
from postmortem.model import Reading
from postmortem.parsers.base import NO, Parser, Request, SourceFile

_RANK = re.compile(r"(?i)(?:^|[-_./])(?:local[-_]?|global[-_]?|world[-_]?)?rank[-_.]?(\d{1,5})(?=[-_./]|$)")
UNCLAIMED = "not claimed"
UNREADABLE = "unreadable"


@functools.cache
def parsers() -> tuple[Parser, ...]:
    """All parsers, by name. A parser is a module of this package with NAME, claims and read; there is no other list."""
    found: list[ModuleType] = []
    for entry in pkgutil.iter_modules(__path__):
        if not entry.name.startswith("_") and entry.name != "base":
            found.append(importlib.import_module(f"{__name__}.{entry.name}"))
    return tuple(sorted(found, key=lambda module: module.NAME))


def claim(source: SourceFile, among: Collection[str] | None = None) -> Parser | None:
    """The parser that is surest of a file (ties go to the first by name), None where nobody wants it. among: names of those asked."""
    best, confidence = None, NO
    for parser in parsers():
        if among is not None and parser.NAME not in among:
            continue
        claimed = parser.claims(source)
        if claimed > confidence:
            best, confidence = parser, claimed
    return best


def read(sources: Iterable[SourceFile], request: Request) -> list[Reading]:
    """Every file through the parser that claims it. One bad file becomes a note in its reading; the rest is still read."""
    readings = [_read_one(source, request) for source in sources]
    _ranks_by_name(readings)
    return readings


def _ranks_by_name(readings: list[Reading]) -> None:
    """Files that differ in the number of a rank alone ("metrics_rank0.csv", "rank1/train.log") say whose they are, if rank 0 is among them.

    Without rank 0 the number may be that of something else: an adapter of "rank8" has no rank 0.
    """
    families: dict[str, list[tuple[int, Reading]]] = {}
    for reading in readings:
        if said := _RANK.findall(reading.file):  # of several the first: "globalrank-3_localrank-1"
            families.setdefault(_RANK.sub("*", reading.file), []).append((int(said[0]), reading))
    for family in families.values():
        if len(family) > 1 and min(rank for rank, _ in family) == 0:
            for rank, reading in family:
                for block in reading.blocks:
                    block.rank = rank if block.rank is None else block.rank
                reading.events = [event if event.rank is not None else replace(event, rank=rank) for event in reading.events]


def _read_one(source: SourceFile, request: Request) -> Reading:
    try:
        parser = claim(source)
        if parser is None:
            return Reading(source.name, UNCLAIMED, notes=[_why_unclaimed(source)])
        return parser.read(source, request)
    except (UnreadableFile, OSError) as error:
        return Reading(source.name, UNREADABLE, notes=[f"{source.name} cannot be read: {_reason(error)}"])
    except MemoryError:
        return Reading(source.name, UNREADABLE, notes=[f"{source.name} does not fit into memory"])
    except Exception as error:  # the file is untrusted: a parser that stumbles over it must not end the analysis of the others
        return Reading(
            source.name, UNREADABLE, notes=[f"{source.name} confused its reader ({type(error).__name__}); the other files were read"]
        )


def _why_unclaimed(source: SourceFile) -> str:
    return "empty file" if source.size == 0 else "no reader knows this kind of file"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
