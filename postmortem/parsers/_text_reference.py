"""The slow, obvious reader of a log: one line after the other, one state. The fast one (_text_fast) must say the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from postmortem.frame import NO_STEP, NO_TIME
from postmortem.model import Split
from postmortem.parsers import _text_numbers as numbers
from postmortem.parsers._text_context import CODE_REACH, HEAD_REACH, OWN_REACH, row_metrics, sectioned
from postmortem.parsers._text_dates import NO_CALENDAR, Calendar
from postmortem.parsers._text_glue import unglued
from postmortem.parsers._text_line import Columns, Metric, Said, said
from postmortem.parsers._text_mend import WRAP, mended
from postmortem.parsers._text_numbers import Num
from postmortem.parsers._text_pairs import says_split
from postmortem.parsers._text_prefix import Opened, micros, opened
from postmortem.parsers._text_quick import WORTH_A_LOOK
from postmortem.parsers._text_rows import block_ids, spoken
from postmortem.parsers._text_series import MOST_RANKS, Collector, Key, Points
from postmortem.parsers._text_words import DOUBTFUL


@dataclass(slots=True)
class _Point:
    key: Key
    value: float
    line: int
    step: int
    epoch: float
    time: int
    own: bool
    segment: int
    placed: bool  # its line said the step or the epoch, or it stands in a box


@dataclass(slots=True)
class Reference:
    """The state of a log at a line: feed it segment by segment, then ask for `collected()`."""

    labelled: str = ""
    calendar: Calendar = NO_CALENDAR
    epoch: float = math.nan
    announced: bool = False  # the epoch stood in a heading, not in a line with metrics
    step: int = NO_STEP
    step_until: int = -1
    firm_until: int = -1  # so far a heading that said its total holds against rows that count something
    section: Split | None = None
    below_head: bool = False  # the section was announced by a heading with a step or an epoch
    table: Columns | None = None
    code_until: int = -1
    plain: set[str] = field(default_factory=set)
    points: list[_Point] = field(default_factory=list)
    box: list[_Point] = field(default_factory=list)
    box_step: int = NO_STEP
    box_epoch: float = math.nan
    group: str = ""
    ordinal: int = -1
    texts: list[bytes] = field(default_factory=list)
    row_steps: list[tuple[int, int, int]] = field(default_factory=list)  # segment, order, step
    row_epochs: list[tuple[int, int, float]] = field(default_factory=list)

    def feed(self, line: int, text: str) -> None:
        """One segment of a line."""
        self.ordinal += 1
        self.texts.append(text.encode("utf-8", "replace"))
        opened_line = opened(text, self.labelled)
        found = said(opened_line) if WORTH_A_LOOK.search(text) else None
        if found is None or not found.boxed:
            self._close_box()
        if found is None:
            return
        if found.code:
            self.code_until = self.ordinal + CODE_REACH
        elif found.columns is not None:
            self.table = found.columns
        elif found.group is not None:
            self.group = found.group
        elif found.cells is not None:
            found = row_metrics(found, self.table)
            if found is not None:
                self._metrics(line, opened_line, found)
        elif found.heads:
            self._heads(opened_line.bare, found)
        elif found.metrics or found.boxed:
            self._metrics(line, opened_line, found)
        elif found.section:
            self.section, self.below_head = sectioned(found.section), False

    def skip(self, text: str) -> None:
        """A segment that belongs to a traceback."""
        self.ordinal += 1
        self.texts.append(text.encode("utf-8", "replace"))
        self._close_box()

    def _heads(self, bare: str, found: Said) -> None:
        self.section, self.below_head = sectioned(found.section), True
        if found.epoch is not None:
            self.epoch, self.announced = numbers.value(bare, found.epoch), True
        if found.row >= 0 and found.step is not None and self.ordinal <= self.firm_until:
            return
        self.step, self.step_until = NO_STEP, -1
        if found.row < 0:
            self.firm_until = self.ordinal + HEAD_REACH if found.firm else -1
        if found.step is not None:
            self.step, self.step_until = _whole(bare, found.step), self.ordinal + HEAD_REACH
        if found.row >= 0 and found.step is not None:
            self.row_steps.append((self.ordinal, found.row, self.step))
        if found.row >= 0 and found.epoch is not None:
            self.row_epochs.append((self.ordinal, found.row, self.epoch))

    def _metrics(self, line: int, opened_line: Opened, found: Said) -> None:
        bare = opened_line.bare
        own_step = NO_STEP if found.step is None else _whole(bare, found.step)
        stepped = found.step is not None and not found.boxed and not found.family.endswith(DOUBTFUL)
        own_epoch = math.nan if found.epoch is None else numbers.value(bare, found.epoch)
        if found.boxed:
            self.box_step = own_step if own_step != NO_STEP else self.box_step
            self.box_epoch = own_epoch if own_epoch == own_epoch else self.box_epoch
        elif self.ordinal <= self.code_until and not stepped and found.epoch is None:
            return
        if found.counts and found.epoch is None and not found.boxed and not self.announced:
            self.epoch = math.nan  # "epoch 3 done" ends an epoch: the steps after it are of the next one
        below = found.epoch is None and self.ordinal <= self.step_until
        step = own_step if found.step is not None else self.step if below else NO_STEP
        epoch = own_epoch if found.epoch is not None else self.epoch
        section = self.section
        if stepped:
            if section is None or self.below_head:
                self.plain.add(found.family)
                section = None
            elif found.family in self.plain:
                section = None
        elif found.epoch is not None and not found.boxed and section is None:
            self.plain.add(found.family)
        elif found.epoch is not None and not found.boxed and found.family in self.plain and not self.below_head:
            section = None
        rank = _rank(opened_line, found)
        time = NO_TIME if found.stamp is None else micros(bare[found.stamp[0] : found.stamp[1]], self.calendar)
        for metric in found.metrics:
            self._point(line, bare, found, metric, (step, epoch, NO_TIME if time is None else time, section, rank))
        if found.epoch is not None and not found.boxed and not found.aside:
            self.epoch, self.announced = own_epoch, False
        if stepped:
            carried = found.epoch is None and found.counts
            self.firm_until = -1
            self.step, self.step_until = (own_step, self.ordinal + OWN_REACH) if carried else (NO_STEP, -1)

    def _point(self, line: int, bare: str, found: Said, metric: Metric, place: tuple[int, float, int, Split | None, int | None]) -> None:
        step, epoch, time, section, rank = place
        name = self.group + metric.name if found.boxed else metric.name
        split = metric.split or (None if says_split(name) else section)
        key = Key(found.family, name, split, rank)
        own = found.step is not None or found.epoch is not None
        below = bare.count(WRAP, 0, metric.num.start)
        point = _Point(key, numbers.value(bare, metric.num), line + below, step, epoch, time, own, self.ordinal, own or found.boxed)
        (self.box if found.boxed else self.points).append(point)

    def _close_box(self) -> None:
        for point in self.box:
            point.step = self.box_step if self.box_step != NO_STEP else point.step
            point.epoch = self.box_epoch if self.box_epoch == self.box_epoch else point.epoch
            self.points.append(point)
        self.box, self.box_step, self.box_epoch, self.group = [], NO_STEP, math.nan, ""

    def _settle_rows(self) -> None:
        """A row with a counter speaks for all of its block."""
        blocks = block_ids(self.texts)
        for spelled, name in ((self.row_steps, "step"), (self.row_epochs, "epoch")):
            if not spelled:
                continue
            where, orders, values = (np.array(column) for column in zip(*spelled, strict=True))
            by_block = spoken(blocks[where], orders, values)
            for point in self.points:
                if not point.placed and (value := by_block.get(int(blocks[point.segment]))) is not None:
                    setattr(point, name, value)

    def collected(self) -> Collector:
        """All points in a collector."""
        self._close_box()
        self._settle_rows()
        collector = Collector()
        by_key: dict[Key, list[_Point]] = {}
        for point in self.points:
            by_key.setdefault(point.key, []).append(point)
        for key, points in by_key.items():
            columns = Points(
                np.array([p.value for p in points], np.float64),
                np.array([p.line for p in points], np.int64),
                np.array([p.step for p in points], np.int64),
                np.array([p.epoch for p in points], np.float64),
                np.array([p.time for p in points], np.int64),
            )
            collector.add(key, columns, any(p.own for p in points))
        return collector


def _whole(bare: str, num: Num) -> int:
    """The number as an integer, NO_STEP where it is none."""
    read = numbers.value(bare, num)
    return int(read) if math.isfinite(read) and abs(read) < 2**53 and read == math.floor(read) else NO_STEP


def _rank(line: Opened, found: Said) -> int | None:
    return None if line.rank is None and found.rank is None else _rank_value(line, found)


def _rank_value(line: Opened, found: Said) -> int | None:
    if found.rank is not None:
        value = numbers.value(line.bare, found.rank)
        return int(value) if 0 <= value < MOST_RANKS else -1
    return line.rank_value


def reference(
    some: Iterable[tuple[int, str]],
    labelled: str = "",
    taken: Callable[[int, str], bool] = lambda line, text: False,
    calendar: Calendar = NO_CALENDAR,
) -> Collector:
    """Read (line number, segment) pairs one by one; those that are `taken` belong to tracebacks."""
    reader = Reference(labelled, calendar)
    for line, text in some:
        if taken(line, text):
            reader.skip(text)
        else:
            reader.feed(line, text)
    return reader.collected()


def segments(text: str) -> Iterator[tuple[int, str]]:
    r"""The segments of a decoded log with the line they stand in: `\r` ends a segment, `\n` a segment and a line."""
    number = 1
    for line in mended(text.replace("\r\n", "\n")).removesuffix("\n").split("\n"):
        for segment in line.replace("\b", "\r").split("\r"):
            for piece in unglued(segment):
                yield number, piece
                number += piece.count(WRAP)
        number += 1
