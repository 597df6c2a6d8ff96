"""What both stores of MLflow share: times, and the status of a run as events."""

from __future__ import annotations

from postmortem.frame import NO_TIME
from postmortem.model import Event

_LATEST = 253402300800 * 10**6  # microseconds: the year 10000
_OLD_SECONDS = 10**11  # a smaller number counts seconds, as very old versions wrote them
# RunStatus of mlflow/protos/service.proto, as file stores number it; databases spell it
_STATUS = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}


def microseconds(time: object) -> int:
    """An MLflow time (milliseconds since 1970) as microseconds; NO_TIME for what is none."""
    if not isinstance(time, int):
        return NO_TIME
    scaled = time * (1_000_000 if abs(time) < _OLD_SECONDS else 1_000)
    return scaled if 0 < scaled < _LATEST else NO_TIME


def lifecycle(file: str, name: str, status: str, start: tuple[int | None, object], end: tuple[int | None, object]) -> list[Event]:
    """The start of a run, and its end where the status says that it ended. RUNNING says nothing: it also stays behind after a crash.

    start and end are (line, MLflow time) in the file.
    """
    events = []
    started, ended = (time if (time := microseconds(stamp)) != NO_TIME else None for _, stamp in (start, end))
    if started is not None:
        events.append(Event(file, start[0], "lifecycle", f"MLflow run {name} started", started, data={"what": "start"}))
    word = _STATUS.get(status, status).upper()
    if word in ("FINISHED", "FAILED", "KILLED"):
        what = "finish" if word == "FINISHED" else "exit"
        events.append(Event(file, end[0], "lifecycle", f"MLflow run {name}: status {word}", ended, data={"what": what, "status": word}))
    return events
