"""The gradient is not a number

Usual causes, most common first: fp16 overflow in the backward pass, `log(0)`, division by zero or `sqrt(0)` (its derivative is infinite)
in the loss, a bad batch, a learning rate that already blew the weights up.

To tell them apart: with `torch.autograd.set_detect_anomaly(True)` for one step the traceback names the operation; under AMP a few
non-finite gradients are normal (the scaler skips those steps): look at the loss scale.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.examples import drawn, fall, flat, join, nan

severity = "error"
needs = ("grad_norm",)
explains = ("divergence",)
fix = (
    "Run one step under `torch.autograd.set_detect_anomaly(True)`; guard the operation it names: `log(x.clamp_min(1e-8))`, `sqrt(x + 1e-8)`, `a / (b + 1e-8)`.",
    "With fp16 use bf16 or a GradScaler; clip after `scaler.unscale_(optimizer)`.",
)
prevention = ("Skip the step and save the batch when the gradient norm is not finite; stop after ten in a row.",)


@dataclass(frozen=True)
class Thresholds:
    tail: float = limit(
        3,
        "points",
        "so many non-finite norms up to the end: the run did not recover",
        "a scaler that recovers halves its scale once or twice in a row",
    )


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    for curve in case.all("grad_norm"):
        bad = np.flatnonzero(~np.isfinite(curve.values))
        if not len(bad) or len(bad) == len(curve):
            continue
        tail = len(curve) - 1 - int(np.flatnonzero(np.isfinite(curve.values))[-1])
        lasting = tail >= limits.tail
        i = len(curve) - tail if lasting else int(bad[0])
        what = f"and stays so to the end ({tail} points)" if lasting else f"in {len(bad)} of {len(curve)} points; the run went on"
        yield Hit(
            [point(curve, i, f"{curve.raw_name} is {curve.values[i]} at {curve.where(i)} {what}", primary=True)],
            curve.when(i),
            severity="error" if lasting else "note",
            confidence="high" if lasting else "medium",
        )


fires_on = [
    drawn("NaN to the end", loss=join(fall(2, 1, 60), nan(40)), grad_norm=join(flat(1, 59, noise=0.1), nan(41))),
    drawn("infinite to the end", loss=join(fall(2, 1, 60), nan(40)), grad_norm=join(flat(1, 55, noise=0.1), flat(np.inf, 45))),
    drawn("NaN in the last five steps", loss=fall(2, 1, 95), grad_norm=join(flat(1, 95, noise=0.1), nan(5))),
]
quiet_on = [
    drawn("two skipped steps", loss=fall(2, 0.1), grad_norm=join(nan(2), flat(1, 98, noise=0.1))),
    drawn("ordinary", loss=fall(2, 0.1), grad_norm=fall(3, 0.4)),
    drawn("NaN in the last two steps", loss=fall(2, 0.1), grad_norm=join(flat(1, 98, noise=0.1), nan(2))),
    drawn("never a number at all", loss=fall(2, 0.1), grad_norm=nan(100)),
]
