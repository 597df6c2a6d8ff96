"""Curves as charts: which ones, as Plotly figures (plain JSON dicts), as a small still picture, and in words."""

from __future__ import annotations

import base64
import functools
import gzip
import importlib.util
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from postmortem.model import Curve, Diagnosis
from postmortem.reports import words
from postmortem.reports._bundle import core_only
from postmortem.reports._points import Axis, axis_of, kept_points, log_scale, power_of_ten
from postmortem.reports.escape import middle

MOST_CHARTS = 30  # of a report; the other curves stand in its table
MOST_GPU = 6
FEWEST_POINTS = 5  # of a curve with a name that nobody knows
MOST_TOGETHER = 8  # curves in one chart
BUCKETS = 300  # a curve keeps the lowest and the highest point of each
MOST_MARKS = 60  # NaN and inf that are marked on one curve; all are counted
MOST_CHANGES = 5  # change points marked on one chart
TOGETHER = 30.0  # curves whose middles differ by more than this factor do not share a chart
NAME = 48  # characters of a name in a legend; the page has the full one
# Colours that can be told apart, also without red or green, on white and on black (contrast at least 3:1 on both).
COLOURS = ("#3b7dd8", "#d9730d", "#2e9e6b", "#a35fd6", "#c2528b", "#6b8e23", "#1f9aa8", "#b0762f")
PAST, ONSET, CHANGE = "#8a8f98", "#d64545", "#8a8f98"


@dataclass(slots=True)
class Chart:
    """One chart: a Plotly figure, the same as SVG paths for a still picture, and in words."""

    id: str
    title: str
    curves: list[Curve]
    figure: dict[str, Any]
    lines: list[tuple[str, str]] = field(default_factory=list)  # colour, SVG path
    odd: list[float] = field(default_factory=list)  # where points are NaN or inf
    onsets: list[float] = field(default_factory=list)
    summary: list[tuple[str, str]] = field(default_factory=list)  # colour, sentence
    past: int = 0  # curves of earlier attempts that are drawn in grey
    gpu: bool = False


