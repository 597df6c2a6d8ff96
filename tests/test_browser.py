"""The HTML report in a real browser: it draws, loads nothing, follows light and dark, and nothing in it that a run wrote can act."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnoses import curve, diagnosis, finding, two_faults
from test_reports_hostile import HOSTILE, hostile_everywhere

from postmortem import reports
from postmortem.model import Diagnosis
from postmortem.reports.escape import visible

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(os.environ.get("AXE_JS", "node_modules/axe-core/axe.min.js"))  # npm install axe-core; the check is left out without it

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}")


@dataclass
class Opened:
    """A report in the browser, and everything that it should not have done."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def calm(self) -> bool:
        return not self.errors and not self.requests and self.page.evaluate("window.__pwn ?? null") is None

    def drawn_lines(self) -> int:
        """Curves that Plotly drew (an empty chart has axes too, so these do not count)."""
        return int(self.page.locator(".scatterlayer path.js-line").count())


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    contexts = []

    def open_report(shown: Diagnosis, *, scheme: str = "light", js: bool = True, width: int = 1280) -> Opened:
        file = tmp_path / "report.html"
        reports.write(file, reports.render(shown, "html"))
        context = browser.new_context(
            offline=True, color_scheme=scheme, java_script_enabled=js, reduced_motion="reduce", viewport={"width": width, "height": 900}
        )
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on("console", lambda message: opened.errors.append(message.text) if message.type == "error" else None)
        opened.page.on("request", lambda request: opened.requests.append(request.url) if request.url != file.as_uri() else None)
        opened.page.goto(file.as_uri(), wait_until="load")
        if js and shown.curves:
            opened.page.wait_for_selector("html[data-drawn]", timeout=20_000)
        return opened

    yield open_report
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_draws_every_chart_in_light_and_dark(opened: Any, scheme: str) -> None:
    report = opened(two_faults(), scheme=scheme)
    assert report.calm(), (report.errors, report.requests)
    assert report.drawn_lines() == 3
    assert report.page.locator("svg.still:visible").count() == 0
    paper, ink = report.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.xtick text')).fill]"
    )
    assert (brightness(paper) > brightness(ink)) == (scheme == "light")
    assert abs(brightness(paper) - brightness(ink)) > 100


def brightness(colour: str) -> float:
    """Mean of the red, green and blue of "rgb(1, 2, 3)"."""
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_the_report_is_whole_without_scripts(opened: Any) -> None:
    report = opened(two_faults(), js=False)
    text = report.page.inner_text("body")
    for word in (
        "The fault nan-death",
        "train/loss is NaN from step 200 on",
        "metrics.csv:22",
        "Make the batch half as large",
        "train/loss: 3 → 1 over 40 points",
    ):
        assert word in text
    assert report.page.locator("svg.still:visible").count() == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(opened: Any, text: str) -> None:
    report = opened(hostile_everywhere(text))
    assert report.calm(), (report.errors, report.requests)
    assert report.page.locator(".plot svg a").count() == 0
    assert report.page.evaluate("document.querySelectorAll('script[src], img, iframe, a[href^=http], a[href^=javascript]').length") == 0
    assert visible(text) in report.page.text_content("body")
    assert visible(text) in report.page.inner_text("h1")
    report.page.hover(".plot .nsewdrag >> nth=0")
    report.page.mouse.click(300, 300)
    assert report.calm()


@pytest.mark.parametrize(
    "values",
    [[5e-324, 1e-323, 2e-320, 5e-324], [1e308, -1e308] * 3, [np.nan] * 4, [np.inf, -np.inf, 1], [1.0, 1.0], [1e-3, 1, 1e6]],
    ids=["denormals", "huge", "nan", "inf", "flat", "wide"],
)
def test_odd_numbers_are_drawn_without_an_error(opened: Any, values: list[float]) -> None:
    report = opened(diagnosis(curves=[curve("odd", values)]))
    assert report.calm(), report.errors
    axis = report.page.evaluate(
        "(() => { const a = document.querySelector('.js-plotly-plot')._fullLayout.yaxis; return [a.range, a.type] })()"
    )
    drawn = [v for v in report.page.evaluate("document.querySelector('.js-plotly-plot').data[0].y") if v is not None]
    if drawn:
        low, high = axis[0] if axis[1] == "linear" else [10 ** float(end) for end in axis[0]]
        assert low <= min(drawn) and max(drawn) <= high
    assert report.page.locator(".scatterlayer .point, .scatterlayer path.js-line").count() > 0


def test_a_very_long_name_leaves_room_for_the_plot(opened: Any) -> None:
    report = opened(diagnosis(curves=[curve("x" * 10_000, [3, 2, 1])]))
    widths = report.page.evaluate(
        "[document.querySelector('.plot .nsewdrag').getBoundingClientRect().width, document.querySelector('.plot').clientWidth]"
    )
    assert widths[0] > 0.5 * widths[1]
    assert report.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [320, 400, 800])
def test_nothing_sticks_out_on_a_narrow_screen(opened: Any, width: int) -> None:
    long = "a_very_long_word_that_nobody_can_break_" * 6
    report = opened(
        diagnosis(finding(text=long, cause=long, fix=[f"`{long}`", long], title=long), headline=long, curves=two_faults().curves),
        width=width,
    )
    assert report.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_thirty_charts_and_two_thousand_names_open_quickly(opened: Any) -> None:
    import time

    long = [curve(f"layer.{i}.norm", np.random.default_rng(i).random(20_000)) for i in range(30)]
    began = time.perf_counter()
    report = opened(diagnosis(curves=[*long, *(curve(f"other.{i}", [1, 2]) for i in range(1970))]))
    assert time.perf_counter() - began < 15  # 3 s on an idle machine; tests share theirs
    assert report.calm()
    assert report.drawn_lines() == 30
    assert report.page.locator("table").first.locator("tbody tr").count() == 2000


def test_it_prints(opened: Any, tmp_path: Path) -> None:
    report = opened(two_faults(), scheme="dark")
    report.page.pdf(path=str(tmp_path / "report.pdf"))
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    report.page.emulate_media(media="print", color_scheme="dark")
    assert brightness(report.page.evaluate("getComputedStyle(document.body).backgroundColor")) > 240
    assert brightness(report.page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill")) < 40


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed (npm install axe-core, or AXE_JS)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(opened: Any, scheme: str) -> None:
    report = opened(two_faults(), scheme=scheme)
    report.page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true })")
    report.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = report.page.evaluate("axe.run(document)")
    assert [(fault["id"], len(fault["nodes"])) for fault in found["violations"]] == []
    assert len(found["passes"]) > 10
