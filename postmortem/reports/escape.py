"""Text from a run made harmless: control and invisible characters become visible escapes, long names lose their middle."""

from __future__ import annotations

import re

# Colours and "erase to end of line" are ordinary in logs and say nothing: they go. Every other escape sequence is shown.
_COLOUR = re.compile("\x1b\\[[0-9;:]*[mK]")

# Unicode categories Cc (without tab and newline), Cf, Cs, Zl and Zp: what a reader cannot see, what moves the cursor, what turns the
# direction of writing, and halves of UTF-16 pairs that no UTF-8 file may hold.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f]"
)

# A build server reads "::error ..." at the start of a line (after any blanks), and "##[...]" anywhere, as commands to itself
# (actions/runner, ActionCommand.cs).
_ORDER = re.compile(r"(?m)^(\s*):(?=:)|#(?=#\[)")
ORDER = "##["

MARK = "…"


def uncoloured(text: str) -> str:
    """Text without ANSI colours. What is left of a broken sequence stays and is shown by `visible`."""
    return _COLOUR.sub("", text)


def visible(text: str) -> str:
    r"""Text in which nothing can act: `\x1b`, `\u202e` and the like are spelled out one by one; carriage returns break the line."""
    return _INVISIBLE.sub(_spell, text.replace("\r\n", "\n").replace("\r", "\n"))


def no_orders(text: str) -> str:
    """Text that may be printed in a build: a blank breaks what the server would take for a command."""
    return _ORDER.sub(lambda match: match[0] + " ", text)


def one_line(text: str) -> str:
    r"""`visible` text on one line: line breaks become `\n`, tabs a blank."""
    return visible(text).strip("\n").replace("\n", "\\n").replace("\t", " ")


def middle(text: str, length: int) -> str:
    """Text of at most `length` characters: a longer one loses its middle."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return text[: length - 1 - tail] + MARK + text[len(text) - tail :]


def capped(text: str, length: int, missing: int = 0) -> str:
    """Text of at most about `length` characters, which says how many were left out of its middle, `missing` of them before."""
    if len(text) <= length:
        return text
    tail = length // 4
    return f"{text[: length - tail]} {MARK} [{len(text) - length + missing:,} characters left out] {MARK} {text[-tail:]}"


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