def plotly_text(text: object) -> str:
    """A name as plotly.js shows it: it reads a pseudo-HTML in which only & < > need escaping (quotes would show as entities)."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@functools.cache
def plotly_script() -> str:
    """The part of plotly.js that we draw with, as text. It comes with the plotly package; nothing is fetched."""
    # find_spec finds the file without importing the package, which would cost more than drawing does.
    spec = importlib.util.find_spec("plotly")
    folder = Path(next(iter(spec.submodule_search_locations or ()))) if spec else Path()
    return core_only((folder / "package_data" / "plotly.min.js").read_text(encoding="utf-8"))


@functools.cache
def packed_script() -> str:
    """plotly_script() as gzip in base64; the browser unpacks it. No time stamp inside: the same bytes every time."""
    return base64.b64encode(gzip.compress(plotly_script().encode(), 9, mtime=0)).decode()


# ---------------------------------------------------------------------- which curves


def charts(diagnosis: Diagnosis) -> list[Chart]:
    """The charts of a report, the most telling first, at most MOST_CHARTS of which at most MOST_GPU show telemetry."""
    named = {(e.metric, e.origin.file) for finding in diagnosis.findings for e in finding.evidence}
    worth = [curve for curve in diagnosis.curves if curve.last_attempt and _worth(curve, named)]
    groups = sorted(_groups(worth), key=lambda group: _rank(group, diagnosis))
    gpu = [group for group in groups if _telemetry(group[0])][:MOST_GPU]
    rest = [group for group in groups if not _telemetry(group[0])][: MOST_CHARTS - len(gpu)]
    past = [curve for curve in diagnosis.curves if not curve.last_attempt]
    return [_chart(f"c{i}", group, past, diagnosis) for i, group in enumerate([*rest, *gpu])]


def _worth(curve: Curve, named: set[tuple[str | None, str]]) -> bool:
    """Whether a curve is drawn: what nobody knows and no evidence names must at least be long and move. The table has them all."""
    if curve.kind or curve.metric != curve.raw_name or (curve.raw_name, curve.file) in named:
        return len(curve) > 1
    return len(curve) >= FEWEST_POINTS and len(np.unique(curve.values)) > 1


def _telemetry(curve: Curve) -> bool:
    return curve.metric.startswith("gpu_")


def _groups(curves: Iterable[Curve]) -> list[list[Curve]]:
    """Curves that belong on one chart: one known metric, one x axis, one order of magnitude."""
    groups: dict[tuple[object, ...], list[list[Curve]]] = {}
    for curve in curves:
        known = curve.metric != curve.raw_name or bool(curve.kind)
        axis = axis_of(curve).name
        key: tuple[object, ...] = (curve.metric, axis) if known else (curve.file, curve.raw_name, axis)
        for group in groups.setdefault(key, []):
            if len(group) < MOST_TOGETHER and _comparable(group[0], curve):
                group.append(curve)
                break
        else:
            groups[key].append([curve])
    return [group for same in groups.values() for group in same]


def _comparable(one: Curve, other: Curve) -> bool:
    """Whether two curves can be read off one y axis."""
    a, b = (float(np.nanmedian(np.abs(v))) if len(v) else 0.0 for v in (c.values[np.isfinite(c.values)] for c in (one, other)))
    low, high = min(a, b), max(a, b)
    return high == 0 or (low > 0 and high / low <= TOGETHER)


def _rank(group: Sequence[Curve], diagnosis: Diagnosis) -> tuple[object, ...]:
    """Sort key: what evidence of root causes names, then of other findings, then losses, learning rate, gradient norm, the rest."""
    names = {(curve.raw_name, curve.file) for curve in group}
    first = words.roots(diagnosis)
    rest = [f for f in diagnosis.findings if f not in first and f.severity != "note"]
    for place, findings in enumerate((first, rest)):
        if any((e.metric, e.origin.file) in names for f in findings for e in f.evidence):
            return place, -max(map(len, group)), group[0].name, group[0].file
    metric, kind = group[0].metric, group[0].kind
    if metric == "loss" or metric in ("lr", "grad_norm"):
        order = 2 + ("loss", "lr", "grad_norm").index(metric)
    else:
        order = {"loss": 5, "score": 6, "norm": 7, "": 9}.get(kind, 8)
    return order, -max(map(len, group)), group[0].name, group[0].file


# ---------------------------------------------------------------------- one chart


def _chart(id: str, group: list[Curve], past: Sequence[Curve], diagnosis: Diagnosis) -> Chart:
    shown = sorted(group, key=lambda c: ({"train": 0, "val": 1, "test": 2}.get(c.split or "", 0), c.device or 0, c.rank or 0, c.file))
    same = {(c.raw_name, c.file, c.split, c.device, c.rank) for c in shown}
    axis = axis_of(shown[0])
    old = [c for c in past if (c.raw_name, c.file, c.split, c.device, c.rank) in same and len(c) > 1 and axis_of(c).name == axis.name]
    finite = np.concatenate([c.values[np.isfinite(c.values)] for c in shown])
    power = power_of_ten(finite)
    log = log_scale(finite) and not power
    picture = _Picture(shown, power, log)
    chart = Chart(id, _title(shown), shown, {}, gpu=_telemetry(shown[0]))
    names = _legend(shown)
    traces: list[dict[str, Any]] = []
    for curve in old[:MOST_TOGETHER]:
        traces.append(_line(curve, power, f"attempt {curve.attempt + 1}", PAST, 1))
        chart.past += 1
    for number, curve in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        traces += [_line(curve, power, names[number], colour, 1.8), *_marks(curve, power, colour)]
        chart.lines.append((colour, picture.path(curve)))
        chart.odd += [picture.across(x) for x in axis_of(curve).floats()[_spread(np.flatnonzero(~np.isfinite(curve.values)))]]
        chart.summary.append((colour, summary(curve, names[number])))
    starts, labelled = _changes(shown), _onsets(shown, axis, diagnosis)
    chart.onsets = [picture.across(x) for x, _ in labelled]
    chart.figure = {"id": id, "data": traces, "layout": _layout(axis, shown[0].unit, power, log, starts, labelled, finite.size == 0)}
    return chart


def _title(shown: Sequence[Curve]) -> str:
    names = list(dict.fromkeys(curve.name for curve in shown))
    return names[0] if len(names) == 1 else " · ".join(middle(name, NAME) for name in names[:3]) + (" · …" if len(names) > 3 else "")


def _legend(shown: Sequence[Curve]) -> list[str]:
    """Names that tell the curves of one chart apart: the name, then the device, the rank, the file."""
    names = []
    for curve in shown:
        twins = [c for c in shown if c.name == curve.name and c is not curve]
        parts = [middle(curve.name, NAME)]
        if curve.device is not None and any(c.device != curve.device for c in shown if c is not curve):
            parts.append(f"GPU {curve.device}")
        if curve.rank is not None and any(c.rank != curve.rank for c in twins):
            parts.append(f"rank {curve.rank}")
        if any(c.file != curve.file for c in twins):
            parts.append(middle(curve.file.rsplit("/", 1)[-1], 24))
        names.append(" · ".join(parts))
    same = [name for name in names if names.count(name) > 1]
    return [f"{name} · from line {int(curve.lines[0])}" if name in same else name for name, curve in zip(names, shown, strict=True)]


def _line(curve: Curve, power: int, name: str, colour: str, width: float) -> dict[str, Any]:
    """The curve as a trace. Names go in as escaped text and never into a hover template."""
    axis = axis_of(curve)
    at = kept_points(curve.values, BUCKETS)
    few = len(curve) <= 40
    return {
        "type": "scatter",
        "mode": "lines+markers" if few else "lines",
        "name": plotly_text(name),
        "x": axis.numbers(at),
        "y": [None if not np.isfinite(v) else float(f"{v:.5g}") for v in scaled(curve.values[at], power).tolist()],
        "line": {"color": colour, "width": width},
        "marker": {"size": 5},
        "hoverinfo": "x+y+name",
        "hoverlabel": {"namelength": NAME},
    }


def _marks(curve: Curve, power: int, colour: str) -> list[dict[str, Any]]:
    """NaN and inf as marks on the height of the last number before them; at most MOST_MARKS, spread over all of them."""
    odd = np.flatnonzero(~np.isfinite(curve.values))
    if not len(odd):
        return []
    at = _spread(odd)
    good = np.flatnonzero(np.isfinite(curve.values))
    before = np.clip(np.searchsorted(good, at) - 1, 0, max(0, len(good) - 1))
    heights = scaled(curve.values[good[before]], power) if len(good) else np.full(len(at), 0.5)
    values = curve.values[at]
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{len(odd):,} × {' or '.join(kinds(curve.values[odd]))}",
            "x": axis_of(curve).numbers(at),
            "y": [float(f"{v:.5g}") for v in heights.tolist()],
            "text": [words.number(float(v)) for v in values],
            "hoverinfo": "x+text",
            "marker": {
                "size": 9,
                "color": ONSET,
                "line": {"width": 1, "color": colour},
                "symbol": ["x" if v != v else "triangle-up" if v > 0 else "triangle-down" for v in values.tolist()],
            },
        }
    ]


def _spread(at: np.ndarray) -> np.ndarray:
    """At most MOST_MARKS of some indices, the first and the last among them."""
    return at if len(at) <= MOST_MARKS else at[np.linspace(0, len(at) - 1, MOST_MARKS).astype(int)]


def kinds(values: np.ndarray) -> list[str]:
    """Which of NaN, inf, -inf stand among the values."""
    return [name for name, found in (("NaN", np.isnan(values)), ("inf", np.isposinf(values)), ("-inf", np.isneginf(values))) if found.any()]


def scaled(values: np.ndarray, power: int) -> np.ndarray:
    """Values in units of ten to the `power`; in two steps, because ten to the 320 is no number of its own."""
    half = power // 2
    with np.errstate(all="ignore"):
        return values / 10.0**half / 10.0 ** (power - half) if power else values


def _changes(shown: Sequence[Curve]) -> list[Any]:
    """x of the change points of the first curve (those of all would hide it); of many, the largest changes of level."""
    curve = shown[0]
    changes = [(abs(after.level - before.level), after.start) for before, after in itertools.pairwise(curve.segments)]
    starts = sorted(start for _, start in sorted(changes, reverse=True)[:MOST_CHANGES] if 0 < start < len(curve))
    return axis_of(curve).numbers(np.array(starts, int)) if starts else []


def _onsets(shown: Sequence[Curve], axis: Axis, diagnosis: Diagnosis) -> list[tuple[Any, str]]:
    """Where the root causes began, on this chart: as a step where it counts steps, else at the point that the evidence names."""
    marks: dict[Any, str] = {}
    for finding in words.roots(diagnosis):
        for curve in shown:
            named = [e for e in finding.evidence if e.metric == curve.raw_name and e.origin.file == curve.file]
            x = axis_of(curve).at(finding.onset, [e.origin.line for e in named if e.origin.line], curve)
            if x is not None:
                marks.setdefault(x, finding.rule)
                break
    return list(marks.items())[:3]


def _layout(axis: Axis, unit: str, power: int, log: bool, changes: list[Any], onsets: list[tuple[Any, str]], empty: bool) -> dict[str, Any]:
    """A quiet layout. Colours of text and grid come from the page's style sheet, so that they follow light and dark."""
    label = " ".join(part for part in (f"× 1e{power}" if power else "", plotly_text(unit)) if part)
    bar: dict[str, Any] = {"type": "line", "yref": "paper", "y0": 0, "y1": 1}
    shapes = [bar | {"x0": x, "x1": x, "line": {"color": CHANGE, "width": 1, "dash": "dot"}} for x in changes]
    shapes += [bar | {"x0": x, "x1": x, "line": {"color": ONSET, "width": 1.5}} for x, _ in onsets]
    notes = [
        {"x": x, "y": 1, "yref": "paper", "text": name, "showarrow": False, "yanchor": "bottom", "font": {"color": ONSET, "size": 11}}
        for x, name in onsets
    ]
    y: dict[str, Any] = {"title": {"text": label}, "type": "linear", "automargin": True, "zeroline": False, "exponentformat": "e"}
    if log:
        y |= {"type": "log", "dtick": 1}
    if empty:
        y |= {"range": [0, 1], "showticklabels": False}
    return {
        "height": 260,
        "margin": {"l": 50, "r": 14, "t": 22, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "showlegend": False,  # the caption names the colours, with or without scripts
        "hovermode": "closest",
        "xaxis": {"title": {"text": axis.name, "standoff": 6}, "zeroline": False, "automargin": True, "type": axis.type},
        "yaxis": y,
        "shapes": shapes,
        "annotations": notes,
    }


# ---------------------------------------------------------------------- in words, and as a still picture


def summary(curve: Curve, name: str = "") -> str:
    """A curve in one sentence: from where to where, lowest and highest, how many points were no number."""
    finite = np.flatnonzero(np.isfinite(curve.values))
    odd = len(curve) - len(finite)
    parts = [f"{name or middle(curve.name, 80)}:"]
    if len(finite):
        first, last = finite[0], finite[-1]
        low, high = finite[curve.values[finite].argmin()], finite[curve.values[finite].argmax()]
        told = {i: words.number(float(curve.values[i])) for i in (first, last, low, high)}
        parts.append(f"{told[first]} → {told[last]} over {words.count(len(curve), 'point')};")
        parts.append(f"lowest {told[low]} at {curve.where(low)}, highest {told[high]} at {curve.where(high)}")
    if odd:
        where = int(np.flatnonzero(~np.isfinite(curve.values))[0])
        parts.append(f"{'; ' if len(finite) else ''}{odd:,} × {' or '.join(kinds(curve.values))}, first at {curve.where(where)}")
    return " ".join(parts).replace(" ; ", "; ")


class _Picture:
    """Maps curves of one chart into a box of 0..1 by 0..1, y downwards."""

    BUCKETS = 90  # a still picture is small

    def __init__(self, shown: Sequence[Curve], power: int, log: bool) -> None:
        self.power, self.log = power, log
        ys = np.concatenate([self._heights(c.values) for c in shown])
        ys = ys[np.isfinite(ys)]
        self.low, self.high = (float(ys.min()), float(ys.max())) if len(ys) else (0.0, 1.0)
        xs = np.concatenate([axis_of(c).floats() for c in shown])
        self.left, self.right = float(xs.min()), float(xs.max())

    def _heights(self, values: np.ndarray) -> np.ndarray:
        values = scaled(values, self.power)
        with np.errstate(all="ignore"):
            return np.log10(values) if self.log else values

    def across(self, x: Any) -> float:
        """An x as a share of the width."""
        try:
            place = (float(np.datetime64(x, "us").astype("int64")) if isinstance(x, str) else float(x)) - self.left
        except ValueError:
            return 0.0
        return min(1.0, max(0.0, place / (self.right - self.left))) if self.right > self.left else 0.5

    def path(self, curve: Curve) -> str:
        """An SVG path in a box of 600 by 160; it breaks where there is no number."""
        at = kept_points(curve.values, self.BUCKETS)
        xs, ys = axis_of(curve).floats()[at], self._heights(curve.values[at])
        span = self.high - self.low
        words_, pen = [], "M"
        for x, y in zip(xs, ys, strict=True):
            if not np.isfinite(y):
                pen = "M"
                continue
            down = 152 - 144 * ((y - self.low) / span if span > 0 else 0.5)
            words_.append(f"{pen}{600 * self.across(x):.0f} {down:.0f}")
            pen = "L"
        return "".join(words_)
