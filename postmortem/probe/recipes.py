"""Debug recipes: overfit one batch, follow a gradient, watch a branch, compare with doing nothing. Each prints lines to be read later."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .measure import evaluating, tensors_of

OVERFIT_STEPS = 100  # the reality check: a sound model learns one batch by heart in a hundred steps ...
OVERFIT_LOSS = 0.1  # ... down to a loss below this


def overfit_one_batch(
    model: nn.Module,
    batch: Any,
    loss: Callable[[nn.Module, Any], Tensor],
    *,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float = 1e-3,
    steps: int = OVERFIT_STEPS,
    target: float = OVERFIT_LOSS,
    every: int = 20,
) -> bool:
    """Train on one batch again and again; True if the loss falls to `target` within `steps`.

    loss(model, batch) gives the loss to minimise. Prints `[OVERFIT] step=.. overfit_loss=..`. The model is changed: pass a copy.
    """
    optimizer = optimizer or torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=lr)
    model.train()
    value = float("inf")
    for step in range(steps + 1):
        optimizer.zero_grad(set_to_none=True)
        out = loss(model, batch)
        if step % every == 0 or step == steps:
            value = float(out.detach())
            print(f"[OVERFIT] step={step} overfit_loss={value:.6g}", flush=True)
            if value <= target:
                return True
        out.backward()
        optimizer.step()
    return value <= target


def gradient_path(output: Tensor, parameter: Tensor, *, names: tuple[str, str] = ("output", "parameter"), step: int = 0) -> float:
    """Norm of d(mean of output)/d(parameter); 0.0 where no gradient can flow. Prints `[GRADPATH] step=0 d<output>/d(parameter) = ..`."""
    norm = 0.0
    if output.requires_grad:
        scalar = output.real.mean() if output.is_complex() else output.float().mean()
        gradient = torch.autograd.grad(scalar, parameter, retain_graph=True, allow_unused=True)[0]
        norm = 0.0 if gradient is None else float(gradient.detach().norm())
    print(f"[GRADPATH] step={step} d<{names[0]}>/d({names[1]}) = {norm:.3e}", flush=True)
    return norm


class probe_branch:  # written like a function, for it is used like one: `with probe_branch(model.head, "head") as branch: ...`
    """Watch what one branch adds: its output against its input, while the `with` block runs.

    Prints `[BRANCH] step=.. residual_contrib_NAME=.. residual_input_NAME=..` at `tell()` and at the end; a contribution of 0 is a dead branch.
    """

    def __init__(self, module: nn.Module, name: str = "branch") -> None:
        self.module, self.name = module, name
        self._forwards = 0
        self._sums: dict[str, list[Tensor | int]] = {}  # {"contrib" or "input": [sum on the device, count]}

    def __enter__(self) -> probe_branch:
        self._hook = self.module.register_forward_hook(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        self.tell()

    def _seen(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._forwards += 1
        for what, values in (("contrib", output), ("input", inputs)):
            first = next((x for x in tensors_of(values) if (x.is_floating_point() or x.is_complex()) and x.numel()), None)
            if first is not None:
                total, count = self._sums.get(what, [0, 0])
                self._sums[what] = [total + first.detach().abs().float().mean(), count + 1]

    def tell(self, step: int | None = None) -> float:
        """Mean absolute output since the last call; nan where the branch never ran. step: default, the forward passes seen."""
        means = {what: float(total) / int(count) for what, (total, count) in self._sums.items()}
        value = means.setdefault("contrib", float("nan"))
        at = self._forwards if step is None else step
        told = " ".join(f"residual_{what}_{self.name}={means[what]:.6g}" for what in ("contrib", "input") if what in means)
        print(f"[BRANCH] step={at} {told}", flush=True)
        self._sums.clear()
        return value


def identity_baseline(
    model: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]], score: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, float | bool]:
    """Mean score (lower is better) of the model and of returning the input, on the same pairs (input, target).

    Prints one JSON line with identity_score, model_score, rows and worse_than_identity, and returns it as a dictionary.
    """
    ours, theirs, rows = 0.0, 0.0, 0
    with evaluating(model), torch.no_grad():
        for x, y in pairs:
            ours += float(score(model(x), y)) * len(x)
            theirs += float(score(x, y)) * len(x)
            rows += len(x)
    if not rows:
        raise ValueError("identity_baseline needs at least one pair (input, target)")
    scores = {"identity_score": theirs / rows, "model_score": ours / rows}
    summary: dict[str, float | bool] = {"rows": rows, **scores, "worse_than_identity": ours > theirs}
    print(json.dumps(summary), flush=True)
    return summary
