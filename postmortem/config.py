"""What the user set in postmortem.toml or [tool.postmortem]: thresholds, ignored rules (with a reason and an expiry), fail-on."""

from __future__ import annotations

import datetime
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postmortem.errors import UsageError


@dataclass(frozen=True, slots=True)
class Config:
    """fail_on: severities that make the command exit with 1. limits: {rule: {threshold: value}}. ignore: {rule: reason}.

    sample_above: bytes of a log of which more than so many are only sampled; None: all of every log is read.
    """

    fail_on: tuple[str, ...] = ("error",)
    sample_above: int | None = None
    limits: dict[str, dict[str, float]] = field(default_factory=dict)
    ignore: dict[str, str] = field(default_factory=dict)


UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)B?", re.IGNORECASE)


def size(text: str) -> int:
    """A number of bytes as people write it: "20GB", "500 MB". UsageError for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no size; write it like 20GB or 500MB")
    return int(float(found["number"]) * UNITS[found["unit"].upper()])


def find(start: Path, run_dir: Path) -> Config:
    """The configuration that holds at `start`: the nearest postmortem.toml or pyproject.toml with [tool.postmortem] at or above it.

    The run directory is untrusted: a file inside it never configures us, even when the command is called from there.
    """
    run_dir = run_dir.resolve()
    for folder in [start.resolve(), *start.resolve().parents]:
        if folder == run_dir or run_dir in folder.parents:
            continue
        for name in ("postmortem.toml", "pyproject.toml"):
            path = folder / name
            if path.is_file():
                data = _load(path)
                table = data.get("tool", {}).get("postmortem") if name == "pyproject.toml" else data
                if table is not None:
                    return _checked(table, path)
    return Config()


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}") from error


def _checked(table: Any, path: Path) -> Config:
    """The table, checked by pydantic (imported here: most runs have no configuration to check)."""
    from typing import Literal

    from pydantic import BaseModel, ConfigDict, ValidationError

    class Ignored(BaseModel):
        model_config = ConfigDict(extra="forbid")
        rule: str
        reason: str
        until: datetime.date | None = None

    class Table(BaseModel):
        model_config = ConfigDict(extra="forbid", populate_by_name=True)
        fail_on: list[Literal["error", "warning", "note", "never"]] = ["error"]
        ignore: list[Ignored] = []
        limits: dict[str, dict[str, float]] = {}
        sample_above: str | None = None

    try:
        checked = Table.model_validate({key.replace("-", "_"): value for key, value in table.items()})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    _check_names(checked.limits, [i.rule for i in checked.ignore], path)
    today = datetime.date.today()
    return Config(
        fail_on=tuple(checked.fail_on),
        sample_above=None if checked.sample_above is None else size(checked.sample_above),
        limits=checked.limits,
        ignore={i.rule: i.reason for i in checked.ignore if i.until is None or i.until >= today},
    )


def _check_names(limits: dict[str, dict[str, float]], ignored: list[str], path: Path) -> None:
    """A misspelt rule or threshold would silently do nothing: say so."""
    import dataclasses

    from postmortem.rules.base import catalogue

    for rule in [*limits, *ignored]:
        if rule not in catalogue():
            raise UsageError(f"{path}: there is no rule {rule!r}; `postmortem rules` lists them")
    for rule, values in limits.items():
        known = {f.name for f in dataclasses.fields(catalogue()[rule].limits)} if catalogue()[rule].limits else set()
        for name in values:
            if name not in known:
                raise UsageError(f"{path}: rule {rule} has no threshold {name!r}; it has {', '.join(sorted(known)) or 'none'}")
