"""Small valid files for every parser, and the ways to break them: what `test_damage.py` mutates."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import sqlite3
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from event_files import VERSION, event, record, scalar_bodies, simple, sized, tensor

STACK = 'Traceback (most recent call last):\n  File "t.py", line 9, in main\n    x()\nRuntimeError: boom\n'
MILLIS = 1_700_000_000_000
RUN = "mlruns/7/" + "0123456789abcdef" * 2
START = struct.pack("<d", 1.7e9)


@dataclass(frozen=True)
class Sample:
    """One valid file: its name in the run, and its parts, which `seal` makes a file of (sums and lengths come out right again)."""

    name: str
    parts: tuple[bytes, ...]
    seal: Callable[[Sequence[bytes]], bytes] = b"".join

    @property
    def data(self) -> bytes:
        return self.seal(self.parts)


def plain(name: str, text: str | bytes) -> Sample:
    return Sample(name, (text.encode() if isinstance(text, str) else text,))


# ---------------------------------------------------------------------- formats that need a writer


def event_file(parts: Sequence[bytes]) -> bytes:
    return VERSION + b"".join(record(part) for part in parts)


def wandb_file(parts: Sequence[bytes]) -> bytes:
    """Records in LevelDB's log format, all of them shorter than a block."""
    head = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    return head + b"".join(struct.pack("<IHB", zlib.crc32(p, zlib.crc32(b"\x01")), len(p) % 65536, 1) + p for p in parts)


def field(number: int, value: int | bytes) -> bytes:
    return sized(number << 3 | 2, value) if isinstance(value, bytes) else bytes([number << 3, value])


def items(number: int, **values: object) -> bytes:
    return b"".join(field(number, field(1, key.encode()) + sized(16 << 3 | 2, json.dumps(v).encode())) for key, v in values.items())


