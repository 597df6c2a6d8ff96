"""What schedulers and platforms tell about a job: one word on how it ended, and none where several jobs differ or it still runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from postmortem import parsers
from postmortem.examine import examine
from postmortem.model import Event, Reading
from postmortem.parsers import _plain_pickle
from postmortem.parsers.base import Request, SourceFile
from postmortem.rules import base as rules


def read(tmp_path: Path, name: str, text: str | bytes) -> Reading:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    data = path.read_bytes()
    source = SourceFile(path, name, len(data), data[:65536])
    parser = parsers.claim(source)
    assert parser is not None
    return parser.read(source, Request(rules.wanted()))


def end(reading: Reading) -> Event | None:
    assert len([event for event in reading.events if event.kind == "scheduler"]) <= 1
    return next((event for event in reading.events if event.kind == "scheduler"), None)


def what(reading: Reading) -> object:
    event = end(reading)
    return event.data["what"] if event else None


# ---------------------------------------------------------------------- SLURM

SACCT = """\
JobID           JobName  Partition      State ExitCode
------------ ---------- ---------- ---------- --------
{job}           pretrain        gpu {state:>10} {code:>8}
{job}.batch        batch             CANCELLED     0:15
{job}.exte+       extern             COMPLETED      0:0
"""


@pytest.mark.parametrize(
    ("state", "code", "wanted"),
    [
        ("TIMEOUT", "0:0", "time-limit"),
        ("OUT_OF_ME+", "0:125", "out-of-memory"),
        ("PREEMPTED", "0:0", "preempted"),
        ("NODE_FAIL", "1:0", "node-fail"),
        ("CANCELLED+", "0:0", "cancelled"),
        ("FAILED", "2:0", "exit-code"),
        ("COMPLETED", "0:0", "finish"),
        ("RUNNING", "0:0", None),
    ],
)
def test_sacct_tells_the_state_of_the_job_and_not_of_its_steps(tmp_path: Path, state: str, code: str, wanted: str | None) -> None:
    reading = read(tmp_path, "sacct.txt", SACCT.format(job=4411, state=state, code=code))
    assert reading.format == "job-report"
    assert what(reading) == wanted
    event = end(reading)
    assert event is None or (event.line == 3 and event.data["job"] == "4411")


@pytest.mark.parametrize(
    "table",
    [
        "JobID|JobName|State|Elapsed|MaxRSS|ReqMem|\n4411|pretrain|TIMEOUT|1-00:00:21||64G|\n4411.batch|batch|CANCELLED|1-00:00:21|3K||\n",
        "State|JobIDRaw|Elapsed\nTIMEOUT|4411|1-00:00:21\nCANCELLED|4411.batch|1-00:00:21\n",
        "   JobID    Elapsed      State\n-------- ---------- ----------\n4411     1-00:00:2+    TIMEOUT\n4411.ba+ 1-00:00:2+  CANCELLED\n",
        "   JobID    Elapsed      State\n-------- ---------- ----------\n4411       1-00:00:2+      TIMEOUT\n",  # pasted crookedly
        "JobID     JobName    Elapsed     State    JobEff\n================================================\n4411      pretrain   1-00:00:21  TIMEOUT  3.1\n",
    ],
)
def test_sacct_in_other_formats(tmp_path: Path, table: str) -> None:
    event = end(read(tmp_path, "job.txt", table))
    assert event is not None and event.data["what"] == "time-limit" and event.data["job"] == "4411"


def test_several_jobs_that_differ_are_not_taken_for_the_run(tmp_path: Path) -> None:
    rows = "JobID|State|ExitCode\n1|COMPLETED|0:0\n2|FAILED|1:0\n3|TIMEOUT|0:0\n"
    reading = read(tmp_path, "sacct.txt", rows)
    assert not reading.events and "3 jobs that ended differently" in reading.notes[0]
    assert what(read(tmp_path, "sacct.txt", "JobID|State|ExitCode\n7_1|TIMEOUT|0:0\n7_2|TIMEOUT|0:0\n")) == "time-limit"


def test_a_log_that_begins_with_a_table_of_jobs_is_a_log(tmp_path: Path) -> None:
    log = "JobID|State|ExitCode\n1|COMPLETED|0:0\n" + "".join(f"step {i} loss {2 / i:.3f}\n" for i in range(1, 30))
    reading = read(tmp_path, "slurm.out", log)
    assert reading.format == "text" and reading.rows >= 29


# ---------------------------------------------------------------------- HTCondor

RUNS = "001 (44.000.000) 2026-03-03 10:00:00 Job executing on host: <10.0.0.7:9618>\n...\n"
EVICTED = "004 (44.000.000) 2026-03-03 10:20:00 Job was evicted.\n\t(0) CPU times\n...\n"
HELD = "012 (44.000.000) 2026-03-03 10:20:00 Job was held.\n\tError from slot1@n7: Job has gone over memory limit of 2048 megabytes.\n...\n"
DONE = "005 (44.000.000) 2026-03-03 11:00:00 Job terminated.\n\t(1) Normal termination (return value {})\n\t12  -  Run Bytes Sent By Job\n...\n"
REMOVED = "009 (44.000.000) 2026-03-03 10:20:00 Job was aborted by the user.\n\tvia condor_rm (by user me)\n...\n"


@pytest.mark.parametrize(
    ("log", "wanted"),
    [
        (RUNS + DONE.format(0), "finish"),
        (RUNS + DONE.format(3), "exit-code"),
        (RUNS + EVICTED + RUNS + DONE.format(0), "finish"),
        (RUNS + EVICTED, "evicted"),
        (RUNS + EVICTED + RUNS, None),
        (RUNS + HELD, "out-of-memory"),
        (RUNS + HELD + "013 (44.000.000) 2026-03-03 10:30:00 Job was released.\n...\n" + RUNS + DONE.format(0), "finish"),
        (RUNS + REMOVED, "cancelled"),
        (RUNS, None),
    ],
)
def test_condor_tells_what_became_of_the_job_last(tmp_path: Path, log: str, wanted: str | None) -> None:
    reading = read(tmp_path, "job.log", log)
    assert reading.format == "job-report" and what(reading) == wanted
    assert not reading.rows, "a return value is no reward"


# ---------------------------------------------------------------------- Kubernetes

POD = """\
Name:             train-0
Namespace:        ml
Status:           {status}
Containers:
  trainer:
    Container ID:  containerd://f8
    State:          {state}
      Reason:       {reason}
{more}    Ready:          False
    Limits:
      nvidia.com/gpu:  1
