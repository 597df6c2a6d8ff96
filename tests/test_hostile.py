"""Whatever lies beside a run, the run is still read: bombs, traps, damage, odd names, full disks and sudden ends."""

from __future__ import annotations

import builtins
import gzip
import json
import os
import pickle
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import event, record, simple

import postmortem.__main__ as entry
from postmortem import examine, frame_of, inventory, parsers, reports
from postmortem.errors import OutputError, PostmortemError
from postmortem.model import Diagnosis, Reading
from postmortem.parsers._text_needles import LONGEST_SAID, branches
from postmortem.reports import base as door
from postmortem.rules import base as rules

POINTS = 60
HEALTHY = "".join(f"2026-01-01 00:00:{i:02d} step={i} train/loss={2 / (1 + 0.1 * i):.4f} lr=0.0001\n" for i in range(POINTS))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An ordinary run, into which a test puts something hostile."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "train.log").write_text(HEALTHY)
    (folder / "config.yaml").write_text("lr: 1.0e-4\nseed: 7\n")
    return folder


def losses(found: Diagnosis, file: str = "train.log") -> list[float]:
    """The training loss of a file, in order."""
    return [float(v) for curve in found.curves if curve.file == file and curve.raw_name == "train/loss" for v in curve.values]


def reading(found: Diagnosis, file: str) -> Reading:
    return next(r for r in found.readings if r.file == file)


