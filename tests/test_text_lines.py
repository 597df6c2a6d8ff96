"""What stands before and around the numbers of a log: colours, wrapped dictionaries, labels, dates, headings, and the last line."""

from __future__ import annotations

import datetime
import functools
import random
import re
from pathlib import Path

import numpy as np
import pytest
from log_readings import names, one, reading, steps

from postmortem.frame import NO_TIME, Block
from postmortem.parsers import _text_source
from postmortem.parsers._text_dates import NO_CALENDAR, Calendar, calendar_of, layout_of, moment_of
from postmortem.parsers._text_events import Watch
from postmortem.parsers._text_fast import Fast
from postmortem.parsers._text_mend import WRAP, mended, mended_bytes
from postmortem.parsers._text_numbers import _WHOLE
from postmortem.parsers._text_prefix import _PIECES, opened
from postmortem.parsers._text_quick import WORTH_A_LOOK
from postmortem.parsers._text_reference import reference, segments
from postmortem.parsers._text_rows import is_row
from postmortem.parsers._text_series import Collector, Points
from postmortem.parsers._text_source import labelled
from postmortem.parsers._text_tail import told_at_the_end


@pytest.fixture
def read(tmp_path: Path):
    return functools.partial(reading, tmp_path)


def fast(content: str, calendar: Calendar = NO_CALENDAR, label: str = "") -> Collector:
    reader = Fast("log", Watch("log", None), labelled=label, calendar=calendar)
    reader.feed(content.encode())
    reader.close()
    return reader.collector


def same(content: str, calendar: Calendar = NO_CALENDAR, label: str = "") -> bool:
    """Whether the slow reader finds the same points; fails with the first that differ."""
    mine, theirs = fast(content, calendar, label).points(), reference(segments(content), label, calendar=calendar).points()
    assert list(mine) == list(theirs)
    for key in mine:
        for name, a, b in zip(Points._fields, mine[key], theirs[key], strict=True):
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), (key, name, a, b)
    return True


def times(block: Block) -> list[str | None]:
    assert block.times is not None
    begin = datetime.datetime(1970, 1, 1)
    return [None if t == NO_TIME else str(begin + datetime.timedelta(microseconds=t)) for t in block.times.tolist()]


# ---------------------------------------------------------------------- colours


def test_colour_codes_inside_numbers_and_behind_signs_change_nothing(read) -> None:
    content = "".join(f"step {i} loss \x1b[1m{i}\x1b[0m.25 reward -\x1b[32m0.{i}\x1b[0m\n" for i in (1, 2, 3))
    found = read(content)
    assert one(found, "loss").values.tolist() == [1.25, 2.25, 3.25]
    assert one(found, "reward").values.tolist() == [-0.1, -0.2, -0.3]
    assert same(content)


def test_codes_at_any_place_are_read_as_if_they_were_not_there() -> None:
    rng = random.Random(11)
    plain = "".join(f"Epoch {i}: loss={2 / i:.4f} acc: {-0.5 * i} lr 1e-0{i}\n" for i in range(1, 6))
    for _ in range(40):
        coloured = "".join(char + rng.choice(("", "", "\x1b[0m", "\x1b[1;36m", "\x1b]8;;x\x07")) for char in plain)
        assert mended(coloured) == plain and mended_bytes(coloured.encode()) == plain.encode()
        assert same(coloured)


@pytest.mark.parametrize(
    "code", ["\x1b[0m", "\x1b[K", "\x1b[38;2;120;120;120m", "\x1b[" + "1;" * 40 + "m", "\x1b[A", "\x1b(B", "\x1b", "\x1b[", "\x1b[3"]
)
def test_codes_of_all_kinds_go_from_bytes_as_from_text(code: str) -> None:
    for content in (f"a{code}b\n", f"{code}{code}1{code}\n{code}", f"x{code}", f"\x1b[31mred\x1b[0m{code}\n"):
        assert mended_bytes(content.encode()) == mended(content).encode()


def test_a_cursor_that_moves_begins_a_line_or_leaves_a_blank() -> None:
    assert mended("one\x1b[A\x1b[2Ktwo\x1b[1Gthree\x1b[5Cfour\x1b[A\n") == "one\rtwo\rthree four\n"
    assert [piece for _, piece in segments("step 1 loss 2\x1b[Astep 2 loss 1\n")] == ["step 1 loss 2", "step 2 loss 1"]


# ---------------------------------------------------------------------- wrapped dictionaries

