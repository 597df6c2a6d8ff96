"""JSON in all its forms: lines, documents, trainer_state (against json), Sacred, error files; and mutated input that must never raise."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import re
from pathlib import Path

import numpy as np
import pytest

from postmortem.frame import Block
from postmortem.model import Reading
from postmortem.parsers import _json, error_files, json_document, jsonlines, lfs_pointer, sacred, trainer_state
from postmortem.parsers.base import HEAD_BYTES, LIKELY, NO, SURE, Request, SourceFile

PARSERS = (jsonlines, json_document, trainer_state, sacred, error_files, lfs_pointer)


def source(folder: Path, name: str, content: str | bytes) -> SourceFile:
    data = content.encode() if isinstance(content, str) else content
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return SourceFile(path, name, len(data), data[:HEAD_BYTES])


@pytest.fixture
def read(tmp_path):
    """Reads with the parser that claims the file highest, which must be the expected one."""

    def _read(expected, name: str, content: str | bytes, wanted: str = "") -> Reading:
        file = source(tmp_path, name, content)
        best = max(PARSERS, key=lambda parser: parser.claims(file))
        assert best is expected and best.claims(file) > NO, {parser.NAME: parser.claims(file) for parser in PARSERS}
        return best.read(file, Request(re.compile(wanted) if wanted else None))

    return _read


def block(reading: Reading, name: str, split: str | None = None) -> Block:
    found = [b for b in reading.blocks if b.raw_name == name and b.split == split]
    assert len(found) == 1, [(b.raw_name, b.split) for b in reading.blocks]
    return found[0]


# ---------------------------------------------------------------------- lines


def test_nested_keys_are_joined_and_bare_nan_is_nan(read):
    text = '{"timesteps_total": 10, "info": {"learner": {"kl": NaN}}, "done": false}\n'
    text += '{"timesteps_total": 20, "info": {"learner": {"kl": 0.5}}}\n'
    found = block(read(jsonlines, "result.json", text), "info/learner/kl")
    assert math.isnan(found.values[0]) and found.values[1] == 0.5
    assert found.steps.tolist() == [10, 20] and found.lines.tolist() == [1, 2]


def test_mode_is_the_split_and_a_batch_counter_is_no_step(read):
    rows = [{"mode": "train", "epoch": e, "iter": i, "loss": 1 / (10 * e + i)} for e in (1, 2, 3) for i in (1, 2)]
    rows.insert(2, {"mode": "val", "epoch": 1, "iter": 7, "mAP": 0.25})
    reading = read(jsonlines, "x.log.json", "".join(json.dumps(row) + "\n" for row in [{"env_info": {"torch": "2.1"}, "seed": 1}, *rows]))
    assert block(reading, "loss", "train").epochs.tolist() == [1, 1, 2, 2, 3, 3] and block(reading, "loss", "train").steps is None
    assert block(reading, "mAP", "val").lines.tolist() == [4]
    assert [(s.key, s.value) for s in reading.settings] == [("env_info.torch", "2.1")]


def test_percent_signs_python_quotes_and_strings_that_are_numbers(read):
    text = '{"value": 14.5%, "epoch": 1}\n{\'value\': nan, \'epoch\': 2, \'note\': None}\n{"value": "1e-3", "epoch": 3}\n'
    found = block(read(jsonlines, "m.jsonl", text), "value")
    assert found.values[0] == 14.5 and math.isnan(found.values[1]) and found.values[2] == 1e-3 and found.epochs.tolist() == [1, 2, 3]


def test_objects_appended_on_one_line_and_over_many(read):
    found = block(read(jsonlines, "metrics.json", '{"step": 1, "loss": 0.5}{"step": 2, "loss": 0.4}\n{"step": 3, "loss": 0.3}\n'), "loss")
    assert found.steps.tolist() == [1, 2, 3] and found.lines.tolist() == [1, 1, 2]
    pretty = "".join(json.dumps({"step": k, "loss": k / 2}, indent=2) + "\n" for k in (1, 2, 3))
    found = block(read(jsonlines, "log.json", pretty), "loss")
    assert found.steps.tolist() == [1, 2, 3] and found.lines.tolist() == [1, 5, 9]


def test_broken_lines_are_counted_and_the_wanted_ones_kept(read):
    text = '{"step": 1, "loss": 0.5}\n{"step": 2, "lo\n{"step": 3, "loss": 0.3}\nCUDA out of memory\n'
    text += '{"step": 4, "loss": 0.1}\n{"step": 5, "loss": 1}\n'
    reading = read(jsonlines, "m.jsonl", text, wanted="out of memory")
    assert reading.rejected == 2 and "line 2" in reading.notes[0] and block(reading, "loss").steps.tolist() == [1, 3, 4, 5]
    assert [(e.kind, e.line, e.text) for e in reading.events] == [("log", 4, "CUDA out of memory")]


def test_one_value_a_record(read):
    text = "".join(json.dumps({"metric": "loss", "variant": "train", "iter": k, "value": k / 4}) + "\n" for k in (1, 2))
    assert block(read(jsonlines, "metrics.jsonl", text), "loss/train").steps.tolist() == [1, 2]


def test_a_traceback_inside_a_record_is_an_exception(read):
    trace = 'Traceback (most recent call last):\n  File "train.py", line 3, in main\n    f()\nValueError: bad batch\n'
    reading = read(jsonlines, "log.jsonl", '{"step": 1, "loss": 1.0}\n' + json.dumps({"level": "ERROR", "exc_info": trace}) + "\n")
    assert [(e.kind, e.line, e.text) for e in reading.events] == [("exception", 2, "ValueError: bad batch")]


def test_records_that_name_things_are_no_history(read):
    text = "".join(json.dumps({"path": f"{k}.png", "score": k}) + "\n" for k in range(5))
    reading = read(jsonlines, "boxes.jsonl", text)
    assert not reading.blocks and "not a history" in reading.notes[0]


# ---------------------------------------------------------------------- documents


@pytest.mark.parametrize("indent", [None, 1])
def test_keras_history(read, indent):
    text = json.dumps(
        {"loss": [0.5, 0.4, math.nan], "val_loss": [0.6, 0.5, 0.4], "params": {"lr": 0.1}, "betas": [0.9, 0.99]}, indent=indent
    )
    reading = read(json_document, "history.json", text)
    assert sorted(b.raw_name for b in reading.blocks) == ["loss", "val_loss"] and block(reading, "loss").epochs is None
    assert block(reading, "loss").lines.tolist() == ([1, 1, 1] if indent is None else [3, 4, 5])
    assert ("params.lr", 0.1) in [(s.key, s.value) for s in reading.settings]


def test_lists_beside_an_epoch_list_and_in_nested_dicts(read):
    reading = read(json_document, "r.json", '{"train": {"epoch": [3, 4], "loss": [0.5, 0.4]}, "val": {"loss": [0.6, 0.5]}}')
    assert block(reading, "train/loss").epochs.tolist() == [3, 4] and block(reading, "val/loss").epochs is None


def test_a_list_of_records_in_a_document(read):
    reading = read(
        json_document, "state.json", json.dumps({"stage": 0, "history": [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}]}, indent=1)
    )
    assert block(reading, "loss").steps.tolist() == [1, 2] and block(reading, "loss").lines.tolist() == [4, 8]
    assert [(s.key, s.value, s.origin.line) for s in reading.settings] == [("stage", 0, 2)]


def test_single_numbers_take_the_epoch_of_the_file_or_of_its_name(read):
    found = block(read(json_document, "metrics_epoch_7.json", '{"training_loss": 0.5,\n "validation_loss": 0.6}'), "validation_loss")
    assert found.values.tolist() == [0.6] and found.epochs.tolist() == [7] and found.lines.tolist() == [2]
    found = block(read(json_document, "all_results.json", '{"epoch": 3.0, "eval_loss": 0.25}'), "eval_loss")
    assert found.epochs.tolist() == [3]


def test_pairs_of_step_and_value(read):
    text = '{"train": {"loss": [[0, 0.5], [10, 0.4],\n [20, 0.3]]}, "exported/acc": [[1700000000.5, 5, 0.1], [1700000001.5, 6, 0.2]], "lr": 0.1}'
    reading = read(json_document, "history.json", text)
    assert block(reading, "train/loss").steps.tolist() == [0, 10, 20] and block(reading, "train/loss").lines.tolist() == [1, 1, 2]
    assert block(reading, "exported/acc").values.tolist() == [0.1, 0.2] and block(reading, "exported/acc").times[0] == 1_700_000_000_500_000
    assert [(s.key, s.value) for s in reading.settings] == [("lr", 0.1)]


def test_pairs_of_a_cut_document(read):
    reading = read(json_document, "history.json", '{"train/loss": [[0, 0.5], [10, 0.4], [20, 0.3], [3')
    assert block(reading, "train/loss").steps.tolist() == [0, 10, 20] and reading.rejected == 1


def test_boxes_and_falling_numbers_are_no_pairs(read):
    reading = read(json_document, "results.json", '{"loss": [0.5, 0.4], "miou": [[3, 0.5], [1, 0.4]], "acc_box": [[1, 2], [3, 4, 5]]}')
    assert [b.raw_name for b in reading.blocks] == ["loss"]


def test_a_key_for_each_epoch_or_step(read):
    text = '{"epoch_1": {"train": {"loss": 0.5}},\n "epoch_2": {"train": {"loss": 0.4}}}'
    found = block(read(json_document, "results.json", text), "train/loss")
    assert found.epochs.tolist() == [1, 2] and found.lines.tolist() == [1, 2]
    text = '{"val": {"acc": {"100": 0.5, "200": 0.6, "300": 0.7}}, "lr": 0.1, "n": 1}'
    reading = read(json_document, "log.json", text)
    assert block(reading, "val/acc").steps.tolist() == [100, 200, 300]
    assert {s.key: s.value for s in reading.settings} == {"lr": 0.1, "n": 1}


def test_scores_of_classes_or_folds_are_no_steps(read):
    reading = read(json_document, "summary.json", '{"acc": {"0": 0.5, "1": 0.6, "2": 0.7}}')
    assert {b.raw_name for b in reading.blocks} == {"acc/0", "acc/1", "acc/2"} and all(b.steps is None for b in reading.blocks)


def test_lists_called_by_their_split_beside_steps(read):
    reading = read(json_document, "log.json", '{"iters": [0, 250], "train": [0.5, 0.4], "val": [0.6, 0.5], "sizes": [1, 2, 3]}')
    assert block(reading, "train").steps.tolist() == [0, 250] and {b.raw_name for b in reading.blocks} == {"train", "val"}


def test_tables_as_pandas_writes_them(read):
    columns = {"epoch": {"0": 5, "1": 6}, "train_loss": {"0": 0.5, "1": None}, "note": {"0": "a", "1": "b"}}
    found = block(read(json_document, "history.json", json.dumps(columns)), "train_loss")
    assert found.epochs.tolist() == [5] and found.lines.tolist() == [1]
    split = {"columns": ["step", "loss"], "index": [0, 1], "data": [[10, 0.5], [20, 0.4]]}
    assert block(read(json_document, "log.json", json.dumps(split)), "loss").steps.tolist() == [10, 20]
    classes = {"precision": {"0": 0.5, "1": 0.6}, "recall": {"0": 0.5, "1": 0.6}}
    assert all(len(b.values) == 1 for b in read(json_document, "summary.json", json.dumps(classes)).blocks)


def test_things_with_a_number_are_no_history(read):
    boxes = [{"image_id": k, "category_id": k % 3, "score": 0.5} for k in range(9)]
    reading = read(jsonlines, "boxes.jsonl", "".join(json.dumps(box) + "\n" for box in boxes))
    assert not reading.blocks and "numbered by 'image_id'" in reading.notes[-1]
    same = "".join(json.dumps({"run_id": 7, "loss": 1 / (k + 1)}) + "\n" for k in range(9))
    assert block(read(jsonlines, "log.jsonl", same), "loss").values[0] == 1


@pytest.mark.parametrize("name", ["hp.json", "hyper.json", "flags.json", "setup.json"])
def test_what_was_set_is_not_measured(tmp_path, name):
    file = source(tmp_path, name, '{"steps": 50000, "lr": 0.0003, "loss_weight": 0.5, "batch": 256, "dropout": 0.1}')
    assert json_document.claims(file) == NO


def test_a_plain_config_is_not_taken_for_results(tmp_path):
    assert json_document.claims(source(tmp_path, "config.json", '{"lr": 0.001, "dropout": 0.1, "loss": "mse", "betas": [0.9, 0.99]}')) == NO


# ---------------------------------------------------------------------- trainer_state, with json as the oracle


def state(rows: int) -> dict:
    rng = random.Random(5)
    history = [{"epoch": k / 10, "grad_norm": rng.random(), "loss": rng.gauss(1, 0.2), "step": 5 * k} for k in range(1, rows + 1)]
    history[rows // 2]["loss"] = math.nan
    history.insert(3, {"epoch": 0.3, "eval_loss": 0.75, "step": 15})
    return {"best_metric": None, "epoch": 2.0, "log_history": history, "max_steps": 300, "num_train_epochs": 2}


@pytest.mark.parametrize("rows", [10, 400, 3000])
@pytest.mark.parametrize("indent", [None, 2])
def test_trainer_state_agrees_with_json(read, rows, indent):
    text = json.dumps(state(rows), indent=indent)
    reading = read(trainer_state, "trainer_state.json", text)
    oracle = json.loads(text)["log_history"]
    lines = text.split("\n")
    for name in ("loss", "grad_norm", "eval_loss"):
        found, want = block(reading, name), [row for row in oracle if name in row]
        np.testing.assert_array_equal(found.values, [row[name] for row in want])
        assert found.steps.tolist() == [row["step"] for row in want] and found.epochs.tolist() == [row["epoch"] for row in want]
        assert indent is None or all(lines[line - 1].strip() == "{" for line in found.lines)
    told = {s.key: s for s in reading.settings}
    assert told["max_steps"].value == 300 and (indent is None or '"max_steps"' in lines[told["max_steps"].origin.line - 1])
    assert indent is None or told["epoch"].origin.line == 3
    assert reading.rejected == 0 and not reading.notes


def test_a_cut_or_broken_trainer_state_keeps_the_rows_before(read):
    text = json.dumps(state(20), indent=2)
    cut = read(trainer_state, "trainer_state.json", text[: text.index('"step": 50')])
    assert cut.rejected == 1 and "ends in the middle" in cut.notes[0] and 8 <= len(block(cut, "loss").values) <= 10
    broken = read(trainer_state, "trainer_state.json", text.replace('"step": 50', '"step" 50'))
    assert "broken at line" in broken.notes[0] and len(block(broken, "grad_norm").values) >= 8


def test_a_git_lfs_pointer_is_recognised_under_any_name(read):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
    reading = read(lfs_pointer, "trainer_state.json", text)
    assert not reading.blocks and "12,345 bytes" in reading.notes[0]


# ---------------------------------------------------------------------- Sacred


def test_sacred_run_becomes_events(read):
    trace = ["Traceback (most recent call last):\n", '  File "main.py", line 3, in run\n    go()\n', "ValueError: no such map\n"]
    run = {"command": "main", "experiment": {"name": "toy", "sources": []}, "fail_trace": trace, "heartbeat": "2024-01-01T00:01:00",
           "host": {"cpu": "x"}, "start_time": "2024-01-01T00:00:00", "status": "FAILED", "stop_time": "2024-01-01T00:02:00"}  # fmt: skip
    text = json.dumps(run, indent=2)
    reading = read(sacred, "run.json", text)
    kinds = {event.kind: event for event in reading.events}
    assert kinds["exception"].text == "ValueError: no such map" and kinds["scheduler"].data["status"] == "FAILED"
    assert "no such map" in text.split("\n")[kinds["exception"].line - 1] and '"status"' in text.split("\n")[kinds["scheduler"].line - 1]
    assert kinds["lifecycle"].data["what"] == "start" and kinds["scheduler"].time - kinds["lifecycle"].time == 120_000_000
    done = read(sacred, "run.json", text.replace("FAILED", "COMPLETED"))
    assert [e.data["what"] for e in done.events if e.kind == "lifecycle"] == ["start", "finish"]


def test_sacred_info_has_steps_beside_values_and_pickles_stay_closed(read):
    info = {
        "loss": [0.5, {"py/object": "numpy.float64", "value": 0.25}],
        "loss_T": [100, 200],
        "g": [{"py/reduce": []}, 1.5],
        "g_T": [1, 2],
    }
    reading = read(sacred, "info.json", json.dumps(info))
    assert block(reading, "loss").values.tolist() == [0.5, 0.25] and block(reading, "loss").steps.tolist() == [100, 200]
    assert block(reading, "g").steps.tolist() == [2] and reading.rejected == 1 and "never unpacked" in reading.notes[0]


def test_sacred_metrics(read):
    text = '{"loss": {"steps": [1, 2], "timestamps": ["2024-01-01T00:00:00", "2024-01-01T00:00:01"], "values": [0.5, 0.25]}}'
    found = block(read(sacred, "metrics.json", text), "loss")
    assert found.steps.tolist() == [1, 2] and np.diff(found.times).tolist() == [1_000_000]


# ---------------------------------------------------------------------- files of dying processes


def test_torchelastic_error_file(read, tmp_path):
    stack = 'Traceback (most recent call last):\n  File "t.py", line 9, in main\n    x()\nRuntimeError: boom\n'
    text = json.dumps({"message": {"message": "RuntimeError: boom", "extraInfo": {"py_callstack": stack, "timestamp": "1700000000"}}})
    (event,) = read(error_files, "error.json", text).events
    assert (event.kind, event.text, event.time) == ("exception", "RuntimeError: boom", 1_700_000_000_000_000)
    placed = dataclasses.replace(source(tmp_path, "error.json", text), name="logs/x/attempt_0/3/error.json")
    (event,) = error_files.read(placed, Request()).events
    assert event.rank == 3, "torchrun puts the local rank into the path"
    plain = json.dumps({"message": {"message": "SignalException: got 15", "extraInfo": {"timestamp": "1700000000"}}})
    assert read(error_files, "error.json", plain).events[0].data["type"] == "SignalException"


def test_flight_recorder_tells_the_collective_that_hung(read):
    entries = [
        {"collective_seq_id": k, "profiling_name": "nccl:all_reduce", "state": state} for k, state in ((1, "completed"), (2, "started"))
    ]
    entries.append({"collective_seq_id": 3, "profiling_name": "gloo:all_reduce", "state": "scheduled", "retired": True})
    (event,) = read(error_files, "dump.json", json.dumps({"version": "2.5", "rank": 3, "entries": entries})).events
    assert event.data["sequence"] == 2 and event.rank == 3 and "never completed" in event.text


# ---------------------------------------------------------------------- damage


HOSTILE = [
    "[" * 100_000 + "]" * 100_000,
    '{"a":' * 50_000,
    '{"loss": ' + "9" * 5_000 + ', "a": 1}',
    '{"loss": 1e999}',
    '{"a\\ud800": "\\ud800", "loss": 1}',
    '{"loss": 1, "loss": 2}',
    "{",
    "[",
    "{}",
    "[]",
    "null",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["a.json", "metrics.json", "a.jsonl"])
def test_hostile_documents_never_raise(tmp_path, text, name):
    file = source(tmp_path, name, text)
    for parser in PARSERS:
        assert NO <= parser.claims(file) <= 1
        assert all(found.raw_name.encode() for found in parser.read(file, Request()).blocks)


def test_huge_numbers_become_infinite():
    assert _json.loads('{"loss": ' + "9" * 5_000 + "}") == {"loss": math.inf} and _json.loads('{"loss": -1e999}') == {"loss": -math.inf}


@pytest.mark.parametrize(
    "text",
    ['{"a": 1.5%, "s": "50%, nan"}', "{'a': nan, 's': 'it\\'s'}", '{"a": tensor(0.5), "b": [1, 2,],}', '{"a": -inf, "b": +3, "c": .5}'],
)
def test_mending_leaves_strings_alone(text):
    value = _json.loads(text)
    assert isinstance(value["a"], float) and value.get("s") in (None, "50%, nan", "it's")


def test_every_cut_of_a_document_closes_to_what_came_before():
    value = {"a": [1, {"b": "x,]"}, 3.5], "c": {"d": [True, None]}, "e": "end"}
    text = json.dumps(value, indent=1)
    for cut in range(1, len(text)):
        found = _json.loads(_json.close_cut(text[:cut]))
        assert isinstance(found, dict) and all(key in value for key in found)


def test_constants_are_in_order():
    assert NO < jsonlines.ONE_RECORD < LIKELY < SURE


@pytest.mark.parametrize(
    ("said", "kind", "facts"),
    [
        ("[END] step=9 steps=9 skipped=0 reason=finished", "lifecycle", {"what": "finish", "steps": "9"}),
        ("[END] step=9 steps=9 skipped=0 reason=exception:KeyError", "lifecycle", {"what": "exception", "steps": "9", "type": "KeyError"}),
        ("[END] step=9 steps=9 skipped=0 reason=signal:SIGTERM", "scheduler", {"what": "terminated", "signal": "SIGTERM"}),
        ("Training complete", "lifecycle", {"what": "finish"}),
        ("Training complete: 40%", "", {}),
        ("[END] step=9 steps=9 skipped=0 reason=exception:SystemExit", "", {}),
    ],
)
def test_a_text_in_a_record_tells_how_the_run_ended(read, said, kind, facts):
    text = '{"step": 8, "loss": 0.5}\n' + json.dumps({"step": 9, "event": said}) + "\n"
    reading = read(jsonlines, "train.jsonl", text)
    assert [(e.kind, dict(e.data), e.line) for e in reading.events] == ([(kind, facts, 2)] if kind else [])
    assert reading.events == [] or reading.events[0].text == said
