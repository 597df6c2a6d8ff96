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
from postmortem.parsers._text_runs import Runs
from postmortem.parsers._text_shapes import Mined

_POWERS = 10.0 ** np.arange(23)  # exact in a double
_WHOLE_POWERS = (10 ** np.arange(20, dtype=object)).astype(np.uint64)
_EXACT = np.uint64(2**53)
# Eight ASCII digits in a 64-bit word become a number with three multiplications (the SWAR technique described by Johnny Lee and
# Daniel Lemire, "Quickly parsing eight digits", 2018). _KEEP[n] keeps the low four bits of the last n bytes.
_KEEP = np.array([0, *((((1 << 64) - 1) << (8 * (8 - n)) & ((1 << 64) - 1)) & 0x0F0F0F0F0F0F0F0F for n in range(1, 9))], np.uint64)
_TENS, _HUNDREDS, _MYRIADS = np.uint64(2561), np.uint64(6553601), np.uint64(42949672960001)
_PAIRS, _QUADS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
# _BEFORE[n] keeps the bytes of a word before its last n: with the digits behind a dot in the last n bytes, the dot and what stands before.
_BEFORE = np.array([(1 << (64 - 8 * n)) - 1 for n in range(9)], np.uint64)
_BYTE = np.uint64(8)
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


def parse(runs: Runs, where: Column) -> tuple[np.ndarray, np.ndarray | None]:
    """(values, which of them are spelled in another way: None is none) of the segments whose runs of digits are `runs`."""
    if where.kind == "constant":
        return np.full(len(runs.rows), where.value), None
    if where.kind == "infinite":
        return np.array([_infinity(runs.mined.text(row), where.run) for row in runs.rows.tolist()]), None
    if where.kind == "comma":
        return _comma(runs, where), _other_lengths(runs, where.run, 3, where.runs - where.part)
    if where.kind == "clock":
        return _clock(runs, where), _other_lengths(runs, where.run, 2, 3)
    return _plain(runs, where)


def _infinity(text: bytes, which: int) -> float:
    """The sign is no part of a shape: it is looked up in every line."""
    found = _INFINITY.findall(text.lower())
    return -np.inf if which < len(found) and found[which].startswith(b"-") else np.inf


def _plain(runs: Runs, where: Column) -> tuple[np.ndarray, np.ndarray | None]:
    mined, run = runs.mined, where.run
    begin, behind = runs.starts(run), runs.ends(run)
    first = begin if where.whole else begin - 1  # ".5" begins with its dot
    odd: np.ndarray | None = None
    tens: np.ndarray | int | None = None  # how often to divide by ten
    length: np.ndarray = behind - begin
    if where.whole and where.part:
        run += 1
        part_start, part_end = runs.starts(run), runs.ends(run)
        odd = part_start != behind + 1
        length, tens = part_end - begin - 1, _alike(part_end - part_start)
        mantissa, digits = _decimal(mined, begin, behind, part_end, length, tens)
        behind = part_end
    else:
        mantissa, digits = _digits(mined, behind, length)
        if not where.whole:
            tens = length
        elif where.suffix or where.power:
            behind = behind + (mined.codes[behind] == 46)  # "7.M"
    values = mantissa.astype(np.float64)
    slow = None if digits <= 15 else (mantissa >= _EXACT) | (length > 18)
    if where.power:
        power, wide = _power(runs, run + 1, behind)
        odd = wide if odd is None else odd | wide
        behind = runs.ends(run + 1)
        tens = -power if tens is None else tens - power
        far = np.abs(tens) > 22
        slow = far if slow is None else slow | far
    if tens is not None:
        values = _divided(values, tens)
    minus = mined.codes[first - 1] == 45
    if minus.any():
        values = np.where(minus, -values, values)
    if slow is not None and slow.any():
        _slowly(mined, values, np.flatnonzero(slow), first, behind)
    if where.suffix:
        with np.errstate(over="ignore"):
            values = np.where(mined.codes[behind] | 32 == where.suffix, values * where.scale, values)
    return values, odd if odd is not None and odd.any() else None


def _alike(column: np.ndarray) -> np.ndarray | int:
    """One number for a column that says the same in every row: what is done with it is done at half the price."""
    return int(column[0]) if bool((column == column[0]).all()) else column


