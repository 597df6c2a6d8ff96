"""Reads a pickle that holds nothing but dicts, lists, texts and numbers, without unpickling it: nothing is imported, nothing is called.

The opcodes are those of Python's `pickletools`, which takes a pickle apart and runs nothing; whatever would name a class or call
something ends the reading.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

MOST_OPCODES = 5_000_000
_MARK = object()
_VALUES = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING", "SHORT_BINBYTES", "BINBYTES",
}  # fmt: skip
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_DICT": dict, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple, "MARK": lambda: _MARK,
}  # fmt: skip


class NotPlain(Exception):
    """The bytes are no pickle, are cut, or hold more than plain values."""


def load(data: bytes) -> Any:
    """The value of the pickle. Raises NotPlain."""
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MOST_OPCODES:
                raise NotPlain("too long")
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeDecodeError, AttributeError, MemoryError) as error:
        raise NotPlain(str(error)[:80]) from None
    if not machine.stack:
        raise NotPlain("empty")
    return machine.stack[-1]


class _Machine:
    """The stack and the memory that opcodes work on."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _MADE:
            self.stack.append(_MADE[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[int(argument)])
        elif name in ("APPEND", "SETITEM"):
            self._put([self.stack.pop()] if name == "APPEND" else self._last(2))
        elif name in ("APPENDS", "SETITEMS"):
            self._put(self._marked())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(tuple(self._last(int(name[-1]))))
        elif name in ("TUPLE", "LIST"):
            self.stack.append((tuple if name == "TUPLE" else list)(self._marked()))
        elif name == "DICT":
            items = self._marked()
            self.stack.append({})
            self._put(items)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise NotPlain(f"it holds more than plain values ({name})")

    def _last(self, count: int) -> list[Any]:
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def _marked(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise NotPlain("no mark")
        taken = self.stack[at + 1 :]
        del self.stack[at:]
        return taken

    def _put(self, items: list[Any]) -> None:
        holder = self.stack[-1]
        if isinstance(holder, list):
            holder.extend(items)
        else:
            for key, value in zip(items[::2], items[1::2], strict=True):
                holder[key if isinstance(key, str | int | float) else str(type(key))] = value
