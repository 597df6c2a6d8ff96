"""The commands of `postmortem`; the only file that knows every part. Heavy parts are imported where they are used."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postmortem import __version__
from postmortem.errors import NothingToAnalyse, OutputError, UsageError

if TYPE_CHECKING:
    from postmortem.config import Config
    from postmortem.model import Diagnosis

FORMATS = ("text", "json", "markdown", "html", "junit", "sarif", "github", "gitlab", "termination")
FAIL_ON = ("error", "warning", "note", "never")
# What marks a folder as a run directory when none is named: the kinds of files that a training leaves behind.
RUN_MARKS = (
    "*.log",
    "*.out",
    "*.err",
    "*.csv",
    "*.jsonl",
    "events.out.tfevents.*",
    "trainer_state.json",
    "*.wandb",
    "metrics.json",
    "result.json",
)
SEARCH_DEPTH = 3  # folders below the current one that are searched for the newest run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="postmortem")
def command() -> None:
    """Read a finished training run and say what went wrong first, where the proof stands, and what to change."""


@command.command()
@click.argument("run_dir", required=False, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FORMAT[:PATH]",
    help=f"Output: {', '.join(FORMATS)}; `json:out.json` writes a file, `-` is stdout. Repeatable. Default: text.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the HTML report to this file.")
@click.option(
    "--journal", type=click.Path(path_type=Path), help="Append an entry to this journal (never twice for the same run and finding)."
)
@click.option("--fail-on", help="Exit with 1 when a finding is at or above: error (default), warning, note, never.")
@click.option("--run-id", default="", help="Name of the run in the journal, when the directory name is not enough.")
@click.option(
    "--sample-above",
    metavar="SIZE",
    help="Read only about SIZE (20GB) of each log that is larger, in stretches from its beginning to its end. Default: read all.",
)
def examine(
    run_dir: Path | None,
    formats: Sequence[str],
    report: Path | None,
    journal: Path | None,
    fail_on: str | None,
    run_id: str,
    sample_above: str | None,
) -> int:
    """Say why a run ended as it did. RUN_DIR defaults to the newest run directory at or below the current one."""
    import dataclasses

    from postmortem import config
    from postmortem.examine import examine as examine_run

    wanted = [_target(target) for target in formats or ("text",)]
    run_dir = run_dir or newest_run(Path.cwd())
    settings = config.find(Path.cwd(), run_dir)
    if sample_above is not None:
        settings = dataclasses.replace(settings, sample_above=config.size(sample_above))
    threshold = _threshold(fail_on, settings)
    try:
        diagnosis = examine_run(run_dir, settings)
    except NothingToAnalyse as why:  # programs still get their answer; a person reads the one line on stderr
        from postmortem.examine import nothing

        _write(nothing(run_dir, why), [target for target in wanted if target[0] != "text"], report, None, run_id)
        raise
    _write(diagnosis, wanted, report, journal, run_id)
    return int(_fails(diagnosis, threshold))


def _target(target: str) -> tuple[str, str]:
    """ "json:out.json" -> ("json", "out.json"); "json" and "json:-" -> ("json", "-")."""
    name, _, path = target.partition(":")
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; known are {', '.join(FORMATS)}")
    return name, path or "-"


def _threshold(fail_on: str | None, settings: Config) -> tuple[str, ...]:
    chosen = tuple(word.strip() for word in fail_on.split(",")) if fail_on else settings.fail_on
    for word in chosen:
        if word not in FAIL_ON:
            raise UsageError(f"--fail-on {word!r}: known are {', '.join(FAIL_ON)}")
    return chosen


def _fails(diagnosis: Diagnosis, threshold: tuple[str, ...]) -> bool:
    """Whether a finding is at or above the lowest severity that was named."""
    if "never" in threshold:
        return False
    lowest = max(FAIL_ON.index(word) for word in threshold)
    return any(FAIL_ON.index(finding.severity) <= lowest for finding in diagnosis.findings)


def _write(diagnosis: Diagnosis, wanted: Sequence[tuple[str, str]], report: Path | None, journal: Path | None, run_id: str) -> None:
    """Every output that was asked for; one that fails does not keep the others from being written."""
    from postmortem import reports

    failed: list[OutputError] = []
    files = [*wanted, *([("html", str(report))] if report else [])]
    for name, path in sorted(files, key=lambda target: target[1] != "-"):
        try:
            if path == "-":
                reports.show(diagnosis, name)
            else:
                reports.write(Path(path), reports.render(diagnosis, name))
                click.echo(f"{name} report: {path}", err=True)
            reports.publish(diagnosis, name)
        except OutputError as error:
            failed.append(error)
    if journal:
        from postmortem.reports import journal as book

        try:
            added = book.append(diagnosis, journal, run_id=run_id)
            click.echo(f"journal: {journal} ({'entry added' if added else 'nothing to add'})", err=True)
        except OutputError as error:
            failed.append(error)
    if failed:
        raise OutputError("; ".join(map(str, failed)))


def _print(text: str) -> None:
    """Text on stdout in whatever encoding it has; a character it cannot show becomes an escape, never a crash."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    if not text.endswith("\n"):
        sys.stdout.write("\n")
    sys.stdout.flush()


