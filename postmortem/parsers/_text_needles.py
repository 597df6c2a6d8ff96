"""Finds, for a regular expression, texts of which every match holds one: a search for those is much faster than the expression."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

SHORTEST = 4  # letters of a needle
LONGEST_SAID = 8_192  # characters of a text in which words that rules ask for are sought: a log line is shorter

try:  # the parser of `re`; where a later Python hides it, every line is tried with every expression
    from re import _parser as sre  # type: ignore[attr-defined]
except ImportError:  # pragma: no cover
    sre = None

_DIGITS = re.compile(r"\d")


@dataclass(frozen=True)
class Branch:
    """An expression, or one alternative of a large one.

    needles  every match holds one of these (lower case, without digits); empty: no such texts are known
    exact    False: whether it matches hangs on the digits of a line
    """

    source: str
    flags: int
    needles: frozenset[str]

    @functools.cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.source, self.flags)

    @functools.cached_property
    def exact(self) -> bool:
        counts = re.sub(r"\\\\|\{\d*,?\d*\}|\\[1-9]|0-9|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}", "", self.source)
        return not _DIGITS.search(counts)


def asked(pattern: re.Pattern[str], text: str) -> bool:
    """Is there what an expression looks for? The needles first: they cost a hundredth of an expression of some hundred alternatives."""
    plain = _DIGITS.sub("", text).lower()
    return any(
        (not one.needles or any(needle in plain for needle in one.needles)) and one.regex.search(text) is not None
        for one in branches(pattern)
    )


@functools.lru_cache(maxsize=8)
def branches(pattern: re.Pattern[str]) -> tuple[Branch, ...]:
    """The alternatives at the top of an expression, each with its needles."""
    flags = pattern.flags & ~re.UNICODE
    return tuple(Branch(part, flags, needles(part, flags)) for part in _alternatives(pattern.pattern))


def branch(source: str, flags: int, literal: str) -> Branch:
    """An expression of which every match holds `literal` ("": nobody said)."""
    plain = _DIGITS.sub("", literal).lower()
    return Branch(source, flags, frozenset((plain,)) if len(plain.strip()) >= SHORTEST else needles(source, flags))


def _alternatives(source: str) -> list[str]:
    """The expression cut at the bars that stand in no group and no class."""
    parts, depth, begin, i, inside = [], 0, 0, 0, False
    while i < len(source):
        char = source[i]
        if char == "\\":
            i += 1
        elif inside:
            inside = char != "]"
        elif char == "[":
            inside = True
            i += 1 + source.startswith("^", i + 1)  # the first character of a class never closes it
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and depth == 0:
            parts.append(source[begin:i])
            begin = i + 1
        i += 1
    return [*parts, source[begin:]]


@functools.lru_cache(maxsize=1024)
def needles(source: str, flags: int = 0) -> frozenset[str]:
    """Texts (lower case, digits taken out) of which every match holds at least one; empty: none are known."""
    if sre is None:  # pragma: no cover
        return frozenset()
    return _needles(sre.parse(source, flags)) or frozenset()


def _needles(parsed: object) -> frozenset[str] | None:
    """The best needles of a sequence: a long run of plain characters, or those of a group that must be there."""
    best: frozenset[str] | None = None
    run = ""
    runs = []
    for op, value in parsed:  # type: ignore[attr-defined]
        name = str(op)
        if name == "LITERAL":
            run += chr(value)
            continue
        if name in ("AT", "ASSERT", "ASSERT_NOT"):  # takes no room: what stands before and behind it stands together
            if name != "AT":
                runs.append(run)
                run = ""
            continue
        runs.append(run)
        run = ""
        inner = _inner(name, value)
        if inner and (best is None or min(map(len, inner)) > min(map(len, best))):
            best = inner
    runs.append(run)
    words = [word for word in (_DIGITS.sub("", run).lower() for run in runs) if len(word.strip()) >= SHORTEST]
    longest = max(words, key=len, default="")
    if longest and (best is None or len(longest) >= min(map(len, best))):
        return frozenset((longest,))
    return best


def _inner(name: str, value: object) -> frozenset[str] | None:
    if name == "SUBPATTERN":
        return _needles(value[-1])  # type: ignore[index]
    if name == "ATOMIC_GROUP":
        return _needles(value)
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return _needles(value[2]) if value[0] >= 1 else None  # type: ignore[index]
    if name == "BRANCH":
        each = [_needles(branch) for branch in value[1]]  # type: ignore[index]
        return frozenset().union(*each) if all(each) else None  # type: ignore[arg-type]
    return None
