"""Examples for rules: a few lines of log, or drawn curves, that a rule must fire on or stay quiet on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Example:
    """A small run directory in words. Generic tests write it down and examine it for real.

    make gives file name -> content when it is asked for: rules are loaded on every run, their examples only by tests and docs.
    cause is the rule that is the first cause of this run, where that is not the rule whose example it is.
    """

    make: Callable[[], Mapping[str, str]]
    note: str = ""
    cause: str = ""

    @property
    def files(self) -> Mapping[str, str]:
        """File name -> content."""
        return self.make()

    def caused_by(self, rule: str) -> Example:
        """The same run, of which another rule is the first cause."""
        return replace(self, cause=rule)


def log(text: str, name: str = "train.log", note: str = "") -> Example:
    """A run that left one log with this text."""
    return Example(lambda: {name: text}, note)


def files(note: str = "", **content: str | Callable[[], str]) -> Example:
    """A run that left several files; a double underscore in a keyword is a dot ("metrics__csv"). A long text may be a function that makes it."""
    return Example(lambda: {name.replace("__", "."): text if isinstance(text, str) else text() for name, text in content.items()}, note)


def drawn(note: str = "", **curves: Sequence[float] | np.ndarray) -> Example:
    """A run that left one metrics.csv, one column a curve, one row a step; shorter curves end early, no row for missing values.

    Keywords are column names; a double underscore is a slash: drawn(train__loss=..., val__loss=...).
    """
    return Example(functools.partial(_csv, curves), note)


def _csv(curves: Mapping[str, Sequence[float] | np.ndarray]) -> dict[str, str]:
    columns = {name.replace("__", "/"): np.asarray(values, float) for name, values in curves.items()}
    rows = max(len(values) for values in columns.values())
    lines = [",".join(["step", *columns])]
    for i in range(rows):
        lines.append(",".join([str(i), *(repr(float(v[i])) if i < len(v) else "" for v in columns.values())]))
    return {"metrics.csv": "\n".join(lines) + "\n"}


def telemetry(
    note: str = "", *, training: bool = True, device: Sequence[int] | None = None, **columns: Sequence[float] | np.ndarray
) -> Example:
    """A run that left `nvidia-smi --query-gpu` CSV, one row every 5 seconds, and (unless training=False) a falling loss beside it.

    Keywords: util, mem_used, mem_total, temp, power, thermal, brake, ecc; device: the GPU index of each row (default 0).
    """
    return Example(functools.partial(_gpu_csv, training, device, columns), note)


def _gpu_csv(training: bool, device: Sequence[int] | None, columns: Mapping[str, Sequence[float] | np.ndarray]) -> dict[str, str]:
    names = {
        "util": ("utilization.gpu [%]", "%"), "mem_used": ("memory.used [MiB]", "MiB"), "mem_total": ("memory.total [MiB]", "MiB"),
        "temp": ("temperature.gpu", ""), "power": ("power.draw [W]", "W"), "thermal": ("clocks_throttle_reasons.hw_thermal_slowdown", "switch"),
        "brake": ("clocks_throttle_reasons.hw_power_brake_slowdown", "switch"), "ecc": ("ecc.errors.uncorrected.volatile.total", ""),
    }  # fmt: skip
    rows = len(next(iter(columns.values())))
    lines = [", ".join(["timestamp", "index", *(names[name][0] for name in columns)])]
    for i in range(rows):
        cells = [f"2026/03/01 {10 + i // 720:02d}:{i // 12 % 60:02d}:{i % 12 * 5:02d}.000", str(device[i] if device is not None else 0)]
        for name, values in columns.items():
            unit = names[name][1]
            cells.append(("Active" if values[i] else "Not Active") if unit == "switch" else f"{values[i]:g} {unit}".strip())
        lines.append(", ".join(cells))
    content = {"gpu.csv": "\n".join(lines) + "\n"}
    if training:
        content["train.log"] = "".join(f"step {i}: loss {2.0 / (1 + 0.05 * i):.4f}\n" for i in range(200))
    return content


# ---------------------------------------------------------------------- pieces of curves, to be joined with np.concatenate


def fall(start: float, to: float, n: int = 100, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A loss as it should be: n points, exponential from start down to its floor `to`, noise relative to the drop."""
    t = np.linspace(0, 5, n)
    return to + (start - to) * np.exp(-t) + _noise(n, noise * abs(start - to), seed)


def line(start: float, to: float, n: int = 100, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A straight line of n points; noise in units of the value."""
    return np.linspace(start, to, n) + _noise(n, noise, seed)


def flat(level: float, n: int = 100, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """n points at one level; noise in units of the value."""
    return np.full(n, float(level)) + _noise(n, noise, seed)


def nan(n: int = 5) -> np.ndarray:
    """n points that the log gave as NaN."""
    return np.full(n, np.nan)


def join(*pieces: np.ndarray) -> np.ndarray:
    """Pieces of a curve, one after the other."""
    return np.concatenate(pieces)


def _noise(n: int, scale: float, seed: int) -> np.ndarray:
    return scale * _normal(n, seed) if scale else np.zeros(n)


@functools.lru_cache(maxsize=1_000)
def _normal(n: int, seed: int) -> np.ndarray:
    """n numbers of the standard normal distribution: hundreds of examples share a few dozen such series, and every start makes them all."""
    return np.random.default_rng(seed).normal(0, 1, n)
