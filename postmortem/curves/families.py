"""Drawn families of curves, one for every shape, and the table of what each is taken for.

A family draws its curves over lengths (20 to 20,000 points), scales (a thousandth to a thousand), noise and the place of what
happens. tests/test_shapes.py holds the table to its promise; docs/shapes.md shows it.
"""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from postmortem.model import Curve

Draw = Callable[[np.random.Generator, int], np.ndarray]

PER_FAMILY = 200
LENGTHS = (20, 20_000)  # points; drawn evenly on a logarithmic scale


@dataclass(frozen=True, slots=True)
class Family:
    """Curves of one shape. least: the fewest points on which the shape can be told. healthy: nothing is wrong with such a curve."""

    shape: str
    about: str
    draw: Draw
    least: int = LENGTHS[0]
    direction: Literal["down", "up"] | None = "down"
    healthy: bool = False


def _noise(rng: np.random.Generator, n: int, scale: float) -> np.ndarray:
    """Noise of a standard deviation; for one curve in three with heavy tails (Student's t, 4 degrees of freedom)."""
    heavy = rng.random() < 1 / 3
    return scale * (rng.standard_t(4, n) / np.sqrt(2.0) if heavy else rng.normal(size=n))


def _decay(rng: np.random.Generator, n: int, constants: tuple[float, float] = (4.0, 14.0)) -> np.ndarray:
    """A healthy fall from 1 to its floor 0: exponential over some time constants, or a power of time."""
    t = np.arange(n) / max(1, n - 1)
    if rng.random() < 0.7:
        rate = rng.uniform(*constants)
        return (np.exp(-rate * t) - np.exp(-rate)) / (1 - np.exp(-rate))
    power = rng.uniform(0.5, 1.0)
    fall = (1 + 30 * t) ** -power
    return (fall - fall[-1]) / (fall[0] - fall[-1])


def _floor(rng: np.random.Generator) -> float:
    """The floor of a loss as a share of its drop."""
    return float(rng.uniform(0.02, 1.5))


def _converging(rng: np.random.Generator, n: int) -> np.ndarray:
    return _floor(rng) + _decay(rng, n) + _noise(rng, n, rng.choice([0.0, 0.01, 0.03, 0.06]))


def _still_improving(rng: np.random.Generator, n: int) -> np.ndarray:
    t = np.arange(n) / (n - 1)
    bend = rng.uniform(0.05, 0.9)
    fall = (np.exp(-bend * t) - np.exp(-bend)) / (1 - np.exp(-bend))
    return _floor(rng) + fall + _noise(rng, n, rng.choice([0.0, 0.005, 0.01, 0.02]))


def _plateau(rng: np.random.Generator, n: int) -> np.ndarray:
    at = rng.uniform(0.15, 0.6)
    fall = np.clip(1 - np.arange(n) / (n * at), 0, None)
    return _floor(rng) + fall + _noise(rng, n, rng.choice([0.0, 0.01, 0.03, 0.06]))


def _flat(rng: np.random.Generator, n: int) -> np.ndarray:
    return 1.0 + _noise(rng, n, rng.choice([0.0005, 0.003, 0.03, 0.1])) + rng.uniform(-0.002, 0.002) * np.arange(n) / n


