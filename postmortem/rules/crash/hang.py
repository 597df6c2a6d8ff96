"""The run stood still

Usual causes, most common first: ranks that wait for one another in different collectives; a data loader that waits for storage or a lock
(fork after threads, OpenCV, tokenizers); a file system or a server that does not answer; a GPU that fell off the bus.

To tell them apart: `py-spy dump --pid PID` on the standing process shows the line. 100 % GPU use without progress is a collective; 0 % is
data, disk or network. `dmesg` tells of GPU and disk.

This is not it: a long evaluation or compilation that ends, a log that is only written once an epoch, clocks of two files that differ by
hours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Curve
from postmortem.rules.base import Case, Hit, limit, point, quote
from postmortem.rules.crash._examples import STEPS, last_words
from postmortem.rules.examples import files

severity = "warning"
explains = ("interrupted",)
yields_to = ("nccl-timeout", "time-limit")
fix = (
    "Look at it while it stands: `py-spy dump --pid PID` on every rank, `nvidia-smi`, `dmesg | tail`.",
    "Bound every wait: `DataLoader(timeout=600)`, `init_process_group(timeout=...)`, `TORCH_NCCL_ASYNC_ERROR_HANDLING=1`.",
    "Try `num_workers=0`, `TOKENIZERS_PARALLELISM=false`, `cv2.setNumThreads(0)`, or the `spawn` start method, one at a time.",
)
prevention = (
    "Let a watchdog end the run if no step was finished for ten times the usual step time; a dead run costs less than a standing one.",
)
says = "|".join((
    r"INFO: task \S{1,60} blocked for more than \d+ seconds",
    r"submitted to be reduced, gathered or broadcasted by subset of ranks and are waiting",
    r"nfs: server \S+ not responding, (?:still trying|timed out)",
))  # fmt: skip

MINUTE = 60 * 1_000_000  # microseconds


@dataclass(frozen=True)
class Thresholds:
    silence: float = limit(
        30, "minutes", "a shorter silence may be an evaluation, a saving or a compilation", "few evaluations take longer"
    )
    rhythm: float = limit(
        10,
        "times the longest pause before",
        "a silence is only odd if it is much longer than every pause before it",
        "a whole order of magnitude",
    )
    rows: float = limit(20, "rows", "so many rows tell the rhythm of a log", "fewer hold no evaluation and no saving")


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    if case.ending.status == "finished" or any(e.fate == "fatal" for e in case.kind("exception")):
        return
    training = [c for c in case.curves if not c.metric.startswith("gpu_") and len(c.known_times()) >= limits.rows]
    if not training:
        return
    last = max(training, key=lambda c: int(c.known_times()[-1]))
    times = last.known_times()
    needed = max(limits.silence * MINUTE, limits.rhythm * float(np.diff(times).max()))
    yield from _watched(case, last, int(times[0]), int(times[-1]), needed)


def _watched(case: Case, last: Curve, begin: int, end: int, needed: float) -> Iterator[Hit]:
    """A witness that the job was still there long after the last row: telemetry beside it, or a later line of the same file."""
    said = point(last, -1, "the last row of training", primary=True)
    for curve in case.curves:
        if curve.metric != "gpu_util" or not len(curve.known_times()):
            continue
        silent = int(curve.known_times()[-1]) - end
        # telemetry of the same stretch of time began with the training; a clock that is hours off did not
        if silent >= needed and abs(int(curve.known_times()[0]) - begin) < silent / 2:
            text = f"GPU telemetry goes on for {silent / MINUTE:.0f} minutes after it"
            yield Hit([said, point(curve, -1, text)], last.when(-1), "medium")
            return
    for event in case.events:
        if event.file == last.file and event.time is not None and event.time - end >= needed:
            yield Hit(
                [said, quote(event, text=f"the next word in the file comes {(event.time - end) / MINUTE:.0f} minutes later")],
                last.when(-1),
                "medium",
            )
            return


def _clock(minute: int) -> str:
    return f"2024-02-03 {8 + minute // 60:02d}:{minute % 60:02d}:00"


def _log(rows: int) -> str:
    return "".join(f"{_clock(i)},000 INFO step {i * 50}: loss {2.5 / (1 + 0.1 * i):.4f}\n" for i in range(rows))


def _telemetry(minutes: int) -> str:
    rows = (f"{_clock(i).replace('-', '/')}.000, 0, {97 if i < 40 else 100} %\n" for i in range(minutes))
    return "timestamp, index, utilization.gpu [%]\n" + "".join(rows)


fires_on = [
    files("telemetry goes on for hours after the last step", train__log=_log(40), gpu__csv=_telemetry(300)),
    last_words(
        "[120841.551] INFO: task python:20117 blocked for more than 120 seconds.", "the kernel on a process that waits for the disk"
    ),
    last_words(
        "[2023-04-02 10:11:12.120441: W /tmp/horovod/common/stall_inspector.cc:105] One or more tensors were submitted to be reduced, "
        "gathered or broadcasted by subset of ranks and are waiting for remainder of ranks for more than 60 seconds.",
        "Horovod",
    ),
    files("an hour of telemetry after the last step", train__log=_log(40), gpu__csv=_telemetry(110)),
    files(
        "a step every three minutes",
        train__log="".join(f"{_clock(3 * i)},000 INFO step {i * 50}: loss {2.5 / (1 + 0.1 * i):.4f}\n" for i in range(40)),
        gpu__csv=_telemetry(170),
    ),
    files("the next word comes hours later", train__log=_log(40) + f"{_clock(240)},000 INFO received SIGTERM\n"),
]
quiet_on = [
    files("telemetry ends with the training", train__log=_log(40), gpu__csv=_telemetry(45)),
    files("telemetry of a clock that is hours off", train__log=_log(40), gpu__csv=_telemetry(40).replace("2024/02/03 08", "2024/02/03 18")),
    last_words("watchdog: hang detection is on, timeout 600 s", "a setting"),
    files("a run without clocks", train__log=STEPS),
    files("the next word comes ten minutes later", train__log=_log(40) + f"{_clock(50)},000 INFO received SIGTERM\n"),
    files("a quarter of an hour", train__log=_log(40), gpu__csv=_telemetry(58)),
    files(
        "a step every ten minutes",
        train__log="".join(f"{_clock(10 * i)},000 INFO step {i * 50}: loss {2.5 / (1 + 0.1 * i):.4f}\n" for i in range(40)),
        gpu__csv=_telemetry(460),
    ),
    files("a dozen rows", train__log=_log(12), gpu__csv=_telemetry(300)),
    files("finished, and the machine stayed on", train__log=_log(40) + "Training finished\n", gpu__csv=_telemetry(300)),
    files(
        "crashed, and the machine stayed on",
        train__log=_log(40) + 'Traceback (most recent call last):\n  File "train.py", line 7, in main\n    run()\nKeyError: 9\n',
        gpu__csv=_telemetry(300),
    ),
    files(
        "other telemetry goes on",
        train__log=_log(40),
        gpu__csv=_telemetry(300).replace("utilization.gpu [%]", "temperature.gpu").replace(" %", ""),
    ),
]