def table(folder: Path, file: str) -> list[tuple[int | None, float]]:
    """(step, value) of everything that was read from a file."""
    frame = frame_of(folder)
    return [(row["step"], row["value"]) for row in frame.iter_rows(named=True) if row["file"] == file]


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """What a directory holds: kind, time of the last change and bytes (of ordinary files up to 1 MiB) of everything in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        small = path.is_file() and not path.is_symlink() and facts.st_size < 1 << 20
        found[str(path)] = (facts.st_mode, facts.st_mtime_ns, path.read_bytes() if small else b"")
    return found


# ---------------------------------------------------------------------- files that attack their reader


class Trap:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch SPRUNG",)


def bomb(folder: Path) -> None:
    with gzip.open(folder / "worker.log.gz", "wb", compresslevel=1) as file:
        for _ in range(32):
            file.write(bytes(1 << 20))


def pickles(folder: Path) -> None:
    for name in ("weights.pt", "sampler.pkl", "cache.joblib", "train.log.pickle"):
        (folder / name).write_bytes(pickle.dumps(Trap()))


def objects_in_npy(folder: Path) -> None:
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n"
    (folder / "scores.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + pickle.dumps([Trap(), Trap()]))


def yaml_that_calls(folder: Path) -> None:
    (folder / "hparams.yaml").write_text('boom: !!python/object/apply:os.system ["touch SPRUNG"]\nwidth: 12\n')


def archives_that_climb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "old.zip", "w") as archive:
        archive.writestr("../../SPRUNG", "x")
    with tarfile.open(folder / "old.tar", "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


def aliases(folder: Path) -> None:
    lines = ["l0: &l0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 11)]
    (folder / "model.yaml").write_text("\n".join(lines))


def entities(folder: Path) -> None:
    steps = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 12}">' for i in range(1, 10))
    (folder / "smi.xml").write_text(
        f'<?xml version="1.0"?><!DOCTYPE n [<!ENTITY e0 "z">{steps}<!ENTITY f SYSTEM "file:///etc/passwd">]>'
        "<nvidia_smi_log><gpu><product_name>&e9;&f;</product_name></gpu></nvidia_smi_log>"
    )


def depths(folder: Path) -> None:
    (folder / "state.json").write_text('{"a":' * 60_000 + "1" + "}" * 60_000)
    (folder / "result.json").write_text(json.dumps({"n": 1})[:-1] + ', "loss": ' + "7" * 6000 + "}")


def events_out_of_bounds(folder: Path) -> None:
    fine = [record(event(i, simple("train/loss", 1.0))) for i in range(4)]
    bad = [record(b"\x2a\x7f\x0a"), record(b"\x0b" * 5000), record(b"x", spoil_data=1), record(b"abc", length=2**61)]
    (folder / "events.out.tfevents.1.host").write_bytes(b"".join([*fine[:2], *bad, *fine[2:], bytes(300)]))


def databases(folder: Path) -> None:
    with sqlite3.connect(folder / "mlruns.db") as base:
        base.execute("create table metrics (key, value, timestamp, run_uuid, step, is_nan)")
        base.executemany("insert into metrics values ('loss', ?, 0, 'r', ?, 0)", [(1 / (i + 1), i) for i in range(500)])
    base.close()
    data = bytearray((folder / "mlruns.db").read_bytes())
    data[4200:4400] = b"\xff" * 200
    (folder / "mlruns.db").write_bytes(data)
    (folder / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"?" * 4000)


def columns_that_lie(folder: Path) -> None:
    (folder / "m.parquet").write_bytes(b"PAR1" + b"\x15" * 999 + (1 << 30).to_bytes(4, "little") + b"PAR1")
    (folder / "m.arrow").write_bytes(b"ARROW1\0\0" + b"\xff" * 300)
    (folder / "m.safetensors").write_bytes(struct.pack("<Q", 2**61) + b"{}")
    (folder / "run-x.wandb").write_bytes(b":W&B\xe1\xbe\x00" + b"\x07\x06\x05\x04\xff\x7f\x01" + b"y" * 40_000)


def links(folder: Path) -> None:
    for name, target in (("round", "round"), ("here", "."), ("all", "/"), ("accounts.log", "/etc/passwd"), ("zero.log", "/dev/zero")):
        (folder / name).symlink_to(target)


def pipes(folder: Path) -> None:
    os.mkfifo(folder / "pipe.log")
    place = os.getcwd()
    with socket.socket(socket.AF_UNIX) as plug:
        os.chdir(folder)  # the name of a socket may have 107 bytes at most
        plug.bind("plug.log")
        os.chdir(place)


def holes(folder: Path) -> None:
    with open(folder / "second.log", "wb") as file:
        file.truncate(1 << 40)


def deep_folders(folder: Path) -> None:
    below = folder.joinpath(*["d"] * 200)
    below.mkdir(parents=True)
    (below / "a.log").write_text("step=1 loss=1\n")


def no_logs(folder: Path) -> None:
    (folder / "true.log").write_bytes(Path(sys.executable).read_bytes()[:4096])
    (folder / "noise.log").write_bytes(np.random.default_rng(5).bytes(50_000))
    (folder / "plot.log").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    (folder / "empty.log").write_bytes(b"")


def odd_names(folder: Path) -> None:
    for name in (b"\xff\xfe.log", b"two\nlines.log", b"n" * 250 + b".log", b"--format.log", b"$(touch SPRUNG).log", b"\x1b[2J.log"):
        with open(os.path.join(os.fsencode(folder), name), "w") as file:
            file.write("step=1 other=1.5\nstep=2 other=1.25\n")


def modules(folder: Path) -> None:
    for name in ("json.py", "numpy.py", "conftest.py", "sitecustomize.py"):
        (folder / name).write_text("open('SPRUNG', 'w').close()\n")
    (folder / "pyproject.toml").write_text('[tool.postmortem]\nplugins = ["json"]\n')
    (folder / "node.yaml").write_text('_target_: os.system\n_args_: ["touch SPRUNG"]\n')


HOSTILE = (bomb, pickles, objects_in_npy, yaml_that_calls, archives_that_climb, aliases, entities, depths, events_out_of_bounds, databases)
HOSTILE += (columns_that_lie, links, pipes, holes, deep_folders, no_logs, odd_names, modules)


@pytest.mark.parametrize("put", HOSTILE, ids=lambda put: put.__name__)
def test_the_run_beside_it_is_still_read(put: Callable[[Path], None], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(run)
    monkeypatch.chdir(run)
    before, start = state(run), time.perf_counter()
    found = examine(run)
    assert time.perf_counter() - start < 10
    assert len(losses(found)) == POINTS
    assert not [f.rule for f in found.findings if f.severity != "note"]
    assert state(run) == before and not list(tmp_path.rglob("SPRUNG"))
    for one in found.readings:
        assert one.rows or one.events or one.settings or one.notes, f"{one.file} was dropped without a word"
    answer = reports.render(found, "json")
    assert "root:x:0" not in answer
    json.loads(answer, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", reports.render(found, "text"))


def test_what_is_good_in_a_bad_file_is_kept(run: Path) -> None:
    for put in (yaml_that_calls, events_out_of_bounds, databases):
        put(run)
    found = examine(run)
    assert {s.key: s.value for s in found.settings if s.origin.file == "hparams.yaml"}["width"] == 12
    assert reading(found, "events.out.tfevents.1.host").rows == 4
    assert reading(found, "events.out.tfevents.1.host").rejected >= 3
    assert reading(found, "mlflow.db").rejected == 1


# ---------------------------------------------------------------------- the walk


def test_files_of_credentials_are_never_opened(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [".env", "id_ed25519", ".netrc", "credentials.json"]
    for name in names:
        (run / name).write_text("step=1 loss=1\n")
    opened, true_open = [], os.open
    monkeypatch.setattr(
        os, "open", lambda path, *more, **named: opened.append(Path(os.fsdecode(path)).name) or true_open(path, *more, **named)
    )
    found = inventory.take(run)
    assert "train.log" in opened and not set(names) & set(opened)
    assert {one.file for one in found.skipped} == set(names)


def test_a_folder_of_very_many_files_keeps_its_log(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MAX_IN_FOLDER", 40)
    for i in range(100):
        (run / f"frame{i:03d}.ppm").write_text("P3")
    (run / "zz").mkdir()
    (run / "zz" / "late.log").write_text("step=1 train/loss=1.5\n")
    found = inventory.take(run)
    names = {source.name for source in found.sources}
    assert {"train.log", "config.yaml", "zz/late.log"} <= names and len(names) == 40
    assert [(one.file, one.notes) for one in found.skipped] == [
        (".", ["holds 103 entries, most of them .ppm: 63 of the commonest kinds were not read"])
    ]


def test_the_walk_ends_and_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MAX_FILES", 5)
    for i in range(9):
        (run / f"u{i}.log").write_text("x")
    found = inventory.take(run)
    assert len(found.sources) == 5
    assert "more than 5 files" in found.skipped[-1].notes[0]


def test_own_reports_are_no_evidence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "train.log").write_text(HEALTHY + "step=60 train/loss=nan\nRuntimeError: CUDA out of memory. Tried to allocate 3.00 GiB\n")
    alone = examine(run)
    for name in reports.FORMATS:
        (run / f"report.{name}").write_text(reports.render(alone, name))
    (run / "report.log").write_text(reports.render(alone, "text"))
    for ending in ("csv", "ndjson", "parquet"):
        assert entry.run(["frame", str(run), "--output", str(run / f"frame.{ending}")]) == 0
    assert entry.run(["examine", str(run), "--journal", str(run / "NOTES.md")]) == 1
    capsys.readouterr()
    again = examine(run)
    assert [(f.rule, [str(e.origin) for e in f.evidence]) for f in again.findings] == [
        (f.rule, [str(e.origin) for e in f.evidence]) for f in alone.findings
    ]
    assert {curve.file for curve in again.curves} == {"train.log"}


def test_a_log_that_quotes_our_marker_is_read(run: Path) -> None:
    (run / "train.log").write_text(HEALTHY + "<!-- postmortem:entry 0123456789abcdef -->\nRead    3 files\nValueError: boom\n")
    found = examine(run)
    assert len(losses(found)) == POINTS and found.findings


# ---------------------------------------------------------------------- files that change, vanish or cannot be read


def test_a_file_that_grows_is_read_as_it_was_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_read = parsers.read

    def read(*arguments: Any) -> list[Reading]:
        with open(run / "train.log", "a") as file:
            file.write("step=500 train/loss=9.0\n" * 50)
        return true_read(*arguments)

    monkeypatch.setattr(parsers, "read", read)
    found = examine(run)
    assert len(losses(found)) == POINTS
    assert any("still growing" in note for note in reading(found, "train.log").notes)


@pytest.mark.parametrize("what", ["deleted", "cut", "a link now"])
def test_a_file_that_changes_under_our_hands(what: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "other.log").write_text("step=1 loss=1.5\n" * 9000)
    true_read = parsers.read

    def read(*arguments: Any) -> list[Reading]:
        path = run / "other.log"
        if what == "cut":
            os.truncate(path, 20)
        else:
            path.unlink()
        if what == "a link now":
            path.symlink_to("nowhere")
        return true_read(*arguments)

    monkeypatch.setattr(parsers, "read", read)
    found = examine(run)
    assert len(losses(found)) == POINTS
    assert reading(found, "other.log").notes


def test_a_reader_that_fails_costs_its_own_file_only(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = next(parser for parser in parsers.parsers() if parser.NAME == "configs")

    def fail(*_: object) -> Reading:
        raise KeyError("x")

    monkeypatch.setattr(configs, "read", fail)
    found = examine(run)
    assert len(losses(found)) == POINTS
    assert reading(found, "config.yaml").format == parsers.UNREADABLE


def test_every_single_failing_call_ends_well(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error at the first, the second, the third ... use of a file, once and for ever after, until a run ends undisturbed."""
    examine(run)  # whatever is loaded at the first use is loaded now
    calls = 0
    fatal: set[int] = set()
    for lasting in (False, True):
        for broken in range(1, 60):
            calls = 0

            def failing(true: Callable[..., Any]) -> Callable[..., Any]:
                def call(*arguments: Any, **named: Any) -> Any:
                    nonlocal calls
                    if str(run) in os.fsdecode(arguments[0]) if arguments and isinstance(arguments[0], str | bytes | Path) else False:
                        calls += 1
                        if calls == broken or (lasting and calls > broken):  # noqa: B023 - used up before the loop goes on
                            raise OSError(5, "Input/output error", str(arguments[0]))
                    return true(*arguments, **named)

                return call

            with monkeypatch.context() as patched:
                for place, name in ((os, "open"), (os, "scandir"), (os, "lstat"), (builtins, "open")):
                    patched.setattr(place, name, failing(getattr(place, name)))
                try:
                    found = examine(run)
                except PostmortemError:
                    fatal.add(broken)
                    continue
            assert found.readings
            if calls < broken:
                break
        else:
            pytest.fail("no run ended undisturbed")
    assert 1 in fatal, "the run directory itself could not be read"


