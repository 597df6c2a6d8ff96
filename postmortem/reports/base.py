"""The one door of the reports: a format's name in, its text out, and a file that is either the old one or the whole new one."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TextIO

from postmortem.errors import OutputError, UsageError
from postmortem.model import Diagnosis
from postmortem.reports.redact import clean

# name -> "module:function". A function takes a cleaned Diagnosis and returns the whole output as text.
FORMATS: dict[str, str] = {
    "text": "postmortem.reports.terminal:render",
    "json": "postmortem.reports.json:render",
    "markdown": "postmortem.reports.markdown:render",
    "html": "postmortem.reports.html:render",
    "junit": "postmortem.reports.ci:junit",
    "sarif": "postmortem.reports.ci:sarif",
    "github": "postmortem.reports.github:render",
    "gitlab": "postmortem.reports.ci:gitlab",
    "termination": "postmortem.reports.ci:termination",
}


def render(diagnosis: Diagnosis, format: str, **options: Any) -> str:
    """A diagnosis in one of FORMATS, as text; same diagnosis, same text. UsageError for an unknown format.

    options go to the format's function: text takes width (columns), colour (bool) and encoding.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; known are {', '.join(FORMATS)}")
    module, function = FORMATS[format].split(":")
    text: str = getattr(importlib.import_module(module), function)(clean(diagnosis), **options)
    return text


def show(diagnosis: Diagnosis, format: str = "text", stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Print a diagnosis on a stream (stdout) as that stream can show it: its width, its colours, its encoding.

    A reader who closes the pipe early (`| head`) ends the printing quietly; OutputError where the stream cannot be written to.
    """
    out: TextIO = stream or sys.stdout
    encoding = out.encoding or "utf-8"
    options: dict[str, Any] = {}
    if format == "text":
        from postmortem.reports import terminal

        options = {"width": terminal.columns(out), "colour": terminal.colourful(out, environ), "encoding": encoding}
    text = render(diagnosis, format, **options)
    text = text if text.endswith("\n") else text + "\n"
    try:
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        out.flush()
    except OSError as error:
        # Python flushes stdout once more at exit and would complain there; a stream on the null device has nothing to complain about.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"the {format} report could not be printed: {error.strerror or error}") from error


def publish(diagnosis: Diagnosis, format: str, environ: Mapping[str, str] = os.environ) -> None:
    """What a format leaves besides its text: `github` fills the job summary and the step outputs where the runner asks for them."""
    if format == "github":
        from postmortem.reports import github

        github.publish(clean(diagnosis), environ)


def write(path: str | os.PathLike[str], text: str) -> None:
    """Write a file so that a reader finds the old one or the whole new one, never a part; OutputError says why it could not be."""
    data = text.encode("utf-8", "backslashreplace")
    target = Path(os.path.realpath(path))  # a link stays a link: the file it points at is replaced
    if target.is_dir():
        raise OutputError(f"{path} is a directory: name a file in it")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)  # a device or a pipe cannot be replaced, only written to
        else:
            replace_file(target, lambda file: file.write(data))
    except OSError as error:
        why = f"{error.strerror or error}; what was there before is unchanged"
        raise OutputError(f"{path} could not be written ({len(data):,} bytes): {why}") from error


def replace_file(target: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Let `fill` write a temporary file beside `target`, bring it to the disk, and rename it over. An error leaves `target` as it was."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:80]}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(target))
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced, else those that a new file would have got."""
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
