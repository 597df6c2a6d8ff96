"""A huge log of which only a sample is read, because somebody asked for it: its lines keep their numbers, its end is there."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from postmortem.cli import command
from postmortem.config import find, size
from postmortem.errors import UsageError
from postmortem.model import Reading
from postmortem.parsers import text
from postmortem.parsers._text_spans import STRETCHES, spans
from postmortem.parsers.base import HEAD_BYTES, Request, SourceFile

LINES = 40_000
MOST = 200_000  # bytes of a log of 1.2 MB
DEATH = 'Traceback (most recent call last):\n  File "train.py", line 9, in <module>\n    step()\nRuntimeError: the very end\n'


def written(path: Path, lines: list[str], encoding: str = "utf-8") -> SourceFile:
    data = "".join(lines).encode(encoding)
    path.write_bytes(data)
    return SourceFile(path, path.name, len(data), data[:HEAD_BYTES])


def log() -> list[str]:
    return [f"step {i} loss {1 + 1 / (i + 1):.6f} lr {1e-3:.1e}\n" for i in range(LINES)] + [DEATH]


def loss(reading: Reading) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    block = next(block for block in reading.blocks if block.raw_name == "loss")
    assert block.lines is not None and block.steps is not None
    return block.lines, block.steps, block.values


def test_spans_are_in_order_and_add_up_to_what_was_asked() -> None:
    found = spans(10**9, 10**7)
    assert found[0][0] == 0 and found[-1][1] == 10**9 and len(found) == STRETCHES
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))
    assert sum(end - start for start, end in found) == pytest.approx(10**7, rel=0.01)


@pytest.mark.parametrize("most", [None, 10**9, 10**10])
def test_all_is_read_where_nobody_asked_or_the_log_is_small_enough(most: int | None) -> None:
    assert spans(10**9, most) == [(0, 10**9)]


def test_every_point_of_the_sample_stands_in_its_line(tmp_path: Path) -> None:
    reading = text.read(written(tmp_path / "train.log", log()), Request(most=MOST))
    lines, steps, values = loss(reading)
    assert (lines == steps + 1).all()
    assert values == pytest.approx(1 + 1 / (steps + 1), abs=1e-6)
    assert steps[0] == 0 and steps[-1] == LINES - 1
    assert 0.1 * LINES < len(steps) < 0.25 * LINES
    assert np.diff(steps).max() < 2 * LINES / STRETCHES  # no part of the run is missing


def test_the_end_and_the_sampling_are_told(tmp_path: Path) -> None:
    reading = text.read(written(tmp_path / "train.log", log()), Request(most=MOST))
    assert [(event.line, event.kind) for event in reading.events] == [(LINES + 4, "exception")]
    told = [note for note in reading.notes if note.startswith("a sample was read, as asked")]
    assert len(told) == 1 and "every line was counted" in told[0]


def test_what_stands_above_a_gap_does_not_hold_below_it(tmp_path: Path) -> None:
    """A traceback that is open where a stretch ends takes no line behind the gap; a heading there gives its epoch to none."""
    lines = log()
    for i in range(0, LINES, 10):
        lines[i] = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n'
    reading = text.read(written(tmp_path / "train.log", lines), Request(most=MOST))
    steps = loss(reading)[1]
    assert (steps % 10 != 0).all() and len(steps) > 0.08 * LINES


def test_utf_16_is_read_whole(tmp_path: Path) -> None:
    reading = text.read(written(tmp_path / "train.log", log(), "utf-16"), Request(most=MOST))
    assert len(loss(reading)[1]) == LINES


@pytest.mark.parametrize(("spelled", "meant"), [("20GB", 20 * 10**9), ("1.5 MB", 1_500_000), ("500", 500), ("2k", 2_000)])
def test_sizes(spelled: str, meant: int) -> None:
    assert size(spelled) == meant


def test_a_size_that_is_none() -> None:
    with pytest.raises(UsageError, match="is no size"):
        size("a lot")


def test_the_command_and_the_settings_ask_for_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    written(run / "train.log", log())
    told = CliRunner().invoke(command, ["examine", str(run), "--format", "json", "--sample-above", "200kB"])
    assert "a sample was read, as asked" in told.output and "the very end" in told.output
    (tmp_path / "postmortem.toml").write_text('sample_above = "200kB"\n')
    assert find(tmp_path, run).sample_above == 200_000
