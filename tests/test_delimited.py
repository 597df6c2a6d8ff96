"""Tables of numbers: every sin of a CSV, against pandas where pandas can read it, and mutated input that must never raise."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from postmortem.frame import NO_STEP, Block
from postmortem.model import Reading
from postmortem.parsers import _columns, _table, _thinning, delimited
from postmortem.parsers.base import HEAD_BYTES, LIKELY, NO, Request, SourceFile


def source(folder: Path, name: str, content: str | bytes) -> SourceFile:
    data = content.encode() if isinstance(content, str) else content
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a fresh file: writing over an old one waits for the disk
    path.write_bytes(data)
    return SourceFile(path, name, len(data), data[:HEAD_BYTES])


@pytest.fixture
def read(tmp_path):
    def _read(content: str | bytes, name: str = "metrics.csv") -> Reading:
        return delimited.read(source(tmp_path, name, content), Request())

    return _read


def block(reading: Reading, name: str, split: str | None = None) -> Block:
    found = [b for b in reading.blocks if b.raw_name == name and b.split == split]
    assert len(found) == 1, [(b.raw_name, b.split) for b in reading.blocks]
    return found[0]


def test_padded_header_keeps_its_names_and_the_axis_is_no_metric(read):
    reading = read("   epoch,   train/box_loss\n    1,    1.25\n    2,    0.75\n")
    assert [b.raw_name for b in reading.blocks] == ["train/box_loss"]
    found = block(reading, "train/box_loss")
    assert found.values.tolist() == [1.25, 0.75]
    assert found.epochs.tolist() == [1, 2] and found.steps is None and found.lines.tolist() == [2, 3]


def test_empty_cells_of_a_sparse_table_are_no_rows(read):
    reading = read("epoch,step,train_loss,val_loss\n0,9,,0.9\n0,9,1.1,\n1,19,,0.8\n1,19,nan,\n")
    assert block(reading, "val_loss").lines.tolist() == [2, 4]
    train = block(reading, "train_loss")
    assert train.steps.tolist() == [9, 19] and train.values[0] == 1.1 and np.isnan(train.values[1])


def test_a_column_of_splits_parts_train_from_validation(read):
    reading = read("mode,epoch,loss\ntrain,1,0.9\nval,1,1.0\ntrain,2,0.5\nval,2,0.8\n")
    assert block(reading, "loss", "train").values.tolist() == [0.9, 0.5]
    assert block(reading, "loss", "val").lines.tolist() == [3, 5]


def test_a_table_with_one_value_a_row_gets_its_metrics_from_the_tag_column(read):
    reading = read("tag,step,value\nloss,1,0.9\nlr,1,0.1\nloss,2,0.7\nlr,2,0.1\n")
    assert block(reading, "loss").values.tolist() == [0.9, 0.7] and block(reading, "lr").steps.tolist() == [1, 2]


def test_json_comment_on_top_gives_settings_and_start_time(read):
    reading = read('#{"t_start": 1600000000.0, "env_id": "Pole"}\nr,l,t\n1.5,10,2.0\n2.5,11,4.0\n')
    assert {s.key: s.value for s in reading.settings} == {"t_start": 1600000000.0, "env_id": "Pole"}
    found = block(reading, "r")
    assert found.times.tolist() == [1600000002_000000, 1600000004_000000] and found.lines.tolist() == [3, 4]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_delimiters_line_ends_and_encodings(read, delimiter, end, encoding):
    text = "".join(delimiter.join(row) + end for row in (("step", "löss"), ("1", "0.5"), ("2", "1e-3")))
    found = block(read(text.encode(encoding)), "löss")
    assert found.values.tolist() == [0.5, 1e-3] and found.steps.tolist() == [1, 2] and found.lines.tolist() == [2, 3]


def test_no_header(read, tmp_path):
    reading = read("0.5\t1.5\n0.4\t1.4\n0.3\t1.3\n", "out.tsv")
    assert [b.raw_name for b in reading.blocks] == ["col1", "col2"] and block(reading, "col1").lines.tolist() == [1, 2, 3]
    assert "no header line" in " ".join(reading.notes)


def test_index_column_is_neither_metric_nor_step(read):
    reading = read(",loss\n0,0.5\n1,0.4\n")
    assert [b.raw_name for b in reading.blocks] == ["loss"] and block(reading, "loss").steps is None


def test_a_restart_with_other_columns(read):
    reading = read("step,loss\n1,0.9\n2,0.8\nstep,loss,lr\n1,0.95,0.1\n")
    assert block(reading, "loss").values.tolist() == [0.9, 0.8, 0.95] and block(reading, "loss").steps.tolist() == [1, 2, 1]
    assert block(reading, "lr").lines.tolist() == [5] and reading.rejected == 0 and "2 header lines" in " ".join(reading.notes)


def test_ragged_rows_are_counted_and_the_first_is_shown(read):
    reading = read("step,a,b\n1,1,1\n2,2\n3,3,3\n4,4,4,4\n5,5,5\n")
    assert reading.rejected == 2 and "line 3" in reading.notes[0] and block(reading, "a").steps.tolist() == [1, 3, 5]


def test_the_whole_cells_of_a_cut_last_line_are_kept(read):
    reading = read("step,a,b,c\n1,1,1,1\n2,2.5,2.")
    assert block(reading, "a").values.tolist() == [1, 2.5] and block(reading, "b").values.tolist() == [1]
    assert reading.rejected == 1 and "ends in the middle" in reading.notes[0]


def test_a_quote_that_never_closes_costs_one_line(read):
    body = "".join(f"{k},x,{k}.5\n" for k in range(2, 400))
    reading = read(f'step,word,loss\n1,"x,0.5\n{body}')
    assert reading.rejected == 1 and len(block(reading, "loss").values) == 398


def test_line_numbers_are_physical_where_quoted_cells_span_lines(read):
    reading = read('step,text,loss\n1,"a\nb\nc",0.5\n2,d,0.4\n')
    assert block(reading, "loss").lines.tolist() == [2, 5]


def test_units_truth_and_tensors(read):
    found = read("step,util,ok,loss\n1,12.5 %,True,tensor(0.5)\n2,13 %,False,\"tensor(0.25, device='cuda:0')\"\n")
    assert block(found, "util").values.tolist() == [12.5, 13] and block(found, "ok").values.tolist() == [1, 0]
    assert block(found, "loss").values.tolist() == [0.5, 0.25]


def test_steps_that_count_batches_within_an_epoch_are_no_steps(read):
    rows = "".join(f"{epoch},{batch},{1 / (epoch * 10 + batch):.4f}\n" for epoch in range(1, 5) for batch in (10, 20, 30))
    reading = read("epoch,iter,loss\n" + rows)
    assert block(reading, "loss").steps is None and "starts again in every epoch" in " ".join(reading.notes)


def test_a_restart_is_not_taken_for_a_batch_counter(read):
    rows = "".join(f"{step // 10},{step},0.5\n" for _ in range(2) for step in range(0, 40, 5))
    assert block(read("epoch,step,loss\n" + rows), "loss").steps is not None


def test_elapsed_time_stays_a_metric_and_a_date_becomes_the_time(read):
    reading = read("epoch,time,loss\n1,7.5,0.5\n2,14.5,0.4\n")
    assert block(reading, "time").values.tolist() == [7.5, 14.5] and block(reading, "loss").times is None
    reading = read("step,timestamp,loss\n1,2024-05-01 00:00:00,0.5\n2,2024-05-01T00:00:01.5Z,0.4\n")
    assert np.diff(block(reading, "loss").times).tolist() == [1_500_000]


def test_exact_steps_up_to_64_bits_and_none_beyond(read):
    reading = read("step,loss\n9223372036854775807,0.5\n9223372036854775808,0.3\n1e19,0.1\n3.0,0.2\n2.5,0.2\n")
    assert block(reading, "loss").steps.tolist() == [9223372036854775807, NO_STEP, NO_STEP, 3, NO_STEP]


def test_nested_cells_become_joined_names_and_the_config_becomes_settings(read):
    row = "\"{'lr': nan, 'learner': {'kl': 0.5}}\",%d,%d,\"{'gamma': 0.9}\"\n"
    reading = read("info,training_iteration,timesteps_total,config\n" + row % (1, 100) + row % (2, 200))
    assert block(reading, "info/learner/kl").steps.tolist() == [100, 200] and np.isnan(block(reading, "info/lr").values).all()
    assert [(s.key, s.value) for s in reading.settings] == [("config.gamma", 0.9)]


def test_a_progress_bar_with_commas_is_no_table(tmp_path):
    bars = "\r".join(f"train:  {i}%|▎         | {i}/100 [00:0{i}<03:21, 48.01it/s, loss={2 / i:.3f}]" for i in range(1, 9))
    assert delimited.claims(source(tmp_path, "nohup.out", bars)) == NO
    assert delimited.claims(source(tmp_path, "stderr.txt", bars.replace("\r", "\n"))) == NO


def test_a_table_of_things_is_no_history(read):
    reading = read("image,score\na.png,0.5\nb.png,0.4\nc.png,0.9\nd.png,0.1\n")
    assert not reading.blocks and "not a history" in " ".join(reading.notes)


def test_text_in_a_numeric_column_is_told(read):
    reading = read("step,loss\n1,0.5\n2,oops\n3,0.4\n4,N/A\n")
    assert block(reading, "loss").steps.tolist() == [1, 3] and reading.rejected == 1 and "oops" in " ".join(reading.notes)


# ---------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gpu.csv", "timestamp, utilization.gpu [%], memory.used [MiB]\n2024/01/01 00:00:00.000, 5 %, 11 MiB\n"),
        ("gpu.csv", "2024/01/01 00:00:00.000, 5 %, 11 MiB, 11.64 W\n2024/01/01 00:00:01.000, 6 %, 11 MiB, 11.70 W\n"),
        ("train.log", "2024-01-01 10:00:00,123 INFO step 1\n2024-01-01 10:00:01,123 INFO step 2\n"),
        ("train.log", "step 1, loss 0.5\nstep 2, loss 0.4\n"),
        ("a.json", '{"a": 1,\n"b": 2}\n'),
        ("a.csv", b"\x00\x01\x02\x03,\x00\n"),
    ],
)
def test_leaves_alone_what_is_not_its_own(tmp_path, name, text):
    assert delimited.claims(source(tmp_path, name, text)) == NO


def test_claims_by_content_before_name(tmp_path):
    assert delimited.claims(source(tmp_path, "metrics.csv", "step,loss\n1,0.5\n2,0.4\n")) == LIKELY
    assert NO < delimited.claims(source(tmp_path, "progress.txt", "Epoch\tLossPi\n1\t0.5\n2\t0.4\n3\t0.1\n")) < LIKELY


# ---------------------------------------------------------------------- large files, and pandas as the oracle


def sparse(rows: int, seed: int = 3) -> str:
    """A sparse table as Lightning writes it: validation columns every tenth row, integers that turn into floats and NaN."""
    rng = random.Random(seed)
    lines = ["epoch,step,train_loss,lr,val_loss,count"]
    for step in range(rows):
        count = "1" if step < 500 else rng.choice(("0.5", "nan", "2"))
        if step % 10 == 9:
            lines.append(f"{step // 100},{step},,,{rng.uniform(0, 2):.6f},{count}")
        else:
            lines.append(f"{step // 100},{step},{rng.gauss(1, 0.3)!r},{rng.choice(('1e-3', '0.001', '5E-4'))},,{count}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("rows", [40, 700, 30_000])
def test_agrees_with_pandas(tmp_path, rows):
    path = source(tmp_path, "metrics.csv", sparse(rows))
    reading = delimited.read(path, Request())
    oracle = pd.read_csv(path.path, keep_default_na=False, na_values=[""], dtype=str)
    assert reading.rejected == 0 and not reading.notes
    for name in ("train_loss", "lr", "val_loss", "count"):
        want = oracle[name].dropna()
        found = block(reading, name)
        np.testing.assert_array_equal(found.values, want.astype(float).to_numpy())
        assert found.lines.tolist() == (want.index + 2).tolist()
        assert found.steps.tolist() == oracle["step"][want.index].astype(int).tolist()


def test_the_fast_and_the_plain_way_read_the_same(tmp_path, monkeypatch):
    text = sparse(6_000).replace("\n3000,", "\n3000,", 1)
    dirty = text.splitlines()
    dirty[100] = dirty[100] + ",9,9"
    dirty[200] = "x," * 5 + "x"
    for content in (text, "\n".join(dirty) + "\n"):
        path = source(tmp_path, "m.csv", content)
        fast = delimited.read(path, Request())
        monkeypatch.setattr(delimited, "SMALL_BLOCK", 10**12)
        slow = delimited.read(path, Request())
        monkeypatch.undo()
        assert fast.rejected == slow.rejected and len(fast.blocks) == len(slow.blocks)
        for one, other in zip(fast.blocks, slow.blocks, strict=True):
            assert one.raw_name == other.raw_name
            np.testing.assert_array_equal(one.values, other.values)
            np.testing.assert_array_equal(one.lines, other.lines)


@pytest.mark.parametrize("header", ["step,loss", "  step,   loss"])
def test_a_second_header_deep_in_a_large_file_is_found(tmp_path, header):
    text = f"{header}\n" + "".join(f"{k},0.5\n" for k in range(20_000)) + f"{header}\n" + "".join(f"{k},0.25\n" for k in range(9))
    reading = delimited.read(source(tmp_path, "m.csv", text), Request())
    assert len(block(reading, "loss").values) == 20_009 and reading.rejected == 0 and "2 header lines" in reading.notes[0]


def test_block_borders_change_nothing(tmp_path):
    from postmortem.parsers import _textblocks

    text = "step,text,loss\r\n" + "".join(f'{k},"ä{k}",{k / 7!r}\r\n' for k in range(500))
    path = source(tmp_path, "m.csv", text)
    want = text.replace("\r\n", "\n").encode()
    for size in (1, 7, 64, 1000, 10**6):
        assert b"".join(_textblocks.blocks(path.path, path.head, size)) == want


def test_thinning_keeps_what_matters():
    rng = np.random.default_rng(1)
    values = rng.normal(size=100_000)
    values[[12_345, 77_777]] = 50.0, -60.0
    values[50_000:50_040] = np.nan
    keep = _thinning.thin(values, np.arange(len(values)) // 8)
    kept = values[keep]
    assert len(keep) < 30_000 and keep[0] == 0 and keep[-1] == len(values) - 1
    assert np.nanmax(kept) == 50.0 and np.nanmin(kept) == -60.0 and {12_345, 77_777, 50_000, 50_039} <= set(keep.tolist())


def test_a_long_series_is_thinned_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(_table, "POINTS_A_SERIES", 30_000)
    monkeypatch.setattr(_table.Table.__init__, "__defaults__", (30_000,))
    monkeypatch.setattr(_table, "POINTS_IN_ALL", 10**9)
    rows = 90_000
    text = "step,loss\n" + "".join(f"{k},{999 if k == 44_444 else k % 7}\n" for k in range(rows))
    reading = delimited.read(source(tmp_path, "m.csv", text), Request())
    found = block(reading, "loss")
    assert len(found.values) <= 30_000 and found.steps[0] == 0 and found.steps[-1] == rows - 1
    assert found.steps[int(np.argmax(found.values))] == 44_444 and "thinned" in reading.notes[0]


@pytest.mark.parametrize("odd", [np.nan, np.inf, 0.5])
def test_thinning_is_even(odd):
    """The beginning of a series, thinned over and over while it grows, keeps as many points as its end; and it ends, whatever the values."""
    rng, table = np.random.default_rng(3), _table.Table(points_a_series=20_000)
    for piece in range(60):
        values = rng.normal(size=5_000)
        values[::2] = odd
        table.add(_table.Rows(np.arange(1, 5_001) + 5_000 * piece), "loss", values)
    (block,) = table.blocks()
    eighths = np.histogram(block.lines, 8, (1, 300_000))[0]
    assert len(block.values) <= 20_000 and block.lines[[0, -1]].tolist() == [1, 300_000]
    assert eighths.min() > 0.7 * eighths.max() and eighths.min() > 500
    assert "thinned evenly from 300,000" in table.notes()[0]


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1e-7", 1e-7), (".5", 0.5), ("5.", 5.0), ("+3", 3.0), (" 2 ", 2.0), ("12.5%", 12.5), ("11.64 W", 11.64), ("1e999", np.inf),
        ("-inf", -np.inf), ("Infinity", np.inf), ("tensor(0.25, device='cuda:0', grad_fn=<X>)", 0.25), ("True", 1.0),
        ("1_000", None), ("0,5", None), ("1,234.5", None), ("١٢", None), ("0x10", None), ("pending", None), ("", None), ("-", None),
    ],
)  # fmt: skip
def test_number_table(cell, value):
    assert _columns.number(cell) == value


@pytest.mark.parametrize("cell", ["nan", "NaN", "-nan", "-nan(ind)", "1.#QNAN"])
def test_spellings_of_nan(cell):
    assert np.isnan(_columns.number(cell))


@pytest.mark.parametrize("cell", [1_700_000_000, 1_700_000_000_000, "1700000000.0", "2023-11-14T22:13:20Z", "2023-11-14_22-13-20"])
def test_moments(cell):
    assert _columns.moment(cell) == 1_700_000_000_000_000


@pytest.mark.parametrize("cell", [0, 7.5, "abc", "2023-99-99 00:00:00", True, float("nan"), 10**400, -1])
def test_what_is_no_moment(cell):
    assert _columns.moment(cell) == _columns.NO_TIME


# ---------------------------------------------------------------------- damage


def test_every_truncation_keeps_the_whole_rows_before_it(tmp_path):
    text = "step,loss,lr\n" + "".join(f"{k},{k}.25,0.1\n" for k in range(1, 8))
    for cut in range(len("step,loss,lr\n1,1.25,0.1\n"), len(text)):
        whole = text[:cut].count("\n") - 1
        found = block(delimited.read(source(tmp_path, "m.csv", text[:cut]), Request()), "loss")
        assert found.values[:whole].tolist() == [k + 0.25 for k in range(1, whole + 1)]


# ---------------------------------------------------------------------- sins of whole files


@pytest.mark.parametrize(("delimiter", "encoding"), [(";", "utf-8"), ("\t", "utf-16")])
def test_decimal_commas(read, delimiter, encoding):
    rows = [("Epoche", "train_loss", "lr"), ("0", "1,25", "1e-3"), ("1", "0,5", "1e-3"), ("2", "nan", "5e-4")]
    reading = read("".join(delimiter.join(row) + "\r\n" for row in rows).encode(encoding))
    assert block(reading, "train_loss").values[:2].tolist() == [1.25, 0.5] and np.isnan(block(reading, "train_loss").values[2])
    assert block(reading, "lr").values.tolist() == [1e-3, 1e-3, 5e-4] and reading.rejected == 0


def test_decimal_commas_in_a_large_file(read):
    reading = read("step;loss\n" + "".join(f"{k};0,{k % 97 + 10}\n" for k in range(9000)))
    found = block(reading, "loss")
    assert len(found.values) == 9000 and found.values[0] == 0.1 and found.steps[-1] == 8999


def test_commas_that_may_part_thousands_are_no_decimals(read):
    reading = read("step;tokens;loss\n1;1,024;x\n2;2,048;x\n")
    assert not reading.blocks  # 1.024 or 1024: nobody can know, so it is neither


def test_quoted_thousands(read):
    reading = read('step,tokens,loss\n1,"1,024",0.5\n2,"1,022,048.5",0.25\n')
    assert block(reading, "tokens").values.tolist() == [1024, 1022048.5]


def test_settings_in_comments_on_top_know_their_line(read):
    reading = read("# lambda_bc=10.0, gamma=0.99\n# env: hopper\n# written by the trainer = see the docs\nstep,loss\n1,0.5\n2,0.4\n")
    assert [(s.key, s.value, s.origin.line) for s in reading.settings] == [("lambda_bc", 10.0, 1), ("gamma", 0.99, 1), ("env", "hopper", 2)]
    assert block(reading, "loss").lines.tolist() == [5, 6]


def test_a_long_comment_takes_no_time(read):
    assert len(read("# " + "ab" * 20_000 + "\nstep,loss\n1,0.5\n2,0.25\n").blocks) == 1


def test_names_in_a_comment_above_blanks_and_other_comments(read):
    reading = read("#  step   rmse_trn   lr\n# nan where no data is\n  0   1.5e0   1e-3\n100   nan     9e-4\n", "lcurve.out")
    assert block(reading, "rmse_trn").steps.tolist() == [0, 100] and block(reading, "lr").values.tolist() == [1e-3, 9e-4]


def test_a_large_table_of_blanks_is_read_as_a_small_one(read):
    rows = [f"  {k:8d}   {1 / (k + 1):.5e}\t {'nan' if k % 50 else '0.5'} \n" for k in range(9000)]
    large, small = read("# step loss acc\n" + "".join(rows), "a.out"), read("# step loss acc\n" + "".join(rows[:90]), "b.out")
    for name in ("loss", "acc"):
        assert np.array_equal(block(large, name).values[:90], block(small, name).values, equal_nan=True)
        assert block(large, name).lines.tolist() == list(range(2, 9002)) and block(large, name).steps[-1] == 8999


def test_two_lines_of_names(read):
    reading = read(",train,train,val\n,loss,acc,loss\nepoch,,,\n0,0.5,0.1,0.6\n1,0.4,0.2,0.5\n")
    assert [b.raw_name for b in reading.blocks] == ["train/loss", "train/acc", "val/loss"]
    assert block(reading, "val/loss").epochs.tolist() == [0, 1] and block(reading, "val/loss").lines.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("name", "text", "raw_name"),
    [
        ("run-a_train-tag-epoch_loss.csv", "Wall time,Step,Value\n1700000000.5,0,0.5\n1700000001.5,1,0.25\n", "epoch_loss"),
        ("scalars/kl_loss.csv", "0,0.5\n1,0.25\n", "kl_loss"),
        ("events/metric/top1.plx", "step|timestamp|metric\n0|2026-01-01T10:00:00+00:00|0.5\n1|2026-01-01T10:00:01+00:00|0.25\n", "top1"),
        ("train.csv", "step,value\n0,0.5\n1,0.25\n", "value"),
        ("log.csv", "0,0.5\n1,0.25\n", "col2"),
    ],
)
def test_a_file_named_after_its_metric(read, name, text, raw_name):
    reading = read(text, name)
    found = block(reading, raw_name)
    assert found.values.tolist() == [0.5, 0.25] and (raw_name == "col2" or found.steps.tolist() == [0, 1])


def test_epoch_step_and_value_without_a_header(read):
    found = block(read("".join(f"{k},{k * 500},{1 / k}\n" for k in range(1, 5)), "critic_loss.csv"), "critic_loss")
    assert found.epochs.tolist() == [1, 2, 3, 4] and found.steps.tolist() == [500, 1000, 1500, 2000]
    falls = read("".join(f"{k},{9 - k},{1 / k}\n" for k in range(1, 5)), "critic_loss.csv")
    assert [b.raw_name for b in falls.blocks] == ["col1", "col2", "col3"]


def test_the_envelope_of_a_downloaded_chart_is_no_series(read):
    head = '"Step","calm-sea-3 - train/loss","calm-sea-3 - train/loss__MIN","calm-sea-3 - train/loss__MAX","q__MIN"\n'
    reading = read(head + '"10","0.5","0.5","0.5","1"\n"20","0.25","0.25","0.25","2"\n')
    assert [b.raw_name for b in reading.blocks] == ["calm-sea-3 - train/loss", "q__MIN"]


@pytest.mark.parametrize(
    "text",
    [
        "PassengerId,Age,Fare\n1,20,7.5\n2,31,8.5\n3,44,9.5\n",
        "y_true,y_pred\n1,1.1\n2,2.2\n3,2.9\n",
        ",precision,recall\ncat,0.9,0.8\ndog,0.7,0.9\nbird,0.8,0.8\n",
        "9,1,0\n2,7,1\n0,3,8\n",
    ],
)
def test_tables_of_things_and_answers_are_no_history(read, text):
    reading = read(text, "table.csv")
    assert not reading.blocks and "not a history" in reading.notes[-1]


def test_counters_that_end_in_id_are_no_things(read):
    assert len(read("batch_id,loss\n0,0.5\n1,0.25\n").blocks) == 2


def test_a_missing_value_written_as_a_rule(read):
    assert block(read("EPOCH\tTRAIN_LOSS\tDEV_LOSS\n1\t0.5\t_\n2\t0.4\t0.6\n3\t0.3\t_\n4\t0.2\t_\n"), "DEV_LOSS").lines.tolist() == [3]
