"""Records of names and values (JSON objects) become rows of a table: axes found by name, nested keys joined with "/"."""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from postmortem.frame import NO_STEP, NO_TIME
from postmortem.model import Event, Origin, Reading, Setting, Split
from postmortem.parsers import _folding, _json
from postmortem.parsers._columns import (
    EPOCH_NAMES,
    INDEX_NAMES,
    RANK_NAMES,
    SPLIT_NAMES,
    STEP_NAMES,
    TIME_NAMES,
    clean,
    is_identifier,
    moment,
    plain,
    split_of,
    whole,
)
from postmortem.parsers._table import RowTable
from postmortem.parsers._text_events import TEXT as LONGEST_ENDING
from postmortem.parsers._text_events import ending_in
from postmortem.parsers._text_needles import LONGEST_SAID, asked
from postmortem.parsers.base import Request

SETTING_KEYS = frozenset(("config", "cfg", "hparams", "hyperparameters", "args", "params", "env_info", "meta", "_wandb"))
TEXT_KEYS = ("message", "msg", "event", "text", "error", "err", "exception", "exc_info", "traceback", "stack_trace", "reason")
SAYS_SPLIT = frozenset(
    ("kind", "type", "event", "job", "loop", "tag", "msg", "message", "dataset", "part", "name")
)  # where the text is a split's word
MOST_SETTINGS = 5_000
NAMING = 0.8  # share of different texts above which a text names the record ("id", "path") instead of repeating ("host")

_AXES = {"step": STEP_NAMES, "epoch": EPOCH_NAMES, "time": TIME_NAMES, "split": SPLIT_NAMES, "rank": RANK_NAMES, "index": INDEX_NAMES}


@functools.lru_cache(maxsize=20_000)
def axis_of(name: str) -> tuple[str, int]:
    """("step", 3): the axis that a name says and its place in the list (lower is better); ("", 0) for a metric."""
    word = plain(name)
    for axis, names in _AXES.items():
        if word in names:
            return axis, names.index(word)
    return "", 0


