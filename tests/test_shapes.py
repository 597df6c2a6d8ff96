"""Shapes: drawn families of curves are named rightly, odd curves raise nothing, and what a shape tells is right."""

import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from postmortem.curves import describe, describe_all, families
from postmortem.model import Curve

RIGHT, SICK = 0.95, 0.01


def curve(values, direction="down", kind="loss", metric="loss"):
    values = np.asarray(values, float)
    made = Curve(metric, metric, "m.csv", "train", None, None, 0, True, values, np.arange(len(values)) + 2, direction=direction, kind=kind)
    describe(made)
    return made


@pytest.fixture(scope="module")
def confused():
    return families.confusion(count=200, seed=1)  # other curves than those on which the numbers were chosen (seed 0)


@pytest.mark.parametrize("shape", [family.shape for family in families.FAMILIES])
def test_a_drawn_family_is_named_rightly(confused, shape):
    row = confused[shape]
    assert row.total() == 200
    assert row[shape] / row.total() >= RIGHT, dict(row)


def test_healthy_curves_are_not_called_sick(confused):
    assert families.healthy_called_sick(confused) <= SICK


def test_the_document_shows_every_family_and_keeps_the_promise(root: Path):
    text = (root / "docs" / "shapes.md").read_text(encoding="utf-8")
    for family in families.FAMILIES:
        row = re.search(rf"^\| {family.shape} \| {re.escape(family.about)} \| ([\d.]+) % \|", text, re.M)
        assert row, f"docs/shapes.md lacks {family.shape}: python -m postmortem.curves.families docs/shapes.md"
        assert float(row[1]) >= 100 * RIGHT


def test_every_shape_of_the_table_has_a_drawn_family():
    from postmortem.curves.shapes import SHAPES

    drawn = {family.shape for family in families.FAMILIES}
    assert {name for name, _ in SHAPES} | {"converging", "nan-death"} == drawn


def test_scale_and_sign_do_not_change_a_name():
    for family in families.FAMILIES:
        if family.shape in ("flat", "slow-burn", "unknown-direction", "forgetting", "oscillation"):
            continue
        some = families.draw(family, 6, seed=5)
        scaled = families.draw(family, 6, seed=5)
        for one in scaled:
            one.values = one.values * 1024.0
        describe_all([*some, *scaled])
        assert [c.shape.name for c in some] == [c.shape.name for c in scaled]


def test_a_score_is_a_loss_upside_down():
    values = 2.3 * np.exp(-np.arange(80) / 12) + 0.4
    assert curve(values).shape.name == "converging"
    assert curve(3 - values, direction="up", kind="score").shape.name == "converging"
    assert curve(values[::-1]).shape.name == "divergence"


def test_a_single_nan_is_survived_and_a_tail_is_not():
    values = 2.3 * np.exp(-np.arange(80) / 12) + 0.4
    values[30] = np.nan
    assert curve(values).shape.name == "converging"
    values[70:] = np.nan
    died = curve(values)
    assert (died.shape.name, died.shape.onset) == ("nan-death", 70)
    assert died.segments[-1].start == 70
    assert math.isnan(died.segments[-1].level)
    values[70:] = np.inf
    assert curve(values).shape.name == "nan-death"
    values[20:40], values[70:], values[-1] = np.nan, 0.4, np.nan
    assert curve(values).shape.name != "nan-death"  # it had outlived a longer stretch


@pytest.mark.parametrize(("classes", "level"), [(10, math.log(10)), (1000, 6.9078), (4, 1.386)])
def test_chance_level_is_named_with_its_classes(classes, level):
    rng = np.random.default_rng(0)
    seen = curve(level + rng.normal(0, 0.002, 60)).shape
    assert seen.name == "flat"
    assert seen.numbers["chance"] == classes
    assert seen.numbers["at_chance"] == 1.0
    assert "chance" not in curve(level * 1.5 + rng.normal(0, 0.002, 60), direction="up", kind="score").shape.numbers


