"""Where the parameters of a model stand, how far they moved since the last look, and how large their gradients are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from .lines import word
from .measure import bare, flat, norms, on_one_device

SAMPLE = 1024  # at most so many entries of a parameter are remembered to measure how far it moves ...
SHARE = 250  # ... and at most a 250th of the model, twice: below 1 % of its memory
ROUNDING = 1e-6  # two norms closer than this are equal in fp32
MOST_GROUPS = 8


class Parameters:
    """The trained parameters of `model`. Looks at them anew where some were added, unfrozen or replaced.

    groups: {name: module}, None for the model's children. exact: remember all entries. each: every step is printed.
    members: {group: indices}. owned: indices of each optimizer group. gradients: {index: norm} of this step.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        groups: Mapping[str, nn.Module] | None = None,
        *,
        exact: bool = False,
        each: bool = False,
    ) -> None:
        self.model, self.optimizers, self._groups, self._exact, self._each = model, optimizers, groups, exact, each
        self.gradients: dict[int, Tensor] = {}
        self._sizes = torch.zeros(0)
        self._before: list[Tensor] = []
        self._previous: list[Tensor] = []
        self._watch(self._trainable())

    def any(self) -> bool:
        """Whether there is something to train by now."""
        return bool(self._trainable())

    def counts(self) -> dict[str, int]:
        """How many numbers are trained, and how many of them an optimizer holds: 0 is the wrong optimizer."""
        held = {id(p) for o in self.optimizers for group in o.param_groups for p in group["params"]}
        mine = {"in_optimizer": sum(p.numel() for p in self._params if id(p) in held)} if self.optimizers else {}
        return {"parameters": sum(p.numel() for p in self._params), **mine}

    def before_step(self) -> None:
        """Remember where they stand before a step whose own change is to be told."""
        if not self._each:  # else the last look is as good
            self._previous = self._sampled()

    def capture(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Take the norms of the gradients: those of one optimizer where there are several, else all."""
        mine: Iterable[int] = range(len(self._params))
        if optimizer is not None and len(self.optimizers) > 1:
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            mine = [i for i in mine if id(self._params[i]) in held]
        found = [(i, flat(gradient)) for i in mine if (gradient := self._params[i].grad) is not None]
        if not found:
            return
        told = norms([row for _, row in found])
        if (scale := getattr(optimizer, "grad_scale", None)) is not None:  # a fused optimizer divides by it on its own
            told = told / scale
        self.gradients.update(zip((i for i, _ in found), told.unbind(), strict=True))

    def total_gradient(self) -> Tensor | None:
        """Sum of the norms of the gradients that are there now; None where all were thrown away."""
        rows = [flat(p.grad) for p in self._params if p.grad is not None]
        return norms(rows).sum() if rows else None

    def measured(self, *, known: bool, stepped: bool, whole: bool) -> dict[str, Tensor]:
        """What is to be read about them, float[parameters]. known: there were gradients. stepped: a step was taken.

        sizes: L2 norms. grads: of their gradients. drift: of their change since the last look. change: of this step's change.
        whole: look at every entry: sizes are renewed, low and high are the smallest and the largest entry of all.
        """
        params = self._trainable()
        same = [(id(p), p.numel()) for p in params] == self._keys
        if not same:
            self._watch(params)
        now, before = self._sampled(), self._sizes
        ask: dict[str, Tensor] = {}
        if whole:
            self._sizes = norms([flat(p) for p in self._params])
            ends = on_one_device(end for p in self._params for end in torch.aminmax(flat(p)))
            ask = {"low": torch.stack(ends[::2]).amin(), "high": torch.stack(ends[1::2]).amax()}
        ask["sizes"] = self._sizes
        if known and same:
            zero = torch.zeros((), device=self._sizes.device)
            ask["grads"] = torch.stack(on_one_device([zero, *(self.gradients.get(i, zero) for i in range(len(params)))])[1:])
        if same:
            drift = self._moved(now, self._before)
            # A norm moves also where no sampled entry did (some rows of an embedding): by less than the parameter, but not by 0.
            other = (self._sizes - before).abs()
            ask["drift"] = torch.where((drift == 0) & (other > ROUNDING * before), other, drift)
            if stepped:
                ask["change"] = ask["drift"] if self._each else self._moved(now, self._previous)
        self._before = now
        return ask

    def _trainable(self) -> list[nn.Parameter]:
        lazy = nn.parameter.UninitializedParameter
        return [p for p in self.model.parameters() if p.requires_grad and not isinstance(p, lazy) and p.numel()]

    def _watch(self, params: list[nn.Parameter]) -> None:
        """Remember which they are, to which groups they belong, and where they stand."""
        self._params, self._keys = params, [(id(p), p.numel()) for p in params]
        self.cuda = any(p.is_cuda for p in params)
        most = max(16, min(SAMPLE, sum(p.numel() for p in params) // (SHARE * max(1, len(params)))))
        # An odd stride, so that the sample of a matrix does not stay in one column.
        self._strides = [1 if self._exact else -(-p.numel() // most) | 1 for p in params]
        place = {id(p): i for i, p in enumerate(params)}
        children = [
            (name, module)
            for name, module in bare(self.model, ("_orig_mod", "module")).named_children()
            if any(id(p) in place for p in module.parameters())
        ]
        if len(children) > MOST_GROUPS:  # the two ends tell most
            children = children[: MOST_GROUPS // 2] + children[-MOST_GROUPS // 2 :]
        groups = dict(self._groups or children)
        members = {word(name): [place[id(p)] for p in module.parameters() if id(p) in place] for name, module in groups.items()}
        self.members = {name: mine for name, mine in members.items() if mine}
        held = [[place[id(p)] for p in group["params"] if id(p) in place] for o in self.optimizers for group in o.param_groups]
        self.owned = held or [list(range(len(params)))]
        self._before = self._previous = self._sampled()
        self._sizes = norms([flat(p) for p in params])

    def _sampled(self) -> list[Tensor]:
        """Copies of what is remembered of each parameter."""
        return [flat(p)[::stride].clone() for p, stride in zip(self._params, self._strides, strict=True)]

    def _moved(self, now: list[Tensor], then: list[Tensor]) -> Tensor:
        """L2 norm of each parameter's change, from the samples: float[parameters]."""
        changes = norms([a.sub(b.to(a.device)) for a, b in zip(now, then, strict=True)])
        scale = [(flat(p).numel() / len(a)) ** 0.5 for p, a in zip(self._params, now, strict=True)]
        return changes * torch.tensor(scale, device=changes.device)
