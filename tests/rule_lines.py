"""Single lines of logs against which `says` of every rule is held: lines_of_logs.txt, read into a table."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """A line, the rule it belongs to, and whether that rule reads it (alone) or leaves it."""

    rule: str
    text: str
    read: bool


@functools.cache
def lines() -> tuple[Line, ...]:
    """All lines. ValueError where the file holds anything else than headings, lines and remarks."""
    found, rule = [], ""
    for number, row in enumerate(Path(__file__).with_name("lines_of_logs.txt").read_text(encoding="utf-8").splitlines(), 1):
        if row.startswith("## "):
            rule = row[3:].strip()
        elif row[:2] in ("+ ", "- "):
            found.append(Line(rule, row[2:], row[0] == "+"))
        elif row and not row.startswith("# "):
            raise ValueError(f"lines_of_logs.txt:{number}: begin with '+ ', '- ', '## ' or '# '")
    return tuple(found)
