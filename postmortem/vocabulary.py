"""What people call a metric, and what we call it: its canonical name, split, unit, kind and which way is better.

The words are data (vocabulary.toml). A raw name is looked up as it stands, then without the words that say its split, then
without the words that say how it was averaged, then by its last part. What nobody knows keeps its raw name.
"""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from postmortem.model import Split

DATA = Path(__file__).with_name("vocabulary.toml")
Direction = Literal["down", "up"]

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[\s/._\-:|()\[\]<>'\"@%]+")
_RUN = " - "  # a download from wandb's page puts the name of the run before that of the metric: "llama-7b - train/loss"
_DEVICE = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Word:
    """What a raw name means. direction is the better way, None: unknown. kind is "" for a name that nobody knows."""

    metric: str
    split: Split | None = None
    direction: Direction | None = None
    kind: str = ""
    unit: str = ""


@functools.cache
def data() -> dict[str, Any]:
    """vocabulary.toml as read."""
    return tomllib.loads(DATA.read_text(encoding="utf-8"))


@functools.cache
def _entries() -> tuple[dict[str, dict[str, Any]], list[tuple[re.Pattern[str], dict[str, Any]]]]:
    """Entries by every spelling (joined tokens), and the patterns in the order of the file."""
    exact: dict[str, dict[str, Any]] = {}
    patterns = []
    for entry in data()["metric"]:
        for name in [entry["name"], *entry.get("names", [])]:
            exact.setdefault("_".join(tokens(name)), entry)
        patterns += [(re.compile(pattern), entry) for pattern in entry.get("patterns", [])]
    return exact, patterns


@functools.cache
def _split_words() -> dict[str, Split]:
    return {word: split for split, words in data()["split"].items() for word in words}


@functools.cache
def split_of_places() -> dict[str, Split]:
    """The words that say the split of what lies in a folder or file of that name."""
    return _split_words() | {word: split for split, words in data()["split_of_places"].items() for word in words}


@functools.cache
def _spelled() -> list[tuple[re.Pattern[str], Split]]:
    return [(re.compile(pattern), split) for split, patterns in data()["spelled"].items() for pattern in patterns]


@functools.cache
def _setting_prefix() -> re.Pattern[str]:
    """ "config/lr" is a setting; "params norm" is not."""
    return re.compile(rf"(?i)(?:{'|'.join(data()['setting']['prefixes'])})[/.]")


def tokens(name: str) -> list[str]:
    """A name as lower-case words: "TrainIterStats/avg_loss" -> ["train", "iter", "stats", "avg", "loss"]."""
    return [part.lower() for chunk in _SEPARATORS.split(name) if chunk for part in _CAMEL.split(chunk) if part]


@functools.lru_cache(maxsize=65536)
def lookup(raw_name: str, split: Split | None = None, file: str = "") -> Word:
    """What a raw name means. A split that the parser knew wins over the name, the name over the folder of the file (file "": none)."""
    words = tokens(raw_name[:400])
    if _setting_prefix().match(raw_name):
        return Word(raw_name, split, kind="setting")
    split_words = _split_words()
    said = next((split_words[word] for word in words if word in split_words), None)
    known = next((split for pattern, split in _spelled() if pattern.search(raw_name)), None)
    places = split_of_places()
    folder = next((places[part] for part in reversed(file.lower().split("/")[:-1]) if part in places), None)
    found: Split | None = split or said or known or folder
    behind = tokens(raw_name.rpartition(_RUN)[2])
    entry = _find(behind)
    words, entry = (behind, entry) if entry else (words, _find(words))
    if entry is None:
        return Word(raw_name, found)
    if entry["name"] == "@":  # a family of names ("box_loss"): known in kind, keeps its own name
        metric = "_".join(word for word in words if word not in split_words and word not in data()["noise"]["words"])
        return Word(metric or raw_name, found, entry.get("direction"), entry["kind"], entry.get("unit", ""))
    if entry["kind"] in data()["split_free"]["kinds"]:
        found = None
    return Word(entry["name"], found, entry.get("direction"), entry["kind"], entry.get("unit", ""))


def meaning(metric: str) -> Word:
    """The entry of a canonical metric name, for labels and units."""
    return lookup(metric)


def only_split(name: str) -> bool:
    """Whether a name is the word of a split and nothing else: "val"."""
    words = [word for word in tokens(name) if word not in data()["noise"]["words"]]
    return bool(words) and all(word in _split_words() for word in words)


def _find(words: list[str]) -> dict[str, Any] | None:
    exact, patterns = _entries()
    split_words, noise = _split_words(), data()["noise"]["words"]
    bare = [word for word in words if word not in split_words]
    quiet = [word for word in bare if word not in noise]
    once = list(dict.fromkeys(quiet))
    tries = [words, bare, quiet, once, [word for word in quiet if not _DEVICE.fullmatch(word)], quiet[-2:], quiet[-1:]]
    for attempt in tries[:5]:
        if attempt and (entry := exact.get("_".join(attempt))):
            return entry
    joined = "_".join(quiet)
    for pattern, entry in patterns:
        if joined and pattern.search(joined):
            return entry
    for attempt in tries[5:]:
        if attempt and (entry := exact.get("_".join(attempt))) and entry.get("by_last_part", False):
            return entry
    return None
