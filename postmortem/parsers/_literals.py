"""Turns the text of a configuration value into the number, truth value or text that it stands for."""

from __future__ import annotations

import ast
import reprlib
import warnings
from collections.abc import Iterator, Mapping

LONGEST = 500  # characters of a value that are kept
_WORDS = {"true": True, "false": False, "none": None, "null": None}
_MOST_DEPTH = 20  # nested mappings
# A list in a few words, however large or nested it is (aliases in YAML can make a small file a gigantic list)
_LIST = reprlib.Repr()
_LIST.maxlevel, _LIST.maxlist, _LIST.maxtuple, _LIST.maxdict, _LIST.maxstring, _LIST.maxother = 3, 40, 40, 20, 100, 100


def literal(text: str) -> object:
    """The value of a text: 3 for "3", 0.1 for "1e-1", True for "true", None for "null"; any other text is itself, shortened."""
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if len(text) <= 40 and "_" not in text:
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    return shortened(text)


def python_literal(text: str) -> object:
    """The value of a Python literal ("{'lr': 0.1}"), None where the text is none. Nothing is run, and nothing is said about the text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of "\\%" in a text: that is no matter of ours
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text that is safe to keep: at most so many characters, then an ellipsis, and no lone surrogates, which no sink can write."""
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def flattened(value: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    """Every leaf of nested mappings with its dotted key; a list is one leaf, as short text where it is long."""
    if isinstance(value, Mapping) and depth < _MOST_DEPTH:
        for name, item in value.items():
            yield from flattened(item, f"{key}.{name}" if key else str(name), depth + 1)
    elif key:
        simple = value is None or isinstance(value, bool | int | float)
        yield shortened(key), value if simple else shortened(value if isinstance(value, str) else _LIST.repr(value))
