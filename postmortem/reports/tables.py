"""The unified frame as a file: Parquet, CSV or newline-delimited JSON, by the ending of its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from postmortem.errors import OutputError, UsageError
from postmortem.reports.base import replace_file
from postmortem.reports.redact import Cleaner

if TYPE_CHECKING:
    import polars as pl

TEXTS = ("file", "metric", "raw_name")  # the columns whose words come from the run
FORMULA = r"^[=+\-@\t\r]"  # what a spreadsheet takes for the start of a formula (OWASP, CSV injection)


def write(frame: pl.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write the frame to X.parquet, X.csv or X.ndjson, whole or not at all; secrets in names are left out.

    UsageError for another ending, OutputError where the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    writer = WRITERS.get(target.suffix.lower())
    if writer is None:
        raise UsageError(f"{path}: the name must end in {', '.join(WRITERS)}")
    try:
        replace_file(target, lambda file: writer(_safe(frame), file))
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}; what was there before is unchanged") from error


def _safe(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with clean words; each different word is looked at once."""
    import polars as pl

    cleaner = Cleaner()
    for column in TEXTS:
        if column in frame.columns:
            known = frame.get_column(column).cast(pl.String).unique().drop_nulls().to_list()
            changed = {word: new for word in known if (new := cleaner.name(word)) != word}
            if changed:
                frame = frame.with_columns(pl.col(column).cast(pl.String).replace(changed).cast(frame.schema[column]))
    return frame


def _csv(frame: pl.DataFrame, file: IO[bytes]) -> None:
    """Text cells that a spreadsheet would run get a quote mark in front; numbers stay numbers. NaN and inf are written as such."""
    import polars as pl

    texts = [name for name, kind in frame.schema.items() if kind in (pl.String, pl.Categorical, pl.Enum)]
    cells = [pl.col(name).cast(pl.String) for name in texts]
    frame.with_columns(
        pl.when(cell.str.contains(FORMULA)).then(pl.concat_str(pl.lit("'"), cell)).otherwise(cell).alias(name)
        for name, cell in zip(texts, cells, strict=True)
    ).write_csv(file, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")


def _ndjson(frame: pl.DataFrame, file: IO[bytes]) -> None:
    """JSON has no NaN: there `value` is null and `nonfinite` says NaN, inf or -inf; a plain null has neither."""
    import polars as pl

    value = pl.col("value")
    inf = pl.when(value > 0).then(pl.lit("inf")).otherwise(pl.lit("-inf"))
    odd = pl.when(value.is_nan()).then(pl.lit("NaN")).when(value.is_infinite()).then(inf)
    time = pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    frame.with_columns(time, pl.when(value.is_finite()).then(value).alias("value"), odd.alias("nonfinite")).write_ndjson(file)


def _parquet(frame: pl.DataFrame, file: IO[bytes]) -> None:
    frame.write_parquet(file)


WRITERS: dict[str, Callable[[pl.DataFrame, IO[bytes]], None]] = {".parquet": _parquet, ".csv": _csv, ".ndjson": _ndjson}
