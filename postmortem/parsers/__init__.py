"""Who reads which file: every parser says how sure it is, the surest one reads, and what nobody reads is told."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from postmortem.errors import UnreadableFile
from postmortem.model import Reading
from postmortem.parsers.base import NO, Parser, Request, SourceFile

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


def claim(source: SourceFile) -> Parser | None:
    """The parser that is surest of a file (ties go to the first by name), None where nobody wants it."""
    best, confidence = None, NO
    for parser in parsers():
        claimed = parser.claims(source)
        if claimed > confidence:
            best, confidence = parser, claimed
    return best


def read(sources: Iterable[SourceFile], request: Request) -> list[Reading]:
    """Every file through the parser that claims it. One bad file becomes a note in its reading; the rest is still read."""
    return [_read_one(source, request) for source in sources]


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
