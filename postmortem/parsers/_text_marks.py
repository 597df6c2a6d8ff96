"""The context of every segment of a chunk as arrays: which heading, section, table, box and code it stands below.

The same rules as in _text_reference, told once for all segments: a mark stands where a heading is, and what holds at a segment
is the last mark before it. What holds at the end of a chunk begins the next one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from postmortem.frame import NO_STEP
from postmortem.model import Split
from postmortem.parsers._text_context import CODE_REACH, HEAD_REACH, OWN_REACH, sectioned
from postmortem.parsers._text_line import Columns, Said
from postmortem.parsers._text_plans import Told
from postmortem.parsers._text_rows import block_ids, spoken
from postmortem.parsers._text_series import constant
from postmortem.parsers._text_words import DOUBTFUL

_HEAD = 4  # added to the code of a section that a heading with a step or an epoch announced
SPLITS: dict[int, Split | None] = {-1: None, 0: None, 1: "train", 2: "val", 3: "test", 4: None, 5: "train", 6: "val", 7: "test"}
_CODES: dict[Split | None, int] = {None: 0, "train": 1, "val": 2, "test": 3}


@dataclass(slots=True)
class State:
    """What holds where a chunk begins. Ordinals count segments from the beginning of the file."""

    epoch: float = math.nan
    announced: bool = False  # the epoch stood in a heading, not in a line with metrics
    step: int = NO_STEP
    step_until: int = -1
    firm_until: int = -1  # so far a heading that said its total ("12/1500") holds against rows that count something
    section: int = 0
    table: Columns | None = None
    code: int = -(1 << 40)  # ordinal of the last line of code
    plain: dict[str, int] = field(default_factory=dict)  # family with steps of its own: its first segment outside any section


class Marks:
    """Marks of one chunk of `count` segments, the first of which has the ordinal `base`."""

    def __init__(self, count: int, base: int, state: State, segments: Callable[[], Iterable[bytes]] = tuple) -> None:
        self.count, self.base, self.state, self._segments = count, base, state, segments
        self.places = np.arange(count)
        self.tables: list[Columns] = [] if state.table is None else [state.table]
        self._table_begin = len(self.tables) - 1
        self.names: list[str] = []
        self._section = np.full(count, -1, np.int8)
        self._code = np.zeros(count, bool)
        self._table = np.full(count, -1, np.int64)
        self._boxed = np.zeros(count, bool)
        self._group = np.full(count, -1, np.int64)
        self._announced: list[tuple[np.ndarray, np.ndarray]] = []
        self._epoch: list[tuple[np.ndarray, np.ndarray]] = []
        self._counting: list[np.ndarray] = []
        self._placed = False
        self._step: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._box_step: list[tuple[np.ndarray, np.ndarray]] = []
        self._box_epoch: list[tuple[np.ndarray, np.ndarray]] = []
        self._own: list[tuple[str, np.ndarray]] = []
        self._own_epoch: list[tuple[str, np.ndarray]] = []
        self._row_step: list[tuple[np.ndarray, int, np.ndarray]] = []
        self._firm: list[tuple[np.ndarray, np.ndarray]] = []
        self._row_epoch: list[tuple[np.ndarray, int, np.ndarray]] = []
        self._blocks: np.ndarray | None = None

    # ------------------------------------------------------------------ before numbers are read

    def place(self, said: Said | None, rows: np.ndarray) -> None:
        """Mark what needs no number: sections, code, heads of tables, boxes."""
        if said is None:
            return
        if said.boxed:
            self._boxed[rows] = True
        if said.code:
            self._code[rows] = True
        elif said.columns is not None:
            self.tables.append(said.columns)
            self._table[rows] = len(self.tables) - 1
        elif said.group is not None:
            self.names.append(said.group)
            self._group[rows] = len(self.names) - 1
        elif said.section and (said.heads or not said.metrics) and said.cells is None:
            self._section[rows] = _CODES[sectioned(said.section)] + (_HEAD if said.heads else 0)

    def settle_places(self) -> None:
        """All places are marked: find for each segment the last one before it."""
        self._placed = True
        self._code_before = np.maximum.accumulate(np.where(self._code, self.places, -1)) if self._code.any() else None
        self._table_at = _last(self._table, self._table_begin) if (self._table >= 0).any() else None
        self._section_at = _last(self._section, self.state.section) if (self._section >= 0).any() else None
        edges = self._boxed & ~np.concatenate(([False], self._boxed[:-1]))
        self._box = np.cumsum(edges) - 1 if self._boxed.any() else None

    def in_code(self, rows: np.ndarray) -> np.ndarray:
        """Which rows stand right below a line of code."""
        ordinal_until = self.state.code + CODE_REACH
        inside = self.base + rows <= ordinal_until
        if self._code_before is not None:
            before = self._code_before[rows]
            inside = inside | ((before >= 0) & (rows - before <= CODE_REACH))
        return inside

    def table_before(self, rows: np.ndarray) -> np.ndarray:
        """Index in `tables` of the head above each row, -1: none."""
        return np.full(len(rows), self._table_begin) if self._table_at is None else self._table_at[rows]

    def groups_before(self, rows: np.ndarray) -> np.ndarray:
        """Index in `names` of the group of a box that each row is in, -1: none."""
        assert self._box is not None
        last = np.maximum.accumulate(np.where(self._group >= 0, self.places, -1))[rows]
        same = (last >= 0) & (self._box[last] == self._box[rows])
        return np.where(same, self._group[last], -1)

    # ------------------------------------------------------------------ counters

    def counters(self, told: Told, rows: np.ndarray, step: np.ndarray | None, steps: np.ndarray | None, epoch: np.ndarray | None) -> None:
        """The steps and epochs that lines say; `steps` are the steps as whole numbers."""
        if told.boxed:
            if steps is not None:
                self._box_step.append((rows, steps))
            if epoch is not None:
                self._box_epoch.append((rows, epoch))
            return
        for said, values in ((self._row_step, step), (self._row_epoch, epoch)):
            if told.row >= 0 and values is not None:
                said.append((rows, told.row, values))
        if told.row >= 0 and step is not None:
            return  # settle() asks first whether a firm heading stands above
        if epoch is not None and step is None and not told.heads:
            self._own_epoch.append((told.family, rows))
        if epoch is not None and told.aside:
            return
        if epoch is not None:
            (self._announced if told.heads else self._epoch).append((rows, epoch))
        elif told.counts and not told.heads:
            self._counting.append(rows)
        never, none = constant(-1, len(rows)), constant(NO_STEP, len(rows))
        if told.heads:
            if told.row < 0:
                self._firm.append((rows, rows + (self.base + HEAD_REACH) if told.firm else never))
            self._step.append((rows, none, never) if steps is None else (rows, steps, rows + (self.base + HEAD_REACH)))
        elif steps is not None and not told.family.endswith(DOUBTFUL):
            carried = epoch is None and told.counts
            self._step.append((rows, steps, rows + (self.base + OWN_REACH)) if carried else (rows, none, never))
            self._own.append((told.family, rows))
            self._firm.append((rows, never))

    def settle(self) -> None:
        """All counters are told: find where families with counters of their own stand outside any section."""
        self._settle_rows()
        for family, rows in self._own:
            outside = rows if self._section_at is None and self.state.section == 0 else rows[self._own_code(rows) == 0]
            self._outside(family, outside)
        for family, rows in self._own_epoch:
            self._outside(family, rows[self._section_code(rows) % _HEAD == 0])

    def _outside(self, family: str, rows: np.ndarray) -> None:
        """Lines of this family with a counter of their own stand outside any section."""
        if len(rows):
            first = int(rows.min()) + self.base
            self.state.plain[family] = min(self.state.plain.get(family, first), first)

    def _settle_rows(self) -> None:
        """Rows that count steps, except below a firm heading."""
        if not self._row_step:
            return
        firm_at = self._before(self._firm, self.state.firm_until)
        found, self._row_step = self._row_step, []
        for rows, order, values in found:
            until = self.state.firm_until if firm_at is None else firm_at[rows]
            free = rows + self.base > until
            if free.any():
                self._row_step.append((rows[free], order, values[free]))
                self._step.append((rows[free], whole(values[free]), rows[free] + self.base + HEAD_REACH))

    @functools.cached_property
    def _epoch_at(self) -> np.ndarray | None:
        """The epoch that holds at each segment, None: it never changes.

        A heading holds until the next one. An epoch in a line with metrics ("epoch 3 done: loss 0.5") ends with the next line that
        counts steps: that is of the following epoch.
        """
        begin = self.state.epoch
        if not (self._announced or self._epoch or (self._counting and begin == begin)):
            return None
        values = np.full(self.count, math.nan)
        head, said, over = (np.zeros(self.count, bool) for _ in range(3))
        (head if self.state.announced else said)[0] = True
        values[0] = begin
        for marks, mask in ((self._announced, head), (self._epoch, said)):
            for rows, some in marks:
                below, some = _below(rows, some, self.count)
                values[below] = some
                mask[below] = True
        for rows in self._counting:
            over[rows] = True
        last_head, last_said, last_over = (np.maximum.accumulate(np.where(mask, self.places, -1)) for mask in (head, said, over))
        return np.where(last_head > last_said, values[last_head], np.where(last_over < last_said, values[last_said], math.nan))

    def _last_epoch(self) -> tuple[float, bool]:
        """The epoch that holds behind the chunk, and whether it was announced."""
        head_row, head = _latest(self._announced)
        said_row, said = _latest(self._epoch)
        over_row = max((int(rows[-1]) for rows in self._counting), default=-1)
        if head_row < 0 and said_row < 0:
            head_row, said_row = (-1, -2) if self.state.announced else (-2, -1)
            head = said = self.state.epoch
        if head_row > said_row:
            return head, True
        return (said if over_row <= said_row else math.nan), False

    @functools.cached_property
    def _step_at(self) -> np.ndarray | None:
        """The step that holds at each segment, NO_STEP where none does; None: it never changes."""
        if not self._step:
            return None
        steps, until = np.full(self.count, self.state.step), np.full(self.count, self.state.step_until)
        marked = np.zeros(self.count, bool)
        for rows, some, reach in self._step:
            below, some = _below(rows, some, self.count)
            steps[below], until[below], marked[below] = some, reach[: len(below)], True
        last = np.maximum.accumulate(np.where(marked, self.places, 0))
        return np.where(self.places + self.base <= until[last], steps[last], NO_STEP)

    def _last_step(self) -> tuple[int, int]:
        """The last step that was said, and until which segment it holds."""
        _, steps, until = max(self._step, key=lambda mark: int(mark[0][-1]))
        return int(steps[-1]), int(until[-1])

    def _before(self, marks: list[tuple[np.ndarray, np.ndarray]], begin: int) -> np.ndarray | None:
        """The value of the last mark before each segment. None: it never changes."""
        if not marks:
            return None
        values, marked = np.full(self.count, begin), np.zeros(self.count, bool)
        for rows, some in marks:
            below, some = _below(rows, some, self.count)
            values[below], marked[below] = some, True
        return values[np.maximum.accumulate(np.where(marked, self.places, 0))]

    # ------------------------------------------------------------------ answers

    def epochs(self, rows: np.ndarray, told: Told, own: np.ndarray | None) -> np.ndarray:
        """The epoch of each row."""
        epochs = own if own is not None else constant(self.state.epoch, len(rows)) if self._epoch_at is None else self._epoch_at[rows]
        if told.boxed:
            return self._boxes(rows, epochs, self._box_epoch, math.nan)
        return epochs if told.step is not None or own is not None else self._by_rows(rows, epochs, self._row_epoch)

    def steps(self, rows: np.ndarray, told: Told, own: np.ndarray | None) -> np.ndarray:
        """The step of each row, NO_STEP where nobody says; `own`: what the rows say themselves."""
        if own is not None:
            steps = own
        elif told.epoch is not None or (self._step_at is None and self.state.step_until < self.base):
            steps = constant(NO_STEP, len(rows))
        elif self._step_at is None:
            steps = np.where(rows + self.base <= self.state.step_until, self.state.step, NO_STEP)
        else:
            steps = self._step_at[rows]
        if told.boxed:
            return self._boxes(rows, steps, self._box_step, NO_STEP)
        return steps if told.epoch is not None or own is not None else self._by_rows(rows, steps, self._row_step)

    def _by_rows(self, rows: np.ndarray, values: np.ndarray, said: list[tuple[np.ndarray, int, np.ndarray]]) -> np.ndarray:
        """What a row with a counter says holds in all of its block."""
        if not said:
            return values
        if self._blocks is None:
            self._blocks = block_ids(self._segments())
        where = np.concatenate([some for some, _, _ in said])
        orders = np.concatenate([np.full(len(some), order) for some, order, _ in said])
        by_block = spoken(self._blocks[where], orders, np.concatenate([some for _, _, some in said]))
        found = [by_block.get(block) for block in self._blocks[rows].tolist()]
        return np.array([old if new is None else new for old, new in zip(values.tolist(), found, strict=True)], values.dtype)

    def _boxes(self, rows: np.ndarray, values: np.ndarray, said: list[tuple[np.ndarray, np.ndarray]], missing: float) -> np.ndarray:
        """What a box says somewhere holds in all of it; said twice, the later counts."""
        if not said:
            return values
        assert self._box is not None
        where = np.concatenate([some for some, _ in said])
        what = np.concatenate([some for _, some in said])
        known = (what != missing) & (what == what)
        order = np.argsort(where[known], kind="stable")
        by_box = np.full(int(self._box.max()) + 1, missing, values.dtype)
        by_box[self._box[where[known][order]]] = what[known][order]
        told = by_box[self._box[rows]]
        return np.where((told != missing) & (told == told), told, values)

    def sections(self, rows: np.ndarray, told: Told) -> np.ndarray | None:
        """The section of each row as a key of SPLITS, None: none. Lines with a counter that came before any section stay out of it."""
        if self._section_at is None and self.state.section == 0:
            return None
        if told.epoch is not None and told.step is None and not told.boxed:
            codes, first = self._section_code(rows), self.state.plain.get(told.family)
            return codes if first is None else np.where((rows + self.base > first) & (codes < _HEAD), 0, codes)
        if told.step is None or told.boxed or told.family.endswith(DOUBTFUL):
            return self._section_code(rows)
        codes, first = self._own_code(rows), self.state.plain.get(told.family)
        return codes if first is None else np.where(rows + self.base > first, 0, codes)

    def _own_code(self, rows: np.ndarray) -> np.ndarray:
        """The section of lines with a step of their own: what a heading announced is not for them."""
        codes = self._section_code(rows)
        return np.where(codes >= _HEAD, 0, codes)

    def _section_code(self, rows: np.ndarray) -> np.ndarray:
        return np.full(len(rows), self.state.section) if self._section_at is None else self._section_at[rows]

    def last(self, state: State) -> State:
        """What holds behind the chunk."""
        if not self._placed:
            return state
        state.epoch, state.announced = self._last_epoch()
        if self._step:
            state.step, state.step_until = self._last_step()
        if self._firm:
            state.firm_until = int(_latest(self._firm)[1])
        if self._section_at is not None:
            state.section = int(self._section_at[-1])
        table = self._table_begin if self._table_at is None else int(self._table_at[-1])
        state.table = self.tables[table] if table >= 0 else None
        if self._code.any():
            state.code = self.base + int(np.flatnonzero(self._code)[-1])
        return state


def _below(rows: np.ndarray, values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The segments below `rows`, as far as there are some, and their values."""
    return (rows[:-1] + 1, values[:-1]) if int(rows[-1]) + 1 == count else (rows + 1, values)


def _latest(marks: list[tuple[np.ndarray, np.ndarray]]) -> tuple[int, float]:
    """(row, value) of the last of some marks, (-1, nan) where there is none."""
    if not marks:
        return -1, math.nan
    rows, values = max(marks, key=lambda mark: int(mark[0][-1]))
    return int(rows[-1]), float(values[-1])


def _last(marks: np.ndarray, begin: int) -> np.ndarray:
    """The last mark (not negative) before each segment, and one more for what follows."""
    places = np.maximum.accumulate(np.where(np.concatenate(([True], marks >= 0)), np.arange(len(marks) + 1), 0))
    return np.concatenate((np.array([begin], marks.dtype), marks))[places]


def whole(values: np.ndarray) -> np.ndarray:
    """Whole numbers as int64, NO_STEP for all others."""
    with np.errstate(invalid="ignore"):
        numbers = values.astype(np.int64)
    usable = (numbers == values) & (np.abs(values) < 2.0**53)
    return numbers if bool(usable.all()) else np.where(usable, numbers, NO_STEP)
