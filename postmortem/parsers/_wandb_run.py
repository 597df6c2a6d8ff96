"""Decodes the records of a .wandb file into series, events and settings.

Field numbers are those of wandb/proto/wandb_internal.proto (wandb 0.12 to 0.31). Values are JSON texts; newer files hold them typed.
"""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from postmortem.frame import NO_STEP, NO_TIME, Block
from postmortem.model import Event, Origin, Setting
from postmortem.parsers._columns import device_of
from postmortem.parsers._literals import flattened, shortened
from postmortem.parsers._protobuf import BYTES, VARINT, fields, signed, text
from postmortem.parsers._text_needles import asked
from postmortem.patterns import Wanted

_WORD_NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_LONGEST_LINE = 2000  # characters of a console line
_MOST_NAMES = 20_000
_CONSOLE_TAIL = 64 * 1024  # characters of a console line that has not ended


@dataclass(slots=True)
class Series:
    """The points of one key, as they come."""

    values: list[float] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """Everything the records of one file have said so far."""

    file: str
    wanted: Wanted | re.Pattern[str] | None = None  # console lines to keep; None: none
    history: dict[str, Series] = field(default_factory=dict)
    system: dict[str, Series] = field(default_factory=dict)
    config: dict[str, Setting] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    exited: bool = False
    _console: str = ""

    def record(self, line: int, data: memoryview) -> None:
        """Take in one record. Raises Malformed where it is no protocol buffer."""
        for number, wire, value in fields(data):
            if wire == BYTES and isinstance(value, memoryview) and (take := _RECORDS.get(number)):
                take(self, line, value)

    def blocks(self) -> list[Block]:
        """History first, system metrics after it, each key in the order in which it first appeared."""
        blocks = [_block(name, series, None) for name, series in self.history.items()]
        for name, series in self.system.items():
            blocks.append(_block(name, series, device_of(name)))
        return blocks


def _block(name: str, series: Series, device: int | None) -> Block:
    steps, times = np.array(series.steps, np.int64), np.array(series.times, np.int64)
    return Block(
        name,
        np.array(series.values, np.float64),
        np.array(series.lines, np.int64),
        steps if (steps != NO_STEP).any() else None,
        times=times if (times != NO_TIME).any() else None,
        device=device,
    )


# ---------------------------------------------------------------------- the kinds of records


def _history(run: Run, line: int, data: memoryview) -> None:
    """One wandb.log call: its items, and the step that is an item of its own or a field."""
    step, row = NO_STEP, dict[str, object]()
    for number, wire, value in fields(data):
        if number == 1 and isinstance(value, memoryview):
            key, leaf = _item(value)
            row[key] = leaf
        elif number == 2 and wire == BYTES and isinstance(value, memoryview):
            step = next((signed(int(item)) for inner, kind, item in fields(value) if inner == 1 and kind == VARINT), 0)
    counted = row.get("_step")
    if isinstance(counted, int | float) and abs(counted) < 2**62:
        step = int(counted)
    time = _microseconds(row.get("_timestamp"))
    for key, leaf in row.items():
        if not key.startswith("_"):
            _put(run, run.history, key, leaf, line, step, time)


def _stats(run: Run, line: int, data: memoryview) -> None:
    """One sample of the machine."""
    time, items = NO_TIME, []
    for number, _, value in fields(data):
        if number == 2 and isinstance(value, memoryview):
            time = timestamp(value)
        elif number == 3 and isinstance(value, memoryview):
            items.append(_item(value))
    for key, leaf in items:
        if not key.startswith("_"):
            _put(run, run.system, key, leaf, line, NO_STEP, time)


def _put(run: Run, into: dict[str, Series], key: str, leaf: object, line: int, step: int, time: int) -> None:
    """A number becomes a point, a mapping one point for each of its numbers; anything else is counted by what it is."""
    for name, value in numbers(key, leaf, run.skipped):
        series = into.get(name)
        if series is None:
            if len(into) >= _MOST_NAMES:
                run.skipped["key beyond the first 20,000"] += 1
                continue
            series = into[name] = Series()
        series.values.append(value)
        series.lines.append(line)
        series.steps.append(step)
        series.times.append(time)


def numbers(key: str, leaf: object, skipped: Counter[str]) -> Iterator[tuple[str, float]]:
    """The numbers of a logged value with their dotted names. Media (a mapping with "_type") and texts are counted in `skipped`."""
    if isinstance(leaf, int | float) and not isinstance(leaf, bool):
        try:
            yield shortened(key.strip() or "(unnamed)", 200), float(leaf)
        except OverflowError:
            skipped["number too large"] += 1
    elif isinstance(leaf, str) and leaf in _WORD_NUMBERS:
        yield shortened(key.strip() or "(unnamed)", 200), _WORD_NUMBERS[leaf]
    elif isinstance(leaf, dict) and "_type" not in leaf:
        for name, value in flattened(leaf, key):
            if not isinstance(value, dict):
                yield from numbers(name, value, skipped)
    else:
        skipped[str(leaf["_type"])[:40] if isinstance(leaf, dict) else type(leaf).__name__] += 1


