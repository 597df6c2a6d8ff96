"""What leaves the house: one module per output format, all fed with a cleaned copy of the same Diagnosis."""

from postmortem.reports.base import FORMATS, publish, render, show, write

__all__ = ["FORMATS", "publish", "render", "show", "write"]
