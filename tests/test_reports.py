"""The reports say the same thing in every format: the JSON contract, the terminal, the build servers, files written whole."""

from __future__ import annotations

import io
import json
import os
import stat
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnoses import NOON, curve, diagnosis, finding, two_faults

from postmortem import reports
from postmortem.errors import OutputError, UsageError
from postmortem.model import Diagnosis, Evidence, Onset, Origin
from postmortem.reports import base, ci, github, markdown, terminal, words
from postmortem.reports import json as contract
from postmortem.reports._contract import adapter

CASES = {"faults": two_faults(), "healthy": diagnosis(), "note": diagnosis(finding(severity="note"))}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("format", reports.FORMATS)
def test_every_format_gives_the_same_text_twice(format: str, case: str) -> None:
    text = reports.render(CASES[case], format)
    assert text == reports.render(CASES[case], format)
    text.encode("utf-8")
    assert text.endswith("\n") or format == "html"


def test_an_unknown_format_is_a_wrong_use() -> None:
    with pytest.raises(UsageError, match="known are text, json"):
        reports.render(CASES["healthy"], "pdf")


# ---------------------------------------------------------------------- JSON


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_json_keeps_the_contract(case: Diagnosis) -> None:
    answer = adapter().validate_json(reports.render(case, "json"))
    assert answer["schema"] == "postmortem/1"


def test_json_says_what_the_diagnosis_says() -> None:
    answer = json.loads(reports.render(two_faults(), "json"))
    assert answer["root_causes"] == ["nan-death"]
    assert [f["rule"] for f in answer["findings"]] == ["nan-death", "python-exception", "still-improving"]
    assert [f["explained_by"] for f in answer["findings"]] == [[], ["nan-death"], []]
    assert answer["findings"][0]["evidence"][0] == {
        "text": "train/loss is NaN from step 200 on",
        "file": "metrics.csv",
        "line": 22,
        "metric": "train/loss",
        "step": 200,
        "value": "NaN",
        "primary": True,
    }
    assert answer["run"]["ended"] == words.iso(NOON) == "2026-05-28T20:26:40Z"
    assert answer["readings"][0] == {
        "file": "train.log",
        "format": "text",
        "rows": 40,
        "events": 1,
        "rejected": 2,
        "notes": ["2 lines could not be read"],
    }


@pytest.mark.parametrize(("value", "told"), [(np.inf, "Infinity"), (-np.inf, "-Infinity"), (np.nan, "NaN"), (2.5, 2.5), (None, None)])
def test_json_is_strict_about_numbers_that_are_none(value: float | None, told: object) -> None:
    evidence = Evidence("x", Origin("a.csv", 1), "loss", 2**62 + 1, value)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    answer = json.loads(reports.render(diagnosis(finding(evidence=[evidence])), "json"), parse_constant=refuse)
    assert answer["findings"][0]["evidence"][0]["value"] == told
    assert answer["findings"][0]["evidence"][0]["step"] == 2**62 + 1


def test_a_healthy_run_has_no_root_cause() -> None:
    answer = json.loads(reports.render(CASES["note"], "json"))
    assert answer["root_causes"] == []


def test_the_published_schema_is_the_one_of_the_code(root: Path) -> None:
    assert (root / "docs" / "diagnosis.schema.json").read_text(encoding="utf-8") == contract.schema(), (
        "write it again: python -c 'from postmortem.reports.json import schema; print(schema(), end=\"\")' > docs/diagnosis.schema.json"
    )


@pytest.mark.parametrize("time", [10**18, -(10**18)])
def test_times_that_no_calendar_has_are_left_out(time: int) -> None:
    answer = json.loads(reports.render(diagnosis(finding(onset=Onset(time=time))), "json"))
    assert answer["findings"][0]["onset"]["time"] is None


# ---------------------------------------------------------------------- the terminal


def test_the_screen_shows_cause_proof_and_fix_first() -> None:
    screen = reports.render(two_faults(), "text")
    places = [
        screen.index(word)
        for word in ("CRASHED: The fault nan-death", "Cause", "metrics.csv:22, step 200", "Fix", "Also", "Unchecked", "Read")
    ]
    assert places == sorted(places)
    screen = " ".join(screen.split())
    assert "follows from nan-death" in screen
    assert "2 rules: the run holds no gradient norm (2)" in screen


