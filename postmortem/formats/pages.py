"""The catalogue of log formats as text: the same words on the terminal and in docs/formats/."""

from __future__ import annotations

from postmortem.formats.loader import Dialect, dialects, endings


def overview() -> str:
    """All dialects, one line each."""
    return "\n".join(f"{dialect.name:24} {dialect.title}" for dialect in dialects()) + "\n"


def pages() -> dict[str, str]:
    """Every page: name without extension -> Markdown."""
    made = {dialect.name: _page(dialect) for dialect in dialects()}
    made["endings"] = _endings_page()
    made["index"] = "\n".join(
        [
            "# Log formats",
            "",
            "Dialects that are known by name. Any other log is read by the generic reader (`name: number`, `name=number`, tables, bars, dicts).",
            "",
            *(f"- [{dialect.title}]({dialect.name}.md): {dialect.about}" for dialect in dialects()),
            "- [How jobs begin and end](endings.md): words of trainings, schedulers and shells.",
            "",
        ]
    )
    return made


def _page(dialect: Dialect) -> str:
    lines = [f"# {dialect.title}", "", dialect.about, "", f"<{dialect.url}>", ""]
    by_pattern = {pattern.name: pattern for pattern in dialect.patterns}
    for sample in dialect.samples:
        pattern = by_pattern.get(sample.pattern)
        title = f"Pattern `{sample.pattern}`" if pattern else "Read by the generic reader"
        more = " (a header for the lines after it)" if pattern and pattern.header else ""
        lines += [f"{title}{more}:", "", *_fenced(sample.line), "", *(f"- {name}: {_shown(value)}" for name, value in sample.expect.items()), ""]
    if dialect.near_misses:
        lines += ["Looks like it and is not read:", "", *_fenced("\n".join(dialect.near_misses)), ""]
    return "\n".join(lines)


def _endings_page() -> str:
    lines = ["# How jobs begin and end", "", "Lines that tell a start, a proper end, or what a scheduler did.", "", "| what | kind | sample |", "|---|---|---|"]
    for ending in endings():
        sample = ending.samples[0].line if ending.samples else ""
        cell = sample.strip().replace("|", "\\|").replace("`", "'")
        lines.append(f"| {ending.what} | {ending.kind} | `{cell}` |")
    return "\n".join([*lines, ""])


def _fenced(text: str) -> list[str]:
    """A code block; four backticks, because a log line may hold three."""
    return ["````text", *text.splitlines(), "````"]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"`{name}` = {number}" for name, number in value.items())
    return str(value)
