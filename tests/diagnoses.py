"""Diagnoses made by hand, for the tests of the reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from postmortem.frame import Block
from postmortem.model import (
    Cause,
    Curve,
    Diagnosis,
    Ending,
    Event,
    Evidence,
    Finding,
    Onset,
    Origin,
    Reading,
    Run,
    Segment,
    Setting,
    Unchecked,
)

NOON = 1_780_000_000_000_000  # microseconds since 1970


def curve(name: str, values: Any, file: str = "metrics.csv", **more: Any) -> Curve:
    """A curve with a step every ten and a line for each point."""
    values = np.asarray(values, float)
    n = len(values)
    steps = more.pop("steps", np.arange(n) * 10)
    metric, split, device = more.pop("metric", name), more.pop("split", None), more.pop("device", None)
    kind = more.pop("kind", "rate")
    attempt, last = more.pop("attempt", 0), more.pop("last_attempt", True)
    return Curve(metric, name, file, split, device, None, attempt, last, values, np.arange(2, n + 2), steps=steps, kind=kind, **more)


def finding(rule: str = "cuda-oom", text: str = "RuntimeError: CUDA out of memory", **more: Any) -> Finding:
    """A finding with one piece of evidence at train.log:40, or with `evidence`."""
    evidence = more.pop("evidence", (Evidence(text, Origin("train.log", 40), primary=True),))
    parts: dict[str, Any] = {
        "title": f"The fault {rule}",
        "severity": "error",
        "confidence": "high",
        "onset": Onset(380, None, NOON),
        "cause": "The batch does not fit on the device.",
        "fix": ("Make the batch half as large.", "Keep no tensors across steps."),
        "prevention": ("Try the longest batch first.",),
    }
    return Finding(rule=rule, evidence=tuple(evidence), **(parts | more))


def diagnosis(*findings: Finding, **more: Any) -> Diagnosis:
    """A run with these findings: errors and warnings are root causes of their own unless `causes` says otherwise."""
    proof = Event("train.log", 40, "exception", findings[0].primary.text if findings else "", fate="fatal")
    parts: dict[str, Any] = {
        "run": Run("runs/small", "small", "crashed" if findings else "finished", "nanoGPT", NOON - 60_000_000, NOON, 390),
        "ending": Ending("crashed", "exception", proof) if findings else Ending("finished", "finished"),
        "headline": findings[0].title if findings else "Nothing wrong found: the run finished, 2 curves checked",
        "readings": [
            Reading(
                "train.log", "text", blocks=[Block("loss", np.zeros(40))], events=[proof], rejected=2, notes=["2 lines could not be read"]
            ),
            Reading("weights.bin", "", notes=["not claimed"]),
        ],
        "curves": [
            curve(
                "train/loss",
                np.linspace(3, 1, 40),
                metric="loss",
                split="train",
                kind="loss",
                segments=(Segment(0, 20, 2, -0.1, 0.1), Segment(20, 40, 1, 0, 0.1)),
            ),
            curve("val/loss", np.linspace(3, 1.2, 10), metric="loss", split="val", kind="loss", steps=np.arange(10) * 40),
            curve("gpu0/util", np.linspace(90, 95, 40), metric="gpu_util", device=0, kind="util", unit="%"),
        ],
        "events": [proof],
        "settings": [Setting("optimizer.lr", 3e-4, Origin("config.yaml", 3))],
        "findings": list(findings),
        "causes": [Cause(f, (), (float(i),)) for i, f in enumerate(findings) if f.severity != "note"],
        "unchecked": [
            Unchecked("nan-gradient", "the run holds no gradient norm"),
            Unchecked("zero-gradient", "the run holds no gradient norm"),
        ],
    }
    return Diagnosis(**(parts | more))


def two_faults() -> Diagnosis:
    """A root cause, what follows from it, and a note."""
    root = finding(
        "nan-death",
        evidence=[
            Evidence("train/loss is NaN from step 200 on", Origin("metrics.csv", 22), "train/loss", 200, float("nan"), primary=True),
            Evidence("train/loss was 1.97 before", Origin("metrics.csv", 21), "train/loss", 190, 1.97),
        ],
        onset=Onset(200),
        explains=("python-exception",),
    )
    effect = finding("python-exception", "ValueError: loss is not finite", confidence="medium", onset=Onset(380))
    note = finding("still-improving", "the loss still fell", severity="note", confidence="low", onset=Onset())
    return replace(diagnosis(root, effect, note), causes=[Cause(root, (effect,), (0.0,))], explained_by={1: ("nan-death",)})


def saying(text: str) -> Diagnosis:
    """A run that wrote `text` in its last line."""
    return diagnosis(finding("python-exception", text))