def database() -> bytes:
    """An MLflow database of two metrics, in pages of 512 bytes so that it stays small."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        connection = sqlite3.connect(path)
        connection.executescript(f"""
            pragma page_size = 512;
            create table runs (run_uuid text, name text, status text, start_time bigint, end_time bigint);
            create table params (key text, value text, run_uuid text);
            create table metrics (key text, value double, timestamp bigint, run_uuid text, step bigint, is_nan boolean);
            insert into runs values ('r', 'one', 'FAILED', {MILLIS}, {MILLIS + 9});
            insert into params values ('lr', '0.1', 'r');
        """)
        rows = [(key, 1 / (step + 1), MILLIS + step, "r", step, step == 3) for step in range(6) for key in ("loss", "acc")]
        connection.executemany("insert into metrics values (?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
        connection.close()
        return path.read_bytes()


def projects() -> bytes:
    """A database of Trackio with two rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "project.db")
        connection = sqlite3.connect(path)
        connection.executescript("""
            pragma page_size = 512;
            create table metrics (id integer primary key, run_id text, timestamp text, run_name text, step integer, metrics text);
            create table configs (id integer primary key, run_id text, run_name text, config text, created_at text);
            insert into configs values (1, 'r', 'calm-sea', '{"lr": 0.1, "_Created": "x"}', '');
        """)
        rows = [
            (step + 1, "r", f"2026-03-03T10:00:0{step}+00:00", "calm-sea", step, f'{{"a/loss": {1 / (step + 1)}}}') for step in range(6)
        ]
        connection.executemany("insert into metrics values (?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
        connection.close()
        return path.read_bytes()


def packed_log(parts: Sequence[bytes]) -> bytes:
    return gzip.compress(b"".join(parts), mtime=0)


def swanlab_file(parts: Sequence[bytes]) -> bytes:
    return b":SWL\xd6\xe1\x02" + wandb_file(parts)[7:]


def array(values: Sequence[float]) -> bytes:
    held = io.BytesIO()
    np.save(held, np.array(values))
    return held.getvalue()


def session() -> bytes:
    """A ClearML session in its zip."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {"task.json": TASK, "log.jsonl": "[]\n", "metrics.jsonl": CLEARML}.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)  # without the time of day
    return held.getvalue()


# ---------------------------------------------------------------------- the samples

TABLE = """\
Tue Mar  3 10:00:01 2026
| NVIDIA-SMI 535.54.03    Driver Version: 535.54.03    CUDA Version: 12.2     |
|   0  NVIDIA A10          On   | 00000000:17:00.0 Off |                    0 |
|  0%   41C    P0    60W / 150W |   2048MiB / 23028MiB |     93%      Default |
|   1  NVIDIA A10          On   | 00000000:65:00.0 Off |                  N/A |
|ERR!  ERR!  ERR!    N/A / 150W |    512MiB / 23028MiB |     ERR!     Default |
"""
QUERY = """\
timestamp, index, utilization.gpu [%], memory.used [MiB], power.draw [W]
2026/03/03 10:00:00.000, 0, 93 %, 2048 MiB, 120.50 W
2026/03/03 10:00:05.000, 1, [N/A], 512 MiB, [Unknown Error]
"""
DMON = "# gpu   pwr gtemp    sm   mem\n# Idx     W     C     %     %\n    0    43    35    97    40\n    1    61    41     3     -\n"
REPORT = """\
==============NVSMI LOG==============
Timestamp                                 : Tue Mar  3 10:00:00 2026
GPU 00000000:17:00.0
    FB Memory Usage
        Used                              : 2048 MiB
    Temperature
        GPU Current Temp                  : 71 C
"""
DIAGNOSTIC = """\
| Diagnostic                | Result                 |
+===========================+========================+
+-----  Hardware  ----------+------------------------+
| GPU Memory                | Fail - GPU: 1          |
"""
SACCT = """\
JobID           JobName      State ExitCode
------------ ---------- ---------- --------
4411           pretrain    TIMEOUT      0:0
4411.batch        batch  CANCELLED     0:15
"""
CONDOR = """\
001 (44.000.000) 2026-03-03 10:00:00 Job executing on host: <10.0.0.7:9618>
...
006 (44.000.000) 2026-03-03 10:10:00 Image size of job updated: 2048
	12  -  MemoryUsage of job (MB)
...
005 (44.000.000) 2026-03-03 11:00:00 Job terminated.
	(0) Abnormal termination (signal 9)
...
"""
POD = """\
Name:             train-0
Status:           Failed
Containers:
  trainer:
    State:          Terminated
      Reason:       OOMKilled
      Exit Code:    137
    Last State:     Terminated
      Reason:       Error
"""
GPUSTAT_JSON = '{"query_time":"2026-03-03T10:00:00","gpus":[{"index":0,"utilization.gpu":93,"memory.used":2048,"fan.speed":null}]}'
INSPECT = '[{"Id": "f8", "State": {"Status": "exited", "Running": false, "OOMKilled": true, "ExitCode": 137, "Error": ""}}]'
XML = """\
<?xml version="1.0" ?>
<nvidia_smi_log><timestamp>Tue Mar  3 10:00:00 2026</timestamp>
<gpu id="0"><fb_memory_usage><used>2048 MiB</used></fb_memory_usage><temperature><gpu_temp>ERR!</gpu_temp></temperature></gpu>
</nvidia_smi_log>
"""
ROCM = (
    "===== ROCm System Management Interface =====\nGPU  Temp   AvgPwr   SCLK   VRAM%  GPU%\n0    51.0c  30.1W  1200Mhz  16%   87%\n"
    "[0] NVIDIA A10 | 41'C,  93 % | 2048 / 23028 MB | me(2000M)\n#Entity   GPUTL  POWER\nGPU 0     93     120.5\n"
)
DMESG = """\
[  100.000001] usb 1-1: new high-speed USB device
[  101.200000] NVRM: Xid (PCI:0000:17:00): 79, pid=4242, GPU has fallen off the bus.
[  102.000000] NVRM: The NVIDIA GPU 0000:65:00.0
               NVRM: has fallen off the bus and is not responding to commands.
[  103.000000] Out of memory: Killed process 777 (python) total-vm:9000000kB
"""
LOGS = (
    "2026-01-01 00:00:01 step=1 train/loss=1.5 lr=1e-4\n2026-01-01 00:00:02 step=2 train/loss=nan lr=1e-4\n",
    f"Epoch 1/3\n 10/100 [=>......] - ETA: 5s - loss: 0.5\r 20/100 [==>.....] - loss: 0.4\n[rank0]: {STACK}",
    "epoch  train_loss  valid_loss  time\n0      0.5         0.6         01:02\n1      0.4         0.5         01:01\n",
    "| epoch 1 | loss 0.5 | ppl 1.6 |\n{'loss': 0.5, 'epoch': 0.01}\n[1,0]<stdout>:iter 3 | loss 2.1 \x1b[0m\n",
)
YAML = b"a: &x\n  lr: 1e-4\n  l: [1, 2, {b: 3}]\nb: *x\nc:\n  <<: *x\n  k: !!python/object/apply:os.system ['x']\nd: [z]\n"
STATE = {"log_history": [{"loss": 0.5, "step": 10, "epoch": 0.1}, {"eval_loss": 0.4, "step": 20}], "max_steps": 40, "best_metric": None}
SACRED = {"command": "r", "experiment": {}, "start_time": "2024-01-01T00:00:00", "fail_trace": [STACK], "status": "FAILED"}
COLLECTIVE = {"collective_seq_id": 3, "state": "started", "time_created_ns": MILLIS * 1_000_000, "profiling_name": "nccl:all_reduce"}
WORDS = {"prompt": "a", "response": "b", "judgements": {"aligned": "50"}, "score": 1}
NEPTUNE = (
    '{"obj": {"type": "LogFloats", "path": ["train", "loss"], "values": [{"value": 0.5, "step": 1, "ts": 1.7e9}]}, "version": 1}\n'
    '{"obj": {"type": "AssignFloat", "path": ["parameters", "lr"], "value": 0.1}, "version": 2}\n'
    '{"obj": {"type": "LogStrings", "path": ["monitoring", "a", "stderr"], "values": [{"value": "Traceback (most recent call last):\\n"}]}}\n'
)
COMET = (
    '{"type":"metric_msg","payload":{"context":"train","local_timestamp":1700000000000,"metric":{"metricName":"sys.gpu.0.x","metricValue":"NaN","step":1}}}\n'
    '{"type":"parameter_msg","payload":{"param":{"paramName":"lr","paramValue":"0.1","source":"manual"}}}\n'
)
CLEARML = '[{"type":"training_stats_scalar","task":"t","iter":1,"metric":"loss","variant":"train","value":0.5}]\n' * 2
TASK = '{"hyperparams":{"Args":{"lr":{"value":"0.1"}}},"script":{},"name":"t"}'
META = f"run_id: a\nartifact_uri: b\nlifecycle_stage: active\nstart_time: {MILLIS}\nend_time: {MILLIS}\nstatus: 3\n"


def samples() -> dict[str, list[Sample]]:
    """By the name of the parser that reads them. A parser without samples fails the test."""
    return {**_tables_and_documents(), **_printed(), **_records()}


def _tables_and_documents() -> dict[str, list[Sample]]:
    return {
        "arrays": [plain("train_loss.npy", array([0.5, 0.25, float("nan")])), plain("val_acc.npy", array([1, 2, 3]))],
        "aim": [plain(".aim/meta/chunks/ab12/000004.sst", bytes(range(64))), plain(".aim/run_metadata.sqlite", b"SQLite format 3\0" + bytes(40))],
        "binary": [
            plain("model.pt", b"PK\x03\x04" + bytes(30)),
            plain("old.pkl", pickle.dumps({"a": [1, 2.5, "x"]}, 2)),
            plain("scores.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'shape': (2,), }\n"),
            plain("m.safetensors", struct.pack("<Q", 20) + b'{"w":{"dtype":"F32"}}'),
            plain("train.log", b"II*\0" + bytes(300)),
        ],
        "configs": [
            plain("c.yaml", YAML),
            plain("c.toml", "[a]\nlr = 1e-3\nb = [1,2]\n[[c]]\nx = 'y'\n"),
            plain("c.ini", "[a]\nlr = 1\nb: x\n"),
            plain("config.py", "model = dict(type='Net', depth=4 * 2)\nlr = 1e-3\nclass C:\n    betas: tuple = (0.9, -1)\n"),
            plain("run.gin", "# Macros:\nd_model = 512\nimport x\ntrain/run.steps = 9  # all\nrun.fn = @a.b\n"),
            plain("config.json", '{"lr": 0.1, "opt": {"betas": [0.9, 0.99], "l": [{"a": 1}]}}'),
        ],
        "delimited": [
            plain("m.csv", 'epoch,step,loss,mode,note\n0,1,0.5,train,"a,b"\n0,2,nan,val,x\n1,3,0.4,train,y\n'),
            plain("p.csv", '#{"t_start": 1600000000.5}\nr,l,t\n1.0,10,0.5\n2.0,20,1.5\n'),
            plain("q.csv", "info,iter,total\n\"{'a': nan, 'b': {'c': 1.5}}\",1,100\n\"{'a': 2}\",2,100\n"),
            plain("t.tsv", "Epoch\tLossPi\n1\t-0.1\n2\tinf\n".encode("utf-16")),
            plain("g.csv", "# seed=3, env=a\nEpoche;Verlust\n0;0,5\n1;1,25e-1\n"),
            plain("curve.out", "# step loss lr\n# note\n 1  0.5  1e-3\n 2  nan  1e-3\n"),
            plain("scalars/kl_loss.csv", "0,0.5\n10,0.25\n20,0.125\n"),
            plain("h.csv", "".join(f"{k};{k * 1.5};{k / 7}\n" for k in range(5))),
        ],
        "error_files": [
            plain("error.json", json.dumps({"message": {"message": "E: x", "extraInfo": {"py_callstack": STACK, "timestamp": "17"}}})),
            plain("nccl.json", json.dumps({"rank": 1, "entries": [COLLECTIVE, {**COLLECTIVE, "state": "completed"}]}, indent=1)),
        ],
        "json_document": [
            plain("history.json", '{"loss":[0.5,0.4,0.3],"epoch":[0,1,2],"params":{"lr":0.1}}'),
            plain("metrics_epoch_3.json", '{"best_epoch":2,"training_loss":0.5,"validation_acc":NaN,"n":{"a":[[1,2],[3,4]]}}'),
            plain("runs.json", '{"epoch_1":{"t":{"loss":0.5}},"epoch_2":{"t":{"loss":0.4}}}'),
            plain("history.json", '{"loss":[[0,0.5],[10,0.4]],"v":{"acc":{"100":0.5,"200":0.6,"300":0.7}},"lr":0.1}'),
            plain("results.json", '[{"step":1,"loss":0.5},{"step":2,"loss":0.4,"t":{"x":1}}]'),
        ],
        "jsonlines": [
            plain("m.jsonl", '{"mode":"train","epoch":1,"iter":50,"loss":0.5}\n{"mode":"val","epoch":1,"mAP":0.3}\n{"v":14.5%,"loss":NaN}\n'),
            plain("q.json", '{\n "step": 1,\n "loss": 0.5\n}\n{\n "step": 2,\n "loss": 0.4\n}{"step": 3, "loss": 0.2}\n'),
        ],
        "lfs_pointer": [plain("m.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4200\n")],
        "mlflow": [
            plain(f"{RUN}/metrics/loss", "".join(f"{MILLIS + step} {step / 7} {step}\n" for step in range(5))),
            plain(f"{RUN}/meta.yaml", META),
            plain(f"{RUN}/params/lr", "0.1"),
            plain("mlflow.db", database()),
        ],
        "sacred": [
            plain("run.json", json.dumps(SACRED, indent=2)),
            plain("info.json", '{"loss":[0.5,{"py/object":"numpy.float64","value":0.25}],"loss_T":[1,2],"n":3}'),
            plain("metrics.json", '{"loss":{"steps":[1,2],"timestamps":["2024-01-01T00:00:00","2024-01-01T00:00:01"],"values":[0.5,0.2]}}'),
        ],
        "samples": [
            plain("a_answers.jsonl", f'{json.dumps(WORDS)}\n{{"prompt":["x"],"response":null}}\n'),
            plain("results.json", '{"results":{"arc":{"acc,none":0.5,"alias":"arc"}},"versions":{"arc":1},"config":{}}'),
            plain("samples_x.jsonl", '{"doc_id":1,"arguments":[["q"," a"],["q"," b"]],"filtered_resps":[["-2.5","False"],["-1.5","True"]],"acc":1}\n' * 2),
            plain("evals.jsonl", '{"spec":{"a":1}}\n{"type":"sampling","data":{"prompt":[{"content":"q"}],"sampled":["a"]}}\n'),
            plain("judged.csv", 'id,question,model_answer,aligned\n1,"a\nb",yes,50\n2,c,"d,e",70\n'),
        ],
        "trainer_state": [plain("trainer_state.json", json.dumps(STATE, indent=2)), plain("checkpoint-20/trainer_state.json", json.dumps(STATE))],
    }  # fmt: skip


def _printed() -> dict[str, list[Sample]]:
    """What programs print for people, and the files of trackers."""
    return {
        "gpu-json": [plain("gpustat.json", GPUSTAT_JSON)],
        "gpu-tools": [plain("rocm.txt", ROCM), plain("diag.txt", DIAGNOSTIC)],
        "gzip": [
            Sample("train.log.gz", tuple(LOGS[0].encode().splitlines(True)), packed_log),
            Sample("m.csv.gz", (b"step,loss\n1,0.5\n2,0.25\n",), packed_log),
        ],
        "job-report": [plain("sacct.txt", SACCT), plain("job.log", CONDOR), plain("pod.txt", POD), plain("exit_code", "137\n")],
        "kernel-log": [plain("dmesg.log", DMESG)],
        "nvidia-smi": [plain("smi.txt", TABLE), plain("gpu.csv", QUERY), plain("dmon.txt", DMON), plain("smi-q.txt", REPORT)],
        "nvidia-smi-xml": [plain("smi.xml", XML)],
        "platform-json": [plain("inspect.json", INSPECT)],
        "text": [plain(f"train{number}.log", log) for number, log in enumerate(LOGS)],
        "wrapped": [
            plain("container.log", "".join(json.dumps({"log": f"{line}\n", "stream": "stdout", "time": "x"}) + "\n" for line in LOGS[0].split("\n"))),
            plain("app.jsonl", "".join(json.dumps({"level": "INFO", "message": f"step {k} loss 0.{k}\n{STACK}"}) + "\n" for k in range(4))),
            plain("export.csv", 'timestamp,message\n1,"step 1, loss 0.5"\n2,"step 2, loss 0.4"\n3,"two\nlines 3"\n'),
        ],
        "trackers": [plain("data-1.log", NEPTUNE), plain("messages.json", COMET), plain("metrics.jsonl", CLEARML), plain("offline-1.zip", session())],
    }  # fmt: skip


def _records() -> dict[str, list[Sample]]:
    """Files of records, each with a sum: every record can be damaged inside a right sum."""
    bodies = scalar_bodies(2)
    scalars = [event(3, simple("a/loss", 1.5)), event(4, simple("a/loss", 1.0), simple("b", 2)), event(5, tensor("t", bodies["double"]))]
    settings = event(6, tensor("x", b"\x08\x07" + sized(0x42, b'{"lr": 1}'), b"text"))
    histories = [
        field(17, field(1, b"abc") + field(4, items(1, lr=0.1, model={"depth": 12})) + sized(17 << 3 | 2, field(1, 9))),
        field(2, items(1, loss=1.5, x={"y": 2}, _step=1, _timestamp=1.7e9)),
        field(7, field(2, field(1, 9)) + items(3, **{"gpu.0.gpu": 5})),
        field(13, field(3, STACK.encode())),
        field(18, field(1, 1)),
    ]
    return {
        "swanlab": [Sample("swanlog/run-a/run-a.swanlab", tuple(swanlab_records()), swanlab_file)],
        "trackio": [plain("project.db", projects())],
        "tfevents": [
            Sample("events.out.tfevents.1700000000.host", (*scalars, settings), event_file),
            Sample("many.tfevents.1", tuple(event(k, simple(f"t/{k % 3}", k)) for k in range(24)), event_file),  # enough to be read as columns
        ],
        "wandb": [
            Sample("wandb/offline-run-1-abc/run-abc.wandb", tuple(histories), wandb_file),
            plain("wandb/run-1-abc/files/wandb-summary.json", '{"loss": 0.5, "_step": 9, "_wandb": {"runtime": 3}}'),
            plain("wandb/run-1-abc/files/wandb-metadata.json", '{"os": "Linux", "args": ["--lr", "1"], "gpu_nvidia": [{"name": "x"}]}'),
            plain("wandb/run-1-abc/files/config.yaml", "_wandb:\n  value: {}\nlr:\n  desc: null\n  value: 0.1\n"),
        ],
    }  # fmt: skip


def swanlab_records() -> list[bytes]:
    """A start, two scalars, a line of the console and an end, each with its number."""
    when = field(1, 9)
    scalars = [
        field(1, b"train/loss") + field(2, step) + field(4, when) + field(5, b"\x09" + struct.pack("<d", 1 / step)) for step in (1, 2)
    ]
    records = [(10, field(1, b"p") + field(12, when)), *((13, one) for one in scalars), (16, field(1, STACK.encode()) + field(4, 1))]
    return [
        field(1, at + 1) + sized(kind << 3 | 2, body)
        for at, (kind, body) in enumerate([*records, (11, field(1, 2) + field(2, STACK.encode()))])
    ]


# ---------------------------------------------------------------------- damage

WORDS_OF_DAMAGE = (
    b'"', b"'", b",", b";", b"\n", b"\r", b"\t", b" ", b"|", b"%", b":", b"=", b"#", b"-", b"- ", b": ", b"{", b"}", b"[", b"]", b"<a>", b"&x ", b"*x",
    b"<<: ", b"!!python/object:a ", b"nan", b"-inf", b"null", b"1e999", b"9" * 30, b"9" * 5000, b"-0", b"\\ud800", b"\\u0000", b"\xff", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\0" * 40, "١".encode(), "²".encode(), b"\x1b[31m", b"0x7f", b"1_000", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
)  # fmt: skip
NESTS = (b" ", b"\t", b"[", b"{", b'{"a":', b'[{"a":[', b"(", b"- ", b"<gpu>", b"\x0a\x7f", b"a:\n ", b"|", b'"', b"\x0b")


def flip(data: bytearray, dice: random.Random, other: bytes) -> None:
    data[dice.randrange(len(data))] = dice.choice((0, 1, 127, 128, 255, dice.randrange(256)))


def cut(data: bytearray, dice: random.Random, other: bytes) -> None:
    del data[dice.randrange(len(data)) :]


def drop(data: bytearray, dice: random.Random, other: bytes) -> None:
    at = dice.randrange(len(data))
    del data[at : at + dice.randrange(1, 40)]


def double(data: bytearray, dice: random.Random, other: bytes) -> None:
    at = dice.randrange(len(data))
    data[at:at] = bytes(data[at : at + dice.randrange(1, 60)]) * dice.choice((1, 1, 1, 3, 12))


def splice(data: bytearray, dice: random.Random, other: bytes) -> None:
    """Ends like another valid file."""
    data[dice.randrange(len(data)) :] = other[dice.randrange(len(other)) :]


def swap(data: bytearray, dice: random.Random, other: bytes) -> None:
    lines = data.split(b"\n")
    one, two = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    data[:] = b"\n".join(lines)


def word(data: bytearray, dice: random.Random, other: bytes) -> None:
    at = dice.randrange(len(data) + 1)
    data[at : at + dice.randrange(3)] = dice.choice(WORDS_OF_DAMAGE)


def nest(data: bytearray, dice: random.Random, other: bytes) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.choice(NESTS) * dice.choice((3, 40, 40, 1100))


DAMAGES = (flip, flip, flip, cut, drop, drop, double, splice, swap, word, word, word, nest)


def mutated(sample: Sample, other: Sample, dice: random.Random) -> bytes:
    """The file, damaged one to four times; with parts every second time inside one of them, so that the sums are right."""
    if len(sample.parts) > 1 and dice.random() < 0.5:
        at = dice.randrange(len(sample.parts))
        parts = list(sample.parts)
        parts[at] = _damaged(parts[at], dice.choice(other.parts), dice)
        return sample.seal(parts)
    return _damaged(sample.data, other.data, dice)


def _damaged(data: bytes, other: bytes, dice: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        if broken:
            dice.choice(DAMAGES)(broken, dice, other)
    return bytes(broken)
