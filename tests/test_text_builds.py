"""A damaged line costs itself, not the good lines of its shape; and the fast reader reads damaged logs as the slow one does."""

from __future__ import annotations

import random

import numpy as np

from postmortem import formats
from postmortem.parsers import _text_builds as builds
from postmortem.parsers._text_events import Watch
from postmortem.parsers._text_fast import Fast
from postmortem.parsers._text_reference import reference, segments
from postmortem.parsers._text_runs import Runs
from postmortem.parsers._text_series import Collector
from postmortem.parsers._text_shapes import mined
from postmortem.parsers._traceback import Folder

DAMAGED = 600  # logs that are damaged at random
MOST_OTHER = 0.01  # of them may read otherwise: one byte of a shape's first line became another one that shapes leave out


def fast(data: bytes) -> Collector:
    reader = Fast("log", Watch("log", None))
    reader.feed(data)
    reader.close()
    return reader.collector


def slow(data: bytes) -> Collector:
    folder = Folder("log")
    return reference(segments(data.decode("utf-8", "replace")), taken=folder.feed)


def points(collector: Collector) -> dict[tuple[object, ...], list[tuple[object, ...]]]:
    found: dict[tuple[object, ...], list[tuple[object, ...]]] = {}
    for key, columns in collector.points().items():
        for value, line, step, epoch, time in zip(*(column.tolist() for column in columns), strict=True):
            found.setdefault((line, *key), []).append((repr(value), step, repr(epoch), time))
    return found


def test_the_build_of_a_segment_is_that_of_its_text() -> None:
    data = b"2031-05-04 10:00:01 step 7: loss 0.25\nloss: -3e-05\n\n  12   3.5\n"
    taken_apart = mined(data, 1)
    for prefix in (0, 2, 6):
        rows = [row for row, line in enumerate(data.splitlines()) if sum(c.isdigit() for c in line.decode()) >= prefix]
        for row in rows[:1] if prefix else rows:
            found = builds.Builds(taken_apart).of(Runs(taken_apart, np.array([row])), prefix)
            assert found.tolist() == [builds.of_text(data.splitlines()[row], prefix)]


def test_a_damaged_first_line_does_not_hide_those_after_it() -> None:
    good = [f"2031-05-04 10:00:{i:02d},120 - trainer - INFO - s:{i} loss: {3 / i:.4f} lr: 1e-4" for i in range(1, 9)]
    for broken in (
        good[0].replace("loss: ", "lo\tss: "),
        good[0].replace("2031-05-04", "2031-05-0"),
        good[0].replace(" lr", "lr"),
        good[0].replace("- INFO", "-- INFO"),
    ):
        data = "\n".join([broken, *good[1:]]).encode() + b"\n"
        assert points(fast(data)) == points(slow(data))
        losses = [key for key in points(fast(data)) if key[2] == "loss"]
        assert len(losses) >= 7


def test_a_stamp_with_a_digit_too_few_is_no_time() -> None:
    data = b"2031-05-04 10:00:01 step 1 loss 0.5\n2031-05-0 10:00:02 step 2 loss 0.4\n2031-05-04 10:00:03 step 3 loss 0.3\n"
    assert points(fast(data)) == points(slow(data))


def damaged(rng: random.Random, data: bytearray) -> bytes:
    """Bytes changed, cut out and put in, lines cut, doubled and glued together."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data))
        end = data.find(b"\n", at)
        start = data.rfind(b"\n", 0, at) + 1
        match rng.randrange(7):
            case 0:
                data[at] = rng.randrange(1, 128)
            case 1:
                data[at] = rng.choice(b"0123456789.,:-+eE /=|[]() \nnk%")
            case 2:
                del data[at : at + rng.randrange(1, 12)]
            case 3:
                del data[at : max(end, at)]
            case 4:
                data[end + 1 : end + 1] = data[start : end + 1]
            case 5:
                del data[end : end + 1]
            case _:
                data[at:at] = rng.choice((b"nan", b"-inf", b"1e5", b" ", b"-", b"epoch", b"\t", b"12.3M", b"1,234"))
    return bytes(data)


def test_damaged_logs_are_read_as_the_slow_reader_reads_them() -> None:
    rng = random.Random(20)
    seeds = ["\n".join(sample.line for sample in dialect.samples for _ in range(3)).encode() + b"\n" for dialect in formats.dialects()]
    other = []
    for _ in range(DAMAGED):
        data = damaged(rng, bytearray(rng.choice(seeds)))
        if points(fast(data)) != points(slow(data)):
            other.append(data)
    assert len(other) <= MOST_OTHER * DAMAGED, other[:2]
