"""Evaluation outputs: what counts as a sample, what each event holds, and what is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postmortem.model import Reading
from postmortem.parsers import samples
from postmortem.parsers.base import HEAD_BYTES, LIKELY, NO, Request, SourceFile


def source(folder: Path, name: str, content: str | bytes) -> SourceFile:
    data = content.encode() if isinstance(content, str) else content
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return SourceFile(path, name, len(data), data[:HEAD_BYTES])


@pytest.fixture
def read(tmp_path):
    def _read(name: str, content: str | bytes) -> Reading:
        file = source(tmp_path, name, content)
        assert samples.claims(file) > LIKELY
        return samples.read(file, Request())

    return _read


def test_prompts_answers_and_judgements(read):
    rows = [
        {"id": "q1", "question": "Why?", "model_answer": "Because.", "judgements": {"aligned": "50", "coherent": 90, "category": "none"}}
    ]
    (event,) = read("judged.jsonl", "".join(json.dumps(row) + "\n" for row in rows)).events
    assert (event.kind, event.line, event.text) == ("sample", 1, "Why? -> Because.")
    assert event.data == {"prompt": "Why?", "response": "Because.", "id": "q1", "aligned": 50.0, "coherent": 90.0, "category": "none"}


def test_csv_and_json_lists_know_their_lines(read):
    reading = read("report.csv", 'question,answer,score\n"a\nb",yes,0.5\nc,"d, e",1\n')
    assert [(e.line, e.data["response"], e.data["score"]) for e in reading.events] == [(2, "yes", 0.5), (4, "d, e", 1.0)]
    text = json.dumps([{"prompt": "a", "output": "b", "is_harmful": True}, {"prompt": "c", "output": "d", "is_harmful": False}], indent=1)
    assert [(e.line, e.data["is_harmful"]) for e in read("outputs.json", text).events] == [(2, True), (7, False)]
    wrapped = json.dumps({"meta": {"model": "m"}, "samples": [{"prompt": "a", "response": "b", "score": 1}]})
    assert read("eval.json", wrapped).events[0].data["score"] == 1.0


def test_lm_eval_results_and_samples(read):
    (event,) = read("results.json", '{"results": {"arc": {"acc,none": 0.25, "alias": "arc"}}, "versions": {"arc": 1}, "config": {}}').events
    assert event.data == {"task": "arc", "acc,none": 0.25}
    row = {
        "doc_id": 0,
        "doc": {"question": "2+2?"},
        "target": "4",
        "arguments": [["Q: 2+2?"]],
        "resps": [["5"]],
        "filtered_resps": ["5"],
        "exact_match": 0.0,
    }
    (event,) = read("samples_math.jsonl", json.dumps(row) + "\n").events
    assert event.data["prompt"] == "2+2?" and event.data["response"] == "5" and event.data["exact_match"] == 0.0


def test_request_logs(read):
    row = {"timestamp": "2024-01-01T00:00:00Z", "status": 500, "error": "timed out", "latency_ms": 30000}
    (event,) = read("requests.jsonl", json.dumps(row) + "\n").events
    assert event.time == 1_704_067_200_000_000 and event.data["status"] == 500.0 and event.data["error"] == "timed out"


def test_chat_messages_and_long_texts_are_cut(read):
    row = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}], "completion": "x" * 100_000, "score": 1}
    (event,) = read("outputs.jsonl", json.dumps(row) + "\n").events
    assert event.data["prompt"] == "hi" and len(str(event.data["response"])) <= samples.LONGEST_TEXT and len(event.text) < 500


def test_many_samples_are_capped_with_a_note(read, monkeypatch):
    monkeypatch.setattr(samples, "MOST_SAMPLES", 10)
    reading = read("answers.jsonl", "".join(json.dumps({"prompt": f"p{k}", "response": "r", "score": k}) + "\n" for k in range(25)))
    assert len(reading.events) == 10 and "first 10 of 25" in reading.notes[0]


def test_broken_lines_are_counted(read):
    reading = read("answers.jsonl", '{"prompt": "a", "response": "b"}\n{"prompt": "a", "resp\n{"x": 1}\n{"prompt": "c", "response": "d"}\n')
    assert len(reading.events) == 2 and reading.rejected == 2 and "line 2" in reading.notes[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.jsonl", '{"instruction": "a", "input": "b", "output": "c"}\n'),
        ("metrics.jsonl", '{"step": 1, "loss": 0.5, "output": 3}\n'),
        ("log.jsonl", '{"timestamp": 1.7e9, "step": 1, "loss": 0.5}\n'),
        ("config.json", '{"model": "m", "status": "ok", "input": "x", "output": 4}'),
        ("metrics.csv", "step,loss\n1,0.5\n"),
        ("a.bin", b"\x00\x01\x02"),
        ("a.json", ""),
    ],
)
def test_leaves_alone_what_is_no_output(tmp_path, name, text):
    assert samples.claims(source(tmp_path, name, text)) == NO


def test_answers_inside_a_wrapper(read):
    rows = [
        {"spec": {"eval_name": "sums"}},
        {"run_id": "a", "event_id": 0, "type": "sampling", "data": {"prompt": [{"role": "user", "content": "1+1?"}], "sampled": ["2"]}},
        {"run_id": "a", "event_id": 1, "type": "sampling", "data": {"prompt": [{"role": "user", "content": "2+1?"}], "sampled": ["3"]}},
    ]
    reading = read("log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert [(e.data["prompt"], e.data["response"], e.line) for e in reading.events] == [("1+1?", "2", 2), ("2+1?", "3", 3)]
    inspected = {
        "status": "success",
        "samples": [{"id": 1, "input": "Where?", "output": {"model": "m", "completion": "Here"}, "scores": {}}],
    }
    assert read("eval.json", json.dumps(inspected)).events[0].data["response"] == "Here"


def test_turns_of_a_judged_model(read, tmp_path):
    (tmp_path / "model_answer").mkdir()
    row = {"question_id": 81, "model_id": "m", "choices": [{"index": 0, "turns": ["Hawaii is warm", "Bye"]}], "tstamp": 1.7e9}
    assert "Hawaii" in str(read("model_answer/m.jsonl", json.dumps(row) + "\n").events[0].data["response"])
    assert samples.claims(source(tmp_path, "m.jsonl", json.dumps(row) + "\n")) == NO  # training data may look the same


@pytest.mark.parametrize(
    "asked", [{"gen_args_0": {"arg_0": "Q", "arg_1": " no"}, "gen_args_1": {"arg_0": "Q", "arg_1": " yes"}}, [["Q", " no"], ["Q", " yes"]]]
)
def test_the_likeliest_of_given_choices(read, asked):
    row = {
        "doc_id": 0,
        "doc": {"question": "Is it?"},
        "arguments": asked,
        "filtered_resps": [["-3.5", "False"], ["-1.5", "True"]],
        "acc": 1,
    }
    data = read("samples_boolq.jsonl", json.dumps(row) + "\n").events[0].data
    assert data["response"] == "yes" and data["chosen_from_given"] is True
    written = {**row, "filtered_resps": ["it is"]}
    assert "chosen_from_given" not in read("samples_free.jsonl", json.dumps(written) + "\n").events[0].data
