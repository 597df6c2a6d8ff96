"""The JSON contract `postmortem/1`: what other programs may rely on, and its schema."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Literal

from postmortem.model import Diagnosis, Evidence, Finding
from postmortem.reports import words
from postmortem.reports.escape import ORDER

if TYPE_CHECKING:
    from postmortem.reports import _contract as contract

SCHEMA: Literal["postmortem/1"] = "postmortem/1"


def render(diagnosis: Diagnosis) -> str:
    """A cleaned diagnosis as strict JSON in ASCII, keys in the order of the contract, two blanks of indent, one newline at the end."""
    return ascii_json(document(diagnosis))


def ascii_json(value: object) -> str:
    """Strict JSON in ASCII that a build server takes for no command: `##[` is spelled with an escape, which reads back the same."""
    return json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False).replace(ORDER, "#\\u0023[") + "\n"


def document(diagnosis: Diagnosis) -> contract.Answer:
    """A cleaned diagnosis as the plain dicts and lists of the contract."""
    run = diagnosis.run
    return {
        "schema": SCHEMA,
        "run": {
            "path": run.path,
            "name": run.name,
            "status": run.status,
            "framework": run.framework,
            "started": words.iso(run.started),
            "ended": words.iso(run.ended),
            "last_step": run.last_step,
        },
        "headline": diagnosis.headline,
        "root_causes": words.root_rules(diagnosis),
        "findings": [_finding(f, words.explained_by(diagnosis, i)) for i, f in enumerate(diagnosis.findings)],
        "unchecked": [{"rule": u.rule, "reason": u.reason} for u in diagnosis.unchecked],
        "readings": [
            {"file": r.file, "format": r.format, "rows": r.rows, "events": len(r.events), "rejected": r.rejected, "notes": list(r.notes)}
            for r in diagnosis.readings
        ],
    }


def finite(value: float | None) -> contract.Number:
    """A number as JSON can hold it: NaN and inf, if the log said so, become "NaN", "Infinity", "-Infinity"; null is "not said"."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _finding(finding: Finding, explained_by: tuple[str, ...]) -> contract.Finding:
    onset = finding.onset
    return {
        "rule": finding.rule,
        "title": finding.title,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "onset": {"step": onset.step, "epoch": finite(onset.epoch), "time": words.iso(onset.time)},
        "explained_by": list(explained_by),
        "evidence": [_evidence(e) for e in finding.evidence],
        "cause": finding.cause,
        "fix": list(finding.fix),
        "prevention": list(finding.prevention),
    }


def _evidence(evidence: Evidence) -> contract.Evidence:
    return {
        "text": evidence.text,
        "file": evidence.origin.file,
        "line": evidence.origin.line,
        "metric": evidence.metric,
        "step": evidence.step,
        "value": finite(evidence.value),
        "primary": evidence.primary,
    }


def schema() -> str:
    """The JSON Schema of the contract, as docs/diagnosis.schema.json holds it."""
    from postmortem.reports._contract import adapter

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA}
    return json.dumps(dialect | adapter().json_schema() | {"title": SCHEMA}, indent=2) + "\n"
