"""Everything that can go wrong for the user, one sentence each; the command turns the class into an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postmortem.model import Reading


class PostmortemError(Exception):
    """We failed: the message names the file and what to do. Exit code 3."""

    exit_code = 3


class UsageError(PostmortemError):
    """The command was called wrongly (no such directory, unknown rule). Exit code 2."""

    exit_code = 2


class NothingToAnalyse(PostmortemError):
    """The directory holds nothing that any parser can read. Exit code 4. `readings` say what was there and why it was not read."""

    exit_code = 4

    def __init__(self, message: str, readings: Sequence[Reading] = ()) -> None:
        super().__init__(message)
        self.readings = readings


class OutputError(PostmortemError):
    """A report could not be written. Exit code 3."""


class UnreadableFile(PostmortemError):
    """A file of the run cannot be read; it becomes a note in its reading, never the end of the analysis."""


class FormatError(PostmortemError):
    """A format file is wrong: the message names the file, the pattern and what does not hold."""

    exit_code = 2


class RuleError(PostmortemError):
    """A rule file breaks the rules for rules: the message names the file and what is missing."""
