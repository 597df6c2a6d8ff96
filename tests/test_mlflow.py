"""MLflow's two stores: folders of small files, and a database that is only ever read."""

from __future__ import annotations

import math
import sqlite3
import time
from pathlib import Path

import pytest

from postmortem.model import Reading
from postmortem.parsers import mlflow
from postmortem.parsers.base import HEAD_BYTES, LIKELY, NO, PLAUSIBLE, SURE, Request, SourceFile

RUN = "mlruns/7/" + "0123456789abcdef" * 2
MILLIS = 1_700_000_000_000


def source(folder: Path, name: str, data: bytes) -> SourceFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return SourceFile(path, name, len(data), data[:HEAD_BYTES])


def read(folder: Path, name: str, data: bytes) -> Reading:
    found = source(folder, name, data)
    assert mlflow.claims(found) > NO
    return mlflow.read(found, Request())


# ---------------------------------------------------------------------- file store


def test_metric_files(tmp_path: Path) -> None:
    words = f"{MILLIS} 2.5 0\n{MILLIS + 1500} nan 10\n{MILLIS + 3000} 1e-3 20\n".encode()
    (block,) = read(tmp_path, f"{RUN}/metrics/val/loss", words).blocks
    assert block.raw_name == "val/loss" and block.split is None
    assert block.steps.tolist() == [0, 10, 20] and block.lines.tolist() == [1, 2, 3]
    assert block.times.tolist() == [1_700_000_000_000_000, 1_700_000_001_500_000, 1_700_000_003_000_000]
    assert block.values[0] == 2.5 and math.isnan(block.values[1]) and block.values[2] == 1e-3


def test_a_metric_called_metrics_keeps_its_whole_name(tmp_path: Path) -> None:
    (block,) = read(tmp_path, f"{RUN}/metrics/eval/metrics/f1", f"{MILLIS} 1 2\n".encode()).blocks
    assert block.raw_name == "eval/metrics/f1"


def test_old_and_new_lines(tmp_path: Path) -> None:
    old = read(tmp_path, f"{RUN}/metrics/a", b"1500000000 0.5\n1500000001 0.25").blocks[0]
    assert old.steps is None and old.values.tolist() == [0.5, 0.25] and old.times.tolist()[0] == 1_500_000_000_000_000
    new = read(tmp_path, f"{RUN}/metrics/b", f"{MILLIS} 0.5 3 train_set 5f2a m-1\n".encode()).blocks[0]
    assert new.steps.tolist() == [3]


def test_broken_lines_are_counted_with_the_first(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        f"{RUN}/metrics/a",
        f"{MILLIS} 1 0\n{MILLIS} 2\x00\n\n{MILLIS} x 2\n{MILLIS} 3 99999999999999999999\n{MILLIS} 4 4\n{MILLIS}".encode(),
    )
    assert reading.blocks[0].values.tolist() == [1, 4] and reading.blocks[0].lines.tolist() == [1, 6]
    assert reading.rejected == 4
    assert reading.notes == [f"line 2 is no metric: '{MILLIS} 2\\x00'"]


def test_params_and_tags_are_settings(tmp_path: Path) -> None:
    found = [read(tmp_path, f"{RUN}/{name}", value).settings[0] for name, value in {
        "params/optimizer/lr": b"1e-4", "params/pretrained": b"True", "params/note": b"n/a", "tags/mlflow.runName": b"first try",
    }.items()]  # fmt: skip
    assert [(setting.key, setting.value) for setting in found] == [
        ("optimizer/lr", 1e-4),
        ("pretrained", True),
        ("note", "n/a"),
        ("tags.mlflow.runName", "first try"),
    ]
    assert str(found[0].origin) == f"{RUN}/params/optimizer/lr:1"