# ---------------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("data", "step"),
    [
        ("step=77 train/loss=0.5\r\nstep=78 train/loss=0.25\r\n".encode("utf-16"), 77),
        ("step=77 train/loss=0.5\nstep=78 train/loss=0.25\n".encode("utf-16-le"), 77),
        (b"\x00\x00step=77 train/loss=0.5\x00\nstep=78 train/loss=0.25\n", 77),
        (b"\xff\xfa\x9c \xe9t\xe9\nstep=77 train/loss=0.5\nstep=78 train/loss=0.25\n", 77),
        (b"\x1b[32mstep\x1b[0m=77 train/loss=\x1b[1m0.5\x1b[0m\nstep=78 train/loss=0.25\n", 77),
        (b"\x01\x02 step=77 train/loss=0.5\nstep=78 train/loss=0.25\n", 77),
        (b"\rstep=77 train/loss=0.5\rstep=78 train/loss=0.25", 77),
    ],
    ids=["utf-16 with a mark", "utf-16 without", "NUL bytes", "latin-1", "colours", "control characters", "carriage returns"],
)
def test_the_numbers_are_read_in_spite_of_the_bytes(data: bytes, step: int, run: Path) -> None:
    (run / "odd.log").write_bytes(data)
    assert table(run, "odd.log") == [(step, 0.5), (step + 1, 0.25)]


