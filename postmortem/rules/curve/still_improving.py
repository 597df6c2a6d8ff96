"""The run stopped while it was still getting better

Usual causes, most common first: too few epochs or steps for the learning rate; a run that was cut short; early stopping with too little
patience; a learning rate so low that the planned length cannot do.

To tell them apart: compare the last step with the planned one. Reached, it is the plan; not reached, look at how the run ended. A curve
that falls in a straight line from beginning to end speaks for a learning rate that is too low.

This is not it: the slow gain that every curve has at its end, a run whose schedule had brought the learning rate to nothing, rewards that
rise and fall.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve, Unchecked
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.curve._losses import (
    BOUNDED,
    EVALUATION,
    among,
    falls_late,
    finite,
    first,
    index,
    last,
    late_gain,
    level_at,
    number,
    rewarded,
    scores,
    share_at,
    told,
    too_short,
    train_losses,
    val_losses,
)
from postmortem.rules.examples import drawn, fall, flat, join, line

severity = "warning"
explains: tuple[str, ...] = ()
fix = (
    "Continue from the last checkpoint (with the optimizer's and the scheduler's state) for as long again, and look once more.",
    "If the curve falls in a straight line, raise the learning rate two- to threefold as well.",
)
prevention = ("Choose the length by the curve: stop when the smoothed validation loss has gained less than 1 % in a tenth of the run.",)
OVER = ("turn", "divergence", "forgetting", "constant", "nan-death", "oscillation")  # nothing gets better at the end of such a curve
GOOD = ("still-improving", "converging", "warm-up", "noisy-falling", "staircase")


@dataclass(frozen=True)
class Thresholds:
    points: float = limit(8, "points", "fewest points of a curve", "a pace over the last fifth needs some")
    few: float = limit(5, "points", "the same for a note", "two points of the last quarter against two of the quarter before")
    each: float = limit(
        3, "points", "or each better than the one before, in training and in validation", "by chance once in 36 runs of three evaluations"
    )
    late: float = limit(
        0.02,
        "share",
        "gain of the last quarter over the quarter before that is worth a note, as a share of the level",
        "the prevention's 1 % in a tenth of the run, less its noise",
    )
    sure: float = limit(2.5, "times", "the same gain, in widths of its own error", "one flat curve in 160 shows it by chance")
    line: float = limit(
        2.3, "times", "or else the slope of the later half, in its own errors: a noisy curve shows it sooner", "one flat curve in 100"
    )
    pace: float = limit(
        0.5,
        "share",
        "pace of the last fifth over the average pace from which on the run was cut short",
        "an exponential fall has it after 1.5 time constants, with 22 % of its way still to go",
    )
    mild: float = limit(
        0.3, "share", "the same pace from which on it is worth a note", "an exponential fall has it after two time constants"
    )
    scheduled: float = limit(
        0.8,
        "share",
        "the same where the learning rate had decayed to nothing: the schedule was over",
        "a fall that has hardly slowed although the learning rate went to zero",
    )
    warming: float = limit(
        0.15,
        "share",
        "the same where the learning rate was still rising at the end: the run ended in its warm-up",
        "a warm-up is no training yet",
    )
    decayed: float = limit(
        0.1,
        "share",
        "last learning rate over the highest one, below which the schedule was over",
        "cosine and linear schedules end at 0 to 10 %",
    )
    gain: float = limit(0.05, "share", "fall of the loss as a share of its start that a curve must have made", "less is a slow burn")


def check(case: Case, limits: Thresholds) -> Iterator[Hit | Unchecked]:
    validation, training = val_losses(case), train_losses(case)
    rates = [c for c in scores(case, *EVALUATION) if c.metric in BOUNDED]
    judged, fitted = validation or rates, [] if rewarded(case) else training
    hit = _cut_short(case, judged, training, limits) or _late(judged, fitted, limits) or _each_better(judged, fitted, limits)
    if hit is not None:
        yield hit
    else:
        yield from too_short("still-improving", judged or training, limits.few, "loss")


def _each_better(validation: list[Curve], training: list[Curve], limits: Thresholds) -> Hit | None:
    """A note on a handful of points: in training and in validation each was better than the one before, the last one clearly."""
    short = [c for c in [*validation, *training] if limits.each <= finite(c) < limits.few]
    if not short or not any(among(c, validation) for c in short) or not any(among(c, training) for c in short):
        return None
    if any(finite(c) >= limits.few for c in [*validation, *training]) or not all(_rises(c) > limits.late for c in short):
        return None
    curve = next(c for c in short if among(c, validation))
    text = f"each of the {finite(curve)} points of {curve.name} is better than the one before; it ends at {curve.values[last(curve)]:.4g}"
    beside = next(c for c in short if among(c, training))
    evidence = [
        point(curve, last(curve), text, primary=True),
        point(beside, last(beside), f"so is each of {beside.name}; it ends at {beside.values[last(beside)]:.4g}"),
    ]
    return Hit(evidence, curve.when(last(curve)), "low", "note", title="The run was still getting better when it ended")


def _rises(curve: Curve) -> float:
    """How much better the last point is than the one before, as a share of it; 0 where any point was worse than the one before."""
    known = curve.values[np.isfinite(curve.values)]
    better = np.diff(known) if curve.direction == "up" else -np.diff(known)
    return float(better[-1]) / max(abs(float(known[-2])), 1e-12) if (better > 0).all() else 0.0


def _cut_short(case: Case, validation: list[Curve], training: list[Curve], limits: Thresholds) -> Hit | None:
    """The run ended at a good share of its average pace."""
    judged = [c for c in validation if finite(c) >= limits.points]
    if any(_stopped(c) for c in judged):
        return None
    schedule = case.one("lr")
    least = _least(schedule, limits)
    warming = least == limits.warming
    falling = [
        c
        for c in [*judged, *training]
        if finite(c) >= limits.points and c.shape.name in GOOD and (_clear(c, limits) or (warming and not _stopped(c)))
    ]
    if not falling or 2 * sum(_pace(c) > min(limits.mild, least) for c in judged or training) < len(judged or training):
        return None
    curve = max(falling, key=lambda c: (among(c, judged), _pace(c)))
    if _pace(curve) <= min(limits.mild, least):
        return None
    return _hit(curve, schedule if least != limits.pace else None, _pace(curve) > least and not rewarded(case))


def _late(validation: list[Curve], training: list[Curve], limits: Thresholds) -> Hit | None:
    """A note: the last quarter is clearly better than the one before, and no validation curve says the contrary."""
    judged = [c for c in validation if finite(c) >= limits.few]
    gains = [c for c in [*judged, *training] if finite(c) >= limits.few and _gains(c, limits)]
    if not gains or any(c.shape.name in OVER or late_gain(c)[1] < -1 for c in judged):
        return None
    curve = max(gains, key=lambda c: (among(c, judged), late_gain(c)[1]))
    share = late_gain(curve)[0]
    at = round(0.75 * last(curve))
    evidence = [
        point(
            curve,
            last(curve),
            f"{curve.name} ends at {told(curve, last(curve), level_at(curve, 1.0))}, at {curve.where(last(curve))}",
            primary=True,
        ),
        point(
            curve,
            at,
            f"at {curve.where(at)} it stood at {told(curve, at, level_at(curve, 0.75))}; the last quarter is {100 * share:.2g} % better "
            "than the one before",
        ),
    ]
    return Hit(evidence, curve.when(last(curve)), "low", "note", title="The run was still getting better, slowly, when it ended")


def _gains(curve: Curve, limits: Thresholds) -> bool:
    """Whether the last quarter is better than the one before: by a share of the level, or at the steady pace of a slow burn."""
    share, widths = late_gain(curve)
    steady = curve.shape.name == "slow-burn" and _pace(curve) > limits.pace
    sure = widths > limits.sure or falls_late(curve) > limits.line
    return sure and (share > limits.late or steady) and curve.shape.name not in OVER


def _least(schedule: Curve | None, limits: Thresholds) -> float:
    """The pace at which the run counts as cut short: higher where the learning rate had decayed, lower where it was still warming up."""
    if schedule is None or finite(schedule) < limits.points:
        return limits.pace
    end, highest = float(schedule.values[last(schedule)]), float(np.nanmax(schedule.values))
    if end < limits.decayed * highest:
        return limits.scheduled
    return limits.warming if end == highest > 2 * float(schedule.values[first(schedule)]) else limits.pace


def _stopped(curve: Curve) -> bool:
    """Whether a curve had its best well before its end."""
    return (
        curve.shape.name in ("turn", "divergence", "flat", "plateau", "hockey-stick", "constant")
        or share_at(curve, index(curve, "at_best")) < 0.8
    )


def _pace(curve: Curve) -> float:
    """Pace of the last fifth of a curve as a share of its average pace."""
    gain = number(curve, "gain")
    return number(curve, "late") / gain if gain > 0 else 0.0


def _clear(curve: Curve, limits: Thresholds) -> bool:
    """Whether that pace is beyond its own error, and the curve has got anywhere at all."""
    went = number(curve, "gain") > limits.gain * abs(number(curve, "start")) or curve.direction == "up"
    return (
        number(curve, "late") > 3 * number(curve, "late_error")
        and went
        and number(curve, "rise") < 0.1 * number(curve, "drop") + 2 * number(curve, "noise")
    )


def _hit(curve: Curve, over: Curve | None, loud: bool) -> Hit:
    at = int(0.8 * (len(curve) - 1))
    evidence = [
        point(
            curve,
            last(curve),
            f"{curve.name} ends at {told(curve, last(curve), number(curve, 'end'))}, its best level, at {curve.where(last(curve))}",
            primary=True,
        ),
        point(
            curve,
            at,
            f"in its last fifth it still moved from {told(curve, at, level_at(curve, 0.8))}, at {100 * _pace(curve):.0f} % of its average pace",
        ),
    ]
    if over is not None:
        stage = "it was still warming up" if over.values[last(over)] == np.nanmax(over.values) else "the schedule was over"
        evidence.append(point(over, last(over), f"{over.name} is {over.values[last(over)]:.3g} at the end: {stage}"))
    return Hit(evidence, curve.when(last(curve)), "medium" if loud else "low", None if loud else "note")


fires_on = [
    drawn("a straight line to the end", train__loss=line(1.38, 1.10, 30, noise=0.005), val__loss=line(1.38, 1.15, 30, noise=0.005)),
    drawn("cut off in mid-fall", train__loss=fall(2.4, 0.3, 200)[:50], val__loss=fall(2.4, 0.5, 200)[:50]),
    drawn("a score that rises each epoch", train__loss=line(1.2, 0.8, 12), val__map=line(0.59, 0.66, 12)),
    drawn("the schedule was over, yet it fell like a line", train__loss=line(2.4, 1.2, 60), lr=line(1e-3, 0, 60)),
    drawn("the schedule had a fifth to go", train__loss=fall(2.4, 0.3, 200)[:60], lr=line(1e-3, 2e-4, 60)),
    drawn("the learning rate was still rising", train__loss=fall(2.4, 0.3, 200)[:95], lr=line(0, 1e-3, 95)),
    drawn("a score in training alone is no reward", train__loss=line(1.2, 0.8, 12), val__loss=line(1.3, 0.95, 12)),
]
quiet_on = [
    drawn("converged", train__loss=fall(2.3, 0.4, 100, noise=0.01), val__loss=fall(2.3, 0.6, 100, noise=0.01)),
    drawn("validation has stopped", train__loss=line(2.3, 1.0, 60), val__loss=join(line(2.3, 1.5, 20), flat(1.5, 40, noise=0.01))),
    drawn("slow gain at the end", train__loss=3.0 + 8.0 / np.arange(1, 400) ** 0.5),
    drawn("four points", loss=line(2.3, 1.0, 4)),
    drawn("a slow burn", train__loss=line(1.792, 1.779, 40, noise=0.0004)),
    drawn("seven points", train__loss=line(2.3, 1.0, 7), val__loss=line(2.3, 1.2, 7)),
    drawn("rewards", loss=line(2.3, 1.0, 60), episode_reward_mean=line(0, 5, 60)),
    drawn("validation turns", train__loss=line(2.3, 1.0, 60), val__loss=join(line(2.3, 1.5, 30), line(1.5, 2.2, 30))),
    drawn("a noisy fall that has stopped", train__loss=join(fall(2.3, 1.0, 40, noise=0.03), flat(1.0, 60, noise=0.04))),
]
notes_on = [
    drawn("a third of its average pace", train__loss=fall(2.4, 0.3, 200)[:80]),
    drawn("the schedule was over", train__loss=fall(2.4, 0.3, 200)[:60], lr=line(1e-3, 5e-5, 60)),
    drawn("five points", train__loss=line(2.3, 1.0, 5), val__loss=line(2.3, 1.2, 5)),
    drawn("three points, each better", train__loss=line(2.3, 1.9, 3), val__loss=line(2.4, 2.1, 3)),
    drawn("four points, each better", train__loss=line(2.3, 1.9, 4), val__loss=line(2.4, 2.1, 4)),
]
silent_on = [
    drawn("noise", train__loss=flat(1.0, 60, noise=0.04)),
    drawn("stopped, after the schedule was over", train__loss=join(line(2.3, 1.0, 40), flat(1.0, 60, noise=0.005)), lr=line(1e-3, 0, 100)),
    drawn("a handful of points, up and down", train__loss=np.array([2.3, 2.1, 2.2]), val__loss=np.array([2.3, 2.2, 2.25])),
    drawn("two points", train__loss=line(2.3, 1.9, 2), val__loss=line(2.4, 2.1, 2)),
    drawn("three points, each better by a hair", train__loss=line(2.30, 2.26, 3), val__loss=line(2.30, 2.26, 3)),
    drawn("three points of the training loss alone", train__loss=line(2.3, 1.9, 3)),
]
