"""The run was stopped before its planned end

Usual causes, most common first: its owner stopped it (Ctrl-C, `kill`, `scancel`, `bkill`); another process of the same job failed, and
the launcher ended the rest; the terminal or notebook it was started from was closed; the machine went down.

To tell them apart: KeyboardInterrupt and "killed by owner" are a person. SIGTERM comes from a person, a launcher or a scheduler: look at
the other ranks and at the scheduler's mail. A log that simply stops says nothing: look at the machine.

This is not it: a run that early stopping ended, a run that reached its last epoch, a time limit, preemption, the kill by the kernel's
memory guard.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from postmortem.model import Curve, Event, Onset, Setting, Severity
from postmortem.rules.base import Case, Hit, configured, limit, point, quote
from postmortem.rules.crash._examples import STEPS, first_words, last_words, raised
from postmortem.rules.crash._told import SIGNALS, final, signal_of
from postmortem.rules.curve._losses import finite, index, scores, share_at, train_losses, val_losses
from postmortem.rules.examples import files, log

severity = "warning"
explains = ("dataloader-worker-died", "still-improving")
yields_to = ("time-limit", "preempted", "node-failure")
fix = (
    "If it was on purpose, nothing: read the curves up to there. Else resume from the last checkpoint.",
    "Start long runs under a scheduler, `tmux` or `nohup`, so that a closed terminal does not end them.",
)
prevention = ("Save on SIGTERM and SIGINT, and write one last line that says why the run ended.",)
says = "|".join((
    r"(?<!except )\bKeyboardInterrupt(?::|\s*$)",
    r"^SIGTERM: |^SIGINT: |^SIGHUP: ",
    r"Detected KeyboardInterrupt, attempting graceful shutdown",
    r"\bSIGTERM \(@|\bSIGINT \(@|\bSIGHUP \(@",
    r"Signal (?:15|2|1) \(SIG(?:TERM|INT|HUP)\) received by PID",
    r"FAILED \(rank \d+, exitcode -\d+, signal SIG(?:TERM|INT|HUP)\)",  # the summary of torchrun, folded
    r"SignalException: Process \d+ got signal: (?:15|2|1)\b",
    r"SIGTERMException\b",
    r"[Rr]eceived SIG(?:TERM|INT|HUP)\b",
    r"TERM_OWNER\b|job killed by owner",
    r"TERM_(?:REQUEUE_OWNER|EXTERNAL_SIGNAL)\b",
    r"CANCELLED AT [\dT:-]+ \*\*\*",
    r"[Ss]tate: CANCELLED\b|^\d+(?:\.\w+)?\s.{0,200}\sCANCELLED(?: by \d+)?\s",
    r"killed by signal: (?:Terminated|Interrupt|Hangup)",
    r"^\S*: line \d+:\s+\d+ (?:Terminated|Hangup|Interrupt|Quit)\b",
    r"[Tt]raining (?:was )?(?:interrupted|aborted|stopped|cancelled) by (?:the )?(?:user|owner|signal|SIG\w+|Ctrl-?C)",
    r"Optimization stopped early\.",
    r"Stop signal received \(e\.g\. via SIGINT",  # Ray Tune
    r"Experiment (?:has been |was )?(?:interrupted|aborted)!?$",
))  # fmt: skip

# The program was told, saved and left: somebody had seen enough.
GRACEFUL = re.compile(r"(?i)keyboard ?interrupt detected|detected keyboard ?interrupt|graceful")
ENDED = {"INTERRUPTED", "KILLED", "CANCELLED", "CANCELED"}  # status words of trackers
ASKED = {SIGNALS[name] for name in ("SIGHUP", "SIGINT", "SIGTERM")}  # signals that ask a process to end
PACE = ("loss", "score", "rate", "norm", "speed")  # kinds of series that tell how far the training came
PLANNED_EPOCHS = (
    "num_train_epochs",
    "max_epochs",
    "max_epoch",
    "n_epochs",
    "num_epochs",
    "nb_epochs",
    "total_epochs",
    "train_epochs",
    "epochs",
    "epoch_num",
)
PLANNED_STEPS = (
    "max_steps",
    "max_iters",
    "max_iter",
    "total_steps",
    "num_train_steps",
    "train_steps",
    "total_timesteps",
    "t_max",
    "max_update",
    "num_iterations",
)
PATIENCE = ("patience", "early_stopping_patience", "es_patience", "early_stop", "early_stopping", "stop_patience", "early_stop_patience")


ANNOUNCED = "announced_epochs"  # the N of the last "Epoch i/N" of a log


@dataclass(frozen=True)
class Thresholds:
    share: float = limit(
        0.9,
        "share of the plan",
        "a run that did less of its plan than this was cut short",
        "loggers that write every tenth part still pass",
    )
    rows: float = limit(3, "rows", "so many rows must be missing, at the rhythm of the log", "the last row or two are often not written")
    least: float = limit(
        5, "points", "a loss or score with fewer cannot show that early stopping is ruled out", "the shortest curve whose best has a place"
    )
    late: float = limit(
        0.8,
        "share of the curve",
        "the best of every loss and score must lie behind this place, else it may have been early stopping",
        "early stopping waits: a best in the last fifth leaves no patience to run out",
    )


def examine(event: Event) -> Hit:
    graceful = GRACEFUL.search(event.text)
    return Hit([quote(event, primary=True)], Onset(time=event.time), severity="note" if graceful else None)


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    pattern = re.compile(says)
    for event in final(case):
        words = event.data.get("what") in ("interrupted", "cancelled", "terminated", "no-exit-record") or event.data.get("status") in ENDED
        if (words or signal_of(event) in ASKED) and not pattern.search(event.text):
            yield examine(event)
    if case.ending.status != "finished" and not any(e.fate == "fatal" for e in case.kind("exception")):
        yield from _unended(case)
        if case.ending.status == "unknown":
            yield from _open_bar(case) or _short(case, limits)


def _unended(case: Case) -> Iterator[Hit]:
    """A tracker's file that begins the run and does not end it: the process was gone before it could."""
    records = [e for e in case.kind("lifecycle") if e.file.endswith(".wandb")]
    starts = [e for e in records if e.data.get("what") == "start"]
    if not starts:
        return
    last = max(starts, key=lambda e: (e.time or 0, e.file))
    if not any(e.file == last.file and "exit_code" in e.data for e in records):
        text = "wandb wrote the start of the run here, but no exit record: the process was gone before it could"
        yield Hit([quote(last, primary=True, text=text)], confidence="medium")


