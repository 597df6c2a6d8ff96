"""The command as users and scripts call it: exit codes of the contract, one clear line for bad input, the rest still analysed."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

HEALTHY = "".join(f"step {i}: loss {2.0 / (1 + 0.05 * i):.4f}, lr 1.0e-4\n" for i in range(200))
CRASH = "Traceback (most recent call last):\n  File \"train.py\", line 7, in <module>\n    main()\nKeyError: 'labels'\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def examine(run_command, run: Path, *more: str) -> tuple[int, dict, str]:
    code, out, err = run_command("examine", run, "--format", "json", *more)
    assert "Traceback" not in err
    return code, json.loads(out), err


def test_healthy_run_is_clean(tmp_path: Path, run_command) -> None:
    write(tmp_path, "train.log", HEALTHY)
    code, answer, _ = examine(run_command, tmp_path)
    assert code == 0
    assert answer["schema"] == "postmortem/1"
    assert answer["root_causes"] == []
    assert not [f for f in answer["findings"] if f["severity"] != "note"]
    assert answer["unchecked"], "a healthy run says what could not be checked"


def test_crash_is_named_with_its_line(tmp_path: Path, run_command) -> None:
    write(tmp_path, "train.log", HEALTHY + CRASH)
    code, answer, _ = examine(run_command, tmp_path)
    assert code == 1
    assert answer["root_causes"][0] == "python-exception"
    primary = next(e for e in answer["findings"][0]["evidence"] if e["primary"])
    assert (primary["file"], primary["line"]) == ("train.log", 204)
    assert "KeyError" in primary["text"]


def test_same_input_same_bytes(tmp_path: Path, run_command) -> None:
    write(tmp_path, "train.log", HEALTHY + CRASH)
    first = run_command("examine", tmp_path, "--format", "json", env={"PYTHONHASHSEED": "1"})
    second = run_command("examine", tmp_path, "--format", "json", env={"PYTHONHASHSEED": "2"})
    assert first == second


@pytest.mark.parametrize(
    ("prepare", "code", "word"),
    [
        (lambda run: run.rmdir(), 2, "no such directory"),
        (lambda run: None, 4, "is empty"),
        (lambda run: write(run, "blob.bin", os.urandom(2000)), 4, "none with a metric"),
        (lambda run: write(run, "empty.log", ""), 4, "none with a metric"),
    ],
    ids=["missing", "empty", "binary", "zero-bytes"],
)
def test_nothing_to_analyse_is_one_clear_line(tmp_path: Path, run_command, prepare, code: int, word: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    prepare(run)
    got, out, err = run_command("examine", run)
    assert got == code
    assert word in err
    assert str(run) in err
    assert len(err.strip().splitlines()) == 1
    assert not out


def test_a_file_instead_of_a_directory(tmp_path: Path, run_command) -> None:
    file = write(tmp_path, "train.log", HEALTHY)
    code, _, err = run_command("examine", file)
    assert code == 2
    assert "is a file" in err


ODD = {
    "broken JSON line": ("metrics.jsonl", '{"step": 1, "loss": 0.5}\n{"step": 2, "lo\n{"step": 3, "loss": 0.4}\n'),
    "no newline at the end": ("short.log", "step=1 loss=0.5\nstep=2 loss=0.4\nstep=3 loss=0.3"),
    "latin-1": ("latin.log", "Schritt für Schritt\nstep=1 loss=0.5\nstep=2 loss=0.4\nstep=3 loss=0.3\n".encode("latin-1")),
    "UTF-16": ("power.log", "step=1 loss=0.5\r\nstep=2 loss=0.4\r\nstep=3 loss=0.3\r\n".encode("utf-16")),
    "zero bytes": ("empty.csv", ""),
    "binary": ("core", b"\x7fELF" + bytes(range(256)) * 20),
    "python tag": ("hparams.yaml", "a: !!python/object/apply:os.system ['touch pwned']\nlr: 1e-4\n"),
    "script in a name": ("odd.csv", "step,<script>alert(1)</script>\n1,0.5\n2,0.4\n"),
    "cut event file": ("events.out.tfevents.1.host", b"\x18\x00\x00\x00\x00\x00\x00\x00\xa3\x7f\x4b\x22\x09\x00"),
}


@pytest.mark.parametrize("name", ODD)
def test_one_odd_file_does_not_hide_the_others(tmp_path: Path, run_command, name: str) -> None:
    write(tmp_path, "train.log", HEALTHY + CRASH)
    file, content = ODD[name]
    write(tmp_path, file, content)
    code, answer, _ = examine(run_command, tmp_path)
    assert code == 1
    assert answer["root_causes"][0] == "python-exception"
    reading = next(r for r in answer["readings"] if r["file"] == file)
    assert reading["rows"] or reading["notes"] or reading["events"], "what was not read says why"
    assert not (tmp_path / "pwned").exists()
    if name in ("no newline at the end", "latin-1", "UTF-16"):
        assert reading["rows"] == 3
    if name == "broken JSON line":
        assert (reading["rows"], reading["rejected"]) == (2, 1)


def test_links_pipes_and_sockets_are_passed_over(tmp_path: Path, run_command) -> None:
    write(tmp_path, "train.log", HEALTHY + CRASH)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "up").symlink_to("..")
    os.mkfifo(tmp_path / "fifo.log")
    listener = socket.socket(socket.AF_UNIX)
    old = os.getcwd()
    try:
        os.chdir(tmp_path)
        listener.bind("sock.log")
    finally:
        os.chdir(old)
    code, answer, _ = examine(run_command, tmp_path)
    listener.close()
    assert code == 1
    notes = {r["file"]: r["notes"][0] for r in answer["readings"] if r["format"] == "skipped"}
    assert set(notes) == {"loop", "up", "fifo.log", "sock.log"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_told(tmp_path: Path, run_command) -> None:
    write(tmp_path, "train.log", HEALTHY + CRASH)
    write(tmp_path, "secret.log", "step=1 loss=1\n").chmod(0)
    code, answer, _ = examine(run_command, tmp_path)
    assert code == 1
    assert any("cannot be read" in note for r in answer["readings"] for note in r["notes"])


def test_fail_on(tmp_path: Path, run_command) -> None:
    write(tmp_path, "train.log", HEALTHY + CRASH)
    assert run_command("examine", tmp_path, "--fail-on", "never")[0] == 0
    assert run_command("examine", tmp_path, "--fail-on", "error,warning")[0] == 1
    code, _, err = run_command("examine", tmp_path, "--fail-on", "sometimes")
    assert code == 2
    assert "never" in err


def test_several_outputs_at_once(tmp_path: Path, run_command) -> None:
    run = tmp_path / "run"
    write(run, "train.log", HEALTHY + CRASH)
    out = tmp_path / "out"
    out.mkdir()
    code, text, _ = run_command(
        "examine", run, "--format", "text", "--format", f"json:{out}/d.json", "--report", out / "r.html", "--journal", out / "j.md"
    )
    assert code == 1
    assert "KeyError" in text
    assert json.loads((out / "d.json").read_text())["root_causes"] == ["python-exception"]
    assert "<!doctype html>" in (out / "r.html").read_text().lower()[:200]
    assert "**Root Cause**" in (out / "j.md").read_text()


def test_output_that_cannot_be_written_is_exit_code_3(tmp_path: Path, run_command) -> None:
    write(tmp_path / "run", "train.log", HEALTHY + CRASH)
    write(tmp_path, "afile", "x")
    code, text, err = run_command("examine", tmp_path / "run", "--report", tmp_path / "afile" / "r.html")
    assert code == 3
    assert "KeyError" in text, "the answer is still given"
    assert "afile" in err


def test_unknown_format_names_the_known_ones(tmp_path: Path, run_command) -> None:
    write(tmp_path, "train.log", HEALTHY)
    code, _, err = run_command("examine", tmp_path, "--format", "pdf")
    assert code == 2
    assert "sarif" in err


def test_newest_run_is_the_default(tmp_path: Path, run_command) -> None:
    write(tmp_path, "old/train.log", HEALTHY)
    write(tmp_path, "new/train.log", HEALTHY + CRASH)
    os.utime(tmp_path / "old" / "train.log", (1, 1))
    code, out, _ = run_command("examine", "--format", "json", cwd=tmp_path)
    assert code == 1
    assert json.loads(out)["run"]["name"] == "new"


@pytest.mark.parametrize("extension", ["parquet", "csv", "ndjson"])
def test_frame(tmp_path: Path, run_command, extension: str) -> None:
    import polars as pl

    run = tmp_path / "run"
    write(run, "metrics.csv", "step,train/loss,=cmd()\n1,0.5,1\n2,nan,2\n")
    target = tmp_path / f"x.{extension}"
    code, _, err = run_command("frame", run, "--output", target)
    assert code == 0, err
    read = {"parquet": pl.read_parquet, "csv": pl.read_csv, "ndjson": pl.read_ndjson}[extension](target)
    extra = ["nonfinite"] if extension == "ndjson" else []  # JSON has no NaN
    assert read.columns == [
        "file",
        "line",
        "time",
        "step",
        "epoch",
        "split",
        "device",
        "rank",
        "segment",
        "metric",
        "raw_name",
        "value",
        *extra,
    ]
    assert read.height == 4
    loss = read.filter(pl.col("raw_name") == "train/loss")
    assert loss["step"].to_list() == [1, 2]
    assert loss["metric"].cast(pl.String).to_list() == ["loss", "loss"]
    if extension == "csv":
        assert "'=cmd()" in target.read_text(), "a spreadsheet must not run it"


def test_rules_and_formats_are_listed(run_command) -> None:
    code, out, _ = run_command("rules")
    assert code == 0
    assert "cuda-oom" in out
    code, out, _ = run_command("rules", "cuda-oom")
    assert code == 0
    assert "## Fix" in out
    code, _, err = run_command("rules", "cuda")
    assert code == 2
    assert "cuda-oom" in err
    code, out, _ = run_command("formats")
    assert code == 0
    assert "nanoGPT" in out


def test_compare_names_the_first_divergence(tmp_path: Path, run_command) -> None:
    good = "".join(f"{i},{2 / (1 + 0.1 * i):.5f}\n" for i in range(100))
    bad = "".join(f"{i},{2 / (1 + 0.1 * i) if i < 60 else float('nan'):.5f}\n" for i in range(100))
    write(tmp_path, "good/metrics.csv", "step,train/loss\n" + good)
    write(tmp_path, "bad/metrics.csv", "step,train/loss\n" + bad)
    write(tmp_path, "good/config.json", '{"lr": 0.001}')
    write(tmp_path, "bad/config.json", '{"lr": 0.1}')
    code, out, _ = run_command("compare", tmp_path / "good", tmp_path / "bad", "--format", "json")
    answer = json.loads(out)
    assert code == 1
    assert answer["first_divergence"]["step"] == 60
    assert answer["settings"] == {"lr": [0.001, 0.1]}
    assert "nan-death" in answer["findings"]["new"]
    code, out, _ = run_command("compare", tmp_path / "bad", tmp_path / "good")
    assert code == 0
    assert "Gone: nan-death" in out


def test_configuration_comes_from_the_user_and_never_from_the_run(tmp_path: Path, run_command) -> None:
    run = tmp_path / "work" / "run"
    write(run, "train.log", HEALTHY + CRASH)
    ignore = '[[ignore]]\nrule = "python-exception"\nreason = "known"\n'
    write(run, "postmortem.toml", ignore)
    assert run_command("examine", ".", cwd=run)[0] == 1, "a file inside the run must not silence us"
    write(tmp_path, "work/postmortem.toml", ignore)
    assert run_command("examine", "run", cwd=tmp_path / "work")[0] == 0
    write(tmp_path, "work/postmortem.toml", '[[ignore]]\nrule = "no-such-rule"\nreason = "x"\n')
    code, _, err = run_command("examine", "run", cwd=tmp_path / "work")
    assert code == 2
    assert "no-such-rule" in err


def test_overfit_split_and_identity(tmp_path: Path, run_command) -> None:
    data = write(tmp_path, "data.csv", "input,prediction,target\n" + "".join(f"{i},{i + 2},{i + 1}\n" for i in range(100)))
    before = data.read_bytes()
    code, _, err = run_command("probe", "overfit-split", data, "--rows", "8", "-o", tmp_path / "split")
    assert code == 0, err
    assert (tmp_path / "split/train.csv").read_bytes() == (tmp_path / "split/val.csv").read_bytes()
    assert len((tmp_path / "split/train.csv").read_text().splitlines()) == 9
    assert data.read_bytes() == before
    code, out, _ = run_command("probe", "compare-identity", data)
    assert code == 0
    assert json.loads(out)["identity_mae"] == 1.0
    assert json.loads(out)["worse_than_identity"] is False


def test_the_input_is_never_changed(tmp_path: Path, run_command) -> None:
    write(tmp_path, "train.log", HEALTHY + CRASH)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}
    run_command("examine", tmp_path)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*")} == before


def test_nothing_to_analyse_still_answers_in_json(tmp_path: Path, run_command) -> None:
    write(tmp_path, "blob.bin", os.urandom(2000))
    code, answer, _ = examine(run_command, tmp_path)
    assert code == 4
    assert answer["root_causes"] == []
    assert [(r["file"], bool(r["notes"])) for r in answer["readings"]] == [("blob.bin", True)]
