"""What a rule is, what it is given (a Case), and the engine that runs every rule over one case."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from postmortem.errors import RuleError
from postmortem.model import (
    CONFIDENCES,
    SEVERITIES,
    Confidence,
    Curve,
    Ending,
    Event,
    Evidence,
    Finding,
    Onset,
    Origin,
    Run,
    Setting,
    Severity,
    Unchecked,
)
from postmortem.patterns import Index, Sought, Wanted

FAMILIES = ("crash", "curve", "gradient", "hardware", "behaviour")

# The layers of triage (the reality check's "coarse-grained debugging"), by rule family unless a rule says otherwise.
TRIAGE = {
    "crash": "The run did not finish",
    "curve": "The curves look wrong",
    "gradient": "The model is not learning as it should",
    "hardware": "The hardware held it back",
    "behaviour": "The model behaves badly",
}


def limit(default: float, unit: str, says: str, source: str) -> Any:
    """A threshold of a rule: its default, its unit, one sentence on what it means, and where the figure comes from."""
    return field(default=default, metadata={"unit": unit, "says": says, "source": source})


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule says when it fires; the engine turns it into a Finding with the rule's own words.

    evidence must not be empty. cause, fix, title, severity: only where this hit is more precise than the rule's defaults.
    They are our words: numbers from the run may stand in them, text from the run may not (it belongs into evidence).
    """

    evidence: Sequence[Evidence]
    onset: Onset = Onset()
    confidence: Confidence = "high"
    severity: Severity | None = None
    title: str = ""
    cause: str = ""
    fix: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as its file declares it."""

    id: str
    family: str
    title: str
    doc: str
    severity: Severity
    needs: tuple[str, ...]
    explains: tuple[str, ...]
    fix: tuple[str, ...]
    prevention: tuple[str, ...]
    says: Sought | None
    yields_to: tuple[str, ...]
    limits: Any
    check: Callable[..., Iterator[Hit]] | None
    examine: Callable[[Event], Hit | None] | None
    accepts: Callable[[Event], bool] | None
    fires_on: tuple[Any, ...]
    quiet_on: tuple[Any, ...]
    triage: str
    module: ModuleType = field(repr=False)


@dataclass(frozen=True)
class Case:
    """One run as the rules see it.

    curves   every curve of the last attempt of its file      history  the curves of earlier attempts
    events   all events, each with its fate                  settings  configuration values of all files
    """

    run: Run
    ending: Ending
    curves: tuple[Curve, ...] = ()
    history: tuple[Curve, ...] = ()
    events: tuple[Event, ...] = ()
    settings: tuple[Setting, ...] = ()

    def all(self, metric: str, split: str | None = None) -> list[Curve]:
        """All curves of a canonical metric (and split), the longest first."""
        found = [c for c in self.curves if c.metric == metric and (split is None or c.split == split)]
        return sorted(found, key=lambda c: (-len(c), c.file, c.raw_name))

    def one(self, metric: str, split: str | None = None) -> Curve | None:
        """The longest curve of a canonical metric (and split), None where there is none."""
        found = self.all(metric, split)
        return found[0] if found else None

    def kind(self, *kinds: str) -> list[Event]:
        """All events of these kinds, in reading order."""
        return [e for e in self.events if e.kind in kinds]

    def said(self, pattern: str, *kinds: str) -> list[Event]:
        """All events (of these kinds) whose text matches a regular expression, in reading order."""
        regex = re.compile(pattern)
        return [e for e in self.events if (not kinds or e.kind in kinds) and regex.search(e.text)]

    def setting(self, *names: str) -> Setting | None:
        """The first setting whose last dotted part is one of `names` (case and `-`/`_` do not matter)."""
        wanted = {name.lower().replace("-", "_") for name in names}
        for setting in self.settings:
            if setting.key.rsplit(".", 1)[-1].lower().replace("-", "_") in wanted:
                return setting
        return None

    def number(self, *names: str) -> float | None:
        """The value of `setting(*names)` where it is a number, else None."""
        setting = self.setting(*names)
        if setting is None or isinstance(setting.value, bool):
            return None
        try:
            return float(setting.value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None

    def has(self, need: str) -> bool:
        """Whether a need is met: a metric ("loss", "loss:val"), "curves", "events", "telemetry", "samples"."""
        if need == "curves":
            return bool(self.curves)
        if need == "events":
            return bool(self.events)
        if need == "samples":
            return any(e.kind == "sample" for e in self.events)
        if need == "telemetry":
            return any(c.metric.startswith("gpu_") for c in self.curves)
        metric, _, split = need.partition(":")
        return any(c.metric == metric and (not split or c.split == split) for c in self.curves)


def point(curve: Curve, index: int, text: str, *, primary: bool = False) -> Evidence:
    """Point `index` of a curve as evidence."""
    return Evidence(text, curve.origin(index), curve.raw_name, curve.step(index), float(curve.values[index]), primary)


def quote(event: Event, *, primary: bool = False, text: str = "") -> Evidence:
    """An event as evidence, in its own words unless `text` is given."""
    return Evidence(text or event.text, event.origin, primary=primary)


def configured(setting: Setting, text: str = "", *, primary: bool = False) -> Evidence:
    """A configuration value as evidence."""
    return Evidence(text or f"{setting.key} = {setting.value}", setting.origin, setting.key, primary=primary)


# ---------------------------------------------------------------------- the catalogue


@functools.cache
def catalogue() -> Mapping[str, Rule]:
    """All rules by id, in the order of families and names. A rule is a file in a family's folder; there is no other list."""
    rules: dict[str, Rule] = {}
    for family in FAMILIES:
        package = importlib.import_module(f"postmortem.rules.{family}")
        for entry in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            if not entry.name.startswith("_"):
                rule = load(importlib.import_module(f"{package.__name__}.{entry.name}"), family)
                rules[rule.id] = rule
    return rules


