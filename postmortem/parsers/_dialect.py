"""How a delimited file is written: delimiter, header, comment lines. Decided from its first lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from postmortem.parsers._columns import MISSING, number, plain
from postmortem.parsers._literals import literal

SAMPLE_LINES = 60
LONGEST_RECORD = 256 * 1024  # characters that a quoted cell may run on over several lines
LONGEST_NAME = 200
LONGEST_COMMENT = 2_000
MOST_COLUMNS = 20_000

_TELEMETRY = re.compile(r"utilization\.|\bmemory\.(?:used|total|free)|temperature\.gpu|power\.draw|clocks\.|ecc\.errors|fan\.speed")
_BAR = re.compile(r"\d%\|[^|\n]{0,200}\| *\d+/\d+ \[")  # a progress bar: its commas part its own words, no columns
_COMMA_NUMBER = re.compile(r"([+-]?\d+),(\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_POINT_NUMBER = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?\s*", re.ASCII)
BLANKS = " "
DECIMAL_COMMA_BESIDE = (";", "\t")  # delimiters that leave the comma free
_ASSIGNED = re.compile(r"([A-Za-z_][\w.\-]*)\s*=\s*([^\s,;=]+)[,;]?\s*")  # "lambda_bc=10.0, gamma=0.99"
_TOLD = re.compile(r"([A-Za-z_][\w.\- ]{0,40}):\s+(\S+)")  # "env: hopper"
_TELEMETRY_CELL = re.compile(r",\s*\d+(?:\.\d+)? (?:MiB|MHz|W|%)(?:,|$)")


@dataclass(frozen=True, slots=True)
class Dialect:
    """delimiter; names as spelled (stripped); `body`: how many lines come before the first row.

    `settings`: (key, value, line) of the comments on top; `decimal_comma`: 0,25 is a quarter in this file;
    `origin`: where the names come from when no header gives them.
    """

    delimiter: str
    names: tuple[str, ...]
    body: int
    has_header: bool
    settings: tuple[tuple[str, object, int], ...] = ()
    decimal_comma: bool = False
    origin: str = ""


def fields(line: str, delimiter: str) -> list[str]:
    """The cells of one line. Only a line with quotes needs the csv module; the delimiter " " is any number of blanks."""
    if delimiter == BLANKS:
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a cell beyond the module's size limit
        return line.split(delimiter)
    # a comma that had to be quoted parts thousands: "12,500"
    return [cell.replace(",", "") if _THOUSANDS.fullmatch(cell) else cell for cell in cells] if delimiter == "," else cells


def rows_of(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, cells) of each row; a row with a cell beyond the module's size limit is lost, the next one is not."""
    reader = csv.reader(lines, delimiter=delimiter)
    before = 0
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            before = reader.line_num
            continue
        line, before = before + 1, reader.line_num
        yield line, row


def is_number(cell: str) -> bool:
    """Whether the cell spells a number. A blank is none."""
    return number(cell) is not None


def is_header(cells: list[str]) -> bool:
    """Names and no numbers: most cells filled, none a number, none longer than a name is."""
    filled = [cell for cell in cells if cell.strip()]
    if not filled or any(len(cell) > LONGEST_NAME for cell in filled):
        return False
    if [cell.strip() for cell in cells[1:]] == [str(k) for k in range(len(cells) - 1)] and not cells[0].strip():
        return True  # the bare column numbers that pandas writes for a frame without names
    return not any(is_number(cell) or cell.strip().lower() in MISSING for cell in filled)


def is_telemetry(text: str) -> bool:
    """Whether this is the output of a GPU monitor, which has a parser of its own."""
    lines = text[:8192].splitlines()[:12]
    return any(_TELEMETRY.search(line) or _TELEMETRY_CELL.search(line) for line in lines)


def sniff(text: str, *, named_table: bool) -> tuple[Dialect | None, float]:
    """The dialect of a text and how surely it is a table of numbers (0..1). `named_table`: the file name says CSV or TSV."""
    if _BAR.search(text[:8192]):
        return None, 0.0
    lines = text[:200_000].split("\n")
    if len(lines) > 2 or not lines[-1]:
        lines = lines[:-1]  # the head may have cut the last one
    lines = lines[:SAMPLE_LINES]
    start, settings = _comments(lines)
    filled = [line for line in lines[start:] if line.strip()]
    sample = filled[:1] + _joined(filled[1:])  # a header stands on one line
    if not sample or sample[0].lstrip()[:1] in ("{", "["):
        return None, 0.0
    best: tuple[float, Dialect] | None = None
    for delimiter in (",", "\t", ";", "|", BLANKS) if named_table else (",", "\t", ";", BLANKS):
        comma = delimiter in DECIMAL_COMMA_BESIDE and _has_decimal_comma(sample, delimiter)
        told = [_with_points(line) for line in sample] if comma else sample
        found = _try(told, delimiter, start, lines, settings)
        if found and (best is None or found[0] > best[0]):
            best = found[0], replace(found[1], decimal_comma=comma)
    if best is None and named_table and is_header([sample[0]]) and sample[1:] and all(is_number(line) for line in sample[1:]):
        best = 0.7, Dialect(",", (sample[0].strip(),), start + 1, True, settings)
    if best is None:
        return None, 0.0
    return best[1], best[0]


