r"""Mends a log before it is cut into lines: colour codes go, and a dictionary that was printed over several lines becomes one line.

A code may stand inside a number ("\x1b[1m12\x1b[0m.5", as rich prints it) or between a sign and its digits; where it stands
must not make another shape. Codes that put the cursor elsewhere begin a new segment or leave a blank, as they do on a screen.

`pprint`, `rich` and `json.dumps(indent=2)` print `{'loss': 2.5,` and below it ` 'step': 10}`: the counters of a dictionary hold for
all of it, so its lines are put together with WRAP between them, which counts as a line end wherever lines are numbered.
"""

from __future__ import annotations

import re

import numpy as np

WRAP = "\x0b"  # stands where a line end was; a log that has this character itself gets a blank for it

_COLOURS = r"(?:\x1b\[[0-9;]*[mK])*"
_MOVED = rf"\x1b\[(?:\d*[AFH]|[01]?G){_COLOURS}(?=[^\s\x1b])"  # up a line, to the top, to the first column: text begins anew
_SKIPPED = r"\x1b\[\d*[CG](?=[^\s\x1b])"  # blanks that a console draws by moving the cursor to the right
_CODE = r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07\x1b\r\n]*(?:\x07|\x1b\\)|[()][A-Z0-9])"
# One key of a dictionary below the line where it began, and a dictionary of such lines. None of its values is a list or a
# dictionary: the innermost ones are put together, each for itself, for each of them may have a "loss".
_KEY = r"\n[ \t]++(?:'[^'\n]{1,80}'|\"[^\"\n]{1,80}\")\s?:"
_DICTIONARY = rf"\{{[^{{}}\[\]\n]{{0,400}}+(?:{_KEY}[^{{}}\[\]\n]{{1,400}}+){{1,60}}+(?:\n[ \t]*+)?\}}"

_LONGEST = 24  # parameters of a colour code ("38;2;120;120;120") that are looked at together
_PARAMETERS = np.array([chr(byte) in "0123456789;?" for byte in range(256)])
_WRAP = WRAP.encode()
_CODES = [(re.compile(text), gap) for text, gap in ((_MOVED, "\r"), (_SKIPPED, " "), (_CODE, ""))]
_BYTE_CODES = [(re.compile(text.encode()), gap.encode()) for text, gap in ((_MOVED, "\r"), (_SKIPPED, " "), (_CODE, ""))]
_KEYS, _DICTIONARIES = re.compile(_KEY), re.compile(_DICTIONARY)
_BYTE_KEYS, _BYTE_DICTIONARIES = re.compile(_KEY.encode()), re.compile(_DICTIONARY.encode())


def uncoloured(text: str) -> str:
    """The text without colour codes; where they moved the cursor stands a line break or a blank."""
    if "\x1b" in text:
        for code, gap in _CODES:
            text = code.sub(gap, text)
    return text


def mended(text: str) -> str:
    """The text as it is to be cut into lines."""
    text = uncoloured(text)
    if WRAP in text:
        text = text.replace(WRAP, " ")
    if "{" in text and ("\n " in text or "\n\t" in text) and _KEYS.search(text):
        text = _DICTIONARIES.sub(lambda match: match[0].replace("\n", WRAP), text)
    return text


def _without_colours(chunk: bytes) -> bytes:
    """The chunk without its codes, where all of them are colours or clear the rest of the line; else as it is. As fast as the rest."""
    codes = np.frombuffer(chunk + b"\n" * (_LONGEST + 3), np.uint8)
    begin = np.flatnonzero(codes == 27)
    if bool((codes[begin + 1] != ord("[")).any()):
        return chunk
    end = begin + 2
    for _ in range(_LONGEST):
        more = _PARAMETERS[codes[end]]
        if not more.any():
            break
        end += more
    if not bool(((codes[end] == ord("m")) | (codes[end] == ord("K"))).all()):
        return chunk
    edges = np.zeros(len(codes), np.int8)
    edges[begin] += 1
    edges[end + 1] -= 1
    return codes[np.cumsum(edges, dtype=np.int8) == 0].tobytes()[: -(_LONGEST + 3)]


def mended_bytes(chunk: bytes) -> bytes:
    """`mended` for the bytes of whole lines."""
    if b"\x1b" in chunk:
        chunk = _without_colours(chunk)
    if b"\x1b" in chunk:
        for code, gap in _BYTE_CODES:
            chunk = code.sub(gap, chunk)
    if _WRAP in chunk:
        chunk = chunk.replace(_WRAP, b" ")
    if b"{" in chunk and (b"\n " in chunk or b"\n\t" in chunk) and _BYTE_KEYS.search(chunk):
        chunk = _BYTE_DICTIONARIES.sub(lambda match: match[0].replace(b"\n", _WRAP), chunk)
    return chunk
