"""Reads what a scheduler tells about a job when it is asked: `sacct`, HTCondor's job log, `kubectl describe pod` and `get events`, exit codes.

Such a report is not told in the order of time ("Last State" stands below "State", a step below its job), so it is read as a whole and
says one thing: how the job ended.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

from postmortem.model import Event, Reading
from postmortem.parsers import _job_kubernetes as kubernetes
from postmortem.parsers._job_words import ended, slurm_state
from postmortem.parsers._telemetry import Telemetry, lines, rows_of
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "job-report"
ABOUT = (
    "sacct in any format (columns or |), HTCondor job logs, kubectl describe pod, get pods, get events and get pod -o yaml, files that hold "
    "an exit code alone: how the job ended."
)

MOST = 4 << 20  # bytes of a report that are read
CODE_NAME = re.compile(r"(?:^|[._-])(?:exit[_-]?(?:code|status)|return[_-]?code|retcode|rc)(?:\.(?:txt|log|out|\d+))?$", re.I)
CODE = re.compile(rb"\s*-?\d{1,3}\s*\Z")
# squeue, bjobs, qstat, condor_q: jobs that wait or run
QUEUE_HEAD = re.compile(r"^\s*(?:JOBID\s+(?:PARTITION|USER)\s+\S+|job-ID\s+prior\s+name|Job ID\s+Name\s+User|\s*ID\s+OWNER\s+SUBMITTED)\s")
SACCT_NAMES = re.compile(r"[A-Za-z][A-Za-z%0-9]*")
DASHES = re.compile(r"-{2,}")
WORDS = re.compile(r"\S+\s*")  # a column as wide as its name and the blanks behind it
SACCT_ROW = re.compile(r"^\s*(?:\d+[\w.+\[\]-]*[\s|]|[-=\s|]+$|[^|]*\|)")
JOB = re.compile(r"(\d+)((?:_\w+|_\[[^\]]*\]|\+\d+)?)((?:\.\w*\+?)?)")  # job, task of an array, step
CONDOR = re.compile(r"(\d{3}) \((\d+\.\d+)\.\d+\) \S+(?: \S+)? (.*)")
CONDOR_VALUE = re.compile(r"\s+(\d+)\s+-\s+MemoryUsage of job \(MB\)")
CONDOR_END = re.compile(r"\s+\(\d\) (?:Normal termination \(return value (?P<code>\d+)\)|Abnormal termination \(signal (?P<signal>\d+)\))")
CONDOR_HELD = (  # the reason for a hold -> what it was
    (re.compile(r"memory limit|exceeded request_memory|memory usage"), "out-of-memory"),
    (re.compile(r"exceeded allowed (?:execute|job) duration"), "time-limit"),
)


def claims(source: SourceFile) -> float:
    """SURE for the head of one of the reports; of a bare number only where the name says that it is an exit code."""
    return SURE if _form(source) else NO


def _form(source: SourceFile) -> Callable[[Reading, list[str]], None] | None:
    if source.size <= 16 and CODE.match(source.head):
        return _exit_code if CODE_NAME.search(source.basename) else None
    rows = rows_of(source, 40)
    if not rows:
        return None
    if CONDOR.match(rows[0]) and any(row == "..." for row in rows):
        return _condor
    if any(kubernetes.EVENTS_HEAD.match(row) for row in rows[:2]) and kubernetes.is_table(rows, kubernetes.EVENTS_ROW):
        return kubernetes.events
    if any(kubernetes.PODS_HEAD.match(row) for row in rows[:2]) and kubernetes.is_table(rows, kubernetes.PODS_ROW):
        return kubernetes.pods
    if rows[0].startswith("Name:") and b"\nContainers:" in source.head:
        return kubernetes.pod
    if source.suffix in (".yaml", ".yml") and b"kind: Pod\n" in source.head and b"containerStatuses:" in source.head:
        return kubernetes.pod_yaml
    if QUEUE_HEAD.match(rows[0]):
        return _queue
    table = any(_is_sacct(row, below) for row, below in itertools.pairwise(rows[:5]))
    return _sacct if table and kubernetes.is_table(rows[:20], SACCT_ROW, 0.3) else None


def _is_sacct(row: str, below: str) -> bool:
    names = SACCT_NAMES.findall(row)
    rule = set(below.strip())
    return "State" in names and any(name.startswith("JobID") for name in names) and ("|" in row or rule <= {"-", " "} or rule == {"="})


def read(source: SourceFile, request: Request) -> Reading:
    """One event: how the job ended; where a report tells of several jobs that ended differently, none, and a note."""
    reading = Reading(source.name, NAME)
    rows = [text for _, text in lines(source, MOST)]
    form = _form(source)
    if form is not None:
        form(reading, rows)
    if source.size > MOST:
        reading.notes.append(f"only the first {MOST >> 20} MB are read")
    if not reading.events:
        reading.notes.append("no job of which it says how it ended")
    return reading


def _queue(reading: Reading, rows: list[str]) -> None:
    reading.notes.append("a list of jobs that wait or run")


def _exit_code(reading: Reading, rows: list[str]) -> None:
    line, text = next((number, row.strip()) for number, row in enumerate(rows, 1) if row.strip())
    reading.events.append(ended(reading.file, line, "exit-code", f"exit code {text}", exit_code=text))


# ---------------------------------------------------------------------- sacct


def _sacct(reading: Reading, rows: list[str]) -> None:
    """The last word on each job of the table; a job's steps only where its own row is missing."""
    jobs: dict[str, dict[tuple[str, str], Event | None]] = {}
    for line, cells in _cells(rows):
        job = next((JOB.match(cells[name]) for name in ("JobID", "JobIDRaw") if name in cells), None)
        what = slurm_state(cells.get("State", ""))
        if job is None:
            continue
        if what is None:  # it runs or waits
            jobs.setdefault(job[1], {})[job[2], job[3]] = None
            continue
        code, _, signal = cells.get("ExitCode", "").partition(":")
        facts = {"job": job[1], "state": cells["State"]}
        if what == "exit-code":
            facts |= {"signal": signal} if signal not in ("", "0") else {"exit_code": code or "1"}
        jobs.setdefault(job[1], {})[job[2], job[3]] = ended(reading.file, line, what, rows[line - 1].strip(" |"), **facts)
    told = []
    for tasks in jobs.values():
        own = [event for (_, step), event in tasks.items() if not step]
        told += [event for event in own or tasks.values() if event is not None]
    _agreed(reading, told)


