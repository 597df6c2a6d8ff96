"""A piece of an event file in memory, and the records that lie in it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

HEADER = struct.Struct("<QI")
FRAME = 16  # bytes of a record besides its data
_SLACK = 64  # bytes behind the buffer, so that a look at 8 bytes never leaves it


class Window:
    """A stretch of the file in memory, seen at every byte offset as numbers of several widths."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray(capacity + _SLACK)
        self.bytes = memoryview(self.data)
        self.u8 = np.frombuffer(self.data, np.uint8)
        self.u16, self.u32, self.u64 = (self._view(kind) for kind in ("<u2", "<u4", "<u8"))
        self.f32, self.f64 = self._view("<f4"), self._view("<f8")

    def bits(self, width: int) -> np.ndarray:
        """The unsigned integers of 2, 4 or 8 bytes that begin at every offset."""
        return {2: self.u16, 4: self.u32, 8: self.u64}[width]

    def _view(self, kind: str) -> np.ndarray:
        return np.ndarray((self.capacity + _SLACK - 8,), kind, buffer=self.data, strides=(1,))


@dataclass(slots=True)
class Chunk:
    """Whole records in the window: offsets of their data, lengths and numbers in the file (n,) int64."""

    window: Window
    starts: np.ndarray
    lengths: np.ndarray
    lines: np.ndarray

    @property
    def count(self) -> int:
        """Records in all."""
        return len(self.starts)

    def only(self, which: np.ndarray) -> Chunk:
        """Some of its records, by a mask or by their indices."""
        return Chunk(self.window, self.starts[which], self.lengths[which], self.lines[which])


def joined(window: Window, chunks: list[Chunk]) -> Chunk:
    """The records of several chunks of one window as one."""
    columns = ((one.starts, one.lengths, one.lines) for one in (Chunk(window, *np.empty((3, 0), np.int64)), *chunks))
    return Chunk(window, *(np.concatenate(column) for column in zip(*columns, strict=True)))
