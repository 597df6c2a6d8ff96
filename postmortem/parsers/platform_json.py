"""Reads what a platform tells about a job as JSON: Docker, Kubernetes, SageMaker, Vertex AI, Azure ML, `sacct --json`.

Each form is one function from a document to what it says about the end; the document itself holds no series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from postmortem.model import Event, Reading
from postmortem.parsers import _folding, _json
from postmortem.parsers._columns import clean
from postmortem.parsers._job_words import KUBERNETES, SERVICES, ended, slurm_state
from postmortem.parsers._text_events import ending_in
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "platform-json"
ABOUT = (
    "JSON of platforms about a job's end: docker inspect, kubectl get pod -o json, SageMaker describe-training-job, Vertex AI and Azure ML "
    "job descriptions, sacct and scontrol --json."
)


class End(NamedTuple):
    """What a document says about an end: `what` in the rules' words, the key that shows it, a message, an exit code."""

    what: str
    key: str
    message: str
    exit_code: int | None = None


def _docker(value: Any) -> Iterator[End]:
    for box in value if isinstance(value, list) else [value]:
        state = _get(box, "State")
        code = _get(state, "ExitCode")
        if not isinstance(state, dict) or not isinstance(code, int) or state.get("Running") is True:
            continue
        if state.get("OOMKilled") is True:
            yield End("out-of-memory", "OOMKilled", f'"OOMKilled": true, "ExitCode": {code}', code)
        else:
            yield End("exit-code", "ExitCode", f'"ExitCode": {code} {state.get("Error") or ""}', code)


def _pods(value: Any) -> Iterator[End]:
    items = _get(value, "items")
    for pod in items if isinstance(items, list) else [value]:
        status = _get(pod, "status")
        if not isinstance(status, dict) or not (_get(pod, "kind") == "Pod" or "containerStatuses" in status):
            continue
        if what := KUBERNETES.get(str(status.get("reason"))):
            yield End(what, "reason", f"{status['reason']} {status.get('message', '')}")
        boxes = status.get("containerStatuses")
        for box in boxes if isinstance(boxes, list) else []:
            waits = isinstance(_get(box, "state", "waiting"), dict)
            over = _get(box, "lastState" if waits else "state", "terminated")
            if isinstance(over, dict):
                code = over.get("exitCode")
                what = KUBERNETES.get(str(over.get("reason")), "exit-code")
                yield End(what, "exitCode", f"{over.get('reason', '')} exit code {code} {over.get('message', '')}", _code(code))


def _sagemaker(value: Any) -> Iterator[End]:
    if isinstance(_get(value, "TrainingJobName"), str):
        status = next((str(value[key]) for key in ("SecondaryStatus", "TrainingJobStatus") if value.get(key) in SERVICES), "")
        if what := SERVICES.get(status):
            reason = value.get("FailureReason") or ""
            yield End(what, "FailureReason" if reason else "SecondaryStatus", f"{status} {reason}")


def _vertex(value: Any) -> Iterator[End]:
    state = _get(value, "state")
    if isinstance(state, str) and state.startswith("JOB_STATE_") and (what := SERVICES.get(state)):
        yield End(what, "message" if _get(value, "error", "message") else "state", f"{state} {_get(value, 'error', 'message') or ''}")


def _azure(value: Any) -> Iterator[End]:
    if isinstance(_get(value, "runId"), str) and (what := SERVICES.get(str(_get(value, "status")))):
        message = _get(value, "error", "error", "message") or _get(value, "error", "message") or ""
        yield End(what, "message" if message else "status", f"{value['status']} {message}")


def _slurm(value: Any) -> Iterator[End]:
    jobs = _get(value, "jobs")
    ends: list[End] = []
    for job in jobs if isinstance(jobs, list) else []:
        if not isinstance(_get(job, "job_id"), int):
            continue
        state = _get(job, "state", "current") or _get(job, "state") or _get(job, "job_state")
        words = [str(word) for word in (state if isinstance(state, list) else [state])]
        what = next((found for word in words if (found := slurm_state(word))), None)
        code = _get(job, "exit_code", "return_code")
        if what:
            ends.append(
                End(what, "job_id", " ".join(words), _code(code["number"] if isinstance(code, dict) and "number" in code else code))
            )
    if len({end.what for end in ends}) == 1:  # of several jobs that ended differently nobody says which is the run's
        yield ends[-1]


FORMS: tuple[Callable[[Any], Iterator[End]], ...] = (_docker, _pods, _sagemaker, _vertex, _azure, _slurm)


def _get(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _code(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1000 else None


def _ends(value: Any) -> list[End]:
    return next((found for form in FORMS if (found := list(form(value)))), [])


def claims(source: SourceFile) -> float:
    """SURE where the beginning of the document has the form of one of the platforms and says how a job ended."""
    if source.head[:64].lstrip()[:1] not in (b"{", b"["):
        return NO
    return SURE if _ends(_json.peek(source.head)) else NO


def read(source: SourceFile, request: Request) -> Reading:
    """One event an end, those that failed where several ended; the message too, where a rule asks for its words."""
    reading = Reading(source.name, NAME)
    value, text = _json.read_document(source, reading)
    lines, at = _json.Lines(text), 0
    found: list[tuple[int, End]] = []
    for end in _ends(value):
        at = max(at, _json.place_of(text, end.key, at))
        found.append((lines[at], end))
    failed = [(line, end) for line, end in found if end.what != "finish" and not (end.what == "exit-code" and end.exit_code == 0)]
    for line, end in failed or found[:1]:
        reading.events.append(_told(source.name, line, end))
        _message(reading, request, line, end.message)
    return reading


def _told(file: str, line: int, end: End) -> Event:
    """The event of an end. A service that only says "failed" often has the word of what it watched in its message."""
    if end.what == "exit-code" and end.exit_code is None:
        for piece in end.message.split("\n"):
            if (found := ending_in(piece)) is not None and found[0] == "scheduler":
                facts = dict(found[1])
                return ended(file, line, str(facts.pop("what")), end.message, **facts)
    return ended(file, line, end.what, end.message, exit_code=end.exit_code)


def _message(reading: Reading, request: Request, line: int, message: str) -> None:
    """A traceback in the message, or the first of its lines that a rule asks for."""
    pieces = message.split("\n")
    if "Traceback (most recent call last)" in message and (events := _folding.exceptions(reading.file, pieces, [line] * len(pieces))):
        reading.events += events
    elif request.wanted is not None:
        wanted = next((piece for piece in pieces if request.wanted.search(piece)), None)
        if wanted is not None:
            reading.events.append(Event(reading.file, line, "log", clean(wanted.strip(), 500)))