def _decimal(
    mined: Mined, begin: np.ndarray, behind: np.ndarray, end: np.ndarray, length: np.ndarray, tens: np.ndarray | int
) -> tuple[np.ndarray, int]:
    """(the numbers that `length` digits around a dot spell without it, the largest length); `tens` digits stand behind the dot.

    Where the digits and the dot are no more than eight bytes, the digits before the dot are moved over it and read with the others.
    """
    most = int(length.max())
    if most < 8:
        word = mined.words[end - 8]
        moved = word << _BYTE
        moved ^= word
        moved &= _BEFORE[tens]
        word ^= moved
        return _eight(word, length), most
    mantissa, digits = _digits(mined, behind, behind - begin)
    low, more = _digits(mined, end, np.broadcast_to(tens, len(end)))
    mantissa *= _WHOLE_POWERS[tens if more < 20 else np.minimum(tens, 19)]
    mantissa += low
    return mantissa, digits + more


def _power(runs: Runs, run: int, behind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the exponents that the runs number `run` spell, which of them do not stand right behind the mantissa)."""
    mined, start, end = runs.mined, runs.starts(run), runs.ends(run)
    length = _alike(end - start)
    if isinstance(length, int) and length == 2:
        power = _two(mined.codes, start)
    else:
        power = _digits(mined, end, np.minimum(end - start, 8))[0].astype(np.int64)
    gap = start - behind
    return np.where(mined.codes[start - 1] == 45, -power, power), (gap > 3) | (gap < 1)


def _divided(values: np.ndarray, tens: np.ndarray | int) -> np.ndarray:
    """The values divided by ten so often; those beyond 22 times are wrong and read again."""
    least, most = (tens, tens) if isinstance(tens, int) else (int(tens.min()), int(tens.max()))
    if least >= 0:
        values /= _POWERS[tens if most <= 22 else np.minimum(tens, 22)]
        return values
    return np.where(tens >= 0, values / _POWERS[np.clip(tens, 0, 22)], values * _POWERS[np.clip(-tens, 0, 22)])


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
    word >>= _BYTE
    word &= _PAIRS
    word *= _HUNDREDS
    word >>= np.uint64(16)
    word &= _QUADS
    word *= _MYRIADS
    word >>= np.uint64(32)
    return word


def _run_value(runs: Runs, run: int) -> np.ndarray:
    end = runs.ends(run)
    return _digits(runs.mined, end, np.minimum(end - runs.starts(run), 16))[0].astype(np.float64)


def _other_lengths(runs: Runs, run: int, length: int, count: int) -> np.ndarray | None:
    """Which segments have a run behind the first that is not of this length: "1,23" is no number, "1:2:3" no clock."""
    odd = np.zeros(len(runs.rows), bool)
    for i in range(run + 1, run + count):
        odd |= runs.ends(i) - runs.starts(i) != length
    return odd if odd.any() else None


def spelling(runs: Runs, run: int) -> np.ndarray:
    """A number for each way to spell a run of digits ("07" is not "7")."""
    start = runs.starts(run)
    length = np.minimum(runs.ends(run) - start, 16)
    return _digits(runs.mined, start + length, length)[0].astype(np.int64) * 32 + length


def _comma(runs: Runs, where: Column) -> np.ndarray:
    last = where.run + where.runs - where.part
    values = _run_value(runs, where.run)
    for run in range(where.run + 1, last):
        values = values * 1000.0 + _run_value(runs, run)
    if where.part:
        tens = _POWERS[np.minimum(runs.ends(last) - runs.starts(last), 22)]
        values = (values * tens + _run_value(runs, last)) / tens
    minus = runs.mined.codes[runs.starts(where.run) - 1] == 45
    return np.where(minus, -values, values)


def _clock(runs: Runs, where: Column) -> np.ndarray:
    hours, minutes, seconds = (_run_value(runs, where.run + i) for i in range(3))
    if where.part:
        part = where.run + 3
        tens = _POWERS[np.minimum(runs.ends(part) - runs.starts(part), 15)]
        seconds = (seconds * tens + _run_value(runs, part)) / tens
    return (hours * 60 + minutes) * 60 + seconds


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


def parse_times(runs: Runs, where: TimeColumn) -> np.ndarray:
    """Microseconds since 1970 of the segments whose runs of digits are `runs`, NO_TIME where it is no date."""
    if where.layout is not None:
        return _spelled_times(runs, where.run, where.layout, where.first)
    words = runs.mined.words
    begin = np.minimum(runs.starts(where.run), len(words) - 12)  # a damaged stamp may be shorter
    days = _days(words, begin)
    (hour, minute, second), wrong = _three_pairs(words[begin + 11], _CLOCK)
    wrong |= (hour > 23) | (minute > 59) | (second > 59) | (days == NO_TIME)
    micros = ((days * 24 + hour) * 60 + minute) * 60 + second
    micros = micros * 1_000_000 - where.shift
    if where.part:
        micros += _part_of_a_second(runs, where.run + 6)
    return np.where(wrong, NO_TIME, micros) if wrong.any() else micros


# The high halves of the bytes of "10:30:59" and of "24-01-31" or "24/01/31"; the places of the three numbers in bits.
_HIGH, _LOW = np.uint64(0xF0F0F0F0F0F0F0F0), np.uint64(0x0F0F0F0F0F0F0F0F)
_CLOCK, _DATE = np.uint64(0x3030303030303030), np.uint64(0x3030203030203030)
_THREE = (np.uint64(0), np.uint64(24), np.uint64(48))
_TEN, _ONE_BYTE = np.uint64(10), np.uint64(255)


def _part_of_a_second(runs: Runs, run: int) -> np.ndarray:
    start, end = runs.starts(run), runs.ends(run)
    length = _alike(np.minimum(end - start, 6))
    return _digits(runs.mined, start + length, np.broadcast_to(length, len(start)))[0].astype(np.int64) * 10 ** (6 - length)


def _spelled_times(runs: Runs, run: int, layout: Layout, first: datetime.date | None) -> np.ndarray:
    """`_text_dates.moment_of` for all segments at once."""
    whole, count = functools.partial(_whole, runs), len(runs.rows)
    if layout.compact:
        number = whole(run)
        year, month, day = number // 10_000, number // 100 % 100, number % 100
    else:
        year = whole(run + layout.year) if layout.year >= 0 else np.zeros(count, np.int64)
        month = np.full(count, layout.named) if layout.named else whole(run + layout.month)
        day = whole(run + layout.day)
    if layout.short or layout.compact == 6:
        year = year + 2000
    if layout.year >= 0 or layout.compact > 4:
        days = _days_of(year, month, day)
    else:
        assert first is not None
        days = _days_of(np.full(count, first.year), month, day)
        early = (days == NO_TIME) | (days < (first - datetime.date(1970, 1, 1)).days - NEAR)
        days = np.where(early, _days_of(np.full(count, first.year + 1), month, day), days)
    hour, minute, second = (whole(run + layout.hour + i) for i in range(3))
    micros = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000
    if layout.part:
        micros += _part_of_a_second(runs, run + layout.hour + 3)
    return np.where((days == NO_TIME) | (hour > 23) | (minute > 59) | (second > 59), NO_TIME, micros)


def _whole(runs: Runs, run: int) -> np.ndarray:
    return _run_value(runs, run).astype(np.int64)


def _two(codes: np.ndarray, at: np.ndarray) -> np.ndarray:
    return (codes[at].astype(np.int64) - 48) * 10 + (codes[at + 1].astype(np.int64) - 48)


def _three_pairs(word: np.ndarray, like: np.uint64) -> tuple[list[np.ndarray], np.ndarray]:
    """(the three numbers of two digits in eight bytes like "10:30:59" or "24-01-31", which words are not `like` that)."""
    pairs = _pairs(word)
    return [(pairs >> at & _ONE_BYTE).astype(np.int64) for at in _THREE], word & _HIGH != like


def _pairs(word: np.ndarray) -> np.ndarray:
    """Of every byte of a word its digit ten times and the one behind it: they never reach 256."""
    low = word & _LOW
    return low * _TEN + (low >> _BYTE)


def _days(words: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Days since 1970 of the dates "2024-01-31" at `begin`; most chunks hold one date only."""
    head, tail = words[begin], words[begin + 2]
    if bool((head == head[0]).all()) and bool((tail == tail[0]).all()):
        return np.full(len(begin), _day(head[:1], tail[:1])[0], np.int64)
    return _day(head, tail)


def _day(head: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """Days since 1970 of dates of which `head` holds the first eight bytes, `tail` the last eight."""
    (year, month, day), wrong = _three_pairs(tail, _DATE)
    year += (_pairs(head) & _ONE_BYTE).astype(np.int64) * 100
    return _days_of(np.where(wrong, 0, year), month, day)


def _days_of(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970, NO_TIME where there is no such day."""
    wrong = (month < 1) | (month > 12) | (day < 1) | (year < 1) | (year > 9999)
    months = np.where(wrong, 0, (year - 1970) * 12 + month - 1)
    earliest = int(months.min())
    starts = np.arange(earliest, int(months.max()) + 2).astype("M8[M]").astype("M8[D]").astype(np.int64)
    days = starts[months - earliest] + day - 1
    return np.where(wrong | (days >= starts[months - earliest + 1]), NO_TIME, days)
