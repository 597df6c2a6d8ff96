"""Words that several reports share: when something was, where the proof stands, what could not be checked, how much was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from postmortem.model import Diagnosis, Evidence, Finding, Onset

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STATUS_WORDS: Mapping[str, str] = {
    "finished": "finished",
    "crashed": "crashed",
    "killed": "was killed",
    "unknown": "left no record of its end",
}


def iso(time: int | None) -> str | None:
    """Microseconds since 1970 as ISO 8601 in UTC; None where the log gave no time or one that no calendar has."""
    if time is None:
        return None
    try:
        stamp = EPOCH + timedelta(microseconds=time)
    except OverflowError:
        return None
    return stamp.replace(tzinfo=None).isoformat(timespec="microseconds" if time % 1_000_000 else "seconds") + "Z"


def clock(time: int | None) -> str:
    """A time for people: 2026-03-01 12:30:05 UTC, "" where there is none."""
    stamp = iso(time)
    return f"{stamp[:10]} {stamp[11:19]} UTC" if stamp else ""


def when(onset: Onset) -> str:
    """An onset for people: "step 1,200, epoch 3, 2026-03-01 12:30:05 UTC"; "" where the log does not say."""
    parts = [
        f"step {onset.step:,}" if onset.step is not None else "",
        f"epoch {onset.epoch:g}" if onset.epoch is not None else "",
        clock(onset.time),
    ]
    return ", ".join(part for part in parts if part)


def number(value: float | None) -> str:
    """A value with five significant digits; NaN and inf as words, "" for none."""
    if value is None:
        return ""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return f"{int(value)}" if value == int(value) and abs(value) < 1e6 else f"{value:.5g}"


def pieces(text: str) -> list[tuple[str, bool]]:
    """Words of ours cut at their backticks: (text, whether it is code). An odd backtick stays where it is."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        parts[-2:] = ["`".join(parts[-2:])]
    return [(part, number % 2 == 1) for number, part in enumerate(parts) if part]


def count(number: int, word: str, words: str = "") -> str:
    """ "1 file", "1,204 files"."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def roots(diagnosis: Diagnosis) -> list[Finding]:
    """The root causes in rank order. A note is never one."""
    return [cause.finding for cause in diagnosis.causes if cause.finding.severity != "note"]


def root_rules(diagnosis: Diagnosis) -> list[str]:
    """The rule ids of the root causes in rank order, each once."""
    return list(dict.fromkeys(finding.rule for finding in roots(diagnosis)))


def others(diagnosis: Diagnosis) -> list[tuple[Finding, tuple[str, ...]]]:
    """The findings that are no root cause, each with the rules that explain it."""
    first = {id(finding) for finding in roots(diagnosis)}
    return [(f, explained_by(diagnosis, i)) for i, f in enumerate(diagnosis.findings) if id(f) not in first]


def explained_by(diagnosis: Diagnosis, index: int) -> tuple[str, ...]:
    """The rules that explain finding number `index`."""
    return tuple(diagnosis.explained_by.get(index, ()))


def proof(evidence: Evidence) -> str:
    """The place of a piece of evidence, and its step where the log gives one: "train.log:12, step 400"."""
    step = f", step {evidence.step:,}" if evidence.step is not None else ""
    return f"{evidence.origin}{step}"


def verdict(diagnosis: Diagnosis) -> tuple[str, str]:
    """The verdict in a few words and its tone: ("crashed", "error"), ("finished, with warnings", "warning"), ("error", "error")."""
    first = roots(diagnosis)
    ended = STATUS_WORDS[diagnosis.run.status]
    if not first and diagnosis.run.status in ("crashed", "killed"):
        return f"{ended.removeprefix('was ')}, no cause found", "warning"
    if not first:
        return "nothing wrong found", "good"
    worst = "error" if any(finding.severity == "error" for finding in first) else "warning"
    if diagnosis.run.status == "unknown":
        return worst, worst
    return f"finished, with {worst}s" if diagnosis.run.status == "finished" else ended.removeprefix("was "), worst


def reasons(diagnosis: Diagnosis) -> list[tuple[str, list[str]]]:
    """What could not be checked: each reason with the rules it holds for, the most common reason first."""
    grouped: dict[str, list[str]] = {}
    for unchecked in diagnosis.unchecked:
        grouped.setdefault(unchecked.reason, []).append(unchecked.rule)
    return sorted(((reason, sorted(set(rules))) for reason, rules in grouped.items()), key=lambda pair: (-len(pair[1]), pair[0]))


def unchecked_line(diagnosis: Diagnosis, most: int = 3) -> str:
    """What could not be checked, in one line: "14 rules: the run holds no GPU telemetry (8), ..."; "" where everything was."""
    groups = reasons(diagnosis)
    if not groups:
        return ""
    total = len({rule for _, rules in groups for rule in rules})
    told = ", ".join(f"{reason} ({len(rules)})" for reason, rules in groups[:most])
    more = f", {count(len(groups) - most, 'other reason')}" if len(groups) > most else ""
    return f"{count(total, 'rule')}: {told}{more}"


def read_line(diagnosis: Diagnosis) -> str:
    """How much was read: "12 files, 40,210 numbers, 3 events; 2 lines could not be read; 1 file not understood"."""
    readings = diagnosis.readings
    understood = [r for r in readings if r.rows or r.events or r.settings]
    rejected = sum(r.rejected for r in readings)
    rows, events = sum(r.rows for r in readings), sum(len(r.events) for r in readings)
    parts = [f"{count(len(readings), 'file')}, {count(rows, 'number')}, {count(events, 'event')}"]
    if rejected:
        parts.append(f"{count(rejected, 'line')} could not be read")
    if len(understood) < len(readings):
        parts.append(f"{count(len(readings) - len(understood), 'file')} gave nothing")
    secrets = sum(any(note.startswith("secrets left out") for note in r.notes) for r in readings)
    if secrets:
        parts.append(f"secrets were left out of {count(secrets, 'file')}")
    return "; ".join(parts)


def severities(diagnosis: Diagnosis) -> Counter[str]:
    """How many findings there are of each severity."""
    return Counter(finding.severity for finding in diagnosis.findings)
