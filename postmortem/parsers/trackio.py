"""Reads the databases of Trackio, the local tracker of Hugging Face: one SQLite file for each project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from postmortem.model import Reading
from postmortem.parsers import _json, _sqlite
from postmortem.parsers._columns import clean, moment, whole
from postmortem.parsers._records import add_setting
from postmortem.parsers._table import RowTable
from postmortem.parsers.base import NO, SURE, Request, SourceFile

if TYPE_CHECKING:
    import sqlite3

NAME = "trackio"
ABOUT = "Trackio's databases (PROJECT.db): metrics and configs, a row of JSON for each call of trackio.log."

_COLUMNS = {"run_name", "step", "metrics"}
_MOST_ROWS = 2_000_000
_OWN = "_"  # a setting that Trackio keeps for itself begins so


def claims(source: SourceFile) -> float:
    """Sure by the table that it makes. A row holds a JSON object where MLflow's table of the same name holds one number."""
    return SURE if is_trackio(source) else NO


def is_trackio(source: SourceFile) -> bool:
    """Whether a database has Trackio's table. It is opened for that: a schema may stand anywhere in a database."""
    import sqlite3

    if not source.head.startswith(_sqlite.MAGIC):
        return False
    try:
        with _sqlite.opened(source.path) as connection:
            return {str(row[1]) for row in connection.execute("pragma table_info(metrics)")} >= _COLUMNS
    except (sqlite3.Error, OSError, *_sqlite.ALSO):
        return False


def read(source: SourceFile, request: Request) -> Reading:
    """Every number with its step and time, each run a series of its own."""
    import sqlite3

    reading = Reading(source.name, NAME)
    table = RowTable()
    try:
        with _sqlite.opened(source.path) as connection:
            _metrics(connection, reading, table)
            _configs(connection, reading)
    except (sqlite3.Error, *_sqlite.ALSO) as error:
        reading.rejected += 1
        reading.notes.append(f"the database cannot be read to its end: {clean(str(error), 150)}")
    table.finish(reading)
    if note := _sqlite.journal_beside(source.path):
        reading.notes.append(note)
    return reading


def _metrics(connection: sqlite3.Connection, reading: Reading, table: RowTable) -> None:
    runs: dict[str, int] = {}
    for taken, (number, run, name, step, time, text) in enumerate(
        _sqlite.rows(connection, "metrics", ("run_id", "run_name", "step", "timestamp", "metrics"))
    ):
        if taken == _MOST_ROWS:
            reading.notes.append(f"only the first {_MOST_ROWS:,} rows were read")
            break
        found = {key: value for key, item in _json.flatten(_object(text)) if (value := _json.as_float(item)) is not None}
        if not found:
            reading.rejected += 1
            continue
        series = runs.setdefault(str(run or name), len(runs))
        table.add(
            number if isinstance(number, int) and number > 0 else taken + 1, found, step=whole(step), time=moment(time), series=series
        )
    if len(runs) > 1:
        reading.notes.append(f"{len(runs)} runs in one database: series 0, 1, 2 ... in the order of their first value")


def _configs(connection: sqlite3.Connection, reading: Reading) -> None:
    for number, text in _sqlite.rows(connection, "configs", ("config",)):
        for key, value in _json.flatten(_object(text), "."):
            if not key.startswith(_OWN) and not add_setting(
                reading, key, value, number if isinstance(number, int) and number > 0 else None
            ):
                return


def _object(text: object) -> dict[str, Any]:
    """A cell as the JSON object in it (as bytes in newer versions), {} where it holds none."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        found = _json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
