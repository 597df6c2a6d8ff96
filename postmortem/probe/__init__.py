"""The torch companion: add it to a training loop and it prints the facts that ordinary logs leave out, one `[TAG] key=value` line each.

    from postmortem.probe import Probe

    with Probe(model, optimizer, every=50) as probe:
        for batch in loader:
            loss = training_step(batch)     # forward, backward, optimizer.step()
            probe.step(loss)                # or probe.step(loss, losses={"pixel": (raw, weight)})

This file needs the standard library and torch only; nothing of the analyzer is imported, and the analyzer never imports this. Between two
prints it does nothing on the device and reads nothing back from it. An error inside the probe prints one line and turns it off: it never
breaks a training. docs/probe.md describes every line. Recipes (overfit_one_batch ...) and callbacks (LightningProbe ...) stand beside it.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import platform
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import torch
from torch import Tensor, nn

SAMPLE = 1024  # entries of each parameter that are remembered to measure its drift (below 1 % of any model that matters)
RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish)
MIB = 1024 * 1024


_BESIDE = {
    "overfit_one_batch": "recipes", "probe_branch": "recipes", "gradient_path": "recipes", "identity_baseline": "recipes",
    "LightningProbe": "callbacks", "HuggingFaceProbe": "callbacks", "KerasProbe": "callbacks",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Recipes and callbacks are fetched when first asked for: a framework is imported only where it is used."""
    if name in _BESIDE:
        return getattr(importlib.import_module(f"{__name__}.{_BESIDE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that can never break the training: its first error is printed, and the probe is off from then on."""

    @functools.wraps(method)
    def call(self: Probe, *args: Any, **kwargs: Any) -> Any:
        if not self.active:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:  # whatever it is, the training matters more
            self.active = False
            self._remove()
            print(f"[PROBE] disabled: {type(error).__name__}: {' '.join(str(error).split())[:200]}", file=sys.stderr, flush=True)
            return None

    return call


class Probe:
    """Watches a model and its optimizer from the outside, through hooks that are removed at the end.

    model, optimizer   as in the loop; without an optimizer only losses, activations and timings are told
    every              print every so many steps (the first step is always printed)
    sink               a path or an open text file; default: stdout
    form               "lines" ([TAG] key=value) or "jsonl"
    groups             {name: module} whose gradients and drift are told apart; default: the model's children (at most 8)
    probe_batch        inputs (a tensor or tuple) whose predictions' checksum is printed at each validation
    exact              remember all parameters (costs one copy of the model) instead of a sample of each
    config             anything worth a header line: {"lr": 3e-4, "batch_size": 32}
    rank               default: the environment's RANK; other ranks than 0 print only when `all_ranks`
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        every: int = 50,
        sink: str | os.PathLike[str] | TextIO | None = None,
        form: str = "lines",
        groups: Mapping[str, nn.Module] | None = None,
        probe_batch: Any = None,
        exact: bool = False,
        config: Mapping[str, Any] | None = None,
        rank: int | None = None,
        all_ranks: bool = False,
    ) -> None:
        self.model, self.optimizer, self.every = model, optimizer, max(1, int(every))
        self.rank = int(os.environ.get("RANK", "0")) if rank is None else rank
        self.active = self.rank == 0 or all_ranks
        self.steps = self.skipped = 0
        self._form, self._sink, self._owned = form, sink, False
        self._groups, self._batch, self._exact, self._config = groups, probe_batch, exact, dict(config or {})
        self._hooks: list[Any] = []
        self._old_handler: Any = None
        self._taken = self._closed = False
        self._first_val = True
        self._clock: dict[str, float] = {}
        self._facts: dict[str, Tensor] = {}
        self._samples = 0
        self._before: list[Tensor] = []

    # ------------------------------------------------------------------ life

    def __enter__(self) -> Probe:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.close("finished")
        elif kind is KeyboardInterrupt:
            self.close("signal:SIGINT")
        else:
            self.close(f"exception:{kind.__name__}")

    @_guarded
    def _start(self) -> None:
        if isinstance(self._sink, str | os.PathLike):
            self._sink, self._owned = open(self._sink, "a", encoding="utf-8"), True
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        self._params = [p for _, p in named]
        self._numbers = [torch.arange(0, p.numel(), max(1, p.numel() // SAMPLE))[:SAMPLE] for p in self._params]
        groups = dict(self._groups) if self._groups else dict(list(self.model.named_children())[:8])
        self._members = {name: [i for i, p in enumerate(self._params) if any(p is q for q in module.parameters())] for name, module in groups.items()}
        self._install()
        self._before = self._now()
        self._old_handler = _on_sigterm(self.close)
        facts = {"torch": torch.__version__, "python": platform.python_version(), "seed": torch.initial_seed(), "parameters": sum(p.numel() for p in self._params)}
        self._say("RUN", facts | {k: v for k, v in self._config.items() if isinstance(v, int | float | str | bool)})

    def _install(self) -> None:
        self._hooks = [self.model.register_forward_pre_hook(self._forward_begins), self.model.register_forward_hook(self._forward_ends)]
        self._hooks += [m.register_forward_hook(self._rectified) for m in self.model.modules() if isinstance(m, RECTIFIERS)]
        if self.optimizer is not None:
            self._hooks.append(self.optimizer.register_step_pre_hook(self._optimizer_begins))
            self._hooks.append(self.optimizer.register_step_post_hook(self._optimizer_ends))

    def _remove(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if self._old_handler is not None:
            signal.signal(signal.SIGTERM, self._old_handler)
            self._old_handler = None

    def close(self, reason: str = "finished") -> None:
        """Print the closing line and take every hook away. Called by `with`; calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self.active:
            self._say("END", {"steps": self.steps, "skipped": self.skipped, "reason": reason})
        self._remove()
        self.active = False
        if self._owned:
            self._sink.close()  # type: ignore[union-attr]

    # ------------------------------------------------------------------ what the loop calls

    @_guarded
    def step(self, loss: Tensor | float | None = None, losses: Mapping[str, Any] | None = None) -> None:
        """After each optimizer step. losses: {name: raw} or {name: (raw, weight)}. Prints if this step is due."""
        took = self._taken or self.optimizer is None
        self._taken = False
        self.skipped += not took
        if self._due():
            self._clock["end"] = time.perf_counter()
            self._report(loss, losses or {}, took)
        self.steps += 1
        self._samples = 0
        self._facts.clear()
        self._clock = {"begin": time.perf_counter()}

    @_guarded
    def validation(self, loss: Tensor | float | None = None, *, first_batch: bool = True) -> None:
        """After the first validation batch of each evaluation: its loss, and the checksum of the probe batch's predictions."""
        if loss is not None:
            self._say("VAL", {"loss(first-batch)" if first_batch else "loss": _number(loss)})
        if self._batch is not None:
            self._say("PROBE", {"probe_pred_checksum": checksum(self.model, self._batch)})

    @contextmanager
    def time(self, what: str) -> Iterator[None]:
        """Time a part of the step that hooks cannot see: `with probe.time("augment"): ...` is printed as augment_ms."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._clock[f"extra:{what}"] = self._clock.get(f"extra:{what}", 0.0) + time.perf_counter() - start

    # ------------------------------------------------------------------ hooks: two comparisons when no print is due

    def _due(self) -> bool:
        return self.steps % self.every == 0

    @_guarded
    def _forward_begins(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._due() and module.training:
            self._clock.setdefault("forward", time.perf_counter())
            first = next((x for x in inputs if isinstance(x, Tensor) and x.ndim), None)
            self._samples += first.shape[0] if first is not None else 0

    @_guarded
    def _forward_ends(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self._due() and module.training:
            self._clock["loss"] = time.perf_counter()
            out = output if isinstance(output, Tensor) else getattr(output, "logits", None)
            if isinstance(out, Tensor) and out.is_floating_point() and out.numel():
                self._facts["logit_min"], self._facts["logit_max"] = torch.aminmax(out.detach())

    @_guarded
    def _rectified(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self._due() and module.training and isinstance(output, Tensor) and output.ndim > 1 and output.numel():
            out = output.detach()
            units = out.transpose(1, -1).reshape(-1, out.shape[1]) if out.ndim > 2 else out
            silent = (units <= 0).all(dim=0)
            zero = torch.zeros((), device=out.device)
            self._facts["silent"] = self._facts.get("silent", zero) + silent.sum()
            self._facts["units"] = self._facts.get("units", zero) + silent.numel()
            self._facts["act_max"] = torch.maximum(self._facts.get("act_max", zero), out.abs().amax())

    @_guarded
    def _optimizer_begins(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._taken = True
        if self._due():
            self._clock["optimizer"] = time.perf_counter()
            grads = [p.grad for p in self._params]
            some = [g.detach() for g in grads if g is not None and not g.is_sparse]
            norms = iter(torch._foreach_norm(some)) if some else iter(())
            zero = torch.zeros((), device=self._params[0].device if self._params else "cpu")
            self._grad_norms = torch.stack([next(norms) if g is not None and not g.is_sparse else zero for g in grads]) if grads else zero.reshape(1)

    @_guarded
    def _optimizer_ends(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self._due():
            self._clock["stepped"] = time.perf_counter()

    # ------------------------------------------------------------------ the lines

    def _report(self, loss: Any, losses: Mapping[str, Any], took: bool) -> None:
        if loss is not None:
            self._say("LOSS", {"loss": _number(loss)})
        for name, told in losses.items():
            raw, weight = told if isinstance(told, tuple) else (told, None)
            self._part(name, _number(raw), weight)
        if self.optimizer is not None and self._params:
            self._optimizer_lines(took)
        facts = {name: value.item() for name, value in self._facts.items()}
        units = facts.pop("units", 0)
        silent = facts.pop("silent", 0)
        if units:
            self._say("DEAD", {"dead_neurons": silent / units})
        if facts:
            self._say("ACT", facts)
        self._say("PERF", self._timings())
        self._say("MEM", _memory())

    def _optimizer_lines(self, took: bool) -> None:
        """Gradients, drift, update ratio and extremes; one read from the device for all of them."""
        assert self.optimizer is not None
        lrs = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._list("LR", "lr", lrs)
        now = self._now()
        scale = [1.0 if self._exact else (p.numel() / max(1, len(n))) ** 0.5 for p, n in zip(self._params, self._numbers, strict=True)]
        drift = torch.stack([(a - b).float().norm() * s for a, b, s in zip(now, self._before, scale, strict=True)])
        weights = torch.stack(torch._foreach_norm([p.detach() for p in self._params]))
        low, high = torch.stack([p.amin() for p in now]).amin(), torch.stack([p.amax() for p in now]).amax()
        self._before = now
        grads = getattr(self, "_grad_norms", torch.zeros_like(drift)) if took else torch.full_like(drift, float("nan"))
        rows = torch.stack([drift.double(), weights.double(), grads.double().to(drift.device)]).cpu()
        deltas, sizes, norms = rows.tolist()
        per_group = {f"g_{_word(name)}": _together(norms[i] for i in rows_of) for name, rows_of in self._members.items() if rows_of}
        self._say("GRAD", {"step_ok": took, **per_group})
        total = _together(norms)
        self._say("NORM", {"grad_norm": total, "param_norm": _together(sizes)})
        self._drift(statistics.median(deltas), max(deltas))
        self._say("STEP", {f"param_delta_{_word(name)}": _together(deltas[i] for i in rows_of) for name, rows_of in self._members.items() if rows_of})
        index = {id(p): i for i, p in enumerate(self._params)}
        for number, (group, lr) in enumerate(zip(self.optimizer.param_groups, lrs, strict=True)):
            mine = [index[id(p)] for p in group["params"] if id(p) in index]
            size = _together(sizes[i] for i in mine)
            if size:
                self._say("UPDATE", {f"update_ratio/{number}": lr * _together(norms[i] for i in mine) / size})
        self._say("PARAM", {"param_min": low.item(), "param_max": high.item()})

    def _now(self) -> list[Tensor]:
        """What is remembered of each parameter: all of it, or a sample spread evenly over it."""
        with torch.no_grad():
            if self._exact:
                return [p.detach().clone().flatten() for p in self._params]
            return [p.detach().flatten()[n.to(p.device)] if p.numel() else p.detach().flatten().new_zeros(1) for p, n in zip(self._params, self._numbers, strict=True)]

    def _timings(self) -> dict[str, float]:
        c = self._clock
        spans = (
            ("data_time_ms", "begin", "forward"),
            ("timing_forward_ms", "forward", "loss"),
            ("timing_backward_ms", "loss", "optimizer"),
            ("timing_optim_step_ms", "optimizer", "stepped"),
            ("step_time_ms", "begin", "end"),
        )
        told = {name: 1e3 * (c[b] - c[a]) for name, a, b in spans if a in c and b in c}
        told |= {f"{name.partition(':')[2]}_ms": 1e3 * seconds for name, seconds in c.items() if name.startswith("extra:")}
        if self._samples and told.get("step_time_ms"):
            told["samples_per_sec"] = 1e3 * self._samples / told["step_time_ms"]
        return told

    def _say(self, tag: str, facts: Mapping[str, Any]) -> None:
        if not facts:
            return
        if self._form == "jsonl":
            record = {"step": self.steps, "tag": tag, **{k: v.item() if isinstance(v, Tensor) else v for k, v in facts.items()}}
            self._print(json.dumps(record, default=str))
        else:
            rank = f" rank={self.rank}" if self.rank else ""
            self._print(f"[{tag}] step={self.steps}{rank} " + " ".join(f"{k}={_shown(v)}" for k, v in facts.items()))

    def _part(self, name: str, raw: float, weight: float | None) -> None:
        if self._form == "jsonl":
            self._say("LOSS DEBUG", {f"loss_component/{name}": raw} | ({} if weight is None else {f"loss_weight/{name}": float(weight)}))
        else:
            self._print(f"[LOSS DEBUG] step={self.steps} {name}: {raw:.6g}" + ("" if weight is None else f" @ weight={float(weight):g}"))

    def _drift(self, median: float, most: float) -> None:
        if self._form == "jsonl":
            self._say("STEP", {"param_delta_median": median, "param_delta_max": most})
        else:
            self._print(f"[STEP] Δparam L2: step={self.steps} median={median:.3e}  max={most:.3e}")

    def _list(self, tag: str, name: str, values: list[float]) -> None:
        if self._form == "jsonl":
            self._say(tag, {f"{name}/{i}": v for i, v in enumerate(values)})
        else:
            self._print(f"[{tag}] step={self.steps} {name}=[{', '.join(f'{v:g}' for v in values)}]")

    def _print(self, line: str) -> None:
        out = self._sink if self._sink is not None else sys.stdout
        try:
            print(line, file=out, flush=True)  # type: ignore[arg-type]
        except UnicodeEncodeError:  # an ASCII terminal has no Delta
            print(line.replace("Δ", "d"), file=out, flush=True)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- helpers


def checksum(model: nn.Module, batch: Any) -> float:
    """Sum of the predictions on a fixed batch, in evaluation mode and without gradients; the model's mode is put back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            out = model(*batch) if isinstance(batch, tuple | list) else model(**batch) if isinstance(batch, Mapping) else model(batch)
    finally:
        model.train(training)
    tensors = [out] if isinstance(out, Tensor) else [x for x in (out.values() if isinstance(out, Mapping) else out) if isinstance(x, Tensor)]
    return float(sum(t.double().sum() for t in tensors if t.is_floating_point()))


def _on_sigterm(close: Callable[[str], None]) -> Any:
    """Say the reason before SIGTERM ends the process; only where nobody else handles it, and only from the main thread."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return None

    def handler(number: int, frame: object) -> None:
        close(f"signal:{signal.Signals(number).name}")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    return signal.signal(signal.SIGTERM, handler)


def _memory() -> dict[str, float]:
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


def _together(norms: Iterable[float]) -> float:
    """The L2 norm of a group from the norms of its members."""
    return sum(n * n for n in norms) ** 0.5


def _number(value: Any) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _shown(value: Any) -> str:
    if isinstance(value, bool | int):
        return str(value)
    return f"{value:.6g}" if isinstance(value, float) else "_".join(str(value).split())


def _word(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
