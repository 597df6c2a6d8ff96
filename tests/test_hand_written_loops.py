"""What training loops of one's own print: a split's word as a name, twin files, key=value rows, bare speeds, JSON beside a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from postmortem import attempts, frame
from postmortem.examine import examine, read
from postmortem.model import Curve


def curves(folder: Path, **files: str) -> list[Curve]:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    readings = read(folder)
    return frame.curves(frame.assemble(readings), attempts.split(readings).last)


def test_a_bare_split_is_named_by_its_neighbour(tmp_path: Path) -> None:
    found = curves(tmp_path, run__log="".join(f"[{i:02d}/12] recon={0.5 / i:.4f} (val {0.6 / i:.4f})\n" for i in range(1, 13)))
    assert [(c.raw_name, c.metric, c.split, c.direction) for c in found] == [
        ("recon", "recon", None, "down"),
        ("val", "recon", "val", "down"),
    ]


def test_a_total_beside_parts_of_a_loss_is_the_loss(tmp_path: Path) -> None:
    rows = "epoch,total,recon,kl,val_total,val_recon\n" + "".join(f"{i},{2 / i},{1 / i},{1 / i},{3 / i},{2 / i}\n" for i in range(2, 9))
    found = curves(tmp_path, vae__csv=rows)
    assert {c.raw_name: (c.metric, c.split) for c in found if "total" in c.raw_name} == {
        "total": ("loss", None),
        "val_total": ("loss", "val"),
    }


@pytest.mark.parametrize("row", ["{i},{i},0.5", "{i},0.{i}5,x"])
def test_a_total_of_samples_or_beside_no_loss_is_none(tmp_path: Path, row: str) -> None:
    rows = "epoch,total,recon_loss\n" + "".join(row.format(i=i) + "\n" for i in range(2, 9))
    assert next(c for c in curves(tmp_path, run__csv=rows) if c.raw_name == "total").metric == "total"


def test_catboost_names_its_training_file_learn(tmp_path: Path) -> None:
    rows = "iter\tLogloss\n" + "".join(f"{i}\t{1 / (i + 1)}\n" for i in range(8))
    found = curves(tmp_path, learn_error__tsv=rows, test_error__tsv=rows)
    assert {c.file: c.split for c in found} == {"learn_error.tsv": "train", "test_error.tsv": "test"}


@pytest.mark.parametrize(("other", "split"), [("valid_log__csv", "val"), ("run_log__csv", None)])
def test_twin_files_tell_their_split(tmp_path: Path, other: str, split: str | None) -> None:
    rows = "epoch,loss\n" + "".join(f"{i},{1 / i:.4f}\n" for i in range(1, 9))
    found = curves(tmp_path, train_log__csv=rows, **{other: rows})
    assert {c.file: c.split for c in found}[other.replace("__", ".")] == split


def test_rows_of_keys_and_values_are_no_settings(tmp_path: Path) -> None:
    rows = "".join(f"level=info event=sweep step={i} loss={2 / i:.4f} gnorm=0.1\n" for i in range(1, 13))
    loss = next(c for c in curves(tmp_path, run__log=rows) if c.metric == "loss")
    assert len(loss) == 12 and loss.step(-1) == 12


def test_a_speed_needs_no_name_beside_a_metric(tmp_path: Path) -> None:
    found = curves(tmp_path, run__log="".join(f"epoch {i} loss={2 / i:.4f} 3.1s, {900 - i} samples/s\n" for i in range(1, 9)))
    assert [(c.raw_name, c.metric) for c in found if c.kind == "speed"] == [("samples/s", "throughput")]


def test_a_split_in_any_word_of_a_record(tmp_path: Path) -> None:
    rows = "".join(f'{{"kind": "{k}", "it": {i}, "xent": {2 / i:.4f}}}\n' for i in range(1, 9) for k in ("train", "dev"))
    assert [(c.metric, c.split, len(c)) for c in curves(tmp_path, m__jsonl=rows)] == [("loss", "train", 8), ("loss", "val", 8)]


def test_a_traceback_below_json_lines(tmp_path: Path) -> None:
    rows = "".join(f'{{"step": {i}, "loss": {2 / i:.4f}}}\n' for i in range(1, 41))
    trace = 'Traceback (most recent call last):\n  File "loop.py", line 9, in <module>\n    step()\nZeroDivisionError: division by zero\n'
    (tmp_path / "out.log").write_text(rows + trace)
    found = examine(tmp_path)
    assert found.run.status == "crashed" and found.causes[0].finding.rule == "python-exception"
