"""The fast reader of a log: shapes first, then all lines of a shape as columns. It says what _text_reference says, line by line."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from postmortem.frame import NO_TIME
from postmortem.model import Split
from postmortem.parsers import _text_builds as builds
from postmortem.parsers import _text_columns as columns
from postmortem.parsers._text_context import sparse_names
from postmortem.parsers._text_dates import NO_CALENDAR, Calendar
from postmortem.parsers._text_events import Watch
from postmortem.parsers._text_glue import unglued
from postmortem.parsers._text_line import Columns
from postmortem.parsers._text_marks import SPLITS, Marks, State, whole
from postmortem.parsers._text_mend import mended_bytes
from postmortem.parsers._text_plans import GLUED, MARK, NUMBERS, TRACE, WATCH, Plan, Plans, Told
from postmortem.parsers._text_runs import Runs
from postmortem.parsers._text_series import MOST_RANKS, Collector, Key, Points, constant, joined
from postmortem.parsers._text_shapes import LONG_LINE, Mined, mined
from postmortem.parsers._text_words import DOUBTFUL
from postmortem.parsers._traceback import Folder

_CHECKED = 200  # lines of one shape and chunk that are checked for what depends on their digits


@dataclass(slots=True)
class _Group:
    """All segments of one shape in a chunk that are read alike, and what was read from them."""

    rows: np.ndarray
    told: Told
    values: list[np.ndarray] = field(default_factory=list)
    step: np.ndarray | None = None
    steps: np.ndarray | None = None  # the same as whole numbers
    epoch: np.ndarray | None = None
    rank: np.ndarray | None = None


class Fast:
    """Feed it the chunks of a log, each of them whole lines; then ask `collector`, `watch` and `folder`."""

    def __init__(self, file: str, watch: Watch, encoding: str = "utf-8", labelled: str = "", calendar: Calendar = NO_CALENDAR) -> None:
        self.encoding = encoding
        self.watch = watch
        watch.calendar = calendar
        self.folder = Folder(file)
        self.plans = Plans(encoding, labelled, watch, calendar)
        self.collector = Collector()
        self.state = State()
        self.line = 1
        self.segments = 0
        self.long = 0

    def feed(self, chunk: bytes) -> None:
        """The next chunk; it ends with a line end, unless it is the last one or a line is longer than a chunk."""
        if not chunk:
            return
        chunk = mended_bytes(chunk)
        taken_apart = mined(chunk, self.line)
        ids = self.plans.ids_of(taken_apart)
        flags = self.plans.flags_of(ids)
        if (flags & GLUED).any():
            chunk = self._unglued(taken_apart, flags)
            taken_apart = mined(chunk, self.line)
            ids = self.plans.ids_of(taken_apart)
            flags = self.plans.flags_of(ids)
        self.long += taken_apart.long
        taken = self._fold(taken_apart, flags)
        if taken is not None:
            flags = np.where(taken, 0, flags).astype(np.uint8)
        self._watch(taken_apart, ids, flags)
        self._numbers(taken_apart, ids, flags)
        self.line = taken_apart.next_line if chunk.endswith((b"\n", b"\r")) else taken_apart.last_line
        self.segments += len(ids)

    def skip(self, lines: int) -> None:
        """So many lines are not looked at: a heading or an open traceback above them holds no more below, the head of a table does."""
        self.folder.cut()
        self.state = State(table=self.state.table, plain=self.state.plain)
        self.line += lines

    def close(self) -> None:
        """The log is at its end."""
        self.watch.folded = self.folder.close()
        self.collector.close()

    def notes(self) -> list[str]:
        """What was not looked at, in sentences."""
        if not self.long:
            return []
        return [f"{self.long:,} line{'s are' if self.long > 1 else ' is'} longer than {LONG_LINE:,} bytes: only so much of a line is read"]

    # ------------------------------------------------------------------ glued lines, tracebacks, events

    def _unglued(self, taken_apart: Mined, flags: np.ndarray) -> bytes:
        r"""The chunk with `\r` put between the lines that were printed one behind the other."""
        pieces, at = [], int(taken_apart.starts[0])
        for row in np.flatnonzero(flags & GLUED).tolist():
            start, end = int(taken_apart.starts[row]), int(taken_apart.ends[row])
            pieces.append(taken_apart.data[at:start])
            text = taken_apart.data[start:end].decode(self.encoding, "surrogateescape")
            pieces.append("\r".join(unglued(text)).encode(self.encoding, "surrogateescape"))
            at = end
        return b"".join([*pieces, taken_apart.data[at:]])

    def _fold(self, taken_apart: Mined, flags: np.ndarray) -> np.ndarray | None:
        """Which segments belong to tracebacks; only lines that may begin one are looked at while none is open."""
        begins = np.flatnonzero(flags & TRACE)
        if self.folder.idle and not len(begins):
            return None
        taken = np.zeros(len(flags), bool)
        row = 0 if not self.folder.idle else int(begins[0])
        while row < len(flags):
            text = taken_apart.text(row).decode(self.encoding, "replace")
            taken[row] = self.folder.feed(int(taken_apart.lines[row]), text)
            if self.folder.idle:
                following = int(np.searchsorted(begins, row, side="right"))
                row = int(begins[following]) if following < len(begins) else len(flags)
            else:
                row += 1
        return taken

    def _watch(self, taken_apart: Mined, ids: np.ndarray, flags: np.ndarray) -> None:
        rows = np.flatnonzero(flags & WATCH)
        if not len(rows):
            return
        for shape, some in _by_shape(ids, rows):
            middle = max(0, len(some) - _CHECKED)
            chosen = np.concatenate((some[: _CHECKED // 2], some[_CHECKED // 2 + middle :]))
            for row in chosen.tolist():
                text = taken_apart.text(row).decode(self.encoding, "replace")
                self.watch.look(shape, self.plans.reasons[shape], int(taken_apart.lines[row]), text, self.plans.labelled)
            if middle:
                self.watch.skip(shape, middle)

    # ------------------------------------------------------------------ numbers

    def _numbers(self, taken_apart: Mined, ids: np.ndarray, flags: np.ndarray) -> None:
        rows = np.flatnonzero(flags & (NUMBERS | MARK))
        marks = Marks(len(ids), self.segments, self.state, lambda: map(taken_apart.text, range(len(ids))))
        if len(rows):
            groups = self._groups(taken_apart, ids, rows, marks)
            marks.settle()
            self._emit(taken_apart, groups, marks)
        self.state = marks.last(self.state)

    def _groups(self, taken_apart: Mined, ids: np.ndarray, rows: np.ndarray, marks: Marks) -> list[_Group]:
        """The segments by shape, with steps, epochs and values read, and every heading and section marked."""
        shapes: list[tuple[int, Plan, np.ndarray]] = []
        chunk_builds = builds.Builds(taken_apart)
        for shape, some in _by_shape(ids, rows):
            for number, plan, same in self._by_build(taken_apart, shape, some, chunk_builds):
                shapes += self._by_name(taken_apart, number, plan, same) if plan.naming else [(number, plan, same)]
        for _, plan, some in shapes:
            marks.place(plan.said, some)
        marks.settle_places()
        groups: list[_Group] = []
        for shape, plan, some in shapes:
            if plan.told is not None:
                self._group(taken_apart, plan.told, some, groups, marks)
            elif plan.said is not None and plan.said.cells is not None:
                self._rows(taken_apart, shape, plan, some, groups, marks)
        return groups

    def _by_build(
        self, taken_apart: Mined, shape: int, rows: np.ndarray, chunk_builds: builds.Builds
    ) -> list[tuple[int, Plan, np.ndarray]]:
        """The segments of a shape by how they are built; those that say the same stay together."""
        base = self.plans.plans[shape]
        if base.doubtful:
            return self._one_by_one(taken_apart, shape, rows)
        found = chunk_builds.of(Runs(taken_apart, rows), base.prefix)
        if bool((found == base.build).all()):
            return [(shape, base, rows)]
        least = int(found.min())
        kinds = np.flatnonzero(np.bincount(found - least)) + least
        parts: dict[int, tuple[Plan, list[int]]] = {}
        for build in kinds.tolist():
            text = functools.partial(self._first_text, taken_apart, rows, found, build)
            number, plan = self.plans.built(shape, base, build, text)
            parts.setdefault(number, (plan, []))[1].append(build)
        if len(parts) == 1:
            return [(number, plan, rows) for number, (plan, _) in parts.items()]
        return [(number, plan, rows[np.isin(found, some)]) for number, (plan, some) in parts.items()]

    def _one_by_one(self, taken_apart: Mined, shape: int, rows: np.ndarray) -> list[tuple[int, Plan, np.ndarray]]:
        """The segments of a doubtful shape by how each of them is spelled."""
        parts: dict[int, tuple[Plan, list[int]]] = {}
        for row in rows.tolist():
            text = taken_apart.text(row).decode(self.encoding, "replace")
            number, plan = self.plans.built(shape, self.plans.plans[shape], builds.plain(text), functools.partial(str, text))
            parts.setdefault(number, (plan, []))[1].append(row)
        return [(number, plan, np.array(some)) for number, (plan, some) in parts.items()]

    def _first_text(self, taken_apart: Mined, rows: np.ndarray, builds: np.ndarray, build: int) -> str:
        return taken_apart.text(int(rows[np.argmax(builds == build)])).decode(self.encoding, "replace")

    def _by_name(self, taken_apart: Mined, shape: int, plan: Plan, rows: np.ndarray) -> list[tuple[int, Plan, np.ndarray]]:
        """The segments of a shape by the digits in their names: "top1: 50.2" and "top5: 80.1" are of one shape."""
        runs = Runs(taken_apart, rows)
        spelled = [columns.spelling(runs, run) for run in plan.naming]
        kind = np.zeros(len(rows), np.int64)
        for digits in spelled:
            if bool((digits != digits[0]).any()):
                kinds, which = np.unique(digits, return_inverse=True)
                kind = np.unique(kind * len(kinds) + which, return_inverse=True)[1]
        found = []
        for _, some in _by_shape(kind, np.arange(len(rows))):
            text = taken_apart.text(int(rows[some[0]])).decode(self.encoding, "replace")
            named = self.plans.named(shape, tuple(int(digits[some[0]]) for digits in spelled), text)
            if named is not None:
                found.append((*named, rows[some]))
        return found

    def _rows(self, taken_apart: Mined, shape: int, plan: Plan, rows: np.ndarray, groups: list[_Group], marks: Marks) -> None:
        """Rows of tables: read by the head of the table above them."""
        heads = marks.table_before(rows)
        for head in np.unique(heads).tolist():
            table = marks.tables[head] if head >= 0 else None
            if table is not None and plan.said is not None and sparse_names(plan.said, table) is not None:
                self._sparse_rows(taken_apart, rows[heads == head], table, groups, marks)
                continue
            told = self.plans.row(shape, plan, table)
            if told is not None:
                self._group(taken_apart, told, rows[heads == head], groups, marks)

    def _sparse_rows(self, taken_apart: Mined, rows: np.ndarray, table: Columns, groups: list[_Group], marks: Marks) -> None:
        """Rows with empty cells: which cells are empty is no part of a shape."""
        for row in rows.tolist():
            plan = self.plans.plan(taken_apart.text(row).decode(self.encoding, "replace"))
            told = None if plan.said is None or plan.said.cells is None else self.plans.lone_row(plan, table)
            if told is not None:
                self._group(taken_apart, told, np.array([row]), groups, marks, alone=True)

    def _group(self, taken_apart: Mined, told: Told, rows: np.ndarray, groups: list[_Group], marks: Marks, alone: bool = False) -> None:
        if not told.boxed and told.epoch is None and (told.step is None or told.family.endswith(DOUBTFUL)):
            rows = rows[~marks.in_code(rows)]
        if not len(rows):
            return
        group = _Group(rows, told)
        runs = Runs(taken_apart, rows)
        odd: np.ndarray | None = None
        for name in ("step", "epoch", "rank"):
            where = getattr(told, name)
            if where is not None:
                values, wrong = columns.parse(runs, where)
                setattr(group, name, values)
                odd = wrong if odd is None else odd if wrong is None else odd | wrong
        for _, _, _, where in told.metrics:
            values, wrong = columns.parse(runs, where)
            group.values.append(values)
            odd = wrong if odd is None else odd if wrong is None else odd | wrong
        if odd is not None and not alone:
            self._odd(taken_apart, told, rows, odd, groups, marks)
            return
        group.steps = None if group.step is None else whole(group.step)
        groups.append(group)
        marks.counters(told, rows, group.step, group.steps, group.epoch)

    def _odd(self, taken_apart: Mined, told: Told, rows: np.ndarray, odd: np.ndarray, groups: list[_Group], marks: Marks) -> None:
        """Segments that are spelled unlike the first one of their shape after all: each is read on its own."""
        self._group(taken_apart, told, rows[~odd], groups, marks, alone=True)
        for row in rows[odd]:
            plan = self.plans.plan(taken_apart.text(int(row)).decode(self.encoding, "replace"))
            if plan.told is not None:
                self._group(taken_apart, plan.told, np.array([row]), groups, marks, alone=True)

    def _emit(self, taken_apart: Mined, groups: list[_Group], marks: Marks) -> None:
        """Points by series; within a series by line."""
        found: dict[Key, list[tuple[np.ndarray, Points, bool]]] = {}
        order: dict[Key, tuple[int, int]] = {}
        for group in groups:
            if group.told.metrics:
                self._points(taken_apart, group, marks, found, order)
        for key in sorted(found, key=order.__getitem__):
            parts = found[key]
            points = joined([some for _, some, _ in parts])
            if len(parts) > 1:
                points = points.at(np.argsort(np.concatenate([rows for rows, _, _ in parts]), kind="stable"))
            self.collector.add(key, points, any(part[2] for part in parts))

    def _points(
        self,
        taken_apart: Mined,
        group: _Group,
        marks: Marks,
        found: dict[Key, list[tuple[np.ndarray, Points, bool]]],
        order: dict[Key, tuple[int, int]],
    ) -> None:
        rows, told = group.rows, group.told
        steps, epochs = marks.steps(rows, told, group.steps), marks.epochs(rows, told, group.epoch)
        times = constant(NO_TIME, len(rows)) if told.stamp is None else columns.parse_times(Runs(taken_apart, rows), told.stamp)
        lines = taken_apart.lines[rows]
        sections = marks.sections(rows, told)
        boxes = marks.groups_before(rows) if told.boxed else None
        for place, ((name, split, says, where), values) in enumerate(zip(told.metrics, group.values, strict=True)):
            by_section = sections if split is None and not says else None
            for prefix, side, rank, some in _parts(rows, by_section, group.rank, boxes):
                key = Key(told.family, (marks.names[prefix] if prefix >= 0 else "") + name, split or side, rank)
                all_columns = Points(values, lines + where.below if where.below else lines, steps, epochs, times)
                points = all_columns if some is None else all_columns.at(some)
                chosen = rows if some is None else rows[some]
                found.setdefault(key, []).append((chosen, points, told.step is not None or told.epoch is not None))
                order[key] = min(order.get(key, (1 << 62, 0)), (int(chosen[0]), place))


def _parts(
    rows: np.ndarray, sections: np.ndarray | None, ranks: np.ndarray | None, boxes: np.ndarray | None
) -> Iterable[tuple[int, Split | None, int | None, np.ndarray | None]]:
    """(group of a box, split, rank, which rows) of every part of a group that is a series of its own; None: all rows."""
    if sections is None and ranks is None and boxes is None:
        yield -1, None, None, None
        return
    ranks = None if ranks is None else np.where((ranks >= 0) & (ranks < MOST_RANKS), ranks, -1)
    codes = [np.full(len(rows), -1) if some is None else some.astype(np.int64) for some in (boxes, sections, ranks)]
    if all(bool((code == code[0]).all()) for code in codes):
        box, side, rank = (int(code[0]) for code in codes)
        yield box, SPLITS[side], None if ranks is None else rank, None
        return
    table = np.stack(codes, axis=1)
    for box, side, rank in np.unique(table, axis=0).tolist():
        yield box, SPLITS[side], None if ranks is None else rank, np.flatnonzero((table == (box, side, rank)).all(axis=1))


def _by_shape(ids: np.ndarray, rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The rows of each shape, in order."""
    shapes = ids[rows]
    if bool((shapes == shapes[0]).all()):
        return [(int(shapes[0]), rows)]
    if int(shapes.max()) < 1 << 16:
        shapes = shapes.astype(np.uint16)  # NumPy sorts 16-bit numbers by their digits, ten times as fast
    order = rows[np.argsort(shapes, kind="stable")]
    shapes = ids[order]
    cuts = np.flatnonzero(shapes[1:] != shapes[:-1]) + 1
    return [(int(ids[some[0]]), some) for some in np.split(order, cuts)]
