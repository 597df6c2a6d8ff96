"""Cuts a .wandb file into its records: the log format of LevelDB, 32 KB blocks of fragments with a sum each.

A fragment is: CRC-32 of type and data (zlib's polynomial), length (uint16), type (whole, first, middle or last piece of a record),
data. It never crosses a block, so whatever is damaged, the next block can be read again. The file begins with 7 bytes of its own:
":W&B", 0xBEE1 and a version (LevelDB: doc/log_format.md; the rest is read off files that wandb writes).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAGIC = b":W&B\xe1\xbe"
BLOCK = 32 * 1024
_HEADER = struct.Struct("<IHB")
_START = 7  # bytes in front of the first fragment
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_BLOCKS_A_READ = 32
_LARGEST = 64 << 20  # bytes of one record; more is left out


@dataclass(slots=True)
class RecordLog:
    """The records of one file in order. `dropped` counts fragments with a wrong sum or without their other pieces."""

    path: Path
    records: int = 0
    dropped: int = 0
    first_dropped: int | None = None  # byte offset
    cut_at: int | None = None  # byte offset at which the file ends inside a record
    _pieces: list[bytes] = field(default_factory=list)
    _size: int = 0

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        """(record number, data). A record that was lost in the middle keeps its number. Raises OSError."""
        offset = 0
        with open(self.path, "rb") as file:
            while data := file.read(BLOCK * _BLOCKS_A_READ):
                for at in range(0, len(data), BLOCK):
                    block = memoryview(data)[at : at + BLOCK]
                    yield from self._block(block, offset + at, _START if offset + at == 0 else 0)
                offset += len(data)
        if self._pieces:
            self.cut_at = self.cut_at if self.cut_at is not None else offset

    def _block(self, block: memoryview, offset: int, at: int) -> Iterator[tuple[int, memoryview]]:
        while at + _HEADER.size <= len(block):
            stored, length, kind = _HEADER.unpack_from(block, at)
            start, end = at + _HEADER.size, at + _HEADER.size + length
            if not stored and not length and not kind:
                return  # reserved and never written
            if end > len(block):
                if len(block) < BLOCK and _WHOLE <= kind <= _LAST:
                    self.cut_at = offset + len(block)
                else:
                    self._drop(offset + at)
                return
            body = block[start:end]
            if zlib.crc32(body, zlib.crc32(block[at + 6 : at + 7])) != stored:
                self._drop(offset + at)
            else:
                yield from self._fragment(kind, body, offset + at)
            at = end

    def _fragment(self, kind: int, body: memoryview, offset: int) -> Iterator[tuple[int, memoryview]]:
        """Whole records go out, pieces are kept until the last one."""
        if kind in (_WHOLE, _FIRST):
            if self._pieces:
                self._drop(offset)
            self.records += 1
            if kind == _WHOLE:
                yield self.records, body
            else:
                self._pieces, self._size = [bytes(body)], len(body)
        elif not self._pieces or self._size > _LARGEST or kind not in (_MIDDLE, _LAST):
            self._drop(offset)
        else:
            self._pieces.append(bytes(body))
            self._size += len(body)
            if kind == _LAST:
                whole, self._pieces = memoryview(b"".join(self._pieces)), []
                yield self.records, whole

    def _drop(self, offset: int) -> None:
        self.dropped += 1
        self.first_dropped = offset if self.first_dropped is None else self.first_dropped
        self._pieces = []
