"""What every shape of a file means: decided once from the first line of that shape, kept for all others."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from postmortem.model import Split
from postmortem.parsers import _text_builds as builds
from postmortem.parsers import _text_columns as columns
from postmortem.parsers._text_columns import Column, TimeColumn
from postmortem.parsers._text_context import row_metrics
from postmortem.parsers._text_dates import NO_CALENDAR, Calendar
from postmortem.parsers._text_events import Reasons, Watch
from postmortem.parsers._text_glue import unglued
from postmortem.parsers._text_line import Columns, Said, said
from postmortem.parsers._text_mend import WRAP
from postmortem.parsers._text_numbers import Num
from postmortem.parsers._text_pairs import says_split
from postmortem.parsers._text_prefix import Opened, opened
from postmortem.parsers._text_quick import MANY, Looks, quick
from postmortem.parsers._text_shapes import LONG_KEY, Mined
from postmortem.parsers._traceback import HINTS

MOST_SHAPES = 20_000  # shapes remembered at a time; when there are more, those that mean nothing are forgotten

MOST_NAMES = 5_000  # names of one file that differ in their digits only

NUMBERS, MARK, WATCH, TRACE, GLUED = 1, 2, 4, 8, 16  # what is to be done with the lines of a shape

_RUN = re.compile(r"[0-9]+")
_DIGIT = re.compile(r"[0-9]")
_STAMPED = re.compile(r".{0,24}?[0-9]+[-/:][0-9]+[-/:][0-9]+(?:[ T_][0-9]+:[0-9]+:[0-9]+)?")
_HINTS = tuple(dict.fromkeys(_DIGIT.sub("0", hint) for hint in HINTS))


@dataclass(slots=True)
class Told:
    """`Said` with columns instead of places: how to read every line of a shape."""

    family: str
    metrics: list[tuple[str, Split | None, bool, Column]]  # name, split, whether the name says the split, column
    step: Column | None
    epoch: Column | None
    rank: Column | None
    stamp: TimeColumn | None
    heads: bool
    counts: bool
    boxed: bool
    aside: bool
    firm: bool
    row: int


@dataclass(slots=True)
class Plan:
    """A shape: what its first line said, and that line, to find out more when a row meets the head of a table. None: it said nothing."""

    line: Opened
    said: Said | None
    told: Told | None = None
    runs: list[int] = field(default_factory=list)
    prefix: int = 0  # runs of digits before the message
    build: int = 0
    doubtful: bool = False  # lines of this shape and build are spelled in several ways
    naming: tuple[int, ...] = ()  # runs of digits that stand in names ("top5"): other digits, other names


class Plans:
    """All shapes of a file."""

    def __init__(self, encoding: str, labelled: str, watch: Watch, calendar: Calendar = NO_CALENDAR) -> None:
        self.encoding = encoding
        self.labelled = labelled
        self.watch = watch
        self.calendar = calendar
        self.quick = quick(watch.index.needles, watch.index.blind)
        self.ids: dict[bytes, int] = {}
        self._most = MOST_SHAPES
        self.plans: dict[int, Plan] = {}
        self.reasons: dict[int, Reasons] = {}
        self._flags: list[int] = [0]  # by number of the shape
        self._rows: dict[tuple[int, Columns | None], Told | None] = {}
        self._named: dict[tuple[int, tuple[int, ...]], tuple[int, Plan] | None] = {}
        self._built: dict[int, dict[int | str, tuple[int, Plan]]] = {}
        self._variants = itertools.count(1)

    def ids_of(self, mined: Mined) -> np.ndarray:
        """The number of each segment's shape; new shapes are decided first."""
        keys = mined.keys
        try:
            found = np.fromiter(map(self.ids.__getitem__, keys), np.int64, len(keys))
        except KeyError:
            found = self._ids_with_new(mined)
        return found if mined.firsts is None else np.repeat(found, np.diff(mined.firsts))

    def _ids_with_new(self, mined: Mined) -> np.ndarray:
        """The same for a chunk with new shapes. Where there are many, those in which there is nothing are found together."""
        if len(self.ids) > self._most:
            self.ids = {key: number for key, number in self.ids.items() if number}
            self._most = len(self.ids) + MOST_SHAPES
        keys = mined.keys
        found = np.fromiter(map(self.ids.get, keys, itertools.repeat(-1)), np.int64, len(keys))
        new = np.flatnonzero(found < 0)
        names = [keys[place] for place in new.tolist()]
        self.ids.update(dict.fromkeys(names, 0))
        begins, ends = (new, new) if mined.firsts is None else (mined.firsts[new], mined.firsts[new + 1] - 1)
        if len(new) >= MANY and len(set(names)) >= MANY:
            telling = self.quick.telling(mined, begins, self.encoding)
            names, begins, ends = list(itertools.compress(names, telling)), begins[telling], ends[telling]
        first: dict[bytes, int] = {}
        last: dict[bytes, int] = {}
        for key, begin, end in zip(names, begins.tolist(), ends.tolist(), strict=True):
            if first.setdefault(key, begin) != end:
                last[key] = end
        found[new] = 0
        if self._decide(mined, first, last):
            found[new] = np.fromiter((self.ids[keys[place]] for place in new.tolist()), np.int64, len(new))
        if mined.long:
            self.ids = {key: number for key, number in self.ids.items() if len(key) <= LONG_KEY}
        return found

    def flags_of(self, ids: np.ndarray) -> np.ndarray:
        """What is to be done with each segment."""
        return np.array(self._flags, np.uint8)[ids]

    def _decide(self, mined: Mined, first: dict[bytes, int], last: dict[bytes, int]) -> bool:
        """Give a number to every new shape in which there is something; the others share the number 0. Was there one?"""
        known = len(self._flags)
        texts = mined.texts(list(first.values()), self.encoding)
        keys = list(first)
        looks = self.quick.looks(texts)
        for i in looks.any.tolist():
            again = last.get(keys[i])
            other = "" if again is None else mined.text(again).decode(self.encoding, "replace")
            number = len(self._flags)
            if flags := self._second_look(number, texts[i], other, looks, i):
                self._flags.append(flags)
                self.ids[keys[i]] = number
        return len(self._flags) > known

    def _second_look(self, number: int, text: str, other: str, looks: Looks, i: int) -> int:
        """What is to be done with the lines of a shape, and why; `other` is its last line so far, should the first one be damaged."""
        flags = 0
        if looks.watch[i] and (reasons := self.watch.reasons(text)) is not None:
            self.reasons[number] = reasons
            flags |= WATCH
        if looks.numbers[i] and ((plan := self.plan(text)).said is not None or other):
            self.plans[number] = plan
            plan.doubtful = bool(other) and self._doubtful(plan, text, other)
            flags |= _work(plan) if plan.said is not None else NUMBERS  # later lines may be built better than the first
        if looks.hint[i]:
            zeros = _DIGIT.sub("0", text)
            flags |= TRACE if any(hint in zeros for hint in _HINTS) else 0
        if looks.glue[i] and len(unglued(text)) > 1:
            flags |= GLUED
        return flags

    def _doubtful(self, plan: Plan, text: str, other: str) -> bool:
        return builds.plain(text) != builds.plain(other) and self._says(plan) != self._says(self.plan(other))

    def plan(self, text: str) -> Plan:
        """How to read the lines that have the shape of `text`, as far as they are built like it."""
        line = opened(text, self.labelled)
        found = said(line)
        plan = Plan(line, found, None, [match.start() for match in _RUN.finditer(line.line)])
        stamp = _STAMPED.match(text)  # a clock, even one that is damaged and no prefix any more
        plan.prefix = max(self._run(plan, line.message), 0 if stamp is None else bisect_left(plan.runs, stamp.end()))
        plan.build = builds.of_text(text.encode(self.encoding, "replace"), plan.prefix)
        if found is None:
            return plan
        if found.metrics or found.heads or (found.boxed and found.group is None):
            plan.told = self._told(plan, found)
        plan.naming = self._naming(plan, found)
        return plan

    def named(self, number: int, digits: tuple[int, ...], text: str) -> tuple[int, Plan] | None:
        """(number, plan) of the lines of a shape whose names hold these digits; `text` is one of them."""
        if (number, digits) not in self._named:
            plan = self.plan(text) if len(self._named) < MOST_NAMES else None
            self._named[number, digits] = None if plan is None or plan.said is None else (-next(self._variants), plan)
        return self._named[number, digits]

    def built(self, number: int, plan: Plan, build: int | str, text: Callable[[], str]) -> tuple[int, Plan]:
        """(number, plan) of the lines of a shape that have this build (of a doubtful shape: that are plainly this); `text` is one of them."""
        known = self._built.setdefault(number, {plan.build: (number, plan)})
        if build not in known:
            other = self.plan(text()) if len(known) < builds.MOST_BUILDS else plan
            same = other is plan or self._says(other) == self._says(plan)
            known[build] = (number, plan) if same else (-next(self._variants), other)
        return known[build]

    def _says(self, plan: Plan) -> tuple[object, ...]:
        """What a line says apart from where it stands in it: equal for plans that read all lines alike."""
        found = plan.said
        if found is None:
            return ()
        cells = found.cells
        columns = () if cells is None else (cells.label, cells.ruled, tuple(self._column(plan, num) for num in cells.nums))
        marks = (found.section, found.heads, found.code, found.columns, found.group, found.boxed)
        return (plan.told, plan.naming, columns, found.family, marks)

    def _naming(self, plan: Plan, found: Said) -> tuple[int, ...]:
        bare = plan.line.bare
        spans = []
        for metric in found.metrics:
            if _DIGIT.search(metric.name) and (start := bare.rfind(metric.name, 0, max(metric.num.start, 0))) >= 0:
                spans.append((start, start + len(metric.name)))
        if found.cells is not None and _DIGIT.search(found.cells.label):
            start = bare.find(found.cells.label)
            spans.append((max(start, 0), start + len(found.cells.label)))
        return tuple(self._run(plan, match.start()) for start, end in spans for match in _RUN.finditer(bare, start, end))

    def row(self, number: int, plan: Plan, table: Columns | None) -> Told | None:
        """How to read a row of a table below this head of a table."""
        if (number, table) not in self._rows:
            self._rows[number, table] = self.lone_row(plan, table)
        return self._rows[number, table]

    def lone_row(self, plan: Plan, table: Columns | None) -> Told | None:
        """The same for a row that is read on its own: one with empty cells, which only its blanks tell."""
        assert plan.said is not None
        found = row_metrics(plan.said, table)
        return None if found is None else self._told(plan, found)

    def _told(self, plan: Plan, found: Said) -> Told:
        line = plan.line
        stamp = None
        if found.stamp is not None:
            stamp = columns.time_column(line.bare[found.stamp[0] : found.stamp[1]], self._run(plan, found.stamp[0]), self.calendar)
        rank = self._column(plan, found.rank)
        if rank is None and line.rank is not None:
            rank = Column("plain", bisect_left(plan.runs, line.rank[0]))
        return Told(
            family=found.family,
            metrics=[
                (m.name, m.split, says_split(m.name), replace(self._column_of(plan, m.num), below=line.bare.count(WRAP, 0, m.num.start)))
                for m in found.metrics
            ],
            step=self._column(plan, found.step),
            epoch=self._column(plan, found.epoch),
            rank=rank,
            stamp=stamp,
            heads=found.heads,
            counts=found.counts,
            boxed=found.boxed,
            aside=found.aside,
            firm=found.firm,
            row=found.row,
        )

    def _column(self, plan: Plan, num: Num | None) -> Column | None:
        return None if num is None else self._column_of(plan, num)

    def _column_of(self, plan: Plan, num: Num) -> Column:
        return columns.column(plan.line.bare, num, self._first(plan, num))

    def _first(self, plan: Plan, num: Num) -> int:
        """Which run of digits of the segment the number begins with."""
        match = _RUN.search(plan.line.bare, num.start, num.end)
        return 0 if match is None else self._run(plan, match.start())

    def _run(self, plan: Plan, place: int) -> int:
        origin = plan.line.origin
        if origin is not None and place >= len(origin):
            return len(plan.runs)
        return bisect_left(plan.runs, place if origin is None else origin[place])


def _work(plan: Plan) -> int:
    found = plan.said
    assert found is not None
    if found.code or found.columns is not None or found.group is not None or (found.section and not found.metrics and not found.heads):
        return MARK
    return NUMBERS
