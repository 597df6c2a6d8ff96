"""The loss creeps down in a straight line and hardly leaves its start

Usual causes, most common first: a learning rate far too low; most parameters frozen (or not given to the optimizer); updates clipped to
almost nothing; gradients that vanish on their way (deep sigmoid or tanh layers, poor initialisation); a warm-up that lasts longer than
the run.

To tell them apart: the update ratio (learning rate * gradient norm / weight norm) should be near 1e-3. Far below with ordinary gradients
it is the learning rate; with tiny gradients it is vanishing. A learning rate that still rises at the end is the warm-up.

This is not it: the last stretch of a long run that is resumed, fine-tuning of a model that is good already, a slow start that speeds up
later.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from postmortem.model import Curve, Unchecked
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.curve._losses import finite, first, last, matching, number, rewarded, too_short, train_losses, val_losses
from postmortem.rules.examples import drawn, fall, files, flat, line

severity = "warning"
explains = ("still-improving", "plateau", "knows-nothing")
fix = (
    "Raise the learning rate tenfold (then again) for 200 steps each; keep the largest that falls smoothly.",
    "Check that all parameters are trained: `sum(p.numel() for g in optimizer.param_groups for p in g['params'])` against the "
    "model's size.",
    "Shorten the warm-up to 1 to 5 % of the steps, and look at the share of steps in which clipping bites.",
)
prevention = ("Log the update ratio (target about 1e-3), and run a learning-rate sweep of 100 steps each before the long run.",)


@dataclass(frozen=True)
class Thresholds:
    points: float = limit(10, "points", "fewest points of a loss", "a line through fewer proves nothing")
    chance: float = limit(
        0.03, "share", "a start this close to ln(classes) is an untrained model", "untrained networks begin near chance level"
    )
    clean: float = limit(
        20.0, "times", "fall over noise from which on the line is beyond doubt", "batch noise of fine-tuning is larger than its slow trend"
    )
    part: float = limit(0.2, "share", "a first step beyond this share of the last one is a resumed run", "a tenth is the usual warm-up")


def check(case: Case, limits: Thresholds) -> Iterator[Hit | Unchecked]:
    training, validation = train_losses(case), val_losses(case)
    yield from too_short("slow-burn", training or validation, limits.points, "loss")
    if rewarded(case):
        return
    for curve in training or validation:
        resumed = (curve.step(first(curve)) or 0) > limits.part * (curve.step(last(curve)) or 1)
        if curve.shape.name == "slow-burn" and finite(curve) >= limits.points and not resumed:
            yield _hit(curve, matching(curve, validation if training else []), limits)
            return


def _hit(curve: Curve, other: Curve | None, limits: Thresholds) -> Hit:
    start = number(curve, "start")
    classes = number(curve, "chance")
    untrained = classes > 1 and abs(start / math.log(classes) - 1) < limits.chance
    clean = number(curve, "gain") > limits.clean * number(curve, "raw_noise")
    evidence = [
        point(
            curve,
            first(curve),
            f"{curve.name} begins at {curve.values[first(curve)]:.5g}"
            + (f", the chance level of {classes:g} classes" if untrained else ""),
            primary=True,
        ),
        point(
            curve,
            last(curve),
            f"and is at {curve.values[last(curve)]:.5g} after {finite(curve)} points: {100 * number(curve, 'gain') / abs(start):.2g} % in a straight line",
        ),
    ]
    if other is not None:
        evidence.append(
            point(other, last(other), f"{other.name} goes from {other.values[first(other)]:.5g} to {other.values[last(other)]:.5g}")
        )
    proven = untrained or clean
    return Hit(evidence, curve.when(first(curve)), "high" if untrained else "medium" if proven else "low", None if proven else "note")


fires_on = [
    drawn("hardly leaves ln 6", train__loss=line(1.792, 1.779, 40, noise=0.0004), val__loss=line(1.791, 1.774, 40)),
    drawn("a clean line at another level", train__loss=line(0.910, 0.895, 60, noise=0.0003)),
    drawn("fifteen points", train__loss=line(0.910, 0.890, 15)),
    drawn("near ln 6, with noise", train__loss=line(1.820, 1.780, 100, noise=0.004)),
    drawn("a line forty times its noise", train__loss=line(0.910, 0.895, 60, noise=0.0004)),
    files(
        "warmed up elsewhere",
        metrics__csv="step,train/loss\n" + "".join(f"{100 + 15 * i},{v:.6f}\n" for i, v in enumerate(line(0.910, 0.895, 60, noise=0.0002))),
    ),
]
quiet_on = [
    drawn("an ordinary fall", train__loss=fall(1.79, 0.6, 60, noise=0.01)),
    drawn("flat at chance", train__loss=flat(math.log(6), 60, noise=0.004)),
    drawn("a straight fall that gets somewhere", train__loss=line(1.79, 1.2, 60, noise=0.01)),
    drawn("three points", loss=line(6.4, 6.3, 3)),
    files(
        "resumed",
        metrics__csv="step,train/loss\n" + "".join(f"{300 + 12 * i},{v:.6f}\n" for i, v in enumerate(line(0.910, 0.895, 60, noise=0.0002))),
    ),
    drawn("seven points", train__loss=line(0.910, 0.890, 7)),
    drawn("rewards", loss=line(0.910, 0.895, 60, noise=0.0003), episode_reward_mean=line(0, 5, 60)),
]
notes_on = [
    drawn("a line ten times its noise", train__loss=line(0.910, 0.895, 100, noise=0.0015)),
    drawn("not so near ln 6, with noise", train__loss=line(1.900, 1.870, 100, noise=0.003)),
]
