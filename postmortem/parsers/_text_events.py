"""Lines that are worth keeping as they are: what the rules ask for, words about the job's beginning and end."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from postmortem import formats
from postmortem.model import Event, EventKind

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

    def skip(self, count: int) -> None:
        """Count lines that cannot be among the first or the last ones."""
        self.seen += count


class Watch:
    """Finds the lines of a file that are worth keeping."""

    def __init__(self, file: str, wanted: re.Pattern[str] | None) -> None:
        self.file = file
        self.wanted = wanted
        self.tallies: dict[object, Tally] = {}
        self.folded: list[Event] = []

    def matches(self, bare: str) -> list[tuple[EventKind, int, Mapping[str, object]]]:
        """(kind, where it begins, facts) of every reason to keep the line."""
        found: list[tuple[EventKind, int, Mapping[str, object]]] = []
        for ending in formats.endings():
            facts = ending.read(bare)
            if facts is not None:
                found.append((ending.kind, 0, {"what": ending.what, **facts}))
                break
        if self.wanted is not None and (match := self.wanted.search(bare)) is not None:
            found.append(("log", match.start(), {}))
        return found

    def offer(self, shape: object, line: int, bare: str, time: int | None, rank: int | None) -> bool:
        """Keep the line, if there is a reason to; `shape` is shared by lines that differ in their numbers only."""
        matches = self.matches(bare)
        for kind, at, facts in matches:
            event = Event(self.file, line, kind, quoted(bare, at), time=time, rank=rank, data=facts)
            self.tallies.setdefault((shape, kind), Tally()).offer(event)
        return bool(matches)

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
    text = bare.strip()
    if len(text) <= TEXT:
        return text
    begin = max(0, min(at - TEXT // 3, len(text) - TEXT))
    return ("..." if begin else "") + text[begin : begin + TEXT] + ("..." if begin + TEXT < len(text) else "")
