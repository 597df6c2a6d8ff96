"""Reads what the Sacred experiment manager leaves: run.json, info.json and metrics.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from postmortem.frame import NO_TIME
from postmortem.model import Event, Reading
from postmortem.parsers import _folding, _json
from postmortem.parsers._columns import clean, moment, times_of, whole
from postmortem.parsers._records import add_setting
from postmortem.parsers._table import Rows, Table, finish
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "sacred"
ABOUT = "Sacred: run.json (status, fail_trace, host), info.json (lists beside their step lists `name_T`), metrics.json."

STEPS = "_T"  # info.json holds the steps of "loss" under "loss_T"
SETTINGS = ("command", "experiment", "host", "meta")
NOT_SETTINGS = frozenset(("sources", "repositories", "dependencies", "ENV", "options"))


def claims(source: SourceFile) -> float:
    """Sure by the keys that only Sacred writes."""
    if source.suffix != ".json":
        return NO
    found = _json.peek(source.head)
    if not isinstance(found, dict):
        return NO
    if {"experiment", "command"} <= found.keys() and ("host" in found or "status" in found or "heartbeat" in found):
        return SURE
    return SURE if _is_info(found) or _is_metrics(found) else NO


def _is_info(found: dict[str, Any]) -> bool:
    return any(isinstance(found.get(f"{name}{STEPS}"), list) for name, value in found.items() if isinstance(value, list))


def _is_metrics(found: dict[str, Any]) -> bool:
    values = list(found.values())
    return bool(values) and all(isinstance(value, dict) and {"steps", "values"} <= value.keys() for value in values[:-1] or values)


def read(source: SourceFile, request: Request) -> Reading:
    """Read whichever of the three files it is."""
    reading = Reading(source.name, NAME)
    value, text = _json.read_document(source, reading)
    if not isinstance(value, dict):
        return reading
    lines = _json.Lines(text)
    if "experiment" in value and not _is_metrics(value):
        _run(reading, value, text, lines)
    elif _is_metrics(value):
        _metrics(reading, value, text, lines)
    else:
        _info(reading, value, text, lines)
    return reading


# ---------------------------------------------------------------------- run.json


def _run(reading: Reading, value: dict[str, Any], text: str, lines: _json.Lines) -> None:
    """Status and fail_trace become events, host and command become settings."""
    stopped = moment(value.get("stop_time") or value.get("heartbeat"))
    ended = None if stopped == NO_TIME else stopped
    started = moment(value.get("start_time"))
    if started != NO_TIME:
        line = _line(text, "start_time", lines)
        reading.events.append(Event(reading.file, line, "lifecycle", "Sacred: run started", started, data={"what": "start"}))
    trace = value.get("fail_trace")
    if isinstance(trace, list) and trace:
        _trace(reading, [part for part in trace if isinstance(part, str)], text, lines, ended)
    status = value.get("status")
    if isinstance(status, str):
        done = status == "COMPLETED"
        words = {"what": "finish", "status": status} if done else {"status": clean(status, 40)}
        line, told = _line(text, "status", lines), f"Sacred: status {clean(status, 40)}"
        reading.events.append(Event(reading.file, line, "lifecycle" if done else "scheduler", told, ended, data=words))
    for key in SETTINGS:
        if isinstance(value.get(key), dict):
            for name, item in _json.flatten(value[key], ".", NOT_SETTINGS):
                add_setting(reading, f"{key}.{name}", item, _line(text, name.rsplit(".", 1)[-1], lines))
    result = value.get("result")
    if isinstance(result, int | float) and not isinstance(result, bool):
        add_setting(reading, "result", result, _line(text, "result", lines))


def _trace(reading: Reading, parts: list[str], text: str, lines: _json.Lines, time: int | None) -> None:
    """fail_trace: a list of texts, each of one or more lines; each line gets the place of the list item that holds it."""
    places = _json.lines_of_items(text, "fail_trace", len(parts), lines)
    spread, at = [], []
    for part, place in zip(parts, places, strict=True):
        pieces = part.rstrip("\n").split("\n")
        spread += pieces
        at += [place] * len(pieces)
    reading.events += _folding.exceptions(reading.file, spread, at, time)


def _line(text: str, key: str, lines: _json.Lines) -> int | None:
    place = _json.place_of(text, key)
    return lines[place] if place >= 0 else None


# ---------------------------------------------------------------------- info.json and metrics.json


def _info(reading: Reading, value: dict[str, Any], text: str, lines: _json.Lines) -> None:
    """Each list with a step list beside it is a series; single numbers are kept as settings."""
    table = Table()
    for name, items in value.items():
        steps = value.get(f"{name}{STEPS}")
        if isinstance(items, list) and isinstance(steps, list):
            _series(reading, table, name, items, steps, None, _json.lines_of_items(text, name, len(items), lines))
        elif isinstance(items, int | float | str) and not name.endswith(STEPS):
            add_setting(reading, f"info.{name}", items, _line(text, name, lines))
    finish(reading, table)


def _metrics(reading: Reading, value: dict[str, Any], text: str, lines: _json.Lines) -> None:
    """{"loss": {"steps": [...], "values": [...], "timestamps": [...]}}"""
    table = Table()
    for name, item in value.items():
        if not isinstance(item, dict) or not isinstance(item.get("values"), list):
            continue
        items, steps, times = item["values"], item.get("steps"), item.get("timestamps")
        after = max(0, _json.place_of(text, name))
        at = _json.place_of(text, "values", after)
        places = _json.item_places(text, at) if at >= 0 and text[at : at + 1] == "[" else []
        where = [lines[place] for place in places] if len(places) == len(items) else list(range(1, len(items) + 1))
        _series(reading, table, name, items, steps if isinstance(steps, list) else [], times if isinstance(times, list) else None, where)
    finish(reading, table)


def _series(
    reading: Reading, table: Table, name: str, items: list[Any], steps: list[Any], times: list[Any] | None, places: list[int]
) -> None:
    """Add one list of values; a value that is no number is counted and left out."""
    values = [_json.as_float(item) for item in items]
    index = np.array([at for at, value in enumerate(values) if value is not None], np.int64)
    if len(index) < len(values):
        reading.rejected += len(values) - len(index)
        odd = next(item for item, value in zip(items, values, strict=True) if value is None)
        pickled = isinstance(odd, dict) and any(str(key).startswith("py/") for key in odd)
        what = "pickled objects, which are never unpacked" if pickled else f"no numbers, first: {_json.short(odd, 40)!r}"
        reading.notes.append(f"{clean(name, 60)}: {len(values) - len(index)} value(s) are {what}")
    if not len(index):
        return
    if steps and len(steps) != len(values):
        reading.notes.append(f"{clean(name, 60)}: {len(values)} values but {len(steps)} steps; the shorter counts")
        index = index[index < len(steps)]
    rows = Rows(
        np.array(places, np.int64),
        np.array([whole(step) for step in steps[: len(values)]] + [-(2**63)] * (len(values) - len(steps)), np.int64) if steps else None,
        None,
        times_of(times) if times and len(times) == len(values) else None,
    )
    table.add(rows, name, np.array([values[at] for at in index], np.float64), index)
