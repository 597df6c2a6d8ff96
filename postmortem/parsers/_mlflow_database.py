"""Reads the tables of an MLflow database."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from postmortem.frame import NO_STEP, NO_TIME, Block
from postmortem.model import Origin, Reading, Setting
from postmortem.parsers import _sqlite
from postmortem.parsers._literals import literal, shortened
from postmortem.parsers._mlflow_runs import lifecycle, microseconds
from postmortem.parsers.base import LIKELY, PLAUSIBLE, SURE

if TYPE_CHECKING:
    import sqlite3

MAGIC = _sqlite.MAGIC
_TABLES = re.compile(rb'create\s+table\s+["`\[]?(?:latest_metrics|metrics|experiments)\b', re.I)
_MOST_ROWS = 5_000_000
_MOST_SETTINGS = 5_000
_HUGE = 1.7976931348623157e308  # MLflow stores infinity as the largest double


def claims(head: bytes, name: str) -> float:
    """Sure where the schema makes MLflow's tables; plausible for any other SQLite file, whose tables are then only named."""
    if _TABLES.search(head):
        return SURE
    return LIKELY if "mlflow" in name.lower() else PLAUSIBLE


def read(path: Path, reading: Reading) -> None:
    """All series, params and run states of a database into the reading. Damage becomes a note; what was read before it stays."""
    import sqlite3

    try:
        with _sqlite.opened(path) as connection:
            tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
            if "metrics" not in tables:
                names = shortened(", ".join(sorted(map(str, tables))) or "none", 300)
                reading.notes.append(f"an SQLite database without MLflow's tables; its tables: {names}")
                return
            for part in (_metrics, _params, _runs):
                _attempt(part, connection, reading)
    except (sqlite3.Error, *_sqlite.ALSO) as error:
        _reject(reading, error)
    if note := _sqlite.journal_beside(path):
        reading.notes.append(note)


def _attempt(part: Callable[[sqlite3.Connection, Reading], None], connection: sqlite3.Connection, reading: Reading) -> None:
    """One table; a damaged one does not hinder the next."""
    import sqlite3

    try:
        part(connection, reading)
    except (sqlite3.Error, *_sqlite.ALSO) as error:
        _reject(reading, error)


def _reject(reading: Reading, error: Exception) -> None:
    reading.rejected += 1
    reading.notes.append(f"the database cannot be read to its end: {shortened(str(error), 150)}")


@dataclass(slots=True)
class _Series:
    """The points of one run and key."""

    run: int
    values: list[float] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)


def _metrics(connection: sqlite3.Connection, reading: Reading) -> None:
    """One Block a run and key. The step of a row is the one MLflow was given; without one it wrote 0."""
    found: dict[tuple[str, str], _Series] = {}
    runs: dict[str, int] = {}
    try:
        rows = _sqlite.rows(connection, "metrics", ("run_uuid", "key", "value", "timestamp", "step", "is_nan"))
        for taken, (number, run, key, value, stamp, step, is_nan) in enumerate(rows):
            if taken == _MOST_ROWS:
                reading.notes.append(f"only the first {_MOST_ROWS} metric values were read")
                break
            if not isinstance(value, int | float) or not isinstance(key, str):
                reading.rejected += 1
                continue
            place = runs.setdefault(str(run), len(runs))
            series = found.setdefault((str(run), key), _Series(place))
            series.values.append(_value(value, is_nan))
            series.lines.append(number if isinstance(number, int) and number > 0 else 0)
            series.steps.append(step if isinstance(step, int) else NO_STEP)
            series.times.append(microseconds(stamp))
    finally:  # what was read before the damage stays
        reading.blocks += [_block(key, series) for (_, key), series in found.items()]
    if len(runs) > 1:
        reading.notes.append(f"{len(runs)} runs in one database: series 0, 1, 2 ... in the order of their first value")


def _value(value: float, is_nan: object) -> float:
    """NaN stands in a column of its own, and infinity as the largest double."""
    if is_nan in (1, True):
        return float("nan")
    return float("inf") * (1 if value > 0 else -1) if abs(value) >= _HUGE else float(value)


def _block(key: str, series: _Series) -> Block:
    steps, times = np.array(series.steps, np.int64), np.array(series.times, np.int64)
    return Block(
        shortened(key.strip(), 200) or "(unnamed)",
        np.array(series.values, np.float64),
        np.array(series.lines, np.int64),
        steps if (steps != NO_STEP).any() else None,
        times=times if (times != NO_TIME).any() else None,
        series=series.run,
    )


def _params(connection: sqlite3.Connection, reading: Reading) -> None:
    """Parameters of all runs; of many runs with different values each stands there with its own row."""
    for number, key, value in _sqlite.rows(connection, "params", ("key", "value")):
        if len(reading.settings) >= _MOST_SETTINGS:
            reading.notes.append(f"only the first {_MOST_SETTINGS} params were kept")
            return
        reading.settings.append(Setting(shortened(str(key)), literal(str(value)), Origin(reading.file, number)))


def _runs(connection: sqlite3.Connection, reading: Reading) -> None:
    """How each run began and ended."""
    for number, run, name, status, started, ended in _sqlite.rows(
        connection, "runs", ("run_uuid", "name", "status", "start_time", "end_time")
    ):
        if len(reading.events) >= _MOST_SETTINGS:
            return
        reading.events += lifecycle(reading.file, shortened(str(name or run), 100), str(status or ""), (number, started), (number, ended))