def _has_decimal_comma(sample: list[str], delimiter: str) -> bool:
    """Whether a table writes 0,25 for a quarter, as spreadsheets do in much of Europe: commas in numbers, and no point in any."""
    table = [line.split(delimiter) for line in sample]
    cells = [cell.strip() for row in table[1:] if len(row) == len(table[0]) for cell in row]
    commas = [found for cell in cells if (found := _COMMA_NUMBER.fullmatch(cell))]
    # "1,234" may be twelve hundred: only a fraction of other than three digits, or one behind a zero, tells
    sure = any(len(found[2]) != 3 or found[1].lstrip("+-") == "0" for found in commas)
    return len(table[0]) > 1 and sure and not any(_POINT_NUMBER.fullmatch(cell) for cell in cells)


def _with_points(line: str) -> str:
    """A row with its decimal commas as points; a header keeps its commas."""
    return line.replace(",", ".") if any(character.isdigit() for character in line.partition(",")[0][-1:]) else line


def _joined(lines: list[str]) -> list[str]:
    """Lines with the rows put together whose quoted cells run over several lines; a quote that never closes stays on its line."""
    found: list[str] = []
    at = 0
    while at < len(lines):
        line, end = lines[at], at + 1
        while line.count('"') % 2 and end < len(lines):
            line += " " + lines[end]
            end += 1
        whole = line.count('"') % 2 == 0
        found.append(line if whole else lines[at])
        at = end if whole else at + 1
    return found


def _comments(lines: list[str]) -> tuple[int, tuple[tuple[str, object, int], ...]]:
    """How many comment lines stand on top, and the settings in them: JSON (Stable-Baselines' `#{"t_start": ...}`) or "key=value"."""
    settings: list[tuple[str, object, int]] = []
    start = 0
    while start < len(lines) and (lines[start].startswith("#") or not lines[start].strip()):
        settings += [(key, value, start + 1) for key, value in _told(lines[start].strip("# \t\r"))]
        start += 1
    return start, tuple(settings)


def _told(body: str) -> list[tuple[str, object]]:
    """(key, value) of a comment that is a JSON object, a row of assignments or one "key: value"; nothing of any other."""
    if body.startswith("{"):
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return []  # a comment that only looks like JSON
        return list(found.items()) if isinstance(found, dict) else []
    if len(body) > LONGEST_COMMENT:
        return []
    pairs = list(_ASSIGNED.finditer(body))
    if pairs and sum(len(pair.group()) for pair in pairs) == len(body):
        return [(pair[1], literal(pair[2])) for pair in pairs]
    one = _TOLD.fullmatch(body)
    return [(one[1], literal(one[2]))] if one else []


def _names_above(comments: list[str], delimiter: str, width: int) -> list[str]:
    """The names in the last comment that has as many as the rows have cells ("# step loss", as NumPy and DeePMD write it), [] without."""
    for line in reversed(comments):
        cells = fields(line.lstrip("# "), delimiter)
        if len(cells) == width and is_header(cells):
            return cells
    return []


def _try(
    sample: list[str], delimiter: str, start: int, lines: list[str], settings: tuple[tuple[str, object, int], ...]
) -> tuple[float, Dialect] | None:
    """(sureness, dialect) if the sample is a table with this delimiter."""
    table = [fields(line, delimiter) for line in sample]
    first = table[0]
    if not 2 <= len(first) <= MOST_COLUMNS:
        return None
    header = is_header(first)
    commented = [] if header else _names_above(lines[:start], delimiter, len(first))
    if delimiter == BLANKS and not commented:
        return None  # aligned columns under a plain header are a matter of the text reader, which knows words from numbers
    names = commented or first
    rows = table[1:] if header else table
    again = next((at for at, row in enumerate(rows) if is_header(row) and set(row) & set(first)), None) if header else None
    rows = rows[:again] if again else rows  # what follows a second header is another table
    body = start + (1 if header else 0)
    if (
        header
        and rows
        and is_header(rows[0])
        and len(rows[0]) == len(first)
        and len(set(first)) < len(first)
        and not set(first) & set(rows[0][1:])
    ):
        # two lines of names, as pandas writes columns of two levels, and perhaps a third one with the name of the index
        names = ["/".join(part.strip() for part in pair if part.strip()) for pair in zip(first, rows[0], strict=True)]
        index = len(rows) > 1 and bool(rows[1][0].strip()) and not any(cell.strip() for cell in rows[1][1:])
        names[0] = rows[1][0].strip() if index else names[0]
        rows, body = rows[1 + index :], body + 1 + index
    if not header and not commented:
        names = [f"col{k + 1}" for k in range(len(first))]
    if header and rows and all(len(row) == len(first) + 1 for row in rows) and rows[0][-1].strip():
        names = ["", *names]  # R and some others leave the name of the index column out
    width = len(names)
    if width > 2 and not names[-1].strip() and header and any(name.strip() for name in names):
        rows = [row[:width] for row in rows]
    good = [row for row in rows if len(row) == width or (len(row) == width + 1 and not row[-1].strip())]
    dialect = Dialect(delimiter, tuple(name.strip() for name in names), body, header or bool(commented), settings)
    if not rows:
        known = any(plain(name) in ("step", "epoch", "iteration", "loss", "train_loss") for name in names)
        return (0.55, dialect) if header and known else None
    agree = len(good) / len(rows)
    if agree < 0.6:
        return None
    columns = zip(*(row[:width] for row in good), strict=False)
    filled = [[cell for cell in column if cell.strip().lower() not in MISSING] for column in columns]
    numeric = sum(1 for column in filled if column and sum(map(is_number, column)) > 0.5 * len(column))
    if not numeric:
        return None
    if (not dialect.has_header or delimiter == BLANKS) and (numeric < width or agree < 0.95):
        return None  # without names nothing but numbers is a table
    sure = 0.5 + 0.3 * agree + 0.05 * min(1.0, numeric / width) + 0.05 * min(1.0, width / 4) + (0.1 if dialect.has_header else 0.0)
    return sure, dialect
