"""What a column is (step, epoch, time, split or a metric) and how the spellings of a cell become numbers and times."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from postmortem.frame import NO_STEP, NO_TIME
from postmortem.model import Split

# Names of axes, best first: where a file has several, the first of the list is the axis and the others stay metrics.
STEP_NAMES = (
    "global_step", "trainer_global_step", "train_global_step", "step", "steps", "total_timesteps", "timesteps_total",
    "time_total_timesteps", "num_env_steps", "num_env_steps_sampled", "num_env_steps_sampled_lifetime", "env_steps", "env_step",
    "total_env_steps", "total_env_interacts", "t_env", "agent_timesteps_total", "timestep", "timesteps", "iteration", "iterations",
    "iter", "iters", "global_iter", "global_iteration", "iter_num", "it", "training_iteration", "time_iterations", "update",
    "updates", "num_updates", "n_updates", "train_step", "training_step", "opt_step", "optimizer_step", "gradient_steps",
    "current_steps", "current_step", "cur_step", "learner_steps", "learner_step", "actor_steps", "total_steps", "batch", "batch_idx",
)  # fmt: skip
EPOCH_NAMES = (
    "epoch", "epochs", "global_epoch", "current_epoch", "cur_epoch", "train_epoch", "epoch_num", "epoch_idx", "epoch_id", "trainer_epoch",
)  # fmt: skip
TIME_NAMES = (
    "timestamp", "wall_time", "walltime", "datetime", "date_time", "time_stamp", "ts", "time", "date", "created_at", "logged_at", "asctime",
)  # fmt: skip
SPLIT_NAMES = ("split", "mode", "phase", "subset", "stage", "partition", "data_split", "dataset_split", "set")
RANK_NAMES = ("rank", "global_rank", "process_index")
INDEX_NAMES = ("", "unnamed_0", "index", "level_0")

_COUNTERS = frozenset(
    ("step", "iter", "iteration", "batch", "epoch", "update", "round")
)  # what a name that ends in "id" may count besides things

SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn", "tr", "trainer", "fit"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}

# A number as loggers write it. Digits are ASCII: "1_000", "0,5" and other scripts are not read, because nobody can be sure of them.
# The quantifiers are possessive ("++"): thousands of digits before a letter would else be tried in every split.
_NUMBER = re.compile(r"[+-]?+(?:\d++\.?+\d*+|\.\d++)(?:[eE][+-]?\d++)?+", re.ASCII)
_UNIT = re.compile(r"\s?(?:%|ms|us|s|sec|secs|W|C|V|x|[KMGT]i?B|MHz|GHz|it/s|img/s|samples/s|tok/s|tokens/s)")
_WORDS = {
    "nan": math.nan, "-nan": math.nan, "+nan": math.nan, "nan(ind)": math.nan, "-nan(ind)": math.nan, "1.#qnan": math.nan,
    "-1.#ind": math.nan,
    "inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "infinity": math.inf, "+infinity": math.inf, "-infinity": -math.inf,
    "1.#inf": math.inf, "-1.#inf": -math.inf, "true": 1.0, "false": 0.0,
}  # fmt: skip
MISSING = frozenset(("", "none", "null", "na", "n/a", "-", "--", "_", "<na>", "nil", "#n/a"))
_TENSOR = re.compile(r"(?:tensor|array|np\.float\d+|Array)\(\s*+([^\s,()\[\]]++)\s*+(?:,[^()]*+(?:\([^()]*+\))?+[^()]*+)?\)")
_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_GPU = re.compile(r"(?:[^\n]{0,200}\bsystem[./])?gpu\.(?:process\.)?(\d{1,4})\.")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def number(cell: str) -> float | None:
    """The number that a cell spells ("3e-4", "nan", "12.5 %", "tensor(0.25)", "True"), None where it spells none."""
    text = cell.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    if (word := _WORDS.get(text.lower())) is not None:
        return word
    if (found := _NUMBER.match(text)) and _UNIT.fullmatch(text, found.end()):
        return float(found.group())
    if text.endswith(")") and (wrapped := _TENSOR.fullmatch(text)):
        return number(wrapped.group(1))
    return None


def device_of(name: str) -> int | None:
    """The GPU that a name of W&B's system metrics speaks of ("gpu.0.temp", "system/gpu.1.memory"); None for any other name."""
    found = _GPU.match(name)
    return int(found[1]) if found else None


def whole(cell: object) -> int:
    """A step as an exact integer, NO_STEP where the cell holds none or one beyond 64 bits (a step is never rounded)."""
    if isinstance(cell, str):
        text = cell.strip()
        if _WHOLE.fullmatch(text):
            cell = int(text)
        else:
            cell = number(text)
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return NO_STEP
    if isinstance(cell, float):
        if not cell.is_integer() or abs(cell) >= 2**63:
            return NO_STEP
        cell = int(cell)
    return cell if -(2**63) < cell < 2**63 else NO_STEP


