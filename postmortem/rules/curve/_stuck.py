"""A loss that does not move from one epoch to the next: how a short run tells it, and what stands beside it."""

from __future__ import annotations

import numpy as np

from postmortem.model import Curve, Evidence
from postmortem.rules.base import Case, Hit, point
from postmortem.rules.curve._losses import finite, last, number, scores

DIGITS = 4  # of a number that is no round one: two averages that agree in fewer may be rounding
AT_LEVEL = 0.01  # a loss within this share of its end stands at its level


def apart(curve: Curve) -> bool:
    """Whether each point is of another epoch: a progress bar prints its last loss again and again."""
    return curve.epochs is not None and bool((np.diff(curve.epochs) >= 1).all())


def repeated(case: Case, curve: Curve, alike: float, calm: float, least: float) -> Hit | None:
    """A short run whose last epochs all have the very same loss, near its first: what comes out does not depend on what goes in."""
    values, end = curve.values, float(curve.values[-1])
    same = len(values) - 1 - int(np.flatnonzero(values != end)[-1]) if (values != end).any() else len(values)
    moved = not np.all(np.abs(values - end) <= calm * abs(end))
    coarse = abs(end) < least or len(f"{abs(end):.9g}".replace(".", "").strip("0")) < DIGITS
    if len(values) <= alike or same < alike or moved or coarse:
        return None
    rates = [c for c in scores(case) if finite(c) > 1]
    if any(np.ptp(c.values[np.isfinite(c.values)]) > calm * np.nanmax(np.abs(c.values)) for c in rates):
        return None
    at = len(values) - same
    evidence = [
        point(curve, at, f"{curve.name} is {end:.9g} at {curve.where(at)}", primary=True),
        point(curve, last(curve), f"and the very same number up to {curve.where(last(curve))}, {same} epochs in all"),
        *beside(case, rates),
    ]
    return Hit(evidence, curve.when(at), "medium", title="The training loss is the same number epoch after epoch")


def beside(case: Case, curves: list[Curve]) -> list[Evidence]:
    """The first of the curves, which does not move either, as evidence."""
    return [point(c, last(c), f"{c.name} does not move either: {number(c, 'start'):.4g} to {number(c, 'end'):.4g}") for c in curves[:1]]


def reached(curve: Curve, shown: int) -> list[Evidence]:
    """The first point at which the loss stands at the level it keeps, where that is not the point already shown."""
    end = number(curve, "end")
    at = int(np.argmax(np.abs(curve.values - end) <= max(AT_LEVEL * abs(end), 2 * number(curve, "raw_noise"))))
    text = f"it first stands at the level it keeps at {curve.where(at)}: {curve.values[at]:.4g}"
    return [point(curve, at, text)] if at != shown else []


def share(curve: Curve) -> float:
    """The best value of an accuracy's trend, as a share of 1."""
    best = number(curve, "best")
    return best / 100 if np.nanmax(curve.values) > 1 else best