def _constant(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.full(n, rng.uniform(0.1, 3.0))


def _slow_burn(rng: np.random.Generator, n: int) -> np.ndarray:
    drop = rng.uniform(0.005, 0.04)
    return 1.0 - drop * np.arange(n) / (n - 1) + _noise(rng, n, drop * rng.choice([0.0, 0.01, 0.03, 0.05]))


def _hockey_stick(rng: np.random.Generator, n: int) -> np.ndarray:
    points = max(1.0, rng.uniform(0.002, 0.006) * n)
    return _floor(rng) + np.exp(-np.arange(n) * 1.5 / points) + _noise(rng, n, rng.choice([0.0, 0.01, 0.03]))


def _nan_death(rng: np.random.Generator, n: int) -> np.ndarray:
    curve = _converging(rng, n)
    if rng.random() < 0.3:
        curve[n // 4] = np.nan  # one that was survived
    at = int(n * rng.uniform(0.3, 0.85))
    curve[at:] = rng.choice([np.nan, np.inf])
    return curve


def _divergence(rng: np.random.Generator, n: int) -> np.ndarray:
    curve = _converging(rng, n)
    start = int(n * rng.choice([0.0, 0.1, 0.3, 0.5, 0.7]))
    rest = n - start
    height = (curve[0] + 1) * 10 ** rng.uniform(0.3, 2.5)
    ramp = np.arange(rest) / max(1, rest - 1)
    way = rng.choice(3)
    curve[start:] += height * (ramp**2 if way == 0 else np.minimum(1, 4 * ramp) if way == 1 else ramp)
    return curve


def _spike(rng: np.random.Generator, n: int) -> np.ndarray:
    curve = _converging(rng, n)
    at, width = int(n * rng.uniform(0.2, 0.8)), max(1, int(n * rng.uniform(0.001, 0.02)))
    curve[at : at + width] += 10 ** rng.uniform(0.4, 2.0)
    return curve


def _oscillation(rng: np.random.Generator, n: int) -> np.ndarray:
    t = np.arange(n) / n
    size = rng.uniform(1.5, 4.0)
    if rng.random() < 0.7:
        swing = np.sin(2 * np.pi * rng.uniform(14, 26) * t + rng.uniform(0, 6))
    else:
        swing = np.interp(t * 40, np.arange(42), np.resize([-1.0, 1.0], 42) * rng.uniform(0.6, 1.0, 42))
    return 2 * size + 0.5 * _decay(rng, n) + size * swing + _noise(rng, n, 0.02)


def _turn(rng: np.random.Generator, n: int) -> np.ndarray:
    at = rng.uniform(0.1, 0.6)
    t = np.arange(n) / n
    fall = (np.exp(-4 * t / at) - np.exp(-4.0)) / (1 - np.exp(-4.0))
    after = np.clip((t - at) / (1 - at), 0, None)
    rise = rng.uniform(0.3, 0.9) * (after if rng.random() < 0.5 else after**0.5)
    return 0.8 + np.clip(fall, 0, None) + rise + _noise(rng, n, rng.choice([0.0, 0.01, 0.03]))


def _forgetting(rng: np.random.Generator, n: int) -> np.ndarray:
    good, gone = int(n * rng.uniform(0.1, 0.3)), int(n * rng.uniform(0.5, 0.8))
    level = np.interp(np.arange(n), [0, good, gone, gone + 0.05 * n, n], [0, 1, 1, 0, 0]) + rng.uniform(0, 0.1)
    return level + _noise(rng, n, rng.choice([0.0, 0.01, 0.04]))


def _noisy_falling(rng: np.random.Generator, n: int) -> np.ndarray:
    return _floor(rng) + _decay(rng, n, (3.0, 6.0)) + _noise(rng, n, rng.uniform(0.2, 0.3))


def _warm_up(rng: np.random.Generator, n: int) -> np.ndarray:
    t, at = np.arange(n) / n, rng.uniform(0.1, 0.25)
    after = np.clip((t - at) / (1 - at), 0, None)
    hump = rng.choice([0.0, 0.4, 0.8])  # 0: it only waits
    height = np.where(t < at, 1 + hump * np.sin(np.pi / 2 * t / at), (1 + hump) * np.exp(-5 * after))
    return _floor(rng) + height + _noise(rng, n, rng.choice([0.0, 0.01, 0.02]))


def _staircase(rng: np.random.Generator, n: int) -> np.ndarray:
    stairs = int(rng.integers(1, 4))
    edges = (np.arange(1, stairs + 1) / (stairs + 1) + rng.uniform(-0.06, 0.06, stairs)) * n
    heights = np.concatenate([[0.0], np.cumsum(rng.uniform(0.3, 0.6) * 0.6 ** np.arange(stairs))])
    return (
        _floor(rng)
        + 0.6 * _decay(rng, n)
        + heights[-1]
        - heights[np.searchsorted(edges, np.arange(n))]
        + _noise(rng, n, rng.choice([0.0, 0.01, 0.02]))
    )


def _short(rng: np.random.Generator, n: int) -> np.ndarray:
    return 1 + rng.normal(size=int(rng.integers(1, 5)))


FAMILIES = (
    Family("converging", "falls to a floor and stays there", _converging, healthy=True),
    Family("noisy-falling", "falls under heavy noise", _noisy_falling, least=60, healthy=True),
    Family("warm-up", "rises or waits at first, then falls", _warm_up, least=30, healthy=True),
    Family("staircase", "falls at once, one to three times, as at a drop of the learning rate", _staircase, least=40, healthy=True),
    Family("still-improving", "falls to the end at its pace", _still_improving, healthy=True),
    Family("plateau", "a steady fall that breaks off", _plateau, least=40),
    Family("hockey-stick", "drops at once and never moves again", _hockey_stick, least=60),
    Family("flat", "never left its start", _flat),
    Family("constant", "the same number each time", _constant),
    Family("slow-burn", "a straight fall by less than 5 % of its level", _slow_burn),
    Family("nan-death", "NaN or infinite to the end", _nan_death),
    Family("divergence", "ends far above its start", _divergence),
    Family("spike", "one excursion that towers over the run, and comes back", _spike, least=40),
    Family("oscillation", "swings that dwarf its trend", _oscillation, least=80),
    Family("turn", "a minimum, then a clear rise", _turn, least=30),
    Family("forgetting", "a score that was good and is gone", _forgetting, least=30, direction="up"),
    Family("unknown-direction", "nobody knows which way is better", _turn, direction=None),
    Family("short", "fewer than five points", _short),
)  # fmt: skip


def draw(family: Family, count: int = PER_FAMILY, seed: int = 0) -> list[Curve]:
    """`count` curves of a family; the same seed draws the same curves."""
    rng = np.random.default_rng([seed, zlib.crc32(family.shape.encode())])
    curves = []
    for _ in range(count):
        n = int(np.exp(rng.uniform(np.log(family.least), np.log(LENGTHS[1]))))
        values = family.draw(rng, n) * 10 ** rng.uniform(-3, 3)
        lines = np.arange(2, len(values) + 2)
        curves.append(
            Curve("loss", "loss", "metrics.csv", "train", None, None, 0, True, values, lines, direction=family.direction, kind="loss")
        )
    return curves


def confusion(count: int = PER_FAMILY, seed: int = 0) -> dict[str, Counter[str]]:
    """What the curves of each family are taken for: {shape drawn: Counter of shapes named}."""
    from postmortem.curves import describe_all

    table: dict[str, Counter[str]] = {}
    for family in FAMILIES:
        curves = draw(family, count, seed)
        describe_all(curves)
        table[family.shape] = Counter(curve.shape.name for curve in curves)
    return table


def table(confused: dict[str, Counter[str]]) -> str:
    """The confusion as a Markdown table: one row a family, what it was right in, and what it was taken for instead."""
    lines = ["| drawn | what it is | right | taken for |", "|---|---|---|---|"]
    for family in FAMILIES:
        row = confused[family.shape]
        wrong = ", ".join(f"{name} {count}" for name, count in row.most_common() if name != family.shape) or "-"
        lines.append(f"| {family.shape} | {family.about} | {100 * row[family.shape] / row.total():.1f} % | {wrong} |")
    return "\n".join(lines)


def healthy_called_sick(confused: dict[str, Counter[str]]) -> float:
    """Share of the healthy curves that were given the name of a sick shape."""
    well = {family.shape for family in FAMILIES if family.healthy}
    rows = [confused[name] for name in well]
    return sum(count for row in rows for name, count in row.items() if name not in well) / sum(row.total() for row in rows)


PAGE = """# Shapes of curves

The shape of a curve is one word, decided from its change points and a few robust numbers relative to its own scale and noise
(`postmortem/curves/`). A shape is a description, no verdict: what is a fault is decided by the rules, which see all curves of a run.

How well the words fit is measured on drawn curves: {count} a family, from 20 (some families need more) to 20,000 points, over six
orders of magnitude, with normal and heavy-tailed noise. This page is written by `python -m postmortem.curves.families docs/shapes.md`;
the tests hold the same figures on other curves (at least 95 % right, healthy called sick at most 1 %).

{table}

Healthy curves (the first five families) that were given the name of a sick one: {sick:.2f} %.
"""


def page(count: int = PER_FAMILY) -> str:
    """docs/shapes.md."""
    found = confusion(count)
    return PAGE.format(count=count, table=table(found), sick=100 * healthy_called_sick(found))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    else:
        print(page())
