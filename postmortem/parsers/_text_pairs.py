"""The generic reader: pairs of a name and a number in a line of any logger, with its counters and the words around them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from postmortem import vocabulary
from postmortem.model import Split
from postmortem.parsers import _text_counters as counters
from postmortem.parsers import _text_numbers as numbers
from postmortem.parsers import _text_paint as paint
from postmortem.parsers import _text_splits as splits
from postmortem.parsers._text_counters import role, split_words
from postmortem.parsers._text_numbers import NUMBER, Num
from postmortem.parsers._text_splits import Pair, says_split, split_in
from postmortem.parsers._text_words import BAR_RANK, FORMS, JOINING, LEADLESS, LINKS, NOT_METRICS, NUMBERED, RANKS, STEPS, STOP

_OPENING = re.compile(r"(?:[\[(]*\b(?:tensor|array|Tensor|np\.float(?:32|64))\()?[\s\[({'\"]*$")
_SPLITTER = re.compile(
    r"[,;|{}\[\]\t\"'<>\x00-\x1f\u2500-\u257f]|\s{2,}|^\s*/\s|\s#+\s|\*{2,}|!\s|\s-+\s|:\s|=\s|=[^\s=]+\s|(?<![Aa]vg)(?<!AVG)\.\s|\)\s+(?=\S)|^\s*\)"
)
_STRONG = (":", "=", "||", "->", "=>", "\u2192")
_THINGS = re.compile(r"\s(?:iteration|step|epoch|batche?|sample|episode|time|parameter|param|classe?|file|image)s\b", re.IGNORECASE)
_SECONDS = re.compile(r"\s?s(?:ec(?:ond)?s?)?", re.IGNORECASE)  # "took 3 tries" and "took 2 minutes" are read by nobody
_ARROW = re.compile(r"\s*[-=]+>")
_NAMED = re.compile(r"(?P<bracket>[\])]?)(?:\s?[:=]\s*|\sis:?\s)[-+]?(?:[\d.]|nan|inf)", re.IGNORECASE)
_WITHIN = re.compile(r"\b(?:over|last|past|previous)$", re.IGNORECASE)  # "reward over 100 episodes: 3.5": how many, in the name
_HITS = re.compile(r"\b(?:correct|passed|failed|hits|right|solved|won|wins)$", re.IGNORECASE)  # "correct 95/100" counts no steps
# "step,100,loss,1.5": pairs with nothing but commas.
_COMMAS = re.compile(rf"\s*[A-Za-z_][\w./ -]*,(?:{numbers.SPELLED})(?:,\s*[A-Za-z_][\w./ -]*,(?:{numbers.SPELLED}))+\s*$", re.IGNORECASE)
_COMMA = re.compile(r"(?<=[\w.)\]]),(?=[-+.\d]|nan|inf)", re.IGNORECASE)
# A number that the message begins with: "[300] loss 0.5", "  3 | mse = 0.5", "12 Loss=0.5".
_LEADING = re.compile(
    r"\s*(?:\[\s*\d{1,7}\s*\](?=[\s:|])|\d{1,7}(?:\s*[|:](?=\s)|(?=\s\[[A-Za-z])|(?=\s+[A-Za-z_][\w.]*\s?[:=]\s?[-+\dni.])))"
)
_SHAPE = re.compile(r"[\[(]\s*+\d++(?:\s*+,\s*+\d++)+\s*+(?:,\s*+)?[\])]")  # "[32, 3, 224, 224]": sizes, no values
_AND_AGAIN = re.compile(r"\s*\]\s*\[\s*$")  # between the counters of "[3/25][40/391]"
_PLACE = re.compile(r"\([A-Za-z_]\w*(?:\.\w+)+:$")  # "(ignite.engine.Trainer:272)": a place in code
_SHARE = re.compile(r"%\s?\(\s?$")  # before the hits of "Acc: 91.2% (912/1000)"
_TAKEN = re.compile(r"\s?(?:[mun]?s|sec(?:ond)?s?|min(?:ute)?s?|h(?:ou)?rs?|hours?)")
_CODE_FILE = re.compile(r"\.(?:py|cc?|cpp|cu|h|hpp|go|rs|lua|so|sh|js)$|importlib|^frozen ")
_LINKED = re.compile(r"\s+(?:is|was|of|at)$")  # "accuracy is: 0.5"
_KEY = re.compile(r"[^\W\d][\w .@/%#()\-+*^\u0394]*$")
_MACHINE = re.compile(r"(?:dgx|exp|gpu|hgx|host|machine|n|node|proc|rank|run|server|task|trial|worker)[-_]?\d+", re.IGNORECASE)
_SPEED = re.compile(
    r"(?:imgs?|images?|samples?|tok(?:en)?s?|words?|seq(?:uence)?s?|sent(?:ence)?s?|examples?|frames?|it(?:er)?s?|steps?|batch(?:es)?)\s?/\s?s(?:ec(?:ond)?)?\.?"
    r"|m?s(?:ec)?/(?:it|iter|step|batch|epoch)",
    re.IGNORECASE,
)
_FIRST_OF_TWO = re.compile(r"\s*(?:\]\s*\[|,)\s*\d+\s?/\s?\d+\s*\]")  # behind the epoch of "[3][40/391]" and "[train: 3, 40 / 391]"
_OPEN = re.compile(r"\[(?:\w+:\s?)?$")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]{2,}")


MOST_LEAD, MOST_TAIL = 7, 3  # words before and behind the numbers of a line without `:` or `=`


@dataclass(slots=True)
class Read:
    """The pairs of a line, its counters, the split that its own words say, and those words (`lead`).

    `sure`: a counter stands there by itself, not behind words that may speak of another place ("saved at step 300").
    `leading`: a number that may count steps, for want of a better one; `doubtful`: it is the step.
    """

    pairs: list[Pair] = field(default_factory=list)
    step: Num | None = None
    epoch: Num | None = None
    rank: Num | None = None
    split: Split | None = None
    lead: tuple[str, ...] = ()
    step_order: int = 9
    sure: bool = False
    leading: Num | None = None
    doubtful: bool = False


class _Gap(NamedTuple):
    """The text between two numbers: the name at its end ("" is none), whether `:` or `=` binds it, the words before it."""

    name: str
    strong: bool
    rest: str


def read(text: str, begin: int) -> Read | None:
    """The pairs and counters from `begin` on, None where there are none."""
    found = Read()
    text, slashed = _painted(text, begin, found)
    begin = _opening_counters(text, begin, found)
    lead: list[str] = []
    pending = ""  # a name with a counter in it: "Loss after epoch 3: 0.5"
    weak: list[tuple[int, str, Num, Split | None]] = []
    previous = begin
    for match in NUMBER.finditer(text, begin):
        between = text[previous : match.start()]
        gap = _gap(between)
        if match["word"] and not gap.strong and not _known(gap.name):
            continue  # "number of nan iterations": a word of a name, no number
        if pending and (gap.name.lower() == "is" or (gap.strong and not gap.name)):
            gap = _Gap(pending, True, "")
        pending = ""
        named = _NAMED.match(text, match.end()) if gap.name and not gap.strong and match["plain"] else None
        if named is not None:
            pending = _name_before(gap.name) if match["plain"].isdecimal() else ""
            if not pending and not role(gap.name) and not named["bracket"]:
                continue  # "accuracy top 5: 0.98": a part of the name
            if pending:
                gap = gap._replace(name=gap.name.split()[-1])
        if _is_passed_over(gap, match, between, text):
            continue
        if _PLACE.search(between) and text[match.end() : match.end() + 1] == ")":
            previous = match.end()
            continue
        previous = match.end()
        num = numbers.from_match(match)
        if found.epoch is None and _opens_two(text, match, gap):
            found.epoch, found.split = num, FORMS.get(gap.name.lower(), found.split)
            continue
        if _of_words(text, match.start(), gap, between):
            gap = _Gap("", False, gap.rest + gap.name)
        found.split = split_in(gap.rest) or found.split
        if not found.pairs and not weak:
            lead += _WORD.findall(gap.rest.lower())
        if num is None:
            continue
        if match.start() in slashed:
            _slashed(found, gap, text, num, slashed[match.start()])
        elif not gap.name:
            _nameless(found, text, match, num, between, weak)
        elif not match["total"] and gap.name.lower() in FORMS and text[num.start : num.end].isdecimal():
            found.split = FORMS[gap.name.lower()]  # "Train [640 samples]", "val 266": how many there are
        elif match["unit"] and _TAKEN.fullmatch(match["unit"]) and role(gap.name):
            continue  # "Step: 12ms" is how long it took
        elif (match["total"] and _of_total(found, gap, num, lead, bool(weak))) or _counter(found, gap.name, num, text):
            continue
        elif gap.strong:
            _add(found, gap.name, num)
        elif not _THINGS.match(text, match.end()) and (not gap.name.lower().endswith("took") or _SECONDS.fullmatch(match["unit"] or "")):
            weak.append((len(found.pairs) + len(weak), gap.name, num, found.split))
    if found.pairs or found.sure or not _prose(text, previous, lead):
        _take_weak(found, weak, text)
    splits.settle(found.pairs)
    _take_leading(found, text, begin)
    if not found.pairs and found.epoch is None and (found.step is None or found.step_order == BAR_RANK):
        return None
    found.lead = tuple(word for word in lead if word not in LEADLESS)[:6]
    return found


def _painted(text: str, begin: int, found: Read) -> tuple[str, dict[int, Num]]:
    """The text with commas for "=" and without bars and durations, and the second numbers of "0.51/0.81" by the place of the first."""
    if _COMMAS.match(text, begin):
        text = text[:begin] + _COMMA.sub("=", text[begin:])
    text, drawn = paint.bars(text, begin)
    if drawn is not None:
        _bar_step(found, drawn)
    return paint.slashed(paint.durations(text, begin), begin)


def _is_passed_over(gap: _Gap, match: re.Match[str], between: str, text: str) -> bool:
    """A number that is no value: "reward over 100 episodes" (a part of the name), "decreased (inf --> 0.39)" (what it was before)."""
    within = gap.name and not gap.strong and _WITHIN.search(gap.name)
    return bool(within or (between[-1:] == "(" and _ARROW.match(text, match.end())))


def _name_before(name: str) -> str:
    """The name of a metric before a counter ("Loss after epoch" -> "Loss"), "" where there is none."""
    words = name.split()
    told = len(words) > 2 and words[-2].lower() in JOINING and role(words[-1])  # "average loss at step"
    if not told and counters.counter(name) is None:
        return ""
    while words and (role(words[-1]) or words[-1].lower() in JOINING):
        words.pop()
    return " ".join(words) if _known(" ".join(words)) else ""


def _slashed(found: Read, gap: _Gap, text: str, num: Num, second: Num) -> None:
    """Two numbers behind one name ("train loss/acc: 0.51/0.81"): taken where a legend tells which is which, or as "epoch 5.6/6.0"."""
    if role(gap.name) == "epoch":
        found.epoch, found.sure = found.epoch or num, True
        return
    names = paint.names_of(gap.name, text)
    if names is None or not (gap.strong or _known(names[0]) or _known(names[1])):
        return
    _add(found, names[0], num)
    _add(found, names[1], second)


def _of_total(found: Read, gap: _Gap, num: Num, lead: list[str], later: bool) -> bool:
    """Take "i/N" behind a word that makes it a counter: a split ("Test: [10/79]"), "epochs", a thing ("subset 10/79")."""
    low = gap.name.lower()
    if (side := split_words().get(low) or split_words().get(low.removesuffix(" at"))) is not None:
        found.split = side
        lead.append(low)
    elif low.split()[-1] in ("epochs", "e"):
        found.epoch, found.sure = found.epoch or num, True
        return True
    elif gap.strong or later or found.pairs or _known(gap.name) or counters.counter(gap.name) or _HITS.search(gap.name):
        return False
    _bar_step(found, num)
    return True


def _take_leading(found: Read, text: str, begin: int) -> None:
    """Where no other number counts steps: the one that the message begins with, or that may be the end ("total steps")."""
    if found.step is not None or not found.pairs:
        return
    if found.leading is None and found.epoch is None and (match := _LEADING.match(text, begin)) is not None:
        digits = re.search(r"\d+(?=\D*$)", match[0])
        assert digits is not None
        found.leading = numbers.at(text, begin + digits.start(), begin + digits.end())
    if found.leading is not None:
        found.step, found.step_order, found.doubtful = found.leading, BAR_RANK, True


def _opening_counters(text: str, begin: int, found: Read) -> int:
    """Take counters that are one word with their numbers ("e3 s200 loss 0.5"); where the rest of the message begins."""
    end, epoch, step = counters.glued(text, begin)
    found.epoch = epoch
    if step is not None:
        found.step, found.step_order = step, 1
    if end == begin:
        end, found.epoch, step = counters.lettered(text, begin)
        if found.epoch is not None and step is not None:
            found.step, found.step_order = step, STEPS["batch"]
        else:
            found.leading = step
    return end


def _opens_two(text: str, match: re.Match[str], gap: _Gap) -> bool:
    """Is the number the epoch before the batches of it ("[3][40/391]")?"""
    if (
        not _OPEN.search(text, max(0, match.start() - 20), match.start())
        or not match["plain"]
        or not match["plain"].isdecimal()
        or match["total"]
    ):
        return False
    return _FIRST_OF_TWO.match(text, match.end()) is not None and (not gap.name or gap.name.lower() in FORMS)


def _of_words(text: str, start: int, gap: _Gap, between: str) -> bool:
    """Does the number at `start` belong to the words before it: "output #0", a list of sizes?"""
    if not gap.strong and between and between[-1] not in " \t[({'\"" and not role(gap.name):
        return True
    return text[start - 1 : start] in ("[", "(") and not role(gap.name) and not _known(gap.name) and bool(_SHAPE.match(text, start - 1))


def _nameless(found: Read, text: str, match: re.Match[str], num: Num, between: str, weak: list[tuple[int, str, Num, Split | None]]) -> None:
    """A number without a name: "45/100" counts steps, two of them in brackets count epochs and batches, "910 samples/s" is a speed."""
    if match["unit"] and _SPEED.fullmatch(match["unit"].strip()):
        name = re.sub(r"\s", "", match["unit"]).rstrip(".")
        if found.pairs:
            _add(found, name, num)
        elif weak or (found.sure and (found.epoch is not None or found.step_order < BAR_RANK)):
            weak.append((len(weak), name, num, None))
        return
    if not match["total"] or num.form != "plain" or _LETTER.search(between) or _SHARE.search(text, 0, match.start()):
        return
    if found.step_order == BAR_RANK and found.epoch is None and _AND_AGAIN.match(between):
        found.epoch, found.step = found.step, num
    _bar_step(found, num)


def _bar_step(found: Read, num: Num) -> None:
    if found.step_order > BAR_RANK:
        found.step, found.step_order, found.sure = num, BAR_RANK, True


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
    name = stem[cut:].strip(" -~*.#")
    if strong and (linked := _LINKED.search(name)):
        name = name[: linked.start()]
    rest = stem[:cut]
    if name.count("(") != name.count(")"):
        inside = name.rsplit("(", 1)
        rest += inside[0]
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
    return _Gap(name, strong, rest)


def _counter(found: Read, name: str, num: Num, text: str) -> bool:
    """Take a step, an epoch or a rank; False: the name is none of them."""
    low = name.lower().strip("# ")
    if low in RANKS:
        found.rank = found.rank or num
        return True
    if counters.doubtful(low) and text[num.start : num.end].isdecimal():
        found.leading = num
        return True
    counted = counters.counter(low)
    if counted is None or (counted.loose and not text[num.start : num.end].rstrip(".").isdecimal()):
        return False
    if num.form == "word":
        return True
    found.split = counted.split or found.split
    if counted.kind == "epoch":
        found.epoch = found.epoch or num
    elif counted.order < found.step_order:
        found.step, found.step_order = num, counted.order
    found.sure = found.sure or not counted.loose
    return True


def _add(found: Read, name: str, num: Num) -> None:
    if name.lower() in NOT_METRICS or NUMBERED.search(name):
        return
    name, told = splits.full_name(name, found.pairs)
    split = told or (None if says_split(name) else found.split)
    split = splits.said_again(Pair(name, num, split), found.pairs)
    if all(pair.name != name or pair.split != split for pair in found.pairs):
        found.pairs.append(Pair(name, num, split))


def _prose(text: str, end: int, lead: list[str]) -> bool:
    """Is the line a sentence with a number in it? Many words before its first number, or some behind the last one."""
    return len(lead) > MOST_LEAD or len(_WORD.findall(text[end : end + 200])) > MOST_TAIL


def _take_weak(found: Read, weak: list[tuple[int, str, Num, Split | None]], text: str) -> None:
    """Names bound by a space only: taken when we know them, when the line has others that we know, or when a counter opens many of them."""
    short = {name: _known_end(name) for _, name, _, _ in weak}
    fractions = sum("." in text[num.start : num.end] for _, _, num, _ in weak)
    counted = bool(found.pairs) or any(short.values()) or (found.sure and fractions >= MOST_TAIL)
    for order, name, num, split in weak:
        words = name.split()
        if not short[name] and counted and len(words) == 1 and words[0].lower() not in STOP and len(name) > 1:
            # "gpu03 2: ...": a name of a machine or a run, not of a metric
            short[name] = "" if _MACHINE.fullmatch(name) and text[num.start : num.end].isdecimal() else name
        taken = short[name]
        if not taken or taken.lower() in NOT_METRICS or NUMBERED.search(taken):
            continue
        pair = Pair(taken, num, None if says_split(taken) else split)
        pair = pair._replace(split=splits.said_again(pair, found.pairs))
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
    ends = [" ".join(words[-count:]) for count in range(min(3, len(words)), 0, -1) if words[-count].lower() not in STOP - {"total"}]
    known = [end for end in ends if _known(end)]
    # Of several the one that we know by heart ("loss scale"), not one that only looks like a loss ("reducing loss scale").
    return next(
        (end for end in known if " " in end and vocabulary.lookup(end).metric != "_".join(vocabulary.tokens(end))), next(iter(known), "")
    )


@functools.lru_cache(maxsize=8192)
def _known(name: str) -> bool:
    return vocabulary.lookup(name).kind not in ("", "setting")
