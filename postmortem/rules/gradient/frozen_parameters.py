"""The parameters do not move

Usual causes, most common first: the optimizer was given other parameters (built before the model was replaced, moved or wrapped), a
learning rate of zero, frozen layers, `optimizer.step()` never called or skipped every time, a detached graph.

To tell them apart: compare `id()` of the optimizer's parameters with the model's; print the learning rate of each group; count
`optimizer.step()` calls; look at the gradient norm (zero: graph; not zero: optimizer).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.examples import drawn, fall, flat, join

severity = "error"
explains = ("flat-train-loss", "constant-val-loss", "plateau", "eval-frozen", "slow-burn", "dead-branch")
fix = (
    "Build the optimizer from the model that is trained, after `.to(device)` and wrapping: `torch.optim.AdamW(model.parameters(), lr=...)`.",
    "Check that they are the same objects: `{id(p) for g in optimizer.param_groups for p in g['params']} == {id(p) for p in model.parameters()}`.",
    "Print the learning rates: `[g['lr'] for g in optimizer.param_groups]`.",
)
prevention = ("Assert in a smoke test that every trained parameter differs after one optimizer step.",)


@dataclass(frozen=True)
class Thresholds:
    delta: float = limit(
        1e-12,
        "L2 norm",
        "a parameter change below it is none",
        "surgical probes: median/max = 0 means no step was taken; 1e-12 is below fp32 resolution of any weight",
    )
    ratio: float = limit(
        1e-5, "update ratio", "lr * |gradient| / |weight| below which a model is frozen", "debugging guide: < 1e-5 frozen, target 1e-3"
    )
    points: float = limit(
        3, "points", "fewer may fall on skipped steps", "a scaler skips at most one or two steps in a row once it has settled"
    )


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    # The median is 0 as soon as half of the tensors rest: where the maximum is told too, it decides.
    exact_one = "param_delta_max" if case.all("param_delta_max") else "param_delta"
    for metric, bound, exact in ((exact_one, limits.delta, True), ("update_ratio", limits.ratio, False)):
        curves = [curve for curve in case.all(metric) if np.isfinite(curve.values).sum() >= limits.points]
        if not curves or any(_moves(curve, bound, exact) for curve in curves):
            continue  # one group that rests among others is no frozen model
        yield Hit(
            [
                point(
                    curves[0],
                    0,
                    f"{curves[0].raw_name} is {np.nanmax(np.abs(curves[0].values)):.3g} at most over {len(curves[0])} points",
                    primary=True,
                )
            ],
            curves[0].when(0),
            confidence="high" if exact else "medium",
        )
        return


def _moves(curve: Curve, bound: float, exact: bool) -> bool:
    """Whether a curve proves movement: in the middle, and for an exact measure in any point."""
    values = np.abs(curve.values[np.isfinite(curve.values)])
    return bool(np.median(values) >= bound or (exact and values.max() >= bound))


fires_on = [
    drawn("no drift at all", loss=flat(0.217, 30, noise=0.001), param_delta_max=flat(0, 30), param_delta=flat(0, 30)),
    drawn("update ratio of a frozen model", loss=flat(0.217, 30, noise=0.001), update_ratio=flat(2e-7, 30)),
    drawn("next to nothing in four points", loss=flat(0.217, 30, noise=0.001), param_delta_max=flat(5e-13, 4)),
    drawn(
        "a small ratio with one larger step",
        loss=flat(0.217, 30, noise=0.001),
        update_ratio=join(flat(5e-6, 20), flat(1e-3, 1), flat(5e-6, 9)),
    ),
]
quiet_on = [
    drawn("moving", loss=fall(2, 0.1), param_delta_max=flat(2e-4, 100), update_ratio=flat(1e-3, 100)),
    drawn("one group rests at its optimum", loss=fall(2, 0.1), update_ratio__0=flat(1e-3, 100), update_ratio__1=flat(0, 100)),
    drawn("half of the layers rest, the others move", loss=fall(2, 0.1), param_delta_max=flat(2e-4, 100), param_delta_median=flat(0, 100)),
    drawn("slowing down at the end of a schedule", loss=fall(2, 0.1), update_ratio=np.geomspace(1e-3, 1e-6, 100)),
    drawn("tiny, yet there", loss=fall(2, 0.1), param_delta_max=flat(2e-12, 100)),
    drawn("a small ratio", loss=fall(2, 0.1), update_ratio=flat(2e-5, 100)),
    drawn("two points", loss=flat(0.217, 30, noise=0.001), param_delta_max=flat(0, 2)),
    drawn("moves now and then", loss=fall(2, 0.1, 30), param_delta_max=join(flat(0, 20), flat(1e-3, 10))),
]
