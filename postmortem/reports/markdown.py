"""Markdown for a pull request comment or a job summary: nothing that the run wrote can break out of its code block."""

from __future__ import annotations

import re

from postmortem.model import Diagnosis, Evidence, Finding
from postmortem.reports import words
from postmortem.reports.escape import middle, no_orders, one_line

LIMIT = 1_000_000  # bytes; GitHub cuts a job summary at 1 MiB and shows nothing of a larger one
MOST_FILES = 200
CUT = "\n\n*truncated: the full answer is in the HTML and JSON reports*\n"

# What Markdown would read as markup inside a line. An underscore inside a word is plain.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|^[-+=#](?=\s|[-=])|^\d+(?=[.)]\s)")
# GitHub mentions people and closes issues wherever rendered text says so; only a code span is safe from it.
_CALLS = re.compile(r"@(?=\w)|#(?=\d)|\bGH(?=-\d)", re.IGNORECASE)


def render(diagnosis: Diagnosis) -> str:
    """A cleaned diagnosis as GitHub-flavoured Markdown of at most LIMIT bytes; cut between blocks where it would be longer."""
    return fit(blocks(diagnosis), LIMIT)


def blocks(diagnosis: Diagnosis) -> list[str]:
    """The report as blocks that can stand alone, the most important first."""
    word, tone = words.verdict(diagnosis)
    sign = {"error": "❌", "warning": "⚠️", "good": "✅"}[tone]
    parts = [f"## {sign} {plain(diagnosis.headline)}", f"Run {code(diagnosis.run.name)}: {word}."]
    for finding in words.roots(diagnosis):
        parts += _finding(finding)
    rest = words.others(diagnosis)
    if rest:
        parts.append("### What else was found")
        parts += [_other(finding, by) for finding, by in rest]
    unchecked = words.unchecked_line(diagnosis)
    if unchecked:
        parts.append(f"**Could not be checked:** {plain(unchecked)}")
    parts += [f"**Read:** {plain(words.read_line(diagnosis))}", *_readings(diagnosis)]
    return parts


def fit(parts: list[str], limit: int) -> str:
    """As many whole blocks as `limit` bytes hold, and a word that the rest was cut."""
    whole = "\n\n".join(parts) + "\n"
    if len(whole.encode()) <= limit:
        return whole
    kept: list[str] = []
    room = limit - len(CUT.encode()) - 1
    for part in parts:
        room -= len(part.encode()) + 2
        if room < 0:
            break
        kept.append(part)
    return "\n\n".join(kept) + CUT


def plain(text: str) -> str:
    """Words of ours for Markdown: code in backticks stays code, everything else that would be markup is escaped."""
    return "".join(code(part, len(part)) if is_code else _escaped(part) for part, is_code in words.pieces(one_line(text)))


def _escaped(text: str) -> str:
    """Text without markup; mentions and issue numbers lose their call."""
    escaped = _SPECIAL.sub(lambda m: m[0] + "\\" if m[0].isdigit() else "\\" + m[0], text)
    return _CALLS.sub(lambda m: f"`{m[0]}`", escaped)


def code(text: str, length: int = 160) -> str:
    """A name or a place as a code span that its own backticks cannot close."""
    text = middle(one_line(text), length) or " "
    ticks = "`" * (longest_run(text, "`") + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def fence(text: str, language: str = "text") -> str:
    """Lines as a code block with a fence longer than any run of backticks inside.

    Every line carries a bar, so that none starts with what a build server takes for a command when this is printed in a job.
    """
    ticks = "`" * max(3, longest_run(text, "`") + 1)
    lines = "\n".join(f"| {line}" for line in no_orders(text).splitlines() or [""])
    return f"{ticks}{language}\n{lines}\n{ticks}"


def longest_run(text: str, character: str) -> int:
    """Length of the longest run of a character in a text."""
    return max((len(run) for run in re.findall(re.escape(character) + "+", text)), default=0)


def quoted(evidence: Evidence) -> str:
    """A piece of evidence: its place, then its text, set in."""
    return "\n  ".join([words.proof(evidence), *evidence.text.splitlines()])


def _finding(finding: Finding) -> list[str]:
    parts = [f"### {plain(finding.title)}", f"**Cause:** {plain(finding.cause)}"]
    primary = finding.primary
    proofs = [primary, *(e for e in finding.evidence if e is not primary)]
    began = words.when(finding.onset)
    parts.append(f"**Proof** (began at {plain(began)}):" if began else "**Proof:**")
    parts.append(fence("\n".join(quoted(e) for e in proofs)))
    parts.append("**Fix:**\n" + "\n".join(f"{i}. {plain(fix)}" for i, fix in enumerate(finding.fix, 1)))
    parts.append("**Prevention:**\n" + "\n".join(f"- {plain(text)}" for text in finding.prevention))
    return parts


def _other(finding: Finding, by: tuple[str, ...]) -> str:
    why = f", follows from {', '.join(map(code, by))}" if by else ""
    return f"- {finding.severity}: {plain(finding.title)} ({code(words.proof(finding.primary))}{why})"


def _readings(diagnosis: Diagnosis) -> list[str]:
    """The files in a folded table."""
    rows = [
        f"| {code(r.file, 80).replace('|', chr(92) + '|')} | {plain(r.format)} | {r.rows} | {len(r.events)} | {r.rejected} |"
        for r in diagnosis.readings[:MOST_FILES]
    ]
    if not rows:
        return []
    more = [f"and {len(diagnosis.readings) - MOST_FILES:,} more files"] if len(diagnosis.readings) > MOST_FILES else []
    head = "| file | read as | numbers | events | rejected |\n|---|---|---:|---:|---:|\n"
    return ["<details><summary>Files</summary>\n\n" + head + "\n".join(rows) + "\n\n</details>", *more]
