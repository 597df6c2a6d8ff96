"""The cluster took the machine back

Usual causes, most common first: a job of higher priority preempted this one; a spot instance was reclaimed; an administrator ended the
job (maintenance); the node was drained or the pod evicted.

To tell them apart: the scheduler's own words name it; TERM_ADMIN is a person, PREEMPTION the queue, "spot" or "preempted" the cloud.

This is not it: a job that its owner cancelled (interrupted), a limit on time or memory, eviction for want of disk or memory.
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
    "Resume from the last checkpoint; nothing in the training was wrong.",
    "Let the job save when it is told (SIGTERM, or `#SBATCH --signal=USR1@120`) and requeue itself (`#SBATCH --requeue`).",
)
prevention = ("On preemptible machines save every 15 to 30 minutes, and test once that a resumed run goes on at the right step.",)
says = "|".join((
    r"DUE TO PREEMPTION",
    r"TERM_(?:PREEMPT|ADMIN|FORCE_ADMIN|REQUEUE_ADMIN|LOAD|WINDOW)\b",
    r"job killed by root or an administrator",
    r"[Ss]tate: PREEMPTED\b",
    r"^\d+(?:\.\w+)?\s.{0,200}\sPREEMPTED\s",
    r"[Ss]pot [Ii]nstance (?:interruption|termination|reclaim|was)",
    r"[Ii]nstance (?:was|is being|will be) preempted",
    r"(?:Job|job|Pod|pod|Worker|worker|VM|run) (?:was|has been|is being) preempted",
    r"[Pp]reemption (?:notice|signal) (?:was )?received",
    r"Reason:\s+(?:Preempted|Preempting|Evicted|TerminationByKubelet)\b",
    r"^\s*DisruptionTarget\s+True",
    r"DUE TO JOB REQUEUE",
    r"Nodes of this job got pre-empted",
    r"ShutdownHook: lame workers found",  # TPUEstimator: the worker announced that it will go
))  # fmt: skip


def check(case: Case) -> Iterator[Hit]:
    yield from told(case, says, "preempted", "evicted")


fires_on = [
    last_words("slurmstepd: error: *** JOB 5521 ON node3 CANCELLED AT 2024-01-30T02:10:55 DUE TO PREEMPTION ***", "SLURM"),
    last_words("PreemptionError: Nodes of this job got pre-empted. Check if the run has failed or restarted.", "Azure ML"),
    last_words("slurmstepd: error: *** JOB 5521 ON node3 CANCELLED AT 2024-01-30T02:10:55 DUE TO JOB REQUEUE ***", "SLURM, requeued"),
    last_words("TERM_ADMIN: job killed by root or an administrator.\nExited with exit code 130.", "LSF, an administrator"),
    last_words("WARNING: Spot instance interruption notice: this machine will be stopped in 2 minutes", "a spot instance"),
    last_words("    State:  Terminated\n    Reason: Preempted", "Kubernetes"),
    last_words("INFO:tensorflow:ShutdownHook: lame workers found: HeartbeatManager(/job:worker/replica:0/task:0/device:CPU:0)", "a TPU"),
]
quiet_on = [
    last_words("#SBATCH --requeue  # in case the job is preempted", "a job script"),
    last_words("TERM_OWNER: job killed by owner.\nExited with exit code 143.", "the owner"),
    last_words("saving every 500 steps so that preemption costs little", "prose"),
]
