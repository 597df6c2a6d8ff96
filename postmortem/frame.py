"""The unified frame: one schema for every number that any file of a run holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from postmortem import vocabulary
from postmortem.model import Curve, Event, Reading, Split

if TYPE_CHECKING:
    import polars as pl

NO_STEP = -(2**63)  # int64 minimum: "the log gave no step here"; becomes null in the frame
NO_TIME = -(2**63)
_SPARSE = 4  # lines of a file, for each one that holds a number, up to which rows are put in order without sorting
SPLITS: tuple[Split, ...] = ("train", "val", "test")

COLUMNS = ("file", "line", "time", "step", "epoch", "split", "device", "rank", "segment", "metric", "raw_name", "value")


@dataclass(slots=True)
class Block:
    """One series of one file, as columns: what a parser returns, never an object per observation.

    raw_name  the metric as the file spelled it
    values    (n,) float64; NaN and inf mean that the file said so
    lines     (n,) int64, 1-based line, row or record number; None: the file has none
    steps     (n,) int64 with NO_STEP where the file gave none; None: it gave none at all. Never invented
    epochs    (n,) float64 with NaN where the file gave none, or None
    times     (n,) int64 microseconds since 1970 UTC with NO_TIME where the file gave none, or None
    split     train, val, test; None: not said (the vocabulary may still know from the name)
    series    which line shape of the file it came from: two quantities printed under one name stay two series
    segments  (n,) int64 attempt number of each point, filled by `attempts`; None is one attempt
    """

    raw_name: str
    values: np.ndarray
    lines: np.ndarray | None = None
    steps: np.ndarray | None = None
    epochs: np.ndarray | None = None
    times: np.ndarray | None = None
    split: Split | None = None
    device: int | None = None
    rank: int | None = None
    series: int = 0
    segments: np.ndarray | None = None


def schema() -> dict[str, pl.DataType]:
    """The columns of the frame and their Polars types, in order."""
    import polars as pl

    return {
        "file": pl.Categorical(),
        "line": pl.UInt64(),
        "time": pl.Datetime("us", "UTC"),
        "step": pl.Int64(),
        "epoch": pl.Float64(),
        "split": pl.Enum(list(SPLITS)),
        "device": pl.Int32(),
        "rank": pl.Int32(),
        "segment": pl.UInt16(),
        "metric": pl.Categorical(),
        "raw_name": pl.Categorical(),
        "value": pl.Float64(),
    }


def assemble(readings: Iterable[Reading]) -> pl.DataFrame:
    """All blocks of all readings as one frame: the columns of `schema()` plus `series`, rows in reading order.

    Reading order is: files as they were read, within a file by line, within a line as the parser met the names.
    """
    import polars as pl

    pairs = [(reading.file, block) for reading in readings for block in reading.blocks if len(block.values)]
    if not pairs:
        return pl.DataFrame(schema=schema() | {"series": pl.UInt32()})
    blocks = [block for _, block in pairs]
    apart = _tell_apart(pairs)
    sides = _sides({file for file, _ in pairs})
    words = [
        _placed(vocabulary.lookup(block.raw_name, block.split, "" if file in apart else file), sides.get(file)) for file, block in pairs
    ]
    rows = _Rows(pairs)
    series = pl.UInt32()
    kinds = schema() | {"series": series}
    return pl.DataFrame(
        {
            "file": rows.repeated([file for file, _ in pairs], kinds["file"]),
            "line": rows.column("lines", 0, kinds["line"]),
            "time": rows.column("times", NO_TIME, kinds["time"]),
            "step": rows.column("steps", NO_STEP, kinds["step"]),
            "epoch": rows.column("epochs", np.nan, kinds["epoch"]),
            "split": rows.repeated([word.split for word in words], kinds["split"]),
            "device": rows.repeated([block.device for block in blocks], kinds["device"]),
            "rank": rows.repeated([block.rank for block in blocks], kinds["rank"]),
            "segment": rows.column("segments", None, kinds["segment"]),
            "metric": rows.repeated([word.metric for word in words], kinds["metric"]),
            "raw_name": rows.repeated([block.raw_name for block in blocks], kinds["raw_name"]),
            "value": rows.column("values", None, kinds["value"]),
            "series": rows.repeated([block.series for block in blocks], series),
        }
    )


def _tell_apart(pairs: Sequence[tuple[str, Block]]) -> set[str]:
    """Files whose names tell splits apart themselves ("train/loss" beside "val/loss"): the folder such a file lies in says nothing."""
    said: dict[str, set[Split | None]] = {}
    for file, block in pairs:
        said.setdefault(file, set()).add(vocabulary.lookup(block.raw_name, block.split).split)
    return {file for file, splits in said.items() if len(splits - {None}) > 1}


def _sides(files: Iterable[str]) -> dict[str, Split]:
    """The split of files that stand side by side and differ in its word alone: "train_log.csv" and "valid_log.csv"."""
    words = vocabulary.split_of_places()
    twins: dict[tuple[str, ...], dict[Split, str]] = {}
    for file in sorted(files):
        said = [words.get(part) for part in vocabulary.tokens(file)]
        splits = [split for split in said if split]
        if len(splits) == 1:
            key = tuple("*" if split else part for part, split in zip(vocabulary.tokens(file), said, strict=True))
            twins.setdefault(key, {}).setdefault(splits[0], file)
    return {file: split for found in twins.values() if len(found) > 1 and "train" in found for split, file in found.items()}


def _placed(word: vocabulary.Word, side: Split | None) -> vocabulary.Word:
    """The word with the split of its file, where its own name says none and its kind can have one."""
    free = side is None or word.split is not None or word.kind in vocabulary.data()["split_free"]["kinds"]
    return word if free else replace(word, split=side)


class _Rows:
    """Turns what blocks hold into columns in reading order.

    Every column is put in order before it becomes a Polars series, and one that is the same for all rows (a single file, no epochs)
    is never put in order at all: on a million rows that is most of the work.
    """

    def __init__(self, pairs: Sequence[tuple[str, Block]]) -> None:
        self.blocks = [block for _, block in pairs]
        self.sizes = np.array([len(block.values) for block in self.blocks])
        files = {file: number for number, file in reversed(list(enumerate(file for file, _ in pairs)))}
        file = np.repeat([files[file] for file, _ in pairs], self.sizes)
        lines = self._joined("lines", 0)
        order = _order(lines) if len(files) == 1 else np.lexsort((lines, file))
        self.order = None if bool((order[1:] > order[:-1]).all()) else order
        self._which: pl.Series | None = None  # the number of the block that each row comes from

    def _joined(self, name: str, missing: float | None) -> np.ndarray:
        """One column of all blocks, end to end, with `missing` (None: 0) where a block has none."""
        dtype = np.float64 if name in ("values", "epochs") else np.int64
        parts = [getattr(block, name) for block in self.blocks]
        if all(part is not None for part in parts):
            return np.concatenate(parts, dtype=dtype, casting="unsafe")
        filled = (np.full(size, missing or 0, dtype) if part is None else part for part, size in zip(parts, self.sizes, strict=True))
        return np.concatenate(list(filled), dtype=dtype, casting="unsafe")

    def column(self, name: str, missing: float | None, dtype: pl.DataType) -> pl.Series:
        """One column of the blocks; the value `missing` (NaN too; None: there is no such value) becomes null."""
        import polars as pl

        if all(getattr(block, name) is None for block in self.blocks):
            return self._alike(0 if missing is None else None, dtype)
        column = self._joined(name, missing)
        column = column if self.order is None else column.take(self.order)
        if missing is None:
            return pl.Series(column).cast(dtype)
        gone = np.isnan(column) if missing != missing else column == missing
        if not gone.any():
            return pl.Series(column).cast(dtype)
        return pl.Series(column).set(pl.Series(gone), None).cast(dtype)

    def repeated(self, values: list, dtype: pl.DataType) -> pl.Series:
        """One value a block, repeated for each of its rows."""
        import polars as pl

        if all(value == values[0] for value in values):
            return self._alike(values[0], dtype)
        # Polars is given the few different values and takes the rest by number.
        if self._which is None:
            which = np.repeat(np.arange(len(values), dtype=np.uint32), self.sizes)
            self._which = pl.Series(which if self.order is None else which.take(self.order))
        return pl.Series(values, dtype=dtype)[self._which]

    def _alike(self, value: object, dtype: pl.DataType) -> pl.Series:
        """The same value in every row. (No Polars expression here or above: each costs a third of a millisecond, however few the rows.)"""
        import polars as pl

        return pl.Series([value], dtype=dtype).new_from_index(0, int(self.sizes.sum()))


def _order(lines: np.ndarray) -> np.ndarray:
    """The indices (n,) that put lines in order, those of equal lines as they stand.

    Where no two are equal and few are missing, every index is laid at the place of its line and the gaps are left out: no sorting.
    """
    first = int(lines.min())
    if (extent := int(lines.max()) - first + 1) <= _SPARSE * len(lines):
        places = np.full(extent, -1, np.int64)
        places[lines - first] = np.arange(len(lines))
        order = places[places >= 0] if extent > len(lines) else places
        if len(order) == len(lines) and int(order.min()) >= 0:
            return order
    return np.argsort(lines, kind="stable")


def events_frame(events: Sequence[Event]) -> pl.DataFrame:
    """The second frame: file, line, time, rank, segment, kind, text, one row an event."""
    import polars as pl

    return pl.DataFrame(
        {
            "file": [event.file for event in events],
            "line": [event.line for event in events],
            "time": [event.time for event in events],
            "rank": [event.rank for event in events],
            "segment": [event.segment for event in events],
            "kind": [event.kind for event in events],
            "text": [event.text for event in events],
        },
        schema={
            "file": pl.String(),
            "line": pl.UInt64(),
            "time": pl.Datetime("us", "UTC"),
            "rank": pl.Int32(),
            "segment": pl.UInt16(),
            "kind": pl.String(),
            "text": pl.String(),
        },
        strict=False,
    )


# ---------------------------------------------------------------------- curves out of the frame

_IDENTITY = ["file", "series", "raw_name", "metric", "split", "device", "rank", "segment"]


def curves(frame: pl.DataFrame, last_attempt: dict[str, int]) -> list[Curve]:
    """One Curve per file, line shape, raw name, split, device, rank and attempt, in reading order.

    frame is what `assemble` returned; last_attempt gives the number of the last attempt of each file.
    Settings that look like metrics (`config/lr`) are no curves.
    """
    import polars as pl

    if not frame.height:
        return []
    numbers = frame.select(
        pl.col("value"),
        pl.col("line").cast(pl.Int64).fill_null(0),
        pl.col("step").fill_null(NO_STEP),
        pl.col("epoch").fill_null(float("nan")),
        pl.col("time").dt.timestamp("us").fill_null(NO_TIME),
    )
    columns = [numbers[name].to_numpy() for name in ("value", "line", "step", "epoch", "time")]
    # Only the numbers of its rows are collected for each curve: that takes a fifth of the time of collecting its columns.
    numbered = frame.lazy().select(*_IDENTITY, row=pl.int_range(pl.len()))
    groups = numbered.group_by(_IDENTITY, maintain_order=True).agg("row").collect()
    identities = zip(*(groups[name].to_list() for name in _IDENTITY), strict=True)
    found = []
    for row, (file, _, raw_name, metric, split, device, rank, segment) in enumerate(identities):
        word = vocabulary.lookup(raw_name, split, file)
        if word.kind == "setting":
            continue
        rows = groups["row"][row].to_numpy()
        values, lines, steps, epochs, times = (column[rows] for column in columns)
        found.append(
            Curve(
                metric=metric,
                raw_name=raw_name,
                file=file,
                split=split,
                device=device,
                rank=rank,
                attempt=segment,
                last_attempt=segment == last_attempt.get(file, 0),
                values=values,
                lines=lines,
                steps=steps if (steps != NO_STEP).any() else None,
                epochs=epochs if np.isfinite(epochs).any() else None,
                times=times if (times != NO_TIME).any() else None,
                direction=word.direction,
                kind=word.kind,
                unit=word.unit,
            )
        )
    return _named_by_neighbour(found)


def _named_by_neighbour(found: list[Curve]) -> list[Curve]:
    """A number that only its split names takes the meaning of the one before it on its lines: "recon 0.31 (val 0.35)"."""
    by_file: dict[str, list[Curve]] = {}
    for curve in found:
        by_file.setdefault(curve.file, []).append(curve)
    renamed = []
    for curve in found:
        if _is_sum(curve, by_file[curve.file]):
            word = vocabulary.meaning("loss")
            renamed.append(replace(curve, metric=word.metric, kind=word.kind, direction=word.direction))
            continue
        if curve.kind or not vocabulary.only_split(curve.raw_name):
            renamed.append(curve)
            continue
        beside = [
            c
            for c in by_file[curve.file]
            if c.kind in ("loss", "score") and c.split in ("train", None) and np.array_equal(c.lines, curve.lines)
        ]
        one = beside[0] if len(beside) == 1 else None
        renamed.append(replace(curve, metric=one.metric, kind=one.kind, direction=one.direction, unit=one.unit) if one else curve)
    return renamed


def _is_sum(curve: Curve, all_of_file: list[Curve]) -> bool:
    """Whether "total" is the loss: it stands beside parts of a loss and no loss, and is no count (of samples, of steps)."""
    if curve.kind or [word for word in vocabulary.tokens(curve.raw_name) if not vocabulary.only_split(word)] != ["total"]:
        return False
    beside = [c for c in all_of_file if c.kind == "loss" and c.split == curve.split and np.array_equal(c.lines, curve.lines)]
    counted = bool((curve.values == np.round(curve.values)).all())
    return bool(beside) and not counted and all(c.metric != "loss" for c in beside)
