"""Reports for build servers: JUnit XML, SARIF 2.1.0, GitLab code quality, the Kubernetes termination message."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import quote

from postmortem import __version__
from postmortem.model import Diagnosis, Evidence, Finding
from postmortem.reports import words
from postmortem.reports.escape import ORDER, capped, middle, no_orders, one_line
from postmortem.reports.json import ascii_json

TERMINATION_BYTES = 4096  # Kubernetes keeps no more of /dev/termination-log
SARIF_RESULTS = 5000  # GitHub keeps no more of one upload
LEVELS = {"error": "error", "warning": "warning", "note": "note"}
GITLAB_SEVERITY = {"error": "critical", "warning": "major", "note": "info"}
# Characters that XML 1.0 has no way to write, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def fingerprint(finding: Finding, salt: str = "") -> str:
    """An id of a finding that is the same in every run of the command on the same directory, and does not hang on line numbers."""
    primary = finding.primary
    digits_out = re.sub(r"\d+", "#", primary.text)
    parts = (finding.rule, primary.origin.file, primary.metric or "", digits_out, salt)
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def fingerprints(findings: list[Finding]) -> list[str]:
    """One fingerprint a finding, unique within the report: equal ones are numbered."""
    seen: dict[str, int] = {}
    unique = []
    for finding in findings:
        print_ = fingerprint(finding)
        seen[print_] = seen.get(print_, 0) + 1
        unique.append(print_ if seen[print_] == 1 else fingerprint(finding, str(seen[print_])))
    return unique


# ---------------------------------------------------------------------- JUnit


def junit(diagnosis: Diagnosis) -> str:
    """A test suite with one test case a finding; errors and warnings are failures, what could not be checked is skipped."""
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    name = f"postmortem.{_xml(diagnosis.run.name)}"
    suite = Element("testsuite", name=name)
    for finding in diagnosis.findings:
        case = SubElement(suite, "testcase", classname=name, name=finding.rule, file=_xml(finding.primary.origin.file))
        if finding.primary.origin.line is not None:
            case.set("line", str(finding.primary.origin.line))
        if finding.severity == "note":
            SubElement(case, "system-out").text = _xml(_told(finding))
        else:
            SubElement(case, "failure", type=finding.severity, message=_xml(finding.title)).text = _xml(_told(finding))
    for unchecked in diagnosis.unchecked:
        case = SubElement(suite, "testcase", classname=name, name=unchecked.rule)
        SubElement(case, "skipped", message=_xml(unchecked.reason))
    if not len(suite):
        SubElement(suite, "testcase", classname=name, name="nothing-wrong-found")
    failures = sum(finding.severity != "note" for finding in diagnosis.findings)
    suite.attrib |= {"tests": str(len(suite)), "failures": str(failures), "errors": "0", "skipped": str(len(diagnosis.unchecked))}
    suites = Element("testsuites")
    suites.append(suite)
    indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(suites, encoding="unicode").replace(ORDER, "#&#35;[") + "\n"


def _xml(text: str) -> str:
    """Text without the characters that XML cannot hold (escaping the rest is ElementTree's work)."""
    return _NO_XML.sub("�", text)


def _told(finding: Finding) -> str:
    """A finding in full, every quoted line behind a bar, so that no line of the run stands at the start of one."""
    lines = [f"Cause: {finding.cause}", "Proof:"]
    for evidence in finding.evidence:
        lines.append(f"- {words.proof(evidence)}")
        lines += [f"  | {line}" for line in evidence.text.splitlines()]
    lines += [f"Fix: {fix}" for fix in finding.fix] + [f"Prevention: {text}" for text in finding.prevention]
    return "\n".join(lines)


# ---------------------------------------------------------------------- SARIF


def sarif(diagnosis: Diagnosis) -> str:
    """SARIF 2.1.0: one rule a rule that fired, one result a finding with its places and a fingerprint that stays the same."""
    findings = list(diagnosis.findings)[:SARIF_RESULTS]
    rules = list({finding.rule: finding for finding in findings}.values())
    numbers = {finding.rule: i for i, finding in enumerate(rules)}
    results = [_result(f, numbers[f.rule], p) for f, p in zip(findings, fingerprints(findings), strict=True)]
    driver = {"name": "postmortem", "version": __version__, "semanticVersion": __version__, "rules": [_sarif_rule(f) for f in rules]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"RUNDIR": {"description": {"text": "The run directory that was examined."}}},
        "automationDetails": {"id": f"postmortem/{uri(diagnosis.run.name)}/"},
        "invocations": [{"executionSuccessful": True}],
        "results": results,
    }
    whole = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return ascii_json(whole)


def _sarif_rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.rule,
        "shortDescription": {"text": finding.rule.replace("-", " ")},
        "defaultConfiguration": {"level": LEVELS[finding.severity]},
        "help": {"text": "\n".join([*finding.fix, *finding.prevention]) or finding.title},
    }


def _result(finding: Finding, number: int, print_: str) -> dict[str, Any]:
    primary = finding.primary
    related = [e for e in finding.evidence if e is not primary]
    text = f"{finding.title}\n{words.proof(primary)}: {one_line(primary.text)}\nCause: {finding.cause}"
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": number,
        "level": LEVELS[finding.severity],
        "message": {"text": capped(text, 4000)},
        "locations": [_location(primary)],
        "partialFingerprints": {"postmortemFinding/v1": print_},
        "properties": {"confidence": finding.confidence},
    }
    if related:
        told = [{"id": i, "message": {"text": capped(one_line(e.text), 500)}} for i, e in enumerate(related, 1)]
        result["relatedLocations"] = [_location(e) | message for e, message in zip(related, told, strict=True)]
    return result


def _location(evidence: Evidence) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": uri(evidence.origin.file), "uriBaseId": "RUNDIR"}}
    if evidence.origin.line is not None:
        place["region"] = {"startLine": evidence.origin.line}
    return {"physicalLocation": place}


def uri(path: str) -> str:
    """A path as a relative URI reference: percent-encoded UTF-8, slashes kept."""
    return quote(path.lstrip("/"), safe="/-._~")


# ---------------------------------------------------------------------- GitLab, Kubernetes


def gitlab(diagnosis: Diagnosis) -> str:
    """GitLab's code quality report: a JSON list with one entry a finding."""
    findings = list(diagnosis.findings)
    entries = [
        {
            "description": middle(one_line(f"{f.title}: {f.primary.text}"), 500),
            "check_name": f.rule,
            "fingerprint": print_,
            "severity": GITLAB_SEVERITY[f.severity],
            "location": {"path": f.primary.origin.file, "lines": {"begin": f.primary.origin.line or 1}},
        }
        for f, print_ in zip(findings, fingerprints(findings), strict=True)
    ]
    return ascii_json(entries)


def termination(diagnosis: Diagnosis) -> str:
    """The cause on the first line, then proof and fix: at most TERMINATION_BYTES bytes of UTF-8, cut between characters."""
    lines = [diagnosis.headline]
    for finding in words.roots(diagnosis)[:3]:
        lines.append(f"{finding.severity} {finding.rule}: {finding.title}")
        lines.append(f"proof: {words.proof(finding.primary)}: {middle(one_line(finding.primary.text), 600)}")
        lines += [f"fix: {one_line(fix)}" for fix in finding.fix[:2]]
    text = no_orders("\n".join(lines))
    return text.encode("utf-8", "backslashreplace")[: TERMINATION_BYTES - 1].decode("utf-8", "ignore") + "\n"
