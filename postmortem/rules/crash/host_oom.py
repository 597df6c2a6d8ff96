"""The host ran out of memory and the process was killed

Usual causes, most common first: too many DataLoader workers, each with its own copy of the data; a data set that is read into memory as a
whole; a job that asked for less memory than it needs; lists of results that grow from epoch to epoch; a checkpoint gathered on one rank.

To tell them apart: death while data is loaded is the data set or the workers; memory that climbs over epochs is a leak (Python objects in
a Dataset are copied to every worker, page by page); death while saving or loading is the state dict. `sacct -j ID -o MaxRSS,ReqMem` or
the scheduler's mail tell the peak and the limit.

This is not it: CUDA out of memory, a full /dev/shm (bus error of a worker), "killed by signal: Terminated", a bare "Killed" by hand.
"""

import re
from collections.abc import Iterator

from postmortem.model import Event, Onset
from postmortem.rules.base import Case, Hit, quote
from postmortem.rules.crash._examples import first_words, last_words, raised
from postmortem.rules.crash._told import ORDERED, SHELL, SIGNALS, final, signal_of, told

severity = "error"
explains = (
    "dataloader-worker-died",
    "nccl-error",
    "nccl-timeout",
    "python-exception",
    "checkpoint-corrupt",
    "preempted",
    "interrupted",
    "hang",
)
fix = (
    "If memory grew from step to step, something is kept: store `loss.item()`, not the tensor `loss` (it holds its whole graph), and empty the "
    "lists of outputs after every epoch.",
    "Use fewer workers and less prefetching: `DataLoader(num_workers=2, prefetch_factor=2, persistent_workers=False)`.",
    "Keep data on disk and read it in pieces: numpy memmap, Arrow, webdataset; hold numpy arrays, not lists of Python objects.",
    "Ask for more memory (`#SBATCH --mem=64G`, `bsub -R 'rusage[mem=8GB]' -M 8GB`, `resources.limits.memory` in Kubernetes).",
)
prevention = (
    "Log the memory of the process and its children each epoch (`psutil.Process().memory_info().rss`); ask for twice the peak of a short "
    "run.",
)
says = "|".join((
    r"[Oo]ut of memory: Kill(?:ed)? process",
    r"Memory cgroup out of memory",
    r"oom-kill(?: event|:constraint|er invoked|ed)",
    r"oom_reaper: reaped process",
    r"oom_kill event",
    r"Exceeded (?:job|step) memory limit",
    r"TERM_MEMLIMIT",
    r"job killed after reaching LSF memory usage limit",
    r"(?:State|Reason|reason|state)\b.{1,20}\bO(?:OMKilled|UT_OF_ME)",
    r"^\S*\s*OOMKilled\b",
    r"OUT_OF_MEMORY \(exit code",
    r"job \d+ exceeded MEM usage hard limit",
    r"PBS: job killed: mem \d+",
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory",
    r"(?:^|\s)(?:numpy\.core\._exceptions\._Array|numpy\._core\._exceptions\._Array|_Array)?MemoryError(?::|$)",
    r"OSError: \[Errno 12\]",
    r"\[Errno 12\] Cannot allocate memory",
    r"std::bad_alloc",
    r"Unable to allocate [\d.]+ [KMGT]iB for an array",
    r"ray\.exceptions\.OutOfMemoryError",
    r"Task was killed due to the node running low on memory",
    r"[Ww]orker exit type: SYSTEM_ERROR",
    r"killed by signal: Killed",
    r"low on resource: memory",
    r"systemd-oomd\[\d+\]: Killed \S+ due to memory",
    r"earlyoom(?:\[\d+\])?: .{0,40}sending SIG(?:TERM|KILL) to process",
    r"[1-9]\d* Workers? \(tasks / actors\) killed due to memory pressure",
    r"Signal 9 \(SIGKILL\) received by PID",
    r"died with <Signals\.SIGKILL: 9>",
    r"\[WinError 1455\]",
    r"[Ss]ession crashed after using all available RAM",
    r"[Nn]otebook tried to allocate more memory than is available",
    r"ran out-of-memory and exited with a non-zero status",
))  # fmt: skip

# Words that only say "killed by signal 9": it is nearly always memory, but somebody may have done it by hand.
GUESSED = re.compile(r"SYSTEM_ERROR|killed by signal: Killed|SIGKILL|bad_alloc")
ASKED = re.compile(r"(?:Unable to allocate ([\d.]+) ([KMGT])iB|tried to allocate (\d+) bytes)")
RESIDENT = re.compile(r"anon-rss:(\d+)kB")
POWER = {"K": -20, "M": -10, "G": 0, "T": 10}


PAGING = re.compile(r"WinError 1455")
PAGING_CAUSE = (
    "Windows could not promise more memory: every worker process loads the libraries of PyTorch again, and all of it must fit into RAM and "
    "page file."
)
PAGING_FIX = (
    "Start fewer workers: `DataLoader(num_workers=0)` or 1 or 2.",
    "Make the page file larger (System > Advanced > Performance > Virtual memory: size managed by the system), then restart Windows.",
)
RAY_CAUSE = "A worker process of Ray vanished without a word: most often memory (`ray memory`, `dmesg -T`), else a crash below Python."
KILLED = "The process was killed from outside with signal 9; on a cluster that is nearly always the memory limit."


