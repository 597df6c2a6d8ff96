"""A quick look at the first line of every new shape, so that free text (samples, prompts, dumps) costs next to nothing."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from postmortem.parsers._text_glue import GLUE_WORDS
from postmortem.parsers._text_line import CODE
from postmortem.parsers._text_shapes import Mined
from postmortem.patterns import SHORTEST

MANY = 2_000  # new shapes at a time from which on one pass of Polars over all of them is cheaper than ours over each
MOST_TOGETHER = 32  # lines one behind the other that are looked at as one text, when there are MANY

# A number bound to a name, a table, a heading, or one of the words that numbers follow.
_NUMBERS = (
    r"(?:[:=|>\u2502\u2503]\s*|\t[^\S\t]*)[-+\[({'\"\x1b]*(?:[\d.]|[nN][aA][nN]|[iI]nf)"
    r"|%\||% [\u2500\u2501]|\|.*\||  |\x1b|^[\s\d.eE+=>#*-]*$|^[-+\w.:/]*,(?:,| ?[-+.\d])|^\s*\S+\s+[-+]?[\d.]\S*\s*$"
    r"|(?i:(?:\b|_)(?:epoch|loss|step|iter|acc|train|valid|test|eval|dev\b|score|lr\b|reward|error|perplex|ppl|norm|rate"
    r"|r?mse\b|mae\b|mape\b|auc\b|f1\b|bleu|m?iou\b|psnr|fps\b|timesteps?\b|updates? \d))"
    rf"|{CODE}"
)
WORTH_A_LOOK = re.compile(_NUMBERS)
_HINT_WORDS = (
    "Traceback",
    'File "',
    "Error",
    "Exception",
    "Check failed",
    "***",
    "terminate called",
    "] F",
    ": F ",
    "Assertion ",
    ".lua:",
    "WON'T",
    "Logging",
    "WARN",
    "SIG",
)
_LOW = bytes(range(256)).lower()
_GLASS = re.compile("F[0-9]")
_DIGITS = re.compile(r"[0-9]")


def _either(words: Iterable[str]) -> str:
    """An expression for any of these words: three times as fast in Polars as `contains_any`, where they are many."""
    return "|".join(map(re.escape, words))


_ANYTHING = "(?m)" + "|".join((_NUMBERS.replace(r"\b", ""), _either(_HINT_WORDS), _GLASS.pattern, _either(GLUE_WORDS)))


class Looks(NamedTuple):
    """What may be in the lines of new shapes, one truth value (bool array) a line: numbers, a traceback, several lines in one, an event."""

    numbers: np.ndarray
    hint: np.ndarray
    glue: np.ndarray
    watch: np.ndarray

    @property
    def any(self) -> np.ndarray:
        """Which lines are worth a second look."""
        return np.flatnonzero(self.numbers | self.hint | self.glue | self.watch)


class Quick:
    """Looks at new lines, many at a time."""

    def __init__(self, needles: frozenset[str], blind: bool) -> None:
        self._needles = sorted(needles)
        self._beginnings = frozenset(needle[:SHORTEST] for needle in needles if len(needle) >= SHORTEST)
        self._any_needle = _either(self._needles)
        self._short = tuple(needle for needle in needles if len(needle) < SHORTEST)
        self._blind = blind  # some expression has no needles: every line has to be tried with it

    def looks(self, texts: list[str]) -> Looks:
        """One look at each text."""
        found = self._by_polars(texts) if len(texts) >= MANY else self._by_hand(texts)
        if self._blind:
            found.watch[:] = True
        return found

    def telling(self, mined: Mined, segments: np.ndarray, encoding: str) -> np.ndarray:
        """Which of many segments (ascending) may hold something: a look at stretches of lines, where one at each costs too much.

        A stretch in which nothing is found has no line in which `looks` finds anything: the expressions are the same, without the
        word borders, which Polars is slow with where a text is not all ASCII.
        """
        if self._blind:
            return np.ones(len(segments), bool)
        alone = np.diff(segments, prepend=-2) != 1
        before = np.flatnonzero(alone)[np.cumsum(alone) - 1]
        begins = np.flatnonzero((np.arange(len(segments)) - before) % MOST_TOGETHER == 0)
        ends = np.append(begins[1:], len(segments))
        return np.repeat(self._tell(mined.pieces(segments[begins], segments[ends - 1]), encoding), ends - begins)

    def _tell(self, pieces: list[bytes], encoding: str) -> np.ndarray:
        """In which pieces of a log there may be something."""
        import polars as pl

        found = pl.Series([piece.decode(encoding, "replace") for piece in pieces], dtype=pl.String()).str.contains(_ANYTHING)
        if self._needles:
            plain = [piece.translate(_LOW, b"0123456789").decode(encoding, "replace") for piece in pieces]
            low = plain if all(map(str.isascii, plain)) else list(map(str.lower, plain))
            found |= pl.Series(low, dtype=pl.String()).str.contains(self._any_needle)
        return found.to_numpy()

    def _by_hand(self, texts: list[str]) -> Looks:
        plain = [_DIGITS.sub("", text).lower() for text in texts]
        return Looks(
            np.array([WORTH_A_LOOK.search(text) is not None for text in texts], bool),
            np.array([any(word in text for word in _HINT_WORDS) or _GLASS.search(text) is not None for text in texts], bool),
            np.array([any(word in text for word in GLUE_WORDS) for text in texts], bool),
            np.array([self._holds_needle(text) for text in plain], bool),
        )

    def _holds_needle(self, text: str) -> bool:
        """Is one of the needles in the text? Their beginnings are compared first, all at once."""
        if any(needle in text for needle in self._short):
            return True
        if self._beginnings.isdisjoint({text[i : i + SHORTEST] for i in range(len(text) - SHORTEST + 1)}):
            return False
        return any(needle in text for needle in self._needles)

    def _by_polars(self, texts: list[str]) -> Looks:
        import polars as pl

        text = pl.col("text")
        plain = text.str.replace_all("[0-9]", "").str.to_lowercase()
        found = pl.DataFrame({"text": texts}, schema={"text": pl.String()}).select(
            text.str.contains(_NUMBERS).alias("numbers"),
            (text.str.contains_any(list(_HINT_WORDS)) | text.str.contains(_GLASS.pattern)).alias("hint"),
            text.str.contains(_either(GLUE_WORDS)).alias("glue"),
            (plain.str.contains(self._any_needle) if self._needles else pl.lit(False)).alias("watch"),
        )
        return Looks(*(np.array(found[name].to_numpy()) for name in Looks._fields))


@functools.lru_cache(maxsize=8)
def quick(needles: frozenset[str], blind: bool) -> Quick:
    """The same look for all files of a run."""
    return Quick(needles, blind)