def test_lines_are_counted_as_other_tools_count_them(run: Path) -> None:
    (run / "odd.log").write_text("step=1 train/loss=0.5 msg=a\x0bb\x0cc\x85d\u2028e\u2029f\nstep=2 train/loss=0.4\n", encoding="utf-8")
    (curve,) = [curve for curve in examine(run).curves if curve.file == "odd.log"]
    assert list(curve.lines) == [1, 2]


def test_a_very_long_line_is_cut_and_told(run: Path) -> None:
    (run / "long.log").write_text("step=1 train/loss=0.5\n" + "z" * 3_000_000 + "\nstep=2 train/loss=0.4\n")
    found = examine(run)
    assert losses(found, "long.log") == [0.5, 0.4]
    assert any("longer than" in note for note in reading(found, "long.log").notes)


LINES = (
    " " * 400_000,
    "1" * 400_000,
    "loss=" * 80_000,
    "a=1 " * 100_000,
    "key: " * 80_000,
    "[" * 200_000,
    "\\" * 400_000,
    ("1%|" * 99_999),
)


def test_no_line_takes_more_than_linear_time(run: Path) -> None:
    (run / "train.log").write_text(HEALTHY + "".join(f"{line}\n" for line in LINES))
    (run / "records.jsonl").write_text('{"step": 1, "loss": 2}\n' + "".join(f"{line}\n" for line in LINES))
    start = time.perf_counter()
    found = examine(run)
    assert time.perf_counter() - start < 12  # a square would take minutes
    assert len(losses(found)) == POINTS


