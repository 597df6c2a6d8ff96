"""Reads what kubectl prints about pods: `describe pod`, `get events`, `get pods`, `get pod -o yaml`: how their containers ended."""

from __future__ import annotations

import re
from collections.abc import Iterator

from postmortem.model import Event, Reading
from postmortem.parsers._job_words import KUBERNETES, ended

EVENTS_HEAD = re.compile(r"^(?:NAMESPACE\s+)?LAST SEEN\s+(?:FIRST SEEN\s+)?(?:COUNT\s+\S+\s+\S+\s+(?:\S+\s+)?)?TYPE\s+REASON\s+OBJECT\b")
EVENTS_ROW = re.compile(
    r"^(?:\S+\s+)?\S+(?:\s\([^)]*\))?\s+(?P<type>Normal|Warning)\s+(?P<reason>[A-Z]\w+)\s+(?P<object>\S+)\s+(?P<message>\S.*)$"
)
POD_KEY = re.compile(r"^(\s*)([A-Z][\w ]*?):(?:\s+(\S.*?))?\s*$")
POD_EVENT = re.compile(r"^\s+(?P<type>Normal|Warning)\s+(?P<reason>[A-Z]\w+)\s+\S.*$")
PODS_HEAD = re.compile(r"^(?:NAMESPACE\s+)?NAME\s+READY\s+STATUS\s+RESTARTS\b")
PODS_ROW = re.compile(r"^(?:\S+\s+)?(?P<name>\S+)\s+\d+/\d+\s+(?P<status>\S+)\s+\d+\b")
YAML_KEY = re.compile(r"^(\s*(?:- )?)([\w.-]+):(?:\s+(.*?))?\s*$")


def is_table(rows: list[str], row: re.Pattern[str], share: float = 0.8) -> bool:
    """Whether such a share of the rows below the head are of one form: a log that begins with a short table is a log."""
    return sum(row.match(one) is not None for one in rows[2:]) >= share * len(rows[2:])


def events(reading: Reading, rows: list[str]) -> None:
    """The events that tell of an end; a pod that found its node in the end was only waiting before."""
    placed = any((found := EVENTS_ROW.match(row)) and found["reason"] in ("Scheduled", "Started") for row in rows)
    for line, row in enumerate(rows, 1):
        found = EVENTS_ROW.match(row)
        what = KUBERNETES.get(found["reason"]) if found else None
        if found and found["reason"] == "FailedScheduling" and not placed:
            reading.events.append(Event(reading.file, line, "log", found["message"][:500]))
        elif found and what:
            text = f"{found['reason']} {found['object']} {found['message']}"
            reading.events.append(ended(reading.file, line, what, text))


def pod(reading: Reading, rows: list[str]) -> None:
    """The state that the containers are in; the one before only where they wait to be started again."""
    path: list[tuple[int, str]] = []
    states: dict[str, dict[str, tuple[int, str]]] = {}  # "container/State" -> key -> (line, value)
    pod: dict[str, tuple[int, str]] = {}
    warnings: list[tuple[int, str, str]] = []
    for line, row in enumerate(rows, 1):
        if (event := POD_EVENT.match(row)) and path and path[0][1] == "Events":
            warnings.append((line, event["reason"], row.strip()))
        if not (found := POD_KEY.match(row)) and not re.fullmatch(r"\s+[\w.-]+:", row):
            continue
        depth, key, value = (len(found[1]), found[2], found[3] or "") if found else (len(row) - len(row.lstrip()), row.strip(" :"), "")
        while path and path[-1][0] >= depth:
            path.pop()
        within = [name for _, name in path]
        if not within:
            pod[key] = (line, value)
        elif within[0] == "Containers" and key in ("State", "Last State"):
            states.setdefault(f"{within[-1]}/{key}", {})[""] = (line, value)
        elif within[0] == "Containers" and within[-1] in ("State", "Last State"):
            states.setdefault(f"{within[1]}/{within[-1]}", {})[key] = (line, value)
        path.append((depth, key))
    told = list(_containers(reading.file, states, rows))
    reason = pod.get("Reason", (0, ""))
    if what := KUBERNETES.get(reason[1]):
        message = pod.get("Message", (0, ""))[1]
        told.insert(0, ended(reading.file, reason[0], what, f"Reason: {reason[1]} {message}"))
    if not told and pod.get("Status", (0, ""))[1] != "Running":
        told = [ended(reading.file, line, KUBERNETES[reason], text) for line, reason, text in warnings if reason in KUBERNETES]
    failed = [event for event in told if event.data["what"] != "finish"]
    reading.events += failed or told[:1]


def _containers(file: str, states: dict[str, dict[str, tuple[int, str]]], rows: list[str]) -> Iterator[Event]:
    for where, state in states.items():
        name, _, which = where.rpartition("/")
        waits = states.get(f"{name}/State", {}).get("", (0, ""))[1] == "Waiting"
        if state.get("", (0, ""))[1] != "Terminated" or (which == "Last State" and not waits):
            continue
        line, reason = state.get("Reason", state[""])
        code = state.get("Exit Code", (0, ""))[1]
        what = KUBERNETES.get(reason, "exit-code")
        if code not in ("", "0") and what == "finish":
            what = "exit-code"
        yield ended(file, line, what, f"{rows[line - 1].strip()} Exit Code: {code}", container=name, exit_code=code or None)


def pods(reading: Reading, rows: list[str]) -> None:
    """The pods of a table that ended; what failed counts only where nothing says that they are other people's: none of them runs on."""
    told: list[Event] = []
    running = False
    for line, row in enumerate(rows, 1):
        if found := PODS_ROW.match(row):
            what = KUBERNETES.get(found["status"])
            running = running or found["status"] == "Running"
            if what is not None:
                told.append(ended(reading.file, line, what, row))
    plain = [event for event in told if event.data["what"] not in ("exit-code", "finish")]
    reading.events += plain or ([] if running or len({event.data["what"] for event in told}) > 1 else told[:1])


def pod_yaml(reading: Reading, rows: list[str]) -> None:
    """`kubectl get pod -o yaml`: the state that the containers are in, the one before where they wait."""
    path: list[tuple[int, str]] = []
    over: dict[str, dict[str, tuple[int, str]]] = {"state": {}, "lastState": {}}
    waits = False
    for line, row in enumerate(rows, 1):
        found = YAML_KEY.match(row)
        if found is None:
            continue
        depth, key, value = len(found[1]), found[2], (found[3] or "").strip("\"'")
        while path and path[-1][0] >= depth:
            path.pop()
        path.append((depth, key))
        keys = [name for _, name in path]
        if "containerStatuses" not in keys:
            continue
        waits = waits or keys[-2:] == ["state", "waiting"]
        if len(keys) > 2 and keys[-2] == "terminated" and keys[-3] in over:
            over[keys[-3]][key] = (line, value)
    state = over["lastState"] if waits else over["state"]
    if state:
        line, reason = state.get("reason", next(iter(state.values())))
        code = state.get("exitCode", (0, ""))[1]
        what = KUBERNETES.get(reason, "exit-code")
        reading.events.append(ended(reading.file, line, what, f"{rows[line - 1].strip()} exitCode: {code}", exit_code=code or None))
