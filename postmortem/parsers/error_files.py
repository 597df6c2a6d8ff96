"""Reads the small files that a dying process leaves behind: torchelastic error files and NCCL flight-recorder dumps (JSON or pickle)."""

from __future__ import annotations

import re
from typing import Any

from postmortem.frame import NO_TIME
from postmortem.model import Event, Reading
from postmortem.parsers import _folding, _json, _plain_pickle
from postmortem.parsers._columns import clean, moment
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "error_files"
ABOUT = "Error files of torchelastic, flight-recorder dumps of NCCL (JSON, or a pickle as it is): which exception, which collective hung."

MOST_EVENTS = 200
MOST_PICKLED = 32 << 20  # bytes of a pickled dump; 2,000 collectives with their stacks are a few MB
_LOCAL_RANK = re.compile(r"(?:^|/)attempt_\d+/(\d{1,5})/[^/]*$")  # torchrun --log-dir: RUN/attempt_N/LOCAL_RANK/error.json
OPEN_STATES = ("scheduled", "started")  # a collective in one of these states never completed


def claims(source: SourceFile) -> float:
    """Sure by the keys of either format; of a pickle where the recorder's keys stand in its first bytes."""
    if _is_pickled_recorder(source.head):
        return SURE
    found = _json.peek(source.head)
    if not isinstance(found, dict):
        return NO
    return SURE if _is_error(found) or _is_recorder(found) else NO


def _is_error(found: dict[str, Any]) -> bool:
    message = found.get("message")
    if isinstance(message, dict):
        return "message" in message and isinstance(message.get("extraInfo"), dict)
    return isinstance(message, str) and ("py_callstack" in found or isinstance(found.get("extraInfo"), dict))


def _is_recorder(found: dict[str, Any]) -> bool:
    entries = found.get("entries")
    if isinstance(entries, list) and entries and isinstance(entries[0], dict):
        return "collective_seq_id" in entries[0] or "profiling_name" in entries[0]
    return isinstance(entries, list) and ("pg_config" in found or "pg_status" in found)


def read(source: SourceFile, request: Request) -> Reading:
    """Read the file into exception or hardware events."""
    reading = Reading(source.name, NAME)
    if _is_pickled_recorder(source.head):
        _pickled(reading, source)
        return reading
    value, text = _json.read_document(source, reading)
    if isinstance(value, dict):
        lines = _json.Lines(text)
        if _is_recorder(value):
            _recorder(reading, value, text, lines)
        else:
            _error(reading, value, text, lines)
    return reading


def _is_pickled_recorder(head: bytes) -> bool:
    return head[:1] == b"\x80" and b"pg_config" in head and (b"pg_status" in head or b"entries" in head)


def _pickled(reading: Reading, source: SourceFile) -> None:
    """A dump as torch.distributed writes it unless it is asked for JSON: plain values, read without unpickling. It has no lines."""
    if source.size > MOST_PICKLED:
        reading.notes.append(f"flight recorder dump larger than {MOST_PICKLED >> 20} MB: not read")
        return
    try:
        value = _plain_pickle.load(source.path.read_bytes())
    except _plain_pickle.NotPlain as why:
        reading.rejected += 1
        reading.notes.append(f"flight recorder dump as a pickle that was not read: {clean(str(why), 100)}")
        return
    if isinstance(value, dict) and _is_recorder(value):
        _recorder(reading, value, "", _json.Lines(""))


def _error(reading: Reading, value: dict[str, Any], text: str, lines: _json.Lines) -> None:
    """One exception: its text from `message`, its traceback from `py_callstack`."""
    inner = value["message"] if isinstance(value.get("message"), dict) else value
    extra = inner.get("extraInfo")
    extra = extra if isinstance(extra, dict) else inner
    when = moment(extra.get("timestamp"))
    time = None if when == NO_TIME else when
    rank = extra.get("rank")
    folder = _LOCAL_RANK.search(reading.file)
    rank = rank if isinstance(rank, int) and not isinstance(rank, bool) and 0 <= rank < 2**31 else int(folder[1]) if folder else None
    place = _json.place_of(text, "message")
    line = lines[place] if place >= 0 else 1
    stack = extra.get("py_callstack")
    events: list[Event] = []
    if isinstance(stack, str) and "Traceback" in stack:
        place = _json.place_of(text, "py_callstack")
        pieces = stack.split("\n")
        events = _folding.exceptions(reading.file, pieces, [lines[place] if place >= 0 else line] * len(pieces), time, rank)
    message = inner.get("message")
    if not events and isinstance(message, str) and message:
        kind, _, rest = message.partition(":")
        data = {"type": clean(kind, 100), "message": clean(rest.strip(), 2000), "frame": "", "first_line": line, "last_line": line}
        events = [Event(reading.file, line, "exception", clean(message, 2000), time, rank, data=data)]
    for key in ("signal", "exitcode", "errorCode"):
        if key in extra and isinstance(extra[key], str | int):
            reading.notes.append(f"{key} {extra[key]}")
    reading.events += events


def _word(value: object) -> Any:
    """A text, shortened, or a number; None for anything else: a nested value of a pickle can be larger than the memory when it is written out."""
    return clean(value, 100) if isinstance(value, str) else value if isinstance(value, int) else None


def _recorder(reading: Reading, value: dict[str, Any], text: str, lines: _json.Lines) -> None:
    """Each collective that never completed is an event, the oldest first."""
    entries = value.get("entries")
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    rank = value.get("rank")
    rank = rank if isinstance(rank, int) and not isinstance(rank, bool) and 0 <= rank < 2**31 else None
    places = _json.lines_of_items(text, "entries", len(entries), lines)
    for line, entry in zip(places, entries, strict=True):
        state = entry.get("state")
        # "retired" is no longer watched: it ended, even where its state was not brought up to date (Gloo never does that)
        if state not in OPEN_STATES or entry.get("retired") is True or len(reading.events) >= MOST_EVENTS:
            continue
        name, number = _word(entry.get("profiling_name")) or "a collective", _word(entry.get("collective_seq_id", entry.get("seq_id")))
        group = entry.get("process_group")
        group = _word(group[-1] if isinstance(group, list | tuple) and group else group)
        facts = {"state": state, "collective": name, "sequence": number, "group": group}
        when = moment(entry.get("time_created_ns"))
        told = f"Flight recorder: {name} (sequence {number}) was {state} and never completed"
        reading.events.append(Event(reading.file, line, "hardware", clean(told), None if when == NO_TIME else when, rank, data=facts))
    reading.notes.append(f"{len(entries)} collective(s) recorded, {len(reading.events)} not completed")
