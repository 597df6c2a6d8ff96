"""TensorBoard event files: our columns against a plain reader and against TensorBoard itself."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from event_files import (
    VERSION,
    WALL,
    a_file,
    event,
    five,
    plainly,
    points,
    read,
    record,
    scalar_bodies,
    simple,
    sized,
    source,
    tensor,
)

from postmortem.frame import NO_STEP, NO_TIME
from postmortem.parsers import _tfevents_frames as frames
from postmortem.parsers import tfevents
from postmortem.parsers._crc32c import crc32c, mask, wrong_by_difference, wrong_sums
from postmortem.parsers.base import LIKELY, NO, SURE, Request

# ---------------------------------------------------------------------- reading


@pytest.mark.parametrize("seed", range(12))
def test_columns_and_plain_reader_agree(tmp_path: Path, seed: int) -> None:
    records = a_file(seed)
    data = VERSION + b"".join(record(one) for one in records)
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data), Request())
    assert points(reading) == plainly(data)[0]
    assert reading.rows > 20
    assert reading.rejected == 0


def test_tensorboard_reads_the_same(tmp_path: Path) -> None:
    """TensorBoard's own reader on files that TensorBoard's own messages were written to."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.util import tensor_util

    scalars = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1)
    dice = random.Random(5)
    records, types = [], {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64, "f16": np.float16}
    for step in range(300):
        values = [Summary.Value(tag=f"v1/{number}", simple_value=dice.gauss(0, 9)) for number in range(4)]
        values += [
            Summary.Value(tag=f"v2/{name}", metadata=scalars, tensor=tensor_util.make_tensor_proto(kind(dice.gauss(0, 50)), shape=[]))
            for name, kind in types.items()
        ]
        records += [Event(wall_time=WALL + step + 0.25, step=step * 3, summary=Summary(value=[value])) for value in values[:6]]
        records.append(Event(wall_time=WALL + step + 0.5, step=step * 3, summary=Summary(value=values[6:])))
    reading = read(tmp_path, *(record(one.SerializeToString()) for one in records))
    theirs = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    ours = {block.raw_name: block for block in reading.blocks}
    assert set(ours) == {*theirs.Tags()["scalars"], *theirs.Tags()["tensors"]} and len(ours) == 9
    for tag in theirs.Tags()["scalars"]:
        rows = theirs.Scalars(tag)
        assert [row.value for row in rows] == ours[tag].values.tolist()
        assert [row.step for row in rows] == ours[tag].steps.tolist()
        assert [round(row.wall_time * 1e6) for row in rows] == ours[tag].times.tolist()
    for tag in theirs.Tags()["tensors"]:
        assert [float(tensor_util.make_ndarray(row.tensor_proto)) for row in theirs.Tensors(tag)] == ours[tag].values.tolist()


@pytest.mark.parametrize("kind", scalar_bodies(1.0))
def test_every_number_type(tmp_path: Path, kind: str) -> None:
    reading = read(tmp_path, *(record(event(step, tensor("x", scalar_bodies(1.5)[kind]))) for step in range(40)))
    expected = {"int32": -15, "int64": -15, "int_val": -15, "int_val packed": -15, "int64_val packed": 15 << 20, "bool_val": 1}.get(
        kind, 1.5
    )
    assert reading.blocks[0].values.tolist() == [expected] * 40
    assert reading.notes == []


def test_tensors_that_are_no_scalar_are_counted(tmp_path: Path) -> None:
    two = b"\x08\x01" + sized(0x12, sized(0x12, b"\x08\x02")) + sized(0x22, bytes(8))
    none = b"\x08\x01" + sized(0x12, sized(0x12, b"\x08\x00"))
    reading = read(tmp_path, record(event(1, tensor("x", two, b"histograms"))), record(event(1, tensor("y", none, b"other"))))
    assert reading.blocks == []
    assert reading.notes == ["no numbers, skipped: 1 histogram, 1 tensor", "no scalars in this file"]
    assert reading.rejected == 0


