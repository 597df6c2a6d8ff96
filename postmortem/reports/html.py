"""The report as one offline HTML file: verdict first, then what happened, the curves, the evidence, what was read and what was not."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from postmortem import __version__
from postmortem.model import Diagnosis, Evidence, Finding
from postmortem.reports import charts as drawing
from postmortem.reports import context, words
from postmortem.reports._timeline import timeline
from postmortem.reports.escape import middle

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_SETTINGS = 400
MOST_CURVES = 3000  # rows of the table of curves
MOST_FILES = 2000


def render(diagnosis: Diagnosis) -> str:
    """A cleaned diagnosis as one HTML page that needs no network, works without scripts, in light, dark and print."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from postmortem._resources import resource

    templates = resource("templates")
    environment = Environment(
        loader=FileSystemLoader(templates), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    spoken = (coded, middle, words.number, words.when, words.clock, words.proof, words.count)
    environment.filters |= {function.__name__: function for function in spoken}
    shown = drawing.charts(diagnosis)
    boot = (templates / "report.js").read_text(encoding="utf-8")
    page: str = environment.get_template("report.html.j2").render(
        **_story(diagnosis),
        charts=[chart for chart in shown if not chart.gpu],
        gpu_charts=[chart for chart in shown if chart.gpu],
        curves=_curves(diagnosis, shown),
        style=(templates / "report.css").read_text(encoding="utf-8"),
        boot=boot,
        plotly=drawing.packed_script() if shown else "",
        figures=script_json([chart.figure for chart in shown]),
        policy=policy([boot, drawing.plotly_script()] if shown else []),
    )
    return page


def script_json(value: Any) -> str:
    """JSON that can stand inside a <script> element: no `<` in it, so nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy: nothing is loaded, and only these scripts, known by their hashes, may run.

    Styles may be inline because plotly.js sets them on what it draws; data: and blob: pictures are its "save as PNG".
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts) or "'none'"
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _story(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything of the page but the charts."""
    word, tone = words.verdict(diagnosis)
    first = words.roots(diagnosis)
    return {
        "version": __version__,
        "run": diagnosis.run,
        "headline": diagnosis.headline,
        "word": word,
        "tone": tone,
        "first": first[0] if first else None,
        "more_causes": first[1:],
        "others": words.others(diagnosis),
        "proofs": functools.partial(_proofs, around=context.around(diagnosis.run.path, _pieces(diagnosis.findings))),
        "timeline": timeline(diagnosis),
        "settings": diagnosis.settings[:MOST_SETTINGS],
        "settings_left": max(0, len(diagnosis.settings) - MOST_SETTINGS),
        "readings": diagnosis.readings[:MOST_FILES],
        "readings_left": max(0, len(diagnosis.readings) - MOST_FILES),
        "read_line": words.read_line(diagnosis),
        "reasons": words.reasons(diagnosis),
        "unchecked_line": words.unchecked_line(diagnosis),
    }


def _pieces(findings: Sequence[Finding]) -> list[Evidence]:
    return list(dict.fromkeys(evidence for finding in findings for evidence in finding.evidence))


def _proofs(finding: Finding, around: Mapping[Evidence, tuple[context.Line, ...]]) -> list[tuple[list[Evidence], list[context.Line]]]:
    """The evidence of a finding with its lines, the primary piece first."""
    return context.blocks([finding.primary, *(e for e in finding.evidence if e is not finding.primary)], around)


def coded(text: str) -> Markup:
    """Words of ours with what stands in backticks as code; everything is escaped."""
    from markupsafe import Markup, escape

    return Markup("").join(Markup("<code>{}</code>").format(part) if code else escape(part) for part, code in words.pieces(text))


def _curves(diagnosis: Diagnosis, shown: Sequence[drawing.Chart]) -> dict[str, Any]:
    """The table of all curves: every name is reachable here, drawn or not."""
    places = {id(curve): chart.id for chart in shown for curve in chart.curves}
    curves = sorted(diagnosis.curves, key=lambda c: (id(c) not in places, c.name, c.file, c.attempt))
    rows = [{"curve": curve, "chart": places.get(id(curve)), "numbers": numbers(curve)} for curve in curves[:MOST_CURVES]]
    return {"rows": rows, "total": len(curves), "drawn": len(places), "left": max(0, len(curves) - MOST_CURVES)}


def numbers(curve: Any) -> dict[str, Any]:
    """First, last, lowest, highest finite value of a curve, and how many points are no number."""
    import numpy as np

    finite = curve.values[np.isfinite(curve.values)]
    told: dict[str, Any] = {"odd": len(curve) - len(finite), "first": None, "last": None, "low": None, "high": None}
    if len(finite):
        told |= {"first": float(finite[0]), "last": float(finite[-1]), "low": float(finite.min()), "high": float(finite.max())}
    return told