@pytest.mark.parametrize(("status", "what"), [("3", "finish"), ("4", "exit"), ("5", "exit"), ("1", None), ("FINISHED", "finish")])
def test_status_of_a_run(tmp_path: Path, status: str, what: str | None) -> None:
    meta = f"artifact_uri: file:///x\nend_time: {MILLIS + 5}\nlifecycle_stage: active\nrun_id: abc\nrun_name: 'try'\n"
    meta += f"start_time: {MILLIS}\nstatus: {status}\n"
    begin, *end = read(tmp_path, f"{RUN}/meta.yaml", meta.encode()).events
    assert (begin.data["what"], begin.time, begin.line) == ("start", MILLIS * 1000, 6)
    assert [(event.data["what"], event.time, event.line) for event in end] == ([(what, (MILLIS + 5) * 1000, 7)] if what else [])


def test_meta_of_an_experiment_is_a_note(tmp_path: Path) -> None:
    reading = read(tmp_path, "mlruns/7/meta.yaml", b"artifact_location: file:///x\nexperiment_id: '7'\nname: cats\n")
    assert reading.notes == ["experiment 'cats'"] and reading.events == []


def test_claims_by_place_and_content(tmp_path: Path) -> None:
    line = f"{MILLIS} 1.0 0\n".encode()
    assert mlflow.claims(source(tmp_path, f"{RUN}/metrics/loss", line)) == SURE
    assert mlflow.claims(source(tmp_path, f"{RUN}/metrics/empty", b"")) == PLAUSIBLE
    assert mlflow.claims(source(tmp_path, f"{RUN}/metrics/readme", b"about these metrics\n")) == NO
    assert mlflow.claims(source(tmp_path, f"{RUN}/artifacts/model.txt", line)) == NO
    assert mlflow.claims(source(tmp_path, "metrics/loss.csv", line)) == NO  # no run around it
    assert mlflow.claims(source(tmp_path, "params/a.yaml", b"lr: 1\n")) == NO
    assert mlflow.claims(source(tmp_path, "model/meta.yaml", b"name: x\n")) == NO
    source(tmp_path, "run/meta.yaml", b"run_id: 1\nstatus: 3\nlifecycle_stage: active\nartifact_uri: x\n")
    assert mlflow.claims(source(tmp_path, "run/metrics/loss", line)) == SURE  # the folder of one run, copied out of its store


def test_the_run_directory_may_be_the_run_itself(tmp_path: Path) -> None:
    source(tmp_path, "meta.yaml", b"run_id: 1\nlifecycle_stage: active\n")
    (block,) = read(tmp_path, "metrics/train/loss", f"{MILLIS} 1.0 0\n".encode()).blocks
    assert block.raw_name == "train/loss"


# ---------------------------------------------------------------------- database


def database(path: Path, rows: int = 50, runs: int = 1) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript("""
        create table runs (run_uuid varchar(32) primary key, name text, status text, start_time bigint, end_time bigint);
        create table params (key text, value text, run_uuid text);
        create table latest_metrics (key text, value double, timestamp bigint, step bigint, is_nan boolean, run_uuid text);
        create table metrics (key text, value double, timestamp bigint, run_uuid text, step bigint, is_nan boolean,
                              primary key (key, timestamp, step, run_uuid, value, is_nan));
    """)
    for run in range(runs):
        connection.execute(
            "insert into runs values (?, ?, ?, ?, ?)", (f"r{run}", f"try {run}", "FINISHED" if run else "FAILED", MILLIS, MILLIS + 9)
        )
        connection.execute("insert into params values ('lr', '0.01', ?)", (f"r{run}",))
        values = [(key, 1 / (step + 1), MILLIS + step, f"r{run}", step * 10, 0) for step in range(rows) for key in ("loss", "acc")]
        connection.executemany("insert into metrics values (?, ?, ?, ?, ?, ?)", values)
    connection.execute("insert into metrics values ('odd', 0, 5, 'r0', 1, 1), ('odd', -1.7976931348623157e308, 5, 'r0', 2, 0)")
    connection.commit()
    connection.close()
    return path.read_bytes()


