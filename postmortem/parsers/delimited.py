"""Reads tables of numbers: CSV, TSV and their cousins, with all the sins that real loggers commit."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from postmortem.model import Origin, Reading, Setting
from postmortem.parsers import _cells
from postmortem.parsers._columns import Roles, clean, is_identifier, roles, split_of
from postmortem.parsers._dialect import BLANKS, LONGEST_RECORD, Dialect, fields, is_header, is_telemetry, sniff
from postmortem.parsers._table import Rows, Table, finish, occurrences
from postmortem.parsers._table_names import are_predictions, named_by_file
from postmortem.parsers._textblocks import blocks, decode, text_of
from postmortem.parsers.base import LIKELY, NO, PLAUSIBLE, Request, SourceFile

NAME = "delimited"
ABOUT = "Tables of numbers: CSV, TSV, `;` and headerless tables; Lightning, YOLO, Keras CSVLogger, RLlib and spinup progress files."

SUFFIXES = (".csv", ".tsv", ".tab", ".dat", ".plx")  # .plx: Polyaxon's events, one metric a file
SMALL_BLOCK = 64 * 1024  # below this the standard library is faster than a call into Polars
QUOTED_LINES = 200  # lines that one quoted cell may span
_BLANKS, _AT_ENDS = re.compile(rb"[ \t]+"), re.compile(rb"^ | $", re.MULTILINE)


def claims(source: SourceFile) -> float:
    """Sure when the first lines are a table with a header; less sure without one. The name only decides between doubts."""
    text = text_of(source.head)
    if not text or is_telemetry(text):
        return NO
    named = source.suffix in SUFFIXES
    dialect, sure = sniff(text, named_table=named)
    if dialect is None:
        return NO
    if dialect.has_header and sure >= 0.7:
        return LIKELY if named else LIKELY - 0.1
    return PLAUSIBLE if named or sure >= 0.7 else NO


def read(source: SourceFile, request: Request) -> Reading:
    """Read every numeric column as one block; damaged rows are counted."""
    reading = Reading(source.name, NAME)
    dialect, _ = sniff(text_of(source.head), named_table=True)
    if dialect is None:
        reading.notes.append("no table of numbers found")
        return reading
    dialect = named_by_file(dialect, source.basename, text_of(source.head))
    reader = _Reader(reading, dialect)
    line = 0
    for block in blocks(source.path, source.head):
        line = reader.block(block, line)
    reader.close()
    return reading


class _Reader:
    """One pass over one file. A block that is provably regular goes to Polars, any other through the plain reader below."""

    def __init__(self, reading: Reading, dialect: Dialect) -> None:
        self.reading = reading
        self.dialect = dialect
        self.table = Table()
        self.text = _cells.TextColumns()
        self.words: dict[str, int] = {}  # words of the split column that name no split: a series each
        self.headers = 1
        self.rows = 0
        self.cut_at = 0  # the number of a last line without its line end
        self.first_reject: tuple[int, str] | None = None
        self.numeric_as_text = False
        self.start_time: float | None = None
        self._header(dialect.names)
        self._settings()

    def _header(self, names: tuple[str, ...]) -> None:
        self.names = list(names)
        self.times_seen = occurrences(self.names)
        self.roles: Roles = roles(self.names)

    def _setting(self, key: str, value: object, line: int) -> None:
        if isinstance(value, str | int | float | bool | list | None) and not any(known.key == key for known in self.reading.settings):
            value = clean(value) if isinstance(value, str) else value
            self.reading.settings.append(Setting(clean(key), value, Origin(self.reading.file, line)))

    def _settings(self) -> None:
        for key, value, line in self.dialect.settings:
            self._setting(key, value, line)
            if key == "t_start" and isinstance(value, int | float):
                self.start_time = float(value)

    def block(self, data: bytes, line: int) -> int:
        """Read one block of whole lines; `line` lines came before it. Returns how many have come by its end."""
        ends, size = _line_ends(data), len(data)
        total = len(ends) + (0 if data.endswith(b"\n") else 1)
        self.cut_at = 0 if data.endswith(b"\n") else line + total
        skip = max(0, self.dialect.body - line)
        if skip:
            data = b"\n".join(data.split(b"\n", skip)[skip:])
        if self.dialect.decimal_comma:
            data = data.replace(b",", b".")
        if self.dialect.delimiter == BLANKS:  # one blank between cells and none at the ends, so that the fast way can read the block
            data = _AT_ENDS.sub(b"", _BLANKS.sub(b" ", data))
        if len(data) != size:
            ends = _line_ends(data)
        first = line + skip + 1
        if len(data) >= SMALL_BLOCK and self._regular(data, ends):
            done = _cells.with_polars(data, self.dialect.delimiter, self.names, self.times_seen, self.roles, as_text=self.numeric_as_text)
            if done is None and not self.numeric_as_text:
                self.numeric_as_text = True
                done = _cells.with_polars(data, self.dialect.delimiter, self.names, self.times_seen, self.roles, as_text=True)
            if done is not None:
                self._take(done, np.arange(first, first + done.height, dtype=np.int64))
                return line + total
        self._plainly(decode(data), first)
        return line + total

    def _regular(self, data: bytes, ends: np.ndarray) -> bool:
        """Whether every line has the same number of cells, none quoted, none blank, and no header stands among them; ends: of the lines."""
        if b'"' in data:
            return False
        raw = np.frombuffer(data, np.uint8)
        lines = len(ends) + (0 if data.endswith(b"\n") else 1)
        if np.count_nonzero(raw == ord(self.dialect.delimiter)) != lines * (len(self.names) - 1):
            return False
        if len(ends) and (ends[0] == 0 or bool((np.diff(ends) == 1).any())):
            return False
        name = next((name for name in self.names if name), "").encode()
        # Only where a line begins with the first letter of the header is it worth looking for the whole name.
        begins = raw[ends[ends < len(raw) - 1] + 1]
        if not name or not bool(((begins == name[0]) | (begins == ord(" "))).any()):
            return True
        return re.search(rb"\n[ \t]*" + re.escape(name), data) is None

    def _plainly(self, text: str, first: int) -> None:
        """The obvious reader: line by line, every sin looked at."""
        width = len(self.names)
        lines: list[int] = []
        rows: list[list[str]] = []
        for number, cells in self._records(text, first):
            if len(cells) == width + 1 and not cells[-1].strip():
                cells = cells[:-1]  # a delimiter at the end of every row
            if self._is_new_header(cells):
                self._flush(lines, rows)
                lines, rows = [], []
                self._header(tuple(cell.strip() for cell in cells))
                self.headers += 1
                width = len(self.names)
            elif len(cells) == width:
                lines.append(number)
                rows.append(cells)
            else:
                self._reject(number, self.dialect.delimiter.join(cells))
                if number == self.cut_at and 1 < len(cells) < width:  # killed while it wrote: all cells but the last are whole
                    lines.append(number)
                    rows.append(cells[:-1] + [""] * (width - len(cells) + 1))
        self._flush(lines, rows)

    def _records(self, text: str, first: int) -> Iterator[tuple[int, list[str]]]:
        """(line number, cells) of each row. A quoted cell may run over lines; one that never closes costs its own line only."""
        lines = text.split("\n")
        if lines and not lines[-1]:
            lines.pop()
        at = 0
        while at < len(lines):
            line, number = lines[at], first + at
            at += 1
            if not line.strip() or (line.startswith("#") and not self.names[0].startswith("#")):
                continue
            if '"' in line and line.count('"') % 2:
                joined, end = line, at
                while end < len(lines) and end - at < QUOTED_LINES and len(joined) < LONGEST_RECORD and joined.count('"') % 2:
                    joined += "\n" + lines[end]
                    end += 1
                if joined.count('"') % 2 and number == self.cut_at:
                    joined += '"'
                elif joined.count('"') % 2:
                    self._reject(number, line)
                    continue
                line, at = joined, end
            yield number, fields(line, self.dialect.delimiter) if "\n" not in line else _cells.quoted(line, self.dialect.delimiter)

    def _is_new_header(self, cells: list[str]) -> bool:
        """A restart that appended to the file wrote its header again, perhaps with other columns."""
        if not self.dialect.has_header or not is_header(cells):
            return False
        known = set(self.names)
        return sum(1 for cell in cells if cell.strip() and cell.strip() in known) >= max(1, min(len(cells), len(known)) // 3)

    def _flush(self, lines: list[int], rows: list[list[str]]) -> None:
        if rows:
            done = _cells.plainly(rows, self.names, self.times_seen, self.roles)
            self._take(done, np.array(lines, np.int64))

    def _reject(self, line: int, text: str) -> None:
        self.reading.rejected += 1
        if self.first_reject is None:
            self.first_reject = (line, text)

    def _take(self, done: _cells.Parsed, lines: np.ndarray) -> None:
        """Put parsed columns into the table, apart by split, rank and (in tables with one value a row) metric."""
        self.rows += done.height
        rows = Rows(lines, done.steps, done.epochs, done.times)
        if self.start_time is not None and (elapsed := next((c for c in done.columns if c.name == "t" and c.index is None), None)):
            rows.times = _cells.moments(self.start_time + elapsed.values)
        self.text.take(done.text)
        for key, value in done.settings.items():
            self._setting(key, value, int(lines[0]))
        for column in done.columns:
            if done.labels is None:
                self.table.add(rows, column.name, column.values, column.index, series=column.series)
                continue
            index = np.arange(done.height) if column.index is None else column.index
            for (word, rank, metric), members in done.labels.items():
                chosen = members[index]
                split = split_of(word)
                extra = 0 if word is None or split else self.words.setdefault(word, len(self.words) + 1)
                name = metric or column.name
                self.table.add(rows, name, column.values[chosen], index[chosen], split=split, rank=rank, series=column.series + extra)

    def close(self) -> None:
        """Finish the reading: what is no history is left out, and what was rejected is told."""
        reading = self.reading
        if self.first_reject:
            line, text = self.first_reject
            last = " (the file ends in the middle of it; its whole cells are kept)" if line == self.cut_at else ""
            reading.notes.append(f"{reading.rejected} row(s) do not fit the header, first at line {line}{last}: {clean(text, 80)!r}")
        if self.headers > 1:
            reading.notes.append(f"{self.headers} header lines: the file was started {self.headers} times")
        if not self.dialect.has_header:
            reading.notes.append(self.dialect.origin or "no header line: columns are called col1, col2 ...")
        if self.rows == 0:
            reading.notes.append("a header and no rows")
        wide = self.roles
        has_axis = wide.step or wide.epoch or wide.time or (self.start_time is not None)
        if not has_axis and (what := self._no_history()):
            reading.notes.append(f"a table of records, not a history: no step, epoch or time column, and {what}")
            return
        finish(reading, self.table, self.text.mostly_text(self.table))
        for name, count, example in self.text.odd_cells(self.table):
            reading.notes.append(f"{count} cell(s) of column {clean(name, 60)!r} are no numbers, first: {clean(example, 40)!r}")
            reading.rejected += count

    def _no_history(self) -> str:
        """What shows that rows without any axis are things and no points in time; "" where nothing does."""
        about = self.text.unlike_a_history()
        if about is not None:
            return f"column {clean(about, 60)!r} names each row"
        if is_identifier(self.names[0]):
            return f"column {clean(self.names[0], 60)!r} numbers things"
        if not self.dialect.has_header and self.rows == len(self.names) > 2:
            return "it is square: a matrix"
        return "it holds what was expected beside what was predicted" if are_predictions(self.names) else ""


def _line_ends(data: bytes) -> np.ndarray:
    """Where lines end: several times faster than bytes.count on short lines."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
