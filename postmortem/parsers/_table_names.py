"""What a table is called by the name of its file, where its own names say nothing, and which tables list things and no history."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from postmortem.frame import NO_STEP
from postmortem.parsers._columns import plain, roles, whole
from postmortem.parsers._dialect import Dialect, fields

# TensorBoard's download of one scalar is called "run-RUN-tag-TAG.csv" and has the columns Wall time, Step and Value.
_TAG = re.compile(r"run-.*?[-_.]tag-(?P<tag>.+)")
UNSAID = frozenset(("value", "values", "y", "scalar", "metric"))  # names of a column that holds "the" value
# Words of file names that say nothing about what is in the file
GENERAL = frozenset(
    (
        "log", "logs", "data", "out", "output", "result", "results", "metric", "metrics", "value", "values", "scalar", "scalars", "history",
        "progress", "monitor", "table", "train", "training", "test", "val", "valid", "validation", "eval", "dev", "stats", "summary", "run",
        "file", "curve", "curves", "plot", "pred", "preds", "prediction", "predictions", "submission", "label", "labels", "feature",
        "features", "matrix", "confusion",
    )
)  # fmt: skip
EXPECTED = frozenset(("y_true", "true", "target", "targets", "label", "labels", "gt", "ground_truth", "actual", "expected", "y"))
PREDICTED = frozenset(("y_pred", "pred", "preds", "predicted", "prediction", "predictions", "forecast", "y_hat", "yhat"))


def stem(name: str) -> str:
    """The metric that a file name says: "epoch_loss" for "run-a-tag-epoch_loss.csv" and for "epoch_loss.csv"."""
    bare = re.sub(r"(?:\.(?:csv|tsv|tab|dat|plx|txt|gz))+$", "", name, flags=re.I)
    found = _TAG.fullmatch(bare)
    return found["tag"] if found else bare


def named_by_file(dialect: Dialect, file: str, head: str) -> Dialect:
    """The dialect with the names that its file gives: for a lone column "Value", and for a headerless table of one metric."""
    name = stem(file)
    if not any(word for word in plain(name).split("_") if word not in GENERAL and not word.isdigit()):
        return dialect
    if dialect.has_header:
        axes = roles(dialect.names).axes
        rest = [at for at, column in enumerate(dialect.names) if column not in axes]
        if len(rest) == 1 and plain(dialect.names[rest[0]]) in UNSAID:
            return replace(dialect, names=tuple(name if at == rest[0] else column for at, column in enumerate(dialect.names)))
        return dialect
    axes_before = _counted(dialect, head)
    if not axes_before:
        return dialect
    return replace(
        dialect, names=(*axes_before, name), origin=f"no header line: the columns are {', '.join(axes_before)} and what the file is called"
    )


def _counted(dialect: Dialect, head: str) -> tuple[str, ...]:
    """The axes of a headerless table with one metric: ("step",) where its first column counts up, ("epoch", "step") where two do.

    TorchRL's CSVLogger writes "step,value" and d3rlpy's "epoch,step,value", each metric into a file of its own name.
    """
    width = len(dialect.names)
    rows = [fields(line, dialect.delimiter) for line in head.split("\n")[dialect.body :][:200]]
    rows = [row for row in rows if len(row) == width]
    if width not in (2, 3) or len(rows) < 2:
        return ()
    counters = [[whole(row[at]) for row in rows] for at in range(width - 1)]
    if any(count == NO_STEP or count < 0 for column in counters for count in column):
        return ()
    last = counters[-1]
    if any(later <= earlier for earlier, later in itertools.pairwise(last)):
        return ()
    if width == 2:
        return ("step",)
    rising = all(earlier <= later for earlier, later in itertools.pairwise(counters[0]))
    return ("epoch", "step") if rising and all(epoch <= step for epoch, step in zip(counters[0], last, strict=True)) else ()


def are_predictions(names: Sequence[str]) -> bool:
    """Whether columns hold what was expected beside what was predicted."""
    known = {plain(name) for name in names}
    return bool(known & EXPECTED) and bool(known & PREDICTED)
