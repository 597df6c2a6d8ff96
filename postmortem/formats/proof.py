"""Proves a format file: the schema, every sample read whole by one pattern with the expected fields, every near miss missed."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postmortem.errors import FormatError
from postmortem.formats.loader import (
    ROLES,
    Dialect,
    Ending,
    Pattern,
    Sample,
    dialects,
    endings,
    load,
    load_endings,
    number,
    read_toml,
    split_of,
)

PENDING = "pending"  # a word that is no value: no pattern may take it for one
HOLES = ("\x00", " \x00 ")  # stand in place of a literal when we prove that the expression needs it


def check(path: Path) -> list[str]:
    """What is wrong with the file, one sentence a problem; empty: nothing is."""
    try:
        data = read_toml(path)
        problems = _schema_problems(data, "ending" if "ending" in data else "dialect")
        if problems:
            return problems
        if "ending" in data:
            return list(_endings_problems(load_endings(path)))
        return list(_dialect_problems(load(path)))
    except FormatError as error:
        return [str(error)]


# ---------------------------------------------------------------------- the schema


@functools.cache
def _models() -> dict[str, Any]:
    """The pydantic models of both kinds of file."""
    from typing import Literal

    from pydantic import BaseModel, ConfigDict, Field

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid", allow_inf_nan=True)

    Side = Literal["train", "val", "test"]

    class PatternModel(Strict):
        name: str = Field(min_length=1)
        regex: str = Field(min_length=1)
        pair: str = ""
        split: Side | None = None
        header: bool = False
        aside: bool = False
        literal: str = ""
        names: dict[str, str] = Field(default_factory=dict)

    class ExpectModel(Strict):
        step: int | None = None
        epoch: float | None = None
        total: float | None = None
        rank: int | None = None
        time: str | None = None
        split: Side | None = None
        values: dict[str, float] = Field(default_factory=dict)

    class SampleModel(Strict):
        line: str = Field(min_length=1)
        pattern: str = ""
        expect: ExpectModel

    class DialectModel(Strict):
        title: str = Field(min_length=1)
        about: str = Field(min_length=1)
        url: str = Field(pattern="^https?://")
        near_miss: list[str] = Field(min_length=1)
        pattern: list[PatternModel] = Field(default_factory=list)
        sample: list[SampleModel] = Field(min_length=1)

    class FactsModel(Strict):
        line: str = Field(min_length=1)
        expect: dict[str, str] = Field(default_factory=dict)

    class EndingModel(Strict):
        name: str = Field(min_length=1)
        kind: Literal["lifecycle", "scheduler"]
        what: str = Field(pattern="^[a-z-]+$")
        regex: str = Field(min_length=1)
        literal: str = ""
        last: bool = False
        marks: dict[str, str] = Field(default_factory=dict)
        sample: list[FactsModel] = Field(min_length=1)
        near_miss: list[str] = Field(min_length=1)

    class EndingsModel(Strict):
        ending: list[EndingModel]

    return {"dialect": DialectModel, "ending": EndingsModel}


def _schema_problems(data: dict[str, Any], kind: str) -> list[str]:
    from pydantic import ValidationError

    try:
        _models()[kind].model_validate(data)
    except ValidationError as error:
        return [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg'].lower()}" for one in error.errors()]
    return []


# ---------------------------------------------------------------------- dialects


def _dialect_problems(dialect: Dialect) -> Iterator[str]:
    names = [pattern.name for pattern in dialect.patterns]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"pattern {name} stands twice"
    broken = [(pattern, problem) for pattern in dialect.patterns if (problem := _uncompiled(pattern))]
    if broken:
        yield from (f"pattern {pattern.name}: {problem}" for pattern, problem in broken)
        return
    for name in names:
        if not any(sample.pattern == name for sample in dialect.samples):
            yield f"pattern {name} has no sample"
    others = [(other.name, pattern) for other in dialects() if other.name != dialect.name for pattern in other.patterns]
    for sample in dialect.samples:
        yield from _sample_problems(dialect, sample, others)
    for line in dialect.near_misses:
        for pattern in dialect.patterns:
            if pattern.read(line) is not None:
                yield f"near miss {_short(line)} is matched by pattern {pattern.name}"


def _uncompiled(pattern: Pattern) -> str:
    """Why the pattern's expressions cannot be used, "" if they can."""
    try:
        groups = pattern.regex.groupindex
        if pattern.pair is not None and not {"name", "value"} <= set(pattern.pair.groupindex):
            return "pair needs the groups `name` and `value`"
    except FormatError as error:
        return str(error)
    if pattern.header and not {"step", "epoch", "split"} & set(groups) and pattern.split is None:
        return "a header must give step, epoch or split"
    if not groups and pattern.pair is None:
        return "has no named group and no pair: it reads nothing"
    return ""


