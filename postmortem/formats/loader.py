"""Loads format files: TOML in, dialects and endings out; regular expressions are compiled when first used."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from postmortem.errors import FormatError
from postmortem.model import Split

HERE = Path(__file__).parent

# What a regex may call by name, as in (?P<loss>(?&number)); the notation is Perl's for "the group of that name".
WORDS = {
    "number": r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?i:nan(?:\(ind\))?|inf(?:inity)?)",
    "flag": r"(?i:true|false)",
    "integer": r"\d{1,3}(?:,\d{3})+|\d+",
    "clock": r"(?:\d+\s?d(?:ays?)?[,:\s]\s*)?\d+:\d{2}(?::\d{2})?(?:[.,]\d+)?",
    "time": r"\d{4}[-/]\d{2}[-/]\d{2}[T _]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?",
}
_QUOTE = re.compile(r"\{(\w+)\}")
_CALL = re.compile(r"\(\?&(\w+)\)")

# The samples of a dialect, where they stand at the end of its file: they are half of it, and only tests and docs read them.
_SAMPLES = re.compile(r"^\[\[sample\]\]$(?!.*^\[\[?(?!sample\]))", re.MULTILINE | re.DOTALL)

ROLES = ("step", "epoch", "total", "rank", "time", "split")


class Field(NamedTuple):
    """One thing that a pattern found in a line: the role or raw name, and where its text stands (line[start:end])."""

    name: str
    start: int
    end: int
    role: bool


@dataclass(frozen=True)
class Pattern:
    """One line shape of a dialect.

    regex    compiled verbose, used with `search` on one line (ANSI codes and rank prefixes already taken off).
             Groups named in ROLES are roles; every other named group is a value, its raw name is names.get(group, group).
             A raw name may quote another group, as in "grad_path/{path}"; that group is then a word and no value
    pair     for lines with any number of names: a regex with the groups `name` and `value`, found again and again in
             what `regex` matched, except where a group of `regex` already stands; None: only the groups of `regex` count.
             names["*"] rewrites all those names, as in "grad_norm_{name}"
    split    the split of all values of the line, unless the group `split` says it; None: not said (the name may say it)
    literal  a text that every matching line holds, for a fast look before the regex is tried; "" is none
    header   gives step, epoch and split for the lines after it
    aside    its epoch holds for this line only: somebody counts for himself
    """

    name: str
    source: str
    split: Split | None = None
    literal: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    header: bool = False
    pair_source: str = ""
    aside: bool = False

    @functools.cached_property
    def regex(self) -> re.Pattern[str]:
        return compiled(self.source)

    @functools.cached_property
    def pair(self) -> re.Pattern[str] | None:
        return compiled(self.pair_source) if self.pair_source else None

    @functools.cached_property
    def _quoted(self) -> frozenset[str]:
        return frozenset(group for name in self.names.values() for group in _QUOTE.findall(name))

    def read(self, line: str) -> list[Field] | None:
        """What stands in the line, from left to right; None: the pattern does not match it."""
        match = self.regex.search(line) if self.literal in line else None
        if match is None:
            return None
        texts = match.groupdict()
        found = [
            Field(group if group in ROLES else self.raw_name(group, texts), *match.span(group), group in ROLES)
            for group, text in texts.items()
            if text is not None and group not in self._quoted
        ]
        if self.pair is not None:
            taken = [(one.start, one.end) for one in found]
            for more in self.pair.finditer(line, match.start(), match.end()):
                start, end = more.span("value")
                if not any(start < there_end and there_start < end for there_start, there_end in taken):
                    name = more["name"].strip()
                    rule = name if name in self.names else "*"
                    found.append(Field(self.raw_name(rule, {"name": name}, name), start, end, False))
        return sorted(found, key=lambda one: one.start)

    def raw_name(self, group: str, texts: Mapping[str, str | None], default: str = "") -> str:
        """The raw name of a group, with the groups put in that it quotes."""
        return _QUOTE.sub(lambda quote: (texts.get(quote[1]) or "").strip(), self.names.get(group, default or group))


@dataclass(frozen=True)
class Sample:
    """A line in the dialect's format, the pattern that reads it, and what it must yield.

    pattern "" means: the generic reader of text logs reads these lines (tables, boxes, blocks); no pattern may match them.
    """

    line: str
    pattern: str
    expect: Mapping[str, Any]


@dataclass(frozen=True)
class Dialect:
    """One framework's or habit's way to print numbers. near_misses are lines that look like it and must not match."""

    name: str
    title: str
    about: str
    url: str
    patterns: tuple[Pattern, ...]
    near_misses: tuple[str, ...] = ()
    path: Path | None = None

    @functools.cached_property
    def samples(self) -> tuple[Sample, ...]:
        """Lines with what they must yield; read when asked for: no log needs them."""
        return _samples(self.path) if self.path is not None else ()


@dataclass(frozen=True)
class Ending:
    """A line that says how a job began or ended.

    kind     lifecycle (a start or a proper end, written by the training) or scheduler (written about the job from outside)
    what     start, finish, or the manner of death: time-limit, preempted, cancelled, out-of-memory, node-fail, ...
    regex    compiled verbose, used with `search` on one line; its named groups (exit_code, signal, job, ...) are facts
    literal  a text that every matching line holds; "" is none
    last     counts only as the last line of a file
    marks    facts of every such line: job_start (a job begins here), job_end (nothing of this job comes after it)
    """

    name: str
    kind: Literal["lifecycle", "scheduler"]
    what: str
    source: str
    literal: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    near_misses: tuple[str, ...] = ()
    last: bool = False

    @functools.cached_property
    def regex(self) -> re.Pattern[str]:
        return compiled(self.source)

    def read(self, line: str) -> dict[str, str] | None:
        """The facts that the line tells, by group name, and the marks; None: it is no such line."""
        match = self.regex.search(line) if self.literal in line else None
        if match is None:
            return None
        return {**self.marks, **{name: text for name, text in match.groupdict().items() if text is not None}}


@functools.cache
def dialects() -> tuple[Dialect, ...]:
    """Every dialect that ships with us, in the order of their names."""
    return tuple(load(path) for path in sorted(HERE.glob("*.toml")))


@functools.cache
def endings() -> tuple[Ending, ...]:
    """Every start, finish and scheduler word that we know, file by file, in the order in which they are to be tried."""
    return tuple(ending for path in sorted((HERE / "endings").glob("*.toml")) for ending in load_endings(path))


def load(path: Path) -> Dialect:
    """The dialect in the file `path`. Raises FormatError when the file is no TOML or a word of it is missing."""
    data = read_toml(path, without=_SAMPLES)
    try:
        patterns = tuple(
            Pattern(
                p["name"],
                p["regex"],
                p.get("split"),
                p.get("literal", ""),
                p.get("names", {}),
                p.get("header", False),
                p.get("pair", ""),
                p.get("aside", False),
            )
            for p in data.get("pattern", [])
        )
        return Dialect(path.stem, data["title"], data["about"], data["url"], patterns, tuple(data.get("near_miss", [])), path)
    except (KeyError, TypeError) as error:
        raise FormatError(f"{path.name}: {error} is missing or of the wrong kind") from error


def _samples(path: Path) -> tuple[Sample, ...]:
    try:
        return tuple(Sample(s["line"], s.get("pattern", ""), s.get("expect", {})) for s in read_toml(path).get("sample", []))
    except (KeyError, TypeError) as error:
        raise FormatError(f"{path.name}: {error} is missing or of the wrong kind") from error


def load_endings(path: Path) -> tuple[Ending, ...]:
    """The endings in the file `path`. Raises FormatError like `load`."""
    data = read_toml(path)
    try:
        return tuple(
            Ending(
                e["name"],
                e["kind"],
                e["what"],
                e["regex"],
                e.get("literal", ""),
                e.get("marks", {}),
                tuple(Sample(s["line"], e["name"], s.get("expect", {})) for s in e.get("sample", [])),
                tuple(e.get("near_miss", [])),
                e.get("last", False),
            )
            for e in data["ending"]
        )
    except (KeyError, TypeError) as error:
        raise FormatError(f"{path.name}: {error} is missing or of the wrong kind") from error


def read_toml(path: Path, without: re.Pattern[str] | None = None) -> dict[str, Any]:
    """The file as a dictionary. Raises FormatError with the place of the mistake.

    without: tables that nobody needs now; where the file holds nothing else from the first of them on, that rest is not read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rest = without.search(text) if without is not None else None
        return tomllib.loads(text[: rest.start()] if rest is not None else text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"{path.name}: {error}") from error


