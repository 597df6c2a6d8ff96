"""The frame as a file: whole, without secrets, without formulas, and NaN is told apart from nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from postmortem.errors import OutputError, UsageError
from postmortem.frame import COLUMNS, Block, assemble
from postmortem.model import Reading
from postmortem.reports import tables

SECRET = "hf" + "_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"


@pytest.fixture
def frame():
    values = np.array([0.5, np.nan, np.inf, -np.inf, -0.5])
    blocks = [Block("=HYPERLINK(1)", values, lines=np.arange(1, 6), times=np.full(5, 1_780_000_000_000_000)), Block(SECRET, values[:1])]
    return assemble([Reading("@a.csv", "csv", blocks=blocks)]).select(COLUMNS)


def test_every_ending_gives_its_format(frame, tmp_path: Path) -> None:
    import polars as pl

    for ending in tables.WRITERS:
        tables.write(frame, tmp_path / f"out{ending}")
        assert SECRET.encode() not in (tmp_path / f"out{ending}").read_bytes()
    back = pl.read_parquet(tmp_path / "out.parquet")
    assert back.columns == frame.columns and back.schema["value"] == pl.Float64
    assert back.get_column("value")[1:].is_nan().to_list() == [False, True, False, False, False]  # the block without lines comes first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "out.ndjson", "out.parquet"]


def test_csv_cells_are_no_formulas_and_numbers_stay_numbers(frame, tmp_path: Path) -> None:
    tables.write(frame, tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert "'=HYPERLINK(1)" in lines[2] and "'@a.csv" in lines[2] and "2026-05-28T20:26:40.000000Z" in lines[2]
    assert any(line.endswith(",-0.5") for line in lines)
    assert not any(cell[:1] in "=@+" for line in lines[1:] for cell in line.split(",") if cell)


def test_json_lines_are_strict_and_tell_nan_from_nothing(frame, tmp_path: Path) -> None:
    tables.write(frame, tmp_path / "out.ndjson")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    rows = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    told = [(row["value"], row["nonfinite"]) for row in rows if row["raw_name"] == "=HYPERLINK(1)"]
    assert told == [(0.5, None), (None, "NaN"), (None, "inf"), (None, "-inf"), (-0.5, None)]


def test_an_empty_frame_is_written_too(tmp_path: Path) -> None:
    for ending in tables.WRITERS:
        tables.write(assemble([]).select(COLUMNS), tmp_path / f"out{ending}")
    assert (tmp_path / "out.csv").read_text().startswith("file,line,time,step")


def test_what_cannot_be_written_says_why(frame, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.parquet, \.csv, \.ndjson"):
        tables.write(frame, tmp_path / "out.xlsx")
    with pytest.raises(OutputError, match="No such file"):
        tables.write(frame, tmp_path / "missing" / "out.csv")
