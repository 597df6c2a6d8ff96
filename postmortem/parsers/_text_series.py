"""Collects points into series with bounded memory, and decides at the end which series are worth telling.

A series is one name of one family of lines (`Said.family`), split and rank: a validation `loss: 48539` and a batch
`loss: 1.8` of one file stay two series, while another count of digits, a nan or one more field on the line change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from postmortem import vocabulary
from postmortem.frame import NO_STEP, NO_TIME, Block
from postmortem.model import Split
from postmortem.parsers._literals import shortened
from postmortem.parsers._text_words import DOUBTFUL
from postmortem.parsers._thinning import BUCKET, KEPT, thin

MOST_SERIES = 2_000  # series of one file; what comes later is counted, not kept
MOST_POINTS = 150_000  # points of one series; a longer one is thinned out
MOST_IN_ALL = 600_000  # points of all series of a file
MOST_WAITING = 16_384  # new points of a thinned series that are thinned together
MANY_FALLS = 3  # times that a counter starts again until it is no step
FEWEST_KNOWN = 3  # points of a learning rate, a norm, ... whose lines say neither step nor epoch
FEWEST_UNKNOWN = 5  # points that a series needs whose name nobody knows and that has neither step nor epoch
MOST_RANKS = 1_000_000  # a "rank" beyond it is no process of a training
LONGEST_NAME = 200  # characters of a name that are kept


GROWING = 0.8  # share of its lines in which a doubtful counter must grow; it falls where a run was started again
FINEST = 100  # a single number with more than two decimals is a measurement, not a setting


class Key(NamedTuple):
    """What makes a series."""

    family: str
    name: str
    split: Split | None
    rank: int | None


class Points(NamedTuple):
    """Points as columns of one length: value, line, step (NO_STEP), epoch (nan), time (NO_TIME). Some are `constant`."""

    values: np.ndarray
    lines: np.ndarray
    steps: np.ndarray
    epochs: np.ndarray
    times: np.ndarray

    def at(self, rows: np.ndarray) -> Points:
        """Some of the points."""
        return Points(*(constant(column[0], len(rows)) if _is_constant(column) and len(rows) else column[rows] for column in self))


def constant(value: float, count: int) -> np.ndarray:
    """A column that says the same `count` times and takes no memory for it: most logs have no epochs or no times."""
    told = np.array([value])
    told.setflags(write=False)
    return np.ndarray((count,), told.dtype, told, strides=(0,))  # what np.broadcast_to does at ten times the price


def _is_constant(column: np.ndarray) -> bool:
    return column.strides == (0,)


def joined(parts: Sequence[Points]) -> Points:
    """The points of several parts, one behind the other."""
    return parts[0] if len(parts) == 1 else Points(*(_end_to_end(columns) for columns in zip(*parts, strict=True)))


def _end_to_end(columns: Sequence[np.ndarray]) -> np.ndarray:
    if all(map(_is_constant, columns)) and all(len(column) for column in columns):
        said = np.array([column[0] for column in columns])
        if bool((said == said[0]).all() or (said != said).all()):
            return constant(said[0], sum(map(len, columns)))
    return np.concatenate(columns)


@dataclass(slots=True)
class _Series:
    """One series as it grows; `places` tells of each kept point which one of the series it was, from the first thinning on."""

    parts: list[Points] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)
    count: int = 0  # points seen
    kept: int = 0
    bucket: int = 1
    done: int = 0  # parts that are thinned to the buckets; those behind hold `waiting` points
    waiting: int = 0
    own: bool = False  # some line had a step or an epoch of its own


class Collector:
    """All series of a file."""

    def __init__(self) -> None:
        self._all: dict[Key, _Series] = {}
        self._kept = 0
        self.refused = 0  # points of series beyond MOST_SERIES

    def add(self, key: Key, points: Points, own: bool = False) -> None:
        """Append points to a series, in the order of the file. `own`: their lines say a step or an epoch themselves."""
        series = self._all.get(key)
        if series is None:
            if len(self._all) >= MOST_SERIES:
                self.refused += len(points.values)
                return
            series = self._all[key] = _Series()
        series.parts.append(points)
        series.count += len(points.values)
        series.kept += len(points.values)
        series.own = series.own or (own and not key.family.endswith(DOUBTFUL))
        self._kept += len(points.values)
        if series.bucket > 1:
            series.places.append(np.arange(series.count - len(points.values), series.count))
            series.waiting += len(points.values)
            if series.waiting >= MOST_WAITING:
                self._shrink(series, series.done)
        if series.kept > 2 * MOST_POINTS:
            self._thin(series)
        while self._kept > 2 * MOST_IN_ALL:
            self._thin(max(self._all.values(), key=lambda one: one.kept))

    def _thin(self, series: _Series) -> None:
        """Make the buckets of a series twice as wide."""
        series.places = series.places or [np.arange(series.count)]
        series.bucket = max(BUCKET, 2 * series.bucket)
        self._shrink(series, 0)

    def _shrink(self, series: _Series, first: int) -> None:
        """Thin the parts of a series from the first one given on."""
        parts, places = _merged(series.parts[first:]), np.concatenate(series.places[first:])
        kept = thin(parts.values, places // series.bucket)
        series.parts[first:] = [parts.at(kept)]
        series.places[first:] = [places[kept]]
        series.done, series.waiting = len(series.parts), 0
        series.kept -= len(places) - len(kept)
        self._kept -= len(places) - len(kept)

    def close(self) -> None:
        """The file is at its end: the last points are thinned like all before them."""
        for series in self._all.values():
            if series.waiting:
                self._shrink(series, series.done)

    def points(self) -> dict[Key, Points]:
        """Everything that was collected."""
        return {key: _merged(series.parts) for key, series in self._all.items()}

    def begins(self) -> int | None:
        """The first line of the training: of a loss or score with a step or an epoch that comes again; None: there is none.

        A log of one epoch only has two of them at least, one of which was measured.
        """
        again: list[int] = []
        once: dict[str, tuple[int, bool]] = {}
        for key, series in self._all.items():
            if vocabulary.lookup(key.name, key.split).kind not in ("loss", "score"):
                continue
            points = _settled(key, _merged(series.parts))
            known = np.flatnonzero((points.steps != NO_STEP) | ~np.isnan(points.epochs))
            if len(known) and series.count >= 2:
                again.append(int(points.lines[known[0]]))
            elif len(known):
                once[key.name] = int(points.lines[0]), _measured(float(points.values[0]))
        if not again and len(once) >= 2 and any(measured for _, measured in once.values()):
            return min(line for line, _ in once.values())
        return min(again, default=None)

    def blocks(self, dropped_lines: frozenset[int] = frozenset()) -> list[Block]:
        """The series worth telling, in the order of their first lines. `dropped_lines` hold settings, not metrics."""
        families: dict[str, int] = {}
        found = []
        begins = self.begins() or 0
        for key, series in self._all.items():
            points = _settled(key, _merged(series.parts))
            setting = "/" not in key.family and all(int(line) in dropped_lines for line in points.lines[:50])
            if setting or not _worth(key, points, series.own, begins):
                continue
            points = Points(*map(np.ascontiguousarray, points))
            steps = None if _within_epoch(points) else points.steps
            found.append(
                Block(
                    raw_name=shortened(key.name, LONGEST_NAME),
                    values=points.values,
                    lines=points.lines,
                    steps=_or_none(steps, NO_STEP),
                    epochs=None if np.isnan(points.epochs).all() else points.epochs,
                    times=_or_none(points.times, NO_TIME),
                    split=key.split,
                    rank=key.rank if key.rank is not None and 0 <= key.rank < MOST_RANKS else None,
                    series=families.setdefault(key.family, len(families)),
                )
            )
        return sorted(found, key=lambda block: (int(block.lines[0]) if block.lines is not None else 0, block.series))

    def notes(self) -> list[str]:
        """What was left out, in sentences."""
        notes = []
        thinned = [series for series in self._all.values() if series.bucket > 1]
        if thinned:
            total, kept = sum(series.count for series in thinned), sum(series.kept for series in thinned)
            notes.append(f"{len(thinned)} long series thinned evenly from {total:,} to {kept:,} points; {KEPT}")
        if self.refused:
            notes.append(f"more than {MOST_SERIES:,} different series: {self.refused:,} values of the later ones were left out")
        return notes


def _merged(parts: list[Points]) -> Points:
    parts[:] = [joined(parts)]
    return parts[0]


def _or_none(column: np.ndarray | None, missing: int) -> np.ndarray | None:
    return None if column is None or bool((column == missing).all()) else column


def _settled(key: Key, points: Points) -> Points:
    """The points, without the steps that are none: of a doubtful counter that does not grow."""
    if not key.family.endswith(DOUBTFUL):
        return points
    steps = points.steps[points.steps != NO_STEP]
    if len(steps) >= 3 and float((np.diff(steps) > 0).mean()) >= GROWING:
        return points
    return points._replace(steps=np.full(len(points.steps), NO_STEP))


def _measured(value: float) -> bool:
    """Does a single number look as if a training had computed it?"""
    return not np.isfinite(value) or abs(value * FINEST - round(value * FINEST)) > 1e-9


def _within_epoch(points: Points) -> bool:
    """Does the counter start again with every epoch? Then it is no step of the optimizer."""
    known = points.steps != NO_STEP
    steps, epochs = points.steps[known], points.epochs[known]
    falls = np.flatnonzero(steps[1:] < steps[:-1]) + 1
    if not len(falls):
        # The same number in every epoch is how many steps an epoch has.
        return len(steps) > 1 and bool((steps == steps[0]).all()) and bool((np.diff(epochs) > 0).any())
    if int((epochs[falls] > epochs[falls - 1]).sum()) * 2 >= len(falls):
        return True
    # Without epochs: a counter that goes back to its beginning again and again. A run that was restarted does so once or twice.
    low = steps.min() + (steps.max() - steps.min()) * 0.05 + 1
    return len(falls) >= MANY_FALLS and int((steps[falls] <= low).sum()) * 5 >= len(falls) * 4


def _worth(key: Key, points: Points, own: bool, begins: int) -> bool:
    """Is it a metric, or only a number that happened to stand behind a word? `begins`: the line where the training begins."""
    kind = vocabulary.lookup(key.name, key.split).kind
    if "/" in key.family:  # a dialect named it
        return True
    count, counted = len(points.values), bool((points.steps != NO_STEP).any() or not np.isnan(points.epochs).all())
    same = bool((points.values == points.values[0]).all())
    if kind == "setting":
        return own and count > 1 and not same
    if kind == "probe" and key.family.startswith("probe/"):
        return True  # a probe line is printed on purpose, even once and before the first step
    if not counted and int(points.lines[-1]) < begins:
        return False
    if kind in ("loss", "score"):
        return True
    if kind in ("norm", "rate", "probe", "ratio", "scale"):
        return own or count >= FEWEST_KNOWN or (counted and count > 1)
    if kind and kind != "count":
        return own or count >= FEWEST_UNKNOWN
    whole = bool((points.values == np.floor(points.values)).all())
    if own:
        numbered = whole and same and count >= FEWEST_UNKNOWN and points.values[0] != 0
        return count > 1 and not numbered  # "Year 2015" tells nothing, a loss of 0 does
    return count >= FEWEST_UNKNOWN and not whole and not same
