"""The unified frame: any mix of blocks, against rows put together one by one."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest

from postmortem import frame
from postmortem.frame import NO_STEP, NO_TIME, Block
from postmortem.model import Reading


def a_block(dice: random.Random, number: int) -> Block:
    """A block with some columns, in some rows without a value; several blocks share lines, as the cells of a table do."""
    size = dice.choice((0, 1, 5, 40))
    block = Block(f"{dice.choice(('train', 'val', 'x'))}/loss", np.array([dice.choice((1.5, np.nan, np.inf, 0.0)) for _ in range(size)]))
    lines = np.sort(np.array([dice.randrange(1, 60) for _ in range(size)], np.int64))
    block.lines = dice.choice((lines, lines, None))
    block.steps = dice.choice((None, np.array([dice.choice((NO_STEP, 0, k)) for k in range(size)], np.int64)))
    block.epochs = dice.choice((None, np.array([dice.choice((np.nan, k / 2)) for k in range(size)])))
    block.times = dice.choice((None, np.array([dice.choice((NO_TIME, 10**15 + k)) for k in range(size)], np.int64)))
    block.segments = dice.choice((None, np.full(size, 2, np.int64)))
    block.split, block.device, block.rank, block.series = (
        dice.choice((None, "test")),
        dice.choice((None, 3)),
        dice.choice((None, 0)),
        number,
    )
    return block


def one_by_one(readings: list[Reading]) -> list[tuple]:
    """(file, line, time, step, epoch, device, rank, segment, raw_name, value, series) of every point, the obvious way."""
    rows = []
    files = list(dict.fromkeys(reading.file for reading in readings if any(len(block.values) for block in reading.blocks)))
    for reading in readings:
        for block in reading.blocks:
            for k in range(len(block.values)):

                def cell(name: str, none: float, block: Block = block, k: int = k) -> float | None:
                    column = getattr(block, name)
                    value = None if column is None else column[k].item()
                    return None if value is None or value == none or value != value else value

                line = cell("lines", 0)
                place = (files.index(reading.file), line or 0)
                told = (
                    reading.file,
                    line,
                    cell("times", NO_TIME),
                    cell("steps", NO_STEP),
                    cell("epochs", np.nan),
                    block.device,
                    block.rank,
                )
                rows.append((place, (*told, cell("segments", -1) or 0, block.raw_name, repr(block.values[k].item()), block.series)))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


@pytest.mark.parametrize("seed", range(30))
def test_assembled_as_one_by_one(seed: int) -> None:
    dice = random.Random(seed)
    readings = [
        Reading(f"f{number}.csv", "x", [a_block(dice, k) for k in range(dice.randrange(4))]) for number in range(dice.randrange(1, 4))
    ]
    table = frame.assemble(readings)
    assert list(table.columns) == [*frame.COLUMNS, "series"] and dict(table.schema) == frame.schema() | {"series": pl.UInt32()}
    names = ("file", "line", "time", "step", "epoch", "device", "rank", "segment", "raw_name", "value", "series")
    plain = table.with_columns(pl.col("time").dt.timestamp("us")).select(names).rows()
    assert [(*row[:9], repr(row[9]), row[10]) for row in plain] == one_by_one(readings)


def test_nan_stays_a_value_and_nothing_stays_nothing() -> None:
    table = frame.assemble([Reading("a.log", "x", [Block("loss", np.array([np.nan, 1.0]), np.array([1, 2]))])])
    assert table["value"].null_count() == 0 and table["value"].is_nan().sum() == 1
    assert all(table[name].null_count() == 2 for name in ("time", "step", "epoch", "device", "rank"))
    assert table["segment"].to_list() == [0, 0] and table["metric"].to_list() == ["loss", "loss"]
    assert dict(frame.assemble([]).schema) == dict(table.schema)


def test_the_folder_says_nothing_of_a_file_that_tells_its_splits_apart() -> None:
    """runs/detect/train/results.csv holds validation scores too; train/log.csv with nothing but losses is a log of training."""
    both = [Block(name, np.array([1.0])) for name in ("train/loss", "val/loss", "accuracy")]
    alone = [Block(name, np.array([1.0])) for name in ("loss", "val_loss", "accuracy")]
    table = frame.assemble([Reading("runs/train/results.csv", "table", blocks=both), Reading("runs/train/log.csv", "table", blocks=alone)])
    assert table["split"].to_list() == ["train", "val", None, "train", "val", "train"]


@pytest.mark.parametrize("seed", range(40))
def test_lines_are_put_in_order_with_and_without_sorting(seed: int) -> None:
    dice = random.Random(seed)
    size = dice.randrange(1, 200)
    few, many = dice.sample(range(5, 5 + size * 3), size), dice.choices(range(size), k=size)
    lines = np.array(dice.choice((few, many, dice.sample(range(7, 7 + size), size), [*few[:-1], 2**62])), np.int64)
    assert frame._order(lines).tolist() == np.argsort(lines, kind="stable").tolist()
