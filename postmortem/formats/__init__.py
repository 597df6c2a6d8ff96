"""Log dialects as data: one TOML file each, and the loader that proves them.

from postmortem import formats
formats.dialects()       every dialect, in the order of their names
formats.endings()        words about how a job began and ended
formats.check(path)      what is wrong with a format file, one sentence a problem
"""

from __future__ import annotations

from pathlib import Path

from postmortem.formats.loader import Dialect, Ending, Field, Pattern, Sample, dialects, endings, load, number, split_of

__all__ = ["Dialect", "Ending", "Field", "Pattern", "Sample", "check", "dialects", "endings", "load", "number", "split_of"]


def check(path: Path | str) -> list[str]:
    """What is wrong with the format file or endings file `path`, one sentence a problem; empty: nothing is."""
    from postmortem.formats import proof  # pydantic is only paid for when somebody asks

    return proof.check(Path(path))
