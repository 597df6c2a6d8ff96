"""The model cannot even learn a single batch by heart

Usual causes, most common first: the loss does not depend on the model (a detached graph, the wrong tensor), labels that contradict each other or
are shifted against the inputs, a learning rate that is far off, dropout or augmentation left on during the check, a model too small.

To tell them apart: run the check with ten times and a tenth of the learning rate; if neither moves the loss, it is the graph or the labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.examples import fall, flat, log

severity = "error"
needs = ("overfit_loss",)
explains = ("flat-train-loss", "plateau", "slow-burn")
fix = (
    "Stop training the full run: mend the single batch first. Check the gradient path, print inputs and labels of the batch, "
    "turn off dropout and augmentation.",
)
prevention = ("Run the one-batch check before every long run; it takes a hundred steps.",)


@dataclass(frozen=True)
class Thresholds:
    loss: float = limit(
        0.1, "loss", "a sound model falls below it on one batch", "reality check: loss > 0.1 after 100 steps means that the model is broken"
    )
    steps: float = limit(100, "steps", "the check must have run so long", "reality check: 100 steps")


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    for curve in case.all("overfit_loss"):
        steps = curve.step(-1) if curve.step(-1) is not None else len(curve)
        if steps is not None and steps >= limits.steps - 1 and not np.nanmin(curve.values[-max(1, len(curve) // 10) :]) <= limits.loss:
            yield Hit(
                [point(curve, -1, f"{curve.raw_name} is still {curve.values[-1]:.4g} at {curve.where(-1)}", primary=True)], curve.when(0)
            )


def _check_log(values) -> str:
    return "".join(f"[OVERFIT] step={i * 20} overfit_loss={v:.6f}\n" for i, v in enumerate(values))


fires_on = [
    log(_check_log(flat(2.3, 6)), note="does not move"),
    log(_check_log(fall(2.3, 1.1, 11)), note="stops half-way"),
    log(_check_log(fall(2.3, 0.2, 6)), note="close, but not there"),
]
quiet_on = [
    log(_check_log(fall(2.3, 0.01, 6)), note="learned by heart"),
    log(_check_log(flat(2.3, 3)), note="too short to say"),
    log(_check_log(fall(2.3, 0.05, 6)), note="a low floor"),
]
