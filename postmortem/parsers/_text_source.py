"""The bytes of a log as text: encodings, byte order marks, NULs, and whether every line carries a writer's label."""

from __future__ import annotations

import re

from postmortem.parsers.base import SourceFile

_CONTROL = bytes(b for b in range(32) if b not in b"\t\n\r\x1b\x08\x0c\x07")
_LABEL = re.compile(r"^\s*\d{1,5}: ?")


def decoded_head(head: bytes) -> str | None:
    """The beginning of a file as text, None where it is binary."""
    encoding = encoding_of(head)
    if encoding.startswith("utf-16"):
        text = head[: len(head) // 2 * 2].decode(encoding, "replace")
        return text if text.count("\ufffd") <= len(text) * 0.01 else None
    odd = len(head) - len(head.translate(None, _CONTROL))
    if odd > len(head) * 0.02 + (head.count(0) if head.count(0) < len(head) * 0.3 else 0):
        return None
    return head.decode(encoding, "replace")


def encoding_of(head: bytes) -> str:
    """utf-8, utf-16-le, utf-16-be or cp1252, judged by the first bytes."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16-le" if head[0] == 0xFF else "utf-16-be"
    if len(head) >= 4 and head[1::2].count(0) > 0.4 * len(head) // 2 and head[0::2].count(0) * 20 < len(head):
        return "utf-16-le"
    if len(head) >= 4 and head[0::2].count(0) > 0.4 * len(head) // 2 and head[1::2].count(0) * 20 < len(head):
        return "utf-16-be"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return "cp1252"
    return "utf-8"


def whole(source: SourceFile) -> str:
    """The whole file as text."""
    with open(source.path, "rb") as file:
        data = file.read(source.size)
    return data.decode(encoding_of(source.head), "replace").replace("\0", "").removeprefix("\ufeff")


def labelled(text: str) -> bool:
    """Does every line begin with the rank that printed it (`srun --label`)?"""
    lines = [line for line in text[:65536].splitlines() if line.strip()]
    return len(lines) >= 10 and sum(bool(_LABEL.match(line)) for line in lines) >= 0.95 * len(lines)
