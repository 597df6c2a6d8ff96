"""Which points of a very long series are kept, so that memory stays bounded and the curve keeps its looks from beginning to end.

A series that has become too long keeps the lowest and the highest of every BUCKET neighbouring points; should it become too long again,
of twice as many, and so on. What comes later is thinned by the same bucket at once: else the early points, thinned again and again,
would be gone in the end.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BUCKET = 8  # neighbouring points of which two are kept; then 16, 32, ...
KEPT = "first, last, lowest, highest and non-finite values and jumps are kept"


def thin(values: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    """Indices of the points to keep, ascending: first, last, extremes of every bucket, both sides of NaN stretches, the largest jumps.

    values (n,) and the number of the bucket that each of them lies in (n,), ascending.
    """
    finite = np.isfinite(values)
    whole = bool(finite.all())
    with np.errstate(invalid="ignore", over="ignore"):
        leaps = np.abs(values[1:] - values[:-1])
    if not whole:
        leaps[~np.isfinite(leaps)] = 0.0
    count = max(1, len(values) // 1000)
    largest = np.argpartition(leaps, -count)[-count:] if len(leaps) > count else np.arange(len(leaps))
    keep = np.zeros(len(values), bool)
    keep[[0, -1]] = True
    keep[largest] = keep[largest + 1] = True
    for chosen in _extremes(values if whole else np.where(finite, values, np.nan), bucket):
        keep[chosen] = True
    if not whole:
        turns = np.flatnonzero(finite[1:] != finite[:-1])
        begins, ends = _firsts(turns, bucket), _firsts(turns[::-1], bucket)
        for chosen in (_firsts(np.flatnonzero(~finite), bucket), begins, begins + 1, ends, ends + 1):
            keep[chosen] = True
    return np.flatnonzero(keep)


def _extremes(values: np.ndarray, bucket: np.ndarray) -> Iterator[np.ndarray]:
    """Index of the first lowest and of the first highest point of every bucket; NaN is neither."""
    starts = np.concatenate(([0], np.flatnonzero(bucket[1:] != bucket[:-1]) + 1))
    sizes = np.diff(starts, append=len(values))
    for reach in (np.fmin, np.fmax):
        yield _firsts(np.flatnonzero(values == np.repeat(reach.reduceat(values, starts), sizes)), bucket)


def _firsts(places: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    """Of some places, in order, the first in each bucket."""
    buckets = bucket[places]
    return places[np.concatenate((np.ones(min(1, len(places)), bool), buckets[1:] != buckets[:-1]))]
