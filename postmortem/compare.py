"""Two runs side by side: where they first part, what was configured differently, which findings are gone, new or still there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from postmortem.model import Curve, Diagnosis, Finding, Setting

DIVERGENCE_NOISE = 6.0  # two curves part where they differ by this many times the noise of the good one, for good
NOISE_FLOOR = 1e-3  # relative to the spread of the good curve: below it a difference is rounding
COMPARED_KINDS = ("loss", "score", "rate", "norm")


@dataclass(frozen=True, slots=True)
class Parting:
    """The first step at which a metric of the bad run leaves the good one for good."""

    metric: str
    split: str | None
    step: int | None
    index: int
    good: float
    bad: float
    good_origin: str
    bad_origin: str


@dataclass(frozen=True, slots=True)
class Difference:
    """settings: {key: (good value, bad value)}, None where a run does not have the key."""

    good: Diagnosis
    bad: Diagnosis
    partings: tuple[Parting, ...]
    settings: Mapping[str, tuple[object, object]]
    gone: tuple[Finding, ...]
    new: tuple[Finding, ...]
    still: tuple[Finding, ...]


def compare(good: Diagnosis, bad: Diagnosis) -> Difference:
    """What is different in `bad`, the earliest difference first."""
    before = {f.rule: f for f in good.findings if f.severity != "note"}
    after = {f.rule: f for f in bad.findings if f.severity != "note"}
    return Difference(
        good=good,
        bad=bad,
        partings=tuple(sorted(_partings(good, bad), key=lambda p: (p.step is None, p.step or 0, p.index))),
        settings=_settings(good, bad),
        gone=tuple(f for rule, f in before.items() if rule not in after),
        new=tuple(f for rule, f in after.items() if rule not in before),
        still=tuple(f for rule, f in after.items() if rule in before),
    )


def _partings(good: Diagnosis, bad: Diagnosis) -> list[Parting]:
    theirs = {_key(curve): curve for curve in bad.curves if curve.last_attempt}
    found = []
    for curve in good.curves:
        other = theirs.get(_key(curve))
        if curve.last_attempt and curve.kind in COMPARED_KINDS and other is not None and (parting := _part(curve, other)):
            found.append(parting)
    return found


def _key(curve: Curve) -> tuple[str, str | None, str, int | None]:
    return curve.metric, curve.split, curve.raw_name, curve.device


def _part(good: Curve, bad: Curve) -> Parting | None:
    """The first common step from which on the two differ clearly; None where they never do."""
    ours, theirs = _aligned(good, bad)
    if len(ours) < 2:
        return None
    a, b = good.values[ours], bad.values[theirs]
    finite = a[np.isfinite(a)]
    noise = np.median(np.abs(np.diff(finite))) if len(finite) > 2 else 0.0
    allowed = max(DIVERGENCE_NOISE * float(noise), NOISE_FLOOR * float(np.ptp(finite)) if len(finite) else 0.0)
    apart = ~(np.abs(a - b) <= allowed) & ~(np.isnan(a) & np.isnan(b))
    if not apart[-1]:
        return None  # they meet again
    together = np.flatnonzero(~apart)
    i = int(together[-1]) + 1 if len(together) else 0
    return Parting(
        good.metric,
        good.split,
        good.step(int(ours[i])),
        i,
        float(a[i]),
        float(b[i]),
        str(good.origin(int(ours[i]))),
        str(bad.origin(int(theirs[i]))),
    )


def _aligned(good: Curve, bad: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the points that both runs have: by step where both give steps, else by position."""
    if good.steps is not None and bad.steps is not None:
        _, ours, theirs = np.intersect1d(good.steps, bad.steps, return_indices=True)
        return ours, theirs
    n = min(len(good), len(bad))
    return np.arange(n), np.arange(n)


def _settings(good: Diagnosis, bad: Diagnosis) -> dict[str, tuple[object, object]]:
    ours, theirs = _by_key(good.settings), _by_key(bad.settings)
    return {
        key: (ours[key].value if key in ours else None, theirs[key].value if key in theirs else None)
        for key in sorted(ours.keys() | theirs.keys())
        if (ours[key].value if key in ours else None) != (theirs[key].value if key in theirs else None)
    }


def _by_key(settings: Any) -> dict[str, Setting]:
    return {setting.key: setting for setting in reversed(list(settings))}


def as_json(difference: Difference) -> str:
    """The comparison as JSON: first_divergence, partings, settings, findings gone / new / still."""
    from postmortem.reports.redact import redact_setting

    partings = [
        {
            "metric": p.metric,
            "split": p.split,
            "step": p.step,
            "good": _number(p.good),
            "bad": _number(p.bad),
            "good_at": p.good_origin,
            "bad_at": p.bad_origin,
        }
        for p in difference.partings
    ]
    return json.dumps(
        {
            "schema": "postmortem-compare/1",
            "good": difference.good.run.path,
            "bad": difference.bad.run.path,
            "first_divergence": partings[0] if partings else None,
            "partings": partings,
            "settings": {k: [redact_setting(k, a), redact_setting(k, b)] for k, (a, b) in difference.settings.items()},
            "findings": {name: [f.rule for f in getattr(difference, name)] for name in ("gone", "new", "still")},
        },
        indent=1,
        default=str,
    )


def _number(value: float) -> float | str:
    """JSON has no NaN: it is written as a string."""
    return value if np.isfinite(value) else str(value)


def as_text(difference: Difference) -> str:
    """The comparison in a few lines for a person."""
    from postmortem.reports.escape import visible
    from postmortem.reports.redact import redact_setting

    lines = [f"good: {difference.good.run.path}", f"bad:  {difference.bad.run.path}", ""]
    if difference.partings:
        first = difference.partings[0]
        at = f"step {first.step}" if first.step is not None else f"point {first.index + 1}"
        lines.append(
            f"First divergence: {first.metric} {first.split or ''} at {at}: {first.good:.6g} ({first.good_origin}) against {first.bad:.6g} ({first.bad_origin})"
        )
        lines += [
            f"  then {p.metric} {p.split or ''} at {'step ' + str(p.step) if p.step is not None else 'point ' + str(p.index + 1)}"
            for p in difference.partings[1:6]
        ]
    else:
        lines.append("No metric that both runs have parts for good.")
    lines.append("")
    for name, title in (("new", "New in bad"), ("still", "Still there"), ("gone", "Gone")):
        found = getattr(difference, name)
        lines.append(f"{title}: {', '.join(f'{f.rule} ({f.severity})' for f in found) or 'nothing'}")
    if difference.settings:
        lines += ["", "Configured differently:"]
        lines += [f"  {k}: {redact_setting(k, a)} -> {redact_setting(k, b)}" for k, (a, b) in list(difference.settings.items())[:30]]
    return "\n".join(visible(line) for line in lines) + "\n"
