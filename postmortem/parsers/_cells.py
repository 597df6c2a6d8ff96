"""Columns of text cells become columns of numbers: quickly with Polars where a block is regular, plainly where it is not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from postmortem.frame import NO_STEP, NO_TIME
from postmortem.parsers import _json
from postmortem.parsers._columns import MISSING, Roles, moment, number, plain, split_of, times_of, whole
from postmortem.parsers._table import Table

if TYPE_CHECKING:
    import polars as pl

SAMPLE = 24  # rows of a block that decide which columns are text
SETTING_COLUMNS = frozenset(("config", "hparams", "params", "args"))  # nested cells that repeat the configuration in every row
KEY_NAMES = ("metric", "tag", "metric_name", "scalar", "key", "name", "variable")

Label = tuple[str | None, int | None, str | None]  # word of the split column, rank, metric named in the row


@dataclass(slots=True)
class ParsedColumn:
    """values[k] stands in row index[k] (row k where index is None)."""

    name: str
    series: int
    values: np.ndarray
    index: np.ndarray | None


@dataclass(slots=True)
class TextSample:
    """How many cells of a column are text and no number, the first of them, and some to see whether they repeat."""

    name: str
    count: int
    example: str
    cells: list[str]


@dataclass(slots=True)
class Parsed:
    """One block of rows as columns. labels maps (split word, rank, metric) to a mask of the rows it holds for."""

    height: int
    columns: list[ParsedColumn] = field(default_factory=list)
    steps: np.ndarray | None = None
    epochs: np.ndarray | None = None
    times: np.ndarray | None = None
    labels: dict[Label, np.ndarray] | None = None
    text: list[TextSample] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


def quoted(line: str, delimiter: str) -> list[str]:
    """The cells of a row whose quoted cells hold line ends."""
    try:
        return next(csv.reader(io.StringIO(line), delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return line.split(delimiter)


# ---------------------------------------------------------------------- the fast way


def with_polars(data: bytes, delimiter: str, names: list[str], series: list[int], roles: Roles, *, as_text: bool) -> Parsed | None:
    """Read a regular block. None where Polars refuses it: the caller then tries `as_text`, then reads it plainly."""
    import polars as pl

    text = _text_positions(data, delimiter, names)
    labels = {names.index(name) for name in (roles.split, _key(names)) if name in names}
    schema: dict[str, Any] = {}
    for position, name in enumerate(names):
        if as_text or position in text or position in labels:
            schema[f"c{position}"] = pl.String
        else:
            schema[f"c{position}"] = pl.Int64 if name == roles.step else pl.Float64
    try:
        frame = pl.read_csv(data, has_header=False, schema=schema, separator=delimiter, quote_char=None, truncate_ragged_lines=False)
    except (pl.exceptions.PolarsError, ValueError):
        return None
    done = Parsed(frame.height)
    shared: dict[bytes, np.ndarray] = {}
    gaps = frame.null_count().row(0)
    sparse = [f"c{position}" for position, kind in enumerate(frame.dtypes) if gaps[position] and kind == pl.Float64]
    # One call for all columns: a call of its own for each costs more than the work.
    masks = frame.select(pl.col(sparse).is_not_null())
    dense = frame.select(pl.col(sparse).drop_nulls().implode())
    columns: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
    for position, name in enumerate(names):
        key = f"c{position}"
        column = frame[key]
        if column.dtype == pl.String:
            if name == roles.step:
                done.steps = np.fromiter((whole(cell) for cell in column), np.int64, frame.height)
            elif name == roles.time and position in text:
                done.times = times_of(column.to_list())
            else:
                column = _loose(column, name, done)
                columns[position] = _filled(column.drop_nulls(), column.is_not_null(), shared)
        elif name == roles.step:
            done.steps = column.fill_null(NO_STEP).to_numpy() if gaps[position] else column.to_numpy()
        elif gaps[position]:
            columns[position] = _filled(dense[key][0], masks[key], shared)
        else:
            columns[position] = column.to_numpy(), None
    words = {position: frame[f"c{position}"].to_list() for position in labels}
    _place(done, names, series, roles, columns, words)
    return done


def _text_positions(data: bytes, delimiter: str, names: list[str]) -> set[int]:
    """The columns that hold something other than numbers in the first rows of the block."""
    end = 0
    for _ in range(SAMPLE):
        cut = data.find(b"\n", end)
        if cut < 0:
            break
        end = cut + 1
    rows = [line.split(delimiter) for line in data[:end].decode("utf-8", "replace").split("\n") if line]
    found = set()
    for position in range(len(names)):
        cells = [row[position] for row in rows if position < len(row)]
        if any(cell and (number(cell) is None or cell.strip().lower() in ("true", "false")) for cell in cells):
            found.add(position)
    return found


def _loose(column: pl.Series, name: str, done: Parsed) -> pl.Series:
    """A text column as numbers: Polars' own reading, and ours for the few spellings it refuses."""
    import polars as pl

    text = column.str.strip_chars()
    values = text.cast(pl.Float64, strict=False)
    odd = text.filter(values.is_null() & text.is_not_null() & (text != ""))
    if not len(odd):
        return values
    spelled = {cell: number(cell) for cell in odd.unique(maintain_order=True).to_list()}
    known = {cell: value for cell, value in spelled.items() if value is not None}
    if known:
        more = text.replace_strict(list(known), list(known.values()), default=None, return_dtype=pl.Float64)
        values = pl.select(pl.coalesce(pl.lit(values), pl.lit(more))).to_series()
    unread = odd.filter(~odd.str.to_lowercase().is_in([*MISSING, *(cell.lower() for cell in known)]))
    if len(unread):
        done.text.append(TextSample(name, len(unread), str(unread[0]), unread[:SAMPLE].to_list()))
    return values


