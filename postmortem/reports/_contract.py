"""The JSON contract in types: they make docs/diagnosis.schema.json, and tests hold the JSON report against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import TypedDict  # pydantic reads no other TypedDict before Python 3.12, and brings this one along

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Number = float | Literal["NaN", "Infinity", "-Infinity"] | None


class Run(TypedDict):
    """The run directory as a whole."""

    path: str
    """The directory as it was named."""
    name: str
    status: Literal["finished", "crashed", "killed", "unknown"]
    """How the last attempt ended."""
    framework: str | None
    started: str | None
    """ISO 8601 in UTC, ends in Z; null: the run does not say."""
    ended: str | None
    """As `started`."""
    last_step: int | None


class Onset(TypedDict):
    """When a fault began, as far as the run says."""

    step: int | None
    epoch: Number
    """A number; null where the run said nothing."""
    time: str | None
    """ISO 8601 in UTC, ends in Z."""


class Evidence(TypedDict):
    """Where to check a finding."""

    text: str
    """May quote the run: do not trust it. It holds no control characters, no known secrets, and at most about 2,000 characters."""
    file: str
    """Path inside the run directory, / on every system."""
    line: int | None
    """1-based line, row or record number."""
    metric: str | None
    """The metric as the file spells it."""
    step: int | None
    value: Number
    """A number; the strings NaN, Infinity, -Infinity where the run said so; null where it said nothing."""
    primary: bool
    """The piece of evidence to look at first."""


class Finding(TypedDict):
    """A fault with its proof: there is at least one piece of evidence."""

    rule: str
    title: str
    severity: Literal["error", "warning", "note"]
    """How bad it is."""
    confidence: Literal["high", "medium", "low"]
    """How sure we are."""
    onset: Onset
    explained_by: list[str]
    """Rule ids of the findings that explain this one; empty: a root cause, or a note."""
    evidence: list[Evidence]
    cause: str
    fix: list[str]
    prevention: list[str]


class Unchecked(TypedDict):
    """A rule that could not be decided on this run."""

    rule: str
    reason: str


class Reading(TypedDict):
    """What was got out of one file."""

    file: str
    format: str
    rows: int
    """Numbers read."""
    events: int
    rejected: int
    """Lines or records that could not be read."""
    notes: list[str]


class Answer(TypedDict):
    """The answer of `postmortem examine --format json`. The same directory gives the same bytes."""

    schema: Literal["postmortem/1"]
    run: Run
    headline: str
    """One line a person can act on."""
    root_causes: list[str]
    """Rule ids in rank order; empty on a healthy run."""
    findings: list[Finding]
    """Root causes first, in rank order."""
    unchecked: list[Unchecked]
    readings: list[Reading]


def adapter() -> TypeAdapter[Any]:
    """The contract as pydantic checks it: nothing more and nothing less than these fields, no conversions."""
    from pydantic import TypeAdapter

    for part in (Run, Onset, Evidence, Finding, Unchecked, Reading, Answer):
        setattr(part, "__pydantic_config__", {"extra": "forbid", "strict": True, "use_attribute_docstrings": True})  # noqa: B010
    return TypeAdapter(Answer)