def test_a_long_story_still_fits_on_one_screen() -> None:
    long = "words that go on and on " * 60
    full = finding(text=long, cause=long, fix=[long] * 9, prevention=[long] * 3)
    rest = [finding(f"rule-{i}", long, severity="note") for i in range(30)]
    lines = reports.render(diagnosis(full, *rest), "text").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    fix = next(i for i, line in enumerate(lines) if line.startswith("Fix"))
    assert fix < 20


def test_a_healthy_run_says_so_and_what_could_not_be_checked() -> None:
    screen = reports.render(diagnosis(), "text")
    assert screen.startswith("Nothing wrong found")
    assert "2 rules: the run holds no gradient norm (2)" in screen
    assert "2 files, 40 numbers, 1 event; 2 lines could not be read; 1 file gave nothing" in " ".join(screen.split())


@pytest.mark.parametrize("width", [1, 24, 40, 79, 80, 200])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    screen = reports.render(diagnosis(finding(text="損失が発散した。" * 20)), "text", width=width)
    from rich.cells import cell_len

    assert max(map(cell_len, screen.splitlines())) <= max(width, terminal.NARROWEST)
    assert "train.log:40" in screen


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_every_encoding_can_hold_the_screen(encoding: str) -> None:
    screen = reports.render(diagnosis(finding(text="✅ 損失 → ∞")), "text", encoding=encoding)
    screen.encode(encoding)
    assert ("✅" in screen) == (encoding == "utf-8")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        screen = Screen()
        reports.show(two_faults(), stream=screen, environ=environ)
        assert ("\x1b[" in screen.getvalue()) == coloured
    assert "\x1b" not in reports.render(two_faults(), "text")


