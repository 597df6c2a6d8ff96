"""What the probe costs: the same training loop without it, with every=50 and with every=1, on a model of 10 M parameters (CPU)."""

from __future__ import annotations

import io
import statistics
import time

import torch
from postmortem.probe import Probe
from torch import nn

STEPS = 50  # so that every=50 prints once
ROUNDS = 3


def loop(every: int | None) -> float:
    """Seconds for STEPS steps; every=None: without the probe."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 1740), nn.ReLU(), nn.Linear(1740, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, y = torch.randn(32, 1024), torch.randint(0, 10, (32,))
    probe = Probe(model, optimizer, every=every, sink=io.StringIO()) if every else None
    if probe:
        probe.__enter__()
    for step in range(STEPS + 3):
        if step == 3:  # the first steps allocate the optimizer's state
            start = time.perf_counter()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if probe:
            probe.step(loss)
    spent = time.perf_counter() - start
    if probe:
        probe.close()
    return spent


def main() -> None:
    """Print the table; the loops run in turns."""
    torch.set_num_threads(1)
    times: dict[int | None, list[float]] = {None: [], 50: [], 1: []}
    for _ in range(ROUNDS):
        for every in times:
            times[every].append(loop(every))
    print("| loop | seconds | ratio | target |\n|---|---|---|---|")
    for every, goal in ((None, ""), (50, "<= 1.02"), (1, "<= 1.15")):
        spent = statistics.median(times[every])
        ratio = statistics.median(a / b for a, b in zip(times[every], times[None], strict=True))
        print(f"| {'without' if every is None else f'every={every}'} | {spent:.2f} | {ratio:.3f} | {goal} |")


if __name__ == "__main__":
    main()
