"""Reads any stdout, stderr or log: series of numbers with their line, step and time, tracebacks, and lines that rules ask for.

The way of a log: `_text_source` gives its bytes in chunks of whole lines, `_text_shapes` finds the few shapes its lines have,
`_text_plans` decides once for each shape what it says (`_text_line`: a dialect of `formats`, or names before numbers in
`_text_pairs`), `_text_columns` reads the numbers of all lines of a shape at once, `_text_marks` says below which heading, in
which section, table or box each line stands, `_text_series` collects the points. `_text_reference` does all of it line by
line and is what the tests hold the fast reader against.

A series is (file, family of lines, name, split, rank). The family of a line is the pattern of a dialect that reads it, or the
words before its first number; and whether it carries a step (`_text_line.Said.family`). How many digits a number has, a nan in
its place, one more field at the end of the line: none of it makes another family.
"""

from __future__ import annotations

import re

from postmortem.model import Reading
from postmortem.parsers import _text_source as origin
from postmortem.parsers._text_events import Watch
from postmortem.parsers._text_fast import Fast
from postmortem.parsers._text_settings import LONGEST_HEAD, settings_of
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


def claims(source: SourceFile) -> float:
    """FALLBACK for anything that is text, PLAUSIBLE where the name says log, NO for binary files, source code and package lists."""
    if not source.head or source.suffix in _SOURCE or _NO_LOG.search(source.name):
        return NO
    text = origin.decoded_head(source.head)
    if text is None or _package_list(text):
        return NO
    return PLAUSIBLE if _LOG_NAME.search(source.name) else FALLBACK


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
    watch = Watch(source.name, request.wanted)
    bytes_of = origin.Bytes(source)
    fast = Fast(source.name, watch, bytes_of.encoding, origin.labelled(bytes_of.text(source.head)))
    for chunk in bytes_of.chunks():
        fast.feed(chunk)
    fast.close()
    head = source.head if source.size <= len(source.head) else bytes_of.head(LONGEST_HEAD)
    reading.settings, lines = settings_of(bytes_of.text(head), source.name, fast.collector.begins())
    reading.blocks = fast.collector.blocks(lines)
    reading.events = watch.events()
    reading.rejected = fast.collector.refused
    reading.notes = [*bytes_of.notes, *fast.notes(), *fast.collector.notes(), *watch.notes()]
    return reading
