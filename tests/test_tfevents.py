"""TensorBoard event files: our columns against a plain reader, against TensorBoard itself, and against damage."""

from __future__ import annotations

import math
import random
import struct
import time
from collections import defaultdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from postmortem.frame import NO_STEP, NO_TIME
from postmortem.model import Reading
from postmortem.parsers import _tfevents_frames as frames
from postmortem.parsers import tfevents
from postmortem.parsers._crc32c import crc32c, mask, masked_length, wrong_sums
from postmortem.parsers._protobuf import Malformed
from postmortem.parsers._tfevents_record import decode
from postmortem.parsers.base import HEAD_BYTES, LIKELY, NO, SURE, Request, SourceFile

WALL = 1.7e9

# ---------------------------------------------------------------------- a small writer of our own


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes(parts + bytes([number]))


def sized(key: int, data: bytes) -> bytes:
    return varint(key) + varint(len(data)) + data


def simple(tag: bytes | str, value: float) -> bytes:
    return sized(0x0A, tag.encode() if isinstance(tag, str) else tag) + b"\x15" + struct.pack("<f", value)


def tensor(tag: str, body: bytes, plugin: bytes = b"scalars", content: bytes = b"") -> bytes:
    data = sized(0x0A, plugin) + (sized(0x12, content) if content else b"")
    return sized(0x0A, tag.encode()) + sized(0x42, body) + sized(0x4A, sized(0x0A, data))


def event(step: int, *values: bytes, wall: float | None = WALL) -> bytes:
    summary = b"".join(sized(0x0A, value) for value in values)
    return (b"" if wall is None else b"\x09" + struct.pack("<d", wall)) + (b"\x10" + varint(step) if step else b"") + sized(0x2A, summary)


def record(data: bytes, length: int | None = None, spoil_data: int = 0, spoil_length: int = 0) -> bytes:
    size = len(data) if length is None else length
    return struct.pack("<QI", size, masked_length(size) ^ spoil_length) + data + struct.pack("<I", mask(crc32c(data)) ^ spoil_data)


VERSION = record(b"\x09" + struct.pack("<d", WALL) + b"\x1a\x0dbrain.Event:2")


def five() -> list[bytes]:
    return [record(event(step, simple("train/loss", 1 / (step + 1)))) for step in range(5)]


def source(path: Path, data: bytes) -> SourceFile:
    path.write_bytes(data)
    return SourceFile(path, path.name, len(data), data[:HEAD_BYTES])


def overwrite(file: BinaryIO, data: bytes) -> None:
    """New content for an open file; opening it anew ten thousand times costs seconds on some file systems."""
    file.seek(0)
    file.write(data)
    file.truncate()


def read(folder: Path, *records: bytes, name: str = "events.out.tfevents.1700000000.host") -> Reading:
    return tfevents.read(source(folder / name, VERSION + b"".join(records)), Request())


def points(reading: Reading) -> dict[str, list[tuple[int, int, int, float]]]:
    """(line, step, time, value) of every point by name and number of the series."""
    found = {}
    for block in reading.blocks:
        times = block.times if block.times is not None else [NO_TIME] * len(block.values)
        rows = zip(block.lines, block.steps, times, block.values, strict=True)
        found[f"{block.raw_name}#{block.series}"] = [
            (int(line), int(step), int(time), repr(float(value))) for line, step, time, value in rows
        ]
    return found


# ---------------------------------------------------------------------- the obvious reader, to compare with


def plainly(data: bytes) -> tuple[dict[str, list[tuple[int, int, int, float]]], int]:
    """Scalars of an event file, one record after the other, and the number of records that were dropped. Written to be obvious."""
    found: dict[bytes, list[tuple[int, int, int, float]]] = defaultdict(list)
    at = number = dropped = 0
    while at + 12 <= len(data):
        length, stored = struct.unpack_from("<QI", data, at)
        if mask(crc32c(data[at : at + 8])) != stored or at + 16 + length > len(data):
            at += 1  # no header here, or not a whole record: look one byte further
            continue
        number += 1
        body = data[at + 12 : at + 12 + length]
        at += 16 + length
        if mask(crc32c(body)) != struct.unpack_from("<I", data, at - 4)[0]:
            dropped += 1
            continue
        try:
            one = decode(memoryview(body))
        except Malformed:
            dropped += 1
            continue
        sane = one.wall is not None and 0 < one.wall < 253402300800
        for tag, value in one.scalars:
            found[tag].append((number, one.step, int(np.rint(one.wall * 1e6)) if sane else NO_TIME, repr(value)))
    names: dict[str, int] = defaultdict(int)
    series = {}
    for tag, rows in found.items():
        name = tag.decode("utf-8", "replace").strip() or "(unnamed)"
        name = name if len(name) <= 200 else name[:199] + "…"
        series[f"{name}#{names[name]}"] = rows
        names[name] += 1
    return series, dropped


