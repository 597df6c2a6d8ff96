"""What the probe costs: one training loop with and without it, steps in turns, on a model of 10 M parameters (CPU, one thread)."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import itertools
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from postmortem.probe import Probe

GOALS = {None: None, 50: 1.02, 1: 1.15}  # ratio to the loop without the probe, by `every`
MEMORY_GOAL = 0.01  # share of the model
BATCHES = 64
WARM_UP = 3  # the first steps allocate the optimizer's state


def network() -> nn.Module:
    """A plain network with 10 M parameters."""
    wide = [nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 1740), nn.ReLU()]
    return nn.Sequential(*wide, nn.Linear(1740, 10))


def stepper(every: int | None, batch: int) -> tuple[Callable[[], float], Probe | None]:
    """A training of its own: a function that takes one step and gives its seconds, and its probe (every=None: none)."""
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    # New batches all the time: one that is learned by heart ends in denormal gradients, which are slow to compute with.
    batches = itertools.cycle([(torch.randn(batch, 1024), torch.randint(0, 10, (batch,))) for _ in range(BATCHES)])
    probe = Probe(model, optimizer, every=every, sink=io.StringIO()) if every else None
    if probe:
        probe.__enter__()

    def step() -> float:
        start = time.process_time()  # not the wall clock: other processes of a busy machine must not count
        x, y = next(batches)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if probe:
            probe.step(loss)
        return time.process_time() - start

    return step, probe


def ratio(every: int | None, steps: int, batch: int) -> tuple[float, float]:
    """(CPU seconds a step without the probe, ratio with it). Steps are taken in turns, so that a busy machine hurts both alike.

    The ratio is the median over neighbouring steps. Where most steps print nothing, theirs and that of the printing ones are put
    together as they come: every - 1 to one. every=None compares the loop with itself: what is measured there is noise.
    """
    (plain, _), (probed, probe) = stepper(None, batch), stepper(every, batch)
    without: list[float] = []
    told: dict[bool, list[float]] = {True: [], False: []}
    for i in range(steps + WARM_UP):
        due = probe is not None and (probe.steps - probe.start) % probe.every == 0
        pair = (plain(), probed()) if i % 2 else (probed(), plain())[::-1]
        if i >= WARM_UP:
            without.append(pair[0])
            told[due].append(pair[1] / pair[0])
    if probe is not None:
        probe.close()
    share = 0.0 if every is None else 1 / every
    times = {due: statistics.median(ratios) for due, ratios in told.items() if ratios}
    return statistics.median(without), share * times.get(True, 0.0) + (1 - share) * times.get(False, 0.0)


def memory() -> float:
    """What the probe remembers between two prints, as a share of the model's parameters."""
    model = network()
    probe = Probe(model, torch.optim.AdamW(model.parameters()), every=50, sink=io.StringIO())
    probe.__enter__()
    for _ in range(2):
        model(torch.randn(4, 1024)).sum().backward()
        probe.step()
    probe._parameters.before_step()  # as before a step that prints: both samples are held
    kept = {id(t): t for t in [*probe._parameters._before, *probe._parameters._previous, *probe._seen.values()]}
    probe.close()
    return sum(t.untyped_storage().nbytes() for t in kept.values()) / sum(p.untyped_storage().nbytes() for p in model.parameters())


def keep_memory() -> None:
    """Ask the C library to keep freed memory (Linux).

    Otherwise each large tensor may be given back and faulted in again: up to ten thousand page faults a step, 5 to 20 % of it, with or
    without the probe as the layout of the heap happens to be. That would drown what is measured here.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**31 - 1)  # M_MMAP_THRESHOLD


def layouts(every: int | None, count: int, steps: int, batch: int) -> tuple[float, list[float]]:
    """(CPU seconds a step without the probe, ratios in order), each with the tensors at other places of the memory.

    Where they lie changes the time of a step by up to 3 %, also of the loop compared with itself; one place would say nothing.
    """
    draw = random.Random(0)
    found = []
    for _ in range(count):
        padding = [torch.empty(draw.randrange(1_000, 300_000)) for _ in range(20)]
        found.append(ratio(every, steps, batch))
        del padding
    return statistics.median(base for base, _ in found), sorted(times for _, times in found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=54, help="of each loop; at least 54, so that every=50 prints")
    parser.add_argument("--layouts", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    print(f"torch {torch.__version__}, {sum(p.numel() for p in network().parameters()):,} parameters, batch {given.batch}, AdamW\n")
    print("| loop | CPU ms a step without | ratio (median) | from .. to | target |\n|---|---|---|---|---|")
    for every, goal in GOALS.items():
        base, times = layouts(every, given.layouts, given.steps, given.batch)
        name, target = (f"every={every}", f"<= {goal}") if every else ("with itself", "(noise)")
        print(f"| {name} | {1e3 * base:.1f} | {statistics.median(times):.3f} | {times[0]:.3f} .. {times[-1]:.3f} | {target} |", flush=True)
    print(f"\nmemory: {memory():.3%} of the model (target <= {MEMORY_GOAL:.0%})")


if __name__ == "__main__":
    main()
