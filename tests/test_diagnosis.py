"""Root causes: what explains what, in which order, and what never happens."""

from __future__ import annotations

import pytest

from postmortem.diagnosis import merged, rank
from postmortem.model import Ending, Evidence, Finding, Onset, Origin

FAMILIES = {"lr-zero": "gradient", "flat": "curve", "oom": "crash", "nccl": "crash", "nan": "curve", "explode": "gradient", "note": "curve"}
ENDING = Ending("unknown", "unknown")


def finding(rule: str, *, severity="error", confidence="high", step=None, explains=(), line=1) -> Finding:
    return Finding(
        rule,
        rule,
        severity,
        confidence,
        Onset(step=step),
        (Evidence(f"proof of {rule}", Origin("a.log", line), primary=True),),
        "",
        ("fix",),
        ("prevent",),
        explains,
    )


def causes(*findings: Finding, last_step: int | None = 1000) -> list[str]:
    return [cause.finding.rule for cause in rank(findings, FAMILIES, ENDING, last_step).causes]


def test_what_is_explained_is_no_root_cause() -> None:
    ranking = rank([finding("flat", severity="warning"), finding("lr-zero", explains=("flat",))], FAMILIES, ENDING)
    assert [c.finding.rule for c in ranking.causes] == ["lr-zero"]
    assert [f.rule for f in ranking.causes[0].explains] == ["flat"]
    assert ranking.explained_by[1] == ("lr-zero",)


def test_a_later_finding_explains_nothing() -> None:
    assert causes(finding("nan", step=100), finding("explode", step=900, severity="warning", explains=("nan",))) == ["nan", "explode"]
    assert causes(finding("nan", step=100), finding("explode", step=90, severity="warning", explains=("nan",))) == ["explode"]


def test_a_cause_may_be_logged_a_little_after_its_effect() -> None:
    assert causes(finding("nan", step=100), finding("explode", step=120, severity="warning", explains=("nan",))) == ["explode"]


def test_chains_reach_through() -> None:
    ranking = rank([finding("explode", explains=("nan",)), finding("nan", explains=("oom",)), finding("oom")], FAMILIES, ENDING)
    assert {f.rule for f in ranking.causes[0].explains} == {"nan", "oom"}


def test_order_is_severity_then_confidence_then_how_it_died() -> None:
    assert causes(finding("flat", severity="warning"), finding("lr-zero")) == ["lr-zero", "flat"]
    assert causes(finding("oom", confidence="medium"), finding("lr-zero")) == ["lr-zero", "oom"]
    assert causes(finding("lr-zero"), finding("oom")) == ["oom", "lr-zero"]


def test_notes_are_never_root_causes() -> None:
    assert causes(finding("note", severity="note")) == []


def test_after_a_crash_curves_only_support() -> None:
    ranking = rank([finding("oom"), finding("flat", severity="warning")], FAMILIES, ENDING)
    assert [(f.rule, f.severity) for f in ranking.findings] == [("oom", "error"), ("flat", "note")]
    kept = rank([finding("oom"), finding("flat", severity="warning", explains=("oom",))], FAMILIES, ENDING)
    assert [c.finding.rule for c in kept.causes] == ["flat"]


def test_one_finding_a_rule_with_the_evidence_of_all() -> None:
    together = merged([finding("nan", step=50, line=9), finding("nan", step=10, line=3), finding("nan", severity="note", line=5)])
    assert len(together) == 1
    assert together[0].onset.step == 10
    assert [e.origin.line for e in together[0].evidence] == [3, 9]
    assert sum(e.primary for e in together[0].evidence) == 1


def test_no_finding_without_evidence() -> None:
    with pytest.raises(ValueError, match="no evidence"):
        Finding("nan", "", "error", "high", Onset(), (), "", (), ())
