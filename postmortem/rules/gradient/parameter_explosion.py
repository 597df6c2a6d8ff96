"""Parameters grow beyond all bounds

Usual causes, most common first: learning rate too high, no weight decay, an unbounded logit scale or temperature, gradients that exploded before.

To tell them apart: which parameter it is tells most: a single scalar is a temperature or scale; all of one layer is the learning rate. Steady
growth from the start, before the gradients grow, is the update itself: the sign of the weight decay, a loss that rewards large weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.examples import drawn, fall, flat, log

severity = "warning"
explains = ("divergence", "nan-death", "loss-spike")
fix = ("Lower the learning rate, add weight decay, clamp learned scales: `logit_scale.clamp_(max=4.6)`.",)
prevention = ("Log the largest and smallest parameter; alarm beyond +-100.",)


@dataclass(frozen=True)
class Thresholds:
    bound: float = limit(100.0, "value", "a parameter beyond +- this is an explosion", "reality check: max > 100 or min < -100")
    growth: float = limit(
        10.0,
        "ratio",
        "to the first value: from there on it is the growth that ended beyond the bound",
        "one order of magnitude; weights of sound networks stay within it",
    )


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    for curve in [*case.all("param_max"), *case.all("param_min")]:
        beyond = np.flatnonzero(np.abs(curve.values) > limits.bound)
        if len(beyond):
            i = int(beyond[0])
            told = point(curve, i, f"{curve.raw_name} is {curve.values[i]:.4g} at {curve.where(i)}", primary=True)
            yield Hit([told], curve.when(_began(np.abs(curve.values[: i + 1]), limits)))


def _began(sizes: np.ndarray, limits: Thresholds) -> int:
    """The point from which the values never came back to the first one's order of magnitude."""
    small = np.flatnonzero(sizes[:-1] <= limits.growth * sizes[0])
    return int(small[-1]) + 1 if len(small) else len(sizes) - 1


def _grown_by_hand(steps: int) -> str:
    """Weights that grow by 12 % a step; the gradients follow much later, and then the loss."""
    return "".join(
        f"[PARAM] step={i} param_min={-(1.12**i):.4g} param_max={1.12**i:.4g}\n[NORM] step={i} grad_norm={max(1.0, 1.4 ** (i - 30)):.4g}\n"
        f"step {i} loss {2 - i / 40 if i < 45 else 1.3 ** (i - 44):.4f}\n"
        for i in range(steps)
    )


fires_on = [
    drawn("largest weight runs away", loss=fall(2, 1, 40), param_max=np.geomspace(1, 4000, 40)),
    drawn("smallest weight runs away", loss=fall(2, 1, 40), param_min=-np.geomspace(1, 4000, 40)),
    log(_grown_by_hand(70), note="weights grow by a fixed share, gradients and loss follow"),
    drawn("just out of bounds", loss=fall(2, 1, 40), param_max=flat(150, 40)),
]
quiet_on = [
    drawn("ordinary", loss=fall(2, 0.1, 40), param_max=flat(2, 40), param_min=flat(-2, 40)),
    drawn("large but bounded", loss=fall(2, 0.1, 40), param_max=flat(60, 40)),
]
