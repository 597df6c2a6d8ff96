"""The validation result is the same number at every evaluation

Usual causes, most common first: evaluation runs on a copy of the model that is never updated (a cached or exported model, a checkpoint
loaded each time, EMA weights that are never fed); the validation result is cached or computed once; the model's output does not depend on
its input (dead units, collapsed logits); the weights do not change at all.

To tell them apart: print a checksum of the weights that evaluation uses at two epochs. Same checksum: evaluation has the wrong model.
Another checksum but the same result: print two predictions; if they are equal for different inputs, the output has collapsed.

This is not it: a score that is 0 in the first epochs of detection, a score that has reached 100 %, a tiny validation set whose accuracy
can only take a few values while its loss moves.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve, Unchecked
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.curve._losses import EVALUATION, finite, first, last, matching, number, scores, train_losses, val_losses
from postmortem.rules.examples import drawn, fall, flat, join, line

severity = "error"
explains = ("plateau", "overfitting")
fix = (
    "Evaluate the live model: pass the object that the optimizer updates, not a copy, and call `model.eval()` on it.",
    "Compare `sum(p.double().sum().item() for p in model.parameters())` in training and in evaluation: they must agree, and change "
    "from epoch to epoch.",
    "Print two predictions for two different inputs: equal outputs mean dead units or collapsed logits, not a broken evaluation.",
)
prevention = ("Log a checksum of the weights and of the predictions on one fixed batch with every evaluation.",)


@dataclass(frozen=True)
class Thresholds:
    evaluations: float = limit(
        3,
        "evaluations",
        "a loss that is the same so often in a row, bit for bit, is no coincidence",
        "surgical probes: the same value three times",
    )
    scores: float = limit(
        5, "evaluations", "the same for a score, which can take few values on a small set", "a set of 100 samples has 101 accuracies"
    )
    learned: float = limit(0.05, "share", "fall of the training loss from which on it is evaluation that is broken", "5 % is beyond noise")


def check(case: Case, limits: Thresholds) -> Iterator[Hit | Unchecked]:
    losses = [c for c in val_losses(case) if finite(c) >= limits.evaluations]
    rates = [c for c in scores(case, *EVALUATION) if finite(c) >= limits.scores]
    if not losses and not rates:
        yield Unchecked("constant-val-loss", f"the run holds fewer than {limits.evaluations:g} evaluations")
        return
    moving = [c for c in losses if c.shape.name not in ("flat", "constant", "short")]
    for curve in [*losses, *(() if moving else rates)]:
        start = _frozen_from(curve)
        same = last(curve) - start + 1
        least = limits.evaluations if curve in losses else limits.scores
        whole = start == first(curve)
        if same < least or not whole or _saturated(curve) or (curve not in losses and curve.values[last(curve)] == 0):
            continue
        yield _hit(case, curve, start, same, limits)
        return


def _frozen_from(curve: Curve) -> int:
    """Index of the first point of the stretch at the end over which the curve does not change at all."""
    end = float(curve.values[last(curve)])
    other = np.flatnonzero(np.isfinite(curve.values) & (np.abs(curve.values - end) > 1e-9 * abs(end)))
    return int(other[-1]) + 1 if len(other) else first(curve)


def _saturated(curve: Curve) -> bool:
    """A score that is perfect, or a loss that is zero, has nowhere to go."""
    end = float(curve.values[last(curve)])
    return end in (1.0, 100.0) if curve.direction == "up" else end == 0.0


def _hit(case: Case, curve: Curve, start: int, same: int, limits: Thresholds) -> Hit:
    value = float(curve.values[last(curve)])
    evidence = [
        point(
            curve,
            start,
            f"{curve.name} is {value:.6g} in all {same} evaluations, from {curve.where(start)} to {curve.where(last(curve))}",
            primary=True,
        )
    ]
    training = matching(curve, train_losses(case))
    learns = training is not None and number(training, "gain") > limits.learned * abs(number(training, "start"))
    if training is not None:
        went = "falls" if learns else "goes"
        evidence.append(
            point(
                training,
                last(training),
                f"meanwhile {training.name} {went} from {number(training, 'start'):.4g} to {number(training, 'end'):.4g}",
            )
        )
    cause = (
        "The training loss falls while evaluation does not move by a digit: evaluation does not see the weights that training changes."
        if learns
        else "Neither training nor evaluation moves: the weights do not change, or the output no longer depends on the input."
    )
    return Hit(
        evidence,
        curve.when(start),
        "high" if learns or same > 2 * limits.evaluations else "medium",
        None if learns else "warning",
        cause=cause,
    )


fires_on = [
    drawn("evaluation has a frozen copy", train__loss=fall(2.3, 0.4, 20), val__loss=flat(2.3107, 20)),
    drawn("three evaluations", train__loss=fall(2.3, 0.9, 30), val__loss=flat(1.2345, 3)),
    drawn("accuracy alone", train__loss=fall(2.3, 0.4, 20), val__accuracy=flat(0.1, 20)),
]
quiet_on = [
    drawn("flat, but alive", train__loss=fall(2.3, 0.4, 20), val__loss=flat(2.31, 20, noise=0.002)),
    drawn("no detection yet", train__loss=fall(2.3, 0.4, 20), val__map=flat(0.0, 8)),
    drawn("perfect", train__loss=fall(2.3, 0.01, 20), val__accuracy=flat(1.0, 20)),
    drawn("small set whose loss moves", train__loss=fall(2.3, 0.4, 20), val__loss=fall(2.3, 0.9, 20), val__accuracy=flat(0.5, 20)),
    drawn("two evaluations", train__loss=fall(2.3, 0.4, 20), val__loss=flat(1.0, 2)),
    drawn("settles at the end", train__loss=fall(2.3, 0.4, 30), val__loss=join(line(2.3, 1.0, 24), flat(1.0, 3))),
]
