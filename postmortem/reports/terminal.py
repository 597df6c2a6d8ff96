"""The answer on one screen of a terminal: cause, proof, fix; then what else was found and what could not be checked."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING

from postmortem.model import Diagnosis, Evidence, Finding
from postmortem.reports import words
from postmortem.reports.escape import middle, no_orders, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH, NARROWEST, WIDEST = 80, 24, 110  # columns: where nothing is known; below and above which lines are not set
LABEL = 10  # columns of the left margin that holds the labels
CAUSE_LINES, PROOF_LINES, MORE_LINES, FIX_LINES = 4, 4, 1, 2  # of each paragraph, so that the answer fits on one screen
MOST_PROOFS, MOST_FIXES, MOST_OTHERS = 3, 3, 5

_TONES = {"error": "bold red", "warning": "bold yellow", "note": "cyan", "good": "bold green"}


def columns(stream: IO[str]) -> int:
    """The width of the terminal behind a stream, WIDTH where there is none."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if stream.isatty() else WIDTH


def colourful(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """Whether colours are wanted: a terminal that has them, and NO_COLOR (no-color.org) not set."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def render(diagnosis: Diagnosis, width: int = WIDTH, colour: bool = False, encoding: str = "utf-8") -> str:
    """A cleaned diagnosis as lines of at most `width` columns that `encoding` can hold."""
    from rich.console import Console

    page = io.StringIO()
    width = max(NARROWEST, min(width, WIDEST))
    console = Console(
        file=page,
        width=width,
        color_system="standard" if colour else None,
        force_terminal=colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    sheet = _Sheet(console, width, _can(encoding, "│"))
    _write(diagnosis, sheet)
    text = page.getvalue()
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    return no_orders(text.encode(encoding, "backslashreplace").decode(encoding))


def _can(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class _Sheet:
    """A page with a left margin for labels; every text goes in as rich `Text`, so nothing in it is ever read as markup."""

    def __init__(self, console: Console, width: int, fancy: bool) -> None:
        self.console = console
        self.margin = LABEL if width >= 50 else 2
        self.patience = 1 if width >= 50 else 2  # a narrow page needs more lines for the same words
        self.body = width - self.margin - 1  # one column free: a full line makes some terminals break twice
        self.bar = "│ " if fancy else "| "
        self.dots = "…" if fancy else "..."

    def heading(self, text: str, style: str) -> None:
        from rich.text import Text

        self.console.print(Text(text, style=style), soft_wrap=False)

    def blank(self) -> None:
        self.console.print()

    def item(self, label: str, text: str, lines: int, style: str = "", mark: str = "", quoted: bool = False, short: bool = False) -> None:
        """One paragraph of at most `lines` lines beside its label; `mark` ("1. ") hangs out of it, quotations carry a bar on every line.

        short: a single line whose middle may go (a place).
        """
        from rich.text import Text

        inset = self.bar if quoted else mark
        room = self.body - len(inset)
        text = middle(text, room) if short else text
        for number, line in enumerate(self._wrapped(text, room, lines, style)):
            head = inset if quoted or number == 0 else " " * len(inset)
            margin = label if number == 0 and self.margin == LABEL else ""
            row = Text(margin.ljust(self.margin), style="bold")
            row.append(head, style="dim" if quoted else "")
            row.append_text(line)
            self.console.print(row, no_wrap=True, overflow="ignore", crop=False)

    def label(self, label: str) -> None:
        """On a narrow screen the label has a line of its own."""
        if self.margin != LABEL and label:
            self.heading(label, "bold")

    def _wrapped(self, text: str, room: int, lines: int, style: str) -> Iterator[Text]:
        from rich.text import Text

        lines *= 1 if lines == 1 else self.patience
        wrapped = Text(text.replace("\t", "  "), style=style).wrap(self.console, room, overflow="fold")
        for number, line in enumerate(wrapped[:lines]):
            if number == lines - 1 and len(wrapped) > lines:
                line.truncate(room - len(self.dots))
                line.append(self.dots)
            yield line


def _write(diagnosis: Diagnosis, sheet: _Sheet) -> None:
    word, tone = words.verdict(diagnosis)
    sheet.heading(diagnosis.headline if tone == "good" else f"{word.upper()}: {diagnosis.headline}", _TONES[tone])
    for finding in words.roots(diagnosis)[:1]:
        _answer(finding, sheet)
    _rest(diagnosis, sheet)
    sheet.blank()
    unchecked = words.unchecked_line(diagnosis)
    if unchecked:
        sheet.label("Unchecked")
        sheet.item("Unchecked", unchecked, 3)
    sheet.label("Read")
    sheet.item("Read", words.read_line(diagnosis), 2)


def _answer(finding: Finding, sheet: _Sheet) -> None:
    """Cause, proof, fix of the first root cause."""
    sheet.blank()
    sheet.label("Cause")
    sheet.item("Cause", finding.cause, CAUSE_LINES)
    sheet.blank()
    sheet.label("Proof")
    primary = finding.primary
    rest = [e for e in finding.evidence if e is not primary]
    for number, evidence in enumerate([primary, *rest[: MOST_PROOFS - 1]]):
        _proof(evidence, "Proof" if number == 0 else "", PROOF_LINES if number == 0 else MORE_LINES, sheet)
    sheet.blank()
    sheet.label("Fix")
    for number, fix in enumerate(finding.fix[:MOST_FIXES]):
        sheet.item("Fix" if number == 0 else "", fix, FIX_LINES, mark=f"{number + 1}. " if len(finding.fix) > 1 else "")
    for prevention in finding.prevention[:1]:
        sheet.label("Prevent")
        sheet.item("Prevent", prevention, FIX_LINES)


def _proof(evidence: Evidence, label: str, lines: int, sheet: _Sheet) -> None:
    sheet.item(label, words.proof(evidence), 1, style="cyan", short=True)
    sheet.item("", evidence.text if lines > 1 else one_line(evidence.text), lines, quoted=True)


def _rest(diagnosis: Diagnosis, sheet: _Sheet) -> None:
    """The further root causes and the other findings, one line each."""
    rows = [(f, "also a cause") for f in words.roots(diagnosis)[1:]]
    rows += [(f, f"follows from {', '.join(by)}" if by else "") for f, by in words.others(diagnosis)]
    if not rows:
        return
    sheet.blank()
    sheet.label("Also")
    for number, (finding, why) in enumerate(rows[:MOST_OTHERS]):
        text = f"{finding.severity}: {finding.title} ({finding.primary.origin}{'; ' + why if why else ''})"
        sheet.item("Also" if number == 0 else "", text, 2)
    if len(rows) > MOST_OTHERS:
        sheet.item("", f"and {len(rows) - MOST_OTHERS} more: see the HTML or JSON report", 1)
