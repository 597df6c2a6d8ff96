"""Parameters grow beyond all bounds

Usual causes, most common first: learning rate too high, no weight decay, an unbounded logit scale or temperature, gradients that exploded before.

To tell them apart: which parameter it is tells most: a single scalar is a temperature or scale; all of one layer is the learning rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.examples import drawn, fall, flat

severity = "warning"
explains = ("divergence", "nan-death", "loss-spike")
fix = ("Lower the learning rate, add weight decay, clamp learned scales: `logit_scale.clamp_(max=4.6)`.",)
prevention = ("Log the largest and smallest parameter; alarm beyond +-100.",)


@dataclass(frozen=True)
class Thresholds:
    bound: float = limit(100.0, "value", "a parameter beyond +- this is an explosion", "reality check: max > 100 or min < -100")


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    for curve in [*case.all("param_max"), *case.all("param_min")]:
        beyond = np.flatnonzero(np.abs(curve.values) > limits.bound)
        if len(beyond):
            i = int(beyond[0])
            yield Hit([point(curve, i, f"{curve.raw_name} is {curve.values[i]:.4g} at {curve.where(i)}", primary=True)], curve.when(i))


fires_on = [
    drawn("largest weight runs away", loss=fall(2, 1, 40), param_max=np.geomspace(1, 4000, 40)),
    drawn("smallest weight runs away", loss=fall(2, 1, 40), param_min=-np.geomspace(1, 4000, 40)),
    drawn("just out of bounds", loss=fall(2, 1, 40), param_max=flat(150, 40)),
]
quiet_on = [drawn("ordinary", loss=fall(2, 0.1, 40), param_max=flat(2, 40), param_min=flat(-2, 40)), drawn("large but bounded", loss=fall(2, 0.1, 40), param_max=flat(60, 40))]
