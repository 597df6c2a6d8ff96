"""Reads JSON documents that hold results: lists of values, lists of records, or one number for each name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from postmortem.model import Reading
from postmortem.parsers import _json
from postmortem.parsers import _json_histories as histories
from postmortem.parsers._columns import plain, times_of, whole
from postmortem.parsers._records import Records, add_setting, axis_of, is_metric_name
from postmortem.parsers._table import Rows, Table, finish
from postmortem.parsers.base import LIKELY, NO, PLAUSIBLE, Request, SourceFile

NAME = "json_document"
ABOUT = "JSON results: Keras histories, lists of records, AllenNLP metrics_epoch_N.json, all_results.json, dvclive and ML-Agents summaries."

# Names of files that hold results, and of files that hold settings or data whatever is in them.
RESULT_NAME = re.compile(
    r"(?:^|[_\-.])(?:metrics?|results?|scores?|history|hist|summary|evals?|evaluation|final_info|performance|timers|training_status|stats)"
    r"(?:[_\-.\d]|$)"
)
SETTING_NAME = re.compile(
    r"config|args|params|hparams|hyper|(?:^|[_\-.])hp(?:[_\-.]|$)|flags|settings|options|tokenizer|vocab|special_tokens|added_tokens"
    r"|index\.json|schema|metadata|dataset_info|environment"
)
# Names of what is set before a training. A document with more of them than of measured things is a config, whatever it is called.
CHOSEN = re.compile(
    r"^(?:n|num|max|min|use|with|is|do|no|init|initial|target|total|log|save|eval)_"
    r"|(?:^|_)(?:batch|batch_?size|bs|lr|learning_rate|seed|dropout|hidden|layers?|heads?|dim|width|depth|optim|optimizer|scheduler|warmup"
    r"|decay|momentum|betas?|beta\d|gamma|alpha|eps|epsilon|tau|workers|device|gpus?|path|dir|root|model|arch|dataset|data|resume|clip"
    r"|weight|weights|coef|lambda|temperature|patience|steps|epochs|iters|size|interval|freq|every|ratio)(?:_|$)"
)
EPOCH_IN_NAME = re.compile(r"epoch[_\-]?(\d{1,9})(?!\d)")
MOST_SERIES = 20_000


def claims(source: SourceFile) -> float:
    """Likely when the document holds histories; plausible when it holds single results and its name says so."""
    if source.suffix != ".json" and not _json.is_whole(source.head):
        return NO  # a log that happens to begin with a bracket
    found = _json.peek(source.head)
    if isinstance(found, list):
        return LIKELY - 0.1 if histories.is_record_list(found) else NO
    if not isinstance(found, dict):
        return NO
    if found and _has_histories(found):
        return LIKELY - 0.1
    named = RESULT_NAME.search(source.basename.lower()) and not SETTING_NAME.search(source.basename.lower())
    if named:
        return PLAUSIBLE + 0.1
    chosen = sum(1 for name, value in found.items() if not isinstance(value, dict | list) and CHOSEN.search(plain(str(name))))
    measured = sum(1 for name, value in found.items() if isinstance(value, float) and is_metric_name(str(name)))
    if chosen > measured:
        return NO
    axis = any(axis_of(str(key))[0] in ("step", "epoch") for key in found)
    return PLAUSIBLE + 0.1 if measured + axis >= 2 and measured and not SETTING_NAME.search(source.basename.lower()) else NO


def _has_histories(value: dict[str, Any]) -> bool:
    return (
        bool(histories.rows_of(value))
        or next(histories.lists(value), None) is not None
        or next(histories.numbered(value), None) is not None
    )


def read(source: SourceFile, request: Request) -> Reading:
    """Read the histories of the document; where there are none, its single numbers."""
    reading = Reading(source.name, NAME)
    value, text = _json.read_document(source, reading)
    lines = _json.Lines(text)
    records = Records(reading, request)
    rows = histories.rows_of(value) if isinstance(value, dict) else []
    if isinstance(value, list) or rows:
        # the cells of a row of pandas' columns stand far apart: its number is the only place it has
        places = list(range(1, len(rows) + 1)) if rows else _items(text, 0, len(value), lines)
        _records(records, rows or value, places, 0)
        records.finish()
        return reading
    if not isinstance(value, dict):
        return reading
    table = Table()
    taken: list[int] = []
    lists = 0
    for one in histories.lists(value):
        taken.append(id(one.items))
        places = _json.lines_of_items(text, one.key, len(one.items), lines)
        if isinstance(one.items[0], dict):
            _records(records, one.items, places, lists)
            lists += 1
        elif len(table.columns) < MOST_SERIES:
            paired = isinstance(one.items[0], list)
            items, holder = histories.unpaired(histories.whole_pairs(one.items)) if paired else (one.items, one.holder)
            _series(reading, table, one.prefix + one.key, items, holder, places[: len(items)])
    paths = _numbered(records, value, text, lines)
    if not taken and not paths:
        _single(reading, records, value, source.basename, text, lines)
    else:
        _rest(reading, value, taken, paths, text, lines)
    records.finish()
    finish(reading, table)
    return reading


def _items(text: str, start: int, count: int, lines: _json.Lines) -> list[int]:
    at = text.find("[", start)
    places = _json.item_places(text, at) if at >= 0 else []
    return [lines[place] for place in places] if len(places) == count else list(range(1, count + 1))


def _records(records: Records, items: list[Any], places: list[int], series: int) -> None:
    for line, item in zip(places, items, strict=True):
        if isinstance(item, dict):
            records.add(item, line, series=series)
        else:
            records.reading.rejected += 1


def _numbered(records: Records, value: dict[str, Any], text: str, lines: _json.Lines) -> set[str]:
    """Records that stand under a key for each point in time. Returns the paths of these keys."""
    paths: set[str] = set()
    cursor = 0
    for one in histories.numbered(value):
        place = _json.place_of(text, one.key, cursor)
        line, cursor = (lines[place], place) if place >= 0 else (1, cursor)
        paths.add(one.path)
        flat = {one.prefix + name: item for name, item in _json.flatten(one.record)}
        records.add(flat | {one.axis: one.number}, line)
    return paths


def _series(reading: Reading, table: Table, name: str, items: list[Any], holder: dict[str, Any], places: list[int]) -> None:
    """One list of numbers. A list of steps, epochs or times of the same length beside it is its axis."""
    values = [_json.as_float(item) for item in items]
    index = np.array([at for at, value in enumerate(values) if value is not None], np.int64)
    reading.rejected += sum(1 for item, value in zip(items, values, strict=True) if value is None and item is not None)
    axes: dict[str, list[Any]] = {}
    for key, beside in holder.items():
        axis = axis_of(str(key))[0]
        if axis in ("step", "epoch", "time") and isinstance(beside, list) and len(beside) == len(items):
            axes.setdefault(axis, beside)
    steps = np.array([whole(item) for item in axes["step"]], np.int64) if "step" in axes else None
    epochs = None
    if "epoch" in axes:
        told = [_json.as_float(item) if not isinstance(item, list) else None for item in axes["epoch"]]
        epochs = np.array([np.nan if item is None else item for item in told], np.float64)
    times = times_of(axes["time"]) if "time" in axes else None
    rows = Rows(np.array(places, np.int64), steps, epochs, times)
    table.add(rows, name, np.array([values[at] for at in index], np.float64), index)


def _single(reading: Reading, records: Records, value: dict[str, Any], name: str, text: str, lines: _json.Lines) -> None:
    """A document of single numbers: each is a series of one point, with the epoch that the file or its name says."""
    record = dict(value)
    if isinstance(record.get("gauges"), dict):  # ML-Agents timers: the last value of each gauge
        record = {key: item["value"] for key, item in record["gauges"].items() if isinstance(item, dict) and "value" in item}
    epoch = EPOCH_IN_NAME.search(name)
    if epoch and not any(axis_of(str(key))[0] == "epoch" for key in record):
        record["epoch"] = int(epoch[1])
    numbers: dict[str, Any] = {}
    for key, item in _json.flatten(record):
        if isinstance(item, str) and _json.as_float(item) is None:
            at = _json.place_of(text, key.rsplit("/", 1)[-1])
            add_setting(reading, key.replace("/", "."), item, lines[at] if at >= 0 else None)
        elif not isinstance(item, list):
            numbers[key] = item
    axes = {key: item for key, item in numbers.items() if axis_of(key)[0]}
    for key, item in numbers.items():
        if key not in axes:
            at = _json.place_of(text, key if f'"{key}"' in text else key.rsplit("/", 1)[-1])
            records.add({**axes, key: item}, lines[at] if at >= 0 else 1)


def _rest(reading: Reading, value: dict[str, Any], taken: list[int], paths: set[str], text: str, lines: _json.Lines) -> None:
    """What stands beside the histories (the lists `taken` and what lies below `paths`): settings."""
    for name, item in _json.flatten(value):
        below = any(name[: found.start()] in paths for found in re.finditer("/|$", name)) if paths else False
        if id(item) in taken or isinstance(item, list) or below:
            continue
        at = _json.place_of(text, name.rsplit("/", 1)[-1])
        if not add_setting(reading, name.replace("/", "."), item, lines[at] if at >= 0 else None):
            return
