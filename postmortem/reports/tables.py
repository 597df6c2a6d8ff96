"""The unified frame as a file: Parquet, CSV or NDJSON, by extension."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from postmortem.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

# A spreadsheet runs a cell that begins with one of these as a formula (OWASP, "CSV injection"); such names get a leading quote.
FORMULA_STARTS = r"^[=+\-@\t\r]"


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write the frame atomically. UsageError for an unknown extension, OutputError if the file cannot be written."""
    from postmortem.reports import write_bytes

    buffer = io.BytesIO()
    match path.suffix.lower():
        case ".parquet":
            frame.write_parquet(buffer)
        case ".csv":
            _defused(frame).write_csv(buffer)
        case ".ndjson" | ".jsonl":
            frame.write_ndjson(buffer)
        case other:
            raise UsageError(f"{path}: unknown extension {other!r}; use .parquet, .csv or .ndjson")
    write_bytes(path, buffer.getvalue())


def _defused(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    texts = [name for name in ("file", "metric", "raw_name") if name in frame.columns]
    return frame.with_columns(
        pl.when(pl.col(name).cast(pl.String).str.contains(FORMULA_STARTS)).then(pl.lit("'") + pl.col(name).cast(pl.String)).otherwise(pl.col(name).cast(pl.String)).alias(name)
        for name in texts
    )


