"""Reads one number of every segment of a shape at once: the digits of a column as integers, put together exactly as `float()` would."""

from __future__ import annotations

import datetime
import functools
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from postmortem.frame import NO_TIME
from postmortem.parsers import _text_numbers as numbers
from postmortem.parsers._text_dates import NEAR, NO_CALENDAR, Calendar, Layout, layout_of
from postmortem.parsers._text_numbers import Num
from postmortem.parsers._text_prefix import STAMP
from postmortem.parsers._text_shapes import Mined

_POWERS = 10.0 ** np.arange(23)  # exact in a double
_WHOLE_POWERS = (10 ** np.arange(20, dtype=object)).astype(np.uint64)
_EXACT = np.uint64(2**53)
# Eight ASCII digits in a 64-bit word become a number with three multiplications (the SWAR technique described by Johnny Lee and
# Daniel Lemire, "Quickly parsing eight digits", 2018). _KEEP[n] keeps the low four bits of the last n bytes.
_KEEP = np.array([0, *((((1 << 64) - 1) << (8 * (8 - n)) & ((1 << 64) - 1)) & 0x0F0F0F0F0F0F0F0F for n in range(1, 9))], np.uint64)
_TENS, _HUNDREDS, _MYRIADS = np.uint64(2561), np.uint64(6553601), np.uint64(42949672960001)
_PAIRS, _QUADS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_INFINITY = re.compile(rb"[-+]?(?<![a-z_])inf(?:inity|x+)?(?![a-z_])")

Kind = Literal["plain", "comma", "clock", "constant", "infinite"]


@dataclass(frozen=True, slots=True)
class Column:
    """Where a number stands in the segments of a shape.

    run      index of its first run of digits, counted from the segment's first one; of an infinity: the how manyth it is
    whole, part, power  whether it has digits before the dot, behind it, and an exponent
    runs     number of runs (comma and clock)
    suffix   the letter behind it that multiplies it, 0: none
    value    of a constant (nan, True, False)
    below    lines below the first one of its segment, where several were put together (_text_mend)
    """

    kind: Kind
    run: int = 0
    whole: bool = True
    part: bool = False
    power: bool = False
    runs: int = 1
    suffix: int = 0
    scale: float = 1.0
    value: float = 0.0
    below: int = 0


def column(text: str, num: Num, run: int) -> Column:
    """The column of the number `num` of `text`, whose first run of digits is number `run` of the segment."""
    spelled = text[num.start : num.end]
    if num.form == "word":
        said = numbers.word_value(spelled)
        if not np.isinf(said):  # letters are part of a shape: all its lines say nan, or all say True
            return Column("constant", value=said)
        return Column("infinite", len(_INFINITY.findall(text[: num.start].lower().encode())))
    if num.form in ("comma", "clock"):
        return Column("comma" if num.form == "comma" else "clock", run, part="." in spelled, runs=len(re.findall(r"\d+", spelled)))
    mantissa, _, power = spelled.lower().partition("e")
    whole, _, part = mantissa.lstrip("+-").partition(".")
    suffix = ord(text[num.end].lower()) if num.scale != 1.0 else 0
    return Column("plain", run, bool(whole), bool(part), bool(power), 1, suffix, num.scale)


def parse(mined: Mined, rows: np.ndarray, first: np.ndarray, where: Column) -> tuple[np.ndarray, np.ndarray | None]:
    """(values, which of them are spelled in another way: None is none) of the segments `rows`, whose first runs of digits are `first`."""
    if where.kind == "constant":
        return np.full(len(rows), where.value), None
    if where.kind == "infinite":
        return np.array([_infinity(mined.text(row), where.run) for row in rows.tolist()]), None
    run = first + where.run
    if where.kind == "comma":
        return _comma(mined, run, where), _other_lengths(mined, run, 3, where.runs - where.part)
    if where.kind == "clock":
        return _clock(mined, run, where), _other_lengths(mined, run, 2, 3)
    return _plain(mined, run, where)


def _infinity(text: bytes, which: int) -> float:
    """The sign is no part of a shape: it is looked up in every line."""
    found = _INFINITY.findall(text.lower())
    return -np.inf if which < len(found) and found[which].startswith(b"-") else np.inf