def compiled(source: str) -> re.Pattern[str]:
    """The regex of a format file: verbose, with the words of WORDS put in. Raises FormatError."""
    try:
        return re.compile(_CALL.sub(lambda call: f"(?:{WORDS[call[1]]})", source), re.VERBOSE)
    except KeyError as error:
        raise FormatError(f"unknown word (?&{error.args[0]}); there are {', '.join(WORDS)}") from error
    except re.error as error:
        raise FormatError(f"bad regex: {error}") from error


_LETTERS = {"k": 1e3, "m": 1e6, "g": 1e9}  # behind a number: "51.2k"


def number(text: str) -> float:
    """The value of a text that `(?&number)`, `(?&integer)` or `(?&flag)` matched, maybe with a k, M or G. Raises ValueError for anything else."""
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    text = text.replace(",", "")
    if text[-1:].lower() in _LETTERS:
        return float(text[:-1]) * _LETTERS[text[-1].lower()]
    return float(text[: text.index("(")] if text.endswith(")") else text)


def split_of(word: str) -> Split | None:
    """Which split a word such as "Train", "valid", "dev" or "TEST" means; None: none of them."""
    word = word.strip().lower()
    for split, beginnings in _SPLITS.items():
        if word.startswith(beginnings):
            return split
    return None


_SPLITS: dict[Split, tuple[str, ...]] = {"train": ("tr",), "val": ("val", "dev", "eval"), "test": ("test", "tst")}