def _open_bar(case: Case) -> list[Hit]:
    """A log that breaks off within a progress bar: a program that ends by itself fills its bar, or ends the line after it."""
    said = "The log breaks off within a progress bar: the process was killed without a chance to say anything, or is still running."
    bars = [event for event in case.kind("lifecycle") if event.data.get("what") == "open-bar"]
    return [Hit([quote(event, primary=True)], Onset(time=event.time), "medium", cause=said) for event in bars[-1:]]


def _short(case: Case, limits: Thresholds) -> Iterator[Hit]:
    """A plan in the configuration, and curves that end well before it."""
    for names, axis in ((PLANNED_EPOCHS, "epoch"), (PLANNED_STEPS, "step")):
        plan = _plan(case, names) or (_announced(case, limits) if axis == "epoch" else None)
        if plan is None:
            continue
        planned = float(str(plan.value))
        told = [(last, curve) for curve in case.curves if curve.kind in PACE and (last := _last(curve, axis))]
        before = [last[0] for curve in case.history if curve.kind in PACE and (last := _last(curve, axis))]
        if not told or max(before, default=0) >= limits.share * planned:  # an earlier stage has done what was planned
            return
        (done, rhythm), curve = max(told, key=lambda pair: pair[0][0])
        if done < limits.share * planned and planned - done >= limits.rows * rhythm and not _may_stop_early(case, done, axis):
            yield _hit(plan, planned, curve, done, axis)
        return


def _plan(case: Case, names: tuple[str, ...]) -> Setting | None:
    """The one setting that says how long the run was to be; None where there is none, or two that do not agree or belong to two stages."""
    found = [s for name in names for s in case.settings if s.key.rsplit(".", 1)[-1].lower().replace("-", "_") == name and _count(s) > 1]
    depth = min((s.key.count(".") for s in found), default=0)
    top = [s for s in found if s.key.count(".") == depth]
    files = [s.origin.file for s in top]
    return top[0] if top and len({_count(s) for s in top}) == 1 and len(set(files)) == len(files) else None


def _announced(case: Case, limits: Thresholds) -> Setting | None:
    """The N of the log's own "Epoch i/N", unless something may have stopped it by design: a loss or score whose best lies behind it."""
    plans = [s for s in case.settings if s.key == ANNOUNCED]
    for curve in (*val_losses(case), *train_losses(case), *scores(case, "val")):
        if finite(curve) < limits.least or share_at(curve, index(curve, "at_best")) < limits.late:
            return None
    return plans[0] if len({_count(s) for s in plans}) == 1 and case.curves else None


def _count(setting: Setting) -> float:
    """The value of a setting as a number, 0 where it is none."""
    text = str(setting.value)
    return float(text) if re.fullmatch(r"\d+(?:\.0*)?", text) else 0.0