@pytest.mark.parametrize("unit", ["a", "1", "_", "A", ".", " ", "/a", "'", "0x1f", "a."])
def test_the_words_of_rules_are_sought_in_linear_time(unit: str) -> None:
    wanted = rules.wanted()
    assert wanted is not None
    for one in branches(wanted):
        words = f"{min(one.needles, default='')} {unit * (LONGEST_SAID // len(unit))} Error"
        start = time.perf_counter()
        one.regex.search(words)
        assert time.perf_counter() - start < 0.5, one.source[:200]


# ---------------------------------------------------------------------- numbers, steps, times

SPELLED = {
    "nan": float("nan"),
    "-nan": float("nan"),
    "1.#QNAN": float("nan"),
    "-Infinity": float("-inf"),
    "1.#INF": float("inf"),
    "1e-7": 1e-7,
    ".5": 0.5,
    "5.": 5.0,
    "2,345.5": 2345.5,
    "tensor(0.125, device='cuda:0')": 0.125,
    "12.5%": 12.5,
    "0,5": None,  # a decimal comma? two numbers? not read
    "0x1p-3": None,
    "1_000": None,
    "\u0661\u0662": None,
}


@pytest.mark.parametrize("spelled", SPELLED, ids=ascii)
def test_numbers_are_read_rightly_or_not_at_all(spelled: str, run: Path) -> None:
    (run / "odd.log").write_text(f"step=1 train/loss={spelled}\nstep=2 train/loss=0.75\n", encoding="utf-8")
    told = [value for step, value in table(run, "odd.log") if step == 1]
    expected = SPELLED[spelled]
    assert told == ([] if expected is None else [pytest.approx(expected, nan_ok=True)])