def examine(event: Event) -> Hit | None:
    said = ""
    if found := ASKED.search(event.text):
        gib = int(found[3]) / 2**30 if found[3] else float(found[1]) * 2.0 ** POWER[found[2]]
        said = f"The host could not give {gib:.1f} GiB in one piece: look for an array larger than meant, or a data set read as a whole."
    elif found := RESIDENT.search(event.text):
        said = f"The kernel killed a process that held {int(found[1]) / 2**20:.1f} GiB of memory."
    guessed = GUESSED.search(event.text) and event.data.get("what") != "out-of-memory"
    if PAGING.search(event.text):
        return Hit([quote(event, primary=True)], Onset(time=event.time), cause=PAGING_CAUSE, fix=PAGING_FIX)
    if guessed:
        said = RAY_CAUSE if "SYSTEM_ERROR" in event.text else KILLED
    return Hit([quote(event, primary=True)], Onset(time=event.time), "medium" if guessed else "high", cause=said)


def check(case: Case) -> Iterator[Hit]:
    """The scheduler's own word for it, or a kill with signal 9 that nobody else explains."""
    yield from told(case, says, "out-of-memory")
    events = final(case)
    if any(event.data.get("what") in ORDERED for event in events):
        return
    for event in events:
        if signal_of(event) == SIGNALS["SIGKILL"] and not any(_left_before(other, event) for other in events):
            yield Hit([quote(event, primary=True)], Onset(time=event.time), "medium", cause=KILLED)


def _left_before(other: Event, killed: Event) -> bool:
    """Whether another process had left with an error of its own: a launcher then kills the rest."""
    code = str(other.data.get("exit_code", ""))
    return other.file == killed.file and (other.line or 0) < (killed.line or 0) and code.isdigit() and 0 < int(code) < SHELL


fires_on = [
    last_words(
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=58120.0. Some of your processes may have been killed by the cgroup "
        "out-of-memory handler.",
        "SLURM",
    ),
    last_words("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.\nExited with exit code 137.", "LSF"),
    last_words("    State:          Terminated\n      Reason:       OOMKilled\n      Exit Code:    137", "Kubernetes"),
    raised(
        "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array with shape (100000, 100000) and data type "
        "float64",
        "NumPy",
    ),
    raised(
        "RuntimeError: [enforce fail at alloc_cpu.cpp:83] . DefaultCPUAllocator: can't allocate memory: you tried to allocate "
        "137438953472 bytes. Error code 12 (Cannot allocate memory)",
        "PyTorch on the CPU",
    ),
    last_words("run.sh: line 12:  5102 Killed                  python train.py", "the shell"),
    last_words(
        "(raylet) node_manager.cc:3064: 2 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed due to other "
        "reasons at node (ID: 4c, IP: 10.0.0.8) over the last time period.",
        "Ray's node",
    ),
    first_words(
        "May 06 09:08:09 box systemd-oomd[812]: Killed /user.slice/app.slice/spawn.scope due to memory pressure for /user.slice being 71.20% > "
        "50.00% for > 20s with reclaim activity",
        "systemd",
        name="journal.txt",
    ),
    last_words("zsh: killed     python train.py --workers 16", "zsh"),
    raised(
        "OSError: [WinError 1455] The paging file is too small for this operation to complete. Error loading 'torch_cuda.dll' or one of its "
        "dependencies.",
        "Windows",
    ),
    last_words("Your session crashed after using all available RAM.", "a hosted notebook"),
    last_words("The replica worker 2 ran out-of-memory and exited with a non-zero status of 9(SIGKILL).", "a training service"),
    last_words("trainer-1 exited with code 137", "containers started together"),
    last_words("mpirun noticed that process rank 3 with PID 4121 on node n5 exited on signal 9 (Killed).", "Open MPI"),
    last_words("RuntimeError: DataLoader worker (pid 2217) is killed by signal: Killed.", "a worker killed with signal 9"),
    first_words(
        "[71033.120981] Out of memory: Killed process 18220 (python) total-vm:92211840kB, anon-rss:65011712kB, file-rss:0kB",
        "the kernel",
        name="dmesg.log",
    ),
]
quiet_on = [
    last_words(
        "srun: error: n4: task 2: Exited with exit code 1\nsrun: error: n4: tasks 0-1,3: Killed",
        "one task failed, the others were killed with it",
    ),
    last_words(
        "TERM_RUNLIMIT: job killed after reaching LSF run time limit.\nExited with exit code 137.", "a time limit that ends in signal 9"
    ),
    last_words("RuntimeError: DataLoader worker (pid 7781) is killed by signal: Terminated.", "a SIGTERM"),
    last_words("Set `--max-memory` if the job runs into the memory limit of your cluster.", "advice"),
    last_words("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "the card's memory"),
    last_words("0 Workers (tasks / actors) killed due to memory pressure (OOM), 1 Workers crashed due to other reasons", "none of memory"),
    last_words("INFO pin_memory=True oom_score_adj=0 memory_limit=64G", "settings that speak of memory"),
]