def _last(curve: Curve, axis: str) -> tuple[float, float] | None:
    """The last epoch (or step) of a curve and how many lie between two of its rows; None where it tells none."""
    values = [curve.epoch(i) if axis == "epoch" else curve.step(i) for i in range(max(0, len(curve) - 50), len(curve))]
    known = [float(v) for v in values if v is not None]
    if len(known) < 2:
        return None
    return max(known), max(1.0, (max(known) - min(known)) / (len(known) - 1))


def _may_stop_early(case: Case, done: float, axis: str) -> bool:
    """Whether the configuration speaks of early stopping, and long enough for its patience was trained."""
    setting = case.setting(*PATIENCE)
    if setting is None or setting.value in (None, False, 0, "", "False", "None", "none"):
        return False
    patience = case.number(*PATIENCE)
    return axis == "step" or patience is None or done >= patience


def _hit(plan: Setting, planned: float, curve: Curve, done: float, axis: str) -> Hit:
    text = f"the last row is of {axis} {done:g}; {planned:g} were configured"
    announced = plan.key == ANNOUNCED
    said = (
        f"The log ends after {done / planned:.0%} of the plan and does not say why: it was stopped from outside, or the machine went down"
        f"{', or the log was cut short' if announced else ''}."
    )
    # A number of steps is often only an upper bound ("until it is good enough"), a log may be a part of what was written, and what stands
    # in a Python source may have been overridden.
    severity: Severity = "warning" if axis == "epoch" and not announced and not plan.origin.file.endswith(".py") else "note"
    return Hit([point(curve, -1, text, primary=True), configured(plan)], curve.when(-1), "medium", severity=severity, cause=said)


