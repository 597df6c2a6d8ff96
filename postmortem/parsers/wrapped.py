"""Reads printed output that a container or a log service put into records: the text is taken out and read as the log that it is."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np

from postmortem.model import Event, Origin, Reading
from postmortem.parsers import _json, text
from postmortem.parsers._columns import plain
from postmortem.parsers._dialect import rows_of
from postmortem.parsers._records import axis_of, is_metric_name
from postmortem.parsers._streams import Unread
from postmortem.parsers._textblocks import blocks, decode, text_of
from postmortem.parsers.base import HEAD_BYTES, LIKELY, NO, Request, SourceFile

NAME = "wrapped"
ABOUT = "Output in records: JSON lines of Docker, Kubernetes and Python's JSON loggers, and CSV exports of log services (time, message)."

MESSAGES = ("log", "message", "msg", "text_payload", "line", "body")
# What else stands in a record of a log, one of which must be there: a column of messages alone may be a data set.
BESIDE = frozenset(
    ("time", "timestamp", "ts", "asctime", "date", "datetime", "stream", "level", "levelname", "severity", "host", "realtime_timestamp")
)
FEWEST, SAMPLE = 3, 40  # records that show what a file is, and those that are looked at
WITH_NUMBERS = 0.2  # share of the messages that must hold a number
MOST_COLUMNS = 12


def claims(source: SourceFile) -> float:
    """A little surer than the readers of JSON lines and tables, where records hold a message and nothing that was measured."""
    return LIKELY + 0.05 if _key(source) else NO


def _key(source: SourceFile) -> str:
    """The key or column that holds the messages; "" where the file is nothing of the kind."""
    head = text_of(source.head)
    if head.lstrip()[:1] == "{":
        records = [record for line in head.split("\n")[:SAMPLE] if (record := _object(line)) is not None]
    elif source.suffix in (".csv", ".tsv"):
        rows = list(itertools.islice(_cells(head.split("\n")[:SAMPLE], source), SAMPLE))
        if not rows or len(rows[0][1]) > MOST_COLUMNS:
            return ""
        names = rows[0][1]
        records = [dict(zip(names, cells, strict=True)) for _, cells in rows[1:] if len(cells) == len(names)]
    else:
        return ""
    if len(records) < FEWEST:
        return ""
    by_plain = {plain(name): name for name in records[0]}
    key = next((by_plain[word] for word in MESSAGES if word in by_plain), "")
    measured = any(is_metric_name(name) or axis_of(name)[0] in ("step", "epoch") for name in records[0] if name != key)
    if not key or measured or BESIDE.isdisjoint(by_plain):
        return ""
    said = [words for record in records if isinstance(words := record.get(key), str)]
    telling = sum(any(character.isdigit() for character in words) and " " in words for words in said)
    return key if len(said) >= 0.9 * len(records) and telling >= max(1, WITH_NUMBERS * len(said)) else ""


def read(source: SourceFile, request: Request) -> Reading:
    """What the reader of logs finds in the messages, at the lines of their records."""
    key, places = _key(source), Places()
    if not key:
        return Reading(source.name, NAME, notes=["no records that hold the text of a log"])
    size = sum(map(len, _told(source, key, places)))
    head = b"".join(itertools.islice(_told(source, key, Places()), 2_000))[:HEAD_BYTES]
    # The reader asks nothing of a path but to be opened, and that the stand-in can do.
    log = replace(source, path=cast(Path, Unread(lambda: _told(source, key, Places()))), size=size, head=head)
    reading = text.read(log, replace(request, most=None))
    for block in reading.blocks:
        block.lines = None if block.lines is None else places.of(block.lines)
    reading.events = [_placed(event, places) for event in reading.events]
    reading.settings = [
        replace(one, origin=Origin(one.origin.file, None if one.origin.line is None else places[one.origin.line]))
        for one in reading.settings
    ]
    reading.notes.insert(0, f"records of a log: the text under {key!r} is read, lines are those of the records")
    return reading


def _placed(event: Event, places: Places) -> Event:
    data = dict(event.data)
    for name in ("first_line", "last_line"):
        if isinstance(line := data.get(name), int):
            data[name] = places[line]
    return replace(event, line=None if event.line is None else places[event.line], data=data)


@dataclass(slots=True)
class Places:
    """Which record each line of the text comes from. Only where the two stop going side by side is anything kept."""

    lines: list[int] = field(default_factory=list)  # of the text, ascending
    records: list[int] = field(default_factory=list)  # the record at that line
    still: list[bool] = field(default_factory=list)  # whether the lines after it are of the same record

    def add(self, line: int, record: int, count: int) -> None:
        """`count` lines of the text, from `line` on, come from `record`."""
        still = count > 1
        if not self.lines or self.still[-1] or still or self[line] != record:
            self.lines.append(line)
            self.records.append(record)
            self.still.append(still)

    def __getitem__(self, line: int) -> int:
        at = max(bisect_right(self.lines, line) - 1, 0)
        return self.records[at] + (0 if self.still[at] else max(line - self.lines[at], 0)) if self.lines else line

    def of(self, lines: np.ndarray) -> np.ndarray:
        """The records of (n,) lines."""
        if not self.lines:
            return lines
        at = np.maximum(np.searchsorted(self.lines, lines, side="right") - 1, 0)
        beyond = np.where(np.array(self.still)[at], 0, np.maximum(lines - np.array(self.lines)[at], 0))
        return np.array(self.records, np.int64)[at] + beyond


def _told(source: SourceFile, key: str, places: Places) -> Iterator[bytes]:
    """The messages as lines of a log; `places` learns where they stand. A piece that Docker cut at 16 KB goes on in the next record."""
    line, pending, begun = 1, "", 0
    for record, words in _messages(source, key):
        ends = words.endswith("\n") or key != "log"
        pending, begun = pending + words, begun or record
        if not ends and len(pending) < HEAD_BYTES:
            continue
        data = pending.rstrip("\n") + "\n"
        count = data.count("\n")
        places.add(line, begun, count)
        line, pending, begun = line + count, "", 0
        yield data.encode("utf-8", "replace")
    if pending:
        places.add(line, begun, 1)
        yield pending.encode("utf-8", "replace")


def _messages(source: SourceFile, key: str) -> Iterator[tuple[int, str]]:
    """(line of the record, its message). A line that is no record is a message itself."""
    lines = (line for block in blocks(source.path, source.head) for line in decode(block).removesuffix("\n").split("\n"))
    if source.head.lstrip()[:1] != b"{":
        rows = _cells(lines, source)
        _, names = next(rows, (0, [key]))
        at = names.index(key)
        yield from ((number, cells[at]) for number, cells in rows if len(cells) == len(names))
        return
    for number, line in enumerate(lines, 1):
        record = _object(line)
        words = f"{line}\n" if record is None and line else record.get(key) if record else None
        if isinstance(words, str) and words:
            yield number, words


def _cells(lines: Iterable[str], source: SourceFile) -> Iterator[tuple[int, list[str]]]:
    return rows_of((f"{line}\n" for line in lines), "\t" if source.suffix == ".tsv" else ",")


def _object(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        found = _json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
