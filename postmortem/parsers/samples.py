"""Reads evaluation outputs: prompts with answers and scores, lm-eval results and request logs, one event for each sample."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from postmortem.frame import NO_TIME
from postmortem.model import Event, Reading
from postmortem.parsers import _json
from postmortem.parsers._columns import clean, moment, plain
from postmortem.parsers._dialect import rows_of
from postmortem.parsers._records import axis_of
from postmortem.parsers._textblocks import blocks, decode, text_of, whole
from postmortem.parsers.base import LIKELY, NO, Request, SourceFile

NAME = "samples"
ABOUT = "Evaluation outputs: JSONL, JSON or CSV with prompt, answer and scores or judgements, lm-eval results and samples, request logs."

PROMPTS = (
    "prompt", "question", "instruction", "input", "query", "problem", "source", "user", "context", "messages", "conversation", "doc",
    "arguments", "input_text", "src",
)  # fmt: skip
RESPONSES = (
    "response", "model_answer", "model_output", "answer", "output", "completion", "prediction", "generated_text", "generation", "generated",
    "model_response", "pred", "predicted", "filtered_resps", "resps", "reply", "assistant", "output_text", "hypothesis", "completions",
    "responses", "sampled", "choices", "turns", "model_patch",
)  # fmt: skip
IDS = ("question_id", "task_id", "doc_id", "sample_id", "instance_id", "example_id")  # which prompt it was, where its text is elsewhere
# Keys below which a record keeps what others keep at its top: OpenAI's evals ("data") and Inspect ("output")
WRAPPERS = ("data", "output", "outputs", "result", "sample")
STATUS = ("status", "status_code", "http_status", "error", "error_type", "error_message", "exception")
REQUEST = ("latency", "latency_ms", "latency_s", "duration_ms", "elapsed_ms", "request_id", "endpoint", "url", "model", "retries", "prompt")
SCORE_WORDS = re.compile(
    r"(?:^|_)(?:scores?|aligned|alignment|coheren\w*|harm\w*|is_\w+|correct\w*|label|rating|grade|judge\w*|reward|exact_match|acc\w*"
    r"|f1|bleu|rouge\w*|pass\w*|refus\w*|toxic\w*|safe\w*|categor\w*|quality|verdict|hallucin\w*|misalign\w*)(?:_|$)"
)
SAMPLE_NAME = re.compile(r"answer|predict|output|generat|respons|sample|eval|result|judg|completion|infer|test")
SAMPLE_FOLDER = re.compile(r"answer|predict|generat|respons|judg|completion")
BY_A_MODEL = frozenset(
    ("sampled", "resps", "filtered_resps", "model_answer", "model_output", "model_response", "generated_text", "model_patch")
)
INNER = (
    "content",
    "question",
    "text",
    "prompt",
    "arg_0",
    "gen_args_0",
    "query",
    "turns",
    "message",
    "completion",
)  # where a message or a document keeps its text
CHOSEN = "chosen_from_given"  # marks a sample whose answer is one of those that its question came with
MOST_SAMPLES = 5_000
LONGEST_TEXT = 4_000
MOST_TEXT = 32 * 1024 * 1024  # characters of prompts and answers that are held for one file
EXCERPT = 160


def claims(source: SourceFile) -> float:
    """Nearly sure when the first record holds an answer beside a prompt or a score, or a status beside a time."""
    if not text_of(source.head[:256]).strip():
        return NO
    first = _first(source)
    if first is None:
        return NO
    if _is_lm_eval(first):
        return LIKELY + 0.15
    kind = _kind(first)
    if kind == "sample" and not _has_score(first) and not _is_output(first, source):
        return NO  # prompts and answers without a score in a file that is not called an output: training data
    return LIKELY + 0.15 if kind else NO


def _is_output(first: dict[str, Any], source: SourceFile) -> bool:
    """Whether the file, its folder or a key says that a model wrote the answers."""
    folder = source.name.lower().rpartition("/")[0].rpartition("/")[2]
    if SAMPLE_NAME.search(source.basename.lower()) or SAMPLE_FOLDER.search(folder):
        return True
    return not BY_A_MODEL.isdisjoint(plain(str(key)) for key in _opened(first))


def _first(source: SourceFile) -> dict[str, Any] | None:
    """The first record of the file."""
    if source.suffix in (".csv", ".tsv"):
        return next((record for _, record in _csv_records(text_of(source.head), "\t" if source.suffix == ".tsv" else ",")), None)
    head = source.head.lstrip()
    if head[:1] not in (b"{", b"["):
        return None
    for line in text_of(source.head).lstrip().split("\n", 2)[:2]:
        if not line.rstrip().endswith("}"):
            break
        try:
            found = _json.loads(line)
        except ValueError:
            break
        if isinstance(found, dict) and (_kind(found) or _is_lm_eval(found)):
            return found
        if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
            break  # only a head that tells of the whole evaluation ({"spec": {...}}) may stand before the samples
    found = _json.peek(source.head)
    found = _record_list(found) if isinstance(found, dict) and not _is_lm_eval(found) and not _kind(found) else found
    if isinstance(found, list):
        found = next((item for item in found if isinstance(item, dict)), None)
    return found if isinstance(found, dict) else None


def _record_list(found: dict[str, Any]) -> list[Any] | None:
    """The list of samples inside a document that wraps one ({"meta": ..., "samples": [...]})."""
    for value in found.values():
        if isinstance(value, list) and value and isinstance(value[0], dict) and _kind(value[0]):
            return value
    return None


def _opened(record: dict[str, Any]) -> dict[str, Any]:
    """The record with what stands below one of its wrappers at its top; as it is where none holds an answer."""
    for key in WRAPPERS:
        inner = record.get(key)
        if isinstance(inner, dict) and any(plain(str(name)) in RESPONSES for name in inner):
            rest = {name: value for name, value in record.items() if name != key}
            return {**{name: value for name, value in inner.items() if name not in rest}, **rest}
    return record


def _kind(record: dict[str, Any]) -> str:
    """ "sample", "request" or "" for a record that is neither."""
    record = _opened(record)
    names = {plain(str(key)): value for key, value in record.items()}
    response = next((names[name] for name in RESPONSES if name in names and isinstance(names[name], str | list)), None)
    prompt = any(name in names and isinstance(names[name], str | list | dict) for name in PROMPTS) or any(name in names for name in IDS)
    has_time = any(axis_of(str(key))[0] == "time" for key in record)
    if has_time and any(name in names for name in STATUS) and (prompt or any(name in names for name in REQUEST)):
        return "request"
    if response is not None and (prompt or (isinstance(response, str) and _has_score(record))):
        return "sample"
    return ""


def _has_score(record: dict[str, Any]) -> bool:
    return any(SCORE_WORDS.search(plain(str(key))) for key in record)


def _is_lm_eval(found: dict[str, Any]) -> bool:
    results = found.get("results")
    return (
        isinstance(results, dict)
        and bool(results)
        and ("versions" in found or "config" in found or "n-shot" in found)
        and all(isinstance(value, dict) for value in results.values())
    )


def read(source: SourceFile, request: Request) -> Reading:
    """One event a sample, at most MOST_SAMPLES; the rest is counted in a note."""
    reading = Reading(source.name, NAME)
    seen = held = 0
    for line, record in _records(source, reading):
        if _is_lm_eval(record):
            _lm_eval(reading, record, line)
            continue
        event = _event(source.name, line, record)
        if event is None:
            reading.rejected += 1
            if reading.rejected == 1:
                reading.notes.append(f"line {line} is no sample: {_json.short(record, 80)!r}")
            continue
        seen += 1
        size = len(str(event.data.get("prompt", ""))) + len(str(event.data.get("response", "")))
        if len(reading.events) < MOST_SAMPLES and held + size < MOST_TEXT:
            held += size
            reading.events.append(event)
    if seen > len(reading.events):
        reading.notes.append(f"the first {len(reading.events):,} of {seen:,} samples are kept")
    return reading


def _event(file: str, line: int, record: dict[str, Any]) -> Event | None:
    """A record as an event; None where it holds neither an answer nor a status."""
    record = _opened(record)
    names = {plain(str(key)): str(key) for key in record}
    prompt_key = next((names[name] for name in PROMPTS if name in names), None)
    response_key = next((names[name] for name in RESPONSES if name in names and names[name] != prompt_key), None)
    if response_key is None and not any(name in names for name in STATUS) and prompt_key is None:
        return None
    data: dict[str, object] = {}
    if prompt_key is not None:
        data["prompt"] = _text(record[prompt_key])
    chosen = _chosen(record, response_key)
    if chosen:
        data |= {"response": chosen, CHOSEN: True}
    elif response_key is not None:
        data["response"] = _text(record[response_key])
    time = NO_TIME
    for name, value in _json.flatten({key: item for key, item in record.items() if key not in (prompt_key, response_key)}):
        name = clean(name.rsplit("/", 1)[-1], 100)
        if axis_of(name)[0] == "time" and time == NO_TIME:
            time = moment(value)
        number = _json.as_float(value) if not isinstance(value, bool | list) else None
        if isinstance(value, bool) or value is None:
            data.setdefault(name, value)
        elif number is not None:
            data.setdefault(name, number)
        elif isinstance(value, str):
            data.setdefault(name, clean(value, 500))
        if len(data) > 60:
            break
    told = f"{_excerpt(data.get('prompt'))} -> {_excerpt(data.get('response'))}" if response_key else _json.short(record, EXCERPT)
    return Event(file, line, "sample", clean(told, 2 * EXCERPT + 8), None if time == NO_TIME else time, data=data)


def _chosen(record: dict[str, Any], key: str | None) -> str:
    """The choice that lm-eval found the likeliest; "" where an answer was generated.

    Of a question with given answers it stores [log likelihood, whether greedy decoding gives it] for each, as texts: nothing was written.
    """
    found = record.get(key) if key else None
    if not isinstance(found, list) or len(found) < 2:
        return ""
    found = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in found]
    if not all(isinstance(item, list) and len(item) == 2 and str(item[1]) in ("True", "False") for item in found):
        return ""
    likely = [number if (number := _json.as_float(item[0])) is not None else float("-inf") for item in found]
    best = likely.index(max(likely))
    asked = record.get("arguments")
    asked = (
        asked.get(f"gen_args_{best}") if isinstance(asked, dict) else asked[best] if isinstance(asked, list) and len(asked) > best else None
    )
    answer = asked.get("arg_1") if isinstance(asked, dict) else asked[-1] if isinstance(asked, list) and asked else None
    return clean(answer.strip(), 500) if isinstance(answer, str) and answer.strip() else f"choice {best + 1}"


def _excerpt(value: object) -> str:
    text = " ".join(str(value or "").split())
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def _text(value: object) -> str:
    """A prompt or an answer as text: the only item of nested lists, the last message of a conversation, a question inside a document."""
    for _ in range(6):
        if isinstance(value, list) and value:
            value = value[0] if len(value) == 1 or not isinstance(value[-1], dict) else value[-1]
        elif isinstance(value, dict):
            inner = next((value[key] for key in INNER if key in value), None)
            if inner is None:
                break
            value = inner
        else:
            break
    return _json.short(value, LONGEST_TEXT)


def _lm_eval(reading: Reading, record: dict[str, Any], line: int) -> None:
    """One event for each task of an lm-eval results.json."""
    for task, scores in record["results"].items():
        data: dict[str, object] = {"task": clean(str(task), 200)}
        for name, value in scores.items():
            number = _json.as_float(value) if not isinstance(value, list) else None
            if number is not None:
                data[clean(str(name), 100)] = number
        told = ", ".join(f"{name} {value:g}" for name, value in data.items() if isinstance(value, float))
        reading.events.append(Event(reading.file, line, "sample", clean(f"{task}: {told}", 400), data=data))
        if len(reading.events) >= MOST_SAMPLES:
            return


# ---------------------------------------------------------------------- records of each container


def _records(source: SourceFile, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, record) of each record, whatever the file is."""
    if source.suffix in (".csv", ".tsv"):
        text, more = whole(source.path, source.head, _json.DOCUMENT_BYTES)
        if more:
            reading.notes.append(f"only the first {_json.DOCUMENT_BYTES >> 20} MB are read")
        yield from _csv_records(text, "\t" if source.suffix == ".tsv" else ",")
        return
    first = text_of(source.head).lstrip().split("\n", 1)[0].rstrip()
    one_a_line = first.startswith("{") and first.endswith("}") and not _json.is_whole(source.head)
    if one_a_line or source.suffix in (".jsonl", ".ndjson"):
        yield from _line_records(source, reading)
        return
    value, text = _json.read_document(source, reading)
    if isinstance(value, dict):
        inner = None if _is_lm_eval(value) or _kind(value) else _record_list(value)
        if inner is None:
            yield 1, value
            return
        value = inner
    if isinstance(value, list):
        start = max(text.find("["), 0)
        places = _json.item_places(text, start)
        lines = _json.Lines(text)
        for number, item in enumerate(value):
            if isinstance(item, dict):
                yield lines[places[number]] if len(places) == len(value) else number + 1, item


def _line_records(source: SourceFile, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    line = 0
    for block in blocks(source.path, source.head):
        for text in decode(block).split("\n"):
            line += 1
            if not text.strip():
                continue
            try:
                value = _json.loads(text)
            except ValueError:
                value = None
            if isinstance(value, dict):
                yield line, value
                continue
            reading.rejected += 1
            if reading.rejected == 1:
                reading.notes.append(f"line {line} is no JSON object: {clean(text, 80)!r}")
        line -= 1 if block.endswith(b"\n") else 0


def _csv_records(text: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a CSV as dicts, with the line on which each begins."""
    names: list[str] | None = None
    for line, row in rows_of(text.splitlines(keepends=True), delimiter):
        if names is None:
            names = [name.strip() for name in row]
        elif len(row) == len(names):
            yield line, dict(zip(names, row, strict=True))