SACRED = '{"status": "INTERRUPTED", "start_time": "2021-05-05T08:00:00", "experiment": {"name": "maze"}, "command": "main", "host": {}}'
ROWS = "epoch,train_loss\n" + "".join(f"{i},{2.0 / (1 + i):.4f}\n" for i in range(1, 9))
FORTY = "epoch,train_loss\n" + "".join(f"{i},{2.0 / (1 + i):.4f}\n" for i in range(1, 41))
fires_on = [
    raised("KeyboardInterrupt", "Ctrl-C", code="time.sleep(1)"),
    last_words(
        "slurmstepd: error: *** STEP 90.0 ON gpu4 CANCELLED AT 2023-05-04T03:02:01 ***\nstep 90: loss 1.6711 lr 0.0003",
        "a row that was still on its way when the job was cancelled",
    ),
    last_words(
        '*** Aborted at 1650987001 (unix time) try "date -d @1650987001" if you are using GNU date ***\nPC: @     0x7f88 (unknown)\n*** '
        "SIGTERM (@0x3e80000217f) received by PID 7120 (TID 0x7f8801) from PID 8575; stack trace: ***",
        "a dump after SIGTERM",
    ),
    raised(
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n" + "=" * 40 + "\ntrain.py FAILED\n" + "-" * 40 + "\n"
        "Root Cause (first observed failure):\n[0]:\n  rank      : 5 (local_rank: 5)\n  exitcode  : -15 (pid: 4505)\n  error_file: <N/A>\n"
        "  traceback : Signal 15 (SIGTERM) received by PID 4505\n" + "=" * 40,
        "the summary of torchrun",
    ),
    last_words("TERM_OWNER: job killed by owner.\nExited with exit code 143.", "LSF"),
    last_words(
        "^C2025-01-12 08:11:40,110\tWARNING tune.py:219 -- Stop signal received (e.g. via SIGINT/Ctrl+C), ending Ray Tune run. This will try "
        "to checkpoint the experiment state one last time.",
        "Ray Tune",
    ),
    last_words("slurmstepd: error: *** JOB 61200 ON gpu2 CANCELLED AT 2022-09-14T17:40:12 ***", "SLURM"),
    last_words("RuntimeError: DataLoader worker (pid 9011) is killed by signal: Terminated.", "a worker that got SIGTERM"),
    last_words("mpirun noticed that process rank 0 with PID 4121 on node n5 exited on signal 15 (Terminated).", "Open MPI"),
    files("Sacred", run__json=SACRED, config__json='{"seed": 3}'),
    files("40 epochs of a plan, 8 done", metrics__csv=ROWS, config__yaml="lr: 0.1\nepochs: 40\n"),
    files("half of the plan", metrics__csv=ROWS, config__yaml="lr: 0.1\nepochs: 16\n"),
    files("no patience at all", metrics__csv=ROWS, config__yaml="lr: 0.1\nepochs: 40\npatience: 0\n"),
    files("a stage has a plan of its own", metrics__csv=ROWS, config__yaml="lr: 0.1\nepochs: 40\nwarm_up:\n  epochs: 5\n"),
]
_BARRED = "".join(f"epoch {i}: train loss {2 / i:.4f}\n" for i in range(1, 6))
_BAR = "Epoch 6:  {}%|{} | {}/80 [00:04<00:09,  7.21it/s, loss=0.314]{}"
fires_on += [
    log(_BARRED + "\r".join(_BAR.format(i * 5, "█" * i, i * 4, "") for i in range(1, 8)), note="breaks off within a bar"),
]
quiet_on = [
    log(_BARRED + "\r".join(_BAR.format(i * 5, "█" * i, i * 4, "") for i in range(1, 21)), note="a full bar without its line end"),
    log(_BARRED + "\r".join(_BAR.format(i * 5, "█" * i, i * 4, "") for i in range(1, 8)) + "\n", note="left the loop, ended the line"),
    last_words(
        "Training complete in 3m 20s\nVisit http://localhost:6007, Ctrl+C to leave\n^CTraceback (most recent call last):\n"
        '  File "train.py", line 88, in main\n    server.wait()\nKeyboardInterrupt',
        "Ctrl-C after the training was over",
    ),
    first_words("except KeyboardInterrupt:\n    save_checkpoint()\n# press Ctrl-C to stop", "source code"),
    files("the plan is done", metrics__csv=FORTY, config__yaml="lr: 0.1\nepochs: 40\n"),
    files("early stopping with a patience of 5", metrics__csv=ROWS, config__yaml="lr: 0.1\nepochs: 40\npatience: 5\n"),
    last_words("handlers installed for SIGTERM, SIGINT and SIGUSR1", "a setting"),
    files("the last rows are missing", metrics__csv=ROWS, config__yaml="lr: 0.1\nepochs: 9\n"),
    files("nearly all of the plan", metrics__csv=FORTY, config__yaml="lr: 0.1\nepochs: 43\n"),
    files("two plans", metrics__csv=ROWS, config__yaml="lr: 0.1\nepochs: 40\n", args__json='{"lr": 0.1, "epochs": 30}'),
    files("a plan, and rows without epochs", train__log=STEPS, config__yaml="lr: 0.1\nepochs: 40\n"),
    files("it says that it finished", metrics__csv=ROWS, config__yaml="lr: 0.1\nepochs: 40\n", train__log="Training finished\n"),
    files(
        "an exception says why",
        metrics__csv=ROWS,
        config__yaml="lr: 0.1\nepochs: 40\n",
        train__log='Traceback (most recent call last):\n  File "train.py", line 7, in main\n    run()\nKeyError: 9\n',
    ),
    files("one row", metrics__csv="epoch,train_loss\n1,2.0\n", config__yaml="lr: 0.1\nepochs: 40\n"),
    files("telemetry by epoch is no training", metrics__csv="epoch,gpu_temp\n1,60\n2,61\n3,62\n", config__yaml="lr: 0.1\nepochs: 40\n"),
]
notes_on = [
    files("what the source says may have been overridden", metrics__csv=ROWS, config__py="lr = 0.1\nmax_epochs = 40\nbatch_size = 8\n"),
    last_words("Detected KeyboardInterrupt, attempting graceful shutdown ...", "Ctrl-C under Lightning, which saves and leaves"),
    files("a number of steps is an upper bound", metrics__csv=ROWS.replace("epoch", "step"), config__yaml="lr: 0.1\nmax_steps: 40\n"),
    log("".join(f"Epoch {i}/60 - loss: {2 / (1 + 0.2 * i):.4f}\n" for i in range(1, 19)), note="a third of the epochs it speaks of"),
    log("".join(f"Epoch {i}/60 - loss: {2 / (1 + 0.2 * i):.4f}\n" for i in range(1, 6)), note="five epochs"),
]
silent_on = [
    log("".join(f"Epoch {i}/20 - loss: {2 / (1 + 0.2 * i):.4f}\n" for i in range(1, 19)), note="nearly all epochs"),
    log(
        "".join(f"Epoch {i}/60 - loss: {2 / (1 + 0.2 * i):.4f} - val_loss: {0.8 + 0.02 * abs(i - 9):.4f}\n" for i in range(1, 19)),
        note="early stopping that says nothing",
    ),
    log(
        "".join(
            f"Epoch {i}/60 - loss: {2 / (1 + 0.2 * i):.4f} - val_loss: {0.9 - 0.001 * min(i, 14) + 0.004 * max(0, i - 14):.4f}\n"
            for i in range(1, 20)
        ),
        note="the best of one loss lies just before its last fifth",
    ),
    log("".join(f"Epoch {i}/60 - loss: {2 / (1 + 0.2 * i):.4f}\n" for i in range(1, 5)), note="four epochs rule out nothing"),
]
