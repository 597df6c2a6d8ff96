"""Reads rows of TensorBoard events as a table: what stands in the first row stands at the same place in every other row.

The first row is taken apart field by field. From it follows which bytes hold times, steps and numbers; every other byte of every row
is compared with the first row. A row in which all of them agree has the same layout and the same tags, so its numbers are
columns at fixed places, and for its sums only the bytes that vary are looked up. No field is walked and no tag is hashed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from postmortem.parsers._crc32c import wrong_by_difference
from postmortem.parsers._tfevents_columns import LOW_BYTES, Columns, Tags, microseconds, numbers, septets, walk, width
from postmortem.parsers._tfevents_rows import Rows
from postmortem.parsers._tfevents_window import Chunk

_WALL_AT, _STEP_KEY_AT, _STEP_AT = 1, 9, 10  # in the data of an event that begins with its wall time, as all that `walk` reads do
_STEP_KEY = 0x10
_ANY, _NUMBER = 0xFF, 0x7F  # bits that may vary: all of a byte; all but the one that says that a varint goes on


@dataclass(slots=True)
class Series:
    """Points of one tag: number of the record, time (int64 microseconds), step, value; (n,) each."""

    tag: int
    line: np.ndarray
    time: np.ndarray
    step: np.ndarray
    value: np.ndarray


@dataclass(slots=True)
class Table:
    """What rows hold: points by tag, numbers of the records with a wrong sum, and what is left to other readers.

    unlike  rows that do not look like the first one; none: None
    rest    the records of the other rows that hold more than scalars, or are not understood
    """

    series: list[Series]
    wrong: list[int]
    unlike: Rows | None
    rest: Chunk | None


def read(rows: Rows, tags: Tags) -> Table:
    """All scalars of the rows that look like the first one."""
    first = walk(rows.only(np.arange(len(rows)) == 0).records(), tags, few=1)
    plain = _plain(first)
    if not plain.any():
        return Table([], [], None, rows.records())
    differing = rows.octets ^ rows.octets[0]
    varying = np.bitwise_or.reduce(differing, axis=0)
    fixed = ~_may_vary(rows, first, plain)
    unlike = None
    if (varying & fixed).any():
        alike = ~(differing & fixed).any(axis=1)
        unlike, rows, differing = rows.only(~alike), rows.only(alike), differing[alike]
    right = np.ones((len(rows.lengths), len(rows)), bool)
    for number in np.flatnonzero(plain).tolist():
        start = int(rows.places[number])
        end = start + int(rows.lengths[number])
        data, stored = rows.octets[0, start:end].tobytes(), rows.column("<u4", end)
        right[number] = ~wrong_by_difference(data, differing[:, start:end], varying[start:end], stored)
    wrong = rows.lines + np.arange(len(plain))[:, None]
    rest = None if plain.all() else rows.records().only(np.tile(~plain, len(rows)))
    return Table(_series(rows, first, plain, right), wrong[~right].tolist(), unlike, rest)


def _plain(first: Columns) -> np.ndarray:
    """Which records of the first row (period,) hold scalars and nothing else."""
    plain = ~first.unread
    for _, records in first.blobs:
        plain[records] = False
    return plain & (np.bincount(first.record, minlength=len(plain)) > 0)


def _may_vary(rows: Rows, first: Columns, plain: np.ndarray) -> np.ndarray:
    """The bits of a row (span,) uint8 that need not be as in the first row: time, step, numbers and sum, or all where not plain."""
    mask = np.zeros(rows.span, np.uint8)
    row = rows.octets[0]
    for start, length, scalars in zip(rows.places.tolist(), rows.lengths.tolist(), plain.tolist(), strict=True):
        mask[start : start + length + 4] = _ANY
        if scalars:
            mask[start : start + length] = 0
            mask[start + _WALL_AT : start + _STEP_KEY_AT] = _ANY
            if row[start + _STEP_KEY_AT] == _STEP_KEY:
                mask[start + _STEP_AT : start + _STEP_AT + _size(row[start + _STEP_AT :])] = _NUMBER
    for record, place, kind in zip(first.record.tolist(), (first.at - rows.starts[0]).tolist(), first.kind.tolist(), strict=True):
        if plain[record]:
            mask[place : place + width(kind)] = _ANY
    return mask


def _size(octets: np.ndarray) -> int:
    """Bytes of the varint that begins here; `walk` reads none of more than eight."""
    return int((octets[:8] < 0x80).argmax()) + 1


def _series(rows: Rows, first: Columns, plain: np.ndarray, right: np.ndarray) -> list[Series]:
    """The points of every value of a row; right (period, n) says which records count."""
    times, steps = _times(rows), _steps(rows)
    series = []
    for number, tag, at, kind in zip(*(column.tolist() for column in (first.record, first.tag, first.at, first.kind)), strict=True):
        if plain[number]:
            bits = np.ascontiguousarray(rows.column(f"<u{width(kind)}", at - int(rows.starts[0])))
            columns = rows.lines + number, times[number], steps[number], numbers(bits, kind)
            good = right[number]
            series.append(Series(tag, *(columns if good.all() else (column[good] for column in columns))))
    return series


def _times(rows: Rows) -> np.ndarray:
    """The times of all records (period, n); nonsense where a record is not plain."""
    return microseconds(np.array([rows.column("<f8", place + _WALL_AT) for place in rows.places.tolist()]))


def _steps(rows: Rows) -> np.ndarray:
    """The steps of all records (period, n); nonsense where a record is not plain. The records of a row mostly share one step."""
    row, words = rows.octets[0], np.zeros((len(rows.lengths), len(rows)), np.uint64)
    most = 1
    for number, place in enumerate(rows.places.tolist()):
        if row[place + _STEP_KEY_AT] == _STEP_KEY:
            size = _size(row[place + _STEP_AT :])
            most = max(most, size)
            np.bitwise_and(rows.column("<u8", place + _STEP_AT), LOW_BYTES[size], out=words[number])
    if bool((words == words[0]).all()):
        return np.broadcast_to(septets(words[:1], most), words.shape)
    return septets(words, most)
