"""The runs of digits of the segments of one shape, as the columns of a table: run 0 of each segment, run 1 of each, and so on."""

from __future__ import annotations

import numpy as np

from postmortem.parsers._text_shapes import Mined


class Runs:
    """The runs of digits of the segments `rows` (ascending), all of which have equally many.

    Segments that stand one behind the other have their runs one behind the other, too: a column is a view of every so many-th
    run then, and nothing is copied. Others are picked out.
    """

    def __init__(self, mined: Mined, rows: np.ndarray) -> None:
        self.mined = mined
        self.rows = rows
        begin, end = int(rows[0]), int(rows[-1]) + 1
        self._begin, self._end = int(mined.first[begin]), int(mined.first[end])
        self._count = int(mined.first[begin + 1]) - self._begin
        self._first = None if end - begin == len(rows) else mined.first[rows]

    def starts(self, run: int) -> np.ndarray:
        """Where run number `run` of each segment begins."""
        return self.column(self.mined.edges[0::2], run) + 1

    def ends(self, run: int) -> np.ndarray:
        """Where run number `run` of each segment ends."""
        return self.column(self.mined.edges[1::2], run) + 1

    def column(self, of_runs: np.ndarray, run: int) -> np.ndarray:
        """What an array that tells something of every run of a chunk tells of run number `run` of each segment."""
        if self._first is None:
            return of_runs[self._begin + run : self._end : self._count]
        return of_runs[self._first + run]