def _plain(mined: Mined, run: np.ndarray, where: Column) -> tuple[np.ndarray, np.ndarray | None]:
    codes, starts, ends = mined.codes, mined.run_starts, mined.run_ends
    begin, behind = starts[run], ends[run]
    length = behind - begin
    mantissa, digits = _digits(mined, behind, length)
    odd: np.ndarray | None = None
    tens: np.ndarray | None = None if where.whole else length  # how often to divide by ten
    first = begin if where.whole else begin - 1  # ".5" begins with its dot
    if where.whole and where.part:
        run = run + 1
        part_start, part_end = starts[run], ends[run]
        odd = part_start != behind + 1
        tens = part_end - part_start
        low, more = _digits(mined, part_end, tens)
        mantissa *= _WHOLE_POWERS[tens if more < 20 else np.minimum(tens, 19)]
        mantissa += low
        digits, behind = digits + more, part_end
    elif where.whole and (where.suffix or where.power):
        behind = behind + (codes[behind] == 46)  # "7.M"
    values = mantissa.astype(np.float64)
    slow = None if digits <= 15 else _too_long(mantissa, length, tens)
    if where.power:
        power_start, power_end = starts[run + 1], ends[run + 1]
        power, _ = _digits(mined, power_end, np.minimum(power_end - power_start, 8))
        tens = np.where(codes[power_start - 1] == 45, 1, -1) * power.astype(np.int64) + (0 if tens is None else tens)
        gap = power_start - behind
        odd = ((gap > 3) | (gap < 1)) if odd is None else odd | (gap > 3) | (gap < 1)
        behind = power_end
        far = np.abs(tens) > 22
        slow = far if slow is None else slow | far
        values = np.where(tens >= 0, values / _POWERS[np.clip(tens, 0, 22)], values * _POWERS[np.clip(-tens, 0, 22)])
    elif tens is not None:
        values /= _POWERS[tens if digits <= 22 else np.minimum(tens, 22)]
    minus = codes[first - 1] == 45
    if minus.any():
        np.negative(values, out=values, where=minus)
    if slow is not None and slow.any():
        _slowly(mined, values, np.flatnonzero(slow), first, behind)
    if where.suffix:
        with np.errstate(over="ignore"):
            values = np.where(codes[behind] | 32 == where.suffix, values * where.scale, values)
    return values, odd if odd is not None and odd.any() else None


def _too_long(mantissa: np.ndarray, length: np.ndarray, tens: np.ndarray | None) -> np.ndarray:
    """Which mantissas a double cannot hold exactly, or were too long to read at all."""
    digits = length if tens is None or tens is length else length + tens
    return (mantissa >= _EXACT) | (digits > 18)


def _slowly(mined: Mined, values: np.ndarray, which: np.ndarray, first: np.ndarray, behind: np.ndarray) -> None:
    """Numbers with more digits than a double can hold exactly: one by one."""
    data = mined.data
    for i, start, end in zip(which.tolist(), first[which].tolist(), behind[which].tolist(), strict=True):
        begin = start - 1 if data[start - 1] == 45 else start
        try:
            values[i] = float(data[begin:end])
        except ValueError:
            values[i] = np.nan


def _digits(mined: Mined, end: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, int]:
    """(the numbers (uint64) that the `length` digits before `end` spell, the largest length). More than 16 digits: too large."""
    most = int(length.max()) if len(length) else 0
    if most <= 8:
        return _eight(mined.words[end - 8], length), most
    low = _eight(mined.words[end - 8], np.minimum(length, 8))
    low += _eight(mined.words[end - 16], np.clip(length - 8, 0, 8)) * np.uint64(100_000_000)
    if most > 16:
        low[length > 16] = _EXACT  # to be read slowly
    return low, most


