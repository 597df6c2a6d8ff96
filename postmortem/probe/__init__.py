"""The torch companion: add it to a training loop and it prints the facts that ordinary logs leave out, one `[TAG] key=value` line each.

    from postmortem.probe import Probe

    with Probe(model, optimizer, every=50) as probe:
        for batch in loader:
            loss = training_step(batch)     # forward, backward, optimizer.step()
            probe.step(loss)                # or probe.step(loss, losses={"pixel": (raw, weight)})

This folder needs the standard library and torch only and may be copied alone into a training environment; nothing of the analyzer is
imported, and the analyzer never imports this. Between two prints the probe reads nothing back from the device. An error inside it prints
one line and turns it off: it never breaks a training. docs/probe.md describes every line.
"""

from __future__ import annotations

import importlib
from typing import Any

from .measure import checksum
from .watch import Probe

_BESIDE = {
    "overfit_one_batch": "recipes", "probe_branch": "recipes", "gradient_path": "recipes", "identity_baseline": "recipes",
    "LightningProbe": "callbacks", "HuggingFaceProbe": "callbacks", "KerasProbe": "callbacks",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Recipes and callbacks are fetched when first asked for: a framework is imported only where it is used."""
    if name in _BESIDE:
        return getattr(importlib.import_module(f".{_BESIDE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Probe", "checksum"]
