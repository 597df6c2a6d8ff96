"""Folds the many lines of a traceback or a stack dump into one event, also when several ranks print at once."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from postmortem.model import Event
from postmortem.parsers import _stackdump
from postmortem.parsers._crash import Answer, Crash
from postmortem.parsers._pytrace import FRAME, HEAD, STRICT, PythonTrace
from postmortem.parsers._stackdump import StackDump

# A line without any of these words can neither begin a crash nor say how serious the next one is: while `Folder.idle`
# is true such lines need not be fed.
HINTS: tuple[str, ...] = (
    "Traceback (most recent call last)",
    'File "',
    "Error",
    "Exception",
    "Check failed",
    "***",
    "terminate called",
    "] F",
    ": F ",
    "F0",
    "F1",
    "F2",
    "Assertion ",
    "Fatal ",
    ".lua:",
    "WON'T CONVERT",
    "Logging error",
    "WARN",
    "SIG",
)
KEEP = 200  # events kept: the first half as they come, the last half at the end
KEEP_SAME = 5  # occurrences of one and the same crash that are kept, besides the last one
SILENT_LINES = 1000  # after so many lines without a word of its rank a crash is taken as told
OPEN_TRACES = 64  # ranks that may print a traceback at the same time

# Tags that say which process wrote the line; they lead to the trace that the line belongs to.
_TAG = re.compile(
    r"""^(?P<tag>\[rank\s?(?P<rank>\d+)\]:?\s? | \[default(?P<default>\d+)\]:\s? | \[\d+,(?P<mpi>\d+)\]<std(?:err|out)>:\s?
      | \([\w:. <>-]+?\ (?:pid=\d+|pid\ \d+)(?:,\ ip=[\w.:]+)?\)\s? | (?P<slurm>\d{1,4}):\s
        (?=\s*(?:File\ "|Traceback|\w+(?:\.\w+)*Error)|\s{4}))""",
    re.VERBOSE,
)
_DIGITS = re.compile(r"\d+")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_SOFT_PREFIX = re.compile(r"\b(?:WARN(?:ING)?|INFO|DEBUG|I|W)\b[^a-z]*$|WARNING")
_SOFT_LINE = re.compile(
    r"--- Logging error ---|Exception ignored in|WON'T CONVERT"
    r"|\bWARN(?:ING)?\b.*(?i:fail|error|could not|unable|except|skip|retry|ignor|due to)"
)
_SOFT_WORDS = ("WARN", "Logging error", "Exception ignored", "WON'T CONVERT")
_SOFT_TYPE = re.compile(r"Warning$")


@dataclass(slots=True)
class _Open:
    """A crash that is still being read, and what stands before its text on every line."""

    story: PythonTrace | StackDump
    prefix: re.Pattern[str] | None
    indent: int
    rank: int | None
    soft: bool


class Folder:
    """Feed it the lines of one file in order; it answers whether a line belongs to a crash and keeps the crashes as events.

    An event has kind "exception", the text "Type: message", the line of that text, and in `data`: type, message, frame
    (deepest frame in the user's own code, "train.py:117 in main"), first_line, last_line, level ("error", or "warning" for what was only
    logged as such), chain (list of {type, message, line}), rank, count (how often the very same crash stands in the file; only
    the first ones and the last are events), and where there are any: exitcode, signal, error_file (from torchrun), where
    (C++ source), bare (an exception line without a traceback), partial (the exception itself is missing).
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.dropped = 0  # crashes counted but not kept
        self._open: dict[str, _Open] = {}
        self._soft_at = -10  # the last line that says: what follows is only a warning
        self._ready: list[Event] = []
        self._given = 0
        self._late: deque[Event] = deque(maxlen=KEEP - KEEP // 2)
        self._counts: dict[tuple[str, str, str, str], dict[str, object]] = {}
        self._again: dict[tuple[str, str, str, str], Event] = {}

    @property
    def idle(self) -> bool:
        """True while no crash is open: then only lines with one of HINTS need to be fed."""
        return not self._open

    def feed(self, line_no: int, text: str, rank: int | None = None) -> bool:
        """One line as it stands in the file; `rank` where the caller has taken the tag off already. True: it was taken."""
        text = _ANSI.sub("", text) if "\x1b" in text else text
        if not self._open and not any(hint in text for hint in HINTS):
            return False
        if self._open and line_no % SILENT_LINES == 0:
            self._give_up(line_no)
        tag, text, rank = _untag(text, rank)
        if tag in self._open and self._continue(tag, line_no, text):
            return True
        if self._begin(tag, line_no, text, rank):
            return True
        if any(word in text for word in _SOFT_WORDS) and _SOFT_LINE.search(text):
            self._soft_at = line_no
        return False

    def drain(self) -> list[Event]:
        """The events that are finished and not yet handed out."""
        ready, self._ready = self._ready, []
        return ready

    def cut(self) -> None:
        """The next line does not follow on the last one: what is open is finished."""
        for tag in list(self._open):
            self._finish(tag)

    def close(self) -> list[Event]:
        """The file is at its end: what is still open is finished; the events not yet handed out, in order of lines."""
        self.cut()
        late, again = list(self._late), list(self._again.values())
        self._late.clear()
        self._again.clear()
        return sorted(self.drain() + late + again, key=lambda event: event.line or 0)

    def _give_up(self, line_no: int) -> None:
        """Finish what has said nothing for long: its process is dead, and while it is open every line must be fed."""
        for tag in [tag for tag, trace in self._open.items() if line_no - trace.story.last_line >= SILENT_LINES]:
            self._finish(tag)

    # ------------------------------------------------------------------ one crash

    def _continue(self, tag: str, line_no: int, text: str) -> bool:
        trace = self._open[tag]
        body = text
        if trace.prefix is not None and (match := trace.prefix.match(text)):
            body = text[match.end() :]
        elif trace.indent and text[: trace.indent].isspace():
            body = text[trace.indent :]
        answer = trace.story.offer(line_no, body)
        if answer is Answer.DONE:
            self._finish(tag)
        return answer is Answer.TAKEN

    def _begin(self, tag: str, line_no: int, text: str, rank: int | None) -> bool:
        head = HEAD.search(text) if "most recent call last" in text else None
        story: PythonTrace | StackDump
        prefix = ""
        if head is not None:
            prefix, rest = text[: head.start()], text[head.end() :].strip(" -─╮+")
            if prefix.rstrip().endswith(("'", '"', "`", "(")) or (rest and not rest.startswith(("Traceback", "\\n"))):
                return False  # quoted in code or prose
            kind = head["kind"] or ("-" if prefix.strip(" ─-").endswith(("╭", "+")) or head[0].startswith("-") else "")
            story = PythonTrace(line_no, kind)
            prefix = "" if kind in ("-", "Exception Group ") else prefix
        elif text.lstrip().startswith("File ") and FRAME.match(text):
            story = PythonTrace(line_no, partial=True)
            story.offer(line_no, text)
        elif (dump := _stackdump.start(text)) is not None:
            story = StackDump(line_no, *dump)
        elif text[:1].isalpha() and (match := STRICT.match(text)) and not _SOFT_TYPE.search(match["type"]) and _told(match):
            return self._bare(tag, line_no, text, rank)
        else:
            return False
        self._open_new(tag, line_no, story, prefix, rank)
        if head is not None and "\\n" in text[head.end() :]:
            self._escaped(tag, line_no, text[head.end() :])
        return True

    def _open_new(self, tag: str, line_no: int, story: PythonTrace | StackDump, prefix: str, rank: int | None) -> None:
        if tag in self._open:
            self._finish(tag)
        if len(self._open) >= OPEN_TRACES:
            self._finish(next(iter(self._open)))
        soft = bool(_SOFT_PREFIX.search(prefix)) or line_no - self._soft_at <= 2
        bare = not prefix.strip()
        self._open[tag] = _Open(story, None if bare else _shape(prefix), len(prefix) if bare else 0, rank, soft)

    def _bare(self, tag: str, line_no: int, text: str, rank: int | None) -> bool:
        """An exception line on its own: the traceback above it is missing, or somebody printed only the exception."""
        story = PythonTrace(line_no, partial=True)
        story.offer(line_no, text)
        self._open_new(tag, line_no, story, "", rank)
        return True

    def _escaped(self, tag: str, line_no: int, rest: str) -> None:
        """A traceback in one line, with its line ends written as backslash n."""
        for piece in rest.rstrip("\"'").split("\\n")[1:]:
            if tag in self._open and self._open[tag].story.offer(line_no, piece) is Answer.DONE:
                break
        self._finish(tag)

    # ------------------------------------------------------------------ keeping

    def _finish(self, tag: str) -> None:
        trace = self._open.pop(tag, None)
        if trace is None:
            return
        crash = trace.story.crash()
        if trace.soft or _SOFT_TYPE.search(crash.type):
            crash.level = "warning"
        if isinstance(trace.story, PythonTrace) and trace.story.partial and crash.first_line == crash.line:
            crash.facts["bare"] = True
        self._keep(crash, trace.rank)

    def _keep(self, crash: Crash, rank: int | None) -> None:
        same = (crash.type, _DIGITS.sub("0", crash.message[:300]), crash.frame, crash.level)
        data: dict[str, object] = {
            "type": crash.type,
            "message": crash.message[:2000],
            "frame": crash.frame,
            "first_line": crash.first_line,
            "last_line": crash.last_line,
            "level": crash.level,
            "chain": crash.chain,
            "rank": rank,
            "count": 1,
            **crash.facts,
        }
        if rank is not None:
            data["rank"] = rank
        told = data["rank"]
        event = Event(self.file, crash.line, "exception", crash.text, rank=told if isinstance(told, int) else None, data=data)
        first = self._counts.get(same)
        if first is not None:
            first["count"] = count = int(str(first["count"])) + 1
            data["count"] = count
            if count > KEEP_SAME:
                self._again[same] = event
                self.dropped += count > KEEP_SAME + 1
                return
        elif len(self._counts) < 10 * KEEP:
            self._counts[same] = data
        if self._given < KEEP // 2:
            self._given += 1
            self._ready.append(event)
        else:
            self.dropped += len(self._late) == self._late.maxlen
            self._late.append(event)


def _told(name: re.Match[str]) -> bool:
    """Whether an exception on its own has a message, or says that it follows below ("torch.cuda.OutOfMemoryError:")."""
    return bool(name["message"]) or ("." in name["type"] and name["message"] is not None)


def _untag(text: str, rank: int | None) -> tuple[str, str, int | None]:
    """(tag, text without it, rank): which process wrote the line. The tag is a key for what is open."""
    match = _TAG.match(text) if text[:1] in "[(0123456789" else None
    if match is None:
        return ("" if rank is None else f"rank {rank}"), text, rank
    told = match["rank"] or match["default"] or match["mpi"]
    return match["tag"].strip(), text[match.end() :], int(told) if told else rank


def _shape(prefix: str) -> re.Pattern[str]:
    """The prefix of a logger as a regex: the same words, any digits."""
    return re.compile(_DIGITS.sub(r"\\d+", re.escape(prefix)).replace(r"\\d+", r"\d+"))
