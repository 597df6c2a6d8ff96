"""The fast reader says what the slow, obvious one says: on samples, on generated logs, in chunks of any size, and on damaged bytes."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postmortem import formats
from postmortem.parsers import _text_source, text
from postmortem.parsers._text_columns import column
from postmortem.parsers._text_events import Watch
from postmortem.parsers._text_fast import Fast, _by_shape
from postmortem.parsers._text_needles import branches
from postmortem.parsers._text_numbers import NUMBER, from_match, value
from postmortem.parsers._text_reference import reference, segments
from postmortem.parsers._text_series import MOST_POINTS, Collector, Key, Points
from postmortem.parsers._text_shapes import mined
from postmortem.parsers._traceback import Folder
from postmortem.parsers.base import HEAD_BYTES, Request, SourceFile
from postmortem.patterns import needles

LINES = [
    "Epoch {i}/30",
    "step {i}: loss {f}, lr {e}, time {f}ms",
    "iter {i} | train loss {f} | grad norm: {f} |",
    "{{'loss': {f}, 'grad_norm': {w}, 'epoch': {f}}}",
    "2031-02-0{d} 10:1{d}:0{d},{d}{d}{d} INFO run.py:{i} - step={i} loss={f} tokens={c}",
    "[rank{d}]: step: {i} loss: {f}",
    "  7{d}%|#######   | {i}/{i} [00:0{d}<00:3{d},  {f}it/s, loss={f}, acc={w}]",
    " {i}/100 [====>.....] - ETA: {d}s - loss: {f} - acc: {f}",
    "Validation:",
    "val_loss: {f}",
    "loss: {f} ({f})",
    "head{d}_loss: {f} top {d}: {f}",
    "|    ep_rew_mean     | {f} |",
    "|    total_timesteps | {i} |",
    "| rollout/           |     |",
    "--------------------",
    "epoch   train_loss  valid_loss  accuracy",
    "{i}       {f}       {f}     {f}",
    "{f} {f}",
    "[step={i}/1000,epoch={d}]",
    "    train/Loss={f}",
    "def f(x={i}):",
    "NCCL INFO Channel {d}/0 : {d}[{d}] -> {d}[{d}]",
    "Traceback (most recent call last):",
    '  File "a.py", line {i}, in f',
    "ValueError: bad value {f}",
    "some words and {i} more words",
    "",
    "\x1b[1mloss:\x1b[0m {f} \x1b[31mstep\x1b[0m {i}",
    "step {i} loss {w}\rstep {i} loss {f}",
    "lr {e} loss {c}",
    "mem: {f}M size: {i}K",
    "[{i}] loss: {f} acc: {w}",
    "  {i} | mse = {f} | mae = {w}",
    "loss after epoch {d}: {w}",
    "total_steps: {i} reward: {f}",
    "step,{i},loss,{f}",
    "\u2502 {i}    \u2502 {f}   \u2502 {w} \u2502 {f} \u2502",
    "\u2503 epoch \u2503 train_loss \u2503 valid_loss \u2503 accuracy \u2503",
    "steps: {i} loss: {w} iter time (s): {f}",
    "global_step: {i}, loss: nanxxx, acc: infxxx, lr: {e}",
    "  {d}/30   1.2G   {f}   {f}   640: {d}% \u2501\u2501\u2501\u2501\u2501\u2578\u2500\u2500\u2500\u2500 {d}/9 1.{d}it/s 0.{d}s<1.8s",
    "valid on 'valid' subset  {i} / 999 loss={f}",
    "Test: [ {d}/79]  eta: 0:00:{d}{d}  loss: {f} ({f})  acc1: {f}",
    "r\u00e9sum\u00e9 \u0394loss: {f}",
]


def number_texts() -> st.SearchStrategy[str]:
    plain = st.floats(allow_nan=False, allow_infinity=False).map(repr)
    short = st.builds(lambda whole, part: f"{whole}.{part}", st.integers(-99_999, 99_999), st.text("0123456789", min_size=1, max_size=9))
    return st.one_of(
        plain,
        short,
        st.sampled_from(
            ["0.0", "-0.0", ".5", "-.5", "7.", "1e5", "1E-05", "+3", "-2.5e+10", "12345678901234567890", "0.1234567890123456789"]
        ),
    )


@st.composite
def logs(draw: st.DrawFn) -> str:
    lines = []
    for template in draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=25)):
        for _ in range(draw(st.integers(1, 3))):
            line = template
            for hole, strategy in HOLES.items():
                while hole in line:
                    line = line.replace(hole, draw(strategy), 1)
            lines.append(line.replace("{{", "{").replace("}}", "}"))
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n"]))


HOLES = {
    "{i}": st.integers(0, 10**6).map(str),
    "{d}": st.integers(0, 9).map(str),
    "{f}": number_texts(),
    "{e}": st.floats(1e-9, 1.0).map(lambda x: f"{x:.2e}"),
    "{w}": st.sampled_from(["nan", "inf", "-inf", "None", "0.5", "NaN"]),
    "{c}": st.sampled_from(["1,234", "12,345,678", "1,234.5"]),
}


def fast(data: bytes, size: int = 1 << 20) -> tuple[Collector, list[object]]:
    """The fast reader, fed with chunks of about `size` bytes that end behind a line end and cut no box."""
    reader = Fast("log", Watch("log", None))
    at = 0
    data = data.replace(b"\r\n", b"\n")
    while at < len(data):
        end = data.find(b"\n", at + size) + 1 or len(data)
        while data[end : end + 400].lstrip().startswith(b"|") and end < len(data):
            end = data.find(b"\n", end) + 1 or len(data)
        reader.feed(data[at:end])
        at = end
    reader.close()
    return reader.collector, [(event.line, event.text) for event in reader.watch.folded]


def slow(content: str) -> tuple[Collector, list[object]]:
    folder = Folder("log")
    collector = reference(segments(content), taken=folder.feed)
    return collector, [(event.line, event.text) for event in folder.close()]


def same(one: Collector, other: Collector) -> bool:
    """Whether both hold the same points; fails with the first that differ."""
    mine, theirs = one.points(), other.points()
    assert list(mine) == list(theirs)
    for key in mine:
        for name, a, b in zip(Points._fields, mine[key], theirs[key], strict=True):
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), (key, name, a, b)
    return True


@settings(max_examples=100, deadline=None)
@given(logs())
def test_fast_equals_slow(content: str) -> None:
    quick, quick_events = fast(content.encode())
    obvious, obvious_events = slow(content)
    assert same(quick, obvious)
    assert quick_events == obvious_events


@settings(max_examples=30, deadline=None)
@given(logs(), st.integers(1, 400))
def test_chunks_change_nothing(content: str, size: int) -> None:
    assert same(fast(content.encode(), size)[0], fast(content.encode())[0])


def test_fast_equals_slow_on_every_sample_of_every_dialect() -> None:
    for dialect in formats.dialects():
        content = "\n".join(sample.line for sample in dialect.samples for _ in range(2)) + "\n"
        quick, obvious = fast(content.encode()), slow(content)
        assert same(quick[0], obvious[0])


@settings(max_examples=150, deadline=None)
@given(st.lists(number_texts(), min_size=1, max_size=30))
def test_numbers_are_read_exactly_as_float_does(texts: list[str]) -> None:
    content = "".join(f"step {i} loss: {spelled} ok\n" for i, spelled in enumerate(texts))
    [points] = [points for key, points in fast(content.encode())[0].points().items() if key.name == "loss"]
    assert [float(spelled) for spelled in texts] == points.values.tolist()


def test_column_of_a_number_knows_its_parts() -> None:
    line = "a: -1.5e-3 b: .5 c: 1,234.5 d: nan"
    columns = [column(line, num, 0) for match in NUMBER.finditer(line) if (num := from_match(match)) is not None]
    assert [(one.kind, one.whole, one.part, one.power) for one in columns[:2]] == [
        ("plain", True, True, True),
        ("plain", False, True, False),
    ]
    assert columns[2].kind == "comma" and columns[3].kind == "constant"
    assert [value(line, from_match(match)) for match in NUMBER.finditer(line)][:3] == [-0.0015, 0.5, 1234.5]  # type: ignore[arg-type]


# ---------------------------------------------------------------------- memory and speed


def test_long_series_are_bounded_and_it_is_said() -> None:
    collector = Collector()
    key = Key("f|s", "loss", None, None)
    for start in range(0, 5 * MOST_POINTS, 50_000):
        steps = np.arange(start, start + 50_000)
        collector.add(key, Points(1.0 / (1 + steps), steps + 1, steps, np.full(50_000, np.nan), np.full(50_000, -(2**63))), own=True)
    collector.close()
    [block] = collector.blocks()
    assert len(block.values) <= 2 * MOST_POINTS
    assert block.values[0] == 1.0 and block.steps is not None and int(block.steps[-1]) == 5 * MOST_POINTS - 1
    assert np.diff(block.steps).max() <= 64  # what came first is thinned as much as what came last
    assert any(f"thinned evenly from {5 * MOST_POINTS:,}" in note for note in collector.notes())


def test_too_many_series_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(
        "".join(
            f"step {i} x{'abcdefghij'[i % 10]}{'abcdefghij'[i // 10 % 10]}{'abcdefghij'[i // 100 % 10]}{'abcdefghij'[i // 1000 % 10]}_loss: 0.5\n"
            for i in range(3000)
        )
    )
    reading = text.read(SourceFile(path, path.name, path.stat().st_size, path.read_bytes()[:HEAD_BYTES]), Request())
    assert reading.rejected == 1000 and any("different series" in note for note in reading.notes)


def test_speed_on_repetitive_lines() -> None:
    content = b"".join(b"step %d: loss %.4f, lr 3e-4\n" % (i, 8 / (1 + i)) for i in range(20_000)) * 10
    fast(content[:100])  # dialects are loaded
    start = time.process_time()
    fast(content)
    assert len(content) / (time.process_time() - start) > 5e6  # 6 MB; far below what it does, far above reading line by line


# ---------------------------------------------------------------------- chunks


@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_of_a_file_are_the_file(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_text_source, "CHUNK", size)
    data = b"one\r\ntwo\rthree\n\n| a | 1 |\n| b | 2 |\nend"
    path = tmp_path / "x.log"
    path.write_bytes(data)
    chunks = list(_text_source.Bytes(SourceFile(path, path.name, len(data), data)).chunks())
    assert b"".join(chunks) == data.replace(b"\r\n", b"\n")


# ---------------------------------------------------------------------- needles


def test_needles_of_expressions() -> None:
    assert needles(r"out of memory") == {"out of memory"}
    assert needles(r"\bexit code (?:137|143)\b") == {"exit code "}
    assert needles(r"(?:first word|second word) \d+") == {"first word", "second word"}
    assert needles(r"\d+ (?:[a-z]+)?") == set()


def test_branches_cut_at_the_top_only() -> None:
    import re

    parts = branches(re.compile(r"(?:a|b|out of tea)|[|)]never mind|(?:exit code 137)"))
    assert [part.source for part in parts] == ["(?:a|b|out of tea)", "[|)]never mind", "(?:exit code 137)"]
    assert [part.exact for part in parts] == [True, True, False]


@pytest.mark.parametrize("content", ["one\rtwo 1\nthree\n", "eins\nzw\u00f6lf \u2501 2\n" + "x" * 40_000 + "\n"])
def test_many_lines_at_once_are_the_lines_one_by_one(content: str) -> None:
    taken_apart = mined(content.encode(), 1)
    segments = list(range(len(taken_apart.keys)))[::-1]
    assert taken_apart.texts(segments, "utf-8") == [taken_apart.text(one).decode("utf-8", "replace") for one in segments]


def test_shapes_are_told_apart_however_many_there_are() -> None:
    for many in (10, 70_000):
        ids = np.array([many, 3, many, many + 65_536, 3])
        groups = {shape: some.tolist() for shape, some in _by_shape(ids, np.arange(5))}
        assert groups == {3: [1, 4], many: [0, 2], many + 65_536: [3]}


def test_names_with_several_numbers_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("".join(f"step {i} loss_{i % 3}_{i % 2}: {i}.5\n" for i in range(60)))
    found = text.read(SourceFile(path, path.name, path.stat().st_size, path.read_bytes()), Request())
    assert {block.raw_name: block.values.tolist() for block in found.blocks} == {
        f"loss_{a}_{b}": [i + 0.5 for i in range(60) if (i % 3, i % 2) == (a, b)] for a in range(3) for b in range(2)
    }
