"""The torch companion in real trainings: its lines are read back, its faults are named, and it never breaks or outlives a training."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the companion runs inside a training; torch is not installed")
os.environ.setdefault("KERAS_BACKEND", "torch")

from torch import Tensor, nn  # noqa: E402

import postmortem.probe  # noqa: E402
from postmortem.examine import examine  # noqa: E402
from postmortem.model import Diagnosis, Reading  # noqa: E402
from postmortem.parsers import jsonlines, text  # noqa: E402
from postmortem.parsers.base import HEAD_BYTES, Request, SourceFile  # noqa: E402
from postmortem.probe import Probe, checksum, gradient_path, identity_baseline, overfit_one_batch, probe_branch  # noqa: E402
from postmortem.probe.measure import norms  # noqa: E402

ALWAYS = {"grad_norm", "param_norm", "param_delta_median", "param_delta_max", "param_min", "param_max", "lr/0", "update_ratio/0", "step_ok"}
PERF = {"timing_forward_ms", "timing_backward_ms", "timing_optim_step_ms", "data_time_ms", "step_time_ms", "samples_per_sec"}
OF_NET = {f"{kind}_{part}" for kind in ("grad_norm", "param_delta") for part in ("backbone", "head")}


@pytest.fixture(autouse=True)
def one_thread():
    """The machine is shared, and results must not depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


class Net(nn.Module):
    """A backbone and a head, as the lines name them."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def batch(size: int = 64) -> tuple[Tensor, Tensor]:
    x = torch.randn(size, 8)
    return x, x[:, :1] - 2 * x[:, 1:2].abs() + 0.5


def mse(model: nn.Module, pair: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.mse_loss(model(pair[0]), pair[1])


def read(path: Path, parser: Any = text) -> Reading:
    data = path.read_bytes()
    return parser.read(SourceFile(path, path.name, len(data), data[:HEAD_BYTES]), Request())


def names(reading: Reading) -> set[str]:
    return {block.raw_name for block in reading.blocks}


def series(reading: Reading, name: str) -> list[float]:
    found = [(s, float(v)) for block in reading.blocks if block.raw_name == name for s, v in zip(block.steps, block.values, strict=True)]
    return [value for _, value in sorted(found, key=lambda one: one[0])]


def train(log: Path, steps: int = 80, lr: float = 1e-2, **options: Any) -> Net:
    """A healthy training with the probe, as a user writes it."""
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    with Probe(model, optimizer, **{"every": 1, "sink": log, **options}) as probe:
        for _ in range(steps):
            loss = mse(model, batch())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.step(loss)
    return model


# ---------------------------------------------------------------------- the lines


def test_every_line_is_read_back(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    model, fixed = Net(), torch.randn(5, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with Probe(model, optimizer, every=4, sink=log, probe_batch=fixed, config={"lr": 0.01, "batch_size": 64}) as probe:
        for step in range(24):
            with probe.time("augment"):
                pair = batch()
            loss = mse(model, pair)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.step(loss, losses={"Pixel": (loss, 0.5), "Edge": loss * 2})
            if step % 8 == 7:
                probe.validation(mse(model, batch()))
    reading = read(log)
    memory = {name for name in names(reading) if "mem" in name}
    assert memory >= {"host_mem_mb"}
    assert names(reading) - memory == ALWAYS | PERF | OF_NET | {
        "loss", "loss_component/Pixel", "loss_weight/Pixel", "loss_component/Edge", "loss(first-batch)", "probe_pred_checksum",
        "dead_neurons", "act_max", "logit_min", "logit_max", "augment_ms",
    }  # fmt: skip
    assert reading.rejected == 0
    drift = next(block for block in reading.blocks if block.raw_name == "param_delta_max")
    assert list(drift.steps) == [0, 4, 8, 12, 16, 20]
    told = {setting.key: setting.value for setting in reading.settings}
    assert told["seed"] == 0 and told["parameters"] == told["in_optimizer"] == 1377 and told["lr"] == 0.01
    diagnosis = examine(tmp_path)
    assert loud(diagnosis) == [] and diagnosis.ending.status == "finished"
    metrics = {curve.metric for curve in diagnosis.curves}
    wanted = {"loss", "grad_norm", "param_norm", "update_ratio", "lr", "step_ok", "dead_neurons", "param_delta", "param_delta_max"}
    assert metrics >= wanted | {"loss_first_batch", "data_time_ms", "step_time_ms", "forward_time_ms", "throughput", "host_mem"}


def test_json_records_say_the_same(tmp_path: Path) -> None:
    lines, records = tmp_path / "a" / "train.log", tmp_path / "b" / "train.jsonl"
    for path, form in ((lines, "lines"), (records, "jsonl")):
        path.parent.mkdir()
        torch.manual_seed(0)
        train(path, steps=20, form=form)
    said, also = read(lines), read(records, jsonlines)
    assert names(said) == names(also)
    for name in ("loss", "grad_norm", "param_delta_head", "update_ratio/0"):
        assert series(also, name) == pytest.approx(series(said, name), rel=1e-4)
    diagnosis = examine(records.parent)
    assert loud(diagnosis) == []
    assert {setting.key.rpartition(".")[2] for setting in diagnosis.settings} >= {"torch", "parameters", "in_optimizer"}


def test_the_numbers_are_true(tmp_path: Path) -> None:
    """Against the plain way to compute them, with everything remembered; SGD's update ratio is eta*|grad|/|W|."""
    log, model = tmp_path / "train.log", Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    truth: list[tuple[float, float, float]] = []
    with Probe(model, optimizer, every=1, sink=log, exact=True) as probe:
        for _ in range(4):
            before = [p.detach().clone() for p in model.parameters()]
            loss = mse(model, batch())
            optimizer.zero_grad()
            loss.backward()
            norm = float(torch.stack([p.grad.norm() for p in model.parameters()]).norm())
            optimizer.step()
            size = float(torch.stack([p.detach().norm() for p in model.parameters()]).norm())
            most = max(float((p.detach() - b).norm()) for p, b in zip(model.parameters(), before, strict=True))
            truth.append((norm, most, 0.05 * norm / size))
            probe.step(loss)
    reading = read(log)
    for name, expected in zip(("grad_norm", "param_delta_max", "update_ratio/0"), zip(*truth, strict=True), strict=True):
        assert series(reading, name) == pytest.approx(list(expected), rel=2e-3)


