"""Which split a number of a line belongs to: by the words of its name, by the words before it, by its neighbours."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from postmortem import vocabulary
from postmortem.model import Split
from postmortem.parsers import _text_counters as counters
from postmortem.parsers._text_counters import split_words
from postmortem.parsers._text_numbers import Num
from postmortem.parsers._text_words import COMPANY, FORMS

_WORD = re.compile(r"[a-z]+(?:_[a-z]+)*")


class Pair(NamedTuple):
    """A name, its number, and the split that the words before it say."""

    name: str
    num: Num
    split: Split | None


@functools.cache
def _vocabulary_splits() -> frozenset[str]:
    return frozenset(word for words in vocabulary.data()["split"].values() for word in words)


@functools.lru_cache(maxsize=8192)
def says_split(name: str) -> bool:
    """Does the name itself say its split ("val_loss")?"""
    words = _vocabulary_splits()
    return any(word in words for word in vocabulary.tokens(name))


def split_in(words: str) -> Split | None:
    """The last split word among the words before a name, None: none. "val_seen" says one, the name "cpu_test" of a run does not."""
    said: list[str] = []
    for word in _WORD.findall(words.lower()):
        parts = word.split("_")
        if parts[0] in split_words():
            said.append(parts[0])
        elif all(part in split_words() or part in COMPANY for part in parts[1:]) and parts[0] in COMPANY:
            said += parts
    return counters.split_of(said)


def full_name(name: str, before: list[Pair]) -> tuple[str, Split | None]:
    """The metric that the word of a split stands for: "eval" behind "loss train: 0.5" is a loss of the evaluation."""
    side = FORMS.get(name.lower())
    if side is None or not before:
        return name, None
    last = before[-1]
    words = [word for word in last.name.split() if word.lower() not in FORMS]
    if not words or (len(words) == len(last.name.split()) and last.split is None):
        return name, None
    return " ".join(words), side


def said_again(pair: Pair, before: list[Pair]) -> Split | None:
    """The split of a name; said twice it belongs to the name before it ("train loss 0.5 acc 0.8 | val loss 0.6 acc 0.7")."""
    if pair.split is not None or says_split(pair.name) or all(other.name != pair.name or other.split is not None for other in before):
        return pair.split
    return vocabulary.lookup(before[-1].name).split


def settle(pairs: list[Pair]) -> None:
    """Give losses and scores without a split that of the name that opens their group.

    "train Loss: 0.5 Acc: 0.8" is one group. Where names of several splits stand in a line, only names that come again make groups.
    """
    if len(pairs) < 2 or _opening(pairs[0].name) is None:
        return
    unsaid = [pair.name for pair in pairs if not says_split(pair.name)]
    others = [pair for pair in pairs[1:] if says_split(pair.name) or pair.split is not None]
    side: Split | None = None
    for place, pair in enumerate(pairs):
        side = _opening(pair.name) or side
        known = vocabulary.lookup(pair.name).kind in ("loss", "score") and "best" not in pair.name.lower()
        if known and pair.split is None and not says_split(pair.name) and (not others or unsaid.count(pair.name) > 1):
            pairs[place] = pair._replace(split=side)


def _opening(name: str) -> Split | None:
    """The split whose word begins a name of several words ("train Loss")."""
    first, _, rest = name.partition(" ")
    return FORMS.get(first.lower()) if rest else None
