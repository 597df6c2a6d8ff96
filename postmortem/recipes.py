"""Helpers for the debug modes of a training, on CSV files: an overfit split and the identity baseline."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path

from postmortem.errors import OutputError, UsageError

WORSE = 1.0  # a model whose mean absolute error is above the identity's has learned nothing useful


def overfit_split(dataset: Path, output: Path, *, rows: int = 32, seed: int = 0) -> str:
    """Write identical train.csv and val.csv of `rows` drawn rows; the dataset itself is only read.

    Returns one line that says what was written. UsageError for a missing or empty dataset, OutputError if it cannot be written.
    """
    header, body = _table(dataset)
    if output.resolve() == dataset.resolve().parent and dataset.name in ("train.csv", "val.csv"):
        raise UsageError(f"{output} would overwrite {dataset}; choose another --output")
    drawn = sorted(random.Random(seed).sample(range(len(body)), min(rows, len(body))))
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name in ("train.csv", "val.csv"):
            with open(output / name, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([header, *(body[i] for i in drawn)])
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror}") from error
    files = f"{output}/train.csv and {output}/val.csv: the same {len(drawn)} of {len(body)} rows."
    return f"{files} Train on them without augmentation: the loss must fall to near 0."


def compare_identity(predictions: Path, input_column: str, prediction_column: str, target_column: str) -> str:
    """Mean absolute error and RMSE of the model and of the identity (output = input) on the same rows, as JSON.

    The JSON holds `worse_than_identity`, which the rule of that name reads. UsageError for missing columns or no usable row.
    """
    header, body = _table(predictions)
    missing = [name for name in (input_column, prediction_column, target_column) if name not in header]
    if missing:
        raise UsageError(f"{predictions} has no column {', '.join(missing)}; it has {', '.join(header)}")
    wanted = [header.index(name) for name in (input_column, prediction_column, target_column)]
    rows = [numbers for row in body if len(row) == len(header) and (numbers := _numbers(row, wanted))]
    if not rows:
        raise UsageError(f"{predictions}: no row with three numbers in {input_column}, {prediction_column}, {target_column}")
    identity, model = [x - y for x, _, y in rows], [p - y for _, p, y in rows]
    summary = {
        "rows": len(rows),
        "rejected": len(body) - len(rows),
        "identity_mae": _mae(identity),
        "model_mae": _mae(model),
        "identity_rmse": _rmse(identity),
        "model_rmse": _rmse(model),
        "worse_than_identity": _mae(model) > WORSE * _mae(identity),
    }
    return json.dumps(summary, indent=1)


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV file in UTF-8: {error}") from error
    if len(rows) < 2:
        raise UsageError(f"{path} needs a header line and at least one row")
    return rows[0], rows[1:]


def _numbers(row: list[str], wanted: list[int]) -> tuple[float, float, float] | None:
    try:
        x, p, y = (float(row[i]) for i in wanted)
    except ValueError:
        return None
    return (x, p, y) if all(map(math.isfinite, (x, p, y))) else None


def _mae(errors: list[float]) -> float:
    return sum(map(abs, errors)) / len(errors)


def _rmse(errors: list[float]) -> float:
    return math.sqrt(sum(e * e for e in errors) / len(errors))
