"""Evaluation gives the very same predictions while the model changes

Usual causes, most common first: evaluation uses another copy of the model (an old EMA, a cached or re-loaded checkpoint, a compiled graph of
the first weights), cached predictions, a data loader that always serves the same cached batch of outputs, `deepcopy(model)` at the start.

To tell them apart: compare `id(model)` in training and evaluation; change one weight by hand and evaluate again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.examples import drawn, fall, flat, line

severity = "error"
explains = ("constant-val-loss", "plateau", "overfitting")
fix = (
    "Evaluate the model that is trained: pass the object itself, refresh the EMA or reload the latest checkpoint before each "
    "evaluation, drop cached predictions.",
)
prevention = ("Log a checksum of the predictions on a fixed batch at each evaluation: it must change as long as the parameters do.",)


@dataclass(frozen=True)
class Thresholds:
    points: float = limit(3, "points", "so many checksums must be identical", "SageMaker Debugger UnchangedTensor: 3 steps")


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    moving = _moving(case)
    for curve in case.curves:
        if moving is not None and curve.kind == "checksum" and len(curve) >= limits.points and np.ptp(curve.values) == 0:
            yield Hit(
                [
                    point(curve, -1, f"{curve.raw_name} is {curve.values[0]:.8g} in all {len(curve)} evaluations", primary=True),
                    point(moving, -1, f"while the model changes: {moving.raw_name} = {moving.values[-1]:.3g}"),
                ],
                curve.when(0),
            )


def _moving(case: Case) -> Curve | None:
    """A curve that proves that the parameters change: their drift, else a training loss that fell by more than its noise."""
    for curve in [*case.all("param_delta_max"), *case.all("param_delta")]:
        if np.nanmax(np.abs(curve.values)) > 0:
            return curve
    for curve in case.all("loss"):
        finite = curve.values[np.isfinite(curve.values)]
        if curve.split != "val" and len(finite) > 1 and finite[-1] < finite[0] - 3 * float(np.median(np.abs(np.diff(finite)))):
            return curve
    return None


fires_on = [
    drawn(
        "same checksum, moving parameters", loss=fall(2, 0.3, 20), probe_pred_checksum=flat(0.48291038, 20), param_delta_max=flat(1e-3, 20)
    ),
    drawn("same checksum, falling loss", loss=fall(2, 0.3, 30), probe_pred_checksum=flat(12.5, 30)),
    drawn("four evaluations", loss=fall(2, 0.3, 20), probe_pred_checksum=flat(0.48291038, 4), param_delta_max=flat(1e-3, 20)),
]
quiet_on = [
    drawn("checksum moves", loss=fall(2, 0.3, 20), probe_pred_checksum=line(0.48, 0.52, 20), param_delta_max=flat(1e-3, 20)),
    drawn("nothing moves: another fault", loss=flat(2, 20, noise=0.01), probe_pred_checksum=flat(0.48, 20), param_delta_max=flat(0, 20)),
    drawn("two evaluations", loss=fall(2, 0.3, 20), probe_pred_checksum=flat(0.48, 2), param_delta_max=flat(1e-3, 20)),
    drawn("no training loss to prove that it moves", val__loss=fall(2, 0.3, 20), probe_pred_checksum=flat(0.48, 20)),
]