PPRINT = "".join(f"{{'loss': {3 / i:.3f},\n 'grad_norm': 0.{i},\n 'lr': 5e-05,\n 'step': {i * 10}}}\n" for i in range(1, 8))
INDENTED = "".join(f'Epoch {i}:\n{{\n  "train_loss": {3 / i:.3f},\n  "val_loss": {4 / i:.3f}\n}}\n' for i in range(1, 8))
RICH = "".join(
    f"[09:15:3{i}] INFO     {{'loss': {3 / i:.3f}, 'step': {i}, 'grad_norm': 0.{i},      loop.py:40\n{' ' * 20}'lr': 4e-05, 'epoch': 0.{i}}}\n"
    for i in range(1, 8)
)


@pytest.mark.parametrize("size", [None, 40, 64, 333])
def test_a_dictionary_over_several_lines_has_one_step_and_each_number_its_line(read, size, monkeypatch) -> None:
    if size:
        monkeypatch.setattr(_text_source, "CHUNK", size)
    found = read(PPRINT)
    assert names(found) == {"loss", "grad_norm", "lr"}
    for name, first in (("loss", 1), ("grad_norm", 2), ("lr", 3)):
        block = one(found, name)
        assert steps(block) == [10 * i for i in range(1, 8)]
        assert block.lines is not None and block.lines.tolist() == [first + 4 * i for i in range(7)]
    after = read(INDENTED + "step 9 loss 1.5\n")
    assert one(after, "val_loss").epochs is not None and one(after, "val_loss").epochs.tolist() == [float(i) for i in range(1, 8)]
    assert one(after, "loss").lines.tolist() == [36]


def test_what_a_console_wrapped_at_its_right_edge_is_one_line(read) -> None:
    found = read(RICH)
    lr = one(found, "lr")
    assert steps(lr) == list(range(1, 8)) and lr.lines is not None and lr.lines.tolist() == list(range(2, 15, 2))
    assert lr.epochs is not None and lr.epochs.tolist() == [i / 10 for i in range(1, 8)]


@pytest.mark.parametrize("content", [PPRINT, INDENTED, RICH, PPRINT + INDENTED + RICH, "a\x0bb: 1\n" + PPRINT])
def test_wrapped_lines_are_read_alike(content: str) -> None:
    assert same(content)


def test_only_the_innermost_dictionaries_are_put_together() -> None:
    nested = "{'train': {\n   'loss': 1.5},\n 'val': {\n   'loss': 2.5}}\n"
    assert mended(nested).replace(WRAP, "~") == "{'train': {~   'loss': 1.5},\n 'val': {~   'loss': 2.5}}\n"
    for content in ("{'a': [1,\n 2],\n 'b': 3}\n", "x = {\n  y: 1\n}\n", "{'a': 1,\n'b': 2}\n"):
        assert WRAP not in mended(content)


# ---------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("{r}: step {i} loss {v}", "rank"),
        ("80746: step {i} loss {v}", "process"),
        ("[8074{r}] step {i} loss {v}", "process"),
        ("trainer-{r}  | step {i} loss {v}", "service"),
        ("[{i}00] loss {v}", ""),
        ("[{i}] loss {v}", ""),
        ("step {i} | loss {v}", ""),
    ],
)
def test_labels_of_whole_files(read, line: str, kind: str) -> None:
    content = "".join(line.format(i=i, r=i % 2 + 1, v=f"{3 / i:.3f}") + "\n" for i in range(1, 16))
    assert labelled(content) == kind
    assert same(content, label=kind)
    if kind:
        ranks = {block.rank for block in read(content).blocks}
        assert ranks == ({1, 2} if kind == "rank" else {None})


def test_a_service_named_trainer_makes_no_training_split(read) -> None:
    content = "".join(
        f"trainer-1  | Epoch {i}: loss {3 / i:.3f}\ntrainer-1  | Validation:\ntrainer-1  | loss: 0.{i}\n" for i in range(1, 9)
    )
    found = read(content)
    assert sorted((block.split or "", len(block.values)) for block in found.blocks) == [("", 8), ("val", 8)]


def test_writers_before_the_message() -> None:
    assert opened("[pod/trainer-0/pytorch] step 1").bare == "step 1"
    line = opened("2031-05-04 10:00:01,120: rank3[4411][MainThread]: INFO: a.loop: step=1")
    assert line.rank_value == 3 and line.stamp is not None