def test_lines_steps_and_times(tmp_path: Path) -> None:
    values = [(0, WALL), (7, math.nan), (2**63 - 1, -1.0), (-3, WALL + 1e-6)]
    reading = read(tmp_path, *(record(event(step, simple("a", 1), wall=wall)) for step, wall in values))
    (block,) = reading.blocks
    assert block.lines.tolist() == [2, 3, 4, 5]  # the first record says the version
    assert block.steps.tolist() == [0, 7, 2**63 - 1, -3]
    assert block.times.tolist() == [1_700_000_000_000_000, NO_TIME, NO_TIME, 1_700_000_000_000_001]
    assert block.split is None


def test_a_file_without_times_has_none(tmp_path: Path) -> None:
    (block,) = read(tmp_path, record(event(1, simple("a", 1), wall=None))).blocks
    assert block.times is None and block.steps.tolist() == [1] and NO_STEP not in block.steps


def test_hostile_tags(tmp_path: Path) -> None:
    tags = [b"<img src=x>\x00\x1b[2J", b"\xff\xfe", b"\xfe\xff", b"", b"x" * 100_000, b"x" * 99_999, "\u202e".encode(), b" padded "]
    reading = read(tmp_path, *(record(event(1, simple(tag, 0.5))) for tag in tags))
    assert [(block.raw_name, block.series) for block in reading.blocks] == [
        ("<img src=x>\0\x1b[2J", 0),
        ("\ufffd\ufffd", 0),
        ("\ufffd\ufffd", 1),
        ("(unnamed)", 0),
        ("x" * 199 + "…", 0),
        ("x" * 199 + "…", 1),
        ("\u202e", 0),
        ("padded", 0),
    ]


def test_nothing_is_thinned(tmp_path: Path) -> None:
    reading = read(tmp_path, *(record(event(step, simple("a", step), simple("b", -step))) for step in range(30_000)))
    assert [block.values.tolist() for block in reading.blocks] == [
        list(map(float, range(30_000))),
        [-float(step) for step in range(30_000)],
    ]


def test_hyperparameters_and_texts_become_settings(tmp_path: Path) -> None:
    def entry(name: str, value: bytes) -> bytes:
        return sized(0x0A, sized(0x0A, name.encode()) + sized(0x12, value))

    start = entry("lr", b"\x11" + struct.pack("<d", 0.01)) + entry("name", sized(0x1A, b"tiny")) + entry("amp", b"\x20\x01")
    hparams = sized(0x0A, b"_hparams_/session_start_info") + sized(
        0x4A, sized(0x0A, sized(0x0A, b"hparams") + sized(0x12, sized(0x1A, start)))
    )
    table = b"|param|value|\n|-|-|\n|gamma|0.99|\n|env|Pong|"
    texts = {"hyperparameters/text_summary": table, "args/text_summary": b'{"warmup": 5, "opt": {"eps": 1e-8}}', "prose": b"|no|table"}
    reading = read(
        tmp_path,
        record(event(0, hparams)),
        *(record(event(0, tensor(tag, b"\x08\x07" + sized(0x42, words), b"text"))) for tag, words in texts.items()),
    )
    found = {setting.key: setting.value for setting in reading.settings}
    assert found == {"lr": 0.01, "name": "tiny", "amp": True, "gamma": 0.99, "env": "Pong", "warmup": 5, "opt.eps": 1e-8}
    assert {str(setting.origin) for setting in reading.settings} == {f"{reading.file}:{line}" for line in (2, 3, 4)}
    assert reading.notes == ["no numbers, skipped: 3 text", "no scalars in this file"]


# ---------------------------------------------------------------------- windows and sums


