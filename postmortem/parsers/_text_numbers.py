"""Numbers as logs spell them: where one stands in a line, and what it is worth."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

Form = Literal["plain", "comma", "clock", "word"]

_UNIT = (
    r"(?:\s?%|[kKMGTB](?![\w/])|\s?(?:[KMGT]i?B(?:/s)?|[mun]?s(?:ec(?:ond)?s?)?|min(?:ute)?s?|h(?:ou)?rs?|hours?|FPS|W|C|px|TFLOPs?(?:/\w+)*"
    r"|m?s(?:ec)?/(?:it|step|iter|batch|epoch)"
    r"|(?:images?|imgs?|samples?|tok(?:en)?s?|words?|steps?|it(?:er)?s?|seq(?:uence)?s?|sent(?:ence)?s?|examples?|frames?|batch(?:es)?)"
    r"\s?/\s?(?:sec(?:ond)?|step|gpu|s)\b\.?)(?![\w/]|\s?[=:]\s?[-+.\d]))"  # "gnorm 1.2 tok/s=900": the next name
)
# A number that stands by itself: not a part of a word, a path, a version, a date, a range. `total` is the N of "i/N".
NUMBER = re.compile(
    r"(?<![\w.@\\])(?<!\w[-/])(?<![\s\[(,]\d:)(?<![\s\[(,]\d\d:)"
    r"(?:(?P<clock>\d+:\d\d:\d\d(?:\.\d+)?)(?![\d:])"
    r"|(?P<comma>[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?)(?!\d|,\d)"
    r"|(?P<plain>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?!\.?#(?:QNAN|INF|IND))(?!(?<=[=:\s]\d),\d+(?![\w.,:/]))"
    # "nanxxx" is a nan that was padded to six characters (PaddleOCR's `{:x<6f}`). A nan before words is one of them, unless these
    # words are the name of another number ("loss: nan iter time (s): 3.1").
    r"|(?P<word>[-+]?(?:nan(?:\(ind\)|x+)?|inf(?:inity|x+)?|1\.#(?:QNAN|INF|IND)\w*)"
    r"(?:(?=\s+[A-Za-z][\w()/%.-]*(?:\s[\w()/%.-]+){0,3}\s*[:=]\s*[-+]?[\dn.])|(?!\s+[A-Za-z]+(?:\s+[A-Za-z]|\s*[.!]?$)))"
    r"|None(?=\s*(?:[,;|)\]}]|$)))"
    r")(?P<total>\s?/\s{0,7}\d+(?![\w/]|\.\w))?"
    rf"(?P<unit>{_UNIT})?"
    r"(?![A-Za-z0-9_/])(?!\.[\w])(?!:\d)(?!-\w)",
    re.ASCII | re.IGNORECASE,
)
SPELLED = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)"  # a plain number, for expressions of whole lines
# The letter behind a number that multiplies it ("12.3M"); longer units ("MB", "ms") say what it is and stay out of it.
_SCALES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_FLAGS = {"true": 1.0, "false": 0.0}
_WHOLE = re.compile(
    r"\s*(?:(?P<clock>\d+:\d\d:\d\d(?:\.\d+)?)|(?P<comma>[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?)"
    r"|(?P<plain>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?)(?P<unit>[kmgtb])?|(?P<word>[-+]?(?:nan(?:\(ind\)|x+)?|inf(?:inity|x+)?)))\s*+(?:%\s*+)?",
    re.ASCII | re.IGNORECASE,
)


class Num(NamedTuple):
    """A number in a line: text[start:end] without its unit, how it is spelled, what it is multiplied with."""

    start: int
    end: int
    form: Form
    scale: float = 1.0


def from_match(match: re.Match[str]) -> Num | None:
    """The number that NUMBER found; None for the word None, which says that there is no value."""
    form: Form = match.lastgroup if match.lastgroup in ("clock", "comma", "plain", "word") else _form(match)  # type: ignore[assignment]
    start, end = match.span(form)
    if form == "word" and match[form] == "None":
        return None
    unit = match["unit"] or ""
    scale = _SCALES.get(unit.lower(), 1.0) if len(unit) == 1 and form == "plain" else 1.0
    return Num(start, end, form, scale)


def _form(match: re.Match[str]) -> Form:
    forms: tuple[Form, ...] = ("clock", "comma", "plain", "word")
    return next(form for form in forms if match[form] is not None)


def at(text: str, start: int, end: int, *, flags: bool = False) -> Num | None:
    """The number that text[start:end] is as a whole, None where it is none. flags: True and False count as 1 and 0."""
    if flags and text[start:end].lower() in _FLAGS:
        return Num(start, end, "word")
    match = _WHOLE.fullmatch(text, start, end)
    if match is None:
        return None
    form = _form(match)
    scale = _SCALES.get((match["unit"] or "").lower(), 1.0) if form == "plain" else 1.0
    return Num(*match.span(form), form, scale)


def value(text: str, num: Num) -> float:
    """What the number is worth; a clock ("1:02:33") in seconds."""
    spelled = text[num.start : num.end]
    if num.form == "word":
        return word_value(spelled)
    if num.form == "clock":
        hours, minutes, seconds = spelled.split(":")
        return (int(hours) * 60 + int(minutes)) * 60 + float(seconds)
    read = float(spelled.replace(",", "")) if num.form == "comma" else float(spelled)
    return read * num.scale if num.scale != 1.0 else read


def word_value(word: str) -> float:
    """nan, inf or -inf in any of their spellings; 1 and 0 for True and False."""
    low = word.lower()
    if low in _FLAGS:
        return _FLAGS[low]
    if "nan" in low or "ind" in low:
        return math.nan
    return -math.inf if low.startswith("-") else math.inf
