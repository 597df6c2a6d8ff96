"""The few lines around a piece of evidence, read from the run directory: regular files inside it only, bounded, never a wrong line."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO

from postmortem.model import Evidence
from postmortem.reports.escape import middle, uncoloured, visible
from postmortem.reports.redact import redact

BEFORE, AFTER = 3, 2  # lines shown around the proof
LENGTH = 300  # characters shown of one line
MOST_BYTES = 256 * 1024 * 1024  # of one file; a proof further down is quoted without its neighbours
MOST_LINE = 1024 * 1024  # characters of one line; longer ones are read in pieces and not shown


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file of the run, fit to be shown. proof: this is the line that the evidence names."""

    number: int
    text: str
    proof: bool


def around(run_path: str, evidence: Iterable[Evidence]) -> dict[Evidence, tuple[Line, ...]]:
    """For each piece of evidence whose line can be found again, the lines around it. What cannot be opened or does not fit is left out.

    Line numbers of binary files count records, and a log may count its carriage returns as lines or not: a line is shown only if it
    holds what the evidence says.
    """
    wanted: dict[str, list[Evidence]] = {}
    for piece in evidence:
        if piece.origin.line is not None:
            wanted.setdefault(piece.origin.file, []).append(piece)
    found: dict[Evidence, tuple[Line, ...]] = {}
    for file, pieces in wanted.items():
        for newline in ("\n", None):
            missing = [piece for piece in pieces if piece not in found]
            if missing:
                found |= _windows(run_path, file, missing, newline)
    return found


def blocks(evidence: Sequence[Evidence], found: Mapping[Evidence, tuple[Line, ...]]) -> list[tuple[list[Evidence], list[Line]]]:
    """Evidence whose lines overlap together, with its lines as one excerpt; pieces without lines stand alone. The order stays."""
    together: list[tuple[list[Evidence], dict[int, Line]]] = []
    for piece in evidence:
        lines = {line.number: line for line in found.get(piece, ())}
        for pieces, known in together:
            if lines and pieces[0].origin.file == piece.origin.file and lines.keys() & known.keys():
                pieces.append(piece)
                proofs = {n for n, line in (*known.items(), *lines.items()) if line.proof}
                known |= {n: replace(line, proof=n in proofs) for n, line in (known | lines).items()}
                break
        else:
            together.append(([piece], lines))
    return [(pieces, [lines[n] for n in sorted(lines)]) for pieces, lines in together]


def _windows(run_path: str, file: str, pieces: list[Evidence], newline: str | None) -> dict[Evidence, tuple[Line, ...]]:
    """The windows of one file. newline: what ends a line, as for `open`."""
    numbers = {n for p in pieces if p.origin.line for n in range(p.origin.line - BEFORE, p.origin.line + AFTER + 1)}
    try:
        lines = dict(_read(run_path, file, numbers, newline))
    except (OSError, UnicodeError, ValueError):
        return {}
    found = {}
    for piece in pieces:
        at = piece.origin.line or 0
        if at in lines and holds(lines[at], piece):
            window = [n for n in range(at - BEFORE, at + AFTER + 1) if n in lines]
            found[piece] = tuple(_shown(window, lines, at))
    return found


def _shown(window: list[int], lines: dict[int, str], at: int) -> Iterator[Line]:
    """Lines without secrets; they are searched together, because a key may run over several of them."""
    texts = redact("\n".join(uncoloured(lines[n]) for n in window), fragment=True)[0].split("\n")
    for number, text in zip(window, texts, strict=True):
        yield Line(number, middle(visible(text).replace("\n", " ").rstrip(), LENGTH), number == at)


def holds(line: str, evidence: Evidence) -> bool:
    """Whether a line says what the evidence says: a longer piece of its quotation, or its value, or the name of its metric."""
    line = " ".join(uncoloured(line).split())
    if not line or "\x00" in line:
        return False
    if evidence.metric is None:
        quoted = " ".join(evidence.text.split("\n")[0].split())
        pieces = [quoted[i : i + 12] for i in range(0, max(1, len(quoted) - 11), 12)]
        names = re.findall(r"\w[\w-]*\.[a-z]\w{0,4}\b", quoted)  # words of ours that name a place in a traceback: "raised at train.py:12"
        return any(piece and visible(piece) in visible(line) for piece in (*pieces, *names))
    if evidence.value is None:
        return evidence.metric.rsplit(".", 1)[-1] in line
    return any(_same(word, evidence.value) for word in re.findall(r"[-+]?(?:\d[\d.]*(?:[eE][-+]?\d+)?|\.\d+|nan|inf)", line, re.IGNORECASE))


def _same(word: str, value: float) -> bool:
    try:
        read = float(word)
    except ValueError:
        return False
    return read == value or (read != read and value != value) or abs(read - value) <= 1e-4 * abs(value)


def _read(run_path: str, file: str, numbers: set[int], newline: str | None) -> Iterator[tuple[int, str]]:
    """The wanted lines of a file with their numbers. OSError or ValueError where it is not a regular text file inside the run directory."""
    root = os.path.realpath(run_path)
    path = os.path.join(root, *file.split("/"))
    if os.path.realpath(path) != path or not path.startswith(root.rstrip(os.sep) + os.sep):
        raise ValueError("not inside the run directory, or behind a link")
    # O_NONBLOCK: opening a pipe without a writer must not wait; then it is refused like everything that is no regular file.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as raw:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("no regular file")
        head = raw.read(4096)
        encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        if encoding != "utf-16" and b"\x00" in head:
            raise ValueError("no text")
        raw.seek(0)
        yield from _numbered(io.TextIOWrapper(raw, encoding, "backslashreplace", newline), numbers)


def _numbered(text: IO[str], numbers: set[int]) -> Iterator[tuple[int, str]]:
    """The wanted lines of an open file; stops after MOST_BYTES characters."""
    last, seen, number = max(numbers, default=0), 0, 0
    while number < last and seen < MOST_BYTES:
        line = text.readline(MOST_LINE)
        if not line:
            return
        number += 1
        seen += len(line)
        if number in numbers:
            yield number, line.rstrip("\r\n")
        while len(line) == MOST_LINE and not line.endswith("\n"):
            line = text.readline(MOST_LINE)
            seen += len(line)