def _filled(values: pl.Series, mask: pl.Series, shared: dict[bytes, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """(values, index of the rows that have one). Columns filled in the same rows get the same index array."""
    if len(values) == len(mask):
        return values.to_numpy(), None
    filled = mask.to_numpy()
    key = np.packbits(filled).tobytes()
    index = shared.get(key)
    if index is None:
        index = shared[key] = np.flatnonzero(filled)
    return values.to_numpy(), index


# ---------------------------------------------------------------------- the plain way


def plainly(rows: list[list[str]], names: list[str], series: list[int], roles: Roles) -> Parsed:
    """Read rows of equal length cell by cell."""
    done = Parsed(len(rows))
    table = list(zip(*rows, strict=True))
    columns: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
    shared: dict[bytes, np.ndarray] = {}
    labels = {position for position, name in enumerate(names) if name and name in (roles.split, _key(names))}
    for position, name in enumerate(names):
        cells = table[position]
        if name == roles.step:
            done.steps = np.fromiter((whole(cell) for cell in cells), np.int64, len(cells))
        elif name == roles.time and not any(number(cell) is not None for cell in cells[:SAMPLE]):
            done.times = times_of(cells)
        elif any(cell.startswith("{") and cell.endswith("}") for cell in cells[:3]):
            _nested(done, name, cells)
        else:
            columns[position] = _numbers(cells, name, done, shared)
    _place(done, names, series, roles, columns, {position: list(table[position]) for position in labels})
    return done


def _numbers(cells: tuple[str, ...], name: str, done: Parsed, shared: dict[bytes, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """(values, index) of a column of cells."""
    at = [position for position, cell in enumerate(cells) if cell and not cell.isspace()]
    filled = [cells[position] for position in at]
    joined = "".join(filled)
    found: list[float] | None = None
    if joined.isascii() and "_" not in joined:  # then Python's float() reads nothing that `number` would refuse
        try:
            found = [float(cell) for cell in filled]
        except ValueError:
            found = None
    if found is None:
        pairs = [(position, number(cell)) for position, cell in zip(at, filled, strict=True)]
        unread = [cell for cell, (_, value) in zip(filled, pairs, strict=True) if value is None and cell.strip().lower() not in MISSING]
        if unread:
            done.text.append(TextSample(name, len(unread), unread[0], unread[:SAMPLE]))
        at = [position for position, value in pairs if value is not None]
        found = [value for _, value in pairs if value is not None]
    values = np.array(found, np.float64)
    if len(at) == len(cells):
        return values, None
    index = np.array(at, np.int64)
    return values, shared.setdefault(index.tobytes(), index)


def _nested(done: Parsed, name: str, cells: tuple[str, ...]) -> None:
    """Cells that hold a dict (RLlib's `info` column): each number in it is a column "info/learner/cur_lr"."""
    if plain(name) in SETTING_COLUMNS:
        found = _dict(cells[0])
        done.settings.update({f"{name}.{key}": value for key, value in _json.flatten(found, ".")} if found else {})
        return
    gathered: dict[str, tuple[list[int], list[float]]] = {}
    for position, cell in enumerate(cells):
        for key, value in _json.flatten(_dict(cell) or {}):
            spelled = _json.as_float(value) if not isinstance(value, str) else None
            if spelled is not None:
                at, values = gathered.setdefault(f"{name}/{key}", ([], []))
                at.append(position)
                values.append(spelled)
    done.columns += [ParsedColumn(key, 0, np.array(v, np.float64), np.array(at, np.int64)) for key, (at, v) in gathered.items()]


def _dict(cell: str) -> dict[str, Any] | None:
    try:
        found = _json.loads(cell)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


# ---------------------------------------------------------------------- axes and labels, for both ways


def _place(
    done: Parsed,
    names: list[str],
    series: list[int],
    roles: Roles,
    columns: dict[int, tuple[np.ndarray, np.ndarray | None]],
    words: dict[int, list[str]],
) -> None:
    """Take the axes out of the columns and put the rest into `done`."""
    splits: list[str] | None = None
    keys: list[str] | None = None
    ranks: np.ndarray | None = None
    for position, cells in words.items():
        stripped = [(cell or "").strip() for cell in cells]
        if names[position] == roles.split and any(map(split_of, dict.fromkeys(stripped))):
            splits = stripped
        elif names[position] == _key(names):
            keys = stripped
    for position, (values, index) in columns.items():
        name = names[position]
        if name == roles.epoch:
            done.epochs = _spread(values, index, done.height, np.nan)
        elif name == roles.rank and len(values) == done.height and bool((values == np.floor(values)).all()):
            ranks = values.astype(np.int64)
        elif name == roles.time and _are_moments(values):
            done.times = _spread(moments(values), index, done.height, NO_TIME)
        elif name not in roles.index and not (position in words and (splits or keys)):
            done.columns.append(ParsedColumn(name, series[position], values, index))
    if splits is not None or keys is not None or ranks is not None:
        done.labels = _labels(done.height, splits, ranks, keys)


def _labels(height: int, splits: list[str] | None, ranks: np.ndarray | None, keys: list[str] | None) -> dict[Label, np.ndarray]:
    """Masks of the rows of each combination of split, rank and metric, in order of appearance."""
    members: dict[Label, list[int]] = {}
    for row in range(height):
        label = (splits[row] if splits else None, int(ranks[row]) if ranks is not None else None, keys[row] if keys else None)
        members.setdefault(label, []).append(row)
    found = {}
    for label, rows in members.items():
        mask = np.zeros(height, bool)
        mask[rows] = True
        found[label] = mask
    return found


def _key(names: list[str]) -> str | None:
    """The column that names the metric of each row, in tables with one value a row ("tag", "step", "value")."""
    if len(names) > 8:
        return None
    by_plain = {plain(name): name for name in names}
    if "value" not in by_plain:
        return None
    return next((by_plain[word] for word in KEY_NAMES if word in by_plain), None)


def _spread(values: np.ndarray, index: np.ndarray | None, height: int, missing: float) -> np.ndarray:
    """A column with gaps as a full array."""
    if index is None:
        return values
    full = np.full(height, missing, values.dtype)
    full[index] = values
    return full


def _are_moments(values: np.ndarray) -> bool:
    return len(values) > 0 and moment(float(values[0])) != NO_TIME and moment(float(values[-1])) != NO_TIME


def moments(values: np.ndarray) -> np.ndarray:
    """`moment` of an array: Unix times in seconds, milli-, micro- or nanoseconds as microseconds."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.full(len(values), NO_TIME, np.int64)
        for unit, micros in ((1.0, 1e6), (1e3, 1e3), (1e6, 1.0), (1e9, 1e-3)):
            inside = (values > 6e8 * unit) & (values < 5e9 * unit)
            found[inside] = np.round(values[inside] * micros).astype(np.int64)
    return found


class TextColumns:
    """What the columns hold besides numbers, over the whole file."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}
        self._cells: dict[str, list[str]] = {}

    def take(self, samples: list[TextSample]) -> None:
        """Add what one block held."""
        for sample in samples:
            self._counts[sample.name] = self._counts.get(sample.name, 0) + sample.count
            self._examples.setdefault(sample.name, sample.example)
            held = self._cells.setdefault(sample.name, [])
            held += sample.cells[: 4 * SAMPLE - len(held)]

    def unlike_a_history(self) -> str | None:
        """The column whose texts name single records (an id, a path, an answer); None where texts repeat, as words of a log do."""
        for name, cells in self._cells.items():
            if len(cells) >= 3 and len(set(cells)) >= 0.8 * len(cells):
                return name
        return None

    def mostly_text(self, table: Table) -> list[str]:
        """Columns with more text than numbers: no metric."""
        points = _points(table)
        return [name for name, count in self._counts.items() if count > points.get(name, 0)]

    def odd_cells(self, table: Table) -> Iterator[tuple[str, int, str]]:
        """(column, number of cells, first of them) of numeric columns that hold some text."""
        points = _points(table)
        for name, count in self._counts.items():
            if count <= points.get(name, 0):
                yield name, count, self._examples[name]


def _points(table: Table) -> dict[str, int]:
    points: dict[str, int] = {}
    for column in table.columns.values():
        points[column.name] = points.get(column.name, 0) + column.seen
    return points