def test_steps_at_the_edge_of_the_integers(run: Path) -> None:
    (run / "m.csv").write_text("step,loss\n9223372036854775806,0.5\n9223372036854775808,0.4\n1e30,0.3\n-5,0.2\n")
    assert table(run, "m.csv") == [(9223372036854775806, 0.5), (None, 0.4), (None, 0.3), (-5, 0.2)]
    found = examine(run)
    assert json.loads(reports.render(found, "json"))["run"]["last_step"] == 9223372036854775806
    assert "9,223,372,036,854,775,806" in reports.render(found, "html") or "9223372036854775806" in reports.render(found, "html")


@pytest.mark.parametrize("wall", [float("nan"), float("inf"), 1e300, -1e18])
def test_impossible_clocks_cost_the_time_not_the_point(wall: float, run: Path) -> None:
    (run / "events.out.tfevents.2.host").write_bytes(b"".join(record(event(i, simple("train/loss", 0.5), wall=wall)) for i in range(3)))
    frame = frame_of(run)
    rows = [row for row in frame.iter_rows(named=True) if row["file"].startswith("events")]
    assert [(row["step"], row["value"], row["time"]) for row in rows] == [(0, 0.5, None), (1, 0.5, None), (2, 0.5, None)]


def test_a_resumed_run_is_no_spike(run: Path) -> None:
    (run / "train.log").write_text(HEALTHY + "".join(f"step={i} train/loss={2 / (1 + 0.1 * i):.4f}\n" for i in range(40, 120)))
    assert not [f.rule for f in examine(run).findings if f.severity != "note"]


def test_files_with_absurd_dates_are_read(run: Path) -> None:
    os.utime(run / "train.log", (-2_000_000_000, -2_000_000_000))
    os.utime(run / "config.yaml", (13_000_000_000, 13_000_000_000))
    assert len(losses(examine(run))) == POINTS


# ---------------------------------------------------------------------- the command: streams, disks, signals


def process(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, cwd=cwd, timeout=60)


def test_modules_of_the_run_are_never_imported(run: Path, run_command: Callable[..., tuple[int, str, str]]) -> None:
    modules(run)
    code, _, err = run_command("examine", ".", cwd=run)
    assert code == 0, err
    assert not (run / "SPRUNG").exists()


STOPPED = """
import os, signal, sys
import postmortem.__main__ as entry
from postmortem.reports.base import replace_file
from pathlib import Path

def stopped(arguments):
    replace_file(Path(sys.argv[2]), lambda file: (file.write(b"half"), file.flush(), os.kill(os.getpid(), int(sys.argv[1]))))

entry.run = stopped
entry.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_leaves_nothing_half_written(number: signal.Signals, code: int, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    done = process(STOPPED, str(int(number)), str(target))
    assert done.returncode == code and b"Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"] and target.read_text() == "old"


def test_closed_and_full_streams(run: Path, tmp_path: Path) -> None:
    command = f'exec "{sys.executable}" -m postmortem examine "{run}" --format json:"{tmp_path}/out.json" --format text'
    closed = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, timeout=60)
    assert closed.returncode == 0 and b"internal" not in closed.stderr
    assert json.loads((tmp_path / "out.json").read_text())["root_causes"] == []
    if Path("/dev/full").exists():
        full = subprocess.run(["sh", "-c", f"{command} >/dev/full"], capture_output=True, timeout=60)
        assert full.returncode == 3 and full.stderr.count(b"\n") == 2  # the file that was written, and the stream that could not be


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_full_disk_keeps_the_old_report(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.html"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match=r"out\.html could not be written \(3 bytes\): No space left on device"):
        door.write(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"] and target.read_text() == "old"


def test_too_little_memory_is_one_clear_line(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(inventory, "take", exhausted)
    assert entry.run(["examine", str(run)]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "postmortem: not enough memory for this run; give it more, or examine a part of the directory"
    ]
