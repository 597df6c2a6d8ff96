"""Change points of a curve in two words: `levels` finds where its level jumps, `slopes` where its direction bends.

`levels` is ruptures' KernelCPD with the linear kernel (the answer of Pelt with the l2 cost, 80 to 1000 times faster): right for what
stays on a level and jumps, such as step time, memory, GPU use. `slopes` fits straight lines instead, because a level model builds
staircases on every ramp: right for losses and scores. It is the optimal piecewise-linear partition (the one that ruptures' Pelt finds
with a line cost, a test holds them equal) as a dynamic programme over many curves at once. Lines also break up a smooth decay, so
every break is then held against one smooth curve over the same points, and dropped where that fits as well: a bend is no event.

Long curves are first reduced to robust buckets; a change is then sought again in the raw points around its bucket. Points that are
NaN or infinite carry no level: they are left out, and indices always count the points of the curve as it was given.
This is the only file that knows ruptures.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from postmortem.curves.order import inner_range, median, medians

MAX_BUCKETS = 256  # points a curve is reduced to; more cost time and find nothing more (200 drawn curves of 10,000 points)
LEVEL_BUCKETS = 1024  # the same for `levels`, whose engine is compiled code
MIN_SEGMENT = 4  # points of the shortest piece: a line through fewer says nothing
SLOPE_PENALTY = 4.0  # what one more piece must save, in units of noise variance times ln(points)
BREAK_PENALTY = 2.0  # what two lines must fit better than one smooth curve, in the same unit: else it is a bend, not a break
REACH = 3  # a break is judged on a window that reaches at most this many times farther to one side than to the other
LEVEL_PENALTY = 3.0  # the same for `levels`; 3 ln n is the usual choice between BIC (2 parameters) and a quiet result
NOISE_FLOOR = 0.004  # least noise assumed, as a share of the curve's spread: a bend smaller than this is no event
CLAMP = 4.0  # noise widths beyond which a lone point is drawn back to its neighbours before lines are fitted
BATCH = 256  # curves in one dynamic programme: bounds its memory (six tables of BATCH * MAX_BUCKETS float64, 3 MB)
MAD_TO_SIGMA = 1.4826  # median absolute deviation of a normal distribution -> its standard deviation


@dataclass(frozen=True, slots=True)
class Buckets:
    """A curve in at most k pieces of `width` finite points each.

    middle, low, high (k,) float64: median, least and greatest finite value of each bucket; starts (k,) int64: index in the curve of
    the first finite point of each bucket; width: finite points a bucket (the last one may be shorter).
    """

    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    starts: np.ndarray
    width: int


def buckets(values: np.ndarray, k: int = MAX_BUCKETS) -> Buckets:
    """Reduce the finite points of a curve, values (n,), to at most k robust buckets."""
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    where = None if finite.all() else np.flatnonzero(finite)
    kept = values if where is None else values[where]
    n = len(kept)
    width = max(1, -(-n // k))
    count = -(-n // width) if n else 0
    starts = np.arange(count, dtype=np.int64) * width
    if width == 1:
        middle = low = high = kept
    else:
        whole = n // width
        body = kept[: whole * width].reshape(whole, width)
        rest = [kept[whole * width :]] if whole < count else []
        middle = np.concatenate([medians(body), *[[median(r)] for r in rest]])
        low = np.concatenate([body.min(axis=1), *[[r.min()] for r in rest]])
        high = np.concatenate([body.max(axis=1), *[[r.max()] for r in rest]])
    return Buckets(middle, low, high, starts if where is None else where[starts], width)


def noise_of(values: np.ndarray) -> float:
    """Standard deviation of the noise on a curve (n,), whatever its trend: from its second differences, robustly. 0 for n < 3."""
    if len(values) < 3:
        return 0.0
    bends = np.abs(values[:-2] - 2 * values[1:-1] + values[2:])
    return median(bends) * MAD_TO_SIGMA / np.sqrt(6.0)  # three independent points: 1 + 4 + 1 variances


# ---------------------------------------------------------------------- slopes


def slopes(values: np.ndarray) -> list[int]:
    """Indices of the first points of the second, third ... straight piece of a curve, values (n,). Empty where one line will do."""
    return slopes_all([values])[0]


def slopes_all(curves: Sequence[np.ndarray]) -> list[list[int]]:
    """`slopes` of many curves at once; 200 curves take little longer than ten."""
    reduced = [buckets(values) for values in curves]
    found: list[list[int]] = [[] for _ in curves]
    order = sorted(range(len(curves)), key=lambda i: len(reduced[i].middle))  # alike lengths together: less padding
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        scaled = [_scaled(reduced[i].middle) for i in batch]
        for i, curve, changes in zip(batch, scaled, _partition(scaled), strict=True):
            found[i] = _refined(curves[i], reduced[i], _breaks(curve, changes))
    return found


def _scaled(middle: np.ndarray) -> np.ndarray:
    """A reduced curve in units of its own noise, lone outliers drawn back to their neighbours."""
    if len(middle) < 2 * MIN_SEGMENT:
        return middle
    spread = inner_range(middle)
    noise = max(noise_of(middle), NOISE_FLOOR * spread)
    if not noise > 0.0 or not np.isfinite(noise):
        return np.zeros_like(middle) if np.isfinite(noise) else middle * 0.0
    centre = medians(np.lib.stride_tricks.sliding_window_view(np.pad(middle, 2, mode="reflect"), 5))
    calm = np.clip(middle, centre - CLAMP * noise, centre + CLAMP * noise)
    return (calm - calm.mean()) / noise


def _partition(curves: Sequence[np.ndarray]) -> list[list[int]]:
    """Optimal piecewise-linear partition of each curve, already in units of its noise.

    cost(s, t) is the residual sum of squares of the least-squares line over points s..t-1; best[t] = min over s of
    best[s] + cost(s, t) + penalty. The sum of squares in it is the same whatever the partition, so `ahead` is best without it.
    Curves are padded to one length: ahead[t] never looks beyond t, so padding changes nothing.
    """
    sizes = [len(curve) for curve in curves]
    longest = max(sizes, default=0)
    if longest < 2 * MIN_SEGMENT:
        return [[] for _ in curves]
    table = np.zeros((len(curves), longest))
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    penalty = SLOPE_PENALTY * np.log(np.maximum(sizes, 2))
    zero = np.zeros((len(curves), 1))
    sums, products = (np.hstack([zero, np.cumsum(column, axis=1)]) for column in (table, table * np.arange(longest)))
    ahead = np.full((len(curves), longest + 1), np.inf)
    ahead[:, 0] = -penalty
    previous = np.zeros((len(curves), longest + 1), np.int64)
    rows = np.arange(len(curves))
    n = np.arange(longest, MIN_SEGMENT - 1, -1, dtype=np.float64)  # points of a piece, the longest first
    per_point, per_slope = 1 / n, 12 / (n * (n * n - 1))
    middles = np.arange(2 * longest) / 2
    for t in range(MIN_SEGMENT, longest + 1):
        stop = t - MIN_SEGMENT + 1  # s runs over 0..stop-1, the pieces over t..MIN_SEGMENT points
        total = sums[:, t : t + 1] - sums[:, :stop]
        slope = products[:, t : t + 1] - products[:, :stop]
        slope -= middles[t - 1 : t - 1 + stop] * total
        slope *= slope
        slope *= per_slope[-stop:]
        total *= total
        total *= per_point[-stop:]
        total += slope
        tries = np.subtract(ahead[:, :stop], total, out=total)
        previous[:, t] = tries.argmin(axis=1)
        ahead[:, t] = tries[rows, previous[:, t]] + penalty
    return [_trace(before, size) for before, size in zip(previous, sizes, strict=True)]


def _trace(previous: np.ndarray, size: int) -> list[int]:
    """The change points on the best way from 0 to `size`."""
    changes = []
    at = size if size >= 2 * MIN_SEGMENT else 0
    while at > 0:
        at = int(previous[at])
        changes.append(at)
    return changes[-2::-1]


def _breaks(curve: np.ndarray, changes: Sequence[int]) -> list[int]:
    """The changes at which two lines fit clearly better than one smooth curve (a cubic) over the same points."""
    kept = []
    edges = [0, *changes, len(curve)]
    for before, change, after in zip(edges, changes, edges[2:], strict=False):
        first = max(before, change - REACH * (after - change))
        last = min(after, change + REACH * (change - before))
        two_lines = _residual(curve[first:change], 1) + _residual(curve[change:last], 1)
        if _residual(curve[first:last], 3) - two_lines > BREAK_PENALTY * np.log(len(curve)):
            kept.append(change)
    return kept


def _residual(values: np.ndarray, degree: int) -> float:
    """Residual sum of squares of the polynomial of this degree that fits values (m,) best."""
    centred = values - values.mean()
    along = centred @ _polynomials(len(values), degree)
    return max(0.0, float(centred @ centred - along @ along))


@functools.lru_cache(maxsize=2 * MAX_BUCKETS)
def _polynomials(m: int, degree: int) -> np.ndarray:
    """Orthonormal polynomials up to `degree` over m even points: (m, degree + 1)."""
    return np.linalg.qr(np.vander(np.linspace(-1.0, 1.0, m), degree + 1))[0]


def _refined(values: np.ndarray, reduced: Buckets, changes: Sequence[int]) -> list[int]:
    """Changes between buckets as indices of points: the best split into two lines within a bucket's width of either side."""
    if reduced.width == 1:
        return [int(reduced.starts[change]) for change in changes]
    found = []
    edges = [0, *changes, len(reduced.starts)]
    for before, change, after in zip(edges, changes, edges[2:], strict=False):
        first, last = max(before, change - 2), min(after, change + 2)
        start = int(reduced.starts[first])
        stop = int(reduced.starts[last]) if last < len(reduced.starts) else len(values)
        window = np.asarray(values[start:stop], np.float64)
        kept = np.flatnonzero(np.isfinite(window))
        split = _split(np.clip(window[kept], np.min(reduced.middle[first:last]), np.max(reduced.middle[first:last])))
        found.append(start + int(kept[split]) if split else int(reduced.starts[change]))
    return found