def _eight(word: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Eight bytes before the end of a number, of which the last `length` are its digits."""
    word = word & _KEEP[length]
    word *= _TENS
    word >>= np.uint64(8)
    word &= _PAIRS
    word *= _HUNDREDS
    word >>= np.uint64(16)
    word &= _QUADS
    word *= _MYRIADS
    word >>= np.uint64(32)
    return word


def _run_value(mined: Mined, run: np.ndarray) -> np.ndarray:
    end = mined.run_ends[run]
    return _digits(mined, end, np.minimum(end - mined.run_starts[run], 16))[0].astype(np.float64)


def _other_lengths(mined: Mined, run: np.ndarray, length: int, runs: int) -> np.ndarray | None:
    """Which segments have a run behind the first that is not of this length: "1,23" is no number, "1:2:3" no clock."""
    odd = np.zeros(len(run), bool)
    for i in range(1, runs):
        odd |= mined.run_ends[run + i] - mined.run_starts[run + i] != length
    return odd if odd.any() else None


def spelling(mined: Mined, run: np.ndarray) -> np.ndarray:
    """A number for each way to spell a run of digits ("07" is not "7")."""
    length = np.minimum(mined.run_ends[run] - mined.run_starts[run], 16)
    return _digits(mined, mined.run_starts[run] + length, length)[0].astype(np.int64) * 32 + length


def _comma(mined: Mined, run: np.ndarray, where: Column) -> np.ndarray:
    groups = where.runs - where.part
    values = _run_value(mined, run)
    for i in range(1, groups):
        values = values * 1000.0 + _run_value(mined, run + i)
    if where.part:
        last = run + groups
        length = mined.run_ends[last] - mined.run_starts[last]
        tens = _POWERS[np.minimum(length, 22)]
        values = (values * tens + _run_value(mined, last)) / tens
    minus = mined.codes[mined.run_starts[run] - 1] == 45
    return np.where(minus, -values, values)


def _clock(mined: Mined, run: np.ndarray, where: Column) -> np.ndarray:
    seconds = _run_value(mined, run + 2)
    if where.part:
        length = mined.run_ends[run + 3] - mined.run_starts[run + 3]
        tens = _POWERS[np.minimum(length, 15)]
        seconds = (seconds * tens + _run_value(mined, run + 3)) / tens
    return (_run_value(mined, run) * 60 + _run_value(mined, run + 1)) * 60 + seconds


# ---------------------------------------------------------------------- times


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """Where a time stamp stands: its first run of digits, whether it has parts of a second; `shift` microseconds to UTC.

    layout, first  of a stamp that is spelled in another way than "2024-01-31 10:11:12": see _text_dates
    """

    run: int
    part: bool
    shift: int
    layout: Layout | None = None
    first: datetime.date | None = None


def time_column(stamp: str, run: int, calendar: Calendar = NO_CALENDAR) -> TimeColumn | None:
    """The column of a time stamp, None where the text is none or the file does not say of which day."""
    match = STAMP.match(stamp)
    if match is None:
        layout = layout_of(stamp, calendar)
        return None if layout is None else TimeColumn(run, layout.part, 0, layout, calendar.first)
    zone = (match["zone"] or "").replace(":", "")
    minutes = (int(zone[1:3]) * 60 + int(zone[3:5])) * (-1 if zone[0] == "-" else 1) if zone else 0
    return TimeColumn(run, match["part"] is not None, minutes * 60_000_000)


def parse_times(mined: Mined, first: np.ndarray, where: TimeColumn) -> np.ndarray:
    """Microseconds since 1970 of the segments whose first runs are `first`, NO_TIME where it is no date."""
    run = first + where.run
    if where.layout is not None:
        return _spelled_times(mined, run, where.layout, where.first)
    begin = mined.run_starts[run]
    codes = mined.codes
    days = _days(mined, begin)
    hour, minute, second = (_two(codes, begin + at) for at in (11, 14, 17))
    micros = ((days * 24 + hour) * 60 + minute) * 60 + second
    micros = micros * 1_000_000 - where.shift
    if where.part:
        micros += _part_of_a_second(mined, run + 6)
    wrong = (days == NO_TIME) | (hour > 23) | (minute > 59) | (second > 59)
    return np.where(wrong, NO_TIME, micros)


def _part_of_a_second(mined: Mined, run: np.ndarray) -> np.ndarray:
    length = np.minimum(mined.run_ends[run] - mined.run_starts[run], 6)
    return _digits(mined, mined.run_starts[run] + length, length)[0].astype(np.int64) * 10 ** (6 - length)


def _spelled_times(mined: Mined, run: np.ndarray, layout: Layout, first: datetime.date | None) -> np.ndarray:
    """`_text_dates.moment_of` for all segments at once."""
    whole = functools.partial(_whole, mined)
    if layout.compact:
        number = whole(run)
        year, month, day = number // 10_000, number // 100 % 100, number % 100
    else:
        year = whole(run + layout.year) if layout.year >= 0 else np.zeros(len(run), np.int64)
        month = np.full(len(run), layout.named) if layout.named else whole(run + layout.month)
        day = whole(run + layout.day)
    if layout.short or layout.compact == 6:
        year = year + 2000
    if layout.year >= 0 or layout.compact > 4:
        days = _days_of(year, month, day)
    else:
        assert first is not None
        days = _days_of(np.full(len(run), first.year), month, day)
        early = (days == NO_TIME) | (days < (first - datetime.date(1970, 1, 1)).days - NEAR)
        days = np.where(early, _days_of(np.full(len(run), first.year + 1), month, day), days)
    hour, minute, second = (whole(run + layout.hour + i) for i in range(3))
    micros = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000
    if layout.part:
        micros += _part_of_a_second(mined, run + layout.hour + 3)
    return np.where((days == NO_TIME) | (hour > 23) | (minute > 59) | (second > 59), NO_TIME, micros)


def _whole(mined: Mined, run: np.ndarray) -> np.ndarray:
    return _run_value(mined, run).astype(np.int64)


def _two(codes: np.ndarray, at: np.ndarray) -> np.ndarray:
    return (codes[at].astype(np.int64) - 48) * 10 + (codes[at + 1].astype(np.int64) - 48)


def _days(mined: Mined, begin: np.ndarray) -> np.ndarray:
    """Days since 1970 of the dates "2024-01-31" at `begin`; most chunks hold one date only."""
    head, tail = mined.words[begin], mined.words[begin + 2]
    if bool((head == head[0]).all()) and bool((tail == tail[0]).all()):
        return np.full(len(begin), _day(mined, begin[:1])[0], np.int64)
    return _day(mined, begin)


def _day(mined: Mined, begin: np.ndarray) -> np.ndarray:
    codes = mined.codes
    year = _two(codes, begin) * 100 + _two(codes, begin + 2)
    return _days_of(year, _two(codes, begin + 5), _two(codes, begin + 8))


def _days_of(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970, NO_TIME where there is no such day."""
    wrong = (month < 1) | (month > 12) | (day < 1) | (day > 31) | (year < 1) | (year > 9999)
    months = (np.where(wrong, 1970, year) - 1970) * 12 + np.where(wrong, 1, month) - 1
    start = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    following = (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64)
    days = start + day - 1
    return np.where(wrong | (days >= following), NO_TIME, days)
