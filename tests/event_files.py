"""Writes small TensorBoard event files for the tests, and reads them the obvious way, one record after the other."""

from __future__ import annotations

import math
import random
import struct
from collections import defaultdict
from pathlib import Path

import numpy as np

from postmortem.frame import NO_TIME
from postmortem.model import Reading
from postmortem.parsers import tfevents
from postmortem.parsers._crc32c import crc32c, mask, masked_length
from postmortem.parsers._protobuf import Malformed
from postmortem.parsers._tfevents_record import decode
from postmortem.parsers.base import HEAD_BYTES, Request, SourceFile

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
