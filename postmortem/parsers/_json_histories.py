"""Finds the histories in a JSON document: lists of numbers, of records and of [step, value] pairs, and objects with a key for each epoch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from postmortem.parsers import _json
from postmortem.parsers._columns import SPLIT_WORDS, moment
from postmortem.parsers._records import axis_of, is_metric_name

SHORTEST = 2  # values that make a list a history
DEEPEST = 6  # levels of objects in which histories are looked for
CONFIGS = frozenset(("config", "args", "hparams", "params", "options"))
_NUMBERED = re.compile(r"(?i)(epoch|step|iteration|iter)[ _\-]?(\d{1,12})")  # "epoch_3": a key for each point in time


@dataclass(frozen=True, slots=True)
class Listed:
    """One list: the prefix of its name, the object that holds it, its key there, and its items."""

    prefix: str
    holder: dict[str, Any]
    key: str
    items: list[Any]


@dataclass(frozen=True, slots=True)
class Numbered:
    """One point in time of an object that has a key for each.

    path: of the key in the document ("val/acc/100"); prefix: of the names in `record`; axis: "epoch" or "step", which is `number`.
    """

    path: str
    prefix: str
    axis: str
    number: int
    key: str
    record: dict[str, Any]


def lists(value: dict[str, Any], prefix: str = "", depth: int = 0) -> Iterator[Listed]:
    """Each list that is a history: records with an axis, numbers with a metric's name or beside their steps, pairs of step and value."""
    for key, item in value.items():
        key = str(key)
        if isinstance(item, list) and len(item) >= SHORTEST:
            if isinstance(item[0], dict) and item[0].get("py/object") is None:
                if is_record_list(item):
                    yield Listed(prefix, value, key, item)
            elif _is_series(f"{prefix}{key}", key, item, value) or (is_metric_name(f"{prefix}{key}") and are_pairs(item)):
                yield Listed(prefix, value, key, item)
        elif isinstance(item, list) and len(item) == 1 and isinstance(item[0], dict) and is_record_list(item):
            yield Listed(prefix, value, key, item)
        elif isinstance(item, dict) and depth < DEEPEST and key not in CONFIGS:
            yield from lists(item, f"{prefix}{key}/", depth + 1)


def is_record_list(items: list[Any]) -> bool:
    """Whether the list holds records of a training: objects with a number and an axis."""
    first = next((item for item in items if isinstance(item, dict)), None)
    if first is None:
        return False
    axis = any(axis_of(str(key))[0] in ("step", "epoch", "time") for key in first)
    return axis and any(isinstance(value, int | float) for value in first.values())


def _is_series(name: str, key: str, items: list[Any], holder: dict[str, Any]) -> bool:
    """Numbers under the name of a metric; under that of a split only ("train") where a list of steps or epochs stands beside them."""
    if isinstance(items[0], str) or _json.as_float(items[0]) is None:
        return False
    if is_metric_name(key) or (key.lower() in SPLIT_WORDS and is_metric_name(name)):
        return True
    return axis_of(key)[0] == "" and any(
        axis_of(str(other))[0] in ("step", "epoch") and isinstance(beside, list) and len(beside) == len(items)
        for other, beside in holder.items()
    )


def are_pairs(items: list[Any]) -> bool:
    """Whether every item is [step, value] or, as tensorboardX exports them, [time, step, value], with steps that do not fall.

    The last one may be cut: a program that is killed while it writes leaves half a pair.
    """
    width = len(items[0]) if isinstance(items[0], list) else 0
    items = whole_pairs(items)
    if width not in (2, 3) or not all(isinstance(item, list) and len(item) == width for item in items):
        return False
    if width == 3 and moment(items[0][0]) < 0:
        return False
    steps = [item[-2] for item in items]
    if not all(isinstance(step, int) and not isinstance(step, bool) for step in steps):
        return False
    return steps == sorted(steps) and steps[0] < steps[-1] and all(_json.as_float(item[-1]) is not None for item in items)


def whole_pairs(items: list[Any]) -> list[Any]:
    """The items without a last one that is shorter than the first."""
    last, first = items[-1], items[0]
    cut = isinstance(last, list) and isinstance(first, list) and len(last) < len(first) and len(items) > SHORTEST
    return items[:-1] if cut else items


def unpaired(items: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """(values, an object that holds their steps and times) of a list of pairs."""
    axes: dict[str, Any] = {"step": [item[-2] for item in items]}
    if len(items[0]) == 3:
        axes["time"] = [item[0] for item in items]
    return [item[-1] for item in items], axes


def numbered(value: dict[str, Any], prefix: str = "", depth: int = 0) -> Iterator[Numbered]:
    """Each point in time of the objects that have a key for each: {"epoch_1": {"loss": 0.5}, ...} and {"acc": {"100": 0.4, "200": 0.5}}."""
    found = [_NUMBERED.fullmatch(str(key)) for key in value]
    if len(value) >= SHORTEST and all(found) and all(isinstance(item, dict) for item in value.values()):
        for match, (key, item) in zip(found, value.items(), strict=True):
            assert match is not None
            yield Numbered(f"{prefix}{key}", prefix, "epoch" if match[1].lower() == "epoch" else "step", int(match[2]), str(key), item)
        return
    if is_metric_name(prefix.rstrip("/")) and _are_steps(list(value)) and all(_is_number(item) for item in value.values()):
        parent, _, name = prefix.rstrip("/").rpartition("/")
        for key, item in value.items():
            yield Numbered(f"{prefix}{key}", f"{parent}/" if parent else "", "step", int(key), str(key), {name: item})
        return
    for key, item in value.items():
        if isinstance(item, dict) and depth < DEEPEST and key not in CONFIGS:
            yield from numbered(item, f"{prefix}{key}/", depth + 1)


def _are_steps(keys: list[Any]) -> bool:
    """Whether keys are steps: whole numbers that rise. Those that count from 0 or 1 by one may be classes or folds, so they are not."""
    if len(keys) <= SHORTEST or not all(isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 16 for key in keys):
        return False
    steps = [int(key) for key in keys]
    return all(later - earlier > 1 for earlier, later in itertools.pairwise(steps))


def _is_number(item: object) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


def rows_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table as pandas writes it: {"loss": {"0": 0.5, "1": 0.4}, ...} or {"columns": [...], "data": [[...]]}; [] for another thing.

    Both need a column that is an axis or has a metric's name: classes and folds are numbered too.
    """
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list) and all(isinstance(name, str) for name in names):
        width = len(names)
        if any(axis_of(name)[0] in ("step", "epoch") for name in names) and all(
            isinstance(row, list) and len(row) == width for row in data
        ):
            return [dict(zip(names, row, strict=True)) for row in data]
        return []
    columns = list(value.values())
    if not columns or not all(isinstance(column, dict) and len(column) >= SHORTEST for column in columns):
        return []
    keys = list(columns[0])
    counted = keys == [str(number) for number in range(len(keys))] and all(list(column) == keys for column in columns)
    if not counted or not any(axis_of(str(name))[0] in ("step", "epoch") for name in value):
        return []
    return [{str(name): column[key] for name, column in value.items()} for key in keys]