def load(module: ModuleType, family: str) -> Rule:
    """A rule from its module; RuleError names what is missing."""
    name = module.__name__.rsplit(".", 1)[-1]
    doc = (module.__doc__ or "").strip()
    title = doc.splitlines()[0].rstrip(".") if doc else ""
    severity = getattr(module, "severity", None)
    says = getattr(module, "says", None)
    for wrong, why in (
        (not title, "its docstring has no first line"),
        (severity not in SEVERITIES, f"severity must be one of {', '.join(SEVERITIES)}"),
        (not getattr(module, "fix", ()), "it proposes no fix"),
        (not getattr(module, "prevention", ()), "it names no prevention"),
        (says is None and not hasattr(module, "check"), "it has neither `says` nor `check`"),
    ):
        if wrong:
            raise RuleError(f"rule {name}: {why}")
    thresholds = getattr(module, "Thresholds", None)
    return Rule(
        id=name.replace("_", "-"),
        family=family,
        title=title,
        doc=doc,
        severity=severity,  # type: ignore[arg-type]
        needs=tuple(getattr(module, "needs", ())),
        explains=tuple(getattr(module, "explains", ())),
        fix=tuple(module.fix),
        prevention=tuple(module.prevention),
        says=Sought(says) if says else None,
        yields_to=tuple(getattr(module, "yields_to", ())),
        limits=thresholds() if thresholds else None,
        check=getattr(module, "check", None),
        examine=getattr(module, "examine", None),
        accepts=getattr(module, "accepts", None),
        fires_on=tuple(getattr(module, "fires_on", ())),
        quiet_on=tuple(getattr(module, "quiet_on", ())),
        triage=getattr(module, "triage", TRIAGE[family]),
        module=module,
    )


@functools.cache
def wanted() -> Wanted:
    """Every line that some rule wants to see: all `says`."""
    return Wanted(tuple(rule.says for rule in catalogue().values() if rule.says))


# ---------------------------------------------------------------------- the engine


def run(case: Case, limits: Mapping[str, Mapping[str, float]] | None = None) -> tuple[list[Finding], list[Unchecked]]:
    """Every rule over one case: the findings, and what could not be checked with the reason.

    limits overrides thresholds: {rule id: {threshold: value}}.
    """
    findings: list[Finding] = []
    unchecked: list[Unchecked] = []
    claimed = claim(case.events)
    for rule in catalogue().values():
        missing = [need for need in rule.needs if not case.has(need)]
        if missing:
            unchecked.append(Unchecked(rule.id, f"the run holds no {' and no '.join(map(_in_words, missing))}"))
            continue
        hits = list(_said(rule, claimed.get(rule.id, ())))
        if rule.check:
            values = dataclasses.replace(rule.limits, **(limits or {}).get(rule.id, {})) if rule.limits else None
            for said in rule.check(case, values) if values is not None else rule.check(case):
                if isinstance(said, Unchecked):
                    unchecked.append(said)
                else:
                    hits.append(said)
        findings.extend(finding(rule, hit) for hit in hits)
    return findings, unchecked


