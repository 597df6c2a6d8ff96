"""A table that grows block by block and ends as one `Block` a column, with bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from postmortem.frame import NO_STEP, NO_TIME, Block
from postmortem.model import Reading, Split
from postmortem.parsers._columns import clean, device_of, is_inner_counter
from postmortem.parsers._thinning import BUCKET, KEPT, thin

POINTS_A_SERIES = 1_000_000  # above this a series is thinned
POINTS_IN_ALL = 2_000_000  # above this all series of a file are thinned further: a point costs about 200 bytes before all is told


@dataclass(slots=True)
class Rows:
    """What a stretch of rows has in common: (n,) line numbers, steps, epochs and times; None where no row has one."""

    lines: np.ndarray
    steps: np.ndarray | None = None
    epochs: np.ndarray | None = None
    times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(slots=True)
class Column:
    """One series as it grows. `pieces` are (rows, index of the rows that hold a value or None for all, values).

    Of `seen` points a thinned column keeps two of each `bucket`, and `places` (one array a piece) tells which points of the series they
    were: so what comes later is thinned as much as what came first.
    """

    name: str
    split: Split | None
    rank: int | None
    series: int
    pieces: list[tuple[Rows, np.ndarray | None, np.ndarray]] = field(default_factory=list)
    points: int = 0
    seen: int = 0
    bucket: int = 1
    places: list[np.ndarray] = field(default_factory=list)


class Table:
    """Collects rows of numbers and hands them out as blocks.

    Columns whose cells are filled in the same rows share the arrays of lines, steps, epochs and times: a sparse table with
    thirty columns costs little more than its values.
    """

    def __init__(self, points_a_series: int = POINTS_A_SERIES) -> None:
        self.columns: dict[tuple[Hashable, ...], Column] = {}
        self.limit = points_a_series

    def add(
        self,
        rows: Rows,
        name: str,
        values: np.ndarray,
        index: np.ndarray | None = None,
        *,
        split: Split | None = None,
        rank: int | None = None,
        series: int = 0,
    ) -> None:
        """Add values of one column: values[k] stands in row index[k] of `rows` (in row k where index is None)."""
        if not len(values):
            return
        key = (name, split, rank, series)
        column = self.columns.get(key)
        if column is None:
            column = self.columns[key] = Column(name, split, rank, series)
        column.pieces.append((rows, index, values))
        column.points += len(values)
        column.seen += len(values)
        if column.bucket > 1:
            column.places.append(np.arange(column.seen - len(values), column.seen))
            _shrink(column, len(column.pieces) - 1)
        while column.points > min(self.limit, max(20_000, POINTS_IN_ALL // len(self.columns))):
            column.places = column.places or [np.arange(column.seen)]
            column.bucket = max(BUCKET, 2 * column.bucket)
            _shrink(column, 0)

    def blocks(self, dropped: Iterable[str] = ()) -> list[Block]:
        """One block a series, in the order in which the columns were first met. `dropped` names columns to leave out."""
        left_out, cache = set(dropped), {}  # type: ignore[var-annotated]
        found = []
        for column in self.columns.values():
            if column.name in left_out:
                continue
            rows = _materialise(column.pieces, cache)
            values = column.pieces[0][2] if len(column.pieces) == 1 else np.concatenate([piece[2] for piece in column.pieces])
            column.pieces = [(rows, None, values)]
            block = Block(clean(column.name.strip()), values, rows.lines, rows.steps, rows.epochs, rows.times)
            block.split, block.rank, block.series = column.split, column.rank, column.series
            block.device = device_of(block.raw_name)
            found.append(block)
        return found

    def notes(self) -> list[str]:
        """What was thinned, in words."""
        thinned = [column for column in self.columns.values() if column.bucket > 1]
        if not thinned:
            return []
        kept, total = sum(c.points for c in thinned), sum(c.seen for c in thinned)
        return [f"{len(thinned)} long series thinned evenly from {total:,} to {kept:,} points; {KEPT}"]


def _shrink(column: Column, first: int) -> None:
    """Thin the pieces of a column from the first one given on, to two points a bucket."""
    pieces = column.pieces[first:]
    values = np.concatenate([piece[2] for piece in pieces])
    places = np.concatenate(column.places[first:])
    keep = thin(values, places // column.bucket)
    rows = _materialise(pieces, {})
    kept = Rows(rows.lines[keep], *(None if part is None else part[keep] for part in (rows.steps, rows.epochs, rows.times)))
    column.pieces[first:] = [(kept, None, values[keep])]
    column.places[first:] = [places[keep]]
    column.points -= len(values) - len(keep)


def _materialise(pieces: list[tuple[Rows, np.ndarray | None, np.ndarray]], cache: dict[tuple, Rows]) -> Rows:
    """The rows of a column end to end; columns with the same pieces get the same arrays from `cache`."""
    key = tuple((id(rows), id(index)) for rows, index, _ in pieces)
    if (known := cache.get(key)) is not None:
        return known

    def part(name: str, missing: float, dtype: type) -> np.ndarray | None:
        if all(getattr(rows, name) is None for rows, _, _ in pieces):
            return None
        parts: list[np.ndarray] = []
        for rows, index, values in pieces:
            whole = getattr(rows, name)
            if whole is None:
                parts.append(np.full(len(values), missing, dtype))
            else:
                parts.append(whole if index is None else whole[index])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    lines = part("lines", 0, np.int64)
    assert lines is not None
    found = Rows(lines, part("steps", NO_STEP, np.int64), part("epochs", np.nan, np.float64), part("times", NO_TIME, np.int64))
    cache[key] = found
    return found


def finish(reading: Reading, table: Table, dropped: Iterable[str] = ()) -> None:
    """Put the table into the reading: blocks and notes, and steps that only count batches within an epoch taken back."""
    blocks = table.blocks(dropped)
    reading.notes += table.notes()
    inner = [b for b in blocks if b.steps is not None and b.epochs is not None and is_inner_counter(b.steps, b.epochs)]
    # The axis is one for the file: what the longest series shows holds for all.
    longest = max(blocks, key=lambda block: len(block.values), default=None)
    if inner and longest is not None and any(block is longest for block in inner):
        for block in blocks:
            if block.epochs is not None:
                block.steps = None
        reading.notes.append("the step column starts again in every epoch: it counts batches, so it was not taken as the step")
    for block in blocks:
        block.steps = None if block.steps is not None and bool((block.steps == NO_STEP).all()) else block.steps
        block.epochs = None if block.epochs is not None and bool(np.isnan(block.epochs).all()) else block.epochs
        block.times = None if block.times is not None and bool((block.times == NO_TIME).all()) else block.times
    reading.blocks += blocks


class RowTable:
    """The same for records that come one by one (JSON objects): each row is a mapping of names to numbers."""

    FLUSH = 20_000  # rows held as Python objects before they become arrays

    def __init__(self) -> None:
        self.table = Table()
        self._lines: list[int] = []
        self._steps: list[int] = []
        self._epochs: list[float] = []
        self._times: list[int] = []
        self._cells: dict[tuple, tuple[list[int], list[float]]] = {}
        self.rows = 0

    def add(
        self,
        line: int,
        numbers: Mapping[str, float],
        *,
        step: int = NO_STEP,
        epoch: float = float("nan"),
        time: int = NO_TIME,
        split: Split | None = None,
        rank: int | None = None,
        series: int = 0,
    ) -> None:
        """Add one record."""
        at = len(self._lines)
        self._lines.append(line)
        self._steps.append(step)
        self._epochs.append(epoch)
        self._times.append(time)
        self.rows += 1
        for name, value in numbers.items():
            key = (name, split, rank, series)
            held = self._cells.get(key)
            if held is None:
                held = self._cells[key] = ([], [])
            held[0].append(at)
            held[1].append(value)
        if at + 1 >= self.FLUSH:
            self.flush()

    def flush(self) -> None:
        """Turn the rows held so far into arrays."""
        rows = Rows(
            np.array(self._lines, np.int64),
            np.array(self._steps, np.int64),
            np.array(self._epochs, np.float64),
            np.array(self._times, np.int64),
        )
        shared: dict[bytes, np.ndarray] = {}
        for (name, split, rank, series), (at, values) in self._cells.items():
            index = np.array(at, np.int64)
            index = shared.setdefault(index.tobytes(), index)
            self.table.add(rows, name, np.array(values, np.float64), index, split=split, rank=rank, series=series)
        self._lines, self._steps, self._epochs, self._times, self._cells = [], [], [], [], {}

    def finish(self, reading: Reading, dropped: Iterable[str] = ()) -> None:
        """Put everything into the reading."""
        self.flush()
        finish(reading, self.table, dropped)


def occurrences(names: list[str]) -> list[int]:
    """How often each name stood before: ["loss", "lr", "loss"] -> [0, 0, 1]; two columns of one name stay two series."""
    seen: dict[str, itertools.count] = {}
    return [next(seen.setdefault(name, itertools.count())) for name in names]
