"""Reads any stdout, stderr or log: series of numbers with their line, step and time, tracebacks, and lines that rules ask for.

The way of a log: `_text_source` gives its bytes in chunks of whole lines, `_text_shapes` finds the few shapes its lines have,
`_text_plans` decides once for each shape what it says (`_text_line`: a dialect of `formats`, or names before numbers in
`_text_pairs`, of which `_text_counters` knows those that count), `_text_builds` keeps damaged lines apart, `_text_columns` reads
the numbers of all lines of a shape at once (`_text_runs`: where their digits stand), `_text_marks` says below which heading, in
which section, table or box each line stands and `_text_rows` in which block of rows, `_text_series` collects the points. `_text_reference`
does all of it line by line and is what the tests hold the fast reader against.

A series is (file, family of lines, name, split, rank). The family of a line is the pattern of a dialect that reads it, or the
words before its first number; and whether it carries a step (`_text_line.Said.family`). How many digits a number has, a nan in
its place, one more field at the end of the line: none of it makes another family.
"""

from __future__ import annotations

import re

import numpy as np

from postmortem.model import Event, Reading
from postmortem.parsers import _text_source as origin
from postmortem.parsers._text_dates import calendar_of
from postmortem.parsers._text_events import Watch
from postmortem.parsers._text_fast import Fast
from postmortem.parsers._text_mend import uncoloured
from postmortem.parsers._text_settings import LONGEST_HEAD, settings_of
from postmortem.parsers._text_tail import TAIL, told_at_the_end
from postmortem.parsers._text_words import words
from postmortem.parsers.base import FALLBACK, NO, PLAUSIBLE, Request, SourceFile

NAME = "text"
ABOUT = "Reads any stdout, stderr or log: numbers with their names, tables, progress bars, tracebacks, and the words of schedulers."

_LOG_NAME = re.compile(
    r"(?:\.(?:log|out|err|txt|stdout|stderr|md|console|[oe]\d+)(?:\.\d+)?|(?:^|[-_./])(?:log|logs|slurm|nohup|stdout|stderr|console|output|train)[^/]*)$",
    re.I,
)
_SOURCE = words(
    """
    .py .sh .bash .ipynb .c .cc .cpp .cu .cuh .h .hpp .js .ts .html .htm .css .rs .go .java .lua .r .jl .m .tex .yaml .yml .json .jsonl
    .ndjson .toml .cfg .ini .csv .tsv .xml .svg .proto .prototxt .patch .diff .lock .env .gitignore .sql .sbatch .slurm
    """
)
_NO_LOG = re.compile(
    r"(?:^|/)(?:readme|license|licence|changelog|requirements|constraints|conda-environment|code_of_conduct|model_card)[^/]*$", re.I
)
_PACKAGE = re.compile(r"^(?:[\w.\[\]-]+(?:==|>=| @ )\S+|-e git\S+|[\w.-]+ +[\d.]+\S*)$")


_NEAR = 100  # lines before the end of a log in which words that a rule asks for may tell of its death
_LARGE = 4 << 20  # bytes of a log from which on it has many chunks
# A block of memory that is asked for and given back at once. From then on glibc keeps blocks up to this size that are given back,
# where it would fetch fresh pages from the system for every array of every chunk: a tenth of the time of a large log.
_BLOCK = 31 << 20


def claims(source: SourceFile) -> float:
    """FALLBACK for anything that is text, PLAUSIBLE where the name says log, NO for binary files, source code and package lists."""
    if not source.head or source.suffix in _SOURCE or _NO_LOG.search(source.name):
        return NO
    text = origin.decoded_head(source.head)
    if text is None or _package_list(text):
        return NO
    return PLAUSIBLE if _LOG_NAME.search(source.name) else FALLBACK


def _harmful(event: Event, last: int) -> bool:
    """May the run have died of it? Then a script, not the training, says "done" in line `last`."""
    return event.kind in ("exception", "scheduler") or (event.kind == "log" and (event.line or 0) > last - _NEAR)


def _package_list(text: str) -> bool:
    lines = [line for line in text.splitlines()[:200] if line.strip()]
    return (
        len(lines) >= 5
        and sum(bool(_PACKAGE.match(line)) for line in lines) >= 0.8 * len(lines)
        and not any("loss" in line for line in lines)
    )


def read(source: SourceFile, request: Request) -> Reading:
    """Every number, event and setting of the log."""
    reading = Reading(source.name, NAME)
    if source.size > _LARGE:
        np.empty(_BLOCK, np.uint8)  # never touched: see _BLOCK
    watch = Watch(source.name, request.wanted)
    bytes_of = origin.Bytes(source, request.most)
    first = bytes_of.text(source.head)
    calendar = calendar_of(source.name, uncoloured(first))
    fast = Fast(source.name, watch, bytes_of.encoding, origin.labelled(uncoloured(first)), calendar)
    tail = b""
    for chunk in bytes_of.chunks():
        if isinstance(chunk, int):
            fast.skip(chunk)
            continue
        fast.feed(chunk)
        tail = chunk[-TAIL:] if len(chunk) >= TAIL else (tail + chunk)[-TAIL:]
    fast.close()
    head = source.head if source.size <= len(source.head) else bytes_of.head(LONGEST_HEAD)
    begins = fast.collector.begins()
    reading.settings, lines = settings_of(bytes_of.text(head), source.name, begins)
    reading.blocks = fast.collector.blocks(lines)
    last = fast.line - tail.endswith((b"\n", b"\r"))
    events = watch.events()
    quiet = begins is not None and not any(_harmful(event, last) for event in events)
    ended, announced = told_at_the_end(bytes_of.text(tail), source.name, last, quiet, calendar)
    reading.settings = [*reading.settings, *announced]
    reading.events = [*events, *ended]
    reading.rejected = fast.collector.refused
    reading.notes = [*bytes_of.notes, *fast.notes(), *fast.collector.notes(), *watch.notes()]
    return reading
