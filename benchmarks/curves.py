"""Change points: ours against ruptures on the raw curves, side by side in one run. `python benchmarks/curves.py`

Inputs are drawn (seeded). Times are CPU seconds of this process, the best of three where it is short.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from postmortem.curves import changepoints, describe_all, families
from postmortem.curves.families import FAMILIES

CURVES, POINTS, LONG = 200, 10_000, 1_000_000


def drawn(count: int, points: int, seed: int = 3) -> list[np.ndarray]:
    """Curves of every family that has a direction, all of one length."""
    rng = np.random.default_rng(seed)
    kinds = [family for family in FAMILIES if family.shape not in ("short", "constant", "nan-death", "unknown-direction")]
    return [kinds[i % len(kinds)].draw(rng, points) for i in range(count)]


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """CPU seconds of the fastest of a few tries."""
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def raw_kernel(curves: list[np.ndarray]) -> None:
    """ruptures' fastest engine on the raw curves."""
    import ruptures

    for curve in curves:
        noise = changepoints.noise_of(curve)
        ruptures.KernelCPD("linear", min_size=4).fit(curve).predict(pen=3 * np.log(len(curve)) * noise**2 + 1e-12)


def main() -> None:
    """Print the table."""
    curves = drawn(CURVES, POINTS)
    long = drawn(1, LONG)[0]
    changepoints.levels(long[:1000])  # the import of ruptures is not what is measured
    named = [curve for family in FAMILIES for curve in families.draw(family, 12)]
    ours, theirs = seconds(lambda: changepoints.slopes_all(curves)), seconds(lambda: raw_kernel(curves), 1)
    print(f"{'what':58} {'CPU s':>8}")
    print(f"{f'KernelCPD(linear), {CURVES} raw curves of {POINTS:,} points':58} {theirs:8.3f}")
    print(f"{'slopes_all, the same curves':58} {ours:8.3f}   1/{theirs / ours:.0f}")
    print(f"{f'slopes, one curve of {LONG:,} points':58} {seconds(lambda: changepoints.slopes(long)):8.3f}")
    print(f"{f'levels, one curve of {LONG:,} points':58} {seconds(lambda: changepoints.levels(long)):8.3f}")
    print(f"{f'describe_all, {len(named)} drawn curves of all families':58} {seconds(lambda: describe_all(named)):8.3f}")


if __name__ == "__main__":
    main()
