"""Reads SwanLab's offline files (run-ID.swanlab): records in LevelDB's log format, as wandb writes them, with a schema of their own."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime

from postmortem.frame import NO_TIME
from postmortem.model import Event, Reading
from postmortem.parsers import _folding
from postmortem.parsers._columns import clean
from postmortem.parsers._protobuf import BYTES, VARINT, Malformed, fields, signed, text
from postmortem.parsers._tracker_records import Session
from postmortem.parsers._wandb_log import RecordLog
from postmortem.parsers._wandb_run import timestamp
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "swanlab"
ABOUT = "SwanLab's offline files (run-ID.swanlab): scalars with step and time, console output, and how the run ended."

MAGIC = b":SWL\xd6\xe1"
# The messages of swanlab/proto (record, run, metric.data and terminal, all v1) that say something
_STATES = {0: "running", 1: "finished", 2: "crashed", 3: "aborted"}


def claims(source: SourceFile) -> float:
    """Sure of the magic number."""
    return SURE if source.head.startswith(MAGIC) else NO


def read(source: SourceFile, request: Request) -> Reading:
    """The line of everything is the number of its record. Raises OSError where the file cannot be opened."""
    reading = Reading(source.name, NAME)
    session, log = Session(reading, request), RecordLog(source.path)
    malformed = 0
    for line, data in log:
        try:
            for number, wire, value in fields(data):
                if wire == BYTES and isinstance(value, memoryview) and (take := _RECORDS.get(number)):
                    take(session, value, line)
        except Malformed:
            malformed += 1
    session.finish()
    reading.rejected += log.dropped + malformed + (log.cut_at is not None)
    if log.dropped or malformed:
        reading.notes.append(f"{log.dropped + malformed} damaged record(s) left out")
    if log.cut_at is not None:
        reading.notes.append(f"truncated: cut at byte {log.cut_at}")
    return reading


def _scalar(session: Session, data: memoryview, line: int) -> None:
    """key, step, time, and the number in a message of its own; protobuf leaves a zero out."""
    key, step, time, value = "", 0, NO_TIME, None
    for number, wire, item in fields(data):
        if number == 1 and wire == BYTES:
            key = text(item)
        elif number == 2 and wire == VARINT and isinstance(item, int):
            step = signed(item)
        elif number == 4 and isinstance(item, memoryview):
            time = timestamp(item)
        elif number == 5 and isinstance(item, memoryview):
            value = next(
                (struct.unpack("<d", n)[0] for i, _, n in fields(item) if i == 1 and isinstance(n, memoryview) and len(n) == 8), 0.0
            )
    session.point(key, value, line, step, time=None if time == NO_TIME else time // 1_000_000)


def _console(session: Session, data: memoryview, line: int) -> None:
    said = next((text(item) for number, wire, item in fields(data) if number == 1 and wire == BYTES), "")
    session.printed(f"{said}\n", line, "console")


def _start(session: Session, data: memoryview, line: int) -> None:
    when = next((timestamp(item) for number, _, item in fields(data) if number == 12 and isinstance(item, memoryview)), NO_TIME)
    time = None if when == NO_TIME else when
    session.reading.events.append(Event(session.reading.file, line, "lifecycle", "SwanLab run started", time, data={"what": "start"}))


def _finish(session: Session, data: memoryview, line: int) -> None:
    """How the run ended, and with which exception."""
    state, error, when = 0, "", NO_TIME
    for number, _, item in fields(data):
        if number == 1 and isinstance(item, int):
            state = item
        elif number == 2:
            error = text(item)
        elif number == 3 and isinstance(item, memoryview):
            when = timestamp(item)
    told = f"SwanLab: the run {_STATES.get(state, 'ended')}" + (
        f", {datetime.fromtimestamp(when / 1e6, UTC):%Y-%m-%d %H:%M} UTC" if when > 0 else ""
    )
    facts: dict[str, object] = {"what": "finish"} if state == 1 else {"what": "exit", "exit_code": 1}
    file, time = session.reading.file, when if when > 0 else None
    if state:
        session.reading.events.append(Event(file, line, "lifecycle", clean(told), time, data=facts))
    if error:
        session.reading.events += _folding.exceptions(file, error.split("\n"), [line] * (error.count("\n") + 1), time)


_RECORDS: dict[int, Callable[[Session, memoryview, int], None]] = {10: _start, 11: _finish, 13: _scalar, 16: _console}
