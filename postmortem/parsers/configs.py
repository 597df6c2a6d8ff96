"""Reads settings: YAML, JSON, TOML, INI, gin and Python files, with the line of every key."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from postmortem.model import Reading
from postmortem.parsers import _json, _python_config, _safe_yaml
from postmortem.parsers._columns import clean
from postmortem.parsers._records import MOST_SETTINGS, add_setting
from postmortem.parsers._textblocks import text_of, whole
from postmortem.parsers.base import NO, PLAUSIBLE, Request, SourceFile

NAME = "configs"
ABOUT = "Settings: YAML (hydra, Lightning hparams.yaml, YOLO args.yaml), JSON (argparse dumps), TOML, INI, gin, mmcv's Python, `key: value` text."

LARGEST = 4 * 1024 * 1024  # bytes of a settings file that are read
YAML = (".yaml", ".yml")
INI = (".ini", ".cfg", ".conf", ".gin")
SETTING_NAME = re.compile(
    r"(?:^|[_\-.])(?:configs?|cfg|conf|args?|params?|parameters?|h(?:yper)?_?params?|hyper(?:_?parameters?)?|hp|opts?|options|settings?|overrides"
    r"|arguments|flags|flagfile)(?:[_\-.\d]|$)"
)
NOT_SETTINGS = re.compile(r"tokenizer|vocab|special_tokens|added_tokens|merges|\.index\.json$|dataset_info|chat_template")
VOCABULARY = 2_000  # a JSON object with more keys than this, all of them numbers, is a vocabulary
_WRAPPING = {"value", "desc", "sort"}
LONG_LIST = 50  # a list of objects longer than this is data, not settings

_YAML_LINE = re.compile(r"\s*(?:---|%YAML|- |\{|\[|[\"']?[\w./ \-$@]++[\"']?\s*+:(?:\s|$))")
# The value begins at something visible and is stripped afterwards: a pattern that trims both ends tries every split of long blanks.
_PAIR = re.compile(r"\s*+(?:--)?(?P<key>[A-Za-z_][\w.\-/]*+)(?:\s*+(?:=|:(?=\s))| *+\t)\s*+(?P<value>.*)")
_DEFAULT = re.compile(r"\s\[default:.*")  # argparse helpers print it behind a value: "lr: 0.1   [default: 0.01]"
_REMARK = re.compile(r"\s[;#](?:\s.*)?$")  # behind a value in INI and gin files; a quoted one keeps it
_IMPORT = re.compile(r"(?:import|include) |from \S+ import ")  # gin files begin with these
_SECTION = re.compile(r"\s*\[{1,2}(?P<name>[^\[\]]+)\]{1,2}\s*(?:[#;].*)?$")


def claims(source: SourceFile) -> float:
    """Plausible by the name and the first lines; parsers that know the file better claim it higher."""
    text = text_of(source.head)
    if not text.strip():
        return NO
    name = source.basename.lower()
    lines = [line for line in text.split("\n")[:200] if line.strip() and not line.lstrip().startswith(("#", ";"))]
    if source.suffix in YAML:
        return PLAUSIBLE + 0.1 if lines and _YAML_LINE.match(lines[0]) else PLAUSIBLE - 0.2
    if source.suffix == ".json":
        found = _json.peek(source.head)
        if isinstance(found, dict):
            return PLAUSIBLE + 0.1 if SETTING_NAME.search(name) or NOT_SETTINGS.search(name) else PLAUSIBLE - 0.05
        return PLAUSIBLE - 0.2 if isinstance(found, list) else NO
    if source.suffix == ".toml":
        return PLAUSIBLE + 0.1
    if source.suffix == ".py":
        return PLAUSIBLE if source.size <= len(source.head) and _python_config.is_config(name, text) else NO
    lines = [line for line in lines if not _IMPORT.match(line)]
    lines = [line for line in lines if not line.startswith("---")]  # rulers around a dump of options
    pairs = sum(1 for line in lines if _PAIR.match(line) or _SECTION.match(line))
    if source.suffix in INI:
        return PLAUSIBLE + 0.1 if lines and pairs >= 0.5 * len(lines) else NO
    if source.suffix in (".txt", "") and SETTING_NAME.search(name) and lines and pairs >= 0.8 * len(lines):
        return PLAUSIBLE
    return NO


def read(source: SourceFile, request: Request) -> Reading:
    """Read every plain value as a setting with a dotted key; lists of plain values are one setting."""
    reading = Reading(source.name, NAME)
    if NOT_SETTINGS.search(source.basename.lower()):
        reading.notes.append("belongs to a tokenizer, a checkpoint or a data set: no settings of the training")
        return reading
    text, more = whole(source.path, source.head, LARGEST)
    if more:
        reading.notes.append(f"larger than {LARGEST >> 20} MB: read only so far")
        text = text[: text.rfind("\n") + 1]
    if source.suffix == ".json":
        _read_json(reading, text)
    elif source.suffix == ".toml":
        _read_toml(reading, text)
    elif source.suffix in YAML:
        _read_yaml(reading, text)
    elif source.suffix == ".py":
        _read_python(reading, text)
    else:
        _read_pairs(reading, text, remarks=source.suffix in INI)
    if len(reading.settings) >= MOST_SETTINGS and not reading.rejected:
        reading.notes.append(f"more than {MOST_SETTINGS:,} settings: the rest is not kept")
    return reading


def _read_yaml(reading: Reading, text: str) -> None:
    found = _safe_yaml.flat(text)
    if found.stopped:
        reading.rejected += 1
        at = f" at line {found.stopped_line}" if found.stopped_line else ""
        reading.notes.append(f"not read to the end{at}: {clean(found.stopped, 160)}")
    entries = found.entries
    # wandb wraps each value: {"lr": {"desc": null, "value": 0.1}}; so does SwanLab, which numbers them besides
    inner = {entry.key.split(".")[1] for entry in entries if entry.key.count(".")}
    wrapped = bool(entries) and inner <= _WRAPPING and "value" in inner and all("." in entry.key for entry in entries)
    for entry in entries:
        key = entry.key
        if wrapped:
            first, _, rest = key.partition(".")
            if rest in ("desc", "sort"):
                continue
            key = first + rest.removeprefix("value")
        if not key and isinstance(entry.value, list):  # hydra's overrides.yaml: a list of "key=value"
            for item in entry.value:
                name, equals, value = str(item).partition("=")
                if equals:
                    add_setting(reading, name.lstrip("+~"), _safe_yaml.scalar(value), entry.line)
        elif not add_setting(reading, key, entry.value, entry.line):
            break


def _read_json(reading: Reading, text: str) -> None:
    value, wrong = _json.document(text)
    if wrong:
        reading.rejected += 1
        reading.notes.append(wrong)
    if isinstance(value, list):
        reading.notes.append(f"a list of {len(value)} items: data, not settings")
        return
    if not isinstance(value, dict):
        return
    if len(value) > VOCABULARY and all(isinstance(item, int | float) for item in value.values()):
        reading.notes.append(f"{len(value):,} names with a number each: a vocabulary, not settings")
        return
    _placed(reading, value, text, r'"{}"\s*:')


def _read_toml(reading: Reading, text: str) -> None:
    try:
        value = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        reading.rejected += 1
        reading.notes.append(f"not valid TOML, read line by line: {clean(str(error), 120)}")
        _read_pairs(reading, text)
        return
    _placed(reading, value, text, r'(?m)^[ \t]*+(?:[\w\-".]+\.)?"?{}"?[ \t]*=')


def _read_python(reading: Reading, text: str) -> None:
    try:
        for key, value, line in _python_config.settings_in(text):
            if not add_setting(reading, key, value, line):
                return
    except ValueError as error:
        reading.rejected += 1
        reading.notes.append(f"no valid Python: {clean(str(error), 120)}")


def _placed(reading: Reading, value: dict[str, Any], text: str, pattern: str) -> None:
    """Settings of a nested dict, each with its line. Keys stand in the text in the order of the dict, so one cursor finds them all."""
    lines = _json.Lines(text)
    cursor = 0
    for name, item in _json.flatten(value, ".", list_limit=LONG_LIST):
        key = next((part for part in reversed(name.split(".")) if not part.isdigit()), name)
        found = re.compile(pattern.format(re.escape(key))).search(text, cursor, cursor + 200_000)
        line = None
        if found:
            place = found.start() + len(found.group()) - len(found.group().lstrip())
            line, cursor = lines[place], found.start() + 1
        if not add_setting(reading, name, item, line):
            return


def _read_pairs(reading: Reading, text: str, *, remarks: bool = False) -> None:
    """INI files and `key: value` or `key = value` text. `remarks`: what follows a ";" or "#" is no part of a value."""
    section = ""
    odd = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip()[:1] in "#;" or line.startswith(("---", "===")) or len(line) > 10_000 or _IMPORT.match(line):
            continue
        if head := _SECTION.match(line):
            section = head["name"].strip() + "."
        elif (pair := _PAIR.match(line)) is not None:
            value = pair["value"].rstrip()
            if value.endswith("]"):
                value = _DEFAULT.sub("", f" {value}").strip()
            if remarks and value[:1] not in ("'", '"'):
                value = _REMARK.sub("", f" {value}").strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            if not add_setting(reading, section + pair["key"], value[1:-1] if quoted else _safe_yaml.scalar(value), number):
                return
        else:
            odd += 1
    if odd:
        reading.rejected += odd
        reading.notes.append(f"{odd} line(s) are no `key = value`")
