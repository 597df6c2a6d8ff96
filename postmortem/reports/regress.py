"""The regression test that every mended fault deserves: a pytest file that fails if this finding comes back."""

from __future__ import annotations

import os
import re
from pathlib import Path

from postmortem.errors import NothingToAnalyse, OutputError
from postmortem.model import Diagnosis
from postmortem.reports import words
from postmortem.reports.base import write as write_file
from postmortem.reports.redact import clean


def write(diagnosis: Diagnosis, folder: str | os.PathLike[str]) -> Path:
    """Write test_postmortem_RULE_RUN.py into a folder (made where it is missing) and return its path.

    NothingToAnalyse where the run has no root cause to guard against, OutputError where the file cannot be written.
    """
    if not words.roots(diagnosis):
        raise NothingToAnalyse("nothing wrong was found in this run: there is nothing to write a regression test for")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} could not be made: {error.strerror or error}") from error
    path = Path(folder) / f"test_postmortem_{_word(words.roots(diagnosis)[0].rule)}_{_word(clean(diagnosis).run.name)}.py"
    write_file(path, render(diagnosis))
    return path


def render(diagnosis: Diagnosis) -> str:
    """The test file as text: values go in as Python literals in ASCII, words as words that cannot end a string."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from postmortem._resources import resource

    cleaned = clean(diagnosis)
    finding = words.roots(cleaned)[0]
    # Python comes out of this template, not HTML: every value is a literal made by ascii(), every word is from _word or _prose.
    environment = Environment(
        loader=FileSystemLoader(resource("templates")), autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True
    )
    text: str = environment.get_template("regression_test.py.j2").render(
        title=_prose(finding.title),
        run_name=_prose(cleaned.run.name),
        rule=ascii(finding.rule),
        run=ascii(os.path.abspath(cleaned.run.path)),
        name=_word(finding.rule),
    )
    return text


def _word(text: str) -> str:
    """Text as a part of a Python name and of a file name on every system."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()[:60] or "run"


def _prose(text: str) -> str:
    """Text that may stand in a docstring."""
    return ascii(text)[1:-1].replace("\\", "/").replace('"', "'")
