"""Walks thousands of TensorBoard events at once: the same field of every record is one numpy column.

Nearly all records of an event file have one layout: wall time, step, a summary with values of a tag and a number. The walk keeps
one offset per record and moves all of them field by field. A record that does not fit is marked and left to the slow decoder, so
every layout is read, and only the usual ones are fast. An offset never leaves its record: it is held at the record's end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from postmortem.frame import NO_TIME
from postmortem.parsers._tfevents_record import BFLOAT16, CONTENT, VALUE_KINDS
from postmortem.parsers._tfevents_window import Chunk, Window

_LONGEST_TAG = 1024  # bytes; a longer one is read by the slow decoder
_FEW, _MOST_ROUNDS = 32, 1000  # fewer records than this, or more values in one: the slow decoder is faster
_LATEST = 253402300800.0  # seconds: the year 10000
LOW_BYTES = np.array([(1 << (8 * count)) - 1 for count in range(8)] + [(1 << 64) - 1], np.uint64)
_TENSOR_TYPES = (1, 2, 3, 9, 14, 19)  # float, double, int32, int64, bfloat16, half
# Tags (field number and wire type) as they stand in the bytes
_WALL, _STEP, _SUMMARY, _VALUE, _TAG, _SIMPLE, _TENSOR, _METADATA = 0x09, 0x10, 0x2A, 0x0A, 0x0A, 0x15, 0x42, 0x4A
_BLOBS = {8 * number + 2: kind for number, kind in VALUE_KINDS.items()}


class Tags:
    """Tag names as small numbers. Fast records are looked up by a hash of the name, slow ones by the name itself."""

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self._ids: dict[bytes, int] = {}
        self._hashes, self._hash_ids = np.empty(0, np.uint64), np.empty(0, np.int64)

    def number(self, name: bytes) -> int:
        """The number of a tag, a new one where it is new."""
        if (known := self._ids.get(name)) is None:
            known = self._ids[name] = len(self.names)
            self.names.append(name)
        return known

    def numbers(self, window: Window, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """The numbers (n,) of tags that lie in the window at these offsets with these lengths (n,)."""
        hashes = _hash(window, starts, sizes)
        place = np.searchsorted(self._hashes, hashes)
        place[place == len(self._hashes)] = 0
        new = self._hashes[place] != hashes if len(self._hashes) else np.ones(len(hashes), bool)
        if new.any():
            fresh, first = np.unique(hashes[new], return_index=True)
            where = np.flatnonzero(new)[first]
            places = zip(starts[where].tolist(), sizes[where].tolist(), strict=True)
            ids = [self.number(bytes(window.bytes[start : start + size])) for start, size in places]
            self._hashes, self._hash_ids = np.concatenate([self._hashes, fresh]), np.concatenate([self._hash_ids, np.array(ids, np.int64)])
            order = np.argsort(self._hashes)
            self._hashes, self._hash_ids = self._hashes[order], self._hash_ids[order]
            place = np.searchsorted(self._hashes, hashes)
        return self._hash_ids[place]


def _hash(window: Window, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """A 64-bit hash of n byte strings, eight bytes at a time: multiply and shift, with the odd constants of xxHash."""
    hashes = sizes.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    last = len(window.u64) - 1
    for at in range(0, int(sizes.max()) if len(sizes) else 0, 8):
        words = window.u64[np.minimum(starts + at, last)] & LOW_BYTES.take(np.clip(sizes - at, 0, 8))
        hashes = (hashes ^ words) * np.uint64(0x9E3779B185EBCA87)
        hashes ^= hashes >> np.uint64(29)
    return hashes


@dataclass(slots=True)
class Columns:
    """Scalars of a chunk, one row each: index of the record, wall time (s), step, number of the tag, value and where it lies."""

    record: np.ndarray
    wall: np.ndarray
    step: np.ndarray
    tag: np.ndarray
    value: np.ndarray
    at: np.ndarray  # offset of the value in the window
    kind: np.ndarray  # its DataType
    unread: np.ndarray  # (records,) bool: left to the slow decoder, no row here
    blobs: list[tuple[str, np.ndarray]]  # (kind, indices of records) of what holds no number


@dataclass(slots=True)
class _Cursor:
    """One offset per record, the end it may not pass, and whether everything fitted so far."""

    window: Window
    at: np.ndarray
    end: np.ndarray
    fits: np.ndarray

    def byte(self) -> np.ndarray:
        return self.window.u8.take(self.at)

    def expect(self, byte: int) -> None:
        self.fits &= self.byte() == byte

    def move(self, by: np.ndarray | int) -> None:
        self.at = self.at + by
        self.fits &= self.at <= self.end
        self.at = np.minimum(self.at, self.end)

    def varint(self, before: int = 1) -> np.ndarray:
        """Step over a tag byte (`before`) and read the number behind it (n,) int64; more than 8 bytes do not fit."""
        self.move(before)
        if (small := self.byte()).max(initial=0) < 128:
            self.move(1)
            return small.astype(np.int64)
        value, size = varints(self.window.u64[self.at])
        self.fits &= size > 0
        self.move(size)
        return value


def varints(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and their sizes in bytes, of the shape of the words, which are the eight bytes that each begins with.

    The size is 0 where eight bytes are not enough.
    """
    ends = ~words & np.uint64(0x8080808080808080)  # the byte without its top bit is the last one
    lowest = ends & (~ends + np.uint64(1))
    size = ((np.log2(np.maximum(lowest, np.uint64(1)).astype(np.float64)) + 1) / 8).astype(np.int64)  # exact: powers of two
    return septets(words & (lowest | (lowest - np.uint64(1))), int(size.max(initial=1))), size