def test_unknown_direction_is_said_and_not_guessed():
    assert curve(np.linspace(0, 5, 60), direction=None, kind="").shape.name == "unknown-direction"
    assert curve(np.full(60, 1.0), direction=None, kind="").shape.name == "constant"


def test_the_onset_is_where_it_begins():
    fall = np.linspace(2.0, 1.0, 40)
    assert abs(curve(np.concatenate([fall, np.linspace(1.0, 1.8, 60)])).shape.onset - 39) <= 4
    assert abs(curve(np.concatenate([fall, np.full(80, 1.0)])).shape.onset - 40) <= 4
    spiked = np.concatenate([np.exp(-np.arange(100) / 15) + 1, np.full(100, 1.0)])
    spiked[120] = 30.0
    assert curve(spiked).shape.onset == 120


def test_numbers_tell_levels_as_the_log_spelled_them():
    seen = curve(np.linspace(0.1, 0.8, 50), direction="up", kind="score", metric="accuracy").shape
    assert seen.numbers["start"] == pytest.approx(0.1, abs=0.03)
    assert seen.numbers["end"] == pytest.approx(0.8, abs=0.03)
    assert seen.numbers["best"] >= seen.numbers["end"]
    assert seen.numbers["gain"] > 0
    assert seen.numbers["at_best"] == 49


def test_segments_cover_the_curve_in_its_own_units():
    rng = np.random.default_rng(1)
    values = np.concatenate([np.linspace(2.0, 1.0, 500), np.full(500, 1.0)]) + rng.normal(0, 0.01, 1000)
    first, second = curve(values).segments
    assert (first.start, second.end) == (0, 1000)
    assert first.end == second.start
    assert abs(first.end - 500) < 20
    assert first.slope == pytest.approx(-0.002, rel=0.1)
    assert second.level == pytest.approx(1.0, abs=0.01)
    assert second.slope == pytest.approx(0.0, abs=1e-5)


def test_a_machine_curve_has_levels():
    rng = np.random.default_rng(2)
    seen = curve(np.repeat([0.2, 0.5, 0.2], 40) + rng.normal(0, 0.005, 120), direction=None, kind="time", metric="step_time")
    assert [s.start for s in seen.segments] == [0, 40, 80]


@pytest.mark.parametrize(
    "values",
    [
        [], [1.0], [np.nan], [np.inf] * 3, [np.nan] * 50, [0.0] * 50, [1.0, 2.0], [0.0, 1e308] * 20, [-1e308, 1e308] * 8, [1e-320] * 20,
        [np.nan, 1.0] * 20, [1.0, np.inf] * 20, list(range(5)), [5e30, *[3.19e31] * 60], [1.0] * 30 + [2.0], [-1.0] * 29 + [-2.0],
    ],
)  # fmt: skip
@pytest.mark.parametrize("direction", ["down", "up", None])
def test_odd_curves_raise_nothing(values, direction):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert curve(values, direction).shape.name != "unknown"


def test_random_curves_raise_nothing_and_are_the_same_alone_and_together():
    rng = np.random.default_rng(3)
    made = []
    for _ in range(150):
        values = np.cumsum(rng.normal(size=int(rng.integers(0, 700)))) * 10.0 ** rng.integers(-6, 7)
        values[rng.random(len(values)) < rng.choice([0, 0.1, 0.9])] = rng.choice([np.nan, np.inf, -np.inf])
        made.append(values)
    alone = [curve(values) for values in made]
    together = [
        Curve("loss", "loss", "m.csv", "train", None, None, 0, True, v, np.arange(len(v)), direction="down", kind="loss") for v in made
    ]
    describe_all(together)
    assert [c.shape.name for c in alone] == [c.shape.name for c in together]
    assert [[s.start for s in c.segments] for c in alone] == [[s.start for s in c.segments] for c in together]
