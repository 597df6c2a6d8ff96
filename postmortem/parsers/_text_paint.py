"""Parts of a line that are looked at before its numbers are: progress bars and durations are painted over, `0.51/0.81` is taken apart.

Painting keeps the length of the text, so that every number stays where it stood.
"""

from __future__ import annotations

import re

from postmortem.parsers import _text_numbers as numbers
from postmortem.parsers._text_numbers import Num
from postmortem.parsers._text_words import RULE

_TQDM = re.compile(
    rf"\d{{1,3}}%\s{RULE}\S*\s(?P<drawn>\d+)/\d+(?:\s[\d.]+[kKM]?(?:it/s|s/it))?(?:\s[\d.:hms]+)?(?:<[\d.:hms]+)?|"
    r"\d{1,3}%\|[^|]*\|\s*(?P<i>[\d.]+[kMG]?)/[\d.?]+[kMG]?\s*(?:\[[^,\]]*(?:,\s*[\d.?]+\s?\w*/\w+)?)?"
    r"|(?<!\d)\d+it \[[\d:]+(?:,\s*[\d.?]+\s?\w*/\w+)?"
)
_KERAS = re.compile(
    r"(?<![\d/])(?P<i>\d+)/(?P<n>\d+|Unknown)\s*(?:\[[=>.\s]*\]|[\u2501\u2578][\u2501\u2578 ]{7,})"
    r"(?:\s*-?\s*(?:ETA: [\d:hms]+|\d+[mu]?s)(?:\s+[\d.]+[mun]?s/(?:step|epoch|sample))?)?"
)
# "1d 06h 12m", "00h05m10s", "12m 16s", "58m": a time that passed. Its parts are no numbers, and an `m` behind one is no million.
_DURATION = re.compile(
    r"(?<![\w.])(?:\d+\s?d(?:ays?)?,?\s*\d+\s?h(?:\s*\d+\s?m)?(?:\s*\d+\s?s)?|\d+\s?h\s*\d+\s?m(?:in)?(?:\s*[\d.]+\s?s)?"
    r"|\d+\s?m(?:in)?\s*\d[\d.]*\s?s(?:ec)?|\d+m"
    r"|(?:\d+ days?,? )?(?:\d+ hours?,? )?\d+ (?:hours?|minutes?)(?:,? and|,) [\d.]+ (?:minutes?|seconds?))(?![\w/%])"
)
_DECIMAL = r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?"
_SLASHED = re.compile(rf"(?<![\w./@-])(?P<one>{_DECIMAL})/(?P<two>{_DECIMAL})(?![\w./%])")
_LEGEND = re.compile(r"(?<![\w/])([A-Za-z]\w*)/([A-Za-z]\w*)(?![\w/])")
_BRACKETED = re.compile(r"\(\s*([A-Za-z]\w*)/([A-Za-z]\w*)\s*\)")


def bars(text: str, begin: int) -> tuple[str, Num | None]:
    """The text with progress bars painted over (`;`), and the number that the first of them counts."""
    drawn: Num | None = None
    for pattern in (_TQDM, _KERAS):
        match = pattern.search(text, begin)
        if match is None:
            continue
        group = "drawn" if match.groupdict().get("drawn") else "i"
        if match[group] and drawn is None:
            drawn = numbers.at(text, *match.span(group))
        text = text[: match.start()] + ";" * (match.end() - match.start()) + text[match.end() :]
        if (second := pattern.search(text, match.end())) is not None:  # a bar behind the bar belongs to another line
            return text[: second.start()], drawn
    return text, drawn


def durations(text: str, begin: int) -> str:
    """The text with durations painted over (`;`)."""
    return text[:begin] + _DURATION.sub(lambda found: ";" * len(found[0]), text[begin:])


def slashed(text: str, begin: int) -> tuple[str, dict[int, Num]]:
    """The text with a blank between the numbers of `0.51/0.81`, and the second number by the place where the first one begins."""
    found: dict[int, Num] = {}
    if "/" not in text:
        return text, found
    for match in _SLASHED.finditer(text, begin):
        second = numbers.at(text, *match.span("two"))
        assert second is not None
        found[match.start()] = second
        text = text[: match.end("one")] + " " + text[match.start("two") :]
    return text, found


def names_of(name: str, text: str) -> tuple[str, str] | None:
    """The names of both numbers of `0.51/0.81`: of "train loss/acc", or of "train" where the line ends with "(loss/acc)"; None: no legend."""
    if (legend := _LEGEND.search(name)) is not None:
        before, behind = name[: legend.start()], name[legend.end() :]
        return f"{before}{legend[1]}{behind}".strip(), f"{before}{legend[2]}{behind}".strip()
    if name and (legend := _BRACKETED.search(text)) is not None:
        return f"{name} {legend[1]}", f"{name} {legend[2]}"
    return None
