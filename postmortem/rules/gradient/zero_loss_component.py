"""One part of the loss is exactly zero all the time

Usual causes, most common first: a mask or filter that selects nothing (wrong unit, wrong index, a threshold that no sample meets), a missing
`return`, a target of the wrong type, an angle converted twice (radians taken for degrees).

To tell them apart: count the samples that enter this part of the loss in one batch; if it is zero, look at the condition that selects them.

This is not it: a part that is switched off in the configuration, a classification loss with a single class, a value that is only rounded to
0.0000 in the log (told as a note where the log does not give its weight).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.examples import drawn, fall, flat, log

severity = "warning"
explains = ("plateau",)
fix = (
    "Print how many samples enter this part: `print(mask.sum())`; check units (radians or degrees), index ranges and dtypes of what selects them.",
    "Give the loss a unit test with a hand-made input whose value is known and not zero.",
)
prevention = ("Log raw and weighted parts of the loss, and assert in a smoke test that each part with a weight is above zero.",)


@dataclass(frozen=True)
class Thresholds:
    points: float = limit(3, "points", "fewer may be a late start by schedule", "three probes in a row")
    plain: float = limit(
        20, "points", "the same for ordinary logs, where no weight is known and it is only a note", "a whole epoch of usual logging"
    )


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    for curve in case.curves:
        if not len(curve) or not (curve.values == 0).all():
            continue
        weight = _weight(case, curve)
        if curve.metric.startswith("loss_component") and len(curve) >= limits.points:
            if weight is None or weight > 0:
                yield _hit(curve, "warning", "high" if weight else "medium", f" although its weight is {weight:g}" if weight else "")
        elif curve.kind == "loss" and len(curve) >= limits.plain and not curve.raw_name.endswith("_weighted"):
            yield _hit(curve, "note", "low", "")


def _weight(case: Case, curve: Curve) -> float | None:
    """The weight that was printed beside the part, None where none was."""
    name = curve.raw_name.partition("/")[2] or curve.raw_name
    found = next((c for c in case.curves if c.metric.startswith("loss_weight") and c.raw_name.endswith(name)), None)
    return float(np.nanmedian(found.values)) if found is not None else None


def _hit(curve: Curve, severity: str, confidence: str, more: str) -> Hit:
    return Hit(
        [point(curve, 0, f"{curve.raw_name} is exactly 0 in all {len(curve)} points{more}", primary=True)],
        curve.when(0),
        severity=severity,  # type: ignore[arg-type]
        confidence=confidence,  # type: ignore[arg-type]
    )


fires_on = [
    log(
        "".join(
            f"[LOSS DEBUG] Angle align: 0.000000 @ weight=0.02\n[LOSS DEBUG] Pixel: {0.9 - 0.01 * i:.6f} @ weight=1.0\n" for i in range(30)
        ),
        note="a weighted part prints 0",
    ),
    drawn("named as a component", loss=fall(2, 0.5, 40), loss_component__align=flat(0, 40)),
    drawn("five points", loss=fall(2, 0.5, 40), loss_component__align=flat(0, 5)),
]
quiet_on = [
    drawn("classification part with one class", loss=fall(2, 0.5, 40), train__cls_loss=flat(0, 40)),
    log("".join(f"[LOSS DEBUG] Angle align: {0.04 - 0.001 * i:.6f} @ weight=0.02\n" for i in range(30)), note="small but not zero"),
    log(
        "".join(
            f"[LOSS DEBUG] Angle align: 0.000000 @ weight=0.0\n[LOSS DEBUG] Pixel: {0.9 - 0.01 * i:.6f} @ weight=1.0\n" for i in range(30)
        ),
        note="switched off",
    ),
    drawn("two points", loss=fall(2, 0.5, 40), loss_component__align=flat(0, 2)),
]
notes_on = [
    drawn("thirty points of an ordinary log", loss=fall(2, 0.5, 40), train__cls_loss=flat(0, 30)),
]
silent_on = [
    drawn("a dozen points of an ordinary log", loss=fall(2, 0.5, 40), train__cls_loss=flat(0, 12)),
]
