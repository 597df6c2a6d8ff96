"""Time stamps that are no `2024-01-31 10:11:12`: with names of months, of glog and syslog, with slashes, and those without a year.

The rule for a stamp without a year: it has a time only where the file's name or its first 64 KiB hold a full date that means the same
day, give or take two, as its first stamp without a year (glog's "Log file created at", `date` in a job script, a folder named
20240131_101112). Stamps that lie before that day belong to the next year. A clock without a day never makes a time: nobody says which
day it is, or after how many midnights. A stamp with slashes and a year (`06/09/2024`) has a time only where a day above 12 in those
first lines tells which of its numbers is the month.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import NamedTuple

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NEAR = 2  # days between the first stamp without a year and the date that gives it one
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s"
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<part>\d+))?"
_LAYOUTS = [
    re.compile(text, re.ASCII)
    for text in (
        # asctime: the year stands behind the clock; a number there without the name of the day may be anything
        rf"{_DAY}(?P<name>{_MONTH})\s+(?P<day>\d{{1,2}})[ ,]+{_CLOCK}(?:\s+[A-Z]{{3,4}})?\s+(?P<year>(?:19|20)\d\d)(?!\d)",
        rf"(?:{_DAY})?(?P<name>{_MONTH})\s+(?P<day>\d{{1,2}})[ ,]+(?:(?P<year>(?:19|20)\d\d)\s+)?{_CLOCK}",
        rf"(?:{_DAY})?(?P<day>\d{{1,2}})\s(?P<name>{_MONTH})[ ,]+(?:(?P<year>(?:19|20)\d\d)\s+)?{_CLOCK}",
        rf"(?P<first>\d{{1,2}})[-/](?P<other>\d{{1,2}})[-/](?P<year>(?:19|20)\d\d)[ ,]+{_CLOCK}(?!\s[AP]M)",
        rf"(?P<month>\d\d)/(?P<day>\d\d)/(?P<short>\d\d)[ ,]+{_CLOCK}(?!\s[AP]M)",  # rich: "%x %X" of Python
        rf"(?P<month>\d{{1,2}})[-/](?P<day>\d{{1,2}})[ ,]+{_CLOCK}(?!\s[AP]M)",
        rf"(?P<compact>\d{{4}}|\d{{6}}|\d{{8}})\s+{_CLOCK}",  # glog, absl and tornado
    )
]
_RUN = re.compile(r"\d+")

_YEARLESS = re.compile(
    rf"^[ \t\[(]*+(?:(?:{_DAY})?(?P<name>{_MONTH})\s+(?P<day>\d{{1,2}})|(?P<month>\d{{1,2}})[-/](?P<of>\d{{1,2}})|[IWEF](?P<both>\d{{4}}))"
    r"[ ,]+\d\d:\d\d:\d\d(?!\s+(?:[A-Z]{3,4}\s+)?(?:19|20)\d\d\b)",
    re.M | re.ASCII,
)
_FULL = re.compile(r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<joint>[-/._]?)(?P<month>\d\d)(?P=joint)(?P<day>\d\d)(?!\d)", re.ASCII)
_FULL_NAMED = re.compile(
    rf"\b(?P<name>{_MONTH})\s+(?P<day>\d{{1,2}}),?\s+(?:\d\d:\d\d:\d\d\s+(?:[A-Z]{{3,4}}\s+)?)?(?P<year>(?:19|20)\d\d)(?!\d)", re.ASCII
)
_SLASHED = re.compile(r"^[ \t\[(]*+(?P<first>\d{1,2})[-/](?P<other>\d{1,2})[-/](?:19|20)\d\d[ ,]+\d\d:\d\d:\d\d", re.M | re.ASCII)


@dataclass(frozen=True, slots=True)
class Calendar:
    """What a file says about its dates: the day of its first stamp without a year, and whether the day stands before the month."""

    first: datetime.date | None = None
    day_first: bool | None = None


NO_CALENDAR = Calendar()


class Layout(NamedTuple):
    """Where the parts of a stamp stand, as numbers of its runs of digits; -1: nowhere."""

    year: int
    short: bool  # two digits of a year
    month: int
    named: int  # the month that a name says, 0: a number says it
    day: int
    compact: int  # digits of a date in one run, 0: it stands in several
    hour: int
    part: bool


def calendar_of(name: str, head: str) -> Calendar:
    """The calendar of a file, from its name and its first lines."""
    slashed = list(_SLASHED.finditer(head)) if "/" in head or "-" in head else []
    first, other = any(int(one["first"]) > 12 for one in slashed), any(int(one["other"]) > 12 for one in slashed)
    day_first = first if first != other else None
    found = _YEARLESS.search(head)
    if found is None:
        return Calendar(None, day_first)
    month, day = (found["month"], found["of"]) if found["month"] else (found["both"][:2], found["both"][2:]) if found["both"] else ("", "")
    at = (int(month), int(day)) if month else (_named(found["name"]), int(found["day"]))
    for text in (name, head):
        for full in (*_FULL.finditer(text), *_FULL_NAMED.finditer(text)):
            named = full.groupdict().get("name")
            date = _date(int(full["year"]), _named(named) if named else int(full["month"]), int(full["day"]))
            near = [one for year in (-1, 0, 1) if date and (one := _date(date.year + year, *at)) and abs((one - date).days) <= NEAR]
            if near:
                return Calendar(near[0], day_first)
    return Calendar(None, day_first)


def layout_of(stamp: str, calendar: Calendar) -> Layout | None:
    """The layout of a stamp, None where it has none or the file does not say which day it means."""
    match = next((found for layout in _LAYOUTS if (found := layout.match(stamp)) is not None), None)
    if match is None:
        return None
    told = match.groupdict()
    run = {key: len(_RUN.findall(stamp, 0, match.start(key))) for key, text in told.items() if text is not None}
    month, day = run.get("month", -1), run.get("day", -1)
    compact = len(told["compact"]) if told.get("compact") else 0
    if "first" in run:
        if calendar.day_first is None:
            return None
        month, day = (run["other"], run["first"]) if calendar.day_first else (run["first"], run["other"])
    year = run.get("year", run.get("short", -1))
    if year < 0 and compact in (0, 4) and calendar.first is None:
        return None
    named = _named(told["name"]) if told.get("name") else 0
    return Layout(year, "short" in run, month, named, day, compact, run["hour"], told["part"] is not None)


def moment_of(stamp: str, calendar: Calendar) -> int | None:
    """The stamp as microseconds since 1970, as if its clock were UTC; None where it is no date or nobody says of which year."""
    layout = layout_of(stamp, calendar)
    if layout is None:
        return None
    runs = _RUN.findall(stamp)
    if layout.compact:
        text = runs[0].rjust(8, "-")
        year = int(runs[0][:-4]) if layout.compact > 4 else -1
        month, day = int(text[4:6]), int(text[6:])
    else:
        year = int(runs[layout.year]) if layout.year >= 0 else -1
        month, day = layout.named or int(runs[layout.month]), int(runs[layout.day])
    if layout.short or layout.compact == 6:
        year += 2000
    date = _date(year, month, day) if year >= 0 else _dated(month, day, calendar.first)
    hour, minute, second = (int(runs[layout.hour + i]) for i in range(3))
    if date is None or hour > 23 or minute > 59 or second > 59:
        return None
    part = (runs[layout.hour + 3] + "000000")[:6] if layout.part else "0"
    days = (date - datetime.date(1970, 1, 1)).days
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + int(part)


def _dated(month: int, day: int, first: datetime.date | None) -> datetime.date | None:
    """The day in the year of the file's first day, or in the next one."""
    if first is None:
        return None
    date = _date(first.year, month, day)
    return _date(first.year + 1, month, day) if date is None or (first - date).days > NEAR else date


def _date(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def _named(name: str) -> int:
    return MONTHS.index(name[:3].lower()) + 1
