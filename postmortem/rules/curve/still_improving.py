"""The run stopped while it was still getting better

Usual causes, most common first: too few epochs or steps for the learning rate; a run that was cut short; early stopping with too little patience; a
learning rate so low that the planned length cannot do.

To tell them apart: compare the last step with the planned one. Reached, it is the plan; not reached, look at how the run ended. A curve that falls in a
straight line from beginning to end speaks for a learning rate that is too low.

This is not it: the slow gain that every curve has at its end, a run whose schedule had brought the learning rate to nothing, rewards that rise and
fall.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve, Unchecked
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.curve._losses import BOUNDED, EVALUATION, finite, last, level_at, number, rewarded, scores, too_short, train_losses, val_losses
from postmortem.rules.examples import drawn, fall, flat, join, line

severity = "warning"
explains: tuple[str, ...] = ()
fix = (
    "Continue from the last checkpoint (with the optimizer's and the scheduler's state) for as long again, and look once more.",
    "If the curve falls in a straight line, raise the learning rate two- to threefold as well.",
)
prevention = ("Choose the length by the curve: stop when the smoothed validation loss has gained less than 1 % in a tenth of the run.",)


@dataclass(frozen=True)
class Thresholds:
    points: float = limit(8, "points", "fewest points of a curve", "a pace over the last fifth needs some")
    pace: float = limit(0.5, "share", "pace of the last fifth over the average pace from which on the run was cut short", "an exponential fall has it after 1.5 time constants, with 22 % of its way still to go")
    scheduled: float = limit(0.8, "share", "the same where the learning rate had decayed to nothing: the schedule was over", "a fall that has hardly slowed although the learning rate went to zero")
    decayed: float = limit(0.1, "share", "last learning rate over the highest one, below which the schedule was over", "cosine and linear schedules end at 0 to 10 %")
    gain: float = limit(0.05, "share", "fall of the loss as a share of its start that a curve must have made", "less is a slow burn")


def check(case: Case, limits: Thresholds) -> Iterator[Hit | Unchecked]:
    validation, training = val_losses(case), train_losses(case)
    rates = [c for c in scores(case, *EVALUATION) if c.metric in BOUNDED]
    yield from too_short("still-improving", validation or rates or training, limits.points, "loss")
    judged = [c for c in (validation or rates or training) if finite(c) >= limits.points]
    if not judged:
        return
    falling = [c for c in judged if c.shape.name in ("still-improving", "warm-up", "noisy-falling") and _pace(c) > limits.pace and _clear(c, limits)]
    if not falling or 2 * len(falling) <= len(judged):
        return
    curve = max(falling, key=_pace)
    schedule = case.one("lr")
    over = schedule is not None and finite(schedule) >= 3 and schedule.values[last(schedule)] < limits.decayed * np.nanmax(schedule.values)
    loud = not rewarded(case) and (not over or _pace(curve) > limits.scheduled)
    yield _hit(curve, schedule if over else None, loud)


def _pace(curve: Curve) -> float:
    """Pace of the last fifth of a curve as a share of its average pace."""
    gain = number(curve, "gain")
    return number(curve, "late") / gain if gain > 0 else 0.0


def _clear(curve: Curve, limits: Thresholds) -> bool:
    """Whether that pace is beyond its own error, and the curve has got anywhere at all."""
    went = number(curve, "gain") > limits.gain * abs(number(curve, "start")) or curve.direction == "up"
    return number(curve, "late") > 3 * number(curve, "late_error") and went and number(curve, "rise") < 0.1 * number(curve, "drop") + 2 * number(curve, "noise")


def _hit(curve: Curve, over: Curve | None, loud: bool) -> Hit:
    at = int(0.8 * (len(curve) - 1))
    evidence = [
        point(curve, last(curve), f"{curve.name} ends at {number(curve, 'end'):.4g}, its best level, at {curve.where(last(curve))}", primary=True),
        point(curve, at, f"in its last fifth it still moved from {level_at(curve, 0.8):.4g}, at {100 * _pace(curve):.0f} % of its average pace"),
    ]
    if over is not None:
        evidence.append(point(over, last(over), f"{over.name} had come down to {over.values[last(over)]:.3g}: the schedule was over"))
    return Hit(evidence, curve.when(last(curve)), "medium" if loud else "low", None if loud else "note")


fires_on = [
    drawn("a straight line to the end", train__loss=line(1.38, 1.10, 30, noise=0.005), val__loss=line(1.38, 1.15, 30, noise=0.005)),
    drawn("cut off in mid-fall", train__loss=fall(2.4, 0.3, 200)[:50], val__loss=fall(2.4, 0.5, 200)[:50]),
    drawn("a score that rises each epoch", train__loss=line(1.2, 0.8, 12), val__map=line(0.59, 0.66, 12)),
]
quiet_on = [
    drawn("converged", train__loss=fall(2.3, 0.4, 100, noise=0.01), val__loss=fall(2.3, 0.6, 100, noise=0.01)),
    drawn("validation has stopped", train__loss=line(2.3, 1.0, 60), val__loss=join(line(2.3, 1.5, 20), flat(1.5, 40, noise=0.01))),
    drawn("slow gain at the end", train__loss=3.0 + 8.0 / np.arange(1, 400) ** 0.5),
    drawn("four points", loss=line(2.3, 1.0, 4)),
    drawn("a slow burn", train__loss=line(1.792, 1.779, 40, noise=0.0004)),
]
