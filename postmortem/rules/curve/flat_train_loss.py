"""The training loss never left its start

Usual causes, most common first: the gradient does not reach the weights (a detached tensor, `requires_grad=False`, an optimizer that was
given other parameters); a learning rate of zero or far too small; a learning rate so high that the first steps killed the model (dead
units, saturated logits); labels that have nothing to do with the inputs; inputs that are constant or not normalised; a softmax or
sigmoid in the model in front of a loss that applies its own.

To tell them apart: parameters that do not change are a broken path or a zero learning rate; parameters that change while the loss stays
at ln(number of classes) are dead units or random labels. Overfit one batch of 8 samples: a healthy model gets it to zero in 100 steps.

This is not it: a resumed or fine-tuned model that stands at its floor from the first step, a component loss that is zero by design, a
printed 0.0000 that is only rounding, a loss that is dominated by batch noise for the few points there are.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve, Evidence, Unchecked
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.curve._losses import FALLING, finite, first, index, last, number, scores, told, too_short, train_losses, val_losses
from postmortem.rules.curve._stuck import apart, beside, reached, repeated, share
from postmortem.rules.examples import Example, drawn, fall, files, flat, join, line

severity = "error"
explains = (
    "constant-val-loss",
    "plateau",
    "hockey-stick",
    "knows-nothing",
    "interrupted",
    "oscillation",
    "forgetting",
    "lr-never-decays",
    "degenerate-output",
)
fix = (
    "Overfit one batch of 8 samples with regularisation off: if its loss stays too, the gradient does not reach the weights.",
    "Check the path: after `loss.backward()` every `p.grad` must be there and not zero, and `optimizer.param_groups` must hold the "
    "same tensors as `model.parameters()`.",
    "Try the learning rate 10 times smaller and 10 times larger for 100 steps each; initialise anew, for dead units do not come back.",
    "Look at one batch as the model sees it: inputs normalised, labels that belong to them.",
)
prevention = ("Overfit one batch before every long run, and stop when the loss has not left its start after the first tenth.",)

BY_HEART = (
    "The training loss gives way by a few percent only and validation not at all: the model learns single samples by heart because there is "
    "nothing else to learn. Most often the labels do not belong to the inputs: shuffled or sorted apart, off by one row after a filter, joined "
    "on the wrong key; then inputs that are constant or not normalised."
)
CLASSES = ("num_classes", "n_classes", "num_labels", "nb_classes", "nclass", "nclasses", "n_class", "num_class", "classes")
STAYS = (
    "flat",
    "hockey-stick",
    "plateau",
    "constant",
    "oscillation",
    "noisy-falling",
    "spike",
    "converging",
    "turn",
    "warm-up",
    "staircase",
)


@dataclass(frozen=True)
class Thresholds:
    points: float = limit(10, "points", "fewest points of a training loss", "a slow start of ten points is common")
    at_chance: float = limit(
        0.85,
        "share",
        "share of the run that the loss spent within 2 % of ln(classes)",
        "the rest is the drop of the first steps from a bad initialisation",
    )
    start: float = limit(
        1.25,
        "times",
        "greatest start of a loss that is said to have stayed at chance, over ln(classes)",
        "untrained networks begin 0 to 20 % above it",
    )
    calm: float = limit(
        0.02,
        "share",
        "noise of a loss at chance: predictions that do not depend on the input make all batches alike",
        "four runs at chance: 0.1 to 0.7 %",
    )
    known: float = limit(
        2.0,
        "times",
        "an accuracy this often the chance of 1/classes says that something was learned",
        "field notes: a coincidence with ln k is likely between 5 and 20 classes",
    )
    little: float = limit(
        0.03,
        "share",
        "distance of the training loss from ln(classes) at its end, where validation never left it",
        "a small network learns so much of random labels in a dozen epochs",
    )
    enough: float = limit(20, "points", "fewest points for a verdict without a chance level", "batch noise hides the trend of fewer")
    faded: float = limit(
        0.01,
        "share",
        "of its first level that is left of the gradient norm in the end",
        "a loss that falls takes its gradient down tenfold at most",
    )
    alike: float = limit(
        3, "epochs", "fewest last epochs with the very same loss", "averages over batches agree in four digits by chance once in 10,000"
    )
    few: float = limit(5, "epochs", "fewest epochs right at ln(classes)", "their losses are averages: a slow start moves within five")
    right_at: float = limit(
        0.003, "share", "of ln(classes) that the losses of so few epochs may be away from it", "four runs at chance: 0.1 to 0.7 % of noise"
    )
    least: float = limit(0.05, "loss", "a constant below it may be rounding", "0.0000 is printed by healthy runs")


def check(case: Case, limits: Thresholds) -> Iterator[Hit | Unchecked]:
    training = train_losses(case)
    for curve in training:
        if finite(curve) < limits.points and apart(curve) and (hit := _short(case, curve, limits)) is not None:
            yield hit
            return
    yield from too_short("flat-train-loss", training, limits.points, "training loss")
    for curve in training:
        if finite(curve) < limits.points or (curve.step(first(curve)) or 0) > 0.2 * (curve.step(last(curve)) or 1):
            continue  # too short, or a part of a longer run: a model that stands at its floor
        hit = _at_chance(case, curve, limits) or _constant(curve, limits) or _flat(case, curve, limits)
        if hit is not None:
            yield hit
            return
    yield from _by_heart(case, training, limits)


def _short(case: Case, curve: Curve, limits: Thresholds) -> Hit | None:
    """A run of a few epochs tells it only by a loss that repeats itself, or that is right at ln(k)."""
    level = math.log(max(1.0, number(curve, "chance")))
    right_at = finite(curve) >= limits.few and bool((np.abs(curve.values - level) <= limits.right_at * level).all())
    hit = repeated(case, curve, limits.alike, limits.calm, limits.least)
    return _at_chance(case, curve, limits) if hit is None and right_at else hit


def _by_heart(case: Case, training: list[Curve], limits: Thresholds) -> Iterator[Hit]:
    """Validation at ln(k) from beginning to end beside a training loss that gains a few percent: what is learned holds for no other sample."""
    for curve in val_losses(case):
        classes = number(curve, "chance")
        if not classes > 1 or number(curve, "at_chance") < 1 or curve.shape.name not in STAYS or finite(curve) < limits.points:
            continue
        level = math.log(classes)
        near = [c for c in training if finite(c) >= limits.points and abs(number(c, "end") / level - 1) < limits.little]
        rates = [c for c in scores(case) if c.metric == "accuracy" and finite(c) >= 3]
        told_so = bool(rates) or case.number(*CLASSES) == classes
        if not told_so or len(near) < len(training) or not near or any(share(c) > limits.known / classes for c in rates):
            continue
        text = f"{curve.name} is {curve.values[first(curve)]:.4g} at {curve.where(first(curve))} and {curve.values[last(curve)]:.4g} at the end"
        small = f"{near[0].name} got no further than {told(near[0], last(near[0]), number(near[0], 'end'))}"
        evidence = [
            point(curve, first(curve), f"{text}: ln({classes:g}) = {level:.4g}, the loss of guessing", primary=True),
            point(near[0], last(near[0]), small),
            *beside(case, rates),
        ]
        title = f"Nothing was learned that holds for validation: its loss stays at chance level, ln({classes:g})"
        yield Hit(evidence, curve.when(first(curve)), "medium", "warning", title=title, cause=BY_HEART, fix=(*fix[3:], *fix[:3]))
        return


def _at_chance(case: Case, curve: Curve, limits: Thresholds) -> Hit | None:
    """A loss that sits at ln(k): the model answers the same whatever it is shown."""
    classes = number(curve, "chance")
    if not classes > 1 or number(curve, "at_chance") < limits.at_chance or curve.shape.name not in STAYS:
        return None
    chance = math.log(classes)
    begin, end = float(curve.values[first(curve)]), number(curve, "end")
    if begin > limits.start * chance or number(curve, "raw_noise") > limits.calm * chance:
        return None
    rates = [c for c in scores(case) if c.metric == "accuracy" and finite(c) >= 3]
    guesses = [c for c in rates if share(c) <= limits.known / classes]
    if rates and not guesses:
        return None
    at = first(curve) if curve.shape.name != "hockey-stick" else (curve.shape.onset or 0)
    evidence = [
        point(
            curve,
            at,
            f"{curve.name} is {curve.values[at]:.4g} at {curve.where(at)}: ln({classes:g}) = {chance:.4g}, the loss of guessing "
            f"among {classes:g} classes",
            primary=True,
        ),
        *reached(curve, at),
        point(curve, last(curve), f"it is still {told(curve, last(curve), end)} after {finite(curve)} points"),
        *beside(case, guesses),
    ]
    return Hit(evidence, curve.when(at), "high", title=f"The training loss stays at chance level, ln({classes:g})")


def _constant(curve: Curve, limits: Thresholds) -> Hit | None:
    value = float(curve.values[first(curve)])
    if curve.shape.name != "constant" or abs(value) < limits.least:
        return None
    text = f"{curve.name} is {value:.6g} in all {finite(curve)} points, from {curve.where(first(curve))} to {curve.where(last(curve))}"
    return Hit([point(curve, first(curve), text, primary=True)], curve.when(first(curve)), "high")


def _flat(case: Case, curve: Curve, limits: Thresholds) -> Hit | None:
    """Flat at no known level: a warning only where validation is flat too and the noise cannot hide a trend."""
    enough = limits.points if _stands_still(case) else limits.enough
    if curve.shape.name != "flat" or finite(curve) < enough or abs(number(curve, "end")) < limits.least:
        return None
    others = [c for c in [*val_losses(case), *scores(case)] if finite(c) >= 5]
    if any(c.shape.name in FALLING for c in others):
        return None  # something was learned
    still = [c for c in others if c.shape.name in ("flat", "constant")]
    calm = number(curve, "raw_noise") < limits.calm * abs(number(curve, "end"))
    faded = _faded(case, limits)
    proven = (calm and bool(still) and len(still) == len(others)) or (bool(faded) and len(still) == len(others))
    evidence = [
        point(curve, first(curve), f"{curve.name} begins at {told(curve, first(curve), number(curve, 'start'))}", primary=True),
        *reached(curve, first(curve)),
        point(
            curve,
            last(curve),
            f"and ends at {told(curve, last(curve), number(curve, 'end'))} after {finite(curve)} points, at best {number(curve, 'best'):.4g} at "
            f"{curve.where(index(curve, 'at_best'))}",
        ),
        *beside(case, still),
        *faded,
    ]
    return Hit(evidence, curve.when(first(curve)), "medium" if proven else "low", "warning" if proven else "note")


def _stands_still(case: Case) -> bool:
    """Whether a training accuracy is the very same number all the time, neither 0 nor full: then no batch noise hides a trend."""
    rates = [c for c in scores(case, "train") if c.metric == "accuracy" and c.shape.name == "constant"]
    return any(0 < c.values[0] < 1 or 1 < c.values[0] < 100 for c in rates)


def _faded(case: Case, limits: Thresholds) -> list[Evidence]:
    """A gradient norm that is down to nothing: the model answers the same whatever it is shown, although its loss never fell."""
    norm = case.one("grad_norm")
    if norm is None or finite(norm) < limits.enough or not np.isfinite(norm.values).all():
        return []
    part = max(2, len(norm) // 10)
    start, end = float(np.median(norm.values[:part])), float(np.median(norm.values[-part:]))
    if end >= limits.faded * start or start <= 0:
        return []
    text = f"{norm.name} faded from {start:.3g} to {end:.3g} meanwhile: what comes out no longer depends on what goes in"
    return [point(norm, last(norm), text)]


def epochs(note: str, losses: list[float], rates: list[float] | None = None, head: str = "epoch") -> Example:
    """A short run: its loss, and perhaps its accuracy, once an epoch."""
    rows = zip(losses, rates or losses, strict=True)
    names = f"{head},train_loss" + (",train_accuracy" if rates else "")
    lines = "".join(f"{i},{a}" + (f",{b}\n" if rates else "\n") for i, (a, b) in enumerate(rows, 1))
    return files(note, metrics__csv=f"{names}\n{lines}")


fires_on = [
    drawn("at ln 10 from the start", train__loss=flat(math.log(10), 60, noise=0.004), val__loss=flat(math.log(10), 60, noise=0.002)),
    drawn("falls to ln 1000 at once and stays", loss=join(line(7.5, 6.92, 3), flat(math.log(1000), 100, noise=0.01))),
    drawn("the same number each time", train__loss=flat(0.8231, 30)),
    drawn("fifteen points at ln 10", train__loss=flat(math.log(10), 15, noise=0.004), val__loss=flat(math.log(10), 15, noise=0.002)),
    drawn("at ln 10, with some noise", train__loss=flat(math.log(10), 60, noise=0.025)),
    drawn(
        "at ln 10, and the accuracy is a lucky guess",
        train__loss=flat(math.log(10), 15, noise=0.004),
        val__accuracy=flat(0.15, 15, noise=0.003),
    ),
    drawn("a tenth, each time", train__loss=flat(0.1, 30)),
    drawn("a ranking no better than a coin", train__loss=flat(math.log(10), 60, noise=0.004), val__auc=flat(0.5, 60, noise=0.003)),
    drawn("two evaluations say little", train__loss=flat(math.log(10), 60, noise=0.004), val__accuracy=flat(0.3, 2)),
    drawn("an accuracy in percent", train__loss=flat(math.log(10), 60, noise=0.004), val__accuracy=flat(12, 60, noise=0.3)),
    epochs("four epochs", [4.6172, 4.6231, 4.6231, 4.6231], [0.3412, 0.3415, 0.3415, 0.3415]),
    epochs("nine epochs", [0.6931] * 9),
    epochs("five epochs right at ln 1000", [6.9201, 6.9078, 6.9079, 6.9077, 6.9078], [0.0011, 0.0009, 0.0010, 0.0012, 0.0010]),
]
quiet_on = [
    epochs("four epochs right at ln 1000", [6.9084, 6.9078, 6.9079, 6.9077]),
    epochs("five epochs, slow from ln 1000", [6.9084, 6.9011, 6.8902, 6.8760, 6.8541]),
    epochs("five epochs about ln 1000", [6.9391, 6.9078, 6.9179, 6.8877, 6.9078]),
    epochs("three epochs", [4.6231, 4.6231, 4.6231]),
    epochs("the last two", [4.6172, 4.6191, 4.6231, 4.6231]),
    epochs("learned first", [4.9172, 4.6231, 4.6231, 4.6231]),
    epochs("two digits", [0.69, 0.69, 0.69, 0.69]),
    epochs("nearly nothing", [0.03127, 0.03127, 0.03127, 0.03127]),
    epochs("the score goes on", [4.6172, 4.6231, 4.6231, 4.6231], [0.31, 0.36, 0.38, 0.40]),
    epochs("once an epoch is not said", [4.6172, 4.6231, 4.6231, 4.6231], head="step"),
    drawn(
        "a dozen epochs, all right from the first",
        train__loss=flat(0.0731, 12, noise=0.0002),
        train__accuracy=flat(1.0, 12),
        val__loss=flat(0.075, 12, noise=0.0002),
    ),
    drawn("a gradient that fades with the loss", train__loss=fall(2.3, 0.4, 80, noise=0.01), grad_norm=15 * np.exp(-np.linspace(0, 7, 80))),
    drawn("near ln 5 by chance", train__loss=np.linspace(1.64, 1.590, 12), val__loss=1.611 + 0.001 * np.sin(np.arange(12) * 2.0)),
    drawn("near ln 5, and half is right", train__loss=np.linspace(1.64, 1.590, 12), val__loss=flat(1.611, 12), val__accuracy=flat(0.5, 12)),
    drawn(
        "learned in training",
        train__loss=fall(1.64, 0.9, 12),
        val__loss=1.611 + 0.001 * np.sin(np.arange(12) * 2.0),
        val__accuracy=flat(0.2, 12),
    ),
    drawn("slow but sure", train__loss=line(2.3, 1.6, 60, noise=0.01)),
    drawn("ends near ln 4 by coincidence", train__loss=fall(3.4, math.log(4), 80, noise=0.01)),
    drawn("near ln 8, and the accuracy is good", train__loss=flat(math.log(8), 60, noise=0.01), val__accuracy=line(0.6, 0.8, 60)),
    drawn("component that is zero by design", train__loss=fall(2.3, 0.4, 50), train__cls_loss=flat(0.0, 50)),
    drawn("printed zeros", loss=flat(0.0, 40)),
    drawn("two points", loss=flat(2.3, 2)),
    drawn("eight points at ln 10", train__loss=flat(math.log(10), 8, noise=0.004)),
    drawn("comes down to ln 10 in two fifths of the run", train__loss=join(line(2.8, 2.4, 40), flat(math.log(10), 60, noise=0.004))),
    drawn("begins half again as high", train__loss=join(line(3.5, 2.4, 3), flat(math.log(10), 97, noise=0.004))),
    drawn("at ln 10 with the noise of batches", train__loss=flat(math.log(10), 19, noise=0.06)),
    drawn("at ln 10 on average, with the noise of batches", train__loss=flat(math.log(10), 300, noise=0.1)),
    drawn("creeps down from ln 6", train__loss=line(1.810, 1.780, 60, noise=0.0004)),
    drawn("at ln 10, and a third is right", train__loss=flat(math.log(10), 15, noise=0.004), val__accuracy=flat(0.35, 15, noise=0.003)),
    files(
        "a part of a longer run",
        metrics__csv="step,train/loss\n" + "".join(f"{300 + 12 * i},{v:.6f}\n" for i, v in enumerate(flat(math.log(10), 60, noise=0.004))),
    ),
    drawn("three hundredths, each time", train__loss=flat(0.03, 30)),
    drawn("three hundredths, validation too", train__loss=flat(0.03, 60, noise=0.0001), val__loss=flat(0.03, 60, noise=0.0001)),
    drawn("no known level, fifteen points", train__loss=flat(0.84, 15, noise=0.004), val__loss=flat(0.86, 15, noise=0.004)),
    drawn("no known level, and something was learned", train__loss=flat(0.84, 60, noise=0.004), val__accuracy=fall(0.1, 0.9, 60)),
]
GUESSED = 1.611 + 0.001 * np.sin(np.arange(12) * 2.0)
FEW_PERCENT = np.linspace(1.64, 1.590, 12)
SURE = flat(0.2, 12, noise=0.004)
_still = flat(0.97, 80, noise=0.04)
quiet_on += [
    drawn("random labels, a twentieth learned", train__loss=np.linspace(1.64, 1.53, 12), val__loss=GUESSED, val__accuracy=SURE),
    drawn("validation came down to ln 5", train__loss=FEW_PERCENT, val__loss=np.r_[1.75, GUESSED[1:]], val__accuracy=SURE),
    drawn("validation creeps down through ln 5", train__loss=FEW_PERCENT, val__loss=np.linspace(1.63, 1.592, 12), val__accuracy=SURE),
    drawn("eight evaluations at ln 5", train__loss=FEW_PERCENT, val__loss=GUESSED[:8], val__accuracy=SURE),
    drawn("eight points of training, validation at ln 5", train__loss=FEW_PERCENT[::2], val__loss=GUESSED, val__accuracy=SURE),
    drawn("another training loss falls", train__loss=FEW_PERCENT, loss=fall(1.64, 0.9, 12), val__loss=GUESSED, val__accuracy=SURE),
    drawn("validation alone at ln 5", val__loss=GUESSED, val__accuracy=SURE),
    drawn("no word on the accuracy", train__loss=FEW_PERCENT, val__loss=GUESSED, val__f1=SURE),
    drawn("two accuracies are no word", train__loss=FEW_PERCENT, val__loss=GUESSED, val__accuracy=SURE[:2]),
]
warns_on = [
    drawn(
        "a dozen epochs, and the training accuracy is the same to the last digit",
        train__loss=flat(0.731, 12, noise=0.0002),
        train__accuracy=flat(0.462, 12),
        val__loss=flat(0.745, 12, noise=0.0002),
        val__accuracy=flat(0.447, 12),
    ),
    drawn("random labels, a fiftieth learned", train__loss=np.linspace(1.64, 1.575, 12), val__loss=GUESSED, val__accuracy=SURE),
    drawn("the gradient has faded to a 150th", train__loss=_still, grad_norm=15 * np.exp(-np.linspace(0, 5.4, 80))),
    drawn(
        "at the variance of the targets, and the gradient has faded",
        train__loss=flat(0.97, 80, noise=0.04),
        grad_norm=15 * np.exp(-np.linspace(0, 7, 80)),
    ),
    drawn("random labels, learned by heart", train__loss=FEW_PERCENT, val__loss=GUESSED, val__accuracy=flat(0.2, 12, noise=0.004)),
    files(
        "the configuration tells the classes",
        config__yaml="num_classes: 5\n",
        metrics__csv="epoch,train_loss,val_loss\n"
        + "".join(f"{i},{a},{b}\n" for i, (a, b) in enumerate(zip(FEW_PERCENT, GUESSED, strict=True))),
    ),
    drawn("no known level, validation flat too", train__loss=flat(0.84, 60, noise=0.004), val__loss=flat(0.86, 60, noise=0.004)),
    drawn("no known level, thirty points", train__loss=flat(0.84, 30, noise=0.004), val__loss=flat(0.86, 30, noise=0.004)),
    drawn(
        "no known level, and three accuracies",
        train__loss=flat(0.84, 60, noise=0.004),
        val__loss=flat(0.86, 60, noise=0.004),
        val__accuracy=line(0.50, 0.51, 3),
    ),
]
unchecked_on = [drawn("eight points of a loss", train__loss=flat(0.84, 8, noise=0.004))]
notes_on = [
    drawn("the gradient is a fiftieth of what it was", train__loss=_still, grad_norm=15 * np.exp(-np.linspace(0, 4.2, 80))),
    drawn("a gradient of twelve points", train__loss=_still, grad_norm=15 * np.exp(-np.linspace(0, 7, 12))),
    drawn("a gradient that was no number once", train__loss=_still, grad_norm=np.r_[15 * np.exp(-np.linspace(0, 7, 79)), np.nan]),
    drawn("no known level, and noise that may hide a trend", train__loss=flat(0.84, 60, noise=0.03), val__loss=flat(0.86, 60, noise=0.004)),
    drawn("no known level, no validation", train__loss=flat(0.84, 60, noise=0.004)),
    drawn(
        "no known level, and a validation loss that rises",
        train__loss=flat(0.84, 60, noise=0.004),
        val__loss=line(0.9, 1.6, 60),
    ),
    drawn(
        "no known level, and an accuracy that swings",
        train__loss=flat(0.84, 60, noise=0.004),
        val__loss=flat(0.86, 60, noise=0.004),
        val__accuracy=0.5 + 0.2 * np.sin(np.arange(60) / 2),
    ),
]
