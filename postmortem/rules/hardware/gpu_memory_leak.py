"""Memory in use grows step by step until it runs out

Usual causes, most common first: a list that keeps losses or outputs with their graph (`losses.append(loss)` instead of
`loss.item()`), hidden states carried over without `detach()`, hooks registered again and again, a growing cache, batches of growing length.

To tell them apart: `torch.cuda.memory_allocated()` grows for live tensors; only `memory_reserved()` grows for fragmentation. If it grows
per epoch and not per step, look at validation (is it under `torch.no_grad()`?).

This is not it: growth in the first steps while caches fill, one jump when validation starts, memory that swings with the batch length.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve
from postmortem.rules.base import Case, Hit, limit, point
from postmortem.rules.examples import drawn, flat, join, line, nan, telemetry

severity = "warning"
explains = ("cuda-oom", "host-oom")
fix = (
    "Keep numbers, not tensors: `total_loss += loss.item()`; `outputs.append(out.detach().cpu())`.",
    "Detach what is carried over between steps: `hidden = hidden.detach()`.",
    "Find the holder: `torch.cuda.memory._record_memory_history()` and `_dump_snapshot()`, or count tensors with `gc.get_objects()`.",
)
prevention = ("Log memory_allocated every hundred steps; a smoke test of 200 steps should end where it stood after 50.",)


@dataclass(frozen=True)
class Thresholds:
    growth: float = limit(1.2, "ratio", "last tenth over the first tenth after warm-up", "runmedic 0.1.1: >= 1.2x")
    steady: float = limit(
        0.9,
        "rank correlation",
        "how steadily it grows (Spearman); steps and swings stay below",
        "runmedic 0.1.1 uses 0.8; 0.9 leaves out one jump at the start of validation",
    )
    still: float = limit(
        0.5,
        "share",
        "the second half must grow by at least this part of the growth of the first: a cache that fills stops growing",
        "a leak is linear: 1.0",
    )
    warm_up: float = limit(0.1, "share", "part of the run that is left out at the start", "allocator and caches settle in the first steps")
    samples: float = limit(30, "samples", "fewer samples show no trend", "a rank correlation of 30 points is significant far above chance")


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    for metric in ("cuda_mem_allocated", "gpu_mem_used", "gpu_mem_allocated_pct", "host_mem"):
        for curve in case.all(metric):
            if hit := _grows(curve, limits):
                yield hit


def _grows(curve: Curve, limits: Thresholds) -> Hit | None:
    start = int(len(curve) * limits.warm_up)
    values = curve.values[start:]
    if len(values) < limits.samples or not np.isfinite(values).all():
        return None
    tenth = max(1, len(values) // 10)
    first, middle, last = (
        values[:tenth].mean(),
        np.median(values[len(values) // 2 - tenth // 2 : len(values) // 2 + tenth // 2 + 1]),
        values[-tenth:].mean(),
    )
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    steady = float(np.corrcoef(ranks, np.arange(len(values)))[0, 1]) if np.ptp(values) > 0 else 0.0
    if first <= 0 or last / first < limits.growth or steady < limits.steady or last - middle < limits.still * (middle - first):
        return None
    return Hit(
        [
            point(curve, start, f"{curve.raw_name} is {first:.4g} at {curve.where(start)}"),
            point(curve, -1, f"and {last:.4g} at {curve.where(-1)}: {last / first:.2f} times as much, growing all the way", primary=True),
        ],
        curve.when(start),
        confidence="medium",
        cause="Something keeps tensors (or their graphs) alive from step to step.",
    )


fires_on = [
    drawn("allocated memory climbs all the way", loss=line(2, 1, 100), cuda_mem_allocated_mb=line(4000, 9000, 100, noise=20)),
    telemetry("used memory climbs in the telemetry", util=flat(90, 100), mem_used=line(6000, 15500, 100), mem_total=flat(16000, 100)),
    drawn("a short log", loss=line(2, 1, 40), cuda_mem_allocated_mb=line(4000, 9000, 40)),
]
quiet_on = [
    drawn("caches fill, then it stays", loss=line(2, 1, 100), cuda_mem_allocated_mb=join(line(2000, 8000, 8), flat(8000, 92, noise=5))),
    drawn("swings with the batch length", loss=line(2, 1, 100), cuda_mem_allocated_mb=flat(8000, 100, noise=900)),
    drawn(
        "one jump when validation starts",
        loss=line(2, 1, 100),
        cuda_mem_allocated_mb=join(flat(6000, 50, noise=2), flat(8000, 50, noise=2)),
    ),
    drawn("a tenth more in the end", loss=line(2, 1, 100), cuda_mem_allocated_mb=line(8000, 8900, 100)),
    drawn("more and more of a swing", loss=line(2, 1, 100), cuda_mem_allocated_mb=line(4000, 8000, 100, noise=2000)),
    drawn("a cache that fills ever slower", loss=line(2, 1, 100), cuda_mem_allocated_mb=8000 - 4000 * np.exp(-line(0, 2.4, 100))),
    drawn("most of it in the first steps", loss=line(2, 1, 100), cuda_mem_allocated_mb=join(line(6500, 8000, 8), line(8000, 9300, 92))),
    drawn("two dozen points", loss=line(2, 1, 25), cuda_mem_allocated_mb=line(4000, 9000, 25)),
    drawn("the model arrives late", loss=line(2, 1, 100), cuda_mem_allocated_mb=join(flat(0, 25), line(100, 8000, 75))),
    drawn("readings are missing", loss=line(2, 1, 100), cuda_mem_allocated_mb=join(line(4000, 6000, 40), nan(2), line(6000, 9000, 58))),
]
