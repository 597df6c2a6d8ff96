"""Decodes one TensorBoard event, field by field: the obvious way, used for every record that the columns do not understand.

Field numbers are those of tensorflow/core/util/event.proto, framework/summary.proto, framework/tensor.proto and
tensorboard/plugins/hparams/plugin_data.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from postmortem.parsers._protobuf import BYTES, FIXED32, FIXED64, VARINT, Malformed, fields, signed, text, varint

# Event fields that hold no summary: what they are called when they are counted
EVENT_KINDS = {4: "graph", 6: "log message", 7: "session log", 8: "run metadata", 9: "meta graph"}
VALUE_KINDS = {3: "histogram", 4: "image", 5: "histogram", 6: "audio"}
PLUGIN_KINDS = {
    "histograms": "histogram",
    "images": "image",
    "audio": "audio",
    "pr_curves": "PR curve",
    "graphs": "graph",
    "graph_keras_model": "graph",
}
_TEXT_BYTES = 256 * 1024  # a longer text is counted, not kept

# DataType -> numpy type of tensor_content; 14 is bfloat16, the upper half of a float
CONTENT = {1: "<f4", 2: "<f8", 3: "<i4", 4: "<u1", 5: "<i2", 6: "<i1", 9: "<i8", 10: "<u1", 14: "<u2", 17: "<u2", 19: "<f2"}
CONTENT |= {22: "<u4", 23: "<u8"}
BFLOAT16, HALF, STRING = 14, 19, 7
# TensorProto fields that hold the numbers one by one -> wire type of a single number
_NUMBERS = {5: FIXED32, 6: FIXED64, 7: VARINT, 10: VARINT, 11: VARINT, 13: VARINT, 16: VARINT, 17: VARINT}


@dataclass(slots=True)
class EventRecord:
    """One event: wall_time in seconds (None: not given), step, the scalars it holds as (tag bytes, number), the rest by kind."""

    wall: float | None = None
    step: int = 0
    scalars: list[tuple[bytes, float]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    hparams: list[memoryview] = field(default_factory=list)
    version: str = ""


def decode(data: memoryview) -> EventRecord:
    """One event from its bytes. Raises Malformed where they are no protocol buffer."""
    event = EventRecord()
    for number, wire, value in fields(data):
        if number == 1 and wire == FIXED64:
            (event.wall,) = struct.unpack("<d", value)  # type: ignore[arg-type]
        elif number == 2 and wire == VARINT:
            event.step = signed(int(value))
        elif number == 3 and wire == BYTES:
            event.version = text(value)
        elif number == 5 and isinstance(value, memoryview):
            for inner, kind, item in fields(value):
                if inner == 1 and kind == BYTES and isinstance(item, memoryview):
                    _value(item, event)
        elif number in EVENT_KINDS:
            event.kinds.append(EVENT_KINDS[number])
    return event


def blob_kind(head: memoryview, length: int) -> str | None:
    """What a large record holds, from its first bytes; None where it is not one single thing that is no number."""
    try:
        at = 0
        for wanted, before in ((5, (1, 2)), (1, ())):  # the summary that reaches to the end of the record, then its only value
            number, at, end = _reaching(head, at, length, before)
            if end != length or number != wanted:
                return EVENT_KINDS.get(number) if end == length and wanted == 5 else None
        number, _, _ = _reaching(head, at, length, (1, 7))
        return VALUE_KINDS.get(number, "tensor" if number == 8 else None)
    except (Malformed, IndexError):
        return None


def _reaching(head: memoryview, at: int, length: int, before: tuple[int, ...]) -> tuple[int, int, int]:
    """The first field that ends with the record or leaves the head: its number, start and end. Only fields of `before` may precede it.

    Those are time and step of an event, tag and node name of a value. Raises Malformed where another one does: it may be a number.
    """
    while True:
        key, at = varint(head, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            _, at = varint(head, at)
            size = 0
        else:
            size, at = varint(head, at) if wire == BYTES else ({FIXED64: 8, FIXED32: 4}.get(wire, length), at)
            if at + size >= min(length, len(head)):
                return number, at, at + size
        if number not in before:
            raise Malformed("something else stands before it")
        at += size


def _value(data: memoryview, event: EventRecord) -> None:
    """One Summary.Value into the event."""
    tag, number, kind, plugin, content = b"", None, "", "", None
    tensor: memoryview | None = None
    for field_number, wire, value in fields(data):
        if field_number == 1 and wire == BYTES:
            tag = bytes(value)
        elif field_number == 2 and wire == FIXED32:
            (number,) = struct.unpack("<f", value)  # type: ignore[arg-type]
        elif field_number == 8 and isinstance(value, memoryview):
            tensor = value
        elif field_number == 9 and isinstance(value, memoryview):
            plugin, content = _plugin(value)
        elif field_number in VALUE_KINDS:
            kind = VALUE_KINDS[field_number]
    if number is None and tensor is not None:
        number, words = _tensor(tensor)
        if words is not None and plugin in ("text", ""):
            event.texts.append((tag.decode("utf-8", "replace"), words))
            kind = "text"
    if number is not None:
        event.scalars.append((tag, float(number)))
    elif plugin == "hparams":
        event.hparams += [content] if content is not None else []
    elif kind or plugin or tensor is not None:
        event.kinds.append(kind or PLUGIN_KINDS.get(plugin, "tensor"))


def _plugin(data: memoryview) -> tuple[str, memoryview | None]:
    """Name and content of the plugin that a SummaryMetadata names; nothing where the metadata cannot be read."""
    name, content = "", None
    try:
        for number, wire, value in fields(data):
            if number == 1 and wire == BYTES and isinstance(value, memoryview):
                for inner, kind, item in fields(value):
                    if inner == 1 and kind == BYTES:
                        name = text(item)
                    elif inner == 2 and isinstance(item, memoryview):
                        content = item
    except Malformed:
        return "", None
    return name, content


def _tensor(data: memoryview) -> tuple[float | None, str | None]:
    """The number of a tensor that holds exactly one (any shape), or its text; (None, None) for any other tensor."""
    dtype, sizes, raw, words = 0, [], None, None
    numbers: list[float] = []
    for number, wire, value in fields(data):
        if number == 1 and wire == VARINT:
            dtype = int(value)
        elif number == 2 and isinstance(value, memoryview):
            sizes = _shape(value)
        elif number == 4 and isinstance(value, memoryview):
            raw = value
        elif number in _NUMBERS and len(numbers) < 2:
            numbers += _numbers(number, wire, value, dtype)
        elif number == 8 and wire == BYTES and words is None:
            words = text(value) if len(value) <= _TEXT_BYTES else ""  # type: ignore[arg-type]
    if dtype == STRING:
        return None, words
    if any(size != 1 for size in sizes) or dtype not in CONTENT:
        return None, None
    if raw is not None and len(raw):
        return (_content(raw, dtype) if len(raw) == np.dtype(CONTENT[dtype]).itemsize else None), None
    return (numbers[0] if len(numbers) == 1 else None), None


def _shape(data: memoryview) -> list[int]:
    """The sizes of a TensorShapeProto. A size that is left out is 0, the default of the format."""
    sizes = []
    for number, wire, value in fields(data):
        if number == 2 and wire == BYTES and isinstance(value, memoryview):
            sizes.append(next((signed(int(item)) for inner, kind, item in fields(value) if inner == 1 and kind == VARINT), 0))
    return sizes


def _content(raw: memoryview, dtype: int) -> float:
    """One number from the little-endian bytes of tensor_content."""
    bits = np.frombuffer(raw, CONTENT[dtype])[0]
    return float(np.array(int(bits) << 16, np.uint32).view(np.float32)) if dtype == BFLOAT16 else float(bits)


def _numbers(number: int, wire: int, value: int | memoryview, dtype: int) -> list[float]:
    """The numbers of one *_val field, packed or single; at most two, for more than one is no scalar."""
    single = _NUMBERS[number]
    if wire == single:
        items: list[int | memoryview] = [value]
    elif wire == BYTES and isinstance(value, memoryview):
        items = _unpacked(value, single)
    else:
        return []
    return [_READ.get(number, lambda item, _: float(signed(item)))(item, dtype) for item in items]


def _unpacked(data: memoryview, single: int) -> list[int | memoryview]:
    if single == VARINT:
        items: list[int | memoryview] = []
        at = 0
        while at < len(data) and len(items) < 2:
            item, at = varint(data, at)
            items.append(item)
        return items
    size = 4 if single == FIXED32 else 8
    if len(data) % size:
        raise Malformed("packed numbers of a broken length")
    return [data[at : at + size] for at in range(0, min(len(data), 2 * size), size)]


def _half(item: int, dtype: int) -> float:
    return _content(memoryview((item & 0xFFFF).to_bytes(2, "little")), dtype if dtype in (BFLOAT16, HALF) else HALF)


# How one item of a *_val field becomes a number; every other field holds signed varints
_READ: dict[int, Callable[..., float]] = {
    5: lambda item, _: struct.unpack("<f", item)[0],
    6: lambda item, _: struct.unpack("<d", item)[0],
    11: lambda item, _: float(bool(item)),
    13: _half,
    16: lambda item, _: float(item),
    17: lambda item, _: float(item),
}