Conditions:
  Type              Status
  Ready             False
Events:
  Type     Reason            Age   From               Message
  ----     ------            ----  ----               -------
  Warning  FailedScheduling  9m    default-scheduler  0/4 nodes are available: 4 Insufficient nvidia.com/gpu.
  Normal   Scheduled         6m    default-scheduler  Successfully assigned ml/train-0 to gpu-3
"""
LAST = "    Last State:     Terminated\n      Reason:       OOMKilled\n      Exit Code:    137\n"


@pytest.mark.parametrize(
    ("pod", "wanted"),
    [
        (POD.format(status="Failed", state="Terminated", reason="OOMKilled", more="      Exit Code:    137\n"), "out-of-memory"),
        (POD.format(status="Failed", state="Terminated", reason="Error", more="      Exit Code:    1\n"), "exit-code"),
        (POD.format(status="Succeeded", state="Terminated", reason="Completed", more="      Exit Code:    0\n" + LAST), "finish"),
        (POD.format(status="Running", state="Waiting", reason="CrashLoopBackOff", more=LAST), "out-of-memory"),
        (POD.format(status="Running", state="Running", reason="", more=LAST), None),
    ],
    ids=["killed", "failed", "succeeded after a kill", "waits after a kill", "runs again"],
)
def test_describe_pod_tells_the_state_and_not_the_last_one(tmp_path: Path, pod: str, wanted: str | None) -> None:
    reading = read(tmp_path, "describe.txt", pod)
    assert reading.format == "job-report" and what(reading) == wanted


def test_get_events(tmp_path: Path) -> None:
    head = "LAST SEEN   TYPE      REASON             OBJECT        MESSAGE\n"
    waits = "14m         Warning   FailedScheduling   pod/train-0   0/41 nodes are available: 2 Insufficient nvidia.com/gpu.\n"
    starts = "12m         Normal    Scheduled          pod/train-0   Successfully assigned ml/train-0 to gpu-3\n"
    evicted = "3m2s        Warning   Evicted            pod/train-0   The node was low on resource: memory. Threshold quantity: 100Mi.\n"
    assert [event.kind for event in read(tmp_path, "events.txt", head + waits).events] == ["log"]
    assert not read(tmp_path, "events.txt", head + waits + starts).events, "a pod that found its node was only waiting"
    assert what(read(tmp_path, "events.txt", head + waits + starts + evicted)) == "evicted"


def test_get_pods(tmp_path: Path) -> None:
    head = "NAME      READY   STATUS      RESTARTS      AGE\n"
    rows = {
        status: f"train-{status.lower()}   0/1     {status}   2 (75m ago)   3h\n"
        for status in ("OOMKilled", "Error", "Running", "Completed")
    }
    assert what(read(tmp_path, "pods.txt", head + rows["OOMKilled"] + rows["Running"])) == "out-of-memory"
    assert what(read(tmp_path, "pods.txt", head + rows["Error"])) == "exit-code"
    assert what(read(tmp_path, "pods.txt", head + rows["Error"] + rows["Running"])) is None, "it may be somebody else's"
    reading = read(tmp_path, "pods.txt", head + rows["Completed"])
    assert what(reading) == "finish" and not reading.rows


YAML = """\
kind: Pod
spec:
  containers:
  - name: trainer
