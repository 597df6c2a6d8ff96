"""Reads NumPy files that hold one curve: np.save("train_loss.npy", losses). The header is read by us, and objects in it stay closed."""

from __future__ import annotations

import re
import struct

import numpy as np

from postmortem.model import Reading
from postmortem.parsers._literals import python_literal
from postmortem.parsers._records import is_metric_name
from postmortem.parsers._table import Rows, Table, finish
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "arrays"
ABOUT = "NumPy files (.npy) of one dimension that are called like a metric: one series, its name that of the file."

MAGIC = b"\x93NUMPY"
_KINDS = re.compile(r"[<>|=][fiu][1248]")  # plain numbers; anything else may hold objects, which are pickles
_LONGEST_HEADER = 4096
_MOST = 4_000_000  # values that are read
_CHUNK = 1 << 16  # values that are read at a time


def claims(source: SourceFile) -> float:
    """Sure of a curve under a metric's name; any other array is data and is only named."""
    return SURE if is_metric_name(_stem(source).replace("losses", "loss")) and _shape(source.head) else NO


def _stem(source: SourceFile) -> str:
    return source.basename.removesuffix(".npy")


def _shape(head: bytes) -> tuple[np.dtype, int, int] | None:
    """(type, number of values, byte at which they begin) of an array of one dimension of numbers; None for any other."""
    if not head.startswith(MAGIC) or len(head) < 12:
        return None
    size, begin = (struct.unpack_from("<H", head, 8)[0], 10) if head[6] == 1 else (struct.unpack_from("<I", head, 8)[0], 12)
    if size > _LONGEST_HEADER:
        return None
    if b"\\" in head[begin : begin + size]:  # an escape, which NumPy does not write
        return None
    told = python_literal(head[begin : begin + size].decode("latin-1").strip())
    if not isinstance(told, dict):
        return None
    kind, shape = told.get("descr"), told.get("shape")
    if not isinstance(kind, str) or not _KINDS.fullmatch(kind) or kind[1:] == "f1":
        return None
    if not isinstance(shape, tuple) or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] < 2:
        return None
    return np.dtype(kind), shape[0], begin + size


def read(source: SourceFile, request: Request) -> Reading:
    """Every value; the line of a value is its number in the array. An array has no steps, so none are given."""
    reading = Reading(source.name, NAME)
    found = _shape(source.head)
    if found is None:
        reading.notes.append("no array of one dimension")
        return reading
    kind, count, begin = found
    table = Table()
    done = 0
    with source.path.open("rb") as file:
        file.seek(begin)
        while done < min(count, _MOST):
            data = file.read(kind.itemsize * min(_CHUNK, min(count, _MOST) - done))
            values = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind).astype(np.float64)
            if not len(values):
                break
            table.add(Rows(np.arange(done + 1, done + len(values) + 1, dtype=np.int64)), _stem(source), values)
            done += len(values)
    if done < count:
        reading.rejected += 1
        reading.notes.append(f"{done:,} of {count:,} values are read" + ("" if done == _MOST else ": the file ends before the rest"))
    finish(reading, table)
    return reading