def test_a_sample_estimates_the_drift(tmp_path: Path) -> None:
    drifts = {}
    for exact in (True, False):
        torch.manual_seed(0)
        train(tmp_path / f"{exact}.log", steps=5, exact=exact)
        drifts[exact] = series(read(tmp_path / f"{exact}.log"), "param_delta_backbone")
    assert drifts[False] == pytest.approx(drifts[True], rel=0.5)


@pytest.mark.parametrize("case", ["path", "stream", "stdout", "other rank", "all ranks"])
def test_where_the_lines_go(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    sink = {"path": tmp_path / "probe.log", "stdout": None}.get(case, stream)
    rank = {"other rank": {"rank": 1}, "all ranks": {"rank": 1, "all_ranks": True}}.get(case, {})
    train(sink, steps=2, **rank)  # type: ignore[arg-type]
    told = (tmp_path / "probe.log").read_text() if case == "path" else capsys.readouterr().out if case == "stdout" else stream.getvalue()
    if case == "other rank":
        assert told == ""
        return
    assert told.startswith("[RUN] step=0 torch=") and told.endswith("[END] step=2 steps=2 skipped=0 reason=finished\n")
    assert ("rank=1" in told) == (case == "all ranks")


# ---------------------------------------------------------------------- models and loops of all kinds


class Odd(nn.Module):
    """Returns what models return: a tuple, a dictionary, complex numbers."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.net = kind, Net()

    def forward(self, x: Tensor) -> Any:
        out = self.net(x)
        told = {"loss": out.mean(), "logits": out}
        return {"tuple": (out.mean(), out), "dict": told, "complex": torch.complex(out, out)}[self.kind]


@pytest.mark.parametrize("kind", ["tuple", "dict", "complex"])
def test_models_return_anything(kind: str, tmp_path: Path) -> None:
    model = Odd(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with Probe(model, optimizer, every=1, sink=tmp_path / "train.log", probe_batch=torch.randn(3, 8)) as probe:
        for _ in range(2):
            out = model(torch.randn(4, 8))
            tensor = out if isinstance(out, Tensor) else out["logits"] if isinstance(out, Mapping) else out[1]
            loss = tensor.abs().mean()
            loss.backward()
            optimizer.step()
            probe.step(loss)
            probe.validation()
    assert names(read(tmp_path / "train.log")) >= ALWAYS | {"logit_min", "logit_max", "probe_pred_checksum"}


def steps_of(model: nn.Module, optimizer: Any, log: Path, count: int = 4, inputs: Any = None, **options: Any) -> Reading:
    """A few plain steps with the probe; gives what the log tells."""
    with Probe(model, optimizer, every=1, sink=log, **options) as probe:
        for _ in range(count):
            for one in probe.optimizers:
                one.zero_grad()
            loss = model(inputs() if inputs else torch.randn(16, 8)).square().mean()
            loss.backward()
            for one in probe.optimizers:
                one.step()
            probe.step(loss)
    assert "[END]" in log.read_text()
    return read(log)


def test_sparse_gradients(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(5000, 4, sparse=True), nn.Flatten(), nn.Linear(8, 1))
    optimizers = [torch.optim.SparseAdam(model[0].parameters(), lr=1e-2), torch.optim.SGD(model[2].parameters(), lr=1e-2)]
    reading = steps_of(model, optimizers, tmp_path / "a.log", count=12, inputs=lambda: torch.randint(0, 5000, (6, 2)))
    drift = series(reading, "param_delta_0")
    assert min(series(reading, "grad_norm_0")) > 0 and drift[0] > 0 and drift[10] > 0, "rows outside the sample moved"
    assert names(reading) >= {"lr/0", "lr/1", "update_ratio/0", "update_ratio/1"}


def test_several_optimizers_and_frozen_modules(tmp_path: Path) -> None:
    model = Net()
    model.backbone[0].requires_grad_(False)
    optimizers = [torch.optim.SGD(model.backbone.parameters(), lr=1e-2), torch.optim.Adam(model.head.parameters(), lr=1e-3)]
    reading = steps_of(model, optimizers, tmp_path / "a.log")
    assert series(reading, "lr/1") == [0.001] * 4
    assert min(series(reading, "grad_norm_backbone")) > 0 and min(series(reading, "update_ratio/1")) > 0


def test_parameters_that_come_later(tmp_path: Path) -> None:
    """Lazy layers and layers unfrozen on the way are told as soon as they train."""
    model = nn.Sequential(nn.Linear(8, 6), nn.LazyLinear(1))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with Probe(model, optimizer, every=1, sink=tmp_path / "a.log") as probe:
        for step in range(6):
            if step == 3:
                model[0].requires_grad_(True)
            optimizer.zero_grad()
            loss = model(torch.randn(16, 8)).square().mean()
            loss.backward()
            optimizer.step()
            probe.step(loss)
    reading = read(tmp_path / "a.log")
    assert len(series(reading, "loss")) == 6 and len(series(reading, "grad_norm_1")) == 4
    assert len(series(reading, "grad_norm_0")) == 2 and min(series(reading, "param_delta_0")) > 0


def test_closures(tmp_path: Path) -> None:
    """LBFGS runs forward and backward inside its step."""
    model, pair = Net(), batch()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = mse(model, pair)
        loss.backward()
        return loss

    with Probe(model, optimizer, every=1, sink=tmp_path / "a.log") as probe:
        for _ in range(3):
            probe.step(optimizer.step(closure))
    reading = read(tmp_path / "a.log")
    assert min(series(reading, "grad_norm")) > 0 and min(series(reading, "param_delta_max")) > 0
    assert "timing_backward_ms" not in names(reading)


def test_accumulation_is_no_skipped_step(tmp_path: Path) -> None:
    for often in (True, False):  # probe.step called for each micro-batch, or as documented
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        with Probe(model, optimizer, every=1, sink=tmp_path / f"{often}.log") as probe:
            for micro in range(12):
                loss = mse(model, batch())
                loss.backward()
                if micro % 4 == 3:
                    optimizer.step()
                if often or micro % 4 == 3:
                    probe.step(loss)
                if micro % 4 == 3:
                    optimizer.zero_grad()
        reading = read(tmp_path / f"{often}.log")
        assert probe.skipped == 0 and series(reading, "step_ok") == [1, 1, 1] and min(series(reading, "update_ratio/0")) > 0


@pytest.mark.parametrize("zero_first", [True, False])
def test_a_scaler_that_skips(zero_first: bool, tmp_path: Path) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with Probe(model, optimizer, every=1, sink=tmp_path / "a.log", scaler=scaler) as probe:
        for step in range(6):
            optimizer.zero_grad()
            loss = mse(model, batch()) * (float("inf") if step == 2 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            if zero_first:
                optimizer.zero_grad(set_to_none=step < 4)
            probe.step(loss)
    reading = read(tmp_path / "a.log")
    assert probe.skipped == 1 and series(reading, "step_ok") == [1, 1, 0, 1, 1, 1]
    assert series(reading, "loss_scale") == [4, 4, 2, 2, 2, 2]
    assert series(reading, "param_delta_max")[2] == 0 and len(series(reading, "update_ratio/0")) == 5


def test_a_fused_optimizer_decides_on_its_own(tmp_path: Path) -> None:
    """The scaler calls it all the same and tells it to stand still; half precision norms do not overflow."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with Probe(model, optimizer, every=1, sink=tmp_path / "a.log") as probe:
        for step in range(5):
            optimizer.zero_grad()
            loss = mse(model, batch()) * (float("nan") if step == 2 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            probe.step(loss)
    reading = read(tmp_path / "a.log")
    assert probe.skipped == 1 and series(reading, "step_ok") == [1, 1, 0, 1, 1]
    assert max(series(reading, "grad_norm")[:2]) < 20, "the scale is divided out"


def test_half_precision(tmp_path: Path) -> None:
    """A norm in half precision would overflow at 65,504."""
    assert norms([torch.full((32,), 3e4, dtype=torch.float16)]).tolist() == pytest.approx([3e4 * 32**0.5])
    model = Net().to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    reading = steps_of(model, optimizer, tmp_path / "a.log", inputs=lambda: torch.randn(4, 8, dtype=torch.bfloat16))
    assert min(series(reading, "param_delta_max")) > 0 and max(series(reading, "update_ratio/0")) < 1


def test_compiled_models(tmp_path: Path) -> None:
    """Hooks inside a compiled graph fold to nothing: no recompilation at every step."""
    torch._dynamo.reset()
    inner = Net()
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model = torch.compile(inner, backend=backend)
    reading = steps_of(model, torch.optim.SGD(inner.parameters(), lr=1e-2), tmp_path / "a.log", count=6)
    assert len(graphs) == 1
    assert names(reading) >= ALWAYS | OF_NET | {"timing_forward_ms", "logit_max"}


def test_wrapped_models(tmp_path: Path) -> None:
    model = nn.DataParallel(Net())
    assert names(steps_of(model, torch.optim.SGD(model.parameters(), lr=1e-2), tmp_path / "a.log")) >= ALWAYS | OF_NET


# ---------------------------------------------------------------------- it leaves no trace and breaks nothing


def hooks(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    of_modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return of_modules + len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


def test_hooks_go_and_copies_are_free(tmp_path: Path) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    handler = signal.getsignal(signal.SIGTERM)
    with Probe(model, optimizer, sink=tmp_path / "a.log") as probe:
        assert hooks(model, optimizer) > 0
        twin, saved = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        twin(torch.randn(2, 8)), saved(torch.randn(2, 8))
        assert probe.active
    assert hooks(model, optimizer) == 0 and signal.getsignal(signal.SIGTERM) == handler


def test_the_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    def run(probed: bool) -> list[float]:
        torch.manual_seed(1)
        model = nn.Sequential(Net(), nn.Dropout(0.5))
        model[0].backbone.eval()  # frozen on purpose: evaluation must not wake it
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        probe = Probe(model, optimizer, every=1, sink=io.StringIO(), probe_batch=torch.ones(2, 8))
        if probed:
            probe.__enter__()
        losses = []
        for _ in range(5):
            loss = model(batch()[0]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if probed:
                probe.step(loss)
                probe.validation()
            losses.append(loss.item())
        assert not model[0].backbone.training and model[1].training
        probe.close()
        return losses

    assert run(True) == run(False)


def test_an_error_inside_turns_the_probe_off(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("No space left on device\nsecond line")

    model = train(Broken(), steps=3)  # type: ignore[arg-type]
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("[PROBE] turned itself off (OSError, No space left")
    assert hooks(model, torch.optim.SGD(model.parameters())) == 0


def test_nothing_is_read_from_the_device_between_prints(tmp_path: Path) -> None:
    """No `.item()` and no copy to the host in steps that print nothing."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        found: list[str] = []  # noqa: RUF012 - one list for the one test

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if any(name in str(func) for name in ("_local_scalar_dense", "is_nonzero", "_to_copy")):
                self.found.append(str(func))
            return func(*args, **(kwargs or {}))

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)  # unlike Adam it counts nothing on its own
    with Probe(model, optimizer, every=100, sink=tmp_path / "a.log") as probe:
        for step in range(8):
            with Reads() if step else io.StringIO():
                optimizer.zero_grad()
                loss = mse(model, batch())
                loss.backward()
                if step != 5:  # a step that a scaler skipped is counted on the device
                    optimizer.step()
                probe.step(loss)
    assert Reads.found == []


ENDED = """
import os, signal, sys, torch
sys.path.insert(0, sys.argv[1])
from probe import Probe
assert not [name for name in sys.modules if name.split(".")[0] in ("postmortem", "polars", "transformers")]
torch.set_num_threads(1)
torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)  # loads what the first optimizer loads
for how in sys.argv[2:]:  # one process each, so that torch is imported once
    if (child := os.fork()) == 0:
        out = os.open(os.path.join(sys.argv[1], how + ".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1), os.dup2(out, 2)
        break
    print(how, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    sys.exit()
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def steps(probe):
    for i in range(3):
        optimizer.zero_grad(); loss = model(torch.randn(4, 2)).square().mean(); loss.backward(); optimizer.step(); probe.step(loss)
probe = Probe(model, optimizer, every=1)
if how == "callback":
    probe.__enter__(); steps(probe); raise ValueError("bad data")
with probe:
    steps(probe)
    if how == "exception": raise ValueError("bad data")
    if how == "sigterm": os.kill(os.getpid(), signal.SIGTERM)
    if how == "sigint": os.kill(os.getpid(), signal.SIGINT)
    if how == "exit": sys.exit(3)
    if how == "worker" and os.fork() == 0: os.kill(os.getpid(), signal.SIGTERM)
    if how == "worker": os.wait()
"""
ENDS = {
    "finished": ("finished", 0, "finished"),
    "exception": ("exception:ValueError", 1, "crashed"),
    "callback": ("exception:ValueError", 1, "crashed"),
    "exit": ("exception:SystemExit", 3, "unknown"),
    "sigterm": ("signal:SIGTERM", -signal.SIGTERM, "killed"),
    "sigint": ("signal:SIGINT", -signal.SIGINT, "crashed"),  # the traceback of KeyboardInterrupt stands in the log too
    "worker": ("finished", 0, "finished"),  # the child inherits the handler and must not speak for the parent
}


def test_the_closing_line_says_why(tmp_path: Path) -> None:
    """In trainings that hold nothing of ours but a copy of the folder."""
    shutil.copytree(Path(postmortem.probe.__file__).parent, tmp_path / "probe")
    done = subprocess.run([sys.executable, "-c", ENDED, str(tmp_path), *ENDS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    codes = dict(line.split() for line in done.stdout.splitlines())
    for how, (reason, code, status) in ENDS.items():
        told = (tmp_path / f"{how}.log").read_text()
        assert [line for line in told.splitlines() if line.startswith("[END]")] == [f"[END] step=3 steps=3 skipped=0 reason={reason}"], told
        assert int(codes[how]) == code, (how, told)
        (tmp_path / how).mkdir()
        (tmp_path / f"{how}.log").rename(tmp_path / how / "train.log")
        assert examine(tmp_path / how).ending.status == status, how


# ---------------------------------------------------------------------- recipes


def test_gradient_path(capsys: pytest.CaptureFixture[str]) -> None:
    model = Net()
    features = model.backbone(torch.randn(4, 8))
    assert gradient_path(model.head(features), model.backbone[0].weight, names=("output", "backbone.0")) > 0
    assert gradient_path(model.head(features.detach()), model.backbone[0].weight) == 0
    assert gradient_path(torch.complex(features, features), model.backbone[0].weight) > 0
    assert gradient_path(torch.ones(3), model.backbone[0].weight) == 0
    assert capsys.readouterr().out.splitlines()[1] == "[GRADPATH] step=0 d<output>/d(parameter) = 0.000e+00"


def test_branches(capsys: pytest.CaptureFixture[str]) -> None:
    model = Net()
    with probe_branch(model.head, "head") as branch:
        model(torch.randn(4, 8))
        assert branch.tell(step=3) > 0
        model.head.weight.data.zero_(), model.head.bias.data.zero_()
        model(torch.randn(4, 8))
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("[BRANCH] step=3 residual_contrib_head=")
    assert last.startswith("[BRANCH] step=2 residual_contrib_head=0 residual_input_head=")


def test_identity(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def score(out: Tensor, target: Tensor) -> Tensor:
        return (out - target).abs().mean()

    pairs = [(x := torch.randn(8, 4), x + 0.1) for _ in range(3)]
    told = identity_baseline(nn.Linear(4, 4), pairs, score)
    assert told["worse_than_identity"] is True and told["rows"] == 24 and told["identity_score"] == pytest.approx(0.1, rel=1e-4)
    out = capsys.readouterr().out
    assert json.loads(out) == told
    (tmp_path / "identity.json").write_text(out)
    assert causes(examine(tmp_path)) == ["worse-than-identity"]
    assert identity_baseline(nn.Identity(), pairs, score)["worse_than_identity"] is False
    with pytest.raises(ValueError, match="at least one pair"):
        identity_baseline(nn.Identity(), [], score)


def test_the_checksum_moves_where_a_sum_cannot() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=-1))
    fixed = torch.randn(5, 3)
    before = checksum(model, fixed)
    assert checksum(model, fixed) == before
    with torch.no_grad():
        model[0].weight.mul_(1.01)
    assert checksum(model, fixed) != before


# ---------------------------------------------------------------------- trainers that own the loop


def test_lightning(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    from postmortem.probe import LightningProbe

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = Net().backbone, Net().head

        def training_step(self, pair: Any, index: int) -> Tensor:
            return nn.functional.mse_loss(self.head(self.backbone(pair[0])), pair[1])

        def validation_step(self, pair: Any, index: int) -> Tensor:
            return self.training_step(pair, index)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-2)

    pairs, few = (torch.utils.data.DataLoader([batch() for _ in range(n)], batch_size=None) for n in (20, 2))
    log, module = tmp_path / "train.log", Module()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    callback = LightningProbe(every=2, sink=log)
    quiet |= {"accelerator": "cpu", "default_root_dir": tmp_path}
    trainer = pl.Trainer(max_epochs=2, callbacks=[callback], accumulate_grad_batches=2, gradient_clip_val=1e-3, **quiet)
    trainer.fit(module, pairs, few)
    reading = read(log)
    memory = {name for name in names(reading) if "mem" in name}
    assert names(reading) - memory - PERF == ALWAYS | OF_NET | {"loss", "loss(first-batch)", "dead_neurons", "act_max"}
    assert len(series(reading, "loss")) == 10 and len(series(reading, "loss(first-batch)")) == 2
    assert min(series(reading, "grad_norm")) > 1e-2, "before clipping"
    assert series(reading, "step_ok") == [1.0] * 10
    assert hooks(module, trainer.optimizers[0]) == 0
    assert {rule for rule, _ in loud(examine(tmp_path))} <= {"still-improving"} and examine(tmp_path).ending.status == "finished"

    class Failing(Module):
        def training_step(self, pair: Any, index: int) -> Tensor:
            if index == 3:
                raise ZeroDivisionError("a bad batch")
            return super().training_step(pair, index)

    with pytest.raises(ZeroDivisionError):
        pl.Trainer(max_epochs=1, callbacks=[LightningProbe(every=1, sink=tmp_path / "b.log")], **quiet).fit(Failing(), pairs, few)
    assert (tmp_path / "b.log").read_text().endswith("[END] step=3 steps=3 skipped=0 reason=exception:ZeroDivisionError\n")


def test_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate, which is not installed")
    from postmortem.probe import HuggingFaceProbe

    config = transformers.GPT2Config(vocab_size=20, n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    model = transformers.GPT2LMHeadModel(config)
    rows = [{"input_ids": (row := torch.arange(16) % 5 + i % 3), "labels": row} for i in range(64)]
    log = tmp_path / "run" / "train.log"
    log.parent.mkdir()
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=12, per_device_train_batch_size=8, gradient_accumulation_steps=2, learning_rate=1e-3,
        eval_strategy="steps", eval_steps=6, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=4,
    )  # fmt: skip
    probe_batch = {"input_ids": rows[0]["input_ids"][None]}
    callback = HuggingFaceProbe(every=3, sink=log, probe_batch=probe_batch)
    transformers.Trainer(model, arguments, train_dataset=rows, eval_dataset=rows[:8], callbacks=[callback]).train()
    reading = read(log)
    memory = {name for name in names(reading) if "mem" in name}
    parts = {f"{kind}_transformer" for kind in ("grad_norm", "param_delta")}
    tied = {f"{kind}_lm_head" for kind in ("grad_norm", "param_delta")}  # the embedding's own weight
    always = ALWAYS | {"lr/1", "update_ratio/1"}  # with and without weight decay
    assert names(reading) - memory - PERF == always | parts | tied | {"loss", "logit_min", "logit_max", "probe_pred_checksum"}
    assert series(reading, "step_ok") == [1.0] * 4 and min(series(reading, "grad_norm")) > 0
    checksums = series(reading, "probe_pred_checksum")
    assert len(checksums) == 2 and checksums[0] != checksums[1]
    assert max(series(reading, "samples_per_sec")) > 0
    assert log.read_text().endswith("[END] step=12 steps=12 skipped=0 reason=finished\n")
    assert {rule for rule, _ in loud(examine(log.parent))} <= {"still-improving"}


def test_keras(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", reason="keras is not installed")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras was imported with another backend")
    from postmortem.probe import KerasProbe

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    x, y = (t.numpy() for t in batch(256))
    callback = KerasProbe(every=4, sink=tmp_path / "train.log", probe_batch=torch.randn(3, 8))
    model.fit(x, y, epochs=3, batch_size=16, validation_data=(x[:32], y[:32]), callbacks=[callback], verbose=0)
    reading = read(tmp_path / "train.log")
    memory = {name for name in names(reading) if "mem" in name}
    told = {name for name in names(reading) if not name.startswith(("grad_norm_", "param_delta_"))}
    assert (told | {"param_delta_median", "param_delta_max"}) - memory == ALWAYS - {"step_ok"} | {
        "loss", "probe_pred_checksum", "data_time_ms", "step_time_ms", "logit_min", "logit_max",
    }  # fmt: skip
    assert min(series(reading, "grad_norm")) > 0 and min(series(reading, "param_delta_max")) > 0
    assert series(reading, "lr/0") == pytest.approx([1e-2] * 12)
    assert len(set(series(reading, "probe_pred_checksum"))) == 3
    assert loud(examine(tmp_path)) == []


# ---------------------------------------------------------------------- faults and their healthy twins


def causes(diagnosis: Diagnosis) -> list[str]:
    return [cause.finding.rule for cause in diagnosis.causes]


def loud(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    return [(finding.rule, finding.evidence[0].text) for finding in diagnosis.findings if finding.severity != "note"]


class Fault:
    """One training script with a switch: `broken` puts the fault in."""

    def __init__(self, log: Path, broken: bool) -> None:
        self.log, self.broken, self.model = log, broken, Net()

    def loop(self, steps: int = 60, lr: float = 1e-2, loss: Any = None, optimizer: Any = None, after: Any = None, **options: Any) -> None:
        optimizer = optimizer or torch.optim.Adam(self.model.parameters(), lr=lr)
        with Probe(self.model, optimizer, every=1, sink=self.log, **options) as probe:
            for step in range(steps):
                optimizer.zero_grad()
                told = (loss or mse)(self.model, batch())
                total, parts = told if isinstance(told, tuple) else (told, None)
                total.backward()
                optimizer.step()
                probe.step(total, losses=parts)
                if after:
                    after(step, probe)


def frozen_parameters(run: Fault) -> None:
    other = Net() if run.broken else run.model
    run.loop(optimizer=torch.optim.Adam(other.parameters(), lr=1e-2))


def lr_zero(run: Fault) -> None:
    run.loop(lr=0.0 if run.broken else 1e-2)


def broken_grad_path(run: Fault) -> None:
    def forward(model: Net, pair: tuple[Tensor, Tensor]) -> Tensor:
        features = model.backbone(pair[0])
        out = model.head(features.detach() if run.broken else features)
        if run.log.read_text().count("GRADPATH") < 1:
            with open(run.log, "a") as file, contextlib.redirect_stdout(file):
                gradient_path(out, model.backbone[0].weight, names=("out", "backbone"))
        return nn.functional.mse_loss(out, pair[1])

    run.loop(loss=forward)


def dead_branch(run: Fault) -> None:
    class Branched(Net):
        def __init__(self) -> None:
            super().__init__()
            self.residual = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (0.0 if run.broken else 1.0) * self.residual(x)

    run.model = Branched()
    run.loop()


def dead_neurons(run: Fault) -> None:
    if run.broken:
        with torch.no_grad():
            run.model.backbone[0].bias[:] = -50.0
    run.loop()


def zero_loss_component(run: Fault) -> None:
    def loss(model: Net, pair: tuple[Tensor, Tensor]) -> Any:
        out = model(pair[0])
        chosen = (pair[1] > (1e6 if run.broken else 0)).float()
        pixel, align = nn.functional.mse_loss(out, pair[1]), (chosen * (out - pair[1]).abs()).mean()
        return pixel + 0.1 * align, {"Pixel": (pixel, 1.0), "Angle align": (align, 0.1)}

    run.loop(loss=loss)


def eval_frozen(run: Fault) -> None:
    evaluated = copy.deepcopy(run.model) if run.broken else run.model
    fixed = torch.randn(16, 8)

    def after(step: int, probe: Probe) -> None:
        if step % 10 == 9:
            probe.validation(model=evaluated)

    run.loop(after=after, probe_batch=fixed)


def cannot_overfit_batch(run: Fault) -> None:
    def loss(model: nn.Module, pair: tuple[Tensor, Tensor]) -> Tensor:
        out = model(pair[0])
        return nn.functional.mse_loss(out.detach() + 0 * out if run.broken else out, pair[1])

    with open(run.log, "a") as file, contextlib.redirect_stdout(file):
        assert overfit_one_batch(run.model, batch(16), loss, lr=2e-2) is not run.broken


def steps_skipped(run: Fault) -> None:
    optimizer = torch.optim.SGD(run.model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    with Probe(run.model, optimizer, every=1, sink=run.log, scaler=scaler) as probe:
        for step in range(80):
            optimizer.zero_grad()
            loss = mse(run.model, batch()) * (float("nan") if run.broken and step % 2 else 1.0)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            probe.step(loss)


def unstable_update_ratio(run: Fault) -> None:
    # The strong decay keeps the weights small, so that every step is large beside them.
    options = {"lr": 0.3, "weight_decay": 2.0} if run.broken else {"lr": 1e-2}
    run.loop(optimizer=torch.optim.AdamW(run.model.parameters(), **options))


def parameter_explosion(run: Fault) -> None:
    run.model.register_parameter("logit_scale", nn.Parameter(torch.ones(())))

    def loss(model: Any, pair: tuple[Tensor, Tensor]) -> Tensor:
        return mse(model, pair) + (-1e-3 * model.logit_scale if run.broken else 1e-3 * (model.logit_scale - 1) ** 2)

    slow = [p for name, p in run.model.named_parameters() if name != "logit_scale"]
    scale = {"params": [run.model.logit_scale], "lr": 3.0 if run.broken else 1e-3}
    run.loop(loss=loss, optimizer=torch.optim.Adam([{"params": slow}, scale], lr=1e-2))


def zero_gradient(run: Fault) -> None:
    def loss(model: Net, pair: tuple[Tensor, Tensor]) -> Tensor:
        told = mse(model, pair)
        return told.detach().requires_grad_() if run.broken else told

    run.loop(loss=loss)


FAULTS = (
    frozen_parameters, lr_zero, broken_grad_path, dead_branch, dead_neurons, zero_loss_component, eval_frozen, cannot_overfit_batch,
    steps_skipped, unstable_update_ratio, parameter_explosion, zero_gradient,
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_named_and_its_twin_is_quiet(fault: Callable[[Fault], None], tmp_path: Path) -> None:
    found = {}
    for broken in (True, False):
        folder = tmp_path / str(broken)
        folder.mkdir()
        torch.manual_seed(0)
        fault(Fault(folder / "train.log", broken))
        found[broken] = examine(folder)
    assert causes(found[True])[:1] == [fault.__name__.replace("_", "-")], loud(found[True])
    assert loud(found[False]) == []


def test_the_wrong_optimizer_moves_nothing(tmp_path: Path) -> None:
    run = Fault(tmp_path / "train.log", True)
    frozen_parameters(run)
    reading = read(run.log)
    assert set(series(reading, "param_delta_max")) == {0.0} and set(series(reading, "param_delta_head")) == {0.0}
    assert "update_ratio/0" not in names(reading) and min(series(reading, "grad_norm")) > 0
    assert {s.key: s.value for s in reading.settings}["in_optimizer"] == 0
