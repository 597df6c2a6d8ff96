"""The whole story on one page: a run directory goes in, a diagnosis comes out."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from postmortem import attempts, curves, diagnosis, frame, inventory, parsers
from postmortem.config import Config
from postmortem.errors import NothingToAnalyse
from postmortem.model import Curve, Diagnosis, Ending, Finding, Reading, Run, Unchecked
from postmortem.parsers.base import Request
from postmortem.rules import base as rules

if TYPE_CHECKING:
    import polars as pl


def examine(run_dir: str | Path, config: Config | None = None) -> Diagnosis:
    """Read a finished run directory and say what went wrong first.

    Raises UsageError if there is no such directory, NothingToAnalyse if no file of it holds a number or an event.
    """
    config = config or Config()
    # 1. Read: every file is claimed by the parser that is surest of it; what nobody can read is told.
    readings = read(run_dir, config)
    # 2. Attempts: which lines belong to which start of the run, what it outlived, how it ended.
    tries = attempts.split(readings)
    # 3. One frame, and the curves in it with their change points and shapes.
    every_curve = frame.curves(frame.assemble(readings), tries.last)
    curves.describe_all(every_curve)
    judged = [curve for curve in every_curve if curve.last_attempt]
    # 4. Rules look at the case; what they could not check is told as well.
    run = _run(run_dir, readings, tries)
    settings = [setting for reading in readings for setting in reading.settings]
    case = rules.Case(
        run=run,
        ending=tries.ending,
        curves=tuple(judged),
        history=tuple(curve for curve in every_curve if not curve.last_attempt),
        events=tuple(tries.events),
        settings=tuple(settings),
    )
    findings, unchecked = rules.run(case, config.limits)
    findings = [finding for finding in findings if finding.rule not in config.ignore]
    # 5. What explains what: the findings that nothing explains are the root causes.
    families = {rule.id: rule.family for rule in rules.catalogue().values()}
    ranking = diagnosis.rank(findings, families, tries.ending, run.last_step)
    return Diagnosis(
        run=run,
        ending=tries.ending,
        headline=headline(ranking.causes[0].finding if ranking.causes else None, run, judged, tries.ending),
        readings=readings,
        curves=every_curve,
        events=tries.events,
        settings=settings,
        findings=ranking.findings,
        causes=ranking.causes,
        unchecked=unchecked,
        explained_by=ranking.explained_by,
    )


def nothing(run_dir: str | Path, why: NothingToAnalyse) -> Diagnosis:
    """The answer for a directory without anything to analyse: no finding, no verdict, only what was there and why it was not read."""
    tries = attempts.Attempts()
    return Diagnosis(
        run=_run(run_dir, why.readings, tries),
        ending=tries.ending,
        headline="Nothing to analyse: no file holds a metric or a log line that can be read",
        readings=why.readings,
        curves=(),
        events=(),
        settings=(),
        findings=(),
        causes=(),
        unchecked=[Unchecked(rule, "nothing could be read") for rule in rules.catalogue()],
    )


def read(run_dir: str | Path, config: Config | None = None) -> list[Reading]:
    """Every file of a run directory through its parser, in order of names; skipped files are readings too.

    Raises UsageError if there is no such directory, NothingToAnalyse if nothing in it could be read.
    """
    found = inventory.take(Path(run_dir))
    most = None if config is None else config.sample_above
    readings = parsers.read(found.sources, Request(rules.wanted(), most))
    if not any(reading.rows or reading.events or reading.settings for reading in readings):
        files = len(found.sources) + len(found.skipped)
        what = f"holds {files} file(s), but none with a metric or a log line that can be read" if files else "is empty"
        message = f"{run_dir} {what}; point postmortem at the directory with the run's logs"
        raise NothingToAnalyse(message, sorted([*readings, *found.skipped], key=lambda reading: reading.file))
    for source, reading in zip(found.sources, readings, strict=True):
        if inventory.grown(source):
            reading.notes.append(f"the file is still growing: only its first {source.size:,} bytes were read")
        if reading.settings and not reading.rows:
            reading.notes.append(f"{len(reading.settings)} setting{'s' if len(reading.settings) > 1 else ''}")
    return sorted([*readings, *found.skipped], key=lambda reading: reading.file)


def frame_of(run_dir: str | Path) -> pl.DataFrame:
    """The unified frame of a run directory (docs/frame.md), rows in reading order."""
    readings = read(run_dir)
    attempts.split(readings)
    return frame.assemble(readings).select(frame.COLUMNS)


def headline(first: Finding | None, run: Run, judged: Sequence[Curve], ending: Ending) -> str:
    """One line a person can act on, in our own words."""
    if first is not None:
        at = first.onset
        when = f" (step {at.step})" if at.step is not None else f" (epoch {at.epoch:g})" if at.epoch is not None else ""
        return f"{first.title}{when}"
    stopped = ending.how == "interrupted"
    if run.status in ("crashed", "killed") and not stopped:
        return f"The run {'crashed' if run.status == 'crashed' else 'was killed'}, but the log does not say why"
    how = "the run finished" if run.status == "finished" else "somebody stopped the run" if stopped else "how the run ended is not said"
    looked = f"{len(judged)} curve{'s' if len(judged) != 1 else ''}" if judged else "no curves"
    return f"Nothing wrong found: {how}, {looked} checked"


def _run(run_dir: str | Path, readings: Sequence[Reading], tries: attempts.Attempts) -> Run:
    path = Path(run_dir)
    started, ended = attempts.span(readings)
    return Run(
        path=str(path),
        name=path.resolve().name,
        status=tries.ending.status,
        framework=_framework(readings),
        started=started,
        ended=ended,
        last_step=attempts.last_step(readings),
        attempts=tries.count,
    )


def _framework(readings: Sequence[Reading]) -> str | None:
    """The framework that most readings name ("text: nanoGPT"), None where no format is specific."""
    named = [reading.format.partition(": ")[2] for reading in readings if ": " in reading.format]
    return max(sorted(set(named)), key=named.count) if named else None


class _Callable(types.ModuleType):
    """`postmortem.examine` is this module as soon as anything has imported it, and the function before: so the module can be called too."""

    def __call__(self, run_dir: str | Path, config: Config | None = None) -> Diagnosis:
        return examine(run_dir, config)


sys.modules[__name__].__class__ = _Callable

__all__ = ["examine", "frame_of", "headline", "read"]
