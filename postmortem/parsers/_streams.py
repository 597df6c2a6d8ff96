"""Bytes that are made while they are read (unpacked, taken out of records) in place of a file, for readers that read front to back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO


class Unread:
    """Stands in for the path of a file whose bytes come from `pieces`, called anew each time it is opened."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]]) -> None:
        self._pieces = pieces

    def open(self, mode: str = "rb", buffering: int = -1) -> BinaryIO:
        """A stream of the bytes; it cannot go back."""
        return io.BufferedReader(_Stream(self._pieces()), 1 << 20)


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._rest = self._rest or next(self._pieces, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