def moment(cell: object) -> int:
    """A date or a Unix time as microseconds since 1970 UTC, NO_TIME where it is neither. A date without a zone is taken as UTC."""
    if isinstance(cell, str):
        value = number(cell)
        if value is None:
            return _date(cell.strip())
        cell = value
    if isinstance(cell, bool) or not isinstance(cell, int | float) or not 0 < cell < 1e19:  # also NaN, and integers no float can hold
        return NO_TIME
    for unit, micros in ((1.0, 1e6), (1e3, 1e3), (1e6, 1.0), (1e9, 1e-3)):  # seconds, milli-, micro-, nanoseconds
        if 6e8 * unit < cell < 5e9 * unit:  # the years 1989 to 2128: an elapsed time is never that large
            return round(cell * micros)
    return NO_TIME


@functools.lru_cache(maxsize=4096)
def _date(text: str) -> int:
    if len(text) < 8 or len(text) > 40 or not text[:4].isdigit():
        return NO_TIME
    plain = text.replace("/", "-")
    if len(plain) > 10 and plain[10] == "_":  # 2018-11-10_00-18-12, as RLlib writes it
        plain = plain[:10] + "T" + plain[11:].replace("-", ":")
    plain = re.sub(r"(\d{2}),(\d+)", r"\1.\2", plain).replace(" UTC", "+00:00")
    try:
        when = datetime.fromisoformat(plain)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return round(when.timestamp() * 1e6)
    except (ValueError, OverflowError):
        return NO_TIME


def split_of(cell: object) -> Split | None:
    """The split that a word names ("Validation" -> val), None for any other word."""
    return SPLIT_WORDS.get(cell.strip().lower()) if isinstance(cell, str) else None


def plain(name: str) -> str:
    """A name for comparing: "TotalEnvInteracts" and "total-env interacts" are both "total_env_interacts"."""
    return re.sub(r"[^a-z0-9]+", "_", _CAMEL.sub("_", name.strip()[:200]).lower()).strip("_")


def is_identifier(name: str) -> bool:
    """Whether a column numbers things ("PassengerId", "trial_id") and not moments ("step_id")."""
    words = plain(name).split("_")
    return words[-1] == "id" and not _COUNTERS.intersection(words)


def clean(text: str, limit: int = 400) -> str:
    """Text that any sink can hold: no lone surrogates, no more than `limit` characters."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Roles:
    """Which names of a table are axes. Every field but `index` is a name or None; `index` names columns that only count rows."""

    step: str | None = None
    epoch: str | None = None
    time: str | None = None
    split: str | None = None
    rank: str | None = None
    index: frozenset[str] = frozenset()

    @property
    def axes(self) -> frozenset[str]:
        """All names that are no metric. A time that turns out to be elapsed seconds is given back by `Table`."""
        return frozenset(name for name in (self.step, self.epoch, self.time, self.split, self.rank) if name is not None) | self.index


def roles(names: Iterable[str]) -> Roles:
    """Find the axes among column names, by name alone."""
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(plain(name), name)

    def first(wanted: Sequence[str]) -> str | None:
        return next((by_plain[word] for word in wanted if word in by_plain), None)

    return Roles(
        first(STEP_NAMES), first(EPOCH_NAMES), first(TIME_NAMES), first(SPLIT_NAMES), first(RANK_NAMES),
        frozenset(by_plain[word] for word in INDEX_NAMES if word in by_plain) | _envelopes(by_plain.values()),
    )  # fmt: skip


def _envelopes(names: Iterable[str]) -> frozenset[str]:
    """Columns that frame another one: a download from wandb's page has "loss__MIN" and "loss__MAX" beside "loss"."""
    known = set(names)
    return frozenset(name for name in known if name.endswith(("__MIN", "__MAX")) and name[:-5] in known)


def is_inner_counter(steps: np.ndarray, epochs: np.ndarray) -> bool:
    """True where a "step" counts batches inside an epoch: it falls back whenever the epoch rises, so it is no optimizer step."""
    known = (steps != NO_STEP) & ~np.isnan(epochs)
    steps, epochs = steps[known], epochs[known]
    if len(steps) < 3:
        return False
    rises = np.flatnonzero(np.floor(epochs[1:]) > np.floor(epochs[:-1]))
    falls = steps[rises + 1] < steps[rises]
    if len(rises) == 0:
        return False
    # Equal steps are validation rows that repeat the last batch; they say nothing either way.
    telling = steps[rises + 1] != steps[rises]
    return bool(telling.any() and falls.sum() >= 0.8 * telling.sum())


def times_of(cells: Sequence[object]) -> np.ndarray:
    """`moment` of each cell as int64 microseconds."""
    return np.fromiter((moment(cell) for cell in cells), np.int64, len(cells))