def scalar_bodies(value: float) -> dict[str, bytes]:
    """One number as every kind of tensor that holds one."""
    whole = int(abs(value) * 10)
    half = struct.pack("<e", value)
    bfloat = struct.pack("<f", value)[2:]
    shape, content = b"\x12\x00", 0x22
    return {
        "float": b"\x08\x01" + shape + sized(content, struct.pack("<f", value)),
        "double": b"\x08\x02" + shape + sized(content, struct.pack("<d", value)),
        "int32": b"\x08\x03" + shape + sized(content, struct.pack("<i", -whole)),
        "int64": b"\x08\x09" + shape + sized(content, struct.pack("<q", -whole)),
        "half": b"\x08\x13" + shape + sized(content, half),
        "bfloat16": b"\x08\x0e" + shape + sized(content, bfloat),
        "float without shape": b"\x08\x01" + sized(content, struct.pack("<f", value)),
        "float of shape 1": b"\x08\x01" + sized(0x12, sized(0x12, b"\x08\x01")) + sized(content, struct.pack("<f", value)),
        "float_val packed": b"\x08\x01" + shape + sized(0x2A, struct.pack("<f", value)),
        "float_val": b"\x08\x01" + shape + b"\x2d" + struct.pack("<f", value),
        "double_val packed": b"\x08\x02" + shape + sized(0x32, struct.pack("<d", value)),
        "double_val": b"\x08\x02" + shape + b"\x31" + struct.pack("<d", value),
        "int_val packed": b"\x08\x03" + shape + sized(0x3A, varint(-whole)),
        "int_val": b"\x08\x03" + shape + b"\x38" + varint(-whole),
        "int64_val packed": b"\x08\x09" + shape + sized(0x52, varint(whole << 20)),
        "half_val": b"\x08\x13" + shape + sized(0x6A, varint(int.from_bytes(half, "little"))),
        "bfloat16 half_val": b"\x08\x0e" + shape + sized(0x6A, varint(int.from_bytes(bfloat, "little"))),
        "bool_val": b"\x08\x0a" + shape + b"\x58\x01",
    }


def a_file(seed: int) -> list[bytes]:
    """Records as several writers make them: regular, of many tags, with several values, with tensors, pictures and odd layouts."""
    dice = random.Random(seed)
    tags = [f"group{number % 3}/{'x' * dice.randrange(1, 30)}{number}" for number in range(dice.randrange(1, 30))]
    records = []
    for step in range(dice.randrange(20, 120)):
        values = [dice.choice((dice.gauss(0, 1), math.nan, math.inf, 0.0)) for _ in tags]
        style = dice.randrange(6)
        if style < 2:
            records += [event(step * 40, simple(tag, value), wall=WALL + step) for tag, value in zip(tags, values, strict=True)]
        elif style == 2:
            records.append(event(step * 40, *(simple(tag, value) for tag, value in zip(tags, values, strict=True))))
        elif style == 3:
            kinds = scalar_bodies(dice.gauss(0, 5))
            records += [event(step, tensor(kind, body), wall=None if step % 7 else WALL) for kind, body in kinds.items()]
        elif style == 4:
            blob = sized(0x0A, b"picture") + sized(dice.choice((0x22, 0x2A, 0x32)), dice.randbytes(dice.randrange(900)))
            records += [event(step, blob), event(-step, blob, simple("beside a blob", step), simple(tags[0], step))]
        else:  # a summary before the step, unknown fields, fields twice, a step of ten bytes
            records.append(sized(0x2A, sized(0x0A, simple(tags[0], 1.5))) + b"\x10" + varint(step) + b"\x09" + struct.pack("<d", WALL))
            records.append(b"\xa0\x06\x07" + event(-(2**63) + step, simple("low", 1), simple("low", 2)) + sized(0x3A, b"\x08\x01"))
            records.append(event(2**63 - 1, simple(tags[-1], 3), wall=dice.choice((math.nan, math.inf, -5.0, 1e300))))
    return records


# ---------------------------------------------------------------------- reading


