"""Text files as blocks of whole UTF-8 lines: any of the usual encodings, any line end, bounded memory."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

BLOCK = 8 * 1024 * 1024
LONGEST_LINE = 16 * 1024 * 1024  # a longer line is cut here; nothing that is meant to be read has one

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(head: bytes) -> str:
    """utf-8, utf-16, utf-16-le, utf-16-be, utf-32, or "" for bytes that are no text."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    sample = head[:4096]
    nuls = sample.count(0)
    if not nuls:
        return "utf-8"
    # ASCII text in UTF-16 has a zero in every second byte, and which one tells the byte order.
    odd, even = sample[1::2].count(0), sample[0::2].count(0)
    if odd > 0.4 * len(sample) and not even:
        return "utf-16-le"
    if even > 0.4 * len(sample) and not odd:
        return "utf-16-be"
    return ""


def decode(data: bytes) -> str:
    """UTF-8 where it is, else Windows-1252 with whatever is left replaced: a wrong byte never costs a line."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def text_of(head: bytes) -> str:
    """The text of the first bytes of a file with "\\n" line ends, "" where they are no text. The last line may be cut."""
    encoding = encoding_of(head)
    if not encoding:
        return ""
    if encoding == "utf-8":
        text = decode(trim(head.removeprefix(codecs.BOM_UTF8)))
    else:
        text = head[: len(head) - len(head) % 2].decode(encoding, "replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def trim(data: bytes) -> bytes:
    """Without the first bytes of a UTF-8 character that the end of the buffer cut in two."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            need = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if need > back else data
        if byte < 0x80:
            break
    return data


def blocks(path: Path, head: bytes, size: int = BLOCK) -> Iterator[bytes]:
    """The file as UTF-8 blocks that end with a line; every line end is "\\n". Reads `size` bytes at a time."""
    rest = b""
    for chunk in _chunks(path, encoding_of(head) or "utf-8", size):
        if b"\r" not in chunk and not rest.endswith(b"\r") and (cut := chunk.rfind(b"\n") + 1):
            yield b"".join((rest, memoryview(chunk)[:cut]))  # copied once
            rest = chunk[cut:]
            continue
        data = rest + chunk if rest else chunk
        # A lone "\r" at the very end may be half of "\r\n": it waits for the next chunk.
        held = b"\r" if data.endswith(b"\r") else b""
        data = data[: len(data) - len(held)]
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = data.rfind(b"\n") + 1
        if cut == 0 and len(data) > LONGEST_LINE:
            yield data + b"\n"
            rest = held
            continue
        if cut:
            yield data[:cut]
        rest = data[cut:] + held
    if rest:
        yield rest.replace(b"\r", b"\n")


def _chunks(path: Path, encoding: str, size: int) -> Iterator[bytes]:
    """The bytes of the file as UTF-8, without a byte order mark."""
    with path.open("rb") as file:
        if encoding == "utf-8":
            first = file.read(size)
            yield first.removeprefix(codecs.BOM_UTF8)
            while chunk := file.read(size):
                yield chunk
            return
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        while chunk := file.read(size):
            yield decoder.decode(chunk).removeprefix("\ufeff").encode("utf-8", "replace")
        yield decoder.decode(b"", True).encode("utf-8", "replace")


def whole(path: Path, head: bytes, limit: int) -> tuple[str, bool]:
    """The text of a file up to `limit` bytes with "\\n" line ends, and whether there was more."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    more = len(data) > limit
    data = data[:limit]
    encoding = encoding_of(head or data)
    if encoding in ("", "utf-8"):
        text = decode(trim(data.removeprefix(codecs.BOM_UTF8)) if more else data.removeprefix(codecs.BOM_UTF8))
    else:
        text = data.decode(encoding, "replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n"), more
