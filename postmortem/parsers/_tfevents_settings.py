"""Takes configuration values out of event files: the hparams plugin, and texts that are plainly a table or a JSON object."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator

from postmortem.parsers._literals import flattened, literal, shortened
from postmortem.parsers._protobuf import BYTES, FIXED64, VARINT, Malformed, fields, text

_SUFFIX = "/text_summary"  # torch.utils.tensorboard adds it to the tag of every text
_RULER = re.compile(r"^[\s|:\-]+$")
_MOST_ROWS = 2000


def hparams(content: memoryview) -> Iterator[tuple[str, object]]:
    """Names and values of the hyperparameters in an HParamsPluginData message (field 3, SessionStartInfo, holds a map of them)."""
    try:
        for number, wire, value in fields(content):
            if number == 3 and wire == BYTES and isinstance(value, memoryview):
                for inner, kind, entry in fields(value):
                    if inner == 1 and kind == BYTES and isinstance(entry, memoryview):
                        yield from _entry(entry)
    except Malformed:
        return


def _entry(entry: memoryview) -> Iterator[tuple[str, object]]:
    """One map entry: key, and a google.protobuf.Value (number, string or bool)."""
    name, value = "", None
    for number, wire, item in fields(entry):
        if number == 1 and wire == BYTES:
            name = text(item)
        elif number == 2 and isinstance(item, memoryview):
            for inner, kind, leaf in fields(item):
                if inner == 2 and kind == FIXED64:
                    (value,) = struct.unpack("<d", leaf)  # type: ignore[arg-type]
                elif inner == 3 and kind == BYTES:
                    value = shortened(text(leaf))
                elif inner == 4 and kind == VARINT:
                    value = bool(leaf)
    if name:
        yield shortened(name), value


def from_text(tag: str, words: str) -> Iterator[tuple[str, object]]:
    """Settings in a text summary: rows of a Markdown table of two columns, or the leaves of a JSON object. Any other text has none."""
    stem = tag.removesuffix(_SUFFIX)
    body = words.strip()
    if body.startswith("{"):
        try:
            # a JSON object of its own name (a model's config beside the arguments) keeps that name in front
            yield from flattened(json.loads(body), "" if re.search("arg|param|config$|^cfg", stem) else shortened(stem))
        except (ValueError, RecursionError):
            return
    elif body.startswith("|"):
        rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in body.splitlines()[:_MOST_ROWS]]
        lines = body.splitlines()
        if len(lines) > 2 and _RULER.match(lines[1]) and all(len(row) == 2 for row in rows):
            yield from ((shortened(row[0]), literal(row[1])) for row in rows[2:] if row[0])
