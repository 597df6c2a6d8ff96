"""The nouns: what every room of the house says to the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

    from postmortem.frame import Block

Severity = Literal["error", "warning", "note"]
Confidence = Literal["high", "medium", "low"]
Split = Literal["train", "val", "test"]
Status = Literal["finished", "crashed", "killed", "unknown"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
CONFIDENCES: tuple[Confidence, ...] = ("high", "medium", "low")


@dataclass(frozen=True, slots=True)
class Origin:
    """A place anyone can open: a file inside the run directory and a 1-based line, row or record in it."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


# ---------------------------------------------------------------------- what parsers return


EventKind = Literal["exception", "log", "lifecycle", "scheduler", "hardware", "probe", "sample"]
Fate = Literal["fatal", "survived", "history", "warning", ""]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened and is no number in a series.

    kind      exception  a folded traceback; `text` is "Type: message", `line` the line of that text
              log        one line that a rule asked for (its `says`)
              lifecycle  a start or a proper end ("Training finished"); data["what"] is "start" or "finish"
              scheduler  words of SLURM, LSF, SGE, Kubernetes, torchrun or the shell about the job
              hardware   words of a driver or of the kernel about a device
              probe      a `[TAG] ...` line without a number that says something (an assertion, a note)
              sample     one evaluated answer; data holds "prompt", "response" and its scores
    time      microseconds since 1970 UTC, or None
    segment   the attempt it belongs to (0, 1, 2 ...), set by `attempts`
    fate      what became of the run after it, set by `attempts`: fatal, survived, history (an earlier
              attempt), warning (only logged as such)
    data      facts of that kind (an exception has "type", "message", "frame", "first_line", "last_line")
    """

    file: str
    line: int | None
    kind: EventKind
    text: str
    time: int | None = None
    rank: int | None = None
    segment: int = 0
    fate: Fate = ""
    data: Mapping[str, object] = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """Its file and line, for evidence."""
        return Origin(self.file, self.line)


@dataclass(frozen=True, slots=True)
class Setting:
    """One configuration value, with nested keys joined by dots ("optimizer.lr") and the place it stands at."""

    key: str
    value: object
    origin: Origin


@dataclass(slots=True)
class Reading:
    """What one parser got out of one file. Nothing is dropped silently: `rejected` counts what could not be read."""

    file: str
    format: str
    blocks: list[Block] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    rejected: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Number of observations, that is rows this reading adds to the frame."""
        return sum(len(block.values) for block in self.blocks)


# ---------------------------------------------------------------------- curves


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a curve between two change points: points start..end-1 of the curve.

    level and noise are in units of the value, slope in units of the value per point.
    """

    start: int
    end: int
    level: float
    slope: float
    noise: float


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a curve in a word, where it began (index of a point) and the numbers that decided it."""

    name: str
    onset: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Curve:
    """One metric of one split as one writer told it, over one attempt.

    values (n,) float64, NaN and inf where the log said so; lines (n,) int64, 0 is "no line";
    steps (n,) int64, epochs (n,) float64 and times (n,) int64 microseconds are None where the log gave none at all,
    else hold `frame.NO_STEP`, NaN and `frame.NO_TIME` at the points where it gave none.
    direction says which way is better: "down", "up", or None where the vocabulary does not know.
    """

    metric: str
    raw_name: str
    file: str
    split: Split | None
    device: int | None
    rank: int | None
    attempt: int
    last_attempt: bool
    values: np.ndarray
    lines: np.ndarray
    steps: np.ndarray | None = None
    epochs: np.ndarray | None = None
    times: np.ndarray | None = None
    direction: Literal["down", "up"] | None = None
    kind: str = ""
    unit: str = ""
    segments: tuple[Segment, ...] = ()
    shape: Shape = Shape("unknown")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def name(self) -> str:
        """The curve as the log spelled it, with the split where the spelling does not say it."""
        return self.raw_name if not self.split or self.split in self.raw_name.lower() else f"{self.raw_name} ({self.split})"

    def origin(self, index: int) -> Origin:
        """The place of point `index` (negative counts from the end)."""
        line = int(self.lines[index])
        return Origin(self.file, line if line > 0 else None)

    def step(self, index: int) -> int | None:
        """The optimizer step of point `index`, None where the log gave none."""
        if self.steps is None:
            return None
        step = int(self.steps[index])
        return None if step == -(2**63) else step

    def epoch(self, index: int) -> float | None:
        """The epoch of point `index`, None where the log gave none."""
        if self.epochs is None:
            return None
        epoch = float(self.epochs[index])
        return None if epoch != epoch else epoch

    def time(self, index: int) -> int | None:
        """The time of point `index` in microseconds since 1970 UTC, None where the log gave none."""
        if self.times is None:
            return None
        time = int(self.times[index])
        return None if time == -(2**63) else time

    def known_times(self) -> np.ndarray:
        """The times that the log gave, (m <= n,) int64 microseconds since 1970 UTC, in order."""
        known = self.lines[:0] if self.times is None else self.times[self.times != -(2**63)]
        known.sort()
        return known

    def when(self, index: int) -> Onset:
        """Point `index` as an onset."""
        return Onset(self.step(index), self.epoch(index), self.time(index))

    def where(self, index: int) -> str:
        """Point `index` in words: "step 400", "epoch 3" or "point 12 of 40"."""
        step, epoch = self.step(index), self.epoch(index)
        if step is not None:
            return f"step {step}"
        if epoch is not None:
            return f"epoch {epoch:g}"
        return f"point {index % len(self) + 1} of {len(self)}"


# ---------------------------------------------------------------------- findings


@dataclass(frozen=True, slots=True)
class Onset:
    """When a fault began, as far as the log tells: step, epoch, time (microseconds since 1970 UTC)."""

    step: int | None = None
    epoch: float | None = None
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence and where to check it. `text` may quote the run: every report escapes it for its sink."""

    text: str
    origin: Origin
    metric: str | None = None
    step: int | None = None
    value: float | None = None
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault with its proof. Refuses to be built without evidence."""

    rule: str
    title: str
    severity: Severity
    confidence: Confidence
    onset: Onset
    evidence: tuple[Evidence, ...]
    cause: str
    fix: tuple[str, ...]
    prevention: tuple[str, ...]
    explains: tuple[str, ...] = ()
    triage: str = ""

    def __post_init__(self) -> None:
        if not self.evidence:
            raise ValueError(f"finding {self.rule} has no evidence")

    @property
    def primary(self) -> Evidence:
        """The piece of evidence to look at first."""
        return next((e for e in self.evidence if e.primary), self.evidence[0])


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A rule that could not be decided on this run, and why."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cause:
    """A finding that no other finding explains, the findings it explains, and its rank (higher first)."""

    finding: Finding
    explains: tuple[Finding, ...]
    score: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """How the run ended. `how` is a word (finished, exception, signal, time-limit ...), `proof` the event that says so."""

    status: Status
    how: str
    proof: Event | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The run as a whole. started and ended are microseconds since 1970 UTC."""

    path: str
    name: str
    status: Status
    framework: str | None = None
    started: int | None = None
    ended: int | None = None
    last_step: int | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything a report is given. findings: root causes first, in rank order, then what they explain, then notes."""

    run: Run
    ending: Ending
    headline: str
    readings: Sequence[Reading]
    curves: Sequence[Curve]
    events: Sequence[Event]
    settings: Sequence[Setting]
    findings: Sequence[Finding]
    causes: Sequence[Cause]
    unchecked: Sequence[Unchecked]
    explained_by: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
