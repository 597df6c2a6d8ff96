"""JSON as loggers really write it: bare NaN, `14.5%`, Python's own quotes, numbers too long to hold, files cut in the middle."""

from __future__ import annotations

import bisect
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from postmortem.model import Reading
from postmortem.parsers._columns import clean, number
from postmortem.parsers._textblocks import text_of, whole
from postmortem.parsers.base import HEAD_BYTES, SourceFile

TOO_DEEP = "nested too deeply"
DEEPEST = 200  # levels of nesting that are followed
DOCUMENT_BYTES = 48 * 1024 * 1024  # a larger JSON document is read only this far

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+|"')
_LOOSE = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")|(?P<single>'(?:[^'\\]|\\.)*')|(?P<percent>(?<=[\d.])\s?%)|(?P<comma>,(?=\s*[\]}]))"""
    r"""|(?P<wrap>(?<!\.)\b[A-Za-z_][\w.]*+\((?P<inner>[^()\[\]]*)\))|(?P<word>[-+]?\b(?:nan|NaN|NAN|inf|Inf|INF|Infinity|None|True|False|undefined)\b)"""
    r"""|(?P<plus>(?<![\w.])\+(?=\d))|(?P<dot>(?<![\w.])-?\.(?=\d))|(?P<tail>(?<=\d)\.(?![\d\w]))"""
)
_WORDS = {"nan": "NaN", "inf": "Infinity", "infinity": "Infinity", "none": "null", "undefined": "null", "true": "true", "false": "false"}


def loads(text: str) -> Any:
    """The value of a JSON text. Tries the strict reader first, then mends the usual deviations. Raises ValueError where neither helps."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except ValueError:
        pass
    try:
        return json.loads(mend(text), parse_int=_long_integer)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def _long_integer(digits: str) -> int | float:
    """An integer of thousands of digits is no number anyone logged: it becomes infinite, as a float would."""
    return int(digits) if len(digits) < 400 else float(digits)


def mend(text: str) -> str:
    """Python literals, percent signs, bare nan and trailing commas turned into JSON; strings stay as they are."""
    return _LOOSE.sub(_mended, text)


def _mended(found: re.Match[str]) -> str:
    kind, token = found.lastgroup, found.group()
    if found.group("wrap"):  # tensor(0.25), np.float64(1.0): the number inside, else the whole thing as a string
        inner = found.group("inner").split(",")[0].strip()
        value = number(inner)
        return inner if value is not None and inner[:1] in "-0123456789" and inner[-1:].isdigit() else json.dumps(token)
    if kind == "single":
        return json.dumps(re.sub(r"\\(['\\])", r"\1", token[1:-1]))
    if kind == "word":
        sign = "-" if token[0] == "-" and token.lower() not in ("-nan",) else ""
        return sign + _WORDS[token.lstrip("+-").lower()]
    if kind in ("percent", "comma", "plus", "tail"):
        return ""
    if kind == "dot":
        return token[:-1] + "0."
    return token


def scan(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, token) of each token: strings, brackets, colons, commas, bare words."""
    for found in _TOKEN.finditer(text):
        yield found.start(), found.end(), found.group()


def close_cut(text: str, *, half_strings: bool = False) -> str:
    """A JSON text that ends too early, cut back to its last whole element and closed: everything before the cut is kept.

    With `half_strings` a value that is a text cut in the middle is kept as far as it goes.
    """
    stack: list[str] = []
    safe, closers = 0, ""
    for start, end, token in scan(text):
        if token in "{[":
            stack.append("}" if token == "{" else "]")
            safe, closers = end, "".join(reversed(stack))
        elif token in "}]":
            if not stack or stack.pop() != token:
                break
            safe, closers = end, "".join(reversed(stack))
            if not stack:
                break
        elif token == ",":
            safe, closers = start, "".join(reversed(stack))
        elif token == '"':  # a text that never ends
            if half_strings and text[:start].rstrip()[-1:] == ":":
                return text.rstrip("\\") + '"' + closers
            break
        if len(stack) > DEEPEST:
            break
    return text[:safe] + closers


def values(text: str) -> Iterator[tuple[int, int, Any]]:
    """(start, end, value) of each JSON value of a text that holds several one after the other."""
    decoder = json.JSONDecoder()
    at, size = 0, len(text)
    while at < size:
        while at < size and text[at] in " \n\t,":
            at += 1
        if at >= size:
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield at, end, value
        at = end


@functools.lru_cache(maxsize=4)
def peek(head: bytes) -> Any:
    """The value that the first bytes of a JSON document begin to say (cut off where they end); None where they are no JSON document.

    The same head is asked for by several parsers: the answer is kept. Nobody may change it.
    """
    text = text_of(head).lstrip()
    if text[:1] not in ("{", "["):
        return None
    try:
        # A head as long as heads can be is most likely cut: mending it as a whole would be work for nothing.
        return loads(text) if len(head) < HEAD_BYTES else json.loads(text)
    except (ValueError, RecursionError):
        pass
    first = next(values(text), None)
    if first is not None:
        return first[2]
    try:
        return loads(close_cut(text, half_strings=True))
    except ValueError:
        return salvage(text)[0]