# ---------------------------------------------------------------------- dates


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("Thu Jun  9 09:15:32 2022", "2022-06-09 09:15:32"),
        ("Thu Jun  9 09:15:32 UTC 2022", "2022-06-09 09:15:32"),
        ("Jun 19, 2022 09:15:32", "2022-06-19 09:15:32"),
        ("09 Jun 2022 09:15:32", "2022-06-09 09:15:32"),
        ("06/09/22 09:15:32", "2022-06-09 09:15:32"),
        ("220609 09:15:32", "2022-06-09 09:15:32"),
        ("20220609 09:15:32.250000", "2022-06-09 09:15:32.250000"),
        ("Jun  9 09:15:32", None),
        ("06-09 09:15:32", None),
        ("0609 09:15:32.250000", None),
        ("06/09/2022 09:15:32", None),
        ("06/09 09:15:32 PM", None),
        ("Thu Feb 30 09:15:32 2022", None),
        ("09:15:32", None),
    ],
)
def test_stamps_that_say_their_year_and_those_that_do_not(stamp: str, expected: str | None) -> None:
    found = moment_of(stamp, NO_CALENDAR)
    assert (None if found is None else str(datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=found))) == expected


GLOG = "I{date} 09:15:3{i}.125000  4411 solver.cpp:228] Iteration {i}, loss = 2.{i}\n"


@pytest.mark.parametrize(
    ("head", "line", "year"),
    [
        ("Log file created at: 2023/12/30 09:15:31\n", GLOG.replace("{date}", "1230"), 2023),
        ("", GLOG.replace("{date}", "1230"), None),
        ("the model of 2021-05-04 is used\n", GLOG.replace("{date}", "1230"), None),
        ("Sat Dec 30 09:15:31 CET 2023\n", "Dec 30 09:15:3{i} node3 step {i} loss 2.{i}\n", 2023),
        ("runs/20231231_001531 is written\n", "[12-30 09:15:3{i}] step: {i} loss: 2.{i}\n", 2023),
        ("2023-12-30 09:15:31\n", "09:15:3{i} | step {i} | loss 2.{i}\n", None),
        ("30/12/2023 09:15:31 begin\n", "01/12/2023 09:15:3{i} - step {i} loss 2.{i}\n", 2023),
    ],
)
def test_the_year_comes_from_a_full_date_of_the_same_day_or_not_at_all(read, head: str, line: str, year: int | None) -> None:
    content = head + "".join(line.format(i=i) for i in range(1, 6))
    block = one(read(content), "loss")
    assert same(content, calendar_of("train.log", content))
    if year is None:
        assert block.times is None
    else:
        day = "12-01" if "/12/" in line else "12-30"
        assert [str(told)[:19] for told in times(block)] == [f"{year}-{day} 09:15:3{i}" for i in range(1, 6)]


def test_the_name_of_the_file_may_say_the_year(read) -> None:
    content = "".join(GLOG.format(date="0609", i=i) for i in range(1, 6))
    found = read(content, name="trainer.INFO.20220609-091530.4411.log")
    assert times(one(found, "loss"))[0] == "2022-06-09 09:15:31.125000"


def test_what_lies_before_the_first_day_is_of_the_next_year(read) -> None:
    head = "Log file created at: 2023/12/30 09:15:31\n"
    content = (
        head + GLOG.format(date="1230", i=1) + GLOG.format(date="1231", i=2) + GLOG.format(date="0101", i=3) + GLOG.format(date="0229", i=4)
    )
    told = times(one(read(content), "loss"))
    assert [str(moment)[:10] for moment in told] == ["2023-12-30", "2023-12-31", "2024-01-01", "2024-02-29"]
    assert same(content, calendar_of("a.log", content))


def test_a_layout_knows_where_its_parts_stand() -> None:
    layout = layout_of("Jun  9 09:15:32.5", Calendar(datetime.date(2022, 6, 9)))
    assert layout is not None and (layout.named, layout.day, layout.hour, layout.part, layout.year) == (6, 0, 1, True, -1)


# ---------------------------------------------------------------------- headings


def isaac(i: int) -> str:
    """A block in the format of RSL-RL (rsl_rl/runners/on_policy_runner.py)."""
    return (
        f"{'#' * 80}\n{'':20}\x1b[1m Learning iteration {i}/900 \x1b[0m\n\n"
        f"{'Computation:':>35} {50000 + i} steps/s (collection: 1.5s, learning 0.4s)\n{'Mean reward:':>35} {i + 0.25}\n"
        f"{'-' * 80}\n{'Total timesteps:':>35} {98304 * i}\n{'Iteration time:':>35} 1.9{i}s\n{'Total time:':>35} {2 * i}.25s\n\n"
    )


def test_the_learning_iteration_is_the_step_of_all_of_its_block(read) -> None:
    content = "".join(isaac(i) for i in range(1, 9))
    found = read(content)
    for name in ("Mean reward", "Iteration time", "Total time"):
        assert steps(one(found, name)) == list(range(1, 9)), name
    assert same(content)


