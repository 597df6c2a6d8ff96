"""The reader of logs: tables that are no markdown, with comments, commas, empty cells, words before the numbers of a row."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from log_readings import names, one, reading, steps

from postmortem.parsers._text_reference import reference, segments


@pytest.fixture
def read(tmp_path: Path):
    return functools.partial(reading, tmp_path)


def test_a_head_behind_the_mark_of_a_comment(read) -> None:
    """DeePMD-kit's lcurve.out."""
    head = "#  step      rmse_val    rmse_trn    rmse_f_trn         lr\n# If there is no available reference data, rmse_* will print nan\n"
    found = read(head + "".join(f"{100 * i:7d}      2.{i}1e+01    1.{i}2e+01      {8 - i}.03e-01    1.0e-03\n" for i in range(4)))
    assert one(found, "rmse_val").values.tolist() == [20.1, 21.1, 22.1, 23.1]
    assert one(found, "rmse_trn").values.tolist() == [10.2, 11.2, 12.2, 13.2]
    assert steps(one(found, "lr")) == [0, 100, 200, 300]


def test_names_that_one_blank_divides(read) -> None:
    found = read(
        "training\n# Epoch batch         loss        f_mae\n"
        + "".join(f"      1    {10 * i}        0.{i}02         9.{i}\n" for i in range(1, 4))
    )
    assert one(found, "f_mae").values.tolist() == [9.1, 9.2, 9.3]
    assert one(found, "loss").epochs.tolist() == [1.0, 1.0, 1.0]  # type: ignore[union-attr]


def test_a_counter_as_first_name_makes_a_table_of_unknown_names(read) -> None:
    """The table of R's gbm."""
    found = read(
        "Iter   TrainDeviance   StepSize   Improve\n"
        + "".join(f"     {i}        1.{9 - i}83      0.1000    0.0{i}12\n" for i in range(1, 6))
    )
    assert steps(one(found, "TrainDeviance")) == [1, 2, 3, 4, 5]
    assert one(found, "Improve").values.tolist() == [0.0112, 0.0212, 0.0312, 0.0412, 0.0512]
    assert names(read("Loading   the data   now   please\n" + "1   2.5   3.5   4.5\n" * 3)) == set()


def test_rows_between_commas_below_their_head(read) -> None:
    head = "Running in eps-prediction mode\ntrain/loss_step,train/vlb,global_step,epoch,created_at\n"
    rows = "".join(f"0.{9 - i}51,0.00{i}7,{50 * i - 1}.0,0,2031-05-04 10:0{i}:10.4846\n" for i in range(1, 5))
    found = read(head + rows)
    block = one(found, "train/loss_step")
    assert block.values.tolist() == [0.851, 0.751, 0.651, 0.551] and steps(block) == [49, 99, 149, 199]
    assert names(found) == {"train/loss_step", "train/vlb"}
    assert names(read(rows)) == set()  # without a head


def test_a_sentence_with_commas_is_no_head(read) -> None:
    assert names(read("we print the loss, the accuracy, and more,\n" + "0.5, 0.25, 3\n" * 6)) == set()


def test_empty_cells_are_told_by_their_place(read) -> None:
    """Chainer's PrintReport leaves the cells of a validation empty that did not take place."""
    head = "epoch       iteration   main/loss   validation/main/loss  elapsed_time\n"
    row = "{:<12}{:<12}{:<12}{:<22}{:<14}"
    rows = [row.format(i, 300 * i, f"3.{9 - i}1", "" if i % 2 else f"2.{9 - i}5", f"{10 * i}.5") for i in range(1, 7)]
    found = read(head + "\n".join(rows) + "\n")
    assert one(found, "main/loss").values.tolist() == [3.81, 3.71, 3.61, 3.51, 3.41, 3.31]
    assert steps(one(found, "elapsed_time")) == [300, 600, 900, 1200, 1500, 1800]
    assert one(found, "validation/main/loss").values.tolist() == [2.75, 2.55, 2.35]


def test_empty_cells_of_one_shape_in_several_places(read) -> None:
    """Rows of as many numbers, but in other columns: the fast reader must say what the slow one says."""
    head = "epoch   loss    acc     val/loss  val/acc\n"
    row = "{:<8}{:<8}{:<8}{:<10}{:<8}"
    cells = [("0.51", "0.61", "", ""), ("", "", "0.71", "0.81"), ("0.52", "", "0.72", ""), ("0.53", "0.63", "0.73", "0.83")]
    text = head + "".join(row.format(i, *some).rstrip() + "\n" for i, some in enumerate(cells, 1))
    found = read(text)
    assert one(found, "loss").values.tolist() == [0.51, 0.52, 0.53]
    assert one(found, "val/loss").values.tolist() == [0.71, 0.72, 0.73]
    assert one(found, "val/acc").epochs.tolist() == [2.0, 4.0]  # type: ignore[union-attr]
    slow = {key.name: points.values for key, points in reference(segments(text)).points().items()}
    for block in found.blocks:
        assert np.array_equal(slow[block.raw_name], block.values)


def test_a_word_before_the_numbers_of_a_row_says_its_split(read) -> None:
    """The last table of a NequIP epoch."""
    head = "  Train      #    Epoch      wal       LR         loss        f_mae\n"
    rows = "! Train               {i}   1{i}.1    0.005        0.{i}52         18.{i}\n"
    rows += "! Validation          {i}   1{i}.1    0.005        0.{i}12         17.{i}\n"
    found = read("".join(head + rows.format(i=i) for i in range(1, 4)))
    assert one(found, "loss", "train").values.tolist() == [0.152, 0.252, 0.352]
    assert one(found, "f_mae", "val").values.tolist() == [17.1, 17.2, 17.3]
    assert one(found, "f_mae", "val").epochs.tolist() == [1.0, 2.0, 3.0]  # type: ignore[union-attr]


def test_splits_as_columns_of_a_box_and_arrays_of_one_number(read) -> None:
    box = "\u2502              \u2502    train \u2502 validation \u2502\n\u2502 loss         \u2502   0.{i}12 \u2502     0.{i}22 \u2502\n"
    found = read("".join(f"Starting with step {33 * i}, epoch: {i}\n" + box.format(i=i) for i in range(1, 4)))
    assert one(found, "loss", "train").values.tolist() == [0.112, 0.212, 0.312]
    assert one(found, "loss", "val").values.tolist() == [0.122, 0.222, 0.322]
    arrays = read("| Epoch | Loss | recall |\n" + "".join(f"| {i} | 3{i}.5 | [0.0{i}21] |\n" for i in range(1, 4)))
    assert one(arrays, "recall").values.tolist() == [0.0121, 0.0221, 0.0321]
