"""Collects readings of devices (value, line, time per metric and GPU) and turns them into blocks; cells with units become numbers."""

from __future__ import annotations

import functools
import itertools
import re
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from postmortem.frame import NO_TIME, Block
from postmortem.parsers._literals import shortened
from postmortem.parsers._textblocks import blocks, encoding_of, text_of
from postmortem.parsers.base import SourceFile

MAX_LINE = 64 * 1024  # bytes; a longer line is no telemetry
MOST_ROWS = 60  # lines near the top of a file among which a tool's report is looked for
LONGEST_REPORT = 1000  # characters of a line of a table or a list; patterns with several gaps are not let loose on more
CELL = re.compile(r"^\s*([-+]?\d+(?:\.\d+)?)\s*(%|MiB|GiB|KiB|MB|GB|W|C|c|°C|°c|MHz|Mhz|mW|)\s*$")
FACTORS = {"GiB": 1024.0, "GB": 1024.0, "KiB": 1 / 1024.0, "mW": 1e-3}  # to MiB and W, the units of the vocabulary
SWITCH = {"active": 1.0, "not active": 0.0}
# Colours and cursor movements of a terminal, as `gpustat --color`, `watch` and `clear` leave them in a log
TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][0-9A-B]|[=>78cM]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
# What `kubectl logs --timestamps` and `docker logs -t` put before every line
STAMPED = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6,9}Z ")
BARS, CORNERS = "│║┃", "╒╞├╘└╔╠╚╪┼╧┴╤┬╕╡┤╛┘"
FRAMES = str.maketrans(BARS + CORNERS + "═─", "|" * len(BARS) + "+" * len(CORNERS) + "=-")  # boxes drawn in one way, as nvidia-smi does
SHORTEST_STAMP, LONGEST_STAMP = 14, 60  # characters, with blanks around it
STAMPS = ("%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y%m%d %H:%M:%S")


def number(cell: str) -> float | None:
    """A cell as a number in the vocabulary's unit: "11.64 W" -> 11.64, "Active" -> 1; None for "[N/A]", "-", "ERR!" and text."""
    found = CELL.match(cell)
    if found:
        return float(found[1]) * FACTORS.get(found[2], 1.0)
    return SWITCH.get(cell.strip().lower())


def gpu_number(text: str) -> int | None:
    """The number of a GPU; None for what is no number that a machine can have."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else None


def stamp(text: str) -> int | None:
    """A time stamp as nvidia-smi writes it, in microseconds since 1970 UTC (a time without a zone is taken as UTC); None if it is none."""
    if not SHORTEST_STAMP <= len(text) <= LONGEST_STAMP:
        return None
    text = " ".join(text.split())
    for form in STAMPS:
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp() * 1e6)
        except (ValueError, OverflowError):
            continue
    return None


def unadorned(text: str) -> str:
    """A line without the colours and cursor movements of a terminal and the stamp of a container, boxes drawn with "|", "+", "-", "="."""
    if "\x1b" in text:
        text = TERMINAL.sub("", text)
    if text[10:11] == "T" and (stamped := STAMPED.match(text)):
        text = text[stamped.end() :]
    return text if text.isascii() else text.translate(FRAMES)


def rows_of(source: SourceFile, most: int) -> list[str]:
    """The first lines that are not blank, as `lines` gives them, of the first 16 KB; at most MOST_ROWS."""
    return _rows(source.head[:16384])[:most]


@functools.lru_cache(maxsize=4)  # several parsers look at the same file one after the other
def _rows(head: bytes) -> list[str]:
    rows = (row for row in text_of(head).split("\n") if row.strip())
    return [row for row in map(unadorned, itertools.islice(rows, MOST_ROWS)) if row.strip()]


def lines(source: SourceFile, most: int | None = None) -> Iterator[tuple[int, str]]:
    """(1-based number, text) of every line, up to the size that the file had when it was found, or `most` bytes; long lines are cut."""
    left = source.size if most is None else min(most, source.size)
    if encoding_of(source.head) not in ("utf-8", ""):  # PowerShell writes UTF-16 where a command is sent to a file
        pieces = (
            line for block in blocks(source.path, source.head) for line in block.decode("utf-8", "replace").removesuffix("\n").split("\n")
        )
        for line_number, line in enumerate(pieces, 1):
            if left <= 0:
                return
            left -= len(line)
            yield line_number, unadorned(line[:MAX_LINE])
        return
    with open(source.path, "rb") as file:
        line_number = 0
        while left > 0:
            raw = file.readline(min(left, MAX_LINE))
            if not raw:
                return
            left -= len(raw)
            line_number += 1
            if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                while left > 0 and (more := file.readline(min(left, MAX_LINE))):  # the rest of a line that is too long
                    left -= len(more)
                    if more.endswith(b"\n"):
                        break
            yield line_number, unadorned(raw.decode("utf-8", "replace").rstrip("\r\n"))


class Telemetry:
    """Readings by (raw name, device), in the order they were met."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, int | None], tuple[array, array, array]] = {}

    def add(self, raw_name: str, device: int | None, value: float | None, line: int, time: int | None) -> None:
        """One reading; a value of None ("[N/A]") is not said and not kept."""
        if value is None:
            return
        values, at, times = self._columns.setdefault((shortened(raw_name, 200), device), (array("d"), array("q"), array("q")))
        values.append(value)
        at.append(line)
        times.append(NO_TIME if time is None else time)

    def values(self, raw_name: str, device: int | None) -> list[float]:
        """The values of one metric so far."""
        return list(self._columns[raw_name, device][0]) if (raw_name, device) in self._columns else []

    def rename(self, raw_name: str, device: int | None, better: str) -> None:
        """Call a metric by a name that only its values could tell."""
        self._columns[better, device] = self._columns.pop((raw_name, device))

    def blocks(self) -> list[Block]:
        """One block a metric and device."""
        made = []
        for (raw_name, device), (values, at, times) in self._columns.items():
            when = np.array(times, np.int64)
            made.append(
                Block(
                    raw_name,
                    np.array(values, np.float64),
                    lines=np.array(at, np.int64),
                    times=when if (when != NO_TIME).any() else None,
                    device=device,
                )
            )
        return made

    def __bool__(self) -> bool:
        return bool(self._columns)
