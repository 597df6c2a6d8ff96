"""GitHub Actions: annotations on the log, the job summary, the step outputs. Only our own lines are commands."""

from __future__ import annotations

import json
from collections.abc import Mapping

from postmortem.errors import OutputError
from postmortem.model import Diagnosis, Finding, Severity
from postmortem.reports import markdown, words
from postmortem.reports.escape import middle, no_orders, one_line

# GitHub shows at most 10 annotations of each kind a step (actions/toolkit, docs/problem-matchers.md).
MOST = 10
COMMANDS: Mapping[Severity, str] = {"error": "error", "warning": "warning", "note": "notice"}
MESSAGE, TITLE = 1500, 200  # characters


def render(diagnosis: Diagnosis) -> str:
    """One workflow command a finding, the worst first, then one plain line that says what was found and what was left out."""
    lines = []
    left_out = 0
    for severity, command in COMMANDS.items():
        chosen = [f for f in diagnosis.findings if f.severity == severity]
        lines += [_annotation(command, finding) for finding in chosen[:MOST]]
        left_out += max(0, len(chosen) - MOST)
    if left_out:
        lines.append(f"{left_out} more findings are in the job summary and in the other reports")
    lines.append(no_orders(f"postmortem: {one_line(diagnosis.headline)}"))
    return "\n".join(lines) + "\n"


def publish(diagnosis: Diagnosis, environ: Mapping[str, str]) -> None:
    """Append the Markdown report to $GITHUB_STEP_SUMMARY and our outputs to $GITHUB_OUTPUT, where they are set."""
    counts = words.severities(diagnosis)
    outputs = {
        "headline": diagnosis.headline,
        "status": diagnosis.run.status,
        "root-causes": words.root_rules(diagnosis),
        "errors": counts["error"],
        "warnings": counts["warning"],
    }
    # Each value is JSON on one line: no line of it can be taken for another output.
    text = "".join(f"{name}={json.dumps(value)}\n" for name, value in outputs.items())
    for variable, content in (("GITHUB_STEP_SUMMARY", markdown.render(diagnosis)), ("GITHUB_OUTPUT", text)):
        path = environ.get(variable)
        if path:
            _append(path, content, variable)


def _append(path: str, text: str, variable: str) -> None:
    try:
        with open(path, "a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"{path} (${variable}) could not be written: {error.strerror or error}") from error


def _annotation(command: str, finding: Finding) -> str:
    """::error file=...,line=...,title=...::message, escaped as the runner unescapes it."""
    primary = finding.primary
    properties = {"file": primary.origin.file, "title": middle(f"{finding.rule}: {finding.title}", TITLE)}
    if primary.origin.line is not None:
        properties["line"] = str(primary.origin.line)
    fix = f"\nFix: {finding.fix[0]}" if finding.fix else ""
    message = middle(f"{words.proof(primary)}\n{primary.text}", MESSAGE) + fix
    listed = ",".join(f"{name}={_property(properties[name])}" for name in ("file", "line", "title") if name in properties)
    return f"::{command} {listed}::{_data(message)}"


def _data(text: str) -> str:
    return no_orders(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
