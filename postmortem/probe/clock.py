"""Where the time of a step goes: data, forward, backward, optimizer, and what is no part of it (evaluation, the probe itself)."""

from __future__ import annotations

import time
from typing import Any

import torch

SPANS = (
    ("timing_forward_ms", "forward", "loss"),
    ("timing_backward_ms", "loss", "optimizer"),
    ("timing_optim_step_ms", "optimizer", "stepped"),
)


class Clock:
    """Host clocks at every step, marks at due steps. `cuda`: marks are taken on the device's own clock too, which needs no waiting."""

    def __init__(self) -> None:
        self.cuda = False
        self.forwards = 0  # forward passes of this step
        self.evaluated = False  # the time since the last step was no waiting for data
        self._marks: dict[str, tuple[float, Any]] = {}
        self._spent: dict[str, float] = {}  # seconds since the last print: data, aside, the user's own timers
        self._samples = self._told_at = 0
        self._since: float | None = None
        self._stepped = 0.0

    def mark(self, what: str) -> None:
        """Remember when something happened in a due step."""
        event = torch.cuda.Event(enable_timing=True) if self.cuda else None
        if event is not None:
            event.record()
        self._marks[what] = (time.perf_counter(), event)

    def spend(self, what: str, seconds: float) -> None:
        """Seconds spent on something that has a name of its own; `aside` is no part of the step."""
        self._spent[what] = self._spent.get(what, 0.0) + seconds

    def forward(self, samples: int) -> None:
        """A forward pass of training begins; before the first one of a step the loop waited for data."""
        if self._stepped and not self.forwards:
            self.spend("aside" if self.evaluated else "data", time.perf_counter() - self._stepped)
            self.evaluated = False
        self.forwards += 1
        self._samples += samples

    def stepped(self, began: float) -> None:
        """The step is over, and so is what the probe did at its end since `began`."""
        self.forwards = 0
        self._marks.clear()
        self._stepped = time.perf_counter()
        self.spend("aside", self._stepped - began)

    def told(self, step: int, *, whole: bool) -> dict[str, float]:
        """Milliseconds of the parts of this step (`whole`: they did not run inside each other), and means since the last time.

        Events lie before the read that the caller has just made, so they are over.
        """
        told = {}
        for name, begin, end in SPANS if whole and self.forwards <= 1 else SPANS[2:]:
            if begin in self._marks and end in self._marks:
                (start, start_event), (stop, stop_event) = self._marks[begin], self._marks[end]
                timed = start_event is not None and stop_event.query()
                told[name] = start_event.elapsed_time(stop_event) if timed else 1e3 * (stop - start)
        now, steps = time.perf_counter(), step + 1 - self._told_at
        if self._since is not None:
            lasted = now - self._since - self._spent.pop("aside", 0.0)
            told["data_time_ms"] = 1e3 * self._spent.pop("data", 0.0) / steps
            told["step_time_ms"] = 1e3 * lasted / steps
            told |= {f"{name}_ms": 1e3 * seconds / steps for name, seconds in self._spent.items()}
            if self._samples and lasted > 0:
                told["samples_per_sec"] = self._samples / lasted
        self._since, self._told_at, self._samples = now, step + 1, 0
        self._spent.clear()
        return told
