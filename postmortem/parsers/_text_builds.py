"""Tells lines of one shape apart that are built differently, for a shape leaves out blanks, signs, dots and the lengths of numbers.

The build of a line is how many of its bytes are no digits, and how many digits stand before its message. Lines that a logger
prints in the same way have one build, or a few (signs, padding). A line that was cut, glued or damaged nearly always has another
one: it is read for itself, and does not decide how the good ones are read. Where the first line of a shape and the last one so
far are spelled in two ways all the same, every line is looked at (`plain`).
"""

from __future__ import annotations

import re

import numpy as np

from postmortem.parsers._text_runs import Runs
from postmortem.parsers._text_shapes import Mined

MOST_BUILDS = 64  # builds of one shape that are looked at; bars that are drawn in many widths have more
_RUN = re.compile(rb"[0-9]+")
_NUMBERS = re.compile(r"(?:(?<![^\s:=,(\[|e])[-+])?[0-9]+")
_BLANKS = re.compile(r"[ ]+")
_DIGITS = 1 << 12  # room for the first number of a build below the second


def of_text(text: bytes, prefix: int) -> int:
    """The build of one line whose message begins behind `prefix` runs of digits."""
    runs = [len(run) for run in _RUN.findall(text)]
    return len(text) - sum(runs) + sum(runs[:prefix]) * _DIGITS


def plain(text: str) -> str:
    """The text without what differs from line to line: numbers, their signs, how many blanks there are."""
    return _BLANKS.sub(" ", _NUMBERS.sub("0", text))


class Builds:
    """The builds of the segments of a chunk."""

    def __init__(self, mined: Mined) -> None:
        self._lengths = np.zeros(len(mined.edges) // 2 + 1, np.int64)
        np.subtract(mined.edges[1::2], mined.edges[0::2], out=self._lengths[:-1])
        digits = np.add.reduceat(self._lengths, mined.first[:-1])  # of a segment without digits: those of the next one
        digits[mined.first[:-1] == mined.first[1:]] = 0
        self._others = mined.ends - mined.starts
        self._others -= digits

    def of(self, runs: Runs, prefix: int) -> np.ndarray:
        """The builds of segments whose messages begin behind `prefix` runs of digits."""
        others = self._others[runs.rows]
        for run in range(prefix):
            others += runs.column(self._lengths, run) * _DIGITS
        return others
