"""The documentation says what the code does: generated pages are fresh, links lead somewhere, commands exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import click

from postmortem.cli import command

COMMAND = re.compile(r"^(?:\$ )?postmortem ([a-z-]+)(?: ([a-z-]+))?", re.MULTILINE)


def _generate(root: Path):
    spec = importlib.util.spec_from_file_location("generate", root / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh(root: Path) -> None:
    assert _generate(root).stale() == [], "run `make docs`"


def test_the_picture_in_the_readme_is_true(root: Path) -> None:
    assert _generate(root).readme() == (root / "README.md").read_text(encoding="utf-8"), "run `make docs`"


def test_links_lead_somewhere(root: Path) -> None:
    broken = []
    for page in [root / "README.md", *(root / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(root)} -> {target}")
    assert not broken, broken


def test_every_command_is_documented_and_every_documented_command_exists(root: Path) -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in [root / "README.md", *(root / "docs").glob("*.md")])
    for name in command.commands:
        assert f"postmortem {name}" in text, f"`postmortem {name}` is documented nowhere"
    for name, _ in COMMAND.findall(text):
        assert name in command.commands or name == "postmortem", f"the docs name `postmortem {name}`, which does not exist"


def test_every_option_has_a_help_text() -> None:
    def walk(at: click.Command, path: str) -> None:
        assert at.help, f"{path} has no help"
        for parameter in at.params:
            if isinstance(parameter, click.Option):
                assert getattr(parameter, "help", None), f"{path} {parameter.name} has no help"
        if isinstance(at, click.Group):
            for name, below in at.commands.items():
                walk(below, f"{path} {name}")

    walk(command, "postmortem")
