"""A dump of a tool, read as in a run, and what it says of each card."""

from __future__ import annotations

from pathlib import Path

from postmortem import frame, parsers
from postmortem.model import Reading
from postmortem.parsers.base import Request, SourceFile


def read(tmp_path: Path, name: str, text: str) -> Reading:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    source = SourceFile(path, name, path.stat().st_size, path.read_bytes()[:65536])
    parser = parsers.claim(source)
    assert parser is not None
    return parser.read(source, Request())


def told(reading: Reading) -> dict[tuple[str, int | None], list[float]]:
    """(canonical metric, device) -> values, out of the unified frame."""
    found: dict[tuple[str, int | None], list[float]] = {}
    for metric, device, value in frame.assemble([reading]).select("metric", "device", "value").rows():
        found.setdefault((metric, device), []).append(value)
    return found
