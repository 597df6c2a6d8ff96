"""The JSON contract as pydantic models: they make docs/diagnosis.schema.json and check, in tests, what the JSON report writes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Time = Field(description="ISO 8601 in UTC, ends in Z; null: the run does not say.", pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$")
Number = float | Literal["NaN", "Infinity", "-Infinity"] | None
NUMBER = "A number; the strings \"NaN\", \"Infinity\", \"-Infinity\" where the run said so; null where it said nothing."


class Part(BaseModel):
    """A part of the contract: nothing more, nothing less than these fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Run(Part):
    """The run directory as a whole."""

    path: str = Field(description="The directory as it was named.")
    name: str
    status: Literal["finished", "crashed", "killed", "unknown"] = Field(description="How the last attempt ended.")
    framework: str | None
    started: str | None = Time
    ended: str | None = Time
    last_step: int | None


class Onset(Part):
    """When a fault began, as far as the run says."""

    step: int | None
    epoch: Number = Field(description=NUMBER)
    time: str | None = Time


class Evidence(Part):
    """Where to check a finding. `text` may quote the run and is not to be trusted: no control characters, no known secrets, at most about 2,000 characters."""

    text: str
    file: str = Field(description="Path inside the run directory, / on every system.")
    line: int | None = Field(description="1-based line, row or record number.")
    metric: str | None = Field(description="The metric as the file spells it.")
    step: int | None
    value: Number = Field(description=NUMBER)
    primary: bool = Field(description="The piece of evidence to look at first.")


class Finding(Part):
    """A fault with its proof."""

    rule: str
    title: str
    severity: Literal["error", "warning", "note"] = Field(description="How bad it is.")
    confidence: Literal["high", "medium", "low"] = Field(description="How sure we are.")
    onset: Onset
    explained_by: list[str] = Field(description="Rule ids of the findings that explain this one; empty: a root cause, or a note.")
    evidence: list[Evidence] = Field(min_length=1)
    cause: str
    fix: list[str]
    prevention: list[str]


class Unchecked(Part):
    """A rule that could not be decided on this run."""

    rule: str
    reason: str


class Reading(Part):
    """What was got out of one file."""

    file: str
    format: str
    rows: int = Field(description="Numbers read.")
    events: int
    rejected: int = Field(description="Lines or records that could not be read.")
    notes: list[str]


class Diagnosis(Part):
    """The answer of `postmortem examine --format json`. The same directory gives the same bytes."""

    model_config = ConfigDict(extra="forbid", strict=True, title="postmortem/1")

    schema_: Literal["postmortem/1"] = Field(alias="schema")
    run: Run
    headline: str = Field(description="One line a person can act on.")
    root_causes: list[str] = Field(description="Rule ids in rank order; empty on a healthy run.")
    findings: list[Finding] = Field(description="Root causes first, in rank order.")
    unchecked: list[Unchecked]
    readings: list[Reading]
