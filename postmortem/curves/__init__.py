"""What a curve looks like: its change points, its segments and its shape in a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from postmortem.model import Curve


def describe(curve: Curve) -> None:
    """Fill `segments` and `shape` of one curve in place."""
    describe_all([curve])


def describe_all(curves: Sequence[Curve]) -> None:
    """Fill `segments` and `shape` of all curves in place; many curves at once take little longer than a few."""
    from postmortem.curves.segments import segment_all
    from postmortem.curves.shapes import shape_of

    with np.errstate(all="ignore"):  # logs hold numbers near the end of the float range; sums of them may overflow, and that is no news
        segment_all(curves)
        for curve in curves:
            curve.shape = shape_of(curve)


__all__ = ["describe", "describe_all"]