def _sample_problems(dialect: Dialect, sample: Sample, others: list[tuple[str, Pattern]]) -> Iterator[str]:
    where = f"sample {_short(sample.line)}"
    lines = sample.line.strip("\n").splitlines() if not sample.pattern else [sample.line]
    for line in lines:
        readers = [p.name for p in dialect.patterns if p.read(line) is not None]
        readers += [f"{name}/{pattern.name}" for name, pattern in others if pattern.read(line) is not None]
        if readers != ([sample.pattern] if sample.pattern else []):
            yield f"{where}: read by {' and '.join(readers) or 'no pattern'}, expected {sample.pattern or 'the generic reader'}"
            return
    if not sample.pattern:
        return
    pattern = next(p for p in dialect.patterns if p.name == sample.pattern)
    if (told := _told(pattern, sample.line)) != (due := _due(sample)):
        yield f"{where}: reads {_difference(told, due)}"
    yield from (f"{where}: {problem}" for problem in _loose_ends(pattern, sample.line))


def _told(pattern: Pattern, line: str) -> dict[str, object]:
    """What the pattern reads in the line: roles by name, values as ("value", raw name); NaN as the word, for NaN is not NaN."""
    told: dict[str, object] = {"split": pattern.split} if pattern.split else {}
    for one in pattern.read(line) or []:
        text = line[one.start : one.end]
        if one.role and one.name == "split":
            told["split"] = split_of(text) or text
        elif one.role and one.name == "time":
            told["time"] = text
        else:
            told[one.name if one.role else f"value {one.name}"] = _plain(number(text))
    return told


def _due(sample: Sample) -> dict[str, object]:
    expect = dict(sample.expect)
    values = expect.pop("values", {})
    due: dict[str, object] = {role: expect[role] if role in ("split", "time") else _plain(expect[role]) for role in ROLES if role in expect}
    return due | {f"value {name}": _plain(value) for name, value in values.items()}


def _plain(value: float) -> object:
    return "nan" if math.isnan(value) else float(value)


def _difference(told: dict[str, object], due: dict[str, object]) -> str:
    parts = [
        f"{key} = {told[key]}" + (f", expected {due[key]}" if key in due else ", which is not expected")
        for key in told
        if told[key] != due.get(key)
    ]
    return "; ".join(parts + [f"no {key}" for key in due if key not in told])


def _loose_ends(pattern: Pattern, line: str) -> Iterator[str]:
    """Would the pattern also read a line that is not one of its kind?"""
    fields = pattern.read(line) or []
    for one in fields:
        around = line[max(0, one.start - 1) : one.start + 1], line[one.end - 1 : one.end + 1]
        if any(len(pair) == 2 and pair.isdigit() for pair in around):  # readers take whole runs of digits
            yield f"{one.name} is only a part of the digits that stand there"
        changed = line[: one.start] + PENDING + line[one.end :]
        if any(again.name == one.name and again.start == one.start for again in pattern.read(changed) or []):
            yield f"the word {PENDING} is taken for {one.name}"
    if _not_needed(pattern, line):
        yield f"the pattern also matches without its literal {pattern.literal!r}"


# ---------------------------------------------------------------------- endings


def _endings_problems(found: tuple[Ending, ...]) -> Iterator[str]:
    try:
        for ending in found:
            ending.regex  # noqa: B018  compiles it, raises FormatError
    except FormatError as error:
        yield f"{ending.name}: {error}"
        return
    known = [ending for ending in endings() if ending.name not in {one.name for one in found}]
    for ending in found:
        for sample in ending.samples:
            facts = ending.read(sample.line)
            if facts is None:
                yield f"{ending.name}: sample {_short(sample.line)} is not matched"
            elif facts != dict(sample.expect):
                yield f"{ending.name}: sample {_short(sample.line)} tells {facts}, expected {dict(sample.expect)}"
            else:
                yield from (
                    f"{ending.name}: sample {_short(sample.line)} is also matched by {other}"
                    for other in _rivals(ending, sample.line, [*found, *known])
                )
            if _not_needed(ending, sample.line):
                yield f"{ending.name}: also matches without its literal {ending.literal!r}"
        for line in ending.near_misses:
            yield from (
                f"{ending.name}: near miss {_short(line)} is matched by {other.name}" for other in found if other.read(line) is not None
            )


def _rivals(ending: Ending, line: str, among: list[Ending]) -> list[str]:
    return [other.name for other in among if other is not ending and other.what != ending.what and other.read(line) is not None]


def _not_needed(form: Pattern | Ending, line: str) -> bool:
    """Does the expression also match where its literal is missing? Then the fast look for the literal would lose lines."""
    return bool(form.literal) and any(form.regex.search(line.replace(form.literal, hole)) for hole in HOLES)


def _short(line: str) -> str:
    line = line.strip()
    return repr(line if len(line) <= 60 else line[:57] + "...")
