"""Reads the wire format of protocol buffers field by field, without a schema, and never beyond the bytes it was given."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = 0, 1, 2, 3, 4, 5
_MAX_DEPTH = 64  # groups within groups; the format has been out of use since proto2

# (field number, wire type, value): the number for a varint, else the bytes of the field
Field = tuple[int, int, "int | memoryview"]


class Malformed(ValueError):
    """The bytes are no protocol buffer message."""


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The unsigned number at an offset and the offset after it. Raises Malformed where it does not end within 10 bytes."""
    value = shift = 0
    end = min(len(data), at + 10)
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise Malformed("a number without an end")


def signed(value: int) -> int:
    """An unsigned 64-bit varint as the int64 it stands for."""
    return value - (1 << 64) if value >> 63 else value


def fields(data: memoryview) -> Iterator[Field]:
    """Every field of a message in order; groups are stepped over. Raises Malformed at the first byte that does not fit."""
    at = depth = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise Malformed("field number 0")
        value: int | memoryview
        if wire == VARINT:
            value, at = varint(data, at)
        elif wire in (GROUP, GROUP_END):
            depth += 1 if wire == GROUP else -1
            if not 0 <= depth <= _MAX_DEPTH:
                raise Malformed("groups that do not match")
            continue
        else:
            value, at = _bytes(data, wire, at)
        if not depth:
            yield number, wire, value
    if depth:
        raise Malformed("a group without an end")


def _bytes(data: memoryview, wire: int, at: int) -> tuple[memoryview, int]:
    if wire == BYTES:
        size, at = varint(data, at)
    elif wire in (FIXED64, FIXED32):
        size = 8 if wire == FIXED64 else 4
    else:
        raise Malformed(f"wire type {wire}")
    if size > len(data) - at:
        raise Malformed("a field longer than its message")
    return data[at : at + size], at + size


def text(value: int | memoryview) -> str:
    """The bytes of a string field; what is not UTF-8 is replaced."""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else str(value)
