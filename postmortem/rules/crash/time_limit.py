"""The scheduler's time limit ended the run

Usual causes, most common first: the limit was guessed too low; the run became slower than planned (another node, slow storage, more
evaluation); the limit is the queue's maximum and the training needs several jobs.

To tell them apart: compare step time at the start and at the end (a rise means something slowed down), and steps done with steps planned.

This is not it: a time-out of a collective or a connection, a limit that the training itself was told to keep (`max_time`).
"""

from collections.abc import Iterator

from postmortem.rules.base import Case, Hit
from postmortem.rules.crash._examples import last_words
from postmortem.rules.crash._told import told

severity = "error"
explains = (
    "interrupted",
    "dataloader-worker-died",
    "nccl-timeout",
    "nccl-error",
    "python-exception",
    "checkpoint-corrupt",
    "still-improving",
)
fix = (
    "Resume from the last checkpoint, with a longer limit: `#SBATCH --time=24:00:00`, `bsub -W 24:00`.",
    "If the queue allows no more: let the job ask for a signal before its end (`#SBATCH --signal=USR1@300`), save, and requeue itself.",
)
prevention = ("Save by time, not only by epoch (every 30 minutes), and print at step 100 how long the whole run will take.",)
says = "|".join((
    r"DUE TO TIME LIMIT",
    r"TERM_RUNLIMIT",
    r"job killed after reaching LSF run time limit",
    r"PBS: job killed: walltime \d+ exceeded limit",
    r"exceeded (?:hard|soft) (?:wallclock|run) ?time",
    r"DeadlineExceeded\b.{0,120}(?:longer than specified deadline|active)",
    r"longer than (?:the )?specified deadline",
    r"[Ss]tate: TIMEOUT\b",
    r"^\d+(?:\.\w+)?\s.{0,200}\sTIMEOUT\s",
    r"has exceeded the maximum execution time of",
    r"MaxRuntimeExceeded",
    r"timeout: sending signal \w+ to command",
))  # fmt: skip


def check(case: Case) -> Iterator[Hit]:
    yield from told(case, says, "time-limit")


fires_on = [
    last_words("slurmstepd: error: *** JOB 810223 ON gpu14 CANCELLED AT 2023-03-04T11:20:07 DUE TO TIME LIMIT ***", "SLURM"),
    last_words("TERM_RUNLIMIT: job killed after reaching LSF run time limit.\nExited with exit code 140.", "LSF"),
    last_words("=>> PBS: job killed: walltime 86437 exceeded limit 86400", "PBS"),
    last_words("  Warning  DeadlineExceeded  2m  job-controller  Job was active longer than specified deadline", "Kubernetes"),
]
quiet_on = [
    last_words("Trainer: max_time=00:12:00:00, timeout 1800 s, SBATCH_TIMELIMIT=12:00:00", "settings"),
    last_words(
        "requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='api.example.org', port=443): Read timed out. (read timeout=10)",
        "a server",
    ),
    last_words("slurmstepd: error: *** JOB 810223 ON gpu14 CANCELLED AT 2023-03-04T11:20:07 ***", "cancelled by somebody"),
]
