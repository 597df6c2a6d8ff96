"""Lines that are worth keeping as they are: what the rules ask for, words about the job's beginning and end."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from postmortem import formats
from postmortem.model import Event, EventKind
from postmortem.parsers._text_needles import Branch, branches, needles
from postmortem.parsers._text_prefix import micros, opened

KEPT = 20  # lines of one kind that are kept from the beginning, and as many from the end
MANY = 400  # lines at a time from which on one pass of Polars over all of them is cheaper than ours over each
TEXT = 500  # characters of a line that an event holds

_DIGITS = re.compile(r"\d")


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


class Watch:
    """Finds the lines of a file that are worth keeping."""

    def __init__(self, file: str, wanted: re.Pattern[str] | None) -> None:
        self.file = file
        self.wanted = wanted
        self._branches = branches(wanted) if wanted is not None else []
        self._branches += [Branch(ending.regex, needles(ending.regex.pattern, ending.regex.flags), False) for ending in formats.endings()]
        self._always = [branch for branch in self._branches if not branch.needles]
        self._by_needle: dict[str, list[Branch]] = {}
        for branch in self._branches:
            for needle in branch.needles:
                self._by_needle.setdefault(needle, []).append(branch)
        self.tallies: dict[tuple[object, EventKind], Tally] = {}
        self.folded: list[Event] = []

    def candidates(self, texts: list[str]) -> list[bool]:
        """Which of the texts may be worth keeping: those with one of the needles, whatever their digits."""
        if self._always or not self._by_needle:
            return [bool(self._always)] * len(texts)
        plain = [_DIGITS.sub("", text).lower() for text in texts]
        if len(texts) < MANY:
            return [any(needle in text for needle in self._by_needle) for text in plain]
        import polars as pl

        return pl.Series(plain, dtype=pl.String).str.contains_any(list(self._by_needle)).to_list()

    def watches(self, text: str) -> bool:
        """Is this line worth keeping, or may another one be that differs in its digits only?"""
        plain = _DIGITS.sub("", text).lower()
        likely = {id(branch): branch for needle, some in self._by_needle.items() if needle in plain for branch in some}
        bare = opened(text).bare
        return any(not branch.exact or branch.regex.search(bare) for branch in (*likely.values(), *self._always))

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

    def look(self, shape: object, line: int, text: str, labelled: bool = False) -> None:
        """Keep the line, if there is a reason to; `shape` is shared by lines that differ in their numbers only."""
        found = opened(text, labelled)
        matches = self.matches(found.bare)
        time = micros(found.bare[found.stamp[0] : found.stamp[1]]) if matches and found.stamp else None
        for kind, at, facts in matches:
            event = Event(self.file, line, kind, quoted(found.bare, at), time=time, rank=found.rank_value, data=facts)
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
    text = bare.strip()
    if len(text) <= TEXT:
        return text
    begin = max(0, min(at - TEXT // 3, len(text) - TEXT))
    return ("..." if begin else "") + text[begin : begin + TEXT] + ("..." if begin + TEXT < len(text) else "")
