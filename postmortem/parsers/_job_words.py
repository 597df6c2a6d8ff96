"""What schedulers and platforms call the end of a job, in the words that the rules know, and the event that tells it."""

from __future__ import annotations

from postmortem.model import Event
from postmortem.parsers._columns import clean

# The beginning of a state as SLURM shortens it in a table ("OUT_OF_ME+", "CANCELLED by 1001") -> what it was
SLURM = {
    "TIMEOUT": "time-limit", "DEADLINE": "time-limit", "OUT_OF_ME": "out-of-memory", "PREEMPTED": "preempted", "NODE_FAIL": "node-fail",
    "BOOT_FAIL": "node-fail", "CANCELLED": "cancelled", "FAILED": "exit-code", "COMPLETED": "finish",
}  # fmt: skip
# Reasons of containers, pods and events of Kubernetes
KUBERNETES = {
    "OOMKilled": "out-of-memory", "OOMKilling": "out-of-memory", "Evicted": "evicted", "Preempted": "preempted", "Preempting": "preempted",
    "PreemptionByScheduler": "preempted", "TerminationByKubelet": "preempted", "NodeShutdown": "preempted", "DeadlineExceeded": "time-limit",
    "NodeLost": "node-fail", "NodeNotReady": "node-fail", "Completed": "finish", "Error": "exit-code", "ContainerCannotRun": "exit-code",
    "StartError": "exit-code",
}  # fmt: skip
# Status words of training services
SERVICES = {
    "Completed": "finish", "Succeeded": "finish", "SUCCEEDED": "finish", "JOB_STATE_SUCCEEDED": "finish", "COMPLETED": "finish",
    "MaxRuntimeExceeded": "time-limit", "MaxWaitTimeExceeded": "time-limit", "Interrupted": "preempted", "JOB_STATE_CANCELLED": "cancelled",
    "Canceled": "cancelled", "Failed": "exit-code", "FAILED": "exit-code", "JOB_STATE_FAILED": "exit-code",
}  # fmt: skip


def slurm_state(word: str) -> str | None:
    """What a state of SLURM means, None for one that is no end (RUNNING) or that nobody knows."""
    return next((what for state, what in SLURM.items() if word.startswith(state)), None)


def ended(file: str, line: int | None, what: str, text: str, **facts: object) -> Event:
    """The event of a job's end: `what` in the rules' words, `text` as the file has it, facts that are not None."""
    told = {key: str(fact) for key, fact in facts.items() if fact is not None}
    return Event(file, line, "scheduler", clean(" ".join(text.split()), 500), data={"what": what, **told})
