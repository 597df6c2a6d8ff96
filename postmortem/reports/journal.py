"""The debugging journal: one entry a fault, appended under a lock, never twice, and not a byte of the user's text changed."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from postmortem.errors import OutputError
from postmortem.model import Diagnosis
from postmortem.reports import markdown, words
from postmortem.reports.base import replace_file
from postmortem.reports.redact import clean

HEADING = "## Debugging Log"
WAIT = 10.0  # seconds for another process to finish its entry
MOST_PROOFS = 4
_MARKER = re.compile(rb"(?m)^<!-- postmortem:entry ([0-9a-f]{16}) -->\r?$")


def append(diagnosis: Diagnosis, path: str | os.PathLike[str], run_id: str = "", environ: Mapping[str, str] = os.environ) -> bool:
    """Add an entry for the first root cause of a run; False where there is none, or where the journal has it already.

    run_id takes the place of the run's path in the entry's identity. Everything that stands in the file stays as it is, to the byte;
    a link stays a link. OutputError where the file cannot be written or another process holds it for more than WAIT seconds.
    """
    from filelock import FileLock, Timeout

    if not words.roots(diagnosis):
        return False
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path} is a directory: name a journal file in it")
    if not target.parent.is_dir():  # the lock would make it, and nobody would find the journal of a mistyped path
        raise OutputError(f"{path} could not be written: there is no directory {target.parent}")
    lock = FileLock(target.with_name(target.name + ".lock"))
    try:
        with lock.acquire(timeout=WAIT):
            return _append(diagnosis, target, run_id, environ)
    except Timeout as error:
        raise OutputError(f"{path} is being written by another process (waited {WAIT:.0f} s); try again") from error
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}; what was there before is unchanged") from error


def _append(diagnosis: Diagnosis, target: Path, run_id: str, environ: Mapping[str, str]) -> bool:
    old = target.read_bytes() if target.exists() else b""
    if old[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise OutputError(f"{target} is UTF-16 text: save it as UTF-8, or name another journal")
    mark = identity(diagnosis, run_id)
    if mark.encode() in _MARKER.findall(old):
        return False
    entry = render(clean(diagnosis), mark, _today(environ))
    if not re.search(rb"(?m)^" + HEADING.encode(), old):
        entry = f"{HEADING}\n\n{entry}"
    gap = "" if not old else "\n" if old.endswith((b"\n", b"\r")) else "\n\n"
    text = gap + entry
    new = text.replace("\n", "\r\n") if b"\r\n" in old else text
    replace_file(target, lambda file: file.write(old + new.encode("utf-8", "backslashreplace")))
    return True


def identity(diagnosis: Diagnosis, run_id: str = "") -> str:
    """16 hexadecimal digits that are the same for the same run and finding, and for no other."""
    finding = words.roots(diagnosis)[0]
    primary = finding.primary
    run = run_id or os.path.abspath(diagnosis.run.path)
    parts = (run, finding.rule, primary.origin.file, str(primary.origin.line), primary.text)
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def render(diagnosis: Diagnosis, mark: str, date: str) -> str:
    """The entry for a cleaned diagnosis, as Markdown that ends in one newline."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from postmortem._resources import resource

    finding = words.roots(diagnosis)[0]
    also = [*words.roots(diagnosis)[1:], *(f for f, _ in words.others(diagnosis) if f.severity != "note")]
    proofs = [finding.primary, *(e for e in finding.evidence if e is not finding.primary)][:MOST_PROOFS]
    # No HTML comes out of this template: what it is given is escaped for Markdown, where autoescape would only spoil the text.
    environment = Environment(
        loader=FileSystemLoader(resource("templates")), autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    entry: str = environment.get_template("journal.md.j2").render(
        marker=f"<!-- postmortem:entry {mark} -->",
        date=date,
        title=markdown.plain(diagnosis.headline),
        run=markdown.code(diagnosis.run.path),
        symptom=markdown.plain(_symptom(diagnosis)),
        cause=markdown.plain(f"{finding.title} ({finding.rule}, confidence {finding.confidence}). {finding.cause}"),
        proof=markdown.fence("\n".join(markdown.quoted(e) for e in proofs)),
        fixes=[markdown.plain(text) for text in finding.fix],
        prevention=[markdown.plain(text) for text in finding.prevention],
        also=", ".join(markdown.code(f.rule) for f in also),
    )
    return entry.rstrip("\n") + "\n"


def _symptom(diagnosis: Diagnosis) -> str:
    """How the run ended and when the fault began."""
    run = diagnosis.run
    last = f"; its last step was {run.last_step:,}" if run.last_step is not None else ""
    began = words.when(words.roots(diagnosis)[0].onset)
    return f"the run {words.STATUS_WORDS[run.status]}{last}{'; the fault began at ' + began if began else ''}"


def _today(environ: Mapping[str, str]) -> str:
    """The date of the entry: SOURCE_DATE_EPOCH (reproducible-builds.org) where it is set, else today, in UTC."""
    stamp = environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(stamp) if stamp.isdigit() else time.time(), UTC).strftime("%Y-%m-%d")
