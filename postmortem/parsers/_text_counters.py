"""Which names count steps or epochs: the counter by itself ("global_step"), or at the end of other words ("Validation at step")."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from postmortem import vocabulary
from postmortem.model import Split
from postmortem.parsers import _text_numbers as numbers
from postmortem.parsers._text_numbers import Num
from postmortem.parsers._text_words import COMPANY, COUNTER_GROUPS, COUNTER_TAILS, DOUBTFUL_STEPS, EPOCHS, FORMS, OTHER_COUNTS, STEPS

_JOINTS = re.compile(r"[\s_\-]+")
_MOST_WORDS = 9  # words that a name with a counter at its end may have
# "e3 s200 loss", "epoch3 step_200: loss", "Ep.3/20 loss": counters whose number is a part of the word, at the beginning of the message.
_GLUED = re.compile(
    r"[\s\[(<|,;:/]*(?:(?P<epoch>epoch|ep|e)|(?P<step>(?:global_?|train_?)?step|iter(?:ation)?|it|s|i)|batch|b)"
    r"(?P<joint>[_.-]?)(?P<digits>\d+)(?:/\d+)?(?![\w.\-/%]|\s?=)[\])>]*",
    re.IGNORECASE,
)
# "E:1, B:20, loss 0.5", "t=100 loss=0.3": counters of one letter that open the message.
_LETTERED = re.compile(
    r"[\s\[(<|,;]*(?<!\w)(?:(?P<epoch>e)|(?P<step>[bist]))\s?[:=]\s?(?P<digits>\d+)(?:/\d+)?(?![\w.%:/-]|\s?[a-z]{1,2}(?!\w|\s?[:=]))[\])>]*",
    re.IGNORECASE,
)


class Counter(NamedTuple):
    """What a name counts: "step" or "epoch", how well (the lower, the better), its split, and whether other words stand before it."""

    kind: str
    order: int
    split: Split | None = None
    loose: bool = False


@functools.lru_cache(maxsize=4096)
def counter(name: str) -> Counter | None:
    """The counter that a name is or ends with, None: it counts nothing, or something else ("warmup steps", "time per step")."""
    low = name.lower().strip("# ")
    group, slash, last = low.rpartition("/")
    if slash and (one := _exact(last)) is not None and (group in COUNTER_GROUPS or one == _SUREST):  # "trainer/global_step"
        return one
    if (exact := _exact(low)) is not None:
        return exact
    words = low.split()
    if not 2 <= len(words) <= _MOST_WORDS:
        return None
    for count in (2, 1):
        before = [word.strip(".,:;|()[]") for word in words[:-count]]
        tail = _JOINTS.sub(" ", " ".join(words[-count:]))
        if tail in COUNTER_TAILS and before and not OTHER_COUNTS.intersection(before):
            kind, order = ("epoch", 0) if tail in EPOCHS else ("step", STEPS[tail])
            sure = (kind == "epoch" and len(before) <= 2) or all(word in FORMS or word in COMPANY or word == "at" for word in before)
            return Counter(kind, order, split_of(before), not sure)
    return None


def _exact(low: str) -> Counter | None:
    plain = _JOINTS.sub(" ", low).strip()
    first, _, rest = low.partition(" ")  # "val step", but not the setting "test_iter"
    split = split_of([first]) if rest else None
    for words in (plain, rest if split is not None else ""):
        if words in EPOCHS:
            return Counter("epoch", 0, split if split != "train" else None)
        if words in STEPS:
            return Counter("step", STEPS[words], split if split != "train" else None)
    return None


def doubtful(low: str) -> bool:
    """Is it the name of a counter, or of how many there will be ("total_steps")?"""
    return _JOINTS.sub(" ", low).strip() in DOUBTFUL_STEPS


_SUREST = Counter("step", 0)


def role(name: str) -> str:
    """ "step", "epoch" or "" for a name that is nothing but a counter."""
    found = counter(name)
    return "" if found is None or found.loose else found.kind


def glued(text: str, begin: int) -> tuple[int, Num | None, Num | None]:
    """(where they end, epoch, step) of counters at the beginning of the message whose numbers are parts of their words."""
    end, letters, found = begin, 0, []
    while (match := _GLUED.match(text, end)) is not None:
        end = match.end()
        letters += len(match[0]) - len(match["digits"])
        # Behind a hyphen the number would be read with a minus: the word is known for what it is, its number is left.
        num = None if match["joint"] == "-" else numbers.at(text, *match.span("digits"))
        found.append(("epoch" if match["epoch"] else "step" if match["step"] else "batch", num, match[0].strip(" [(<|,;:/")))
    if not found or (len(found) == 1 and not re.match(r"[A-Za-z]{2}", found[0][2])):
        return begin, None, None  # one letter and a number ("e3 ...") may be anything
    epoch = next((num for kind, num, _ in found if kind == "epoch"), None)
    step = next((num for kind, num, _ in found if kind == "step"), None)
    return end, epoch, step


def lettered(text: str, begin: int) -> tuple[int, Num | None, Num | None]:
    """(where they end, epoch, step) of counters of one letter at the beginning of the message ("E:1, B:20, ...")."""
    end = begin
    found: dict[str, Num | None] = {"epoch": None, "step": None}
    while (match := _LETTERED.match(text, end)) is not None:
        kind = "epoch" if match["epoch"] else "step"
        if found[kind] is None:
            found[kind] = numbers.at(text, *match.span("digits"))
        end = match.end()
    return end, found["epoch"], found["step"]


def split_of(words: list[str]) -> Split | None:
    """The last split among the words, None: none."""
    known = split_words()
    said = [known[word] for word in words if word in known]
    return said[-1] if said else None


@functools.cache
def split_words() -> dict[str, Split]:
    """Words that say a split."""
    return {**FORMS, **{word: split for split, words in vocabulary.data()["split"].items() for word in words}}
