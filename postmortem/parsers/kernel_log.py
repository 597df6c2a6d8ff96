"""Reads what the kernel said about GPUs: dmesg, journal excerpts and nvidia-bug-report.log; only lines about faults are kept."""

from __future__ import annotations

import re
from collections import Counter

from postmortem.model import Event, Reading
from postmortem.parsers._telemetry import lines
from postmortem.parsers.base import LIKELY, NO, SURE, Request, SourceFile
from postmortem.parsers.nvidia_smi import Reports

NAME = "kernel-log"
ABOUT = (
    "dmesg, journalctl -k and nvidia-bug-report.log (also the nvidia-smi -q in it): Xid, fallen off the bus, PCIe errors, the out-of-memory "
    "killer"
)

REPORT = re.compile(rb"nvidia-bug-report\.sh|Start of NVIDIA bug report log file", re.I)
# The kernel's clock has six decimals; `[12]` and `[0.5]` in front of a line count rounds, epochs or seconds of a training.
# `journalctl` writes the month in the user's language, `-o short-iso` the whole date, `dmesg -T` a date in brackets.
DMESG_LINE = re.compile(
    r"^\[\s*\+?\d+\.\d{6}\]\s|^[^\s\d]{1,6}\.?\s+\d+\s[\d:]{8}\s\S+\skernel:\s|^\d{1,2}月\s+\d+\s[\d:]{8}\s\S+\skernel:\s"
    r"|^\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)?\s\S+\skernel:\s|^\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\]\s|^\s+NVRM:|^kern\s*:|^<\d>\["
)
SHARE = 0.6  # of the first lines must look like the kernel's
# Faults in the kernel's words -> kind of event. `what` is for the scheduler words that other rules know.
FAULTS = (
    (
        "hardware",
        "",
        re.compile(
            r"NVRM: Xid|NVRM:.*(fallen off the bus|GPU (at )?\S* has fallen|RmInitAdapter failed|probe routine failed)|GPU has fallen off the bus"
        ),
    ),
    (
        "hardware",
        "",
        re.compile(r"PCIe Bus Error: severity|AER: (Multiple )?(Un)?[Cc]orrected error|AER: (Fatal|Uncorrected \((Non-)?Fatal\))"),
    ),
    (
        "hardware",
        "",
        re.compile(r"nvidia-nvswitch\S*:.*(SXid|fatal)|NVLink.*(fatal|error) |amdgpu.*(GPU reset|ring \S+ timeout|uncorrectable)"),
    ),
    (
        "scheduler",
        "out-of-memory",
        re.compile(r"Out of memory: Kill(ed)? process|oom-kill:|Memory cgroup out of memory|oom_reaper: reaped process"),
    ),
    ("log", "", re.compile(r"\]: segfault at [0-9a-f]+ ip|traps: .* general protection")),
)
CONTINUED = re.compile(r"^\s+NVRM:\s*(.*)")  # the driver breaks a sentence over several lines
MAX_EVENTS = 100  # a storm of the same line says nothing new after that


def claims(source: SourceFile) -> float:
    """SURE for a bug report, LIKELY where most of the first lines are the kernel's."""
    if REPORT.search(source.head[:4096]):
        return SURE
    rows = [row for row in source.head[:8192].decode("utf-8", "replace").splitlines() if row.strip()][:20]
    return LIKELY if rows and sum(bool(DMESG_LINE.match(row)) for row in rows) >= SHARE * len(rows) else NO


def read(source: SourceFile, request: Request) -> Reading:
    """One event a fault; lines of the same kind after the first MAX_EVENTS are counted in a note."""
    reading = Reading(source.name, NAME)
    reports = Reports(source.name) if REPORT.search(source.head[:4096]) else None
    if reports is not None:
        request = Request()  # a bug report holds the whole machine's logs: other words in it are not about this run
    counts: Counter[int] = Counter()
    waiting: tuple[int, str] | None = None
    for line, text in lines(source):
        if reports is not None:
            reports.feed(line, text)
        more = CONTINUED.match(text)
        if more and waiting:
            waiting = (waiting[0], f"{waiting[1]} {more[1]}"[:500])
            continue
        if waiting:
            _keep(reading, counts, request, *waiting)
            waiting = None
        if "NVRM" in text:
            waiting = (line, text.strip()[:500])
        else:
            _keep(reading, counts, request, line, text.strip()[:500])
    if waiting:
        _keep(reading, counts, request, *waiting)
    if reports is not None:
        reading.blocks = reports.telemetry.blocks()
    for number, count in counts.items():
        if count > MAX_EVENTS:
            reading.notes.append(f"{count} lines of one kind ({FAULTS[number][0]}); the first {MAX_EVENTS} were kept")
    if not reading.events:
        reading.notes.append("no line about a GPU fault or the out-of-memory killer")
    return reading


def _keep(reading: Reading, counts: Counter[int], request: Request, line: int, text: str) -> None:
    """Keep a line that tells of a fault, or that a rule asked for (somebody may have pasted other words between the kernel's)."""
    if not text:
        return
    for number, (kind, what, pattern) in enumerate(FAULTS):
        if pattern.search(text):
            counts[number] += 1
            if counts[number] <= MAX_EVENTS:
                reading.events.append(Event(reading.file, line, kind, text, data={"what": what} if what else {}))  # type: ignore[arg-type]
            return
    if request.wanted is not None and len(reading.events) < MAX_EVENTS and not DMESG_LINE.match(text) and request.wanted.search(text):
        reading.events.append(Event(reading.file, line, "hardware", text))
