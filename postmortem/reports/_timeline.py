"""What happened, in order: the start, the first sign, what followed, the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from postmortem.model import Diagnosis, Finding, Onset
from postmortem.reports import words

MOST = 14
_ENDS = {
    "finished": "The run finished",
    "crashed": "The run crashed",
    "killed": "The run was killed",
    "unknown": "The records of the run end here",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One entry: role (start, cause, sign, note, end), words of ours, place in the files, and when, as far as the run says."""

    role: str
    text: str
    place: str
    onset: Onset
    rule: str = ""


def timeline(diagnosis: Diagnosis) -> list[Moment]:
    """The moments of a run: start first, end last, findings between them by onset; those without one keep the order cause before effect."""
    run = diagnosis.run
    middle = [_moment(finding, "cause") for finding in words.roots(diagnosis)]
    middle += [_moment(f, "sign") for f, _ in words.others(diagnosis) if f.severity != "note"]
    ending = diagnosis.ending.proof
    last = Moment("end", _ENDS[run.status], str(ending.origin) if ending else "", Onset(run.last_step, None, run.ended))
    first = Moment("start", f"The run started{_attempts(run.attempts)}", "", Onset(None, None, run.started))
    start = [first] if run.started is not None or run.attempts > 1 else []
    return [*start, *sorted(middle, key=_key(middle))[: MOST - 2], last]


def _attempts(count: int) -> str:
    return f" (this directory holds {count} attempts; the last one is judged)" if count > 1 else ""


def _moment(finding: Finding, role: str) -> Moment:
    onset = finding.onset
    if onset == Onset():
        onset = Onset(finding.primary.step)
    return Moment(role, finding.title, str(finding.primary.origin), onset, finding.rule)


def _key(moments: list[Moment]) -> Callable[[Moment], float]:
    """By time where all have one, else by step, the ones without a step last (a crash often has none, and ends the run)."""
    timed = all(m.onset.time is not None for m in moments)

    def key(moment: Moment) -> float:
        at = moment.onset.time if timed else moment.onset.step
        return float("inf") if at is None else at

    return key
