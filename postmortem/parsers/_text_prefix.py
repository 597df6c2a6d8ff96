"""What stands before the message of a log line: colour codes, who printed it (rank), when, at what level, from which module."""

from __future__ import annotations

import re
from dataclasses import dataclass

from postmortem import vocabulary
from postmortem.parsers._text_dates import NO_CALENDAR, Calendar, moment_of

ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9])")
_MPIRUN = re.compile(r"\[\d+,(?P<rank>\d{1,6})\]<std(?:out|err|diag)>:\s?")
_WRITERS = re.compile(
    r"\s*(?:\[(?:default|rank|Rank )?:?\s?(?P<torchrun>\d{1,6})\]:\s?"
    r"|\((?:[\w.:-]+\s+)?pid=\d+(?:,\s*ip=[\d.]+)?\)\s?"
    r"|\[pod/[\w.-]+/[\w.-]+\]\s?"  # kubectl logs --prefix
    r"|\[\d+/\w+/\d+ \(pid \d+\)\]\s?(?:\[[0-9a-f-]{36}\]\s?)?)"
)
_BARS = str.maketrans("\u2502\u2503\u2551", "|||")  # the bars of tables that are drawn in box characters
# Labels of whole files (_text_source.labelled): `srun --label`, the number of a process, `docker compose logs`.
LABELS = {
    "rank": re.compile(r"\s*(?P<rank>\d{1,5}): ?"),
    "process": re.compile(r"\s*(?:\[(?P<pid>\d{1,8})\]:?|(?P<bare>\d{1,8}):)(?:\s|$)"),
    "service": re.compile(r"(?P<service>[A-Za-z][\w.-]*[-_]\d{1,3})\s+\|(?:\s|$)"),
}

DATE_TIME = r"\d{4}[-/]\d\d[-/]\d\d[T _]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
STAMP = re.compile(
    r"(?P<year>\d{4})[-/](?P<month>\d\d)[-/](?P<day>\d\d)[T _](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"(?:[.,](?P<part>\d+))?(?:(?P<utc>Z)|(?P<zone>[+-]\d\d:?\d\d))?",
    re.ASCII,
)
_LEVEL = r"(?:INFO|WARNING|WARN|ERROR|DEBUG|CRITICAL|FATAL|NOTICE|TRACE|SUCCESS|Info|Warning|Error|Debug)"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d+)?"
_END = r"[\])]*\s*(?:[-|:,>]+(?=\s|$)\s*|(?=\S)|$)"
# One piece of a logger's prefix; they are taken off one after the other, in whatever order the logger puts them.
_PIECES = [
    re.compile(rf"[\s\[(]*(?:DLL\s+|<\w*>\s+\[|[-=*#]*>+\s*|[*#]+\s+)?(?P<stamp>{DATE_TIME}){_END}", re.ASCII),
    re.compile(
        rf"[\s\[(]*(?P<stamp>(?:{_DAY})?(?:{_MONTH}\s+\d{{1,2}}|\d{{1,2}}\s{_MONTH})[ ,]+(?:\d{{4}}\s+)?"
        rf"{_CLOCK}(?:\s+[A-Z]{{3,4}})?(?:\s+\d{{4}})?){_END}"
    ),
    re.compile(rf"[IWEFC](?P<stamp>\d{{4,8}}\s+{_CLOCK})\s+\d+\s+[\w./-]+:\d+\]\s?"),  # glog, absl
    re.compile(rf"\[[IWEDC] (?P<stamp>\d{{6}} {_CLOCK})(?: [\w./-]+:\d+)?\]\s?"),  # tornado
    re.compile(rf"\s*\[(?P<stamp>\d\d/\d\d/\d\d[ ,]+{_CLOCK})\]{_END}"),  # rich
    re.compile(rf"[\s\[(]*\d{{1,2}}/\d{{1,2}}/\d\d[ ,]+{_CLOCK}(?:\s[AP]M)?{_END}"),
    re.compile(rf"[\s\[(]*(?P<stamp>\d{{1,2}}(?P<joint>[-/])\d{{1,2}}(?:(?P=joint)\d{{4}})?[ ,]+{_CLOCK}(?:\s[AP]M)?){_END}"),
    re.compile(rf"\s*\[\s*{_CLOCK}\s*\]{_END}|\s*{_CLOCK}(?:\s*[-|]\s+|\s+(?=\S))"),
    re.compile(rf"\s*\[{_LEVEL}\s+{_CLOCK}\]\s+(?:\w+\s+)?"),
    re.compile(
        rf"[\s\[(]*{_LEVEL}\s*[\])]+\s*(?:[-|:]+\s+)?|\s*{_LEVEL}(?::[\w.]+:|\s*[-|:]+(?=\s|$)\s*|\s{{2,}}|\s(?=[\[\w])|:(?=[A-Z]))"
    ),
    re.compile(r"\s*+\[\s*+(?:[+-]\s*+)?\d++\.\d{6}\]\s"),  # dmesg
    re.compile(r"\s*[0-9a-f]{7,12}\s\|\|\s?"),  # Determined: the container
    re.compile(r"\s*\[?[\w./\\<>-]+\.(?:py|cc|cpp|cu|cuh|h|hpp|c|go|rs)[:(]\d+\)?(?::[\w<>]+(?:\(\))?)?\]?\s*(?:[-|:>]+(?=\s|$)\s*)?"),
    re.compile(r"\s*(?:[\w.]+:[\w<>]+|[A-Za-z_]\w*(?:\.\w+)+):\d+\s+-\s?"),  # loguru
    re.compile(rf"\s*\[[\w.]+\](?=\s*\[(?:{_LEVEL})\])"),
    re.compile(rf"\s*[A-Za-z_][\w.]*\s+(?:-\s+)?(?={_LEVEL}(?:\s+-\s|:\s))"),
    re.compile(r"\s*(?:\[[Rr]ank[:\s]*(?P<rank>\d{1,6})\]|\[[Rr]ank[:\s]*(?P<rank2>\d{1,6})/\d+\])\s*(?:[-|:]+\s+)?"),
    re.compile(r"\s*rank(?P<rank>\d{1,6})\[\d+\]\[\w+\]:\s"),  # Composer: its rank, process and thread
]
_LOGGER = re.compile(r"\s*(?P<name>[A-Za-z_][\w.]*)\s+-\s+(?=\S)")  # " name - ", only after a time and a level