def septets(words: np.ndarray, most: int) -> np.ndarray:
    """The numbers (int64, any shape) that the lower seven bits of at most so many bytes make; bytes behind a number are 0."""
    value = words & np.uint64(0x7F)
    for place in range(1, most):
        value |= (words >> np.uint64(place)) & np.uint64(0x7F << (7 * place))
    return value.view(np.int64)


def nothing(records: int) -> Columns:
    """No scalars: all of so many records are left to the slow decoder."""
    none = np.empty(0, np.int64)
    return Columns(none, np.empty(0), none, none, np.empty(0), none, none, np.ones(records, bool), [])


@np.errstate(invalid="ignore")  # a signalling NaN in a file is a NaN like any other
def walk(chunk: Chunk, tags: Tags, few: int = _FEW) -> Columns:
    """All scalars of the records that have a usual layout. From the second value on, less than `few` records are left unread."""
    window, count = chunk.window, len(chunk.starts)
    cursor = _Cursor(window, chunk.starts, chunk.starts + chunk.lengths, np.ones(count, bool))
    cursor.expect(_WALL)
    wall = window.f64[cursor.at + 1]
    cursor.move(9)
    stepped = cursor.byte() == _STEP
    if stepped.all():
        step = cursor.varint()
    else:
        value, size = varints(window.u64[cursor.at + 1])
        cursor.fits &= ~stepped | (size > 0)
        step = np.where(stepped, value, 0)
        cursor.move(np.where(stepped, size + 1, 0))
    cursor.expect(_SUMMARY)
    size = cursor.varint()
    cursor.fits &= cursor.at + size == cursor.end
    rows, blobs = _rounds(cursor, tags, few)
    read = cursor.fits
    record, tag, at, kind = np.concatenate([np.empty((4, 0), np.int64), *rows], axis=1)
    if not read.all():
        record, tag, at, kind = (column[read[record]] for column in (record, tag, at, kind))
    value = np.empty(len(at))
    for code in np.flatnonzero(np.bincount(kind)).tolist():
        same = kind == code
        value[same] = numbers(window.bits(width(code))[at[same]], code)
    blobs = [(name, records[read[records]]) for name, records in blobs]
    return Columns(record, wall[record], step[record], tag, value, at, kind, ~read, blobs)


def _rounds(cursor: _Cursor, tags: Tags, few: int) -> tuple[list[tuple[np.ndarray, ...]], list[tuple[str, np.ndarray]]]:
    """The first value of every record, then the second of those that have one, and so on.

    Returns columns (record, tag, offset, DataType) of scalars and the records of each kind of blob; records that fail lose their `fits`.
    """
    rows: list[tuple[np.ndarray, ...]] = []
    blobs: list[tuple[str, np.ndarray]] = []
    active = np.flatnonzero(cursor.fits)
    at, end = cursor.at[active], cursor.end[active]
    for turn in range(_MOST_ROUNDS):
        if not len(active) or (turn and len(active) < few):
            break
        one = _Cursor(cursor.window, at, end, np.ones(len(active), bool))
        after, tag, place, kind = _one_value(one, tags)
        scalar = one.fits & (kind > 0)
        rows.append((active[scalar], tag[scalar], place[scalar], kind[scalar]) if not scalar.all() else (active, tag, place, kind))
        blobs += [(name, active[one.fits & (kind == -code)]) for code, name in _BLOBS.items() if (kind == -code).any()]
        cursor.fits[active[~one.fits]] = False
        more = one.fits & (after < end)
        active, at, end = active[more], after[more], end[more]
    cursor.fits[active] = False
    return rows, blobs


