"""Reads MLflow: the file store (mlruns/EXPERIMENT/RUN/metrics, params, tags, meta.yaml) and the SQLite store (mlflow.db)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from postmortem.frame import NO_STEP, Block
from postmortem.model import Origin, Reading, Setting
from postmortem.parsers import _mlflow_database as database
from postmortem.parsers._literals import literal, shortened
from postmortem.parsers._mlflow_runs import lifecycle, microseconds
from postmortem.parsers.base import LIKELY, NO, PLAUSIBLE, SURE, Request, SourceFile
from postmortem.parsers.trackio import is_trackio

NAME = "mlflow"
ABOUT = "MLflow runs: metrics, params, tags and meta.yaml of a file store (mlruns/), and the tables of mlflow.db."

_RUN_ID = re.compile(r"^[0-9a-f]{32}$")
# "timestamp value", then step, and in newer versions the name and digest of a data set and the id of a model
_METRIC = re.compile(rb"\A\s*\d{9,17} [^\s]+(?: -?\d+(?: [^\n]*)?)?\r?\n?(?:\s*\d{9,17} |\s*\Z)")
_META = re.compile(rb"^(?:lifecycle_stage|artifact_uri|artifact_location|experiment_id)\s*:", re.M)
_FOLDERS = ("metrics", "params", "tags")
_LONGEST_VALUE = 64 * 1024  # bytes of a params or tags file that are read
_CHUNK = 1 << 20


def claims(source: SourceFile) -> float:
    """Files of a run folder by their place and content; a database by its magic number and the tables it makes."""
    if source.head.startswith(database.MAGIC):
        return NO if is_trackio(source) else database.claims(source.head, source.basename)
    if source.basename == "meta.yaml":
        return SURE if len(set(_META.findall(source.head))) >= 2 else NO
    folder, _ = _place(source)
    if folder == "metrics":
        return SURE if _METRIC.match(source.head) else PLAUSIBLE if not source.head else NO
    if folder in ("params", "tags") and source.size <= _LONGEST_VALUE and b"\0" not in source.head:
        return LIKELY
    return NO


def read(source: SourceFile, request: Request) -> Reading:
    """Read one file of a store. Raises OSError where it cannot be opened."""
    reading = Reading(source.name, NAME)
    if source.head.startswith(database.MAGIC):
        database.read(source.path, reading)
        return reading
    if source.basename == "meta.yaml":
        _meta(source, reading)
        return reading
    folder, name = _place(source)
    if folder == "metrics":
        _metric(source, name, reading)
    else:
        value = source.path.read_bytes()[:_LONGEST_VALUE].decode("utf-8", "replace")
        reading.settings.append(Setting(name if folder == "params" else f"tags.{name}", literal(value), Origin(source.name, 1)))
    return reading


def _place(source: SourceFile) -> tuple[str, str]:
    """The folder of a run that a file lies in ("metrics", "params", "tags" or ""), and its path below it.

    A name with a slash became sub-folders, so the folder is the one just below the run: the part behind a run id, or the first
    one of these names whose neighbours are those of a run.
    """
    parts = source.name.split("/")
    for index, part in enumerate(parts[:-1]):
        if part in _FOLDERS:
            known = index > 0 and (_RUN_ID.match(parts[index - 1]) is not None or "mlruns" in parts[:index])
            if known or _is_run(source.path.parents[len(parts) - index - 1]):
                return part, "/".join(parts[index + 1 :])
    return "", ""


def _is_run(folder: Path) -> bool:
    """Whether a folder looks like that of one run."""
    return (folder / "meta.yaml").is_file() and (folder / "metrics").is_dir()


# ---------------------------------------------------------------------- files


def _metric(source: SourceFile, name: str, reading: Reading) -> None:
    """Lines of "timestamp value step": milliseconds (seconds in very old versions), a number, the step. One series a file."""
    values, lines, steps, times = list[float](), list[int](), list[int](), list[int]()
    for number, line in _lines(source.path):
        parts = line.split()
        if not parts:
            continue
        try:
            time, value = int(parts[0]), float(parts[1])
            step = int(parts[2]) if len(parts) > 2 else NO_STEP
            if not -(2**63) <= step < 2**63:
                raise ValueError
        except (ValueError, IndexError):
            reading.rejected += 1
            if reading.rejected == 1:
                reading.notes.append(f"line {number} is no metric: {shortened(line.decode('utf-8', 'replace').strip(), 80)!r}")
            continue
        values.append(value)
        lines.append(number)
        steps.append(step)
        times.append(microseconds(time))
    if values:
        raw = shortened(name.strip(), 200) or "(unnamed)"
        given = np.array(steps, np.int64)
        reading.blocks.append(
            Block(
                raw,
                np.array(values, np.float64),
                np.array(lines, np.int64),
                given if (given != NO_STEP).any() else None,
                times=np.array(times, np.int64),
            )
        )
    elif not reading.rejected:
        reading.notes.append("no value was logged")


def _lines(path: Path) -> Iterable[tuple[int, bytes]]:
    """Numbered lines of a file; a line longer than a chunk comes in pieces of that size."""
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(_CHUNK):
            number += 1
            yield number, line


def _meta(source: SourceFile, reading: Reading) -> None:
    """meta.yaml of a run (status, start and end) or of an experiment (its name). Only plain `key: value` lines are used."""
    values: dict[str, tuple[int | None, str]] = {}
    for place, row in _lines(source.path):
        key, colon, value = row.decode("utf-8", "replace").partition(":")
        if colon and key and not key[0].isspace() and place <= 1000:
            values[key] = (place, value.strip().strip("'\""))
    if "run_id" not in values and "run_uuid" not in values:
        name = values.get("name", (0, "?"))[1]
        reading.notes.append(f"experiment {shortened(name, 100)!r}")
        return
    for key in ("run_name", "experiment_id", "source_name", "lifecycle_stage"):
        if key in values and values[key][1]:
            number, value = values[key]
            reading.settings.append(Setting(f"mlflow.{key}", shortened(value), Origin(source.name, number)))
    name = values.get("run_name", (0, ""))[1] or values.get("run_id", values.get("run_uuid", (0, "?")))[1]
    line, status = values.get("status", (None, ""))
    start, end = (values.get(key, (None, "")) for key in ("start_time", "end_time"))
    reading.events += lifecycle(source.name, shortened(name, 100), status, (start[0], _integer(start[1])), (line, _integer(end[1])))


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None