@command.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="X.parquet, X.csv or X.ndjson")
def frame(run_dir: Path, output: Path) -> None:
    """Write everything that was read as one table (columns: docs/frame.md)."""
    from postmortem.examine import frame_of
    from postmortem.reports import tables

    tables.write(frame_of(run_dir), output)


@command.command()
@click.argument("good", type=click.Path(path_type=Path))
@click.argument("bad", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print the comparison."
)
def compare(good: Path, bad: Path, form: str) -> int:
    """Compare two runs: first divergence, config differences, findings gone / new / still there. Exit 1 if BAD has a new error."""
    from postmortem import compare as comparing
    from postmortem.examine import examine as examine_run

    difference = comparing.compare(examine_run(good), examine_run(bad))
    _print(comparing.as_json(difference) if form == "json" else comparing.as_text(difference))
    return int(any(finding.severity == "error" for finding in difference.new))


@command.command()
@click.argument("name", required=False)
def rules(name: str | None) -> None:
    """List the rules, or print one in full: what it means, its causes, thresholds, fix and prevention."""
    from postmortem.rules import pages

    _print(pages.page(name) if name else pages.overview())


@command.group(invoke_without_command=True)
@click.pass_context
def formats(context: click.Context) -> None:
    """List the log formats that are read by name."""
    if context.invoked_subcommand is None:
        from postmortem.formats import pages

        _print(pages.overview())


@formats.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def formats_check(file: Path) -> int:
    """Prove a format file of your own: samples, near misses, every pattern."""
    from postmortem import formats as known

    problems = known.check(file)
    _print("\n".join(problems) if problems else f"{file}: every pattern has a sample, every sample is read whole, near misses are missed")
    return 2 if problems else 0


@command.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", default=Path("tests"), show_default=True, type=click.Path(path_type=Path), help="Folder for the pytest file."
)
def regress(run_dir: Path, output: Path) -> None:
    """Write a pytest file that fails if the root cause of this run comes back."""
    from postmortem.examine import examine as examine_run
    from postmortem.reports import regress as writer

    _print(f"written: {writer.write(examine_run(run_dir), output)}")


@command.group()
def probe() -> None:
    """Helpers for the debug modes of a training: overfit a small split, compare with the identity baseline."""


@probe.command("overfit-split")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--rows", default=32, show_default=True, type=click.IntRange(1), help="Rows in each split.")
@click.option(
    "--output", "-o", default=Path("overfit"), show_default=True, type=click.Path(path_type=Path), help="Folder for train.csv and val.csv."
)
@click.option("--seed", default=0, show_default=True, help="Which rows are drawn.")
def overfit_split(dataset: Path, rows: int, output: Path, seed: int) -> None:
    """Write identical train.csv and val.csv from a dataset CSV (left untouched): a sound model must overfit them."""
    from postmortem import recipes

    _print(recipes.overfit_split(dataset, output, rows=rows, seed=seed))


@probe.command("compare-identity")
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--input", "input_column", default="input", show_default=True, help="Column with the model's input.")
@click.option("--prediction", "prediction_column", default="prediction", show_default=True, help="Column with the model's output.")
@click.option("--target", "target_column", default="target", show_default=True, help="Column with the truth.")
def compare_identity(predictions: Path, input_column: str, prediction_column: str, target_column: str) -> None:
    """Compare a model with the identity (output = input) on the same rows; prints a JSON summary."""
    from postmortem import recipes

    _print(recipes.compare_identity(predictions, input_column, prediction_column, target_column))


def newest_run(start: Path) -> Path:
    """The folder at or below `start` whose newest run file is the newest of all; NothingToAnalyse if there is none."""
    newest: tuple[float, str] | None = None
    for folder, below, _ in os.walk(start):
        depth = len(Path(folder).relative_to(start).parts)
        below[:] = sorted(name for name in below if depth < SEARCH_DEPTH and not name.startswith("."))
        for mark in RUN_MARKS:
            for path in Path(folder).glob(mark):
                if path.is_file() and not path.is_symlink():
                    newest = max(newest or (0.0, ""), (path.stat().st_mtime, folder))
    if newest is None:
        raise NothingToAnalyse(f"no run directory at or below {start}: name one, as in `postmortem examine runs/last`")
    return Path(newest[1])
