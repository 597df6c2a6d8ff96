"""The formats in words: the list that `postmortem formats` prints, and one page a dialect for docs/formats/."""

from __future__ import annotations

from postmortem.formats.loader import Dialect, Pattern, Sample, dialects, endings


def overview() -> str:
    """All dialects and all kinds of endings, one line each, for the terminal."""
    width = max(len(dialect.name) for dialect in dialects())
    lines = [f"{dialect.name:<{width}}  {dialect.title}" for dialect in dialects()]
    words = sorted({ending.what for ending in endings()})
    return "\n".join([*lines, "", f"Beginnings and ends of jobs ({len(endings())} forms): {', '.join(words)}."])


def pages() -> dict[str, str]:
    """Every generated page: name without folder and suffix -> Markdown."""
    made = {dialect.name: page(dialect) for dialect in dialects()}
    return {"index": _index(), "endings": _endings_page()} | made


def page(dialect: Dialect) -> str:
    """One dialect: what it is, what each pattern reads, a line of each and what comes out, what is left alone."""
    parts = [f"# {dialect.title}", "", dialect.about, "", f"Source: <{dialect.url}>", ""]
    for pattern in dialect.patterns:
        parts += _pattern_words(pattern, [sample for sample in dialect.samples if sample.pattern == pattern.name])
    blocks = [sample for sample in dialect.samples if not sample.pattern]
    if blocks:
        parts += [
            "## Read by the generic reader",
            "",
            "Tables, boxes and blocks need no pattern: names come from the head of the table or from the line itself.",
            "",
        ]
        for sample in blocks:
            parts += _sample_words(sample)
    parts += ["## Looks like it and is not", "", *_fenced("\n".join(dialect.near_misses))]
    return "\n".join(parts)


def _index() -> str:
    parts = [
        "# Log formats",
        "",
        "Any stdout is read by the generic reader (`name: number`, `name=number`, dictionaries, tables, boxes, progress bars).",
        "These dialects are named because their lines need to be known to be read right. One file each in `postmortem/formats/`;",
        "[adding one](../adding-a-format.md) takes no code.",
        "",
        *(f"- [{dialect.name}]({dialect.name}.md): {dialect.title}" for dialect in dialects()),
        "",
        "Words about the beginning and the end of a job: [endings](endings.md). Tables, event files, GPU tools and all other files: [files](files.md).",
        "",
    ]
    return "\n".join(parts)


def _endings_page() -> str:
    parts = [
        "# How a job began and ended",
        "",
        "Lines of the training itself (`lifecycle`) and of the batch system, the platform, the launcher or the shell (`scheduler`).",
        "The first form that matches counts.",
        "",
    ]
    for what in sorted({ending.what for ending in endings()}):
        parts += [f"## {what}", ""]
        for ending in endings():
            if ending.what == what:
                facts = sorted(set(ending.regex.groupindex))
                place = ", as the last line of a file" if ending.last else ""
                parts += [f"{ending.name} ({ending.kind}){place}" + (f", tells {', '.join(facts)}" if facts else "") + ":", ""]
                parts += _fenced("\n".join(sample.line for sample in ending.samples))
    return "\n".join(parts)


def _pattern_words(pattern: Pattern, samples: list[Sample]) -> list[str]:
    notes = []
    if pattern.header:
        notes.append("Gives its step, epoch or split to the lines after it.")
    if pattern.aside:
        notes.append("Its epoch holds for this line only.")
    if pattern.split:
        notes.append(f"Split: {pattern.split}.")
    if pattern.pair is not None:
        notes.append("Reads any number of names.")
    parts = [f"## {pattern.name}", ""] + ([" ".join(notes), ""] if notes else [])
    for sample in samples:
        parts += _sample_words(sample)
    return parts


def _sample_words(sample: Sample) -> list[str]:
    expect = dict(sample.expect)
    values = expect.pop("values", {})
    told = [f"{role} {value}" for role, value in expect.items()] + [f"`{name}` = {value:g}" for name, value in values.items()]
    return [*_fenced(sample.line.strip("\n")), f"gives {', '.join(told)}", ""]


def _fenced(text: str) -> list[str]:
    return ["```text", text, "```", ""]
