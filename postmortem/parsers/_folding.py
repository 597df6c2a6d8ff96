"""A traceback that a structured file keeps as a text becomes exception events, with the places where that text stands in the file."""

from __future__ import annotations

import dataclasses

from postmortem.model import Event
from postmortem.parsers._columns import clean
from postmortem.parsers._traceback import Folder

LONGEST_LINE = 20_000  # characters of one line of a traceback


def exceptions(file: str, lines: list[str], places: list[int], time: int | None = None, rank: int | None = None) -> list[Event]:
    """Exception events for the tracebacks among `lines`; places[k] is the line number of lines[k] in the file."""
    folder = Folder(file)
    for number, line in enumerate(lines, 1):
        folder.feed(number, clean(line, LONGEST_LINE), rank)
    found = []
    for event in folder.close():
        data = dict(event.data)
        for key in ("first_line", "last_line"):
            told = data.get(key)
            if isinstance(told, int):
                data[key] = _place(places, told)
        chain = data.get("chain")
        if isinstance(chain, list):
            data["chain"] = [{**link, "line": _place(places, link["line"])} for link in chain if isinstance(link.get("line"), int)]
        place = None if event.line is None else _place(places, event.line)
        found.append(dataclasses.replace(event, line=place, time=event.time if event.time is not None else time, data=data))
    # What follows a whole traceback without an exception of its own (TensorFlow's "defined at:" frames) adds nothing.
    return [event for event in found if not event.data.get("partial")] or found


def _place(places: list[int], number: int) -> int:
    return places[min(max(number, 1), len(places)) - 1] if places else number
