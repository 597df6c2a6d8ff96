"""The validation result is the same number at every evaluation

Usual causes, most common first: evaluation runs on a copy of the model that is never updated (a cached or exported model, a checkpoint
loaded each time, EMA weights that are never fed); the validation result is cached or computed once; the model's output does not depend on
its input (dead units, collapsed logits); the weights do not change at all.

To tell them apart: print a checksum of the weights that evaluation uses at two epochs. Same checksum: evaluation has the wrong model.
Another checksum but the same result: print two predictions; if they are equal for different inputs, the output has collapsed.

This is not it: a score that is 0 in the first epochs of detection, a score that has reached 100 %, a tiny validation set whose accuracy
can only take a few values while its loss moves. Where the accuracy on the training samples stands still as well, the size of the
validation set is no excuse: the model answers with one class, whatever it is shown.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from postmortem.model import Curve, Unchecked
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.curve._losses import EVALUATION, finite, first, last, matching, number, scores, told, train_losses, val_losses
from postmortem.rules.examples import Example, drawn, fall, flat, join, line, log

severity = "error"
BITS = 1e-9  # spread, as a share of the level, up to which values are the same: float arithmetic on one number
explains = ("plateau", "overfitting")
fix = (
    "Evaluate the live model: pass the object that the optimizer updates, not a copy, and call `model.eval()` on it.",
    "Compare `sum(p.double().sum().item() for p in model.parameters())` in training and in evaluation: they must agree, and change "
    "from epoch to epoch.",
    "Print two predictions for two different inputs: equal outputs mean dead units or collapsed logits, not a broken evaluation.",
)
prevention = ("Log a checksum of the weights and of the predictions on one fixed batch with every evaluation.",)
ONE_ANSWER = (
    "The accuracy does not move by a digit while the loss does, and on the training samples it stands still too: the model gives the same "
    "answer whatever it is shown, most often the commonest class, and only grows more or less sure of it."
)
ONE_ANSWER_FIX = (
    "Count the predictions per class on 100 validation samples: all of one class proves it.",
    "Overfit 20 training samples, balanced by class: if even they get one answer, the input does not reach the output (dead units, a "
    "learning rate too high or too low, inputs that are not normalised, frozen layers).",
    "If the 20 can be learned, weight the loss by class or sample evenly, and judge by macro F1 instead of accuracy.",
)


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
    few: float = limit(3, "evaluations", "the same for a note on a score", "three in a row are worth a look, no more")
    pair: float = limit(
        2, "evaluations", "the same for a note where a loss and a score stand still together", "two coincidences at once are none"
    )
    rewards: float = limit(10, "points", "the same for a note on a reward", "no reward at all is common at first")
    rounding: float = limit(1e-5, "share", "spread of a loss that differs by rounding only", "printed with five or six digits")
    moves: float = limit(
        0.025,
        "share",
        "spread of a validation loss that goes nowhere, beside a training loss that is as flat, for a note",
        "the 2 % up to which a curve counts as flat, and a little noise",
    )
    unmoved: float = limit(
        8,
        "evaluations",
        "the same for an accuracy beside losses that move, where the accuracy on the training samples stands still too",
        "two sets, one of them too large for chance: eight rounds taught nothing",
    )
    scarce: float = limit(
        0.05, "share", "an accuracy below it may be that of a regression, where it means nothing", "chance among 20 classes"
    )
    common: float = limit(
        0.8, "share", "an accuracy above it may be that of a rare class not found yet, or a ceiling", "one in five is rare"
    )
    alike: float = limit(
        0.05, "share", "gain of the accuracy on training samples up to which it stands still", "batch noise, one sample in twenty"
    )
    learned: float = limit(0.05, "share", "fall of the training loss from which on it is evaluation that is broken", "5 % is beyond noise")


def check(case: Case, limits: Thresholds) -> Iterator[Hit | Unchecked]:
    losses = [c for c in val_losses(case) if finite(c) >= limits.pair and not _carried(case, c)]
    rates = [c for c in scores(case, *EVALUATION) if finite(c) >= limits.pair]
    rewards = [c for c in case.all("reward") if finite(c) >= limits.rewards]
    moving = [c for c in losses if c.shape.name not in ("flat", "constant", "short")]
    for curve, least in [*((c, limits.evaluations) for c in losses), *((c, limits.scores) for c in ([] if moving else rates))]:
        if finite(curve) >= least and _same(curve, BITS) and not _saturated(curve):
            yield _hit(case, curve, limits)
            return
    answer = _one_answer(case, limits)
    if answer is not None:
        yield answer
        return
    still = _standing(losses, rates, rewards, moving, limits) or _idle(case, losses, limits)
    if still is not None:
        yield replace(_hit(case, still, limits), severity="note", confidence="low", title=_title(still))
    elif not any(finite(c) >= limits.evaluations for c in [*losses, *rates, *rewards]):
        yield Unchecked("constant-val-loss", f"the run holds fewer than {limits.evaluations:g} evaluations")


def _carried(case: Case, curve: Curve) -> bool:
    """Whether it is one evaluation that is printed again on every line of the training (NeMo): on its lines, all within one epoch."""
    if curve.epochs is None or np.unique(curve.epochs[np.isfinite(curve.epochs)]).size != 1:
        return False
    return any(c.file == curve.file and bool(np.isin(curve.lines, c.lines).all()) for c in train_losses(case))


def _standing(losses: list[Curve], rates: list[Curve], rewards: list[Curve], moving: list[Curve], limits: Thresholds) -> Curve | None:
    """What stands still, though too short, too coarse or too often of good reason for more than a note."""
    same = [c for c in losses if _same(c, limits.rounding) and not _saturated(c)]
    fixed = [c for c in ([] if moving else rates) if _same(c, BITS) and not _saturated(c)]
    long = [c for c in same if finite(c) >= limits.evaluations] + [c for c in fixed if finite(c) >= limits.few]
    earned = [c for c in rewards if _same(c, BITS)]
    return next(iter([*long, *(same if fixed else []), *earned]), None)


def _one_answer(case: Case, limits: Thresholds) -> Hit | None:
    """An accuracy that never moves although the losses do, on validation and, but for its noise, on training samples: one class for all."""
    judged = [c for c in scores(case, *EVALUATION) if finite(c) >= limits.unmoved]
    own = [c for c in scores(case, "train", None) if c.metric == "accuracy" and finite(c) >= limits.unmoved]
    fixed = [
        c for c in judged if c.metric == "accuracy" and _same(c, BITS) and limits.scarce <= _part(c, number(c, "end")) <= limits.common
    ]
    if not fixed or not own or len(fixed) < len(judged):
        return None  # another score moves, or nothing is known of the training samples
    level = _part(fixed[0], number(fixed[0], "end"))
    lowest = [number(c, "end") for c in (val_losses(case) or train_losses(case))]
    if any(end < -math.log(level) for end in lowest):
        return None  # one answer for all has a cross-entropy of at least this
    if any(
        _part(c, number(c, "best") - number(c, "start")) > limits.alike or _part(c, number(c, "best")) > level + limits.alike for c in own
    ):
        return None  # training samples are told apart, or better than these: then the validation set may just be tiny
    hit = _hit(case, fixed[0], limits)
    gets = f"{own[0].name} gets from {number(own[0], 'start'):.4g} to {told(own[0], last(own[0]), number(own[0], 'end'))}"
    evidence = [*hit.evidence, point(own[0], last(own[0]), gets)]
    title = "The validation accuracy is the same number each time: one answer for all samples"
    return replace(hit, evidence=evidence, severity="warning", confidence="medium", title=title, cause=ONE_ANSWER, fix=ONE_ANSWER_FIX)


def _part(curve: Curve, value: float) -> float:
    """A value of an accuracy as a share of 1; it is in percent where the curve exceeds 1."""
    return value / 100 if np.nanmax(curve.values) > 1 else value


def _idle(case: Case, losses: list[Curve], limits: Thresholds) -> Curve | None:
    """A validation loss that goes nowhere beside a training loss that is flat."""
    training = train_losses(case)
    if not training or any(c.shape.name not in ("flat", "constant") for c in training):
        return None
    idle = [c for c in losses if c.shape.name == "flat" and _spread(c) < limits.moves]
    return idle[0] if idle else None


def _title(curve: Curve) -> str:
    what = "reward" if curve.metric == "reward" else "validation result"
    return f"The {what} is the same number each time" if _same(curve, BITS) else "The validation loss goes nowhere"


def _spread(curve: Curve) -> float:
    """Spread of the middle nine tenths of a curve, as a share of its level."""
    known = curve.values[np.isfinite(curve.values)]
    low, middle, high = np.quantile(known, (0.05, 0.5, 0.95))
    return float(high - low) / max(abs(float(middle)), 1e-300)


def _same(curve: Curve, share: float) -> bool:
    """Whether all finite points of a curve are the same but for a share of their level."""
    known = curve.values[np.isfinite(curve.values)]
    return len(known) > 0 and float(np.ptp(known)) <= share * abs(float(known[-1]))


def _saturated(curve: Curve) -> bool:
    """A loss that is zero and a score that is perfect have nowhere to go; a score that is zero has detected nothing yet."""
    end = float(curve.values[last(curve)])
    return end == 0.0 or (curve.direction == "up" and end in (1.0, 100.0))


def _hit(case: Case, curve: Curve, limits: Thresholds) -> Hit:
    value, start, same = float(curve.values[last(curve)]), first(curve), finite(curve)
    is_ = f"is {value:.6g} in" if _same(curve, BITS) else f"stays within {100 * _spread(curve):.2g} % of {value:.6g} over"
    text = f"{curve.name} {is_} all {same} evaluations, from {curve.where(start)} to {curve.where(last(curve))}"
    evidence = [point(curve, start, text, primary=True)]
    training = matching(curve, train_losses(case))
    learns = training is not None and number(training, "gain") > limits.learned * abs(number(training, "start"))
    if training is not None:
        went = "falls" if learns else "goes"
        evidence.append(
            point(
                training,
                last(training),
                f"meanwhile {training.name} {went} from {number(training, 'start'):.4g} to {told(training, last(training), number(training, 'end'))}",
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


def _answers(**other: np.ndarray) -> Example:
    """Thirty epochs in which the losses move and no accuracy does, but for what is told otherwise."""
    curves = {"loss": fall(0.72, 0.6, 30), "acc": flat(0.61, 30, noise=0.005), "val_loss": fall(0.7, 0.62, 30), "val_acc": flat(0.62, 30)}
    note = ", ".join(f"{name} otherwise" for name in other) or "one answer for all samples"
    return drawn(note, **(curves | other))


fires_on = [
    drawn("evaluation has a frozen copy", train__loss=fall(2.3, 0.4, 20), val__loss=flat(2.3107, 20)),
    drawn("three evaluations", train__loss=fall(2.3, 0.9, 30), val__loss=flat(1.2345, 3)),
    drawn("accuracy alone", train__loss=fall(2.3, 0.4, 20), val__accuracy=flat(0.1, 20)),
    drawn("six accuracies", train__loss=fall(2.3, 0.4, 20), val__accuracy=flat(0.1, 6)),
    drawn("the training loss falls by a tenth", train__loss=line(2.3, 2.05, 30), val__loss=flat(2.3107, 20)),
    drawn("a loss that happens to be one", train__loss=fall(2.3, 0.4, 20), val__loss=flat(1.0, 20)),
]
warns_on = [
    drawn("the training loss falls by three hundredths", train__loss=line(2.3, 2.235, 30), val__loss=flat(2.3107, 20)),
    drawn("nothing is said of training", val__loss=flat(2.3107, 20)),
    _answers(),
    _answers(acc=line(0.60, 0.64, 30)),
    drawn(
        "a tenth is right", loss=fall(2.4, 2.31, 30), acc=flat(0.1, 30, noise=0.004), val_loss=fall(2.6, 2.31, 30), val_acc=flat(0.1, 30)
    ),
    drawn(
        "one answer in percent, ten rounds",
        loss=fall(2.0, 1.7, 10),
        acc=flat(25, 10, noise=0.5),
        val_loss=fall(3.0, 1.65, 10),
        val_acc=flat(25, 10),
    ),
]
unchecked_on = [drawn("two evaluations", train__loss=fall(2.3, 0.4, 20), val__loss=flat(1.0, 2))]
quiet_on = [
    log(
        "".join(f"epoch 0, iteration {i}/149 | reduced_train_loss: {2 / (1 + 0.05 * i):.3f} | val_loss: 4.106\n" for i in range(120, 149)),
        note="one evaluation, on every line of the training that follows it",
    ),
    drawn("flat, but alive", train__loss=fall(2.3, 0.4, 20), val__loss=flat(2.31, 20, noise=0.002)),
    drawn("no detection yet", train__loss=fall(2.3, 0.4, 20), val__map=flat(0.0, 8)),
    drawn("perfect", train__loss=fall(2.3, 0.01, 20), val__accuracy=flat(1.0, 20)),
    drawn("small set whose loss moves", train__loss=fall(2.3, 0.4, 20), val__loss=fall(2.3, 0.9, 20), val__accuracy=flat(0.5, 20)),
    drawn("two evaluations", train__loss=fall(2.3, 0.4, 20), val__loss=flat(1.0, 2)),
    drawn("settles at the end", train__loss=fall(2.3, 0.4, 30), val__loss=join(line(2.3, 1.0, 24), flat(1.0, 3))),
]
notes_on = [
    drawn("four accuracies", train__loss=fall(2.3, 0.4, 20), val__accuracy=flat(0.1, 4)),
    drawn("two of both", train__loss=fall(2.3, 0.4, 20), val__loss=flat(2.3107, 2), val__accuracy=flat(0.1, 2)),
    drawn("a dozen rewards", loss=fall(2.3, 0.4, 20), episode_reward_mean=flat(5, 12)),
    drawn("the same but for rounding", train__loss=fall(2.3, 0.4, 20), val__loss=np.tile([2.31, 2.31001], 10)),
    drawn("neither moves", train__loss=flat(2.3, 40, noise=0.004), val__loss=flat(2.31, 40, noise=0.01)),
]
silent_on = [
    _answers(acc=line(0.61, 0.9, 30)),
    _answers(acc=line(0.61, 0.72, 30)),
    _answers(val_acc=flat(0.03, 30), val_loss=fall(9, 6, 30)),
    drawn(
        "an F1 says nothing of training",
        loss=fall(0.72, 0.6, 30),
        f1=flat(0.6, 30, noise=0.01),
        val_loss=fall(0.7, 0.62, 30),
        val_acc=flat(0.62, 30),
    ),
    drawn("no accuracy on validation", loss=fall(0.72, 0.6, 30), acc=flat(0.61, 30, noise=0.005), val_loss=fall(0.7, 0.62, 30)),
    _answers(acc=flat(0.61, 4)),
    _answers(val_auc=line(0.5, 0.8, 30)),
    _answers(val_acc=flat(0.85, 30), acc=flat(0.85, 30, noise=0.005)),
    _answers(acc=flat(0.8, 30, noise=0.005)),
    _answers(val_acc=flat(0.01, 30), val_loss=fall(9, 6, 30)),
    _answers(val_acc=flat(0.62, 30, noise=0.01)),
    _answers(val_loss=fall(0.7, 0.1, 30)),
    drawn(
        "six rounds of one answer",
        loss=fall(2.0, 1.7, 6),
        acc=flat(0.25, 6, noise=0.005),
        val_loss=fall(3.0, 1.65, 6),
        val_acc=flat(0.25, 6),
    ),
    drawn("two accuracies", train__loss=fall(2.3, 0.4, 20), val__accuracy=flat(0.1, 2)),
    drawn("one of both", train__loss=fall(2.3, 0.4, 20), val__loss=flat(2.3107, 1), val__accuracy=flat(0.1, 1)),
    drawn("one loss, two accuracies", train__loss=fall(2.3, 0.4, 20), val__loss=flat(2.3107, 1), val__accuracy=flat(0.1, 2)),
    drawn("two losses, one accuracy", train__loss=fall(2.3, 0.4, 20), val__loss=flat(2.3107, 2), val__accuracy=flat(0.1, 1)),
    drawn("an accuracy that moves", train__loss=fall(2.3, 0.4, 20), val__accuracy=line(0.3, 0.8, 20)),
    drawn("rewards that come", loss=fall(2.3, 0.4, 20), episode_reward_mean=line(0, 20, 20)),
    drawn("a loss of nothing", train__loss=fall(2.3, 0.4, 20), val__loss=flat(0.0, 20)),
    drawn("a flat validation loss alone", val__loss=flat(2.31, 40, noise=0.01)),
    drawn("validation creeps down in a line", train__loss=flat(2.3, 40, noise=0.004), val__loss=line(2.31, 2.27, 40, noise=0.001)),
    drawn("six rewards", loss=fall(2.3, 0.4, 20), episode_reward_mean=flat(5, 6)),
    drawn("a little more than rounding", train__loss=fall(2.3, 0.4, 20), val__loss=np.tile([2.31, 2.31005], 10)),
    drawn("neither gets anywhere, with noise", train__loss=flat(2.3, 40, noise=0.004), val__loss=flat(2.31, 40, noise=0.025)),
    drawn("neither moves in four evaluations", train__loss=flat(2.3, 40, noise=0.004), val__loss=line(2.31, 2.315, 4)),
    drawn("only validation goes nowhere", train__loss=fall(2.3, 0.4, 40), val__loss=flat(2.31, 40, noise=0.01)),
]
