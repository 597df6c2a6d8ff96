"""The generic reader: pairs of a name and a number in a line of any logger, with its counters and the words around them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from postmortem import vocabulary
from postmortem.model import Split
from postmortem.parsers import _text_numbers as numbers
from postmortem.parsers._text_numbers import NUMBER, Num
from postmortem.parsers._text_words import BAR_RANK, EPOCHS, LEADLESS, LINKS, NOT_METRICS, NUMBERED, RANKS, STEPS, STOP

_TQDM = re.compile(
    r"\d{1,3}%\|[^|]*\|\s*(?P<i>[\d.]+[kMG]?)/[\d.?]+[kMG]?\s*(?:\[[^,\]]*(?:,\s*[\d.?]+\s?\w*/\w+)?)?"
    r"|(?<!\d)\d+it \[[\d:]+(?:,\s*[\d.?]+\s?\w*/\w+)?"
)
_KERAS = re.compile(
    r"(?<![\d/])(?P<i>\d+)/(?P<n>\d+|Unknown)\s*(?:\[[=>.\s]*\]|[\u2501\u2578 ]{8,})"
    r"(?:\s*-?\s*(?:ETA: [\d:hms]+|\d+[mu]?s)(?:\s+[\d.]+[mun]?s/(?:step|epoch|sample))?)?"
)
_OPENING = re.compile(r"(?:\b(?:tensor|array|Tensor|np\.float(?:32|64))\()?[\s\[({'\"]*$")
_SPLITTER = re.compile(r"[,;|{}\[\]\t\"'<>\x00-\x1f]|\s{2,}|\s-+\s|:\s|=\s|\.\s|\)\s+(?=\S)|^\s*\)")
_STRONG = (":", "=", "||", "->", "=>", "\u2192")
_NAMED = re.compile(r"\s?[:=]\s*[-+]?[\d.]")
_CODE_FILE = re.compile(r"\.(?:py|cc?|cpp|cu|h|hpp|go|rs|lua|so|sh|js)$|importlib|^frozen ")
_KEY = re.compile(r"[^\W\d][\w .@/%#()\-+*^\u0394]*$")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]{2,}")


MOST_LEAD, MOST_TAIL = 7, 3  # words before and behind the numbers of a line without `:` or `=`


class Pair(NamedTuple):
    """A name, its number, and the split that the words before it say."""

    name: str
    num: Num
    split: Split | None


@dataclass(slots=True)
class Read:
    """The pairs of a line, its counters, the split that its own words say, and those words (`lead`)."""

    pairs: list[Pair] = field(default_factory=list)
    step: Num | None = None
    epoch: Num | None = None
    rank: Num | None = None
    split: Split | None = None
    lead: tuple[str, ...] = ()
    step_order: int = 9


class _Gap(NamedTuple):
    """The text between two numbers: the name at its end ("" is none), whether `:` or `=` binds it, the words before it."""

    name: str
    strong: bool
    rest: str


def read(text: str, begin: int) -> Read | None:
    """The pairs and counters from `begin` on, None where there are none."""
    found = Read()
    text = _bars(text, begin, found)
    lead: list[str] = []
    weak: list[tuple[int, str, Num, Split | None]] = []
    previous = begin
    for match in NUMBER.finditer(text, begin):
        between = text[previous : match.start()]
        gap = _gap(between)
        glued = match.start() > previous and text[match.start() - 1] not in " \t[({'\"" and not gap.strong
        if match["word"] and not gap.strong and not _known(gap.name):
            continue  # "number of nan iterations": a word of a name, no number
        if gap.name and not gap.strong and match["plain"] and not role(gap.name) and _NAMED.match(text, match.end()):
            continue  # "accuracy top 5: 0.98": a part of the name
        previous = match.end()
        num = numbers.from_match(match)
        if glued:
            gap = _Gap("", False, gap.rest + gap.name)  # "output #0": the number belongs to the words
        split = split_in(gap.rest)
        found.split = split or found.split
        if not found.pairs and not weak:
            lead += _WORD.findall(gap.rest.lower())
        if num is None:
            continue
        if not gap.name:
            if match["total"] and found.step_order > BAR_RANK and num.form == "plain" and not _LETTER.search(between):
                found.step, found.step_order = num, BAR_RANK
            continue
        if match["total"] and (side := _split_words().get(gap.name.lower())):  # "Test: [10/79]"
            found.split = side
            lead.append(gap.name.lower())
            if found.step_order > BAR_RANK:
                found.step, found.step_order = num, BAR_RANK
            continue
        if _counter(found, gap.name, num):
            continue
        if gap.strong:
            _add(found, gap.name, num)
        else:
            weak.append((len(found.pairs) + len(weak), gap.name, num, found.split))
    if found.pairs or found.step or found.epoch or not _prose(text, previous, lead):
        _take_weak(found, weak)
    if not found.pairs and found.epoch is None and (found.step is None or found.step_order == BAR_RANK):
        return None
    found.lead = tuple(word for word in lead if word not in LEADLESS)[:6]
    return found


def _bars(text: str, begin: int, found: Read) -> str:
    """The text with progress bars painted over (`;`), their counter taken as a step without a name."""
    for pattern in (_TQDM, _KERAS):
        match = pattern.search(text, begin)
        if match is None:
            continue
        if match["i"] and (num := numbers.at(text, *match.span("i"))):
            found.step, found.step_order = num, BAR_RANK
        text = text[: match.start()] + ";" * (match.end() - match.start()) + text[match.end() :]
        if (second := pattern.search(text, match.end())) is not None:  # a bar behind the bar belongs to another line
            return text[: second.start()]
    return text


def _gap(gap: str) -> _Gap:
    """The name at the end of the text before a number."""
    tail = gap[-160:]
    stem = _OPENING.sub("", tail).rstrip()
    strong = stem.endswith(_STRONG)
    if strong:
        stem = stem.rstrip(":=|>- \u2192\t").rstrip()
    if stem[-1:] in ("'", '"'):
        opening = stem.rfind(stem[-1], 0, len(stem) - 1)
        return _Gap(stem[opening + 1 : -1].strip() if opening >= 0 else "", strong, stem[: max(opening, 0)])
    cut = 0
    for cut_match in _SPLITTER.finditer(stem):
        cut = cut_match.end()
    name = stem[cut:].strip(" -~*.")
    if name.count("(") != name.count(")"):
        inside = name.rsplit("(", 1)
        name = inside[-1] if len(inside) == 2 and ")" not in inside[-1] else name.replace(")", "").strip()
    if strong and len(name.split()) > 7:
        name = ""
    if (
        not name
        or len(name) > 70
        or not _KEY.match(name)
        or _CODE_FILE.search(name)
        or name.startswith(("http", "/"))
        or name.count("/") > 5
    ):
        return _Gap("", strong, stem)
    return _Gap(name, strong, stem[:cut])


def _counter(found: Read, name: str, num: Num) -> bool:
    """Take a step, an epoch or a rank; False: the name is none of them."""
    low = name.lower().strip("# ")
    if low in RANKS:
        found.rank = found.rank or num
        return True
    if (kind := role(low)) == "":
        return False
    if num.form == "word":
        return True
    if kind == "epoch":
        found.epoch = found.epoch or num
    elif (order := STEPS[_last_counter(low)]) < found.step_order:
        found.step, found.step_order = num, order
    return True


@functools.lru_cache(maxsize=4096)
def role(name: str) -> str:
    """ "step", "epoch" or "" for a name."""
    low = name.lower().strip("# ")
    if low in EPOCHS or (low.split()[-1:] == ["epoch"] and len(low.split()) <= 3 and "per" not in low.split()):
        return "epoch"
    return "step" if _last_counter(low) else ""


def _last_counter(low: str) -> str:
    if low in STEPS:
        return low
    words = low.split()
    split_words = vocabulary.data()["split"]
    if len(words) == 2 and words[1] in STEPS and any(words[0] in known for known in split_words.values()):
        return words[1]
    return ""


def _add(found: Read, name: str, num: Num) -> None:
    if name.lower() in NOT_METRICS or NUMBERED.search(name):
        return
    split = None if says_split(name) else found.split
    if all(pair.name != name or pair.split != split for pair in found.pairs):
        found.pairs.append(Pair(name, num, split))


def _prose(text: str, end: int, lead: list[str]) -> bool:
    """Is the line a sentence with a number in it? Many words before its first number, or some behind the last one."""
    return len(lead) > MOST_LEAD or len(_WORD.findall(text[end : end + 200])) > MOST_TAIL


def _take_weak(found: Read, weak: list[tuple[int, str, Num, Split | None]]) -> None:
    """Names bound by a space only: taken when we know them, or when the line has others that we know."""
    short = {name: _known_end(name) for _, name, _, _ in weak}
    counted = bool(found.pairs) or any(short.values())
    for order, name, num, split in weak:
        words = name.split()
        if not short[name] and counted and len(words) == 1 and words[0].lower() not in STOP and len(name) > 1:
            short[name] = name
        taken = short[name]
        if not taken or taken.lower() in NOT_METRICS or NUMBERED.search(taken):
            continue
        pair = Pair(taken, num, None if says_split(taken) else split)
        if all(other.name != taken or other.split != pair.split for other in found.pairs):
            found.pairs.insert(min(order, len(found.pairs)), pair)


@functools.lru_cache(maxsize=8192)
def _known_end(name: str) -> str:
    """The last words of a name that we know ("new best accuracy of" -> "best accuracy"), "" where there are none."""
    words = name.split()
    while words and words[-1].lower() in LINKS:
        words.pop()
    if not words or words[-1].lower() in STOP:
        return ""
    ends = [" ".join(words[-count:]) for count in range(min(3, len(words)), 0, -1) if words[-count].lower() not in STOP]
    known = [end for end in ends if _known(end)]
    # Of several the one that we know by heart ("loss scale"), not one that only looks like a loss ("reducing loss scale").
    return next(
        (end for end in known if " " in end and vocabulary.lookup(end).metric != "_".join(vocabulary.tokens(end))), next(iter(known), "")
    )


@functools.lru_cache(maxsize=8192)
def _known(name: str) -> bool:
    return vocabulary.lookup(name).kind not in ("", "setting")


@functools.cache
def _split_words() -> dict[str, Split]:
    return {word: split for split, words in vocabulary.data()["split"].items() for word in words}


@functools.lru_cache(maxsize=8192)
def says_split(name: str) -> bool:
    """Does the name itself say its split ("val_loss")?"""
    words = _split_words()
    return any(word in words for word in vocabulary.tokens(name))


def split_in(words: str) -> Split | None:
    """The last split word among the words before a name, None: none."""
    known = _split_words()
    said = [known[word.lower()] for word in re.findall(r"[A-Za-z]+", words) if word.lower() in known]
    return said[-1] if said else None