@dataclass(frozen=True, slots=True)
class Opened:
    """A line taken apart.

    line     as it was
    bare     the line without colour codes and writer prefixes
    origin   where each character of `bare` stood in the line; None: where it stands in `bare`
    message  where the message begins in `bare`, after the logger's prefix
    stamp    where a date and a time stand in `bare`, None: nowhere
    rank     where the digits of the rank stand in the line itself, None: nobody says
    """

    line: str
    bare: str
    origin: list[int] | None
    message: int
    stamp: tuple[int, int] | None
    rank: tuple[int, int] | None

    @property
    def rank_value(self) -> int | None:
        """The rank itself."""
        return None if self.rank is None else int(self.line[self.rank[0] : self.rank[1]])


def opened(line: str, labelled: str = "") -> Opened:
    """Take a line apart. `labelled`: with which of LABELS every line of the file begins, "" is none."""
    cuts = [match.span() for match in ANSI.finditer(line)] if "\x1b" in line else []
    rank: tuple[int, int] | None = None
    if ">:" in line:
        for match in _MPIRUN.finditer(line):
            rank = rank or match.span("rank")
            cuts.append(match.span())
    bare, origin = _without(line, sorted(cuts))
    if "\u2502" in bare or "\u2503" in bare:
        bare = bare.translate(_BARS)
    begin = 0
    if labelled and (label := LABELS[labelled].match(bare)):
        begin = label.end()
        if rank is None and labelled == "rank":
            rank = _there(label.span("rank"), origin)
    while writer := _WRITERS.match(bare, begin):
        begin = writer.end()
        if rank is None and writer["torchrun"]:
            rank = _there(writer.span("torchrun"), origin)
    if begin:
        origin = list(range(begin, len(line))) if origin is None else origin[begin:]
        bare = bare[begin:]
    message, stamp, said = _message(bare)
    if rank is None and said is not None:
        rank = _there(said, origin)
    return Opened(line, bare, origin, message, stamp, rank)


def _without(line: str, cuts: list[tuple[int, int]]) -> tuple[str, list[int] | None]:
    """The line without the spans `cuts`, and where each character that is left stood."""
    if not cuts:
        return line, None
    origin: list[int] = []
    at = 0
    for start, end in cuts:
        origin.extend(range(at, start))
        at = max(at, end)
    origin.extend(range(at, len(line)))
    return "".join(line[i] for i in origin), origin


def _there(span: tuple[int, int], origin: list[int] | None) -> tuple[int, int]:
    return span if origin is None else (origin[span[0]], origin[span[1] - 1] + 1)


def _message(bare: str) -> tuple[int, tuple[int, int] | None, tuple[int, int] | None]:
    """(where the message begins, span of a full time stamp, span of a rank)."""
    begin, stamp, rank, pieces = 0, None, None, 0
    while pieces < 8:
        for piece in _PIECES:
            match = piece.match(bare, begin)
            if match and match.end() > begin:
                groups = piece.groupindex
                if "stamp" in groups and stamp is None:
                    stamp = match.span("stamp")
                if "rank" in groups:
                    rank = match.span("rank") if match["rank"] else match.span("rank2")
                begin, pieces = match.end(), pieces + 1
                break
        else:
            if pieces >= 2 and (match := _LOGGER.match(bare, begin)) and not _names_split(match["name"]):
                begin, pieces = match.end(), pieces + 1
                continue
            break
    # What is left of the indentation belongs to the message: blocks below a head are told by it.
    while begin > 0 and pieces and bare[begin - 1 : begin] == " ":
        begin -= 1
    return begin, stamp, rank


def _names_split(word: str) -> bool:
    return any(word.lower() in words for words in vocabulary.data()["split"].values())


def micros(text: str, calendar: Calendar = NO_CALENDAR) -> int | None:
    """A time stamp as microseconds since 1970, UTC unless it names another zone; None where it is no date (_text_dates)."""
    import datetime

    match = STAMP.match(text)
    if match is None:
        return moment_of(text, calendar)
    part = ((match["part"] or "") + "000000")[:6]
    try:
        moment = datetime.datetime(*(int(match[name]) for name in ("year", "month", "day", "hour", "minute", "second")))  # type: ignore[arg-type]
    except ValueError:
        return None
    zone = (match["zone"] or "").replace(":", "")
    shift = (int(zone[1:3]) * 60 + int(zone[3:5])) * (-1 if zone[0] == "-" else 1) if zone else 0
    seconds = int((moment - datetime.datetime(1970, 1, 1)).total_seconds()) - shift * 60
    return seconds * 1_000_000 + int(part)