def test_a_closed_pipe_is_no_failure_and_a_full_disk_is_one(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", encoding="utf-8") as pipe:
        reports.show(two_faults(), stream=pipe)
    if Path("/dev/full").exists():
        with pytest.raises(OutputError, match="No space left"), open("/dev/full", "w", encoding="utf-8", buffering=1) as full:
            reports.show(two_faults(), stream=full)


# ---------------------------------------------------------------------- files


def test_write_replaces_a_file_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    reports.write(target, "one")
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    target.chmod(0o640)
    reports.write(target, "two ✅ \ud800")
    assert target.read_bytes() == "two ✅ \\ud800".encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain", "report.html"]


def test_write_follows_a_link_and_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "link.html").symlink_to("real.html")
    reports.write(tmp_path / "link.html", "new")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").read_text() == "new"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base.os, "fsync", full)
    with pytest.raises(
        OutputError, match=r"report\.html could not be written .* No space left on device; what was there before is unchanged"
    ):
        reports.write(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(("path", "why"), [("", "is a directory"), ("missing/x.html", "No such file"), ("file/x.html", "Not a directory")])
def test_write_says_why_it_cannot(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=why):
        reports.write(tmp_path / path, "x")


def test_write_can_fill_a_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    reports.write(fifo, "hello")
    assert os.read(reader, 99) == b"hello"
    os.close(reader)


# ---------------------------------------------------------------------- build servers


def test_junit_counts_failures_and_skips() -> None:
    suite = ET.fromstring(reports.render(two_faults(), "junit"))[0]
    assert suite.attrib | {"tests": "5", "failures": "2", "skipped": "2", "errors": "0"} == suite.attrib
    case = suite[0]
    assert (case.get("name"), case.get("file"), case.get("line")) == ("nan-death", "metrics.csv", "22")
    assert "train/loss is NaN from step 200 on" in (case[0].text or "")
    assert len(ET.fromstring(reports.render(replace(diagnosis(), unchecked=[]), "junit"))[0]) == 1


def test_sarif_has_rules_places_and_fingerprints() -> None:
    run = json.loads(reports.render(two_faults(), "sarif"))["runs"][0]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["nan-death", "python-exception", "still-improving"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1
    assert run["results"][0]["level"] == "error"
    assert len({result["partialFingerprints"]["postmortemFinding/v1"] for result in run["results"]}) == 3


@pytest.mark.parametrize(("path", "told"), [("a b#%?.log", "a%20b%23%25%3F.log"), ("dir/ä.log", "dir/%C3%A4.log"), ("c:x", "c%3Ax")])
def test_sarif_places_are_relative_uris(path: str, told: str) -> None:
    assert ci.uri(path) == told


def test_fingerprints_are_unique_and_do_not_hang_on_numbers() -> None:
    same = [finding(), finding(), finding()]
    prints = ci.fingerprints(same)
    assert len(set(prints)) == 3 and prints == ci.fingerprints(same)
    moved = finding(evidence=[Evidence("step 12: out of memory", Origin("train.log", 90), primary=True)])
    other = finding(evidence=[Evidence("step 99: out of memory", Origin("train.log", 7), primary=True)])
    assert ci.fingerprint(moved) == ci.fingerprint(other)
    entries = json.loads(reports.render(diagnosis(*same), "gitlab"))
    assert len({entry["fingerprint"] for entry in entries}) == 3
    assert {entry["severity"] for entry in entries} == {"critical"}


def test_github_shows_ten_of_a_kind_the_worst_first_and_counts_the_rest() -> None:
    findings = [finding(f"rule-{i}", severity=("note", "warning", "error")[i % 3]) for i in range(60)]
    lines = reports.render(diagnosis(*findings), "github").splitlines()
    kinds = [line.split(" ")[0] for line in lines[:30]]
    assert kinds == ["::error"] * 10 + ["::warning"] * 10 + ["::notice"] * 10
    assert lines[30].startswith("30 more findings")


def test_github_summary_and_outputs_are_appended_where_the_runner_wants_them(tmp_path: Path) -> None:
    environ = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "GITHUB_OUTPUT": str(tmp_path / "out.txt")}
    (tmp_path / "out.txt").write_text("mine=1\n")
    reports.publish(two_faults(), "github", environ)
    outputs = dict(line.split("=", 1) for line in (tmp_path / "out.txt").read_text().splitlines())
    assert json.loads(outputs["root-causes"]) == ["nan-death"] and outputs["mine"] == "1" and outputs["errors"] == "2"
    assert (tmp_path / "summary.md").read_text() == reports.render(two_faults(), "markdown")
    with pytest.raises(OutputError, match="GITHUB_OUTPUT"):
        github.publish(two_faults(), {"GITHUB_OUTPUT": str(tmp_path / "no" / "out.txt")})
    reports.publish(two_faults(), "text", {"GITHUB_OUTPUT": str(tmp_path / "no" / "out.txt")})


def test_markdown_is_cut_between_blocks() -> None:
    text = markdown.fit(["first block", "```text\n" + "x" * 500 + "\n```", "last"], 120)
    assert text == "first block" + markdown.CUT
    assert markdown.fit(["a", "b"], 120) == "a\n\nb\n"


def test_the_termination_message_is_short_and_starts_with_the_cause() -> None:
    text = reports.render(diagnosis(finding(text="✅" * 4000, fix=["✅" * 4000])), "termination")
    assert len(text.encode()) <= 4096
    assert text.splitlines()[0] == "The fault cuda-oom"


# ---------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.000123456, "0.00012346"), (3.0, "3"), (None, ""), (float("nan"), "NaN"), (float("-inf"), "-inf"), (1e300, "1e+300")],
)
def test_numbers_are_told_with_five_digits(value: float | None, told: str) -> None:
    assert words.number(value) == told


def test_reasons_are_grouped_the_most_common_first() -> None:
    assert words.reasons(diagnosis()) == [("the run holds no gradient norm", ["nan-gradient", "zero-gradient"])]


def test_curves_name_their_extremes() -> None:
    from postmortem.reports.charts import summary

    told = summary(curve("loss", [3.0, 1.0, float("nan"), 2.0]))
    assert told == "loss: 3 → 2 over 4 points; lowest 1 at step 10, highest 3 at step 0; 1 × NaN, first at step 20"
    assert summary(curve("loss", [float("inf")])) == "loss: 1 × inf, first at step 0"