def test_database(tmp_path: Path) -> None:
    data = database(tmp_path / "mlflow.db", runs=2)
    reading = read(tmp_path, "mlflow.db", data)
    assert [(block.raw_name, block.series, len(block.values)) for block in reading.blocks] == [
        ("loss", 0, 50), ("acc", 0, 50), ("loss", 1, 50), ("acc", 1, 50), ("odd", 0, 2),
    ]  # fmt: skip
    loss, accuracy = reading.blocks[:2]
    assert loss.values.tolist() == [1 / (step + 1) for step in range(50)] and loss.steps.tolist() == list(range(0, 500, 10))
    assert loss.lines.tolist() == list(range(1, 100, 2)) and accuracy.lines.tolist() == list(range(2, 101, 2))
    assert loss.times.tolist()[0] == MILLIS * 1000
    assert repr(reading.blocks[4].values.tolist()) == "[nan, -inf]"
    assert [(setting.key, setting.value) for setting in reading.settings] == [("lr", 0.01), ("lr", 0.01)]
    assert [event.data["what"] for event in reading.events] == ["start", "exit", "start", "finish"]
    assert reading.notes == ["2 runs in one database: series 0, 1, 2 ... in the order of their first value"]


def test_database_is_not_touched(tmp_path: Path) -> None:
    """A writer that holds it is no hindrance, and nothing in the directory changes."""
    data = database(tmp_path / "odd #name?" / "mlflow.db")
    writer = sqlite3.connect(tmp_path / "odd #name?" / "mlflow.db")
    writer.execute("begin exclusive")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "odd #name?").iterdir())
    assert read_again(tmp_path / "odd #name?", "mlflow.db").rows == 102
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "odd #name?").iterdir()) == before
    assert (tmp_path / "odd #name?" / "mlflow.db").read_bytes() == data
    writer.close()


def read_again(folder: Path, name: str) -> Reading:
    path = folder / name
    return mlflow.read(SourceFile(path, name, path.stat().st_size, path.read_bytes()[:HEAD_BYTES]), Request())


def test_log_beside_the_database_is_told(tmp_path: Path) -> None:
    database(tmp_path / "mlflow.db")
    (tmp_path / "mlflow.db-wal").write_bytes(b"x")
    assert "a write-ahead log lies beside" in read_again(tmp_path, "mlflow.db").notes[0]


def test_damaged_databases_become_notes(tmp_path: Path) -> None:
    data = bytearray(database(tmp_path / "a" / "mlflow.db", rows=2000))
    for page in range(len(data) // 2, len(data), 4096):
        data[page : page + 400] = b"\xff" * 400
    reading = read(tmp_path, "mlflow.db", bytes(data))
    assert reading.rejected >= 1 and "cannot be read to its end" in reading.notes[0]
    assert reading.rows > 100  # what stood before the damage
    for broken in (b"SQLite format 3\0" + b"A" * 5000, b"SQLite format 3\0", bytes(data[:3000])):
        reading = read(tmp_path, "mlflow.db", broken)
        assert reading.rows == 0 and reading.notes


def test_another_database_is_named_only(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "optuna.db")
    connection.execute("create table trials (id integer)")
    connection.commit()
    connection.close()
    found = source(tmp_path, "optuna.db", (tmp_path / "optuna.db").read_bytes())
    assert mlflow.claims(found) == PLAUSIBLE
    assert mlflow.read(found, Request()).notes == ["an SQLite database without MLflow's tables; its tables: trials"]
    assert mlflow.claims(source(tmp_path, "mlflow.sqlite", found.head)) == LIKELY


def test_hostile_schema_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view in place of a table may count for ever: the clock ends it."""
    monkeypatch.setattr("postmortem.parsers._sqlite.SECONDS", 0.2)
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    connection.execute("create table metrics (key, value)")
    endless = "with recursive n(key) as (select 1 union all select key + 1 from n)"
    connection.execute(f"create view params as {endless} select sum(key) as key, 1 as value from n")
    connection.commit()
    connection.close()
    start = time.perf_counter()
    reading = read_again(tmp_path, "mlflow.db")
    assert time.perf_counter() - start < 5
    assert any("interrupted" in note for note in reading.notes)
