"""A quick look at the first line of every new shape, so that free text (samples, prompts, dumps) costs next to nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

from postmortem.parsers import _text_glue as glue
from postmortem.parsers._text_events import Watch

WATCH_FLAG = 4  # _text_plans.WATCH; plans import this module
MANY = 400  # new shapes at a time from which on one pass of Polars over all of them is cheaper than ours over each

# A number bound to a name, a table, a heading, or one of the words that numbers follow.
_NUMBERS = (
    r"[:=|\t]\s*[-+\[({'\"]*(?:[\d.]|[nN][aA][nN]|[iI]nf)|%\||\|.*\||  |^[\s\d.eE+-]*$|(?i:epoch|loss|step|iter|\bacc|train|valid|test|eval|\bdev\b|score|\blr\b|reward|error|perplex|ppl|norm|rate)"
    r"|^\s*(?:def|class|from|import|return|if|elif|else|for|while|with|try|except|assert|raise|@\w|#include|usage:)|\):\s*$"
)
_HINT_WORDS = ("Traceback", 'File "', "Error", "Exception", "Check failed", "***", "terminate called", "] F", ": F ", "Assertion ", ".lua:", "WON'T", "Logging", "WARN", "SIG")
_GLASS = re.compile(r"F\d")


class Look(NamedTuple):
    """What may be in the lines of a shape: numbers, a traceback (`hint`), several lines in one (`glue`); `flags` to begin with."""

    numbers: bool
    hint: bool
    glue: bool
    flags: int


class Quick:
    """Looks at new lines."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._numbers = re.compile(_NUMBERS)

    def looks(self, texts: list[str]) -> list[Look]:
        """One look for each text."""
        numbers = self._candidates(texts)
        watched = self.watch.candidates(texts)
        return [
            Look(
                number,
                any(word in text for word in _HINT_WORDS) or bool(_GLASS.search(text)),
                glue.may_be_glued(text),
                WATCH_FLAG if candidate and self.watch.watches(text) else 0,
            )
            for text, number, candidate in zip(texts, numbers, watched, strict=True)
        ]

    def _candidates(self, texts: list[str]) -> list[bool]:
        if len(texts) < MANY:
            return [self._numbers.search(text) is not None for text in texts]
        import polars as pl

        return pl.Series(texts, dtype=pl.String).str.contains(_NUMBERS).to_list()
