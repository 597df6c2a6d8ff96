"""What makes the reader of logs fast changes nothing: stretches of equal shapes, many new lines at once, columns that say one thing."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postmortem.frame import NO_STEP, NO_TIME
from postmortem.parsers import _text_columns as columns
from postmortem.parsers import _text_plans
from postmortem.parsers._text_events import Watch
from postmortem.parsers._text_fast import Fast
from postmortem.parsers._text_quick import MANY, Quick
from postmortem.parsers._text_reference import reference, segments
from postmortem.parsers._text_runs import Runs
from postmortem.parsers._text_series import Collector, Points, constant, joined
from postmortem.parsers._text_shapes import _shapes, mined
from postmortem.parsers._thinning import thin
from postmortem.parsers._traceback import Folder


def read(data: bytes) -> Collector:
    reader = Fast("log", Watch("log", None))
    reader.feed(data)
    reader.close()
    return reader.collector


def same_as_slow(data: bytes) -> bool:
    """Whether the fast reader says what the slow one says; fails with the first series that differs."""
    folder = Folder("log")
    slow = reference(segments(data.decode()), taken=folder.feed).points()
    fast = read(data).points()
    assert list(fast) == list(slow)
    for key, points in fast.items():
        for one, other in zip(points, slow[key], strict=True):
            assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), key
    return True


def words(rng: random.Random, count: int) -> str:
    return " ".join("".join(rng.choices("abcdghijkmopqruvwxyz", k=rng.randint(4, 9))) for _ in range(count))


# ---------------------------------------------------------------------- shapes


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"", b"a", b"ab", b"loss:", b"x" * 300]), st.integers(1, 900)), min_size=1, max_size=6))
def test_stretches_of_equal_lines_are_those_lines(stretches: list[tuple[bytes, int]]) -> None:
    lines = [line for line, count in stretches for _ in range(count)]
    keys, firsts = _shapes(b"\n".join(lines) + b"\n")
    assert keys == lines if firsts is None else [key for key, n in zip(keys, np.diff(firsts), strict=True) for _ in range(n)] == lines


def test_a_log_of_one_kind_of_line_needs_one_look() -> None:
    taken_apart = mined(b"".join(b"step %d loss 0.%d\n" % (i, i) for i in range(5000)) + b"the end\n", 1)
    assert taken_apart.firsts is not None and taken_apart.firsts.tolist() == [0, 5000, 5001] and len(taken_apart.keys) == 2


def test_a_monotonous_log_is_read_whole() -> None:
    lines = [f"step {i} loss {3 / (1 + i):.4f} lr 1e-4" for i in range(3000)]
    lines[1500] = "validation: step 1500 val_loss 0.5"
    lines[2000:2003] = ["Epoch 2/3", "loss: 0.25", "step 2002 loss nan lr 1e-4"]
    assert same_as_slow("\n".join(lines).encode())


def test_control_characters_are_no_numbers() -> None:
    # "\x01" was taken for the mark of a run of digits: the second line had the shape of the first and its numbers one place further.
    data = b"x 7 a loss: 0.5\nx \x01 a loss: 0.25\nx 8 a loss: 0.125\n"
    [points] = read(data).points().values()
    assert points.values.tolist() == [0.5, 0.25, 0.125] and points.lines.tolist() == [1, 2, 3]


def test_runs_one_behind_the_other_and_picked_out_are_the_same() -> None:
    taken_apart = mined(b"".join(b"a %d b %d.%d\n" % (i, i * i, i) for i in range(50)), 1)
    rows, some = np.arange(10, 40), np.array([10, 12, 13, 39])
    for run in range(3):
        for of_all, of_some in ((Runs.starts, Runs.starts), (Runs.ends, Runs.ends)):
            assert of_all(Runs(taken_apart, rows), run)[some - 10].tolist() == of_some(Runs(taken_apart, some), run).tolist()


# ---------------------------------------------------------------------- many new lines


def different(count: int) -> list[str]:
    """Lines that are all of other shapes; one in forty tells something."""
    rng = random.Random(3)
    lines = [words(rng, 6) for _ in range(count)]
    for i in range(0, count, 40):
        lines[i] = rng.choice(
            [f"{words(rng, 1)} step {i} loss: 0.{i}", f"{words(rng, 1)}_loss = {i}.5", f"Epoch {i}/9", "Traceback (most recent"]
        )
    lines[7], lines[8], lines[9] = "", "caf\u00e9 \u00c9" + lines[8], "\u4e2d\u6587 " + lines[9]
    return lines


def test_many_different_lines_are_read_as_one_by_one() -> None:
    lines = different(2 * MANY)
    assert len(set(lines)) > MANY
    assert same_as_slow("\n".join(lines).encode())


@pytest.mark.parametrize("needles", [frozenset[str](), frozenset(("out of tea",))])
def test_a_look_at_stretches_misses_no_line(needles: frozenset[str]) -> None:
    lines = different(400)
    lines[111] += " OUT of 1tea"
    taken_apart = mined("\n".join(lines).encode(), 1)
    some = np.array([i for i in range(400) if i % 9])
    quick = Quick(needles, blind=False)
    found = set(some[quick.telling(taken_apart, some, "utf-8")].tolist())
    telling = set(some[quick.looks([lines[i] for i in some.tolist()]).any].tolist())
    assert telling <= found < set(some.tolist()) and (111 in found) == (bool(needles) or 111 in telling)


def test_an_expression_without_needles_looks_at_every_line() -> None:
    taken_apart = mined(b"one\ntwo\n", 1)
    assert Quick(frozenset(), blind=True).telling(taken_apart, np.arange(2), "utf-8").tolist() == [True, True]


def test_shapes_that_say_nothing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_text_plans, "MOST_SHAPES", 50)
    reader = Fast("log", Watch("log", None))
    reader.plans._most = 50
    rng = random.Random(5)
    for i in range(40):
        reader.feed("".join(f"{words(rng, 3)}\n" for _ in range(20)).encode() + b"step %d loss 0.5\n" % i)
    assert len(reader.plans.ids) < 200
    [points] = reader.collector.points().values()
    assert points.steps.tolist() == list(range(40))


# ---------------------------------------------------------------------- numbers and times


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.integers(0, 10**7).flatmap(lambda n: st.sampled_from([f"{n / 1000:.3f}", f"{n / 10**6:.6f}", f"{n}.{n}", f"-{n}.5"])), min_size=2
    )
)
def test_numbers_with_a_dot_are_read_as_float_does(spelled: list[str]) -> None:
    [points] = read("".join(f"step {i} loss {one}\n" for i, one in enumerate(spelled)).encode()).points().values()
    assert points.values.tolist() == [float(one) for one in spelled]


def test_times_of_many_days() -> None:
    start = datetime(2027, 12, 30, 23, 59, 58, tzinfo=UTC)
    when = [start + timedelta(hours=7 * i, seconds=i) for i in range(300)]
    data = "".join(f"{one:%Y-%m-%d %H:%M:%S},250 INFO step {i} loss 0.5\n" for i, one in enumerate(when)).encode()
    [points] = read(data).points().values()
    assert points.times.tolist() == [round(one.timestamp() * 1e6) + 250_000 for one in when]


def test_a_damaged_time_at_the_end_of_a_log_is_none() -> None:
    taken_apart = mined(b"2027-02-28 10:00:01\n2027-02-29 10:00:01\n2027-02-2x 10:0a:01\n2027-1-3 1:0:0", 1)
    stamp = columns.time_column("2027-02-28 10:00:01", 0)
    assert stamp is not None
    first = round(datetime(2027, 2, 28, 10, 0, 1, tzinfo=UTC).timestamp() * 1e6)
    assert [columns.parse_times(Runs(taken_apart, np.array([row])), stamp)[0] for row in range(4)] == [first, NO_TIME, NO_TIME, NO_TIME]


# ---------------------------------------------------------------------- columns that say one thing


def test_constant_columns_stay_constant() -> None:
    def points(count: int, epoch: float) -> Points:
        lines = np.arange(count)
        return Points(lines / 2, lines, constant(NO_STEP, count), constant(epoch, count), constant(NO_TIME, count))

    both = joined([points(3, np.nan), points(4, np.nan)])
    assert both.epochs.strides == (0,) and len(both.epochs) == 7 and np.isnan(both.epochs).all() and both.steps.dtype == np.int64
    assert both.at(np.array([0, 6])).values.tolist() == [0.0, 1.5] and both.at(np.array([0, 6])).times.tolist() == [NO_TIME] * 2
    assert joined([points(3, 1.0), points(1, 2.0)]).epochs.tolist() == [1.0, 1.0, 1.0, 2.0]
    assert len(joined([points(3, 1.0), points(0, 2.0)]).epochs) == 3
    with pytest.raises(ValueError, match="read-only"):
        both.steps[0] = 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, -3.0, float("nan"), float("inf")]), min_size=2, max_size=60), st.integers(2, 9))
def test_thinned_columns_of_tables_keep_every_bucket_s_extremes(spelled: list[float], width: int) -> None:
    values, bucket = np.array(spelled), np.arange(len(spelled)) // width
    kept = set(thin(values, bucket).tolist())
    assert {0, len(values) - 1} <= kept
    for one in range(int(bucket[-1]) + 1):
        places = np.flatnonzero((bucket == one) & np.isfinite(values))
        if len(places):
            assert {int(places[values[places].argmin()]), int(places[values[places].argmax()])} <= kept
        odd = np.flatnonzero((bucket == one) & ~np.isfinite(values))
        assert not len(odd) or int(odd[0]) in kept
