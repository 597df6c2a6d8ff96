"""Segments of a curve: the stretches between its change points, each with its level, slope and noise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from postmortem.curves import changepoints
from postmortem.curves.look import line
from postmortem.model import Curve, Segment

# What the machine does stays on a level and jumps; what the training does falls and bends.
LEVEL_KINDS = ("time", "speed", "memory", "util", "temperature", "power", "clock", "scale")
ENOUGH = 20  # points from which on levels of a machine are worth the import of ruptures


def segment_all(curves: Sequence[Curve]) -> None:
    """Fill `segments` of all curves in place."""
    by_level = [curve.kind in LEVEL_KINDS and len(curve) >= ENOUGH for curve in curves]
    bending = [curve for curve, level in zip(curves, by_level, strict=True) if not level]
    for curve, changes in zip(bending, changepoints.slopes_all([curve.values for curve in bending]), strict=True):
        curve.segments = segments(curve.values, changes)
    for curve, level in zip(curves, by_level, strict=True):
        if level:
            curve.segments = segments(curve.values, changepoints.levels(curve.values))


def segments(values: np.ndarray, changes: Sequence[int]) -> tuple[Segment, ...]:
    """The stretches of a curve, values (n,), between its changes; points that are NaN to the end are a stretch of their own."""
    if not len(values):
        return ()
    known = np.flatnonzero(np.isfinite(values))
    died = [int(known[-1]) + 1] if len(known) and known[-1] + 1 < len(values) else []
    edges = sorted({0, *changes, *died, len(values)})
    return tuple(_segment(values, start, end) for start, end in pairwise(edges))


def _segment(values: np.ndarray, start: int, end: int) -> Segment:
    """One stretch: its level is the height of its least-squares line in its middle."""
    reduced = changepoints.buckets(values[start:end])
    y = reduced.middle
    if len(y) < 2:
        return Segment(start, end, float(y[0]) if len(y) else float("nan"), 0.0, 0.0)
    level, slope, _ = line(y)
    return Segment(start, end, level, slope / reduced.width, changepoints.noise_of(y))
