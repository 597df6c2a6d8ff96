"""Settings in a log: argparse and Namespace dumps, printed dictionaries, lists of `key: value` before the training begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from postmortem.model import Origin, Setting
from postmortem.parsers._literals import flattened, literal, python_literal
from postmortem.parsers._text_prefix import opened

LONGEST_HEAD = 1 << 20  # characters at the beginning of a log in which settings are looked for
MOST_LINES = 8_000
MOST = 2_000  # settings of one log
IN_A_LINE = 4  # pairs that make one line a dump
IN_A_ROW = 3  # lines of one pair each that make a list
REPEATS = 3  # a key printed so often with other values is a metric

_NAMES = r"[A-Za-z_][\w.\-/]{0,60}"
_EQUALS = re.compile(rf"(?<![\w.])({_NAMES})=('[^']*'|\"[^\"]*\"|\[[^\]]*\]|\([^()]*\)|[^\s,;()\[\]{{}}]+)")
_COLONS = re.compile(rf"(?<![\w.])({_NAMES}) : (\[[^\]]*\]|\S+)")
_LINE = re.compile(
    r"^(?P<indent>[\s|>{(]*)(?:[-*\u2022] )?(?:--)?(?P<quote>['\"]?)(?P<key>[A-Za-z_][\w.\-/]*(?: [A-Za-z(][\w.\-/)]*){0,3})(?P=quote)"
    r"\s*(?::|=|\.{3,})\s*(?P<value>\S.*)$"
)
_PARENT = re.compile(r"^(?P<indent>[\s|>]*)['\"]?(?P<key>[A-Za-z_][\w.\-/ ]{0,60}?)['\"]?\s*:\s*$")
_DICTIONARY = re.compile(r"\{\s*['\"][\w./-]+['\"]\s*:.*\}")
# What torchrun prints of the processes that failed, as rows of names and values below one of these, up to a rule.
_FAILED = re.compile(r"\s*(?:Root Cause|(?:Other )?Failures)\b[^:]{0,60}:\s*$")
_RULED = re.compile(r"\s*(?:={10,}|\*{10,}|-{10,})\s*$")
_PROSE = re.compile(
    r"^(?:warning|error|note|usage|info|traceback|file|https?|hint|loading|downloading|saving|time|total|epoch|step|iter)\b", re.IGNORECASE
)


class _Found(NamedTuple):
    key: str
    value: object
    line: int


def settings_of(text: str, file: str, before: int | None) -> tuple[list[Setting], frozenset[int]]:
    """(settings, the lines they stand in), from the lines of a log before line `before`, where the training begins."""
    lines = text[:LONGEST_HEAD].split("\n")[: min(MOST_LINES, before - 1 if before else MOST_LINES)]
    found = list(_found(lines))
    values: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for one in found:
        values.setdefault(one.key, set()).add(str(one.value))
        counts[one.key] = counts.get(one.key, 0) + 1
    metrics = {key for key, some in values.items() if counts[key] >= REPEATS and len(some) > 1}
    first: dict[str, _Found] = {}
    for one in found:
        if one.key not in metrics and len(first) < MOST:
            first.setdefault(one.key, one)
    settings = [Setting(one.key, one.value, Origin(file, one.line)) for one in first.values()]
    rows = {one.line for one in found if one.key in metrics}  # "level=info event=train step=40 loss=1.2": a row, for all its words
    return settings, frozenset(one.line for one in found if one.line not in rows)


def _found(lines: list[str]) -> Iterator[_Found]:
    row: list[_Found] = []
    parents: list[tuple[int, str]] = []
    gap = 0
    failed = False
    for number, raw in enumerate(lines, 1):
        line = opened(raw[:20_000].rstrip("\r"))
        message = line.bare[line.message :]
        failed = _FAILED.match(message) is not None or (failed and _RULED.match(message) is None)
        if failed:
            continue
        many = list(_in_one_line(message, number))
        single = None if many else _single(message, number, parents)
        if single is not None:
            row.append(single)
            gap = 0
            continue
        gap += bool(message.strip()) and not _PARENT.match(message)
        if gap > 1 or many:
            yield from row if len(row) >= IN_A_ROW else ()
            row, gap = [], 0
        yield from many
    yield from row if len(row) >= IN_A_ROW else ()


def _in_one_line(message: str, number: int) -> Iterator[_Found]:
    """A Namespace, a dictionary or another dump of many settings in one line."""
    if (match := _DICTIONARY.search(message)) is not None:
        value = python_literal(match[0])
        if isinstance(value, dict):
            name = re.search(rf"({_NAMES})\s*[:=]\s*$", message[: match.start()])
            yield from (_Found(key, item, number) for key, item in flattened(value, name[1] if name else ""))
            return
    pairs = _EQUALS.findall(message)
    if len(pairs) < IN_A_LINE:
        pairs = _COLONS.findall(message)
    if len(pairs) >= IN_A_LINE:
        yield from (_Found(key, literal(value.strip("'\"")), number) for key, value in pairs)


def _single(message: str, number: int, parents: list[tuple[int, str]]) -> _Found | None:
    """One `key: value`, with the keys above it that it is indented below."""
    if (match := _PARENT.match(message)) is not None:
        indent = len(match["indent"])
        parents[:] = [one for one in parents if one[0] < indent] + [(indent, match["key"].strip())]
        return None
    match = _LINE.match(message)
    if match is None or _PROSE.match(match["key"]):
        return None
    value = match["value"].rstrip()
    value = (value[0] + value[1:].rstrip(",})")).rstrip()  # what closes the dictionary
    if len(value) > 300:
        return None
    if value.endswith((".", ":")) or len(value.split()) > 8:
        return None
    indent = len(match["indent"])
    parents[:] = [one for one in parents if one[0] < indent]
    key = ".".join([*(name for _, name in parents), match["key"].strip()])
    return _Found(key, literal(value.strip("'\"")), number)
