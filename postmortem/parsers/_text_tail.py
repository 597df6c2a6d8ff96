"""What the very end of a log tells: a proper end, a bar or a counter that was never finished, and of how many epochs its last lines speak."""

from __future__ import annotations

import functools
import re

from postmortem import formats
from postmortem.model import Event, Origin, Setting
from postmortem.parsers._text_dates import NO_CALENDAR, Calendar
from postmortem.parsers._text_mend import uncoloured
from postmortem.parsers._text_prefix import micros, opened

TAIL = 16_384  # bytes at the end of a log that are looked at
ANNOUNCED = "announced_epochs"  # key of the setting: the N of the last "Epoch i/N"

# A bar of tqdm and its kin (`36%|███   | 18/50 [00:01<`), of Ultralytics (`36% ━━━━━─── 18/50 9.1it/s`) or of Keras
# (`12/45 ━━━━ 0s`, `12/45 [====>...] - ETA`).
_BAR = re.compile(
    r"\d%\|[^|\n]{0,200}\| *(?P<done>\d+)/(?P<all>\d+) \["
    r"|\d% [━─╸╺]{5,200} (?P<ready>\d+)/(?P<whole>\d+) "
    r"|^ *(?P<at>\d+)/(?P<of>\d+) (?:━|\[[=>.]{10})",
    re.M,
)
# A counter that is written over itself: "\rTraining 350/600", "\rProcessed 350 / 600 images".
_COUNTER = re.compile(r"(?<![\w./-])(?P<done>\d{1,12})(?: ?/ ?| of )(?P<all>\d{1,12})(?![\w/]|\.\d)")
_EPOCH = re.compile(r"\b[Ee]poch:? {0,2}[\[(#]?(?P<done>\d+) ?(?:/|of) ?(?P<all>\d+)\b(?![./%]\d)")
_DIGITS = re.compile(r"\d+")
_BLANKS = re.compile(r"\s+")


def told_at_the_end(
    text: str, file: str, line: int, quiet: bool = True, calendar: Calendar = NO_CALENDAR
) -> tuple[list[Event], list[Setting]]:
    """An event for a bar in which the text breaks off or for a proper end, a setting for the announced number of epochs.

    line: number of the text's last line; quiet: the log holds numbers of a training and nothing that may have ended it. A program
    that ends by itself leaves its bar full or ends the line after it. A text that stops within an unfinished bar was cut off.
    """
    events: list[Event] = []
    pieces = uncoloured(text).rpartition("\n")[2].rstrip("\r ").split("\r")
    done, whole = _bar(pieces[-1]) or _counter(pieces) or (0, 0)
    if done < whole:
        said = {"what": "open-bar", "done": done, "total": whole}
        events.append(Event(file, line, "lifecycle", pieces[-1].strip()[:200], data=said))
    epoch = _last_epoch(text)
    if quiet and (epoch is None or int(epoch["done"]) >= int(epoch["all"])):
        events += _proper_end(text, file, line, calendar)
    if epoch is None or not 1 < int(epoch["all"]) < 10**6 or int(epoch["done"]) > int(epoch["all"]):
        return events, []
    at = line - text.removesuffix("\n").count("\n", epoch.end())
    return events, [Setting(ANNOUNCED, int(epoch["all"]), Origin(file, at))]


def _last_epoch(text: str) -> re.Match[str] | None:
    """The last "Epoch i/N". From the end on: the end of a log may speak of hundreds."""
    at = len(text)
    while (at := text.rfind("poch", 0, at)) > 0:
        if (found := _EPOCH.match(text, at - 1)) is not None:
            return found
    return None


def _bar(last: str) -> tuple[int, int] | None:
    """(done, of how many) of the bar in the last piece."""
    bar = _BAR.search(last)
    if bar is None:
        return None
    done, whole = (int(part) for part in bar.groups() if part is not None)
    return done, whole


def _counter(pieces: list[str]) -> tuple[int, int] | None:
    r"""(done, of how many) of a counter that grew from one `\r` to the next, unless its next step would have been the last one."""
    told = [piece for piece in pieces if piece.strip()][-2:]
    if len(told) < 2 or len({_plain(piece) for piece in told}) > 1:
        return None
    before, now = (_COUNTER.search(piece) for piece in told)
    if before is None or now is None or before["all"] != now["all"]:
        return None
    done, whole = int(now["done"]), int(now["all"])
    step = done - int(before["done"])
    return (done, whole) if 0 < step < whole - done else None


def _plain(text: str) -> str:
    return _BLANKS.sub(" ", _DIGITS.sub("0", text)).strip()


@functools.cache
def _last_lines() -> tuple[formats.Ending, ...]:
    return tuple(ending for ending in formats.endings() if ending.last)


def _proper_end(text: str, file: str, line: int, calendar: Calendar) -> list[Event]:
    """The last line, where it is a proper end and no line before it says the same."""
    lines = uncoloured(text).rstrip().split("\n")
    if not text.endswith("\n") or not lines[-1].strip() or len(lines[-1]) > 400:
        return []
    found = opened(lines[-1].rpartition("\r")[2])
    message = found.bare[found.message :].strip()
    said = _plain(message)
    for ending in _last_lines():
        if (facts := ending.read(message)) is not None:
            if any(_plain(other).endswith(said) for other in lines[:-1]):
                return []
            time = micros(found.bare[found.stamp[0] : found.stamp[1]], calendar) if found.stamp else None
            at = line - (text.removesuffix("\n").count("\n") - text.rstrip().count("\n"))
            return [Event(file, at, ending.kind, found.bare.strip()[:200], time=time, data={"what": ending.what, **facts})]
    return []


__all__ = ["ANNOUNCED", "TAIL", "told_at_the_end"]