def _split(window: np.ndarray) -> int:
    """The index that splits a window (m,) into the two lines that fit it best, 0 where it is too short."""
    m = len(window)
    if m < 2 * MIN_SEGMENT:
        return 0
    left = _line_costs(window)
    right = _line_costs(window[::-1])[::-1]
    at = np.arange(MIN_SEGMENT, m - MIN_SEGMENT + 1)
    return int(at[np.argmin(left[at - 1] + right[at])])


def _line_costs(values: np.ndarray) -> np.ndarray:
    """Residual sum of squares of the line over points 0..i, for every i: (m,)."""
    values = values - values.mean()
    n = np.arange(1, len(values) + 1, dtype=np.float64)
    sums, squares, products = np.cumsum(values), np.cumsum(values**2), np.cumsum(values * (n - 1))
    slope = products - (n - 1) / 2 * sums
    spread = np.maximum(n * (n * n - 1) / 12, 1.0)
    return squares - sums**2 / n - slope**2 / spread


# ---------------------------------------------------------------------- levels


def levels(values: np.ndarray) -> list[int]:
    """Indices of the first points of the second, third ... level of a curve, values (n,). Empty where one level will do."""
    reduced = buckets(values, LEVEL_BUCKETS)
    middle = reduced.middle
    if len(middle) < 2 * MIN_SEGMENT:
        return []
    steps = np.abs(np.diff(middle))
    spread = inner_range(middle) or float(np.ptp(middle))
    noise = max(median(steps) * MAD_TO_SIGMA / np.sqrt(2.0), NOISE_FLOOR * spread)
    if not noise > 0.0 or not np.isfinite(noise):
        return []
    engine = _ruptures().KernelCPD(kernel="linear", min_size=MIN_SEGMENT).fit((middle - middle.mean()) / noise)
    changes = engine.predict(pen=LEVEL_PENALTY * np.log(len(middle)))[:-1]  # ruptures ends its list with n: dropped at this door
    return [int(reduced.starts[change]) for change in changes]