@pytest.mark.parametrize("seed", range(12))
def test_columns_and_plain_reader_agree(tmp_path: Path, seed: int) -> None:
    records = a_file(seed)
    data = VERSION + b"".join(record(one) for one in records)
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data), Request())
    assert points(reading) == plainly(data)[0]
    assert reading.rows > 20
    assert reading.rejected == 0


@pytest.mark.parametrize("seed", range(40))
def test_columns_and_plain_reader_agree_on_damaged_files(tmp_path: Path, seed: int) -> None:
    """Damage inside a right sum (a broken writer), a wrong sum, lost bytes, and everything at once."""
    dice = random.Random(seed)
    parts = [VERSION]
    for one in a_file(seed):
        fate = dice.random()
        broken = bytearray(one)
        broken[dice.randrange(len(broken))] = dice.randrange(256)
        parts.append(
            record(bytes(broken)) if fate < 0.1
            else record(one, spoil_data=1) if fate < 0.15
            else record(one, spoil_length=1) if fate < 0.2
            else record(one)[: dice.randrange(len(one))] if fate < 0.23
            else record(one)
        )  # fmt: skip
    data = b"".join(parts)
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data), Request())
    plain, dropped = plainly(data)
    assert points(reading) == plain
    counted = sum(int(note.split(" ", 1)[0]) for note in reading.notes if " bad record" in note or "data CRC" in note)
    assert counted == dropped
    assert (reading.rejected > 0) == bool(reading.notes and any("CRC" in note or "truncated" in note for note in reading.notes))


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

    def all_of(size: int) -> tuple[list[bytes], list[frames.Loss]]:
        found, file = [], frames.RecordFile(path)
        for chunk in file.chunks(size):
            if isinstance(chunk, frames.BigRecord):
                found.append(bytes(chunk.load() or b""))
            else:
                found += [
                    bytes(chunk.window.bytes[start : start + length]) for start, length in zip(chunk.starts, chunk.lengths, strict=True)
                ]
        assert file.records == len(found)
        return found, file.losses

    assert all_of(capacity) == all_of(1 << 20)
    assert len(all_of(capacity)[0]) == len(records) - 2 + 1


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
    for length in (1, 7, 8, 9, 46):
        rows = [dice.randbytes(length) for _ in range(50)]
        buffer = b"".join(rows) + bytes(64)
        words = np.ndarray((len(buffer) - 8,), "<u8", buffer=buffer, strides=(1,))
        stored = np.array([mask(crc32c(row)) for row in rows], np.uint32)
        stored[[3, 49]] ^= 1
        assert np.flatnonzero(wrong_sums(words, np.arange(50) * length, length, stored)).tolist() == [3, 49]


# ---------------------------------------------------------------------- damage


def test_cut_inside_the_last_record(tmp_path: Path) -> None:
    reading = read(tmp_path, b"".join(five())[:-5])
    assert reading.rows == 4 and reading.rejected == 1
    size = (tmp_path / reading.file).stat().st_size
    assert reading.notes == [f"truncated: cut at byte {size}, inside record 6 that begins at byte {size - len(five()[4]) + 5}"]


def test_every_truncation_keeps_all_whole_records(tmp_path: Path) -> None:
    data, ends = VERSION, []
    for one in five():
        data += one
        ends.append(len(data))
    for cut in range(len(data)):
        reading = tfevents.read(source(tmp_path / "e.tfevents.1", data[:cut]), Request())
        assert reading.rows == sum(end <= cut for end in ends)
        assert reading.rejected == (cut not in (0, len(VERSION), *ends))


def test_bad_data_sum_drops_one_record(tmp_path: Path) -> None:
    records = five()
    records[2] = record(event(2, simple("train/loss", 0.33)), spoil_data=1)
    reading = read(tmp_path, *records)
    assert reading.blocks[0].steps.tolist() == [0, 1, 3, 4] and reading.blocks[0].lines.tolist() == [2, 3, 5, 6]
    assert reading.rejected == 1
    assert reading.notes == ["1 record(s) with a wrong data CRC dropped (first: record 4)"]


def test_bad_length_sum_is_stepped_over(tmp_path: Path) -> None:
    records = five()
    records[2] = record(event(2, simple("train/loss", 0.33)), spoil_length=1)
    reading = read(tmp_path, *records)
    assert reading.blocks[0].steps.tolist() == [0, 1, 3, 4]
    assert reading.rejected == 1
    assert "no valid length CRC" in reading.notes[0] and f"damaged: {len(records[2])} bytes in 1 place" in reading.notes[0]


