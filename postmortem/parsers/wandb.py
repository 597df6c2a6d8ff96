"""Reads what Weights & Biases leaves on disk: offline .wandb files, and the small JSON and YAML files beside them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice

import numpy as np

from postmortem.frame import Block
from postmortem.model import Event, Origin, Reading, Setting
from postmortem.parsers import text
from postmortem.parsers._literals import flattened, literal, shortened
from postmortem.parsers._protobuf import Malformed
from postmortem.parsers._safe_yaml import DEEPEST
from postmortem.parsers._wandb_log import MAGIC, RecordLog
from postmortem.parsers._wandb_run import Run, numbers
from postmortem.parsers.base import LIKELY, NO, SURE, Request, SourceFile

NAME = "wandb"
ABOUT = "wandb run directories: .wandb files (history, system metrics, config, exit code), their summary, metadata and config.yaml."

_CONFIG_FORM = re.compile(
    rb"\A(?:[ \t]*#[^\n]*\n|[ \t\r]*\n|wandb_version:[^\n]*\n|---[ \t\r]*\n)*"  # what may stand before the first key
    rb"[^\s#:][^\n]*:[ \t]*\r?\n(?:[ \t]+desc:[^\n]*\n)?[ \t]+value:"
)
_OWN_LOG = re.compile(r"debug(?:-internal|-core|-cli[.\w-]*)?\.log")
_OWN_WORDS = re.compile(rb"\bwandb_(?:setup|init|run|internal|manager)\.py|\bwandb-core\b|\bwandb\.sdk\b|stream: starting")
_MOST_SETTINGS = 5_000
_LARGEST_TEXT = 16 << 20  # bytes of a JSON or YAML file that is read
_PRIVATE = {"email", "username"}  # not needed to explain a run
_LFS = b"version https://git-lfs"


def claims(source: SourceFile) -> float:
    """Sure of the magic number and of wandb's own file names; of config.yaml only where its values have wandb's form."""
    if source.head.startswith(MAGIC[:4]):
        return SURE
    if source.suffix == ".wandb":
        return LIKELY if not source.head or b"\0" in source.head or source.head.startswith(_LFS) else NO
    if source.basename in _FILES or is_own_log(source):
        return SURE
    if source.basename in ("config.yaml", "config.yml") and _CONFIG_FORM.match(source.head):
        return SURE
    return NO


def read(source: SourceFile, request: Request) -> Reading:
    """Read one of wandb's files. Raises OSError where it cannot be opened."""
    reading = Reading(source.name, NAME)
    if source.head.startswith(_LFS):
        reading.notes.append("Git LFS pointer: the file itself was not downloaded")
    elif source.head.startswith(MAGIC[:4]) or source.suffix == ".wandb":
        _log(source, request, reading)
    elif is_own_log(source):
        reading.settings = text.read(source, Request()).settings
        reading.notes.append("wandb's log of itself: settings are taken from it, its errors are not those of the training")
    else:
        _document(source, reading)
    return reading


def is_own_log(source: SourceFile) -> bool:
    """Whether it is debug.log or a cousin of it, in which wandb's client tells of itself."""
    return _OWN_LOG.fullmatch(source.basename) is not None and _OWN_WORDS.search(source.head) is not None


# ---------------------------------------------------------------------- .wandb


def _log(source: SourceFile, request: Request, reading: Reading) -> None:
    """A .wandb file: the line of everything is the number of its record."""
    if not source.head:
        reading.notes.append("empty .wandb file (0 bytes): the run was started and nothing was written")
        return
    # console output stands in files/output.log as well; only where that is missing it is taken from here
    console = not (source.path.parent / "files" / "output.log").exists()
    run, log = Run(source.name, request.wanted if console else None), RecordLog(source.path)
    malformed: list[int] = []
    for line, data in log:
        try:
            run.record(line, data)
        except Malformed:
            malformed.append(line)
    reading.blocks, reading.events = run.blocks(), run.events
    reading.settings = list(run.config.values())[:_MOST_SETTINGS]
    reading.rejected = log.dropped + len(malformed) + (log.cut_at is not None)
    if malformed:
        reading.notes.append(f"{len(malformed)} bad record(s): no valid message inside a right CRC (first: record {malformed[0]})")
    if log.dropped:
        reading.notes.append(f"{log.dropped} damaged piece(s) with a wrong CRC dropped (first at byte {log.first_dropped})")
    if log.cut_at is not None:
        reading.notes.append(f"truncated: cut at byte {log.cut_at}, inside record {log.records + (not log._pieces)}")
    if run.skipped:
        reading.notes.append("no numbers, skipped: " + ", ".join(f"{count} {kind}" for kind, count in sorted(run.skipped.items())))
    if not log.records:
        reading.notes.append("no readable record in this file")
    elif not run.exited:
        reading.notes.append("no exit record: wandb did not see the run end")


# ---------------------------------------------------------------------- the files beside it


