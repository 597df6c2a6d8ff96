"""The catalogue of rules as text: the same words on the terminal and in docs/rules/."""

from __future__ import annotations

import dataclasses

from postmortem.errors import UsageError
from postmortem.rules.base import FAMILIES, Rule, catalogue


def overview() -> str:
    """All rules, one line each, by family."""
    lines = []
    for family in FAMILIES:
        rules = [rule for rule in catalogue().values() if rule.family == family]
        if rules:
            lines += [f"{family}/", *(f"  {rule.id:24} {rule.severity:8} {rule.title}" for rule in rules), ""]
    return "\n".join(lines)


def page(name: str) -> str:
    """One rule in full, as Markdown. UsageError if there is no such rule."""
    rule = catalogue().get(name)
    if rule is None:
        near = [known for known in catalogue() if name.lower() in known]
        raise UsageError(
            f"there is no rule {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "; `postmortem rules` lists them")
        )
    return "\n".join(_page(rule)) + "\n"


def _page(rule: Rule) -> list[str]:
    body = rule.doc.split("\n", 1)[1].strip() if "\n" in rule.doc else ""
    lines = [f"# {rule.id}", "", f"**{rule.title}.** Severity: {rule.severity}. Family: {rule.family}.", "", body, ""]
    if rule.needs:
        lines += [f"Needs: {', '.join(rule.needs)}.", ""]
    if rule.limits is not None:
        lines += ["## Thresholds", "", "| name | default | unit | meaning | source |", "|---|---|---|---|---|"]
        for field in dataclasses.fields(rule.limits):
            facts = field.metadata
            lines.append(f"| `{field.name}` | {field.default:g} | {facts['unit']} | {facts['says']} | {facts['source']} |")
        lines.append("")
    lines += ["## Fix", "", *(f"- {item}" for item in rule.fix), "", "## Prevention", "", *(f"- {item}" for item in rule.prevention), ""]
    if rule.explains:
        lines += ["## Explains", "", ", ".join(f"`{name}`" for name in rule.explains), ""]
    examples = (("Fires on", rule.fires_on), ("Quiet on", rule.quiet_on))
    for title, cases in examples:
        notes = [case.note for case in cases if case.note]
        if notes:
            lines += [f"## {title}", "", *(f"- {note}" for note in notes), ""]
    return lines