@pytest.mark.parametrize("size", [100, 512])
def test_a_heading_holds_from_one_chunk_to_the_next(read, size: int, monkeypatch) -> None:
    content = "".join(isaac(i) for i in range(1, 9))
    monkeypatch.setattr(_text_source, "CHUNK", size)
    assert steps(one(read(content), "Total time")) == list(range(1, 9))


def test_a_row_that_counts_is_the_step_where_no_heading_says_its_total(read) -> None:
    content = "".join(f"{'-' * 30}\nTotalEnvSteps     {1000 * i}\nAverageReturn     {i}.5\n{'-' * 30}\n" for i in range(1, 8))
    assert steps(one(read(content), "AverageReturn")) == [1000 * i for i in range(1, 8)]
    assert same(content)


def test_a_section_is_not_for_lines_with_an_epoch_that_stood_outside_before(read) -> None:
    content = "".join(f"Epoch {i}: loss {3 / i:.3f}\nEvaluating...\nacc 0.{i}\n" for i in range(1, 8))
    found = read(content)
    assert {(block.raw_name, block.split, len(block.values)) for block in found.blocks} == {("loss", None, 7), ("acc", "val", 7)}
    assert same(content) and same("Validation:\n" + content)


# ---------------------------------------------------------------------- schedulers and durations


def test_a_scheduler_tells_its_own_epoch_to_nobody_else(read) -> None:
    content = "".join(
        f"Epoch {i}/60 train loss {3 / i:.3f}\nEpoch 0000{i - 4}: reducing learning rate of group 0 to {5 / i:.4e}.\naccuracy: 0.{i}\n"
        for i in range(5, 10)
    )
    found = read(content)
    rate = one(found, "learning rate of group 0")
    assert rate.epochs is not None and rate.epochs.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0] and rate.values[0] == 1.0
    accuracy = one(found, "accuracy").epochs
    assert accuracy is not None and accuracy.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert same(content)


def test_durations_behind_took(read) -> None:
    found = read("".join(f"epoch {i} took 0.9{i}s of which data 0.8{i}s\n" for i in range(1, 6)))
    assert one(found, "took").values[:2].tolist() == [0.91, 0.92] and one(found, "data").values[0] == 0.81
    assert names(read("".join(f"epoch {i} loss 2.{i} took 3 tries\n" for i in range(1, 6)))) == {"loss"}
    assert names(read("".join(f"epoch {i} loss 2.{i} took 3.5 minutes\n" for i in range(1, 6)))) == {"loss"}


# ---------------------------------------------------------------------- settings

FAILURES = """
train.py FAILED
------------------------------------------------------------
Failures:
[0]:
  time      : 2031-05-04_10:00:01
  host      : node3
  rank      : 1 (local_rank: 1)
  exitcode  : 1 (pid: 4411)
  error_file: <N/A>
------------------------------------------------------------
Root Cause (first observed failure):
[1]:
  time      : 2031-05-04_10:00:00
  host      : node3
  rank      : 0 (local_rank: 0)
  exitcode  : -9 (pid: 4410)
  error_file: <N/A>
============================================================
"""


def test_what_torchrun_says_of_failed_processes_is_no_setting(read) -> None:
    before = "batch_size: 8\nlr: 0.5\nseed: 3\n"
    assert [one.key for one in read(before + FAILURES).settings] == ["batch_size", "lr", "seed"]
    after = "workers: 2\ndepth: 5\nwidth: 7\n"
    assert [one.key for one in read(FAILURES + after).settings] == ["workers", "depth", "width"]


def test_values_of_settings_lose_what_closes_the_dictionary(read) -> None:
    found = read("{'rate': 0.5,\n 'size': (3, 4),\n 'name': 'x'})  \n")
    assert [(one.key, one.value) for one in found.settings] == [("rate", 0.5), ("size", "(3, 4"), ("name", "x")]


# ---------------------------------------------------------------------- the end

ROWS = "".join(f"Epoch {i} val acc 0.{i}\n" for i in range(1, 8))


def finishes(found) -> list[tuple[int | None, object]]:
    return [(event.line, event.data.get("best")) for event in found.events if event.data.get("what") == "finish"]


def test_a_last_line_that_says_it_is_done_is_a_proper_end(read) -> None:
    assert finishes(read(ROWS + "Finished. Best val acc 0.93\n")) == [(8, "0.93")]
    assert finishes(read(ROWS + "done.\n\n")) == [(8, None)]
    assert finishes(read(ROWS + "2031-05-04 10:00:01 INFO All done!\n")) == [(8, None)]
    assert finishes(read(ROWS.replace("0.7\n", "0.7\ndone.\n") + "saved\n")) == []