# ---------------------------------------------------------------------- ruptures without SciPy

# What ruptures 1.1 names from SciPy when it is imported; nothing that we call uses any of it.
_SCIPY_NAMES = {
    "scipy.signal": ("argrelmax",),
    "scipy.spatial.distance": ("cdist", "pdist", "squareform"),
    "scipy.stats.mstats": ("rankdata",),
}


def _ruptures() -> ModuleType:
    """ruptures, imported on first use and without SciPy where possible (0.1 s instead of 0.9 s)."""
    if "ruptures" not in sys.modules:
        with _scipy_on_first_call():
            try:
                importlib.import_module("ruptures.detection")
            except (ImportError, AttributeError):  # a release that names more of SciPy: forget the half-made import
                for name in [name for name in sys.modules if name.partition(".")[0] == "ruptures"]:
                    del sys.modules[name]
    return importlib.import_module("ruptures")


@contextlib.contextmanager
def _scipy_on_first_call() -> Iterator[None]:
    """While this lasts, SciPy's modules are stand-ins whose functions import the real one when they are first called.

    importlib's LazyLoader cannot do this: `from scipy.signal import argrelmax` looks the name up at once and so loads SciPy.
    Where SciPy is already there, nothing is replaced.
    """
    added: list[str] = []
    try:
        for module, names in _SCIPY_NAMES.items():
            parts = module.split(".")
            for depth in range(1, len(parts) + 1):
                name = ".".join(parts[:depth])
                if name not in sys.modules:
                    stand_in = ModuleType(name)
                    stand_in.__path__ = []
                    sys.modules[name] = stand_in
                    added.append(name)
            if module in added:
                for function in names:
                    setattr(sys.modules[module], function, _later(module, function))
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)


def _later(module: str, function: str) -> Callable[..., Any]:
    """A function that imports the real one when it is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), function)(*args, **kwargs)

    return call


__all__ = ["MIN_SEGMENT", "Buckets", "buckets", "levels", "noise_of", "slopes", "slopes_all"]
