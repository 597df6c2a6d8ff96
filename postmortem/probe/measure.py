"""Small measurements on tensors and on the process: norms, the one read from the device, checksums, memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MIB = 1024 * 1024
LOW = (torch.float16, torch.bfloat16)  # their norms do not fit into them


def flat(tensor: Tensor) -> Tensor:
    """The numbers of a parameter, gradient or output in one detached row: of a sharded one this rank's part, of a sparse one its values."""
    tensor = tensor.detach()
    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)


def norms(rows: Sequence[Tensor]) -> Tensor:
    """L2 norm of each row: float32[rows], on the device of the first row."""
    if not rows:
        return torch.zeros(0)
    if any(row.dtype in LOW for row in rows):
        return torch.stack(on_one_device(torch.linalg.vector_norm(row, dtype=torch.float32) for row in rows))
    return torch.stack(on_one_device(torch._foreach_norm(list(rows)))).float()


def on_one_device(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The tensors where the first one lies (a model may be spread over several devices)."""
    given = list(tensors)
    return [tensor.to(given[0].device) for tensor in given]


def l2(values: Sequence[float], which: Iterable[int] | None = None) -> float:
    """The L2 norm of a group from the norms of its members."""
    return sum(values[i] ** 2 for i in (range(len(values)) if which is None else which)) ** 0.5


def in_one_read(ask: Mapping[str, Any]) -> dict[str, list[float]]:
    """The numbers of all tensors in one transfer from the device; a loss of several numbers is its mean, floats stay as they are."""
    asked = {name: value.detach() for name, value in ask.items() if isinstance(value, Tensor)}
    parts = on_one_device(value.abs() if value.is_complex() else value for value in asked.values())
    line = iter(torch.cat([part.reshape(-1).to(torch.float32) for part in parts]).tolist() if parts else ())
    read = {name: [next(line) for _ in range(value.numel())] for name, value in asked.items()}
    return read | {name: [float(value)] for name, value in ask.items() if not isinstance(value, Tensor) and value is not None}


def number(value: Any) -> float:
    """A loss, a weight or a rate as a float; several numbers are their mean."""
    return float(value.detach().float().mean()) if isinstance(value, Tensor) else float(value)


def bare(thing: Any, wrappers: Sequence[str]) -> Any:
    """A model or optimizer without what is wrapped around it (DataParallel, torch.compile, a trainer's own wrapper)."""
    while (inner := next((getattr(thing, name) for name in wrappers if getattr(thing, name, None) is not None), None)) is not None:
        thing = inner
    return thing


def tensors_of(output: Any) -> Iterator[Tensor]:
    """Every tensor in what a model returns: a tensor, tuple, dictionary or an object like a ModelOutput; logits first."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from (t for name in sorted(output, key=lambda name: name != "logits") for t in tensors_of(output[name]))
    elif isinstance(output, tuple | list):
        yield from (t for item in output for t in tensors_of(item))
    elif hasattr(output, "__dict__"):
        yield from (t for item in vars(output).values() if isinstance(item, Tensor) for t in (item,))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards each module is in the mode it was in (some are frozen on purpose)."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def checksum(model: nn.Module, batch: Any) -> float:
    """A weighted sum of the predictions on a fixed batch (tensor, tuple of arguments or mapping of them), in evaluation mode.

    The modes of all modules and the random state are put back. The weights make it move also where the plain sum cannot (softmax).
    """
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        out = model(*batch) if isinstance(batch, tuple | list) else model(**batch) if isinstance(batch, Mapping) else model(batch)
        rows = [flat(t).cpu().double() for t in tensors_of(out) if t.is_floating_point() or t.is_complex()]
    return float(sum((row * torch.cos(torch.arange(len(row), dtype=torch.float64))).sum() for row in rows))


def memory() -> dict[str, float]:
    """Host memory of this process, and CUDA memory where there is CUDA, in MiB."""
    told: dict[str, float] = {}
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            told["host_mem_mb"] = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    except (OSError, ValueError, AttributeError):
        pass  # not Linux: no cheap way to know
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        told["cuda_mem_allocated_mb"] = torch.cuda.memory_allocated() / MIB
        told["cuda_mem_reserved_mb"] = torch.cuda.memory_reserved() / MIB
        told["max_cuda_mem_allocated_mb"] = torch.cuda.max_memory_allocated() / MIB
    return told


def process_rank() -> int:
    """This process's rank: of the process group, else of the environment, else 0."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    told = os.environ.get("RANK", "0")
    return int(told) if told.isdigit() else 0