@pytest.mark.parametrize("capacity", [4096, 10_000, 1 << 16])
def test_small_windows_give_the_same_records(tmp_path: Path, capacity: int) -> None:
    """Records across window ends, larger than the window, behind damage and behind zeros."""
    dice = random.Random(capacity)
    records = [record(one) for one in a_file(3)]
    records[20:20] = [record(event(1, sized(0x0A, b"big") + sized(0x22, dice.randbytes(30_000))))]
    records[40:40] = [b"\0" * 20_000, record(event(2, *(simple(f"many{number}", number) for number in range(2000))))]
    records[60:60] = [dice.randbytes(9000)]
    path = tmp_path / "e"
    path.write_bytes(VERSION + b"".join(records))

    def all_of(size: int) -> tuple[list[tuple[int, bytes]], list[frames.Loss]]:
        found, file = [], frames.RecordFile(path)
        for chunk in file.chunks(size):
            if isinstance(chunk, frames.BigRecord):
                found.append((chunk.line, bytes(chunk.data or b"")))
            else:
                places = zip(chunk.lines.tolist(), chunk.starts.tolist(), chunk.lengths.tolist(), strict=True)
                found += [(line, bytes(chunk.window.bytes[start : start + length])) for line, start, length in places]
        return sorted(found), file.losses

    assert all_of(capacity) == all_of(1 << 20)
    lines = [line for line, _ in all_of(capacity)[0]]
    assert lines == list(range(1, len(records) - 2 + 1 + 1))


def test_a_record_larger_than_the_window_is_stepped_over_or_read(tmp_path: Path) -> None:
    picture = record(event(1, sized(0x0A, b"big") + sized(0x22, bytes(5 << 20))))
    many = record(event(2, *(simple(f"{'long name' * 10}{number}", number) for number in range(50_000))))
    reading = read(tmp_path, five()[0], picture, many, five()[1])
    assert points(reading)["train/loss#0"] == [(2, 0, int(WALL * 1e6), "1.0"), (5, 1, int(WALL * 1e6), "0.5")]
    assert len(reading.blocks) == 50_000 and "no numbers, skipped: 1 image" in reading.notes  # 50,001 tags, the last is left out
    assert "50001 tags: only the first 50000 were kept" in reading.notes


def test_crc() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C in RFC 3720's polynomial
    dice = random.Random(0)
    for length in (0, 1, 5, 8, 191, 193, 256, 257, 4096, 70_001):
        data, crc = dice.randbytes(length), 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        assert crc32c(data) == crc ^ 0xFFFFFFFF


def test_sums_of_many_records_at_once() -> None:
    dice = random.Random(0)
    rows = [dice.randbytes(dice.choice((0, 1, 7, 8, 9, 46, 300))) for _ in range(200)]
    lengths = np.array([len(row) for row in rows])
    buffer = dice.randbytes(12) + b"".join(rows) + bytes(64)
    words = np.ndarray((len(buffer) - 8,), "<u8", buffer=buffer, strides=(1,))
    stored = np.array([mask(crc32c(row)) for row in rows], np.uint32)
    stored[[3, 149]] ^= 1
    assert np.flatnonzero(wrong_sums(words, 12 + np.cumsum(lengths) - lengths, lengths, stored)).tolist() == [3, 149]
    for length in (1, 7, 8, 9, 46):
        octets = np.frombuffer(dice.randbytes(50 * length), np.uint8).reshape(50, length)
        sums = np.array([mask(crc32c(row.tobytes())) for row in octets], np.uint32)
        sums[[3, 49]] ^= 1
        differing = octets ^ octets[0]
        wrong = wrong_by_difference(octets[0].tobytes(), differing, np.bitwise_or.reduce(differing, axis=0), sums)
        assert np.flatnonzero(wrong).tolist() == [3, 49]


def test_claims_by_content_then_by_name(tmp_path: Path) -> None:
    whole = VERSION + b"".join(five())
    assert tfevents.claims(source(tmp_path / "renamed.bin", whole)) == SURE
    assert tfevents.claims(source(tmp_path / "events.out.tfevents.1.h", b"\0" * 40)) == LIKELY
    assert tfevents.claims(source(tmp_path / "events.out.tfevents.1.h", b"")) == LIKELY
    assert tfevents.claims(source(tmp_path / "train.tfrecord", record(b"an example of a data set"))) == NO
    assert tfevents.claims(source(tmp_path / "train.log", b"epoch 1 loss 0.5\n" * 10)) == NO
