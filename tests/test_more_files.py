"""Packed logs, logs in records, NumPy curves, SwanLab's and Trackio's runs, models written as text, and ranks that only the file name tells."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from damage_samples import samples

from postmortem import examine, frame, parsers
from postmortem.model import Reading
from postmortem.parsers import compressed
from postmortem.parsers.base import HEAD_BYTES, Request, SourceFile


def put(folder: Path, name: str, data: bytes) -> SourceFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return SourceFile(path, name, len(data), data[:HEAD_BYTES])


def read(folder: Path, name: str, data: bytes, parser: str) -> Reading:
    source = put(folder, name, data)
    claimed = parsers.claim(source)
    assert claimed is not None and parser == claimed.NAME
    return claimed.read(source, Request())


# ---------------------------------------------------------------------- gzip

LOG = "".join(f"step {k} loss {2 / (k + 1):.4f} lr 0.001\n" for k in range(3000)).encode()
ROWS = "step,train_loss\n" + "".join(f"{k},{1 / (k + 1)}\n" for k in range(3000))


@pytest.mark.parametrize(
    ("name", "data", "raw_name", "count"),
    [
        ("train.log.gz", LOG, "loss", 3000),
        ("train.log.1.gz", LOG, "loss", 3000),
        ("m.csv.gz", ROWS.encode(), "train_loss", 3000),
        ("wide.csv.gz", ROWS.encode("utf-16"), "train_loss", 3000),
        ("m.jsonl.gz", b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n', "loss", 2),
        ("history.json.gz", b'{"loss": [0.5, 0.4, 0.3]}', "loss", 3),
    ],
)
def test_packed_files_read_like_the_file_inside(tmp_path: Path, name: str, data: bytes, raw_name: str, count: int) -> None:
    reading = read(tmp_path, name, gzip.compress(data), "gzip")
    plain = tmp_path / "plain"
    inside = parsers.claim(put(plain, name.removesuffix(".gz"), data))
    assert inside is not None
    expected = inside.read(put(plain, name.removesuffix(".gz"), data), Request())
    found = next(block for block in reading.blocks if block.raw_name == raw_name)
    same = next(block for block in expected.blocks if block.raw_name == raw_name)
    assert len(found.values) == count and np.array_equal(found.values, same.values) and np.array_equal(found.lines, same.lines)
    assert reading.file == name and reading.format == expected.format and reading.rejected == 0 and "packed with gzip" in reading.notes[0]


def test_a_cut_archive_keeps_what_came_before(tmp_path: Path) -> None:
    dice = random.Random(3)
    rows = "".join(f'{{"step": {k}, "loss": {dice.random()}}}\n' for k in range(4000)).encode()
    packed = gzip.compress(rows)
    reading = read(tmp_path, "m.jsonl.gz", packed[: len(packed) // 2], "gzip")
    assert 1000 < len(reading.blocks[0].values) < 4000 and any("damaged" in note for note in reading.notes)


def test_appended_archives_are_one_file(tmp_path: Path) -> None:
    reading = read(tmp_path, "m.csv.gz", gzip.compress(b"step,loss\n1,0.5\n") + gzip.compress(b"2,0.25\n"), "gzip")
    assert reading.blocks[0].values.tolist() == [0.5, 0.25]


def test_an_archive_that_unpacks_to_anything_is_read_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "AT_LEAST", 4000)
    monkeypatch.setattr(compressed, "TIMES", 1)
    reading = read(tmp_path, "m.csv.gz", gzip.compress(b"step,loss\n" + b"1,0.5\n" * 200_000), "gzip")
    assert 600 < reading.rows < 1000 and any("unpacks to more than" in note for note in reading.notes)
    assert list(tmp_path.iterdir()) == [tmp_path / "m.csv.gz"]


@pytest.mark.parametrize(
    ("inside", "said"), [(bytes(1 << 20), "no log"), (b"a" * 257 + b"ustar" + bytes(300), "tar"), (gzip.compress(LOG), "no log")]
)
def test_other_archives_stay_closed(tmp_path: Path, inside: bytes, said: str) -> None:
    reading = read(tmp_path, "backup.gz", gzip.compress(inside), "gzip")
    assert not reading.rows and said in reading.notes[0]


# ---------------------------------------------------------------------- output in records

STACK = 'Traceback (most recent call last):\n  File "t.py", line 3, in main\n    x()\nRuntimeError: no such map\n'


def records(messages: list[str], key: str, **more: object) -> bytes:
    return "".join(json.dumps({key: message, **more}) + "\n" for message in messages).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("container.log", records([f"step {k} loss {1 / k:.3f}\n" for k in range(1, 30)], "log", stream="stdout")),
        ("app.jsonl", records([f"step {k} loss {1 / k:.3f}" for k in range(1, 30)], "message", levelname="INFO", lineno=7)),
        ("pod.json", records([f"step {k} loss {1 / k:.3f}" for k in range(1, 30)], "textPayload", severity="INFO")),
        ("export.csv", ("time,message,host\n" + "".join(f'{k},"step {k} loss {1 / k:.3f}, ok",a\n' for k in range(1, 30))).encode()),
    ],
)
def test_messages_in_records_are_a_log(tmp_path: Path, name: str, data: bytes) -> None:
    found = next(block for block in read(tmp_path, name, data, "wrapped").blocks if block.raw_name == "loss")
    assert found.values[[0, -1]].tolist() == [1.0, 0.034] and found.steps is not None and found.steps.tolist() == list(range(1, 30))
    assert found.lines is not None and found.lines.tolist() == list(range(1 + (name == "export.csv"), 30 + (name == "export.csv")))


def test_a_traceback_in_one_message_stands_at_its_record(tmp_path: Path) -> None:
    data = records(["step 1 loss 0.5", f"failed at step 2\n{STACK}", "step 3 loss 0.4", "step 4 loss 0.3"], "message", level="INFO")
    reading = read(tmp_path, "app.jsonl", data, "wrapped")
    stack = next(event for event in reading.events if event.kind == "exception")
    assert stack.line == 2 and stack.data["first_line"] == 2 and stack.data["last_line"] == 2
    found = next(block for block in reading.blocks if block.raw_name == "loss")
    assert found.lines is not None and found.lines.tolist() == [1, 3, 4]


def test_pieces_that_docker_cut_and_lines_that_are_no_records(tmp_path: Path) -> None:
    data = records(["step 1 lo", "ss 0.5\n", "step 2 loss 0.4\n"], "log", stream="stdout") + b"step 3 loss 0.3\n"
    found = read(tmp_path, "c.log", data + records(["step 4 loss 0.2\n"], "log", stream="stdout"), "wrapped").blocks[0]
    assert found.values.tolist() == [0.5, 0.4, 0.3, 0.2] and found.lines is not None and found.lines.tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "data", "parser"),
    [
        ("m.jsonl", records(["epoch 1 done"] * 9, "message", step=4, loss=0.5, level="INFO"), "jsonlines"),
        ("m.jsonl", records(["one 1", "two 2", "three 3"], "message", id=5), "jsonlines"),  # nothing says that it is a log
        ("m.csv", b"step,message,loss\n1,some 1 words,0.5\n2,some 2 words,0.4\n3,some 3 words,0.3\n", "delimited"),
    ],
)
def test_records_that_measure_are_no_wrapped_log(tmp_path: Path, name: str, data: bytes, parser: str) -> None:
    assert read(tmp_path, name, data, parser).file == name


def test_what_wandb_tells_of_itself_is_no_crash_of_the_training(tmp_path: Path) -> None:
    said = "2026-01-01 10:00:01,5 INFO    MainThread:7 [wandb_init.py:init():81] starting backend\nconfig: {'lr': 0.1, 'bs': 4, 'n': 1, 'a': 2}\n"
    reading = read(tmp_path, "run/logs/debug.log", (said + STACK).encode(), "wandb")
    assert not reading.events and not reading.blocks and ("config.lr", 0.1) in [(s.key, s.value) for s in reading.settings]
    assert any(event.kind == "exception" for event in read(tmp_path, "run/debug.log", f"step 1\n{STACK}".encode(), "text").events)


# ---------------------------------------------------------------------- NumPy


def saved(values: object) -> bytes:
    held = io.BytesIO()
    np.save(held, np.asarray(values), allow_pickle=True)
    return held.getvalue()


@pytest.mark.parametrize("kind", ["<f8", "<f4", "<f2", ">f8", "<i4"])
def test_a_saved_curve(tmp_path: Path, kind: str) -> None:
    reading = read(tmp_path, "train_losses.npy", saved(np.array([4, 2, 1], kind)), "arrays")
    assert reading.blocks[0].raw_name == "train_losses" and reading.blocks[0].values.tolist() == [4, 2, 1]
    assert reading.blocks[0].lines is not None and reading.blocks[0].lines.tolist() == [1, 2, 3] and reading.blocks[0].steps is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("features.npy", np.ones(9)),
        ("loss.npy", np.ones((3, 3))),
        ("loss.npy", np.array(0.5)),
        ("loss.npy", np.array([{"a": 1}, None], object)),
    ],
)
def test_other_arrays_stay_closed(tmp_path: Path, name: str, values: object) -> None:
    assert not read(tmp_path, name, saved(values), "binary").blocks


def test_a_cut_curve_and_one_that_lies_about_its_length(tmp_path: Path) -> None:
    data = saved(np.arange(100.0))
    reading = read(tmp_path, "loss.npy", data[:-81], "arrays")
    assert len(reading.blocks[0].values) == 89 and reading.rejected == 1
    huge = data.replace(b"(100,)", b"(9" + b"9" * 15 + b",)").replace(b" " * 12, b"", 1)
    assert read(tmp_path, "val_loss.npy", huge, "arrays").rejected == 1


# ---------------------------------------------------------------------- SwanLab and Trackio


def test_swanlab(tmp_path: Path) -> None:
    sample = samples()["swanlab"][0]
    reading = read(tmp_path, sample.name, sample.data, "swanlab")
    found = reading.blocks[0]
    assert found.raw_name == "train/loss" and found.values.tolist() == [1.0, 0.5]
    assert found.steps is not None and found.steps.tolist() == [1, 2] and found.lines is not None and found.lines.tolist() == [2, 3]
    assert {event.kind for event in reading.events} == {"lifecycle", "exception"}
    assert [event.data["what"] for event in reading.events if event.kind == "lifecycle"] == ["start", "exit"]
    cut = read(tmp_path, "b.swanlab", sample.data[:-9], "swanlab")
    assert cut.blocks[0].values.tolist() == [1.0, 0.5] and cut.rejected == 1


def test_trackio(tmp_path: Path) -> None:
    path = tmp_path / "project.db"
    base = sqlite3.connect(path)
    base.execute("create table metrics (id integer primary key, run_id text, timestamp text, run_name text, step integer, metrics text)")
    base.execute("create table configs (id integer primary key, run_id text, run_name text, config text)")
    rows = [("r", f"2026-03-03T10:00:0{k}+00:00", "a", k, f'{{"train/loss": {1 / (k + 1)}, "note": "x"}}') for k in range(4)]
    rows += [("s", "2026-03-03T11:00:00+00:00", "b", 0, b'{"train/loss": "NaN"}')]
    base.executemany("insert into metrics (run_id, timestamp, run_name, step, metrics) values (?, ?, ?, ?, ?)", rows)
    base.execute("""insert into configs values (1, 'r', 'a', '{"lr": 0.2, "net": {"depth": 3}, "_Created": "x"}')""")
    base.commit()
    base.close()
    reading = read(tmp_path, "project.db", path.read_bytes(), "trackio")
    first, second = reading.blocks
    assert first.raw_name == "train/loss" and first.steps is not None and first.steps.tolist() == [0, 1, 2, 3] and first.times is not None
    assert np.isnan(second.values).all() and second.series == 1
    assert {s.key: s.value for s in reading.settings} == {"lr": 0.2, "net.depth": 3}


# ---------------------------------------------------------------------- names of files


@pytest.mark.parametrize(
    "data", [b"tree\nversion=v4\nsplit_gain=5.5 4.5\n", b'{"learner": {"a": 1, "gradient_booster": {"loss_changes": [0.5, 0.4]}}}']
)
def test_models_written_as_text_hold_no_curves(tmp_path: Path, data: bytes) -> None:
    assert not read(tmp_path, "model.json", data, "binary").blocks


def test_ranks_that_the_file_names_say(tmp_path: Path) -> None:
    for rank in (0, 1, 3):
        put(tmp_path, f"logs/nemo_log_globalrank-{rank}_localrank-0.txt", f"step 1 loss 0.{rank}5\nstep 2 loss 0.{rank}4\n".encode())
    for rank in (4, 8):
        put(tmp_path, f"lora_rank{rank}/metrics.csv", b"step,train_loss\n1,0.5\n2,0.4\n")
    table = frame.assemble(examine.read(tmp_path))
    said = {(row["raw_name"], row["rank"]) for row in table.iter_rows(named=True)}
    assert said == {("loss", 0), ("loss", 1), ("loss", 3), ("train_loss", None)}


def test_objects_in_an_array_are_never_unpacked(tmp_path: Path) -> None:
    data = saved(np.array([1.0, 2.0])).replace(b"<f8", b"|O ") + pickle.dumps([1])
    assert not read(tmp_path, "loss.npy", data, "binary").blocks