def _document(source: SourceFile, reading: Reading) -> None:
    """A JSON or YAML file of one mapping. What cannot be parsed is rejected with a note."""
    if source.size > _LARGEST_TEXT:
        reading.rejected, reading.notes = 1, [f"not read: {source.size} bytes is too much for a file of this name"]
        return
    if not source.head.strip():
        reading.notes.append("empty file")
        return
    words = source.path.read_bytes().decode("utf-8-sig", "replace")
    try:
        content = json.loads(words) if source.suffix == ".json" else _yaml(words)
    except (ValueError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        reading.rejected, reading.notes = 1, [f"cannot be parsed: {shortened(reason, 200)}"]
        return
    if not isinstance(content, dict):
        reading.rejected, reading.notes = 1, [f"holds a {type(content).__name__}, not a mapping"]
        return
    _FILES.get(source.basename, _config)(content, words, reading)


def _yaml(words: str) -> object:
    """YAML by the safe loader: no Python objects are ever built. Raises ValueError where it is none."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(words, loader):  # building what nests 10,000 deep would overflow the stack of the process itself
            depth += event.__class__.__name__.endswith("StartEvent") - event.__class__.__name__.endswith("EndEvent")
            if depth > DEEPEST:
                raise ValueError("nested too deeply")
        return yaml.load(words, loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _config(content: dict, words: str, reading: Reading) -> None:
    """config.yaml: every key holds a mapping with `value` (and maybe `desc`)."""
    starts = ((number, line) for number, line in enumerate(words.split("\n"), 1) if line[:1].strip() and ":" in line)
    lines = {line.split(":", 1)[0].strip("'\""): number for number, line in starts}
    values = {key: item["value"] for key, item in content.items() if isinstance(item, dict) and "value" in item and key != "_wandb"}
    for key, value in values.items():
        origin = Origin(reading.file, lines.get(str(key)))
        reading.settings += [Setting(name, leaf, origin) for name, leaf in islice(flattened(value, str(key)), _MOST_SETTINGS)]
    reading.settings = reading.settings[:_MOST_SETTINGS]


def _summary(content: dict, words: str, reading: Reading) -> None:
    """wandb-summary.json: the last value of every key, so one point each, with the step and time of that value."""
    step, time = content.get("_step"), content.get("_timestamp")
    steps = np.array([step], np.int64) if isinstance(step, int) and abs(step) < 2**62 else None
    times = np.array([round(time * 1e6)], np.int64) if isinstance(time, int | float) and 0 < time < 253402300800 else None
    skipped = Counter[str]()
    for key, leaf in content.items():
        if not key.startswith("_"):
            reading.blocks += [Block(name, np.array([value]), steps=steps, times=times) for name, value in numbers(key, leaf, skipped)]
    if skipped:
        reading.notes.append("no numbers, skipped: " + ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items())))


def _metadata(content: dict, words: str, reading: Reading) -> None:
    """wandb-metadata.json: machine and command line. `--key value` pairs of the command line are settings of their own."""
    origin = Origin(reading.file)
    arguments = content.pop("args", None)
    for key, value in islice(flattened({key: value for key, value in content.items() if key not in _PRIVATE}), _MOST_SETTINGS):
        reading.settings.append(Setting(f"wandb.{key}", value, origin))
    if isinstance(arguments, list):
        words_given = [str(word) for word in arguments[:_MOST_SETTINGS]]
        reading.settings += [Setting(f"args.{key}", value, origin) for key, value in _arguments(words_given)]
    try:
        started = datetime.fromisoformat(str(content.get("startedAt", "")).replace("Z", "+00:00"))
    except ValueError:
        return
    time = round((started if started.tzinfo else started.replace(tzinfo=UTC)).timestamp() * 1e6)
    reading.events.append(Event(reading.file, None, "lifecycle", "wandb run started", time, data={"what": "start"}))


def _arguments(words: list[str]) -> list[tuple[str, object]]:
    """`--lr 0.1`, `--lr=0.1`, `-b 4` and `--fp16` as names and values; Hydra's `lr=0.1` too."""
    pairs: list[tuple[str, object]] = []
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        name, equals, value = word.partition("=")
        if equals and name.strip("-+~"):
            pairs.append((name.strip("-+~"), literal(value)))
        elif re.match(r"--?[A-Za-z]", word):
            alone = following.startswith("-") and not re.match(r"-\.?\d", following)
            pairs.append((word.lstrip("-"), True if alone else literal(following)))
    return pairs


def _resume(content: dict, words: str, reading: Reading) -> None:
    """wandb-resume.json: the run that the next start of the program would go on with."""
    reading.notes.append(f"wandb was told to resume run {shortened(str(content.get('run_id', '?')), 60)}")


_FILES: dict[str, Callable[[dict, str, Reading], None]] = {
    "wandb-summary.json": _summary,
    "wandb-metadata.json": _metadata,
    "wandb-resume.json": _resume,
}
