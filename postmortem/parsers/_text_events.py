"""Lines that are worth keeping as they are: what the rules ask for, words about the job's beginning and end."""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from postmortem import formats
from postmortem.model import Event, EventKind
from postmortem.parsers._text_dates import NO_CALENDAR
from postmortem.parsers._text_mend import WRAP
from postmortem.parsers._text_needles import branches
from postmortem.parsers._text_prefix import micros, opened
from postmortem.patterns import Index, Sought, Wanted

KEPT = 20  # lines of one kind that are kept from the beginning, and as many from the end
TEXT = 500  # characters of a line that an event holds


@dataclass(slots=True)
class Tally:
    """The events of one kind of line: the first and the last ones, and how many there were."""

    first: list[Event] = field(default_factory=list)
    last: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT))
    seen: int = 0

    def offer(self, event: Event) -> None:
        """Count an event, keep it if it is among the first or (so far) the last ones."""
        self.seen += 1
        (self.first if len(self.first) < KEPT else self.last).append(event)


@functools.cache
def _endings() -> tuple[tuple[Sought, formats.Ending], ...]:
    return tuple((Sought(ending.source, re.VERBOSE, ending.literal), ending) for ending in formats.endings() if not ending.last)


@functools.lru_cache(maxsize=4_096)
def ending_in(text: str) -> tuple[EventKind, Mapping[str, object]] | None:
    """The kind and the facts of a line about the job's beginning or end; None where it is no such line."""
    parts, index = _asked(None)
    for number in index.likely(text):
        ending = parts[number][1]
        if ending is not None and (facts := ending.read(text)) is not None:
            return ending.kind, {"what": ending.what, **facts}
    return None


class Reasons(NamedTuple):
    """Why lines of a shape may be worth keeping: what rules ask for, words of endings."""

    wanted: tuple[Sought, ...]
    endings: tuple[formats.Ending, ...]


@functools.lru_cache(maxsize=8)
def _asked(wanted: Wanted | re.Pattern[str] | None) -> tuple[tuple[tuple[Sought, formats.Ending | None], ...], Index]:
    """All that is looked for in a file, the same for every file of a run: the parts of what is wanted, then the endings."""
    parts = (*((one, None) for one in (branches(wanted) if wanted is not None else ())), *_endings())
    return parts, Index([one for one, _ in parts])


class Watch:
    """Finds the lines of a file that are worth keeping."""

    def __init__(self, file: str, wanted: Wanted | re.Pattern[str] | None) -> None:
        self.file = file
        self._parts, self.index = _asked(wanted)
        self.tallies: dict[tuple[object, EventKind], Tally] = {}
        self.folded: list[Event] = []
        self.calendar = NO_CALENDAR

    def reasons(self, text: str) -> Reasons | None:
        """Why this line is worth keeping, or another one may be that differs in its digits only."""
        bare = opened(text).bare
        found = [
            (one, ending)
            for one, ending in map(self._parts.__getitem__, self.index.likely(text))
            if not one.exact or (one if ending is None else ending).regex.search(bare)
        ]
        wanted = tuple(one for one, ending in found if ending is None)
        endings = tuple(ending for _, ending in found if ending is not None)
        return Reasons(wanted, endings) if found else None

    def look(self, shape: object, why: Reasons, line: int, text: str, labelled: str = "") -> None:
        """Keep the line, if there is a reason to; `shape` is shared by lines that differ in their numbers only."""
        found = opened(text, labelled)
        matches: list[tuple[EventKind, int, Mapping[str, object]]] = []
        for ending in why.endings:
            if (facts := ending.read(found.bare)) is not None:
                matches.append((ending.kind, 0, {"what": ending.what, **facts}))
                break
        for one in why.wanted:
            if (match := one.regex.search(found.bare)) is not None:
                matches.append(("log", match.start(), {}))
                break
        time = micros(found.bare[found.stamp[0] : found.stamp[1]], self.calendar) if matches and found.stamp else None
        for kind, at, told in matches:
            event = Event(self.file, line, kind, quoted(found.bare, at), time=time, rank=found.rank_value, data=told)
            self.tallies.setdefault((shape, kind), Tally()).offer(event)

    def skip(self, shape: object, lines: int) -> None:
        """Lines of a shape that cannot be among the first or the last ones."""
        for (one, _), tally in self.tallies.items():
            if one == shape:
                tally.seen += lines

    def events(self) -> list[Event]:
        """All events, in the order of the file."""
        kept = [event for tally in self.tallies.values() for event in (*tally.first, *tally.last)]
        return sorted([*kept, *self.folded], key=lambda event: (event.line or 0, event.kind))

    def notes(self) -> list[str]:
        """One sentence for every kind of line of which not all were kept."""
        notes = []
        for tally in self.tallies.values():
            if tally.seen > 2 * KEPT:
                first = tally.first[0]
                notes.append(f'{tally.seen:,} lines like line {first.line} ("{first.text[:60]}"): the first and last {KEPT} are kept')
        return notes[:20]


def quoted(bare: str, at: int) -> str:
    """The line, cut to TEXT characters around the place that matters."""
    text = bare.strip().replace(WRAP, " ")
    if len(text) <= TEXT:
        return text
    begin = max(0, min(at - TEXT // 3, len(text) - TEXT))
    return ("..." if begin else "") + text[begin : begin + TEXT] + ("..." if begin + TEXT < len(text) else "")