def _config(run: Run, line: int, data: memoryview) -> None:
    """Configuration values; a later one replaces an earlier one."""
    for number, _, value in fields(data):
        if number == 1 and isinstance(value, memoryview):
            key, leaf = _item(value)
            if not key.startswith("_wandb"):
                for name, item in flattened(leaf, key):
                    run.config[name] = Setting(name, item, Origin(run.file, line))


def _run(run: Run, line: int, data: memoryview) -> None:
    """What was known at the start."""
    for number, _, value in fields(data):
        if number == 4 and isinstance(value, memoryview):
            _config(run, line, value)
        elif number == 17 and isinstance(value, memoryview) and not any(event.data.get("what") == "start" for event in run.events):
            started = timestamp(value)
            time = started if started != NO_TIME else None
            run.events.append(Event(run.file, line, "lifecycle", "wandb run started", time, data={"what": "start"}))


def _exit(run: Run, line: int, data: memoryview) -> None:
    """How the process ended, as wandb saw it."""
    code = next((signed(int(value)) for number, wire, value in fields(data) if number == 1 and wire == VARINT), 0)
    run.exited = True
    what = "finish" if code == 0 else "exit"
    run.events.append(Event(run.file, line, "lifecycle", f"wandb exit record: exit code {code}", data={"what": what, "exit_code": code}))


def _preempting(run: Run, line: int, data: memoryview) -> None:
    run.events.append(Event(run.file, line, "scheduler", "wandb: the run was marked as being preempted", data={"what": "preempted"}))


def _console(run: Run, line: int, data: memoryview) -> None:
    """Console output comes in pieces; whole lines that a rule asks for become events."""
    if run.wanted is None:
        return
    piece = "".join(text(value) for number, wire, value in fields(data) if number == 3 and wire == BYTES)
    *whole, run._console = (run._console + piece)[-_CONSOLE_TAIL:].replace("\r", "\n").split("\n")
    for words in whole:
        if asked(run.wanted, words[:_LONGEST_LINE]):
            run.events.append(Event(run.file, line, "log", shortened(words.strip(), _LONGEST_LINE)))


_RECORDS: dict[int, Callable[[Run, int, memoryview], None]] = {
    2: _history,
    4: _console,
    5: _config,
    7: _stats,
    13: _console,
    17: _run,
    18: _exit,
    23: _preempting,
}


# ---------------------------------------------------------------------- values


def _item(data: memoryview) -> tuple[str, object]:
    """Key and value of a HistoryItem, StatsItem or ConfigItem. A nested key is joined with dots."""
    key, nested, leaf = "", list[str](), None
    for number, wire, value in fields(data):
        if number == 1 and wire == BYTES:
            key = text(value)
        elif number == 2 and wire == BYTES:
            nested.append(text(value))
        elif number in _TYPED:
            leaf = _TYPED[number](value)
    return ".".join(nested) if nested else key, leaf


def _json(value: int | memoryview) -> object:
    """A JSON text; nothing where it is none."""
    try:
        return json.loads(bytes(value)) if isinstance(value, memoryview) else None
    except (ValueError, RecursionError):
        return None


def _zigzag(value: int | memoryview) -> object:
    return (value >> 1) ^ -(value & 1) if isinstance(value, int) else None


def _double(value: int | memoryview) -> object:
    return struct.unpack("<d", value)[0] if isinstance(value, memoryview) and len(value) == 8 else None


# Value fields of an item: typed ones of newer files (bool, sint64, double, text, JSON) and value_json
_TYPED: dict[int, Callable[[int | memoryview], object]] = {4: bool, 5: _zigzag, 6: _double, 7: text, 8: _json, 16: _json}


def timestamp(data: memoryview) -> int:
    """A google.protobuf.Timestamp as microseconds since 1970 UTC."""
    seconds = nanos = 0
    for number, wire, value in fields(data):
        if wire == VARINT and isinstance(value, int):
            seconds, nanos = (signed(value), nanos) if number == 1 else (seconds, signed(value) if number == 2 else nanos)
    return seconds * 1_000_000 + nanos // 1000 if 0 < seconds < 253402300800 else NO_TIME


def _microseconds(seconds: object) -> int:
    return round(seconds * 1e6) if isinstance(seconds, int | float) and 0 < seconds < 253402300800 else NO_TIME
