"""Every kept run in fixtures/ is named as its expect.toml says; healthy ones are quiet."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from postmortem._resources import resource
from postmortem.examine import examine
from postmortem.rules.base import catalogue

FIXTURES = resource("fixtures")
FOLDERS = sorted(path.parent for path in FIXTURES.glob("*/expect.toml"))
LARGEST = 70_000  # bytes of one kept run
ALL = 1_200_000  # bytes of all of them


class Expectation(BaseModel):
    """What stands in an expect.toml; fixtures/README.md explains the fields."""

    model_config = ConfigDict(extra="forbid")

    title: str
    how: str
    logger: str
    expect: str
    either: list[str] = []
    also: list[str] = []
    never: list[str] = Field([], alias="not")
    fault: str = ""
    fix: str = ""
    healthy_twin: str = ""
    evidence_file: str = ""
    evidence_line_contains: str = ""


def read(folder: Path) -> Expectation:
    return Expectation.model_validate(tomllib.loads((folder / "expect.toml").read_text()))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_is_named(folder: Path) -> None:
    """The first root cause is the fault that was put in; no forbidden rule speaks up; the proof is the true line."""
    expectation = read(folder)
    diagnosis = examine(folder / "run")
    loud = [finding.rule for finding in diagnosis.findings if finding.severity != "note"]
    if expectation.expect == "healthy":
        assert loud == []
        return
    named = [cause.finding.rule for cause in diagnosis.causes]
    allowed = {expectation.expect, *expectation.either}
    assert named and named[0] in allowed, f"expected {expectation.expect}, named {named}: {expectation.title}"
    assert not set(loud) & set(expectation.never)
    evidence = diagnosis.causes[0].finding.evidence
    if expectation.evidence_file:
        assert expectation.evidence_file in {proof.origin.file for proof in evidence}
    if expectation.evidence_line_contains:
        told = [line_of(folder / "run", proof.origin.file, proof.origin.line) for proof in evidence]
        assert any(expectation.evidence_line_contains in line for line in told), told


def line_of(run: Path, file: str, line: int | None) -> str:
    """The text of a line of a file, empty where there is none."""
    lines = (run / file).read_bytes().decode(errors="replace").split("\n")  # not splitlines: a progress bar's \r ends no line
    return lines[line - 1] if line and line <= len(lines) else ""


def test_there_are_enough() -> None:
    """The kept set holds at least twelve faults and four healthy runs."""
    expected = [read(folder).expect for folder in FOLDERS]
    assert len({rule for rule in expected if rule != "healthy"}) >= 12
    assert expected.count("healthy") >= 4


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_its_expectation_is_sound(folder: Path) -> None:
    """The rules it names exist, its files are small and hold no path of the machine they were made on."""
    expectation = read(folder)
    known = set(catalogue())
    assert {expectation.expect, *expectation.either, *expectation.also, *expectation.never} - {"healthy"} <= known
    files = [path for path in (folder / "run").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST
    for path in files:
        data = path.read_bytes()
        assert b"/root/" not in data and b"/home/" not in data and b"/work/" not in data, path


def test_all_are_small() -> None:
    """The kept set stays small enough for a repository."""
    assert sum(path.stat().st_size for path in FIXTURES.glob("*/run/**/*") if path.is_file()) <= ALL
