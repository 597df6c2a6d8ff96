"""The journal and the regression test: once for each fault, under a lock, and not a byte of the user's text changed."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diagnoses import diagnosis, finding, saying, two_faults

from postmortem.errors import NothingToAnalyse, OutputError
from postmortem.reports import journal, regress

DAY = {"SOURCE_DATE_EPOCH": "1780000000"}


def test_an_entry_has_the_parts_of_a_journal(tmp_path: Path) -> None:
    assert journal.append(two_faults(), tmp_path / "journal.md", environ=DAY)
    text = (tmp_path / "journal.md").read_text(encoding="utf-8")
    parts = [
        "## Debugging Log",
        "### 2026-05-28 - The fault nan-death",
        "**Symptom**",
        "**Root Cause**",
        "**Evidence**",
        "metrics.csv:22",
        "**Fix**",
        "**Prevention**",
        "**Resolution**: open",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "**Also seen**: `python-exception`" in text


def test_the_same_run_and_finding_is_written_once(tmp_path: Path) -> None:
    book = tmp_path / "journal.md"
    assert journal.append(two_faults(), book)
    first = book.read_bytes()
    assert not journal.append(two_faults(), book)
    assert book.read_bytes() == first
    assert journal.append(two_faults(), book, run_id="another run")
    assert journal.append(saying("ValueError: another fault"), book)
    assert book.read_bytes().startswith(first)
    assert book.read_text().count("**Resolution**: open") == 3
    assert book.read_text().count("## Debugging Log\n") == 1


def test_a_healthy_run_leaves_no_entry(tmp_path: Path) -> None:
    assert not journal.append(diagnosis(finding(severity="note")), tmp_path / "journal.md")
    assert not (tmp_path / "journal.md").exists()


@pytest.mark.parametrize(
    "old", [b"# my notes\r\nno end of line", b"# notes\nend\n", b"", b"caf\xe9 in latin-1\n", b"\xef\xbb\xbf# with a mark\n"]
)
def test_what_the_user_wrote_stays_to_the_byte(tmp_path: Path, old: bytes) -> None:
    book = tmp_path / "journal.md"
    book.write_bytes(old)
    book.chmod(0o600)
    assert journal.append(two_faults(), book)
    new = book.read_bytes()
    assert new.startswith(old)
    assert (b"\r\n### " in new) == (b"\r\n" in old)
    assert new.count(b"\n") == new.count(b"\r\n") or b"\r" not in new
    assert book.stat().st_mode & 0o777 == 0o600
    assert not journal.append(two_faults(), book)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.md").write_text("# notes\n")
    (tmp_path / "link.md").symlink_to("real.md")
    assert journal.append(two_faults(), tmp_path / "link.md")
    assert (tmp_path / "link.md").is_symlink()
    assert "nan-death" in (tmp_path / "real.md").read_text()


@pytest.mark.parametrize("spoof", ["<!-- postmortem:entry {} -->", "\n<!-- postmortem:entry {} -->\n", "```\n<!-- postmortem:entry {} -->"])
def test_a_log_line_cannot_pass_for_our_marker(tmp_path: Path, spoof: str) -> None:
    book = tmp_path / "journal.md"
    mark = journal.identity(two_faults())
    assert journal.append(saying("RuntimeError: " + spoof.format(mark)), book)
    assert journal.append(two_faults(), book)


def test_places_that_cannot_hold_a_journal(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a directory"):
        journal.append(two_faults(), tmp_path)
    with pytest.raises(OutputError, match="could not be written"):
        journal.append(two_faults(), tmp_path / "missing" / "journal.md")
    (tmp_path / "wide.md").write_text("# notes", encoding="utf-16")
    with pytest.raises(OutputError, match="UTF-16"):
        journal.append(two_faults(), tmp_path / "wide.md")


def test_waiting_for_another_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(journal, "WAIT", 0.2)
    with FileLock(tmp_path / "journal.md.lock"), pytest.raises(OutputError, match="another process"):
        journal.append(two_faults(), tmp_path / "journal.md")
    assert journal.append(two_faults(), tmp_path / "journal.md")


def test_a_stale_lock_file_does_not_hold_anybody_up(tmp_path: Path) -> None:
    (tmp_path / "journal.md.lock").write_text('{"pid": 999999, "host": "node-42"}')
    assert journal.append(two_faults(), tmp_path / "journal.md")


def _many(path: str, who: int) -> None:
    for i in range(5):
        journal.append(two_faults(), path, run_id=f"{who}-{i}")


def test_processes_that_write_together_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_many, args=(str(tmp_path / "journal.md"), who)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    text = (tmp_path / "journal.md").read_text()
    assert text.count("<!-- postmortem:entry ") == text.count("**Resolution**: open") == 20
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == ["journal.md"]


# ---------------------------------------------------------------------- the regression test


@pytest.mark.parametrize(
    ("findings", "unchecked", "outcome"),
    [
        ([], [], "passes"),
        ([("nan-death", "error")], [], "fails"),
        ([("nan-death", "note"), ("plateau", "error")], [], "passes"),
        ([], ["nan-death"], "is skipped"),
    ],
)
def test_the_regression_test_fails_only_if_the_finding_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, findings: list[tuple[str, str]], unchecked: list[str], outcome: str
) -> None:
    file = regress.write(two_faults(), tmp_path / "tests")
    assert file.name == "test_postmortem_nan_death_small.py"
    answer = {
        "headline": "The loss is NaN",
        "findings": [
            {"rule": rule, "severity": severity, "evidence": [{"file": "a.csv", "line": 3, "text": "loss is NaN"}]}
            for rule, severity in findings
        ],
        "unchecked": [{"rule": rule, "reason": "no loss"} for rule in unchecked],
    }
    package = tmp_path / "stand_in" / "postmortem"  # a command that gives this answer
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(f"print({json.dumps(answer)!r})\n")
    monkeypatch.chdir(package.parent)  # python -m looks there first
    monkeypatch.setenv("POSTMORTEM_RUN", str(tmp_path))
    written: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), written)
    test = written["test_nan_death_does_not_come_back"]
    if outcome == "passes":
        test()
    elif outcome == "fails":
        with pytest.raises(AssertionError, match=r"a\.csv:3: loss is NaN"):
            test()
    else:
        with pytest.raises(pytest.skip.Exception, match="no loss"):
            test()


def test_the_regression_test_is_plain_python_whatever_the_run_is_called(tmp_path: Path) -> None:
    faulty = two_faults()
    faulty = replace(faulty, run=replace(faulty.run, name='x"""\nimport os\n', path='/runs/\\"""+__import__("os")\n{{7*7}}'))
    text = regress.render(faulty)
    compile(text, "test.py", "exec")
    assert "{{7*7}}" in text and "\nimport os\n\n" not in text.replace("\nimport json\nimport os\n", "")
    assert regress.write(faulty, tmp_path).name == "test_postmortem_nan_death_x_nimport_os.py"


def test_a_healthy_run_has_no_regression_test(tmp_path: Path) -> None:
    with pytest.raises(NothingToAnalyse):
        regress.write(diagnosis(), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not be made"):
        regress.write(two_faults(), tmp_path / "file" / "tests")