def _agreed(reading: Reading, told: list[Event]) -> None:
    """The end that all jobs of a report have in common: which of several jobs is the run's, nobody says."""
    if len({event.data["what"] for event in told}) == 1:
        reading.events.append(told[-1])
    elif told:
        reading.notes.append(f"{len(told)} jobs that ended differently: none of them was taken as the run's")


def _cells(rows: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by name) of each row below a head: cut at "|", or under the dashes of a table with columns."""
    names: list[str] = []
    spans: list[tuple[int, int]] = []
    for line, (row, below) in enumerate(zip(rows, [*rows[1:], ""], strict=True), 1):
        if _is_sacct(row, below):
            spans = [] if "|" in row else [found.span() for found in (WORDS.finditer(row) if "=" in below else DASHES.finditer(below))]
            names = [row[start:end].strip() for start, end in spans] if spans else [name.strip() for name in row.split("|")]
        elif names and spans and set(row) - {"-", "=", " "}:
            yield line, _under(row, names, spans)
        elif names and not spans and "|" in row:
            yield line, {name: cell.strip() for name, cell in zip(names, row.split("|"), strict=False)}


def _under(row: str, names: list[str], spans: list[tuple[int, int]]) -> dict[str, str]:
    """The words of a row below the dashes that they share most with: what was pasted into a mail is seldom straight."""
    cells = dict.fromkeys(names, "")
    for word in re.finditer(r"\S+", row):
        shared = [min(end, word.end()) - max(start, word.start()) for start, end in spans]
        name = names[shared.index(max(shared))]
        cells[name] = f"{cells[name]} {word.group()}".strip()
    return cells


# ---------------------------------------------------------------------- HTCondor


def _condor(reading: Reading, rows: list[str]) -> None:
    """What became of each job last: an eviction or a hold counts until the job runs again."""
    last: dict[str, Event | None] = {}
    telemetry = Telemetry()
    number = job = ""
    for line, row in enumerate(rows, 1):
        if head := CONDOR.match(row):
            number, job = head[1], head[2]
            what = {"004": "evicted", "009": "cancelled", "012": "held"}.get(number)
            last.setdefault(job, None)
            if what or number in ("001", "013"):
                last[job] = ended(reading.file, line, what, row) if what else None
        elif found := CONDOR_VALUE.match(row):
            telemetry.add("MemoryUsage of job (MB)", None, float(found[1]), line, None)
        elif number == "005" and (found := CONDOR_END.match(row)):
            what = "finish" if found["code"] == "0" else "exit-code" if found["code"] else "signal"
            last[job] = ended(reading.file, line, what, row, exit_code=found["code"], signal=found["signal"])
        elif number == "012" and (why := next((what for pattern, what in CONDOR_HELD if pattern.search(row)), None)):
            last[job] = ended(reading.file, line, why, row)
    reading.blocks = telemetry.blocks()
    _agreed(reading, [event for event in last.values() if event is not None and event.data["what"] != "held"])