@pytest.mark.parametrize("length", [2**62, 2**63 + 5, 2**34, 2**31 - 1])
def test_absurd_lengths_cost_nothing(tmp_path: Path, length: int) -> None:
    records = five()
    reading = read(tmp_path, *records[:2], record(b"abc", length=length), *records[2:])
    assert reading.blocks[0].steps.tolist() == [0, 1, 2, 3, 4]
    assert reading.rejected == 1


def test_bad_messages_inside_right_sums(tmp_path: Path) -> None:
    bad = [b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b"\x2a\x80", b"\x10" + b"\x80" * 11 + b"\x01", b"\x0b" * 100_000, b"\x2a\x02\x0a\x7f"]
    reading = read(tmp_path, *five()[:2], *(record(one) for one in bad), *five()[2:])
    assert reading.rows == 5 and reading.rejected == 6
    assert reading.notes == ["6 bad record(s): no valid event inside a right CRC (first: record 4)"]


def test_zeros_and_garbage_at_the_end(tmp_path: Path) -> None:
    zeros = read(tmp_path, *five(), bytes(4096))
    assert zeros.rows == 5 and zeros.rejected == 0
    assert zeros.notes == ["4096 zero bytes at the end: space was reserved and nothing written"]
    garbage = read(tmp_path, *five(), random.Random(1).randbytes(3000))
    assert garbage.rows == 5 and garbage.rejected == 1
    assert "damaged: 3000 bytes in 1 place(s)" in garbage.notes[0] and "up to the end" in garbage.notes[0]


def test_empty_files_say_so(tmp_path: Path) -> None:
    assert tfevents.read(source(tmp_path / "a.tfevents.1", b""), Request()).notes == [
        "empty event file (0 bytes): a writer was opened and wrote nothing"
    ]
    assert read(tmp_path).notes == ["only the file header: nothing was logged"]
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    assert tfevents.read(source(tmp_path / "a.tfevents.1", pointer), Request()).notes == [
        "Git LFS pointer: the event file itself was not downloaded"
    ]


def test_claims_by_content_then_by_name(tmp_path: Path) -> None:
    whole = VERSION + b"".join(five())
    assert tfevents.claims(source(tmp_path / "renamed.bin", whole)) == SURE
    assert tfevents.claims(source(tmp_path / "events.out.tfevents.1.h", b"\0" * 40)) == LIKELY
    assert tfevents.claims(source(tmp_path / "events.out.tfevents.1.h", b"")) == LIKELY
    assert tfevents.claims(source(tmp_path / "train.tfrecord", record(b"an example of a data set"))) == NO
    assert tfevents.claims(source(tmp_path / "train.log", b"epoch 1 loss 0.5\n" * 10)) == NO


def test_ten_thousand_mutations(tmp_path: Path) -> None:
    """Nothing raises, nothing is slow. Half of the files get right sums again, so that the damage reaches the decoder."""
    dice = random.Random(20)
    bodies = [
        event(3, simple("a/loss", 1.5)),
        event(4, simple("a/loss", 1.0), simple("b", 2)),
        event(5, tensor("t", scalar_bodies(2)["double"])),
    ]
    bodies.append(event(6, tensor("x", b"\x08\x07" + sized(0x42, b'{"lr": 1}'), b"text")))
    whole = VERSION + b"".join(record(body) for body in bodies)
    path, slowest = tmp_path / "e.tfevents.1", 0.0
    file = open(path, "w+b", buffering=0)  # noqa: SIM115
    for turn in range(10_000):
        data = bytearray(whole)
        if turn % 2:
            body = bytearray(dice.choice(bodies))
            for _ in range(dice.randrange(1, 4)):
                body[dice.randrange(len(body))] = dice.choice((0, 1, 127, 128, 255, dice.randrange(256)))
            data += record(bytes(body)) + record(bodies[0]) * (30 if turn % 20 == 1 else 1)  # many records go through the columns
        else:
            for _ in range(dice.randrange(1, 6)):
                place = dice.randrange(len(data))
                data[place : place + dice.randrange(3)] = dice.randbytes(dice.randrange(4))
            data = data[: dice.choice((len(data), dice.randrange(len(data))))]
        overwrite(file, data)
        start = time.perf_counter()
        tfevents.read(SourceFile(path, path.name, len(data), bytes(data)), Request())
        slowest = max(slowest, time.perf_counter() - start)
    file.close()
    assert slowest < 1.0