@pytest.mark.parametrize(
    "content",
    [
        "Loading the data\ndone.\n",  # no training before it
        ROWS.replace(" val", "\ndone.\nEpoch val") + "done.\n",  # said again and again
        ROWS + "saving ... done.\ndone.\n",
        ROWS + "done.",  # the line was not ended
        ROWS.replace("Epoch 7", "Epoch 7/90") + "done.\n",  # the plan says otherwise
        ROWS + 'Traceback (most recent call last):\n  File "a.py", line 3, in f\nValueError: bad\ndone.\n',  # a script said it
        ROWS + "run.sh: line 3: 4411 Killed                  python train.py\ndone.\n",
    ],
)
def test_done_at_the_end_of_anything_else_is_none(read, content: str) -> None:
    assert finishes(read(content)) == []


def test_words_in_which_a_run_may_have_died_stand_against_done(read) -> None:
    assert finishes(read(ROWS + "out of tea\ndone.\n", wanted="out of tea")) == []
    far = "".join(f"Epoch {i} val acc 0.5\n" for i in range(8, 140))
    assert finishes(read(ROWS + "out of tea\n" + far + "done.\n", wanted="out of tea")) == [(141, None)]


@pytest.mark.parametrize(
    ("counter", "told"),
    [
        ("Training {}/600", (350, 600)),
        ("Processed {} / 600 images", (350, 600)),
        ("\x1b[2Kbatch {} of 600, loss 0.5", (350, 600)),
        ("value {} 600", None),
    ],
)
def test_a_counter_written_over_itself_tells_how_far_it_came(counter: str, told: tuple[int, int] | None) -> None:
    text = ROWS + "\r".join(counter.format(i) for i in (330, 340, 350))
    events = told_at_the_end(text, "a.log", 8)[0]
    assert [(event.line, event.data["done"], event.data["total"]) for event in events] == ([(8, *told)] if told else [])
    assert not told_at_the_end(text + "\n", "a.log", 8)[0], "the line was ended"


def test_a_counter_whose_next_step_is_its_last_may_be_whole() -> None:
    assert not told_at_the_end("Processed 500/600 images\rProcessed 550/600 images", "a.log", 1)[0]
    assert not told_at_the_end("Training 3/600\rTesting 4/600", "a.log", 1)[0]
    assert not told_at_the_end("Training 350/600", "a.log", 1)[0]


# ---------------------------------------------------------------------- long lines of one character


def spent(pattern: re.Pattern[str], text: str, how: str = "match") -> float:
    """Seconds of the fastest of three tries."""
    import time

    best = 9.0
    for _ in range(3):
        begin = time.process_time()
        getattr(pattern, how)(text)
        best = min(best, time.process_time() - begin)
    return best


@pytest.mark.parametrize(
    ("pattern", "how", "text"),
    [
        (WORTH_A_LOOK, "search", "x" + "\t" * 40_000 + "x"),
        (_WHOLE, "fullmatch", "1" + " " * 40_000 + "x"),
        *((piece, "match", "[" + " " * 40_000 + "1") for piece in _PIECES),
    ],
)
def test_expressions_go_over_a_long_line_once(pattern: re.Pattern[str], how: str, text: str) -> None:
    assert spent(pattern, text, how) < 0.2  # a few milliseconds; with a square in it 10 s and more


@pytest.mark.parametrize(
    "line",
    [
        "Epoch 1" + " " * 19_000,
        "x" + "\t" * 19_000 + "x",
        "[" + " " * 19_000 + "1",
        "a: " + "," * 19_000 + "x",
        "{'a': " + "a." * 9_000 + "'}",
    ],
)
def test_long_lines_are_read_in_no_time(read, line: str) -> None:
    import time

    read("step 1 loss 2\n")
    begin = time.process_time()
    read(f"{line}\n" * 2 + "step 1 loss 2\nstep 2 loss 1\n")
    assert time.process_time() - begin < 1.0


def test_rows_with_a_counter_are_still_told() -> None:
    rows = ("TotalEnvSteps     8192", "  Epoch: 7", "iteration = 1,024 ", "num steps  trained   12", "x 1: 5")
    assert all(is_row(row) for row in rows)
    assert not any(is_row(row) for row in ("Epoch 7", "epoch: 7 loss: 3", "loss: 0.5", "7: 8", "a: b"))
