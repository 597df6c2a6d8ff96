"""The unified frame: one schema for every number that any file of a run holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from postmortem import vocabulary
from postmortem.model import Curve, Event, Reading, Split

if TYPE_CHECKING:
    import polars as pl

NO_STEP = -(2**63)  # int64 minimum: "the log gave no step here"; becomes null in the frame
NO_TIME = -(2**63)
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
    sizes = np.array([len(block.values) for block in blocks])
    words = [vocabulary.lookup(block.raw_name, block.split, file) for file, block in pairs]
    lines = _column(blocks, "lines", 0, np.int64)
    frame = pl.DataFrame(
        {
            "file": _repeat([file for file, _ in pairs], sizes, pl.Categorical()),
            "line": _nullable(lines, lines == 0),
            "time": _missing(_column(blocks, "times", NO_TIME, np.int64), NO_TIME),
            "step": _missing(_column(blocks, "steps", NO_STEP, np.int64), NO_STEP),
            "epoch": pl.Series(_column(blocks, "epochs", np.nan, np.float64), nan_to_null=True),
            "split": _repeat([word.split for word in words], sizes, pl.Enum(list(SPLITS))),
            "device": _repeat([block.device for block in blocks], sizes, pl.Int32()),
            "rank": _repeat([block.rank for block in blocks], sizes, pl.Int32()),
            "segment": pl.Series(_column(blocks, "segments", 0, np.int64)),
            "metric": _repeat([word.metric for word in words], sizes, pl.Categorical()),
            "raw_name": _repeat([block.raw_name for block in blocks], sizes, pl.Categorical()),
            "value": pl.Series(np.concatenate([np.asarray(block.values, np.float64) for block in blocks])),
            "series": _repeat([block.series for block in blocks], sizes, pl.UInt32()),
        }
    ).cast(pl.Schema(schema() | {"series": pl.UInt32()}))
    files = {file: number for number, file in reversed(list(enumerate(file for file, _ in pairs)))}
    order = np.lexsort((lines, np.repeat([files[file] for file, _ in pairs], sizes)))
    return frame if bool((order == np.arange(len(order))).all()) else frame[order]


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


def _column(blocks: Sequence[Block], name: str, missing: float, dtype: type) -> np.ndarray:
    """One optional column of all blocks, end to end, with `missing` where a block has none."""
    parts: list[np.ndarray] = []
    for block in blocks:
        part = getattr(block, name)
        parts.append(np.full(len(block.values), missing, dtype) if part is None else np.asarray(part, dtype))
    return np.concatenate(parts)


def _repeat(values: list, sizes: np.ndarray, dtype: pl.DataType) -> pl.Series:
    """One value a block, repeated for each of its rows (cast first: there are far fewer blocks than rows)."""
    import polars as pl

    return pl.Series(values, dtype=dtype)[np.repeat(np.arange(len(values)), sizes)]


def _missing(column: np.ndarray, missing: int) -> pl.Series:
    return _nullable(column, column == missing)


def _nullable(column: np.ndarray, missing: np.ndarray) -> pl.Series:
    import polars as pl

    return pl.select(pl.when(pl.lit(pl.Series(~missing))).then(pl.lit(pl.Series(column)))).to_series()


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
    plain = frame.with_columns(pl.col("file", "raw_name", "metric", "split").cast(pl.String))
    groups = plain.group_by(_IDENTITY, maintain_order=True).agg(
        pl.col("value"),
        pl.col("line").cast(pl.Int64).fill_null(0),
        pl.col("step").fill_null(NO_STEP),
        pl.col("epoch").fill_null(float("nan")),
        pl.col("time").dt.timestamp("us").fill_null(NO_TIME),
    )
    found = []
    for row in range(groups.height):
        file, _, raw_name, metric, split, device, rank, segment = (groups[column][row] for column in _IDENTITY)
        word = vocabulary.lookup(raw_name, split, file)
        if word.kind == "setting":
            continue
        values, lines, steps, epochs, times = (groups[name][row].to_numpy() for name in ("value", "line", "step", "epoch", "time"))
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
    return found