status:
  containerStatuses:
  - name: trainer
    lastState:
      terminated: {{exitCode: 1}}
    state:
      {state}:
        exitCode: 137
        reason: OOMKilled
  phase: Failed
"""


def test_get_pod_as_yaml(tmp_path: Path) -> None:
    event = end(read(tmp_path, "pod.yaml", YAML.format(state="terminated")))
    assert event is not None and event.data["what"] == "out-of-memory" and event.data["exit_code"] == "137" and event.line == 13
    assert not read(tmp_path, "pod.yaml", YAML.format(state="running")).events


# ---------------------------------------------------------------------- documents of platforms

POD_JSON: dict[str, Any] = {
    "kind": "Pod",
    "status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]},
}
AGAIN = {
    "kind": "Pod",
    "status": {"containerStatuses": [{"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]},
}
DOCUMENTS: list[tuple[Any, str | None, str | None]] = [
    ([{"Id": "f", "State": {"Running": False, "OOMKilled": True, "ExitCode": 137}}], "out-of-memory", "137"),
    ([{"Id": "f", "State": {"Running": False, "OOMKilled": False, "ExitCode": 0}}], "exit-code", "0"),
    (POD_JSON, "out-of-memory", "137"),
    ({"kind": "List", "items": [POD_JSON, {"kind": "Pod", "status": {"phase": "Running"}}]}, "out-of-memory", "137"),
    ({"TrainingJobName": "a", "TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"}, "time-limit", None),
    ({"TrainingJobName": "a", "TrainingJobStatus": "Completed", "SecondaryStatus": "Completed"}, "finish", None),
    (
        {"name": "projects/1", "state": "JOB_STATE_FAILED", "error": {"code": 3, "message": "The replica workerpool0-0 exited"}},
        "exit-code",
        None,
    ),
    (
        {"runId": "a", "status": "Failed", "error": {"error": {"code": "UserError", "message": "it failed"}}},
        "exit-code",
        None,
    ),
    ({"jobs": [{"job_id": 4411, "state": {"current": ["TIMEOUT"]}, "exit_code": {"return_code": {"number": 0}}}]}, "time-limit", "0"),
]


@pytest.mark.parametrize(("document", "wanted", "code"), DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_documents_of_platforms(tmp_path: Path, document: object, wanted: str, code: str | None) -> None:
    reading = read(tmp_path, "job.json", json.dumps(document, indent=2))
    event = end(reading)
    assert reading.format == "platform-json" and event is not None
    assert (event.data["what"], event.data.get("exit_code")) == (wanted, code)
    assert event.line is not None and event.line > 1


@pytest.mark.parametrize(
    "document",
    [
        {"jobs": [{"job_id": 1, "state": ["TIMEOUT"]}, {"job_id": 2, "state": ["COMPLETED"]}]},
        {"status": {"reason": "Error"}},
        AGAIN,
        {"state": "idle", "status": "Failed"},
        [{"State": "new"}],
        {"jobs": [{"id": 1}]},
        {"status": {"phase": "x"}},
    ],
)
def test_documents_that_tell_of_no_end_are_not_claimed(tmp_path: Path, document: object) -> None:
    assert read(tmp_path, "state.json", json.dumps(document)).format != "platform-json"


def test_the_message_of_a_service_names_the_fault(tmp_path: Path) -> None:
    reason = 'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.95 GiB"'
    job = {"TrainingJobName": "a", "TrainingJobStatus": "Failed", "SecondaryStatus": "Failed", "FailureReason": reason}
    (tmp_path / "job.json").write_text(json.dumps(job, indent=1))
    assert [finding.rule for finding in examine(tmp_path).findings] == ["cuda-oom"]


def test_an_end_and_its_message_are_one_piece_of_evidence(tmp_path: Path) -> None:
    (tmp_path / "pod.json").write_text(json.dumps(POD_JSON, indent=1))
    (finding,) = examine(tmp_path).findings
    assert finding.rule == "host-oom" and len(finding.evidence) == 1


def test_the_word_of_what_a_service_watched(tmp_path: Path) -> None:
    message = "Execution failed. User process '/envs/ml/bin/python' exited with status code 137. Please check log file 'std_log.txt'"
    job = {"runId": "a", "status": "Failed", "error": {"error": {"code": "UserError", "message": message}}}
    event = end(read(tmp_path, "run.json", json.dumps(job)))
    assert event is not None and event.data["exit_code"] == "137"
    job["error"] = {"error": {"message": "Nodes of this job got pre-empted. Check if the run has failed or restarted."}}
    assert what(read(tmp_path, "run.json", json.dumps(job))) == "preempted"


QUEUES = [
    "  JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)\n   4411       gpu pretrain       me  R    2:11:09      1 gpu07\n",
    "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME\n4411    me      RUN   gpu        login1      gpu07       pretrain\n",
    "job-ID  prior   name       user         state submit/start at\n-----\n   4411 0.55500 pretrain   me           r     03/03/2026 10:00:00\n",
]


@pytest.mark.parametrize("queue", QUEUES)
def test_a_list_of_jobs_that_run_says_nothing(tmp_path: Path, queue: str) -> None:
    reading = read(tmp_path, "queue.txt", queue)
    assert reading.format == "job-report" and not reading.rows and not reading.events


# ---------------------------------------------------------------------- exit codes


@pytest.mark.parametrize("name", ["exit_code", "exitcode.txt", "run.exit-status", "job.rc", "returncode"])
def test_a_file_with_an_exit_code_alone(tmp_path: Path, name: str) -> None:
    event = end(read(tmp_path, name, "137\n"))
    assert event is not None and event.data["what"] == "exit-code" and event.data["exit_code"] == "137"


@pytest.mark.parametrize(
    ("name", "text"), [("seed.txt", "137\n"), ("exit_code", "137 138\n"), ("exit_code", "loss 0.5\n"), ("torch", "1\n")]
)
def test_a_number_in_another_file_is_no_exit_code(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    data = path.read_bytes()
    claimed = parsers.claim(SourceFile(path, name, len(data), data))
    assert claimed is None or claimed.NAME != "job-report"


def test_an_exit_code_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("".join(f"step {i} loss {2 / i:.3f}\n" for i in range(1, 30)))
    (tmp_path / "exit_code").write_text("137\n")
    diagnosis = examine(tmp_path)
    assert diagnosis.ending.status == "killed" and "host-oom" in {finding.rule for finding in diagnosis.findings}
    (tmp_path / "exit_code").write_text("0\n")
    assert examine(tmp_path).ending.status == "finished"


# ---------------------------------------------------------------------- words in a log

LINES = {
    "Exit_status=-11": "time-limit",
    "    Exit_status = -29": "time-limit",
    "Exit_status=271": "interrupted",
    "exit_status  137                  (Killed)": "host-oom",
    "# State:           OUT_OF_MEMORY (exit code 0)": "host-oom",
    "slurmstepd: error: *** JOB 608 ON gpu03 CANCELLED AT 2026-03-03T02:06:12 DUE TO JOB REQUEUE ***": "preempted",
    "Tue May  7 07:10:14: Completed <exit>; TERM_RUNLIMIT: job killed after reaching LSF run time limit.": "time-limit",
    "The replica workerpool0-0 exited with a non-zero status of 137. To find out more, see the logs": "host-oom",
    "4411|pretrain|TIMEOUT|1-00:00:21|31004112K|": "time-limit",
    "trainer exited with code 137": "host-oom",
    "  Warning  DeadlineExceeded  2m    job-controller  Job was active longer than specified deadline": "time-limit",
}


@pytest.mark.parametrize("line", LINES)
def test_words_of_schedulers_at_the_end_of_a_log(tmp_path: Path, line: str) -> None:
    (tmp_path / "job.out").write_text("".join(f"step {i} loss {2 / i:.3f}\n" for i in range(1, 30)) + line + "\n")
    found = [finding.rule for finding in examine(tmp_path).findings if finding.severity != "note"]
    assert found == [LINES[line]]


# ---------------------------------------------------------------------- flight recorder

DUMP = {
    "version": "2.4",
    "pg_config": {"0": {"name": "0", "ranks": "[0, 1]"}},
    "entries": [
        {"frames": [{"name": "main", "line": 3}], "collective_seq_id": 10, "profiling_name": "nccl:all_reduce", "state": "completed", "retired": True},
        {"frames": [], "collective_seq_id": 11, "profiling_name": "nccl:all_gather", "state": "started", "process_group": ("0", "dp")},
    ],
}  # fmt: skip


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_dump_is_read_without_unpickling(tmp_path: Path, protocol: int) -> None:
    reading = read(tmp_path, "nccl_trace_rank_0", pickle.dumps(DUMP, protocol))
    (event,) = reading.events
    assert event.data["sequence"] == 11 and event.data["group"] == "dp" and "nccl:all_gather" in event.text


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harm"),)


def test_a_pickle_that_would_run_something_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({**DUMP, "pg_status": Harm()}, 2)
    reading = read(tmp_path, "nccl_trace_rank_0", data)
    assert not (tmp_path / "harm").exists() and not reading.events and reading.rejected == 1
    with pytest.raises(_plain_pickle.NotPlain):
        _plain_pickle.load(data)


def test_cut_and_knotted_pickles(tmp_path: Path) -> None:
    whole = pickle.dumps(DUMP, 2)
    for at in range(2, len(whole), 7):
        with pytest.raises(_plain_pickle.NotPlain):
            _plain_pickle.load(whole[:at])
    knot: list[Any] = []
    for _ in range(60):  # written out it would be larger than any memory
        knot = [knot, knot]
    entry = {"collective_seq_id": 1, "profiling_name": knot, "state": "started"}
    (event,) = read(tmp_path, "dump", pickle.dumps({**DUMP, "entries": [entry]}, 2)).events
    assert "a collective" in event.text