class Records:
    """Collects records of one file. `add` takes them one by one, `finish` puts everything into the reading."""

    def __init__(self, reading: Reading, request: Request | None = None) -> None:
        self.reading = reading
        self.wanted = request.wanted if request else None
        self.rows = RowTable()
        self.has_axis = False
        self.words: dict[str, int] = {}
        self._texts: dict[str, list[str]] = {}
        self._set: set[str] = set()
        self._numbered: str | None = None  # a name that numbers things ("image_id"), if the first record begins with one
        self._ids: set[float] = set()
        self._seen = 0

    def add(self, record: dict[str, Any], line: int, *, series: int = 0, prefix: str = "") -> None:
        """Add one record. `line` is where it stands, `series` keeps lists of records apart that use the same names."""
        numbers: dict[str, float] = {}
        axes: dict[str, tuple[int, str, Any]] = {}
        for name, value in _json.flatten(record, skip=SETTING_KEYS):
            name = prefix + name
            axis, place = axis_of(name)
            if axis and (axis not in axes or place < axes[axis][0]):
                axes[axis] = (place, name, value)
            found = None if isinstance(value, list) else _json.as_float(value)
            if found is not None:
                numbers[name] = found
            elif isinstance(value, str) and not axis:
                self._text(name, value, line)
                if plain(name) in SAYS_SPLIT and split_of(value) is not None:
                    axes.setdefault("split", (len(SPLIT_NAMES), name, value))
        self._count(record, numbers)
        long_name = _named_metric(record)
        if long_name is not None:
            numbers = {long_name: numbers["value"]} if "value" in numbers else {}
        self.settings(record, line)
        self._row(numbers, axes, line, series)

    def _count(self, record: dict[str, Any], numbers: dict[str, float]) -> None:
        """Look whether the first name of the records numbers things: the first hundred tell."""
        if not self._seen:
            first = next(iter(record), "")
            self._numbered = first if first in numbers and is_identifier(first) else None
        if self._numbered is not None and self._seen < 100:
            self._seen += 1
            self._ids.add(numbers.get(self._numbered, -1.0))
        self._seen = max(self._seen, 1)

    def _row(self, numbers: dict[str, float], axes: dict[str, tuple[int, str, Any]], line: int, series: int) -> None:
        """Take the axes out of the numbers and add what is left."""
        step, epoch, time, rank = NO_STEP, math.nan, NO_TIME, None
        split: Split | None = None
        for axis, (_, name, value) in axes.items():
            if axis == "step":
                value = value[-1] if isinstance(value, list) and value else value  # DLLogger writes [epoch, step]
                step = whole(value)
                numbers.pop(name, None)
            elif axis == "epoch":
                found = _json.as_float(value) if not isinstance(value, list) else None
                epoch = math.nan if found is None else found
                numbers.pop(name, None)
            elif axis == "time":
                time = moment(value)
                if time != NO_TIME:
                    numbers.pop(name, None)
            elif axis == "rank" and isinstance(value, int) and 0 <= value < 2**31:
                rank = value
                numbers.pop(name, None)
            elif axis == "split" and isinstance(value, str):
                split = split_of(value)
                if split is None and value:
                    series += self.words.setdefault(value[:80], len(self.words) + 1)
            elif axis == "index":
                numbers.pop(name, None)
        if step != NO_STEP or epoch == epoch or time != NO_TIME:
            self.has_axis = True
        if numbers:
            self.rows.add(line, numbers, step=step, epoch=epoch, time=time, split=split, rank=rank, series=series)

    def settings(self, record: dict[str, Any], line: int) -> None:
        """The configuration that a record carries along, taken from the first record that has it."""
        for key in SETTING_KEYS & record.keys():
            value = record[key]
            if isinstance(value, dict) and key not in self._set:
                self._set.add(key)
                for name, item in _json.flatten(value, "."):
                    add_setting(self.reading, f"{key}.{name}", item, line)

    def _text(self, name: str, value: str, line: int) -> None:
        """A text in a record: an event if it tells of the end or a rule asks for such a line; remembered to tell logs from tables."""
        held = self._texts.setdefault(name, [])
        if len(held) < 100:
            held.append(value[:200])
        if plain(name.rsplit("/", 1)[-1]) not in TEXT_KEYS:
            return
        if "Traceback (most recent call last)" in value:
            self.reading.events += _folding.exceptions(self.reading.file, value.split("\n"), [line] * (value.count("\n") + 1))
            return
        if (ending := ending_in(value[:LONGEST_ENDING])) is not None:
            kind, facts = ending
            self.reading.events.append(Event(self.reading.file, line, kind, clean(value, LONGEST_ENDING), data=facts))
        if self.wanted is not None and asked(self.wanted, value[:LONGEST_SAID]):
            self.reading.events.append(Event(self.reading.file, line, "log", clean(value, 2000)))

    def finish(self) -> None:
        """Put the rows into the reading, unless the records are a table of things rather than a history."""
        if not self.has_axis:
            if self._numbered is not None and len(self._ids) > 0.5 * self._seen:
                what = f"each numbered by {clean(self._numbered, 60)!r}"
                self.reading.notes.append(f"records without step, epoch or time, {what}: not a history, so no curve")
                return
            for name, texts in self._texts.items():
                if len(texts) >= 3 and len(set(texts)) >= NAMING * len(texts):
                    what = f"each named by {clean(name, 60)!r}"
                    self.reading.notes.append(f"records without step, epoch or time, {what}: not a history, so no curve")
                    return
        self.rows.finish(self.reading)


def add_setting(reading: Reading, key: str, value: object, line: int | None) -> bool:
    """Add one setting if it is a plain value; False once the reading holds as many as it may."""
    if len(reading.settings) >= MOST_SETTINGS:
        return False
    if isinstance(value, list):
        nested = any(isinstance(item, dict | list) for item in value)
        value = f"{len(value)} items" if nested else [clean(item) if isinstance(item, str) else item for item in value[:64]]
    elif isinstance(value, str):
        value = clean(value, 1000)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        value = _json.as_float(value)
    reading.settings.append(Setting(clean(key), value, Origin(reading.file, line)))
    return True


def _named_metric(record: dict[str, Any]) -> str | None:
    """The metric of a record that holds one named value: {"metric": "loss", "variant": "train", "value": 0.5, ...}."""
    if "value" not in record or len(record) > 12:
        return None
    for key in ("metric", "tag", "metric_name", "scalar", "name", "key"):
        name = record.get(key)
        if isinstance(name, str) and name:
            variant = record.get("variant")
            return f"{name}/{variant}" if isinstance(variant, str) and variant else name
    return None


METRIC_WORD = re.compile(
    r"(?:^|[_/ .\-])(?:\w*loss\w*|acc|accuracy|error|err|f1|auc|auroc|bleu|rouge\w*|ppl|perplexity|reward\w*|return\w*|score|map|miou"
    r"|iou|dice|wer|cer|mae|mse|rmse|precision|recall|psnr|ssim|lr|learning_rate|grad_norm|top1|top5|fid|nll|elbo|kl)(?:$|[_/ .\-@\d])",
    re.IGNORECASE,
)


def is_metric_name(name: str) -> bool:
    """Whether a name is one that people give to a measured quantity."""
    return bool(METRIC_WORD.search(name.replace("val_", "").replace("train_", "")))
