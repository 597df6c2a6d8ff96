"""Regular expressions that are compiled when they are first needed, and the plain texts of which every match holds one.

The rules and formats know hundreds of expressions; to compile them all takes longer than to read a small run, and to try them on
every line longer than to read a large one. So each expression is asked for its needles first: texts of which every match
holds at least one. Where none of them stands in a text, the expression is neither tried nor ever compiled.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

SHORTEST = 4  # letters of a needle that we found in an expression
SHORTEST_TOLD = 2  # letters of one that somebody named: "^C" is rare enough

_DIGITS = re.compile(r"\d")


@functools.lru_cache(maxsize=64)
def plain(text: str) -> str:
    """The text in lower case and without digits: what needles are looked for in."""
    return _bare(text)


def _bare(text: str) -> str:
    return _DIGITS.sub("", text).lower()


@dataclass(frozen=True, eq=False)
class Sought:
    """An expression that is sought in many texts.

    literal  a text that every match holds, where somebody has said so
    needles  every match holds one of these (lower case, without digits); empty: no such texts are known
    exact    False: whether it matches hangs on the digits of a text
    """

    source: str
    flags: int = 0
    literal: str = ""

    @functools.cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.source, self.flags)

    @functools.cached_property
    def needles(self) -> frozenset[str]:
        told = _bare(self.literal)
        return frozenset((told,)) if len(told.strip()) >= SHORTEST_TOLD else needles(self.source, self.flags)

    @functools.cached_property
    def exact(self) -> bool:
        counts = re.sub(r"\\\\|\{\d*,?\d*\}|\\[1-9]|0-9|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}", "", self.source)
        return not _DIGITS.search(counts)

    def search(self, text: str) -> re.Match[str] | None:
        """What `re.search` says, without compiling anything where no needle stands in the text."""
        if self.needles and not any(needle in plain(text) for needle in self.needles):
            return None
        return self.regex.search(text)


@dataclass(frozen=True, eq=False)
class Wanted:
    """Several expressions that are sought together."""

    parts: tuple[Sought, ...]

    @functools.cached_property
    def index(self) -> Index:
        return Index(self.parts)

    def search(self, text: str) -> re.Match[str] | None:
        """The match of the first expression that has one."""
        return next((match for n in self.index.likely(text) if (match := self.parts[n].regex.search(text)) is not None), None)


class Index:
    """Which of many expressions may match a text: their needles are looked for once each, however many expressions share them.

    needles  all of them
    blind    some expression has no needles: every text may match it
    """

    def __init__(self, parts: Sequence[Sought]) -> None:
        found: dict[str, list[int]] = {}
        for number, one in enumerate(parts):
            for needle in one.needles:
                found.setdefault(needle, []).append(number)
        self.needles = frozenset(found)
        self._numbers = tuple(found.items())
        self._always = frozenset(number for number, one in enumerate(parts) if not one.needles)
        self.blind = bool(self._always)

    def likely(self, text: str) -> list[int]:
        """The numbers of the expressions that may match the text, in order."""
        bare = plain(text)
        return sorted(self._always.union(number for needle, numbers in self._numbers if needle in bare for number in numbers))


# ---------------------------------------------------------------------- needles

# One piece of an expression.
_PIECE = re.compile(
    r"(?P<word>[\w:,;'\"/=<>%&@!~-]+(?![?*+{]))"
    r"|(?P<comment>\(\?\#[^)]*\)|\(\?[a-zA-Z]+\))"
    r"|(?P<look>\(\?<?[=!])"
    r"|(?P<call>\(\?(?:P=|&)\w+\)?)"
    r"|(?P<unread>\(\?\(|\(\?[a-zA-Z]*x[a-zA-Z]*(?:-[a-zA-Z]+)?:)"  # "(?(1)a|b)"; a part that is verbose on its own
    r"|(?P<open>\((?:\?(?:P<\w+>|[a-zA-Z]*(?:-[a-zA-Z]+)?:|>))?)"
    r"|(?P<close>\))"
    r"|(?P<bar>\|)"
    r"|(?P<edge>[\^$]|\\[bBAZ])"
    r"|(?P<any>\.|\\(?:x..|u.{4}|U.{8}|N\{[^}]*\}|\d+|[dDwWsSnrtfva])|\[\^?\]?(?:\\.|[^\]\\])*\])"
    r"|\\?(?P<letter>.)",
    re.DOTALL,
)
_COUNT = re.compile(r"(?:(?P<none>[?*]|\{0?,\d*\}|\{0\})|[+]|\{\d+(?:,\d*)?\})[?+]?")
_BLANK = re.compile(r"(?:\s|#[^\n]*(?:\n|$))+")  # means nothing in a verbose expression
_VERBOSE = re.compile(r"\(\?[a-z]*x[a-z]*(?:-[a-z]+)?[):]")


@dataclass(slots=True)
class _Sequence:
    """What must stand one behind the other: words, and sets of needles of which one must be there."""

    words: list[str] = field(default_factory=lambda: [""])
    choices: list[frozenset[str]] = field(default_factory=list)

    def gap(self) -> None:
        """Anything may stand here."""
        self.words.append("")

    def join(self, other: _Sequence) -> None:
        """The pieces of a group that stands here once: its first word goes on where ours ends."""
        self.words[-1] += other.words[0]
        self.words += other.words[1:]
        self.choices += other.choices

    def best(self) -> frozenset[str]:
        """The needles whose shortest is the longest; empty: there are none."""
        words = [frozenset((word,)) for word in (_bare(word) for word in self.words) if len(word.strip()) >= SHORTEST]
        return max([*words, *reversed(self.choices)], key=lambda some: min(map(len, some)), default=frozenset())


@functools.lru_cache(maxsize=1024)
def needles(source: str, flags: int = 0) -> frozenset[str]:
    """Texts (lower case, digits taken out) of which every match holds at least one; empty: none are known."""
    pieces = list(_pieces(source, bool(flags & re.VERBOSE or _VERBOSE.match(source))))
    if any(kind == "unread" for kind, _, _ in pieces[1:]):
        return frozenset()
    return _one_of(_sequences(iter(pieces))[0])


def _pieces(source: str, verbose: bool) -> Iterator[tuple[str, str, str]]:
    """(kind, text, count) of each piece; the count is "" (once), "none" (perhaps not at all) or "more"."""
    at = 0
    while at < len(source):
        if verbose and (blank := _BLANK.match(source, at)):
            at = blank.end()
            continue
        piece = _PIECE.match(source, at)
        assert piece is not None and piece.lastgroup is not None  # the last alternative takes any character
        at, kind = piece.end(), piece.lastgroup
        count = _COUNT.match(source, at) if kind in ("any", "close", "letter", "call") else None
        if count is not None:
            at = count.end()
        yield kind, piece[kind], "" if count is None else "none" if count["none"] else "more"


def _sequences(pieces: Iterator[tuple[str, str, str]]) -> tuple[list[_Sequence], str]:
    """The alternatives up to the end of the group that the pieces are in, and the count of that group."""
    found = [_Sequence()]
    for kind, text, count in pieces:
        here = found[-1]
        if kind == "close":
            return found, count
        if kind == "bar":
            found.append(_Sequence())
        elif kind in ("open", "look", "unread"):
            inner, often = _sequences(pieces)
            if kind != "look" and often == "" and len(inner) == 1:
                here.join(inner[0])
                continue
            here.gap()
            if kind != "look" and often != "none" and (choice := _one_of(inner)):
                here.choices.append(choice)
        elif kind in ("word", "letter"):
            here.words[-1] += text if count != "none" else ""
            if count:
                here.gap()
        elif kind in ("any", "call"):
            here.gap()
    return found, ""


def _one_of(alternatives: list[_Sequence]) -> frozenset[str]:
    each = [one.best() for one in alternatives]
    return frozenset().union(*each) if all(each) else frozenset()
