"""The numbers behind a chart: what its x axis counts, which points to keep of a long curve, which scale its values need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from postmortem.model import Curve, Onset

NO_TIME = -(2**63)  # "the log gave no time here"
EXACT = 2**53  # beyond it, a browser's numbers are no longer whole
DISTINCT = 0.5  # share of different epochs from which on a curve is drawn over epochs
LOG_SPAN = 1000.0  # positive values that span more than this factor are drawn on a logarithmic axis
PLAIN = 30  # powers of ten within which browsers scale an axis themselves (beyond about 300 they fail)
MOST_BREAKS = 400  # gaps of a curve that are kept


@dataclass(frozen=True, slots=True)
class Axis:
    """What a chart counts to the right: name ("step", "epoch", "time", "point"), the values, and Plotly's axis type."""

    name: str
    values: np.ndarray
    type: str = "linear"

    def numbers(self, at: np.ndarray) -> list[Any]:
        """The values at some points, as JSON holds them."""
        chosen = self.values[at]
        if self.name == "time":
            return [str(stamp) for stamp in chosen.astype("datetime64[us]")]
        return [float(f"{v:.7g}") for v in chosen.tolist()] if self.name == "epoch" else chosen.tolist()

    def floats(self) -> np.ndarray:
        """The values as plain numbers, for a still picture."""
        return self.values.astype(np.float64)

    def at(self, onset: Onset, lines: Sequence[int], curve: Curve) -> Any:
        """Where an onset lies on this axis: the step itself, else the point that stands on one of the lines; None if it is not on it."""
        if self.name == "step" and onset.step is not None:
            return onset.step if self.values[0] <= onset.step <= self.values[-1] else None
        hits = np.flatnonzero(np.isin(curve.lines, lines)) if lines else np.empty(0, int)
        return self.numbers(hits[:1])[0] if len(hits) else None


def axis_of(curve: Curve) -> Axis:
    """What to draw a curve over: steps, else epochs, else times, where each point has one and they never fall back; else its points."""
    n = len(curve)
    steps = curve.steps
    # NO_STEP is the smallest integer: one missing step makes `min` fail this, and so do steps that a browser cannot hold.
    if steps is not None and _rises(steps) and steps.min(initial=0) >= -EXACT and steps.max(initial=0) <= EXACT:
        return Axis("step", steps)
    epochs = curve.epochs  # many points to one epoch would stand above one another
    if epochs is not None and bool(np.isfinite(epochs).all()) and _rises(epochs) and len(np.unique(epochs)) > len(epochs) * DISTINCT:
        return Axis("epoch", epochs)
    if curve.times is not None and bool((curve.times != NO_TIME).all()) and _rises(curve.times):
        return Axis("time", curve.times, "date")
    return Axis("point", np.arange(1, n + 1))


def _rises(values: np.ndarray) -> bool:
    """Whether the values never fall back and are not all one."""
    return len(values) < 2 or bool((values[1:] >= values[:-1]).all() and values[-1] > values[0])


def kept_points(values: np.ndarray, buckets: int) -> np.ndarray:
    """Indices to draw of a long curve: first, last, the lowest and highest of each bucket (so every spike), and where its gaps begin."""
    n = len(values)
    if n <= 2 * buckets:
        return np.arange(n)
    finite = np.isfinite(values)
    edges = np.linspace(0, n, buckets + 1).astype(int)[:-1]
    low = np.minimum.reduceat(np.where(finite, values, np.inf), edges)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), edges)
    of = np.repeat(np.arange(buckets), np.diff(np.append(edges, n)))
    lows, highs = (np.flatnonzero(finite & (values == bound[of])) for bound in (low, high))
    chosen = [np.array([0, n - 1]), *(at[np.unique(of[at], return_index=True)[1]] for at in (lows, highs))]
    starts = np.flatnonzero(~finite & np.append(True, finite[:-1]))
    if len(starts) > MOST_BREAKS:
        starts = starts[np.linspace(0, len(starts) - 1, MOST_BREAKS).astype(int)]
    return np.unique(np.concatenate([*chosen, starts]))


def power_of_ten(finite: np.ndarray) -> int:
    """The power of ten to draw values in units of: 0 for ordinary ones, else that of the largest.

    1e308 and 5e-324 break the axis of plotly.js.
    """
    biggest = float(np.abs(finite).max(initial=0.0))
    if biggest == 0.0:
        return 0
    power = int(np.floor(np.log10(biggest)))
    return power if abs(power) > PLAIN else 0


def log_scale(finite: np.ndarray) -> bool:
    """Whether a logarithmic axis shows more: all values above zero, and far apart."""
    return bool(len(finite) > 2 and finite.min() > 0 and finite.max() / finite.min() > LOG_SPAN and finite.min() > 10.0**-PLAIN)
