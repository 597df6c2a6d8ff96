"""What a line means in its place: rows below the head of a table, numbers below a heading, in a section, in a box."""

from __future__ import annotations

from typing import cast

from postmortem.model import Split
from postmortem.parsers import _text_pairs as pairs
from postmortem.parsers._text_line import Columns, Metric, Said

HEAD_REACH = 200  # segments below a heading with a step ("[step=370/10000]") in which lines without a step of their own belong to it
OWN_REACH = 6  # the same below a line that has a step and metrics: what follows at once was printed together with it
CODE_REACH = 3  # segments below a line of code that are taken for code, too, unless they say a step or an epoch
BARE_COLUMNS = range(2, 9)  # columns that a line of bare numbers may have

_SIDES: dict[str, Split] = {
    "training": "train",
    "train": "train",
    "validation": "val",
    "valid": "val",
    "val": "val",
    "dev": "val",
    "test": "test",
}
_SHORT = {"e": "epoch", "#": "step"}  # column heads of one character


def sectioned(section: str) -> Split | None:
    """The split that a section puts on the lines after it."""
    return None if section in ("", "clear") else cast(Split, section)


def row_metrics(found: Said, table: Columns | None) -> Said | None:
    """A table row with the names of its columns, None where it is no row of the table above it."""
    cells = found.cells
    assert cells is not None
    if table is not None and table.ruled == cells.ruled:
        sides = [_SIDES.get(name.lower()) for name in table.names if name]
        if cells.label and len(sides) == len(cells.nums) - 1 and all(sides):
            told = Said(family="sides|", stamp=found.stamp)
            told.metrics = [Metric(cells.label, num, side) for num, side in zip(cells.nums[1:], sides, strict=True) if num is not None]
            return told
        if (names := table.fitting(len(cells.nums)) or sparse_names(found, table)) is not None:
            return _named(found, names, table)
    if cells.ruled or cells.label or len(cells.nums) not in BARE_COLUMNS or any(num is None for num in cells.nums):
        return None
    told = Said(family=f"bare {len(cells.nums)}|", stamp=found.stamp)
    told.metrics = [Metric(f"col{i}", num) for i, num in enumerate(cells.nums, 1) if num is not None]
    return told


def sparse_names(found: Said, table: Columns) -> tuple[str, ...] | None:
    """The names above the cells of a row some of whose cells are empty, by where its numbers stand; None: they stand below no names."""
    cells = found.cells
    if cells is None or cells.ruled or cells.label or len(cells.nums) >= len(table.names) or None in cells.nums:
        return None
    nums = [num for num in cells.nums if num is not None]
    for edges, places in ((table.starts, [num.start for num in nums]), (table.ends, [num.end for num in nums])):
        if set(places) <= set(edges):
            return tuple(table.names[edges.index(place)] for place in places)
    return None


def _named(found: Said, names: tuple[str, ...], table: Columns) -> Said:
    assert found.cells is not None
    told = Said(family="table|" + "|".join(table.names), stamp=found.stamp)
    split = pairs.split_in(found.cells.label)
    for name, num in zip(names, found.cells.nums, strict=True):
        if num is None or not name:
            continue
        kind = pairs.role(_SHORT.get(name.lower(), name))
        if kind == "epoch":
            told.epoch = num
        elif kind == "step":
            told.step = told.step or num
            told.counts = True
        else:
            told.metrics.append(Metric(name, num, None if pairs.says_split(name) else split))
    return told
