"""Reads the trainer_state.json that the Hugging Face Trainer leaves in a run and in each checkpoint."""

from __future__ import annotations

from typing import Any

from postmortem.model import Reading
from postmortem.parsers import _json
from postmortem.parsers._records import Records, add_setting
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "trainer_state"
ABOUT = "trainer_state.json of the Hugging Face Trainer: every row of log_history; max_steps, best_metric and the rest as settings."

KEY = "log_history"


def claims(source: SourceFile) -> float:
    """Sure when the document has a log_history that is a list."""
    if b"log_history" not in source.head:
        return NO
    found = _json.peek(source.head)
    return SURE if isinstance(found, dict) and isinstance(found.get(KEY), list) else NO


def read(source: SourceFile, request: Request) -> Reading:
    """Read log_history row by row, each with the line of its opening bracket."""
    reading = Reading(source.name, NAME)
    value, text = _json.read_document(source, reading)
    if not isinstance(value, dict):
        return reading
    rows = value.get(KEY)
    rows = rows if isinstance(rows, list) else []
    lines = _json.Lines(text)
    records = Records(reading, request)
    for line, row in zip(_json.lines_of_items(text, KEY, len(rows), lines), rows, strict=True):
        if isinstance(row, dict):
            records.add(row, line)
        else:
            reading.rejected += 1
    records.finish()
    if not rows:
        reading.notes.append("log_history is empty: nothing was logged")
    _settings(reading, value, text, lines)
    return reading


def _settings(reading: Reading, value: dict[str, Any], text: str, lines: _json.Lines) -> None:
    """Everything beside the history, with the line of its key."""
    rest = {key: item for key, item in value.items() if key != KEY}
    after = text.rfind(f'"{KEY}"')
    for name, item in _json.flatten(rest, "."):
        key = name.rsplit(".", 1)[-1]
        # The same words stand in the rows of the history: look behind it first, then before it.
        end = _json.place_of(text, key, max(after, 0))
        at = _json.place_of(text[: max(after, 0)], key) if key in rest and key <= KEY else end
        place = at if at >= 0 else end
        add_setting(reading, name, item, lines[place] if place >= 0 else None)
