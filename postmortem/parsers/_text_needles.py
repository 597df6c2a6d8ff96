"""What rules look for in texts, in parts: each of them has its own needles and is compiled on its own."""

from __future__ import annotations

import functools
import re

from postmortem.patterns import Sought, Wanted

LONGEST_SAID = 8_192  # characters of a text in which words that rules ask for are sought: a log line is shorter


def asked(wanted: Wanted | re.Pattern[str], text: str) -> bool:
    """Is there what rules look for? The needles first: they cost a hundredth of an expression of some hundred alternatives."""
    if isinstance(wanted, Wanted):
        return wanted.search(text) is not None
    return any(one.search(text) is not None for one in branches(wanted))


@functools.lru_cache(maxsize=8)
def branches(wanted: Wanted | re.Pattern[str]) -> tuple[Sought, ...]:
    """The parts of what is wanted; of an expression, the alternatives at its top."""
    if isinstance(wanted, Wanted):
        return wanted.parts
    flags = wanted.flags & ~re.UNICODE
    return tuple(Sought(part, flags) for part in _alternatives(wanted.pattern))


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