def salvage(text: str) -> tuple[Any, int]:
    """(value, position of the damage) of a broken JSON text: everything that stands whole before the damage. (None, 0): nothing does."""
    mended = mend(text)
    end = len(mended)
    for _ in range(2):  # first cut where the strict reader stumbles; closing what is open there can uncover one more fault
        try:
            json.loads(mended[:end])
        except json.JSONDecodeError as error:
            end = min(end, error.pos)
        except (ValueError, RecursionError):
            pass  # a number or a depth that Python refuses: close_cut stops at the depth, loads mends the number
        try:
            return loads(close_cut(mended[:end])), end
        except ValueError:
            end = max(mended.rfind(",", 0, end), 0)
    return None, 0


def is_whole(head: bytes) -> bool:
    """Whether the first bytes are one whole and strict JSON document."""
    if head.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        json.loads(text_of(head))
    except (ValueError, RecursionError):
        return False
    return True


def document(text: str) -> tuple[Any, str]:
    """(value, what was wrong with it) of a whole JSON document; "" is nothing wrong. (None, why) where nothing could be read."""
    try:
        return loads(text), ""
    except ValueError as error:
        why = str(error)[:120]
    found = list(_some(values(text), 2))
    if len(found) == 1 and isinstance(found[0][2], dict | list) and found[0][2]:
        return found[0][2], "text after the end of the document"
    value, end = salvage(text)
    if not value:
        return None, why
    if why == TOO_DEEP:
        return value, why
    if not text[end:].strip():
        return value, "the file ends in the middle: what stands before is read"
    return value, f"broken at line {text.count(chr(10), 0, end) + 1}: what stands before is read"


def read_document(source: SourceFile, reading: Reading) -> tuple[Any, str]:
    """(value, text) of a file that is one JSON document; what was wrong with it, or that it is too large, is told in the reading."""
    text, more = whole(source.path, source.head, DOCUMENT_BYTES)
    value, wrong = document(text)
    if wrong or more:
        reading.rejected += 1
        reading.notes.append(f"only the first {DOCUMENT_BYTES >> 20} MB are read" if more else wrong)
    return value, text


def _some(found: Iterator[Any], count: int) -> Iterator[Any]:
    for _, item in zip(range(count), found, strict=False):
        yield item


def flatten(
    value: dict[str, Any], separator: str = "/", skip: frozenset[str] = frozenset(), list_limit: int = 0
) -> Iterator[tuple[str, Any]]:
    """(joined key, scalar or list) of a nested dict, without recursion; the keys in `skip` are left out at the top.

    Lists of at most `list_limit` items that hold dicts are followed too, their items named by number.
    """
    stack: list[tuple[str, Iterator[tuple[Any, Any]]]] = [("", iter(value.items()))]
    while stack:
        prefix, items = stack[-1]
        pair = next(items, None)
        if pair is None:
            stack.pop()
            continue
        key, item = pair
        if not prefix and key in skip:
            continue
        name = f"{prefix}{key}"
        if isinstance(item, list) and 0 < len(item) <= list_limit and any(isinstance(part, dict) for part in item):
            item = {str(number): part for number, part in enumerate(item)}
        if isinstance(item, dict):
            scalar = unpickled(item)
            if scalar is not None:
                yield name, scalar
            elif len(stack) < DEEPEST:
                stack.append((name + separator, iter(item.items())))
        else:
            yield name, item


def unpickled(item: dict[str, Any]) -> float | None:
    """The number in a NumPy scalar that jsonpickle wrote ({"py/object": "numpy.float64", "value": 0.5}), None for anything else."""
    value = item.get("value")
    if "py/object" in item and isinstance(value, int | float) and not isinstance(value, bool):
        return as_float(value)
    return None


def as_float(value: object) -> float | None:
    """A JSON value as a number: numbers, booleans and strings that spell a number ("3.21", as fairseq writes them); else None."""
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    if isinstance(value, str):
        return number(value) if len(value) < 40 else None
    return unpickled(value) if isinstance(value, dict) else None


class Lines:
    """Line numbers of places in a text."""

    def __init__(self, text: str) -> None:
        self._breaks = [found.start() for found in re.finditer("\n", text)]

    def __getitem__(self, position: int) -> int:
        return bisect.bisect_left(self._breaks, position) + 1


def item_places(text: str, start: int) -> list[int]:
    """The position of each item of the list whose "[" stands at `start`."""
    places: list[int] = []
    depth, fresh = 0, False
    for found in _TOKEN.finditer(text, start):
        token = found.group()
        if depth == 1 and fresh and token != "]":
            places.append(found.start())
            fresh = False
        if token in "[{":
            depth += 1
            fresh = fresh or depth == 1
        elif token in "]}":
            depth -= 1
            if depth <= 0:
                break
        elif token == "," and depth == 1:
            fresh = True
    return places


def place_of(text: str, key: str, after: int = 0) -> int:
    """The position of the value of `key` ("key": VALUE), at or after a position; -1 where there is none."""
    found = re.compile(re.escape(json.dumps(key)) + r"\s*:\s*").search(text, after)
    return found.end() if found else -1


def lines_of_items(text: str, key: str, count: int, lines: Lines) -> list[int]:
    """The line of each of `count` items of the list under `key`; the record number where the text does not show them."""
    at = place_of(text, key)
    if at >= 0 and text[at : at + 1] == "[":
        places = item_places(text, at)
        if len(places) == count:
            return [lines[place] for place in places]
    return list(range(1, count + 1))


def short(value: object, limit: int = 4000) -> str:
    """A value as text for an event."""
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, default=str)
        except (ValueError, RecursionError, TypeError):
            value = str(type(value).__name__)
    return clean(value, limit)
