"""What a scheduler, a tracker or a shell said about the end of the job, as hits."""

from __future__ import annotations

from collections.abc import Iterator

from postmortem.model import Event, Onset
from postmortem.rules.base import Case, Hit, quote


def told(case: Case, *whats: str) -> Iterator[Hit]:
    """One hit for every final event whose facts name one of these words ("time-limit", "preempted" ...)."""
    for event in final(case):
        if event.data.get("what") in whats:
            yield Hit([quote(event, primary=True)], Onset(time=event.time))


def final(case: Case) -> Iterator[Event]:
    """The events of schedulers, trackers and shells that nothing came after."""
    yield from (event for event in case.kind("scheduler", "lifecycle") if event.fate == "fatal")


__all__ = ["final", "told"]