def _one_value(cursor: _Cursor, tags: Tags) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One Summary.Value of every record: the offset after it, number of its tag, offset of its number, and DataType of that.

    Where it is a blob, its code with a minus stands in the place of the DataType.
    """
    window = cursor.window
    cursor.expect(_VALUE)
    size = cursor.varint()
    after = cursor.at + size
    cursor.fits &= after <= cursor.end
    cursor.end = after = np.minimum(after, cursor.end)
    cursor.expect(_TAG)
    tag_size = cursor.varint()
    tag_at = cursor.at
    cursor.fits &= tag_size <= _LONGEST_TAG
    cursor.move(tag_size)
    cursor.fits &= cursor.at < after
    code = cursor.byte()
    simple = (code == _SIMPLE) & (cursor.at + 5 == after)
    place, kind = cursor.at + 1, np.ones(len(code), np.int64)
    if not simple.all():
        other = np.flatnonzero(~simple & cursor.fits)
        fits, place[other], kind[other] = _tensor_or_blob(window, cursor.at[other], after[other], code[other])
        cursor.fits[other[~fits]] = False
    named = np.flatnonzero(cursor.fits & (kind > 0))
    tag = np.zeros(len(code), np.int64)
    if len(named) == len(tag):
        tag = tags.numbers(window, tag_at, tag_size)
    elif len(named):
        tag[named] = tags.numbers(window, tag_at[named], tag_size[named])
    return after, tag, place, kind


def _tensor_or_blob(window: Window, at: np.ndarray, end: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values that are no simple_value: whether they are understood, and offset and DataType of the number or the code of the blob."""
    cursor = _Cursor(window, at, end, np.ones(len(at), bool))
    blob = np.isin(code, list(_BLOBS))
    size = cursor.varint()
    body = cursor.at
    cursor.move(size)
    _metadata(cursor)
    tensor = np.flatnonzero((code == _TENSOR) & cursor.fits)
    place, kind = at.copy(), np.where(blob, -code.astype(np.int64), 0)
    if len(tensor):
        place[tensor], kind[tensor] = _tensor(window, body[tensor], body[tensor] + size[tensor])
    return cursor.fits & (kind != 0), place, kind


def _metadata(cursor: _Cursor) -> None:
    """Step over the metadata that may follow a value; nothing else may."""
    left = np.flatnonzero(cursor.fits & (cursor.at < cursor.end))
    if len(left):
        rest = _Cursor(cursor.window, cursor.at[left], cursor.end[left], np.ones(len(left), bool))
        rest.expect(_METADATA)
        rest.move(rest.varint())
        cursor.fits[left[~rest.fits | (rest.at < rest.end)]] = False


def _tensor(window: Window, at: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tensors that hold one number in their tensor_content, float_val or double_val: its offset and DataType (0: no such tensor)."""
    cursor = _Cursor(window, at, end, np.ones(len(at), bool))
    cursor.expect(0x08)  # dtype
    dtype = window.u8[at + 1].astype(np.int64)
    cursor.move(2)
    cursor.move(np.where(window.u16[cursor.at] == 0x0012, 2, 0))  # a shape without dimensions
    code, size = cursor.byte(), window.u8[cursor.at + 1]
    place, found = cursor.at + 1, np.zeros(len(at), np.int64)
    for kind in _TENSOR_TYPES:
        packed = (code == 0x22) | (((code == 0x2A) & (kind == 1)) | ((code == 0x32) & (kind == 2)))
        packed &= (size == width(kind)) & (cursor.at + 2 + width(kind) == end)
        single = (code == {1: 0x2D, 2: 0x31}.get(kind, 0)) & (cursor.at + 1 + width(kind) == end)
        this = cursor.fits & (dtype == kind)
        found[this & (packed | single)] = kind
        place[this & packed] += 1  # behind the size of the packed bytes
    return place, found


def microseconds(wall: np.ndarray) -> np.ndarray:
    """Seconds (of any shape) as int64 microseconds; NO_TIME for what is no time after 1970 and before the year 10000."""
    sane = (wall > 0) & (wall < _LATEST)
    return np.where(sane, np.rint(np.where(sane, wall, 0.0) * 1e6).astype(np.int64), NO_TIME)


def width(kind: int) -> int:
    """Bytes of one number of a DataType."""
    return np.dtype(CONTENT[kind]).itemsize


def numbers(bits: np.ndarray, kind: int) -> np.ndarray:
    """Numbers of one DataType from their bits (n,), unsigned integers of its width, as float64."""
    if kind == BFLOAT16:
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    return bits.view(CONTENT[kind]).astype(np.float64)