@functools.cache
def _sayers() -> tuple[list[Rule], Index]:
    rules = [rule for rule in catalogue().values() if rule.says]
    return rules, Index([rule.says for rule in rules if rule.says])


def claim(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Which rule reads which event: every event goes to the rules whose `says` matches and that yield to no other that does.

    An exception or a log line has one reading only; `yields_to` in the rule files decides between two that match. Where the words
    alone are not enough, a rule looks at the rest of the event in `accepts` (an EOFError is a broken checkpoint only inside torch.load).
    """
    rules, index = _sayers()
    taken: dict[str, list[Event]] = {}
    for event in events:
        matching = {
            rule.id: rule
            for rule in (rules[number] for number in index.likely(event.text))
            if rule.says and rule.says.regex.search(event.text) and (rule.accepts is None or rule.accepts(event))
        }
        for name, rule in matching.items():
            if not any(other in matching or (other == "*" and len(matching) > 1) for other in rule.yields_to):
                taken.setdefault(name, []).append(event)
    return taken


def _said(rule: Rule, events: Sequence[Event]) -> Iterator[Hit]:
    """The hits of a rule that was told its events: one for what ended the run, else one note for what was survived."""
    for fates, severity in ((("fatal",), None), (("survived", "history"), "note")):
        told = sorted((event for event in events if event.fate in fates), key=_warned)  # what was only warned of convinces least
        if not told:
            continue
        hit = rule.examine(told[0]) if rule.examine else None
        if rule.examine and hit is None:
            continue
        hit = hit or Hit([quote(told[0], primary=True)], Onset(time=told[0].time))
        earlier = [event for event in events if event.fate == "history" and event not in told][:1]
        more = [quote(event) for event in [*told[1:3], *earlier]]
        yield dataclasses.replace(hit, evidence=[*hit.evidence, *more], severity=severity or hit.severity)  # type: ignore[arg-type]
        return


_WARNED = re.compile(r"\b\w*Warning: ")


def _warned(event: Event) -> bool:
    """Whether a line is one of Python's warnings ("train.py:46: UserWarning: ...")."""
    return event.kind == "log" and _WARNED.search(event.text) is not None


def finding(rule: Rule, hit: Hit) -> Finding:
    """A hit in the words of its rule."""
    assert hit.confidence in CONFIDENCES
    once = list({(e.origin, e.text): e for e in reversed(hit.evidence)}.values())[::-1]  # a line quoted twice convinces nobody twice
    evidence = [e for e in once if e.primary or not any(_is_part(e, other) for other in once)]
    if evidence and not any(e.primary for e in evidence):
        evidence[0] = dataclasses.replace(evidence[0], primary=True)
    return Finding(
        rule=rule.id,
        title=hit.title or rule.title,
        severity=hit.severity or rule.severity,
        confidence=hit.confidence,
        onset=hit.onset,
        evidence=tuple(evidence),
        cause=hit.cause or _cause(rule),
        fix=tuple(hit.fix) or rule.fix,
        prevention=rule.prevention,
        explains=rule.explains,
        triage=rule.triage,
    )


def _is_part(evidence: Evidence, whole: Evidence) -> bool:
    """Whether a quoted line is the end of a longer quote that begins on the line above it (a line that a terminal or a pager broke)."""
    if evidence.metric is not None or not (evidence.origin.line and whole.origin.line) or evidence.origin.file != whole.origin.file:
        return False
    return evidence.origin.line == whole.origin.line + 1 and len(evidence.text) < len(whole.text) and whole.text.endswith(evidence.text)


def _cause(rule: Rule) -> str:
    """What usually causes it: the second paragraph of the rule's docstring."""
    paragraphs = [" ".join(part.split()) for part in rule.doc.split("\n\n")]
    return paragraphs[1] if len(paragraphs) > 1 else paragraphs[0]


def _in_words(need: str) -> str:
    metric, _, split = need.partition(":")
    split_words = {"train": "training ", "val": "validation ", "test": "test "}.get(split, "")
    return {
        "curves": "curve at all",
        "events": "log line worth reading",
        "samples": "evaluated answers",
        "telemetry": "GPU telemetry",
    }.get(need, f"{split_words}{metric.replace('_', ' ')}")


__all__ = ["Case", "Hit", "Origin", "Rule", "catalogue", "configured", "limit", "point", "quote", "run", "wanted"]
