"""Writes the pages that come from the code: docs/rules/, docs/formats/, docs/frame.md, and the README's picture. A test fails when they drift.

python docs/generate.py          write them
python docs/generate.py --check  say which are out of date, exit 1 if any is
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).resolve().parent

COLUMN_WORDS = {
    "file": "path inside the run directory, `/` on every system",
    "line": "1-based line, row or record number in that file; null: the file has none",
    "time": "UTC; null: not said",
    "step": "optimizer step as the log gave it; never invented, never filled; null: not said",
    "epoch": "null: not said",
    "split": "train, val or test; null: not said",
    "device": "GPU index; null: not said",
    "rank": "rank of the process that wrote it; null: not said",
    "segment": "attempt: restarts and resumes within one directory, 0, 1, 2 ... in order of appearance",
    "metric": "canonical name from the vocabulary (`loss`, `lr`, `grad_norm`, `gpu_util` ...), else the raw name",
    "raw_name": "the metric as the log spelled it",
    "value": "NaN and inf mean that the log said so",
}


def pages() -> dict[str, str]:
    """Every generated page: path below docs/ -> content."""
    from postmortem.formats import pages as format_pages
    from postmortem.rules import pages as rule_pages
    from postmortem.rules.base import FAMILIES, catalogue

    made = {"frame.md": _frame_page()}
    index = ["# Rules", "", "One page a rule, generated from its file. `postmortem rules NAME` prints the same text.", ""]
    for family in FAMILIES:
        rules = [rule for rule in catalogue().values() if rule.family == family]
        if rules:
            index += [f"## {family}", "", *(f"- [{rule.id}]({rule.id}.md) ({rule.severity}): {rule.title}" for rule in rules), ""]
    made["rules/index.md"] = "\n".join(index)
    for name in catalogue():
        made[f"rules/{name}.md"] = rule_pages.page(name)
    for name, text in format_pages.pages().items():
        made[f"formats/{name}.md"] = text
    made["formats/files.md"] = _files_page()
    return made


SHOWN_LINES, SHOWN_CHARACTERS = 8, 140  # of a sample
SHOWN_SERIES = 8


def _files_page() -> str:
    """Every reader: what it is for, a small file of each kind that it reads, and what comes out. The files are those that the tests damage."""
    sys.path.insert(0, str(DOCS.parent / "tests"))
    from damage_samples import samples

    from postmortem.parsers import parsers

    parts = [
        "# Kinds of files",
        "",
        "Every reader, by name: what it reads, small files of that kind, and what comes out. Which reader takes a file is decided by what",
        "stands in it first, by its name second (`claims` in `postmortem/parsers/`). Log lines have [pages of their own](index.md).",
        "",
    ]
    own = samples()
    for parser in parsers():
        parts += [f"## {parser.NAME}", "", parser.ABOUT, ""]
        for sample in own[parser.NAME]:
            parts += _sample_words(parser, sample.name, sample.data)
    return "\n".join(parts)


def _sample_words(parser, name: str, data: bytes) -> list[str]:
    """A file, as far as it is text, and what its reader makes of it."""
    from postmortem.parsers.base import HEAD_BYTES, Request, SourceFile
    from postmortem.rules.base import wanted

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        reading = parser.read(SourceFile(path, name, len(data), data[:HEAD_BYTES]), Request(wanted()))
    names = list(dict.fromkeys(f"`{block.raw_name}`" + (f" ({block.split})" if block.split else "") for block in reading.blocks))
    more = [f"and {len(names) - SHOWN_SERIES} more"] if len(names) > SHOWN_SERIES else []
    kinds = Counter(event.kind for event in reading.events)
    told = [
        f"{reading.rows:,} values of {', '.join(names[:SHOWN_SERIES] + more)}" if names else "",
        f"{len(reading.settings)} setting{'s' if len(reading.settings) > 1 else ''}" if reading.settings else "",
        ", ".join(f"{count} {kind} event{'s' if count > 1 else ''}" for kind, count in kinds.items()),
        f"the note: {reading.notes[0].replace(folder, '')}" if reading.notes and not (names or reading.settings or kinds) else "",
    ]
    text = "".join(
        line[:SHOWN_CHARACTERS] + "\n" for line in data.decode("utf-8", "replace").replace("\x1b", "\u241b").splitlines()[:SHOWN_LINES]
    )
    shown = (
        ["```text", text.rstrip("\n"), "```"] if text.isprintable() or not re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]", text) else []
    )
    return [
        f"`{name}`" + ("" if shown else f" ({len(data):,} bytes, not text)"),
        "",
        *shown,
        *([""] if shown else []),
        f"gives {'; '.join(filter(None, told)) or 'nothing'}.",
        "",
    ]


def _frame_page() -> str:
    from postmortem.frame import COLUMNS, schema

    kinds = schema()
    rows = [f"| `{name}` | {kinds[name]!s} | {COLUMN_WORDS[name]} |" for name in COLUMNS]
    return "\n".join(
        [
            "# The frame",
            "",
            "`postmortem frame RUN --output X.parquet` writes every number of a run as one table (also `.csv` and `.ndjson`), rows in reading order:",
            "files by name, within a file by line.",
            "",
            "| column | type | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def stale() -> list[str]:
    """Generated pages that are missing, different, or left over from something that is gone."""
    made = pages()
    wrong = [name for name, text in made.items() if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != text]
    there = {f"{folder}/{path.name}" for folder in ("rules", "formats") for path in (DOCS / folder).glob("*.md")}
    return sorted(wrong + [name for name in there if name not in made])


PICTURE = re.compile(r"(<!-- picture -->\n).*?(<!-- /picture -->)", re.DOTALL)
PICTURED = "fixtures/nan-death/run"


def readme() -> str:
    """README.md with its terminal picture: the true answer on the bundled run, 100 columns wide."""
    done = subprocess.run(
        [sys.executable, "-m", "postmortem", "examine", PICTURED, "--fail-on", "never"],
        cwd=DOCS.parent,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
        check=True,
    )
    block = f"```text\n$ postmortem examine {PICTURED}\n{done.stdout.rstrip()}\n```\n"
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    return PICTURE.sub(lambda found: found[1] + block + found[2], text)


def main() -> int:
    """Write or check the pages."""
    if "--check" in sys.argv:
        out_of_date = stale()
        print("\n".join(f"out of date: docs/{name}" for name in out_of_date) or "docs are up to date")
        return bool(out_of_date)
    made = pages()
    for name in stale():
        if name not in made:
            (DOCS / name).unlink()
    for name, text in made.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")
    (DOCS.parent / "README.md").write_text(readme(), encoding="utf-8")
    print(f"{len(made)} pages and the README's picture written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
