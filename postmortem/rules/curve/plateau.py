"""Training stopped improving far from any good result

Usual causes, most common first: a learning rate that is too high to settle, or decayed too early to move; a task the reward or the loss
does not lead to (sparse rewards, a wrong label mapping); a model that is too small or its exploration switched off; data that hold no
more.

To tell them apart: drop the learning rate tenfold for a few hundred steps from the last checkpoint. A step down means that it was too
high; no answer at all means that the signal is missing: look at what the model outputs.

This is not it: a model that has converged. A flat end is how every good run looks, so this is a warning only where a bounded score stayed
near its worst for the whole run, and a note where a steady fall broke off.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve, Unchecked
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.curve._losses import (
    BOUNDED,
    EVALUATION,
    finite,
    first,
    index,
    last,
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
    "Continue from the last checkpoint with a tenth of the learning rate for a few hundred steps: a step down means that it was too high.",
    "For a score that never leaves zero: check by hand that one good answer (one won episode) is counted as such.",
    "Overfit a handful of samples: if even they stay bad, the signal does not reach the weights.",
)
prevention = (
    "Reduce the learning rate on a plateau (`torch.optim.lr_scheduler.ReduceLROnPlateau`) and stop after two reductions without gain.",
)


@dataclass(frozen=True)
class Thresholds:
    points: float = limit(8, "points", "fewest points of a curve", "a break needs four points on either side")
    evaluations: float = limit(
        20, "evaluations", "fewest evaluations of a score that never got anywhere", "early evaluations of any run are poor"
    )
    settled: float = limit(
        0.6, "share", "a loss that finds nothing better after this share of the run has stopped", "40 % of the run bought nothing"
    )
    gain: float = limit(
        0.1,
        "share",
        "of a loss that the rest of the run may take off it",
        "3 % of the whole drop may be half of a loss that is nearly zero",
    )
    poor: float = limit(0.1, "share", "a bounded score whose trend never exceeds it got nowhere", "a tenth of what is possible")


def check(case: Case, limits: Thresholds) -> Iterator[Hit | Unchecked]:
    losses = val_losses(case) or train_losses(case)
    beside = scores(case, *EVALUATION)
    known = [c for c in scores(case) if c.metric in BOUNDED and finite(c) >= limits.evaluations]
    if not known:
        yield from too_short("plateau", losses, limits.points, "loss")
    poor = [c for c in known if _nowhere(c, limits)]
    if poor and len(poor) == len(known):
        curve = poor[0]
        begins, ends = told(curve, first(curve), number(curve, "start")), told(curve, last(curve), number(curve, "end"))
        text = f"{curve.name} ends at {ends} after {finite(curve)} evaluations; its trend never exceeds {number(curve, 'best'):.4g}"
        evidence = [point(curve, last(curve), text, primary=True), point(curve, first(curve), f"it began at {begins}")]
        yield Hit(evidence, curve.when(first(curve)), "medium", fix=(fix[1], fix[0], fix[2]))
        return
    if rewarded(case):
        return
    if any(c.shape.name == "still-improving" for c in [*(val_losses(case)), *beside]):
        return
    for curve in [*losses, *beside]:
        at = _stopped(curve, limits)
        if at is not None:
            share = 100 * (1 - share_at(curve, at))
            evidence = [
                point(curve, at, f"{curve.name} gets to {curve.values[at]:.4g} at {curve.where(at)}", primary=True),
                point(
                    curve,
                    last(curve),
                    f"and is at {told(curve, last(curve), number(curve, 'end'))} at the end: the last {share:.0f} % of the run brought no improvement",
                ),
            ]
            what = "loss" if curve.kind == "loss" else "validation score"
            yield Hit(evidence, curve.when(at), "low", "note", title=f"The {what} stopped improving well before the end of the run")
            return


def _stopped(curve: Curve, limits: Thresholds) -> int | None:
    """Where a loss that had fallen stopped: at the break of a plateau, or where nothing better came in the rest of a long run."""
    if curve.shape.name == "plateau":
        return curve.shape.onset
    settled = index(curve, "settled")
    long_ago = share_at(curve, settled) < limits.settled and finite(curve) >= limits.evaluations
    level = float(curve.values[int(limits.settled * (len(curve) - 1))])
    if curve.kind == "loss" and number(curve, "best") < (1 - limits.gain) * level - 2 * number(curve, "raw_noise"):
        return None
    return settled if long_ago and curve.shape.name in ("converging", "noisy-falling", "staircase", "hockey-stick") else None


def _nowhere(curve: Curve, limits: Thresholds) -> bool:
    """A bounded score that stayed near its worst, and does not rise at its end."""
    top = 1.0 if np.nanmax(curve.values) <= 1.0 else 100.0
    rising = curve.shape.name in ("still-improving", "warm-up")
    return number(curve, "best") < limits.poor * top and np.nanmin(curve.values) >= 0 and not rising


fires_on = [
    drawn("never wins", win_rate=np.clip(flat(0.01, 120, noise=0.01), 0, 1)),
    drawn("accuracy at chance of 20 classes to the end", train__loss=fall(3.2, 2.9, 60), val__accuracy=flat(0.05, 60, noise=0.005)),
    drawn("in percent", train__loss=fall(3.2, 2.9, 60), val__accuracy=flat(5.0, 60, noise=0.5)),
    drawn("thirty evaluations", win_rate=np.clip(flat(0.06, 30, noise=0.005), 0, 1)),
]
quiet_on = [
    drawn("half of the run bought nothing: a note", train__loss=join(fall(2.3, 1.2, 60), flat(1.2, 140, noise=0.01))),
    drawn("a steady fall that breaks off: a note", train__loss=join(line(2.3, 1.2, 40, noise=0.01), flat(1.2, 80, noise=0.01))),
    drawn("converged", train__loss=fall(2.3, 0.4, 120, noise=0.01), val__loss=fall(2.3, 0.6, 120, noise=0.01)),
    drawn("a late start", win_rate=join(flat(0.0, 60), line(0, 0.9, 60))),
    drawn("five evaluations", train__loss=fall(2.3, 0.4, 60), val__map=flat(0.01, 5)),
    drawn("a dozen evaluations", win_rate=np.clip(flat(0.02, 12, noise=0.005), 0, 1)),
    drawn("a fifth of the games", win_rate=np.clip(flat(0.2, 120, noise=0.01), 0, 1)),
    drawn(
        "another score is good",
        train__loss=fall(3.2, 2.9, 60),
        val__accuracy=flat(0.05, 60, noise=0.005),
        val__auc=flat(0.9, 60, noise=0.004),
    ),
    drawn("rises in the end", win_rate=np.clip(line(0, 0.09, 60), 0, 1)),
    drawn("rewards have no best of their own", loss=fall(2.3, 1.2, 60), episode_reward_mean=flat(0.05, 60, noise=0.002)),
    drawn("minus one, for classes of which there is none", train__loss=fall(2.3, 1.2, 60), val__map=flat(-1.0, 60)),
]
unchecked_on = [drawn("six points", train__loss=join(line(2.3, 1.2, 3), flat(1.2, 3)))]
notes_on = [
    drawn("nothing better after two fifths", train__loss=join(fall(2.3, 1.2, 60), flat(1.2, 140, noise=0.01))),
    drawn("a twentieth of what is left", train__loss=join(fall(10, 0.5, 60), line(0.5, 0.476, 140))),
    drawn("a break in sixteen points", train__loss=join(line(2.3, 1.2, 8, noise=0.005), flat(1.2, 10, noise=0.005))),
]
silent_on = [
    drawn("a fifth of what is left", train__loss=join(fall(10, 0.5, 60), line(0.5, 0.4, 140))),
    drawn("one over the step: little of the drop, most of what is left", train__loss=2 / (1 + np.arange(400) / 2)),
    drawn("something better to the end", train__loss=fall(2.3, 1.2, 200)),
    drawn("the score goes on rising", train__loss=join(fall(2.3, 1.2, 60), flat(1.2, 140, noise=0.01)), val__accuracy=line(0.1, 0.9, 200)),
    drawn("sixteen points", train__loss=join(fall(2.3, 1.2, 6), flat(1.2, 10, noise=0.005))),
    drawn("never got better at all", train__loss=flat(2.3, 60, noise=0.01)),
    drawn("rewards", loss=join(fall(2.3, 1.2, 60), flat(1.2, 140, noise=0.01)), episode_reward_mean=line(0, 5, 200)),
]
