"""The reader of logs: which number of a line is its step or epoch, however the line is spelled, and which numbers are nothing at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from postmortem.frame import NO_STEP, Block
from postmortem.model import Reading
from postmortem.parsers import text
from postmortem.parsers._text_counters import counter, role
from postmortem.parsers._text_rows import block_ids, is_row
from postmortem.parsers._text_source import labelled
from postmortem.parsers.base import HEAD_BYTES, Request, SourceFile

COUNT = 9  # lines that are written in every spelling


@pytest.fixture
def read(tmp_path: Path):
    def reading(content: str) -> Reading:
        path = tmp_path / "train.log"
        path.write_text(content, encoding="utf-8")
        data = path.read_bytes()
        return text.read(SourceFile(path, path.name, len(data), data[:HEAD_BYTES]), Request())

    return reading


def lines(template: str) -> str:
    """The template with growing steps {s}, epochs {e}, batches {b} that start again, values {v}, a digit {d} and a clock {t}."""
    return "".join(
        template.format(s=100 * i, e=1 + i // 4, b=i % 4 * 70 + 1, v=f"{3 / (1 + i) + 0.0123:.4f}", d=i, t=f"10:0{i}:1{i}") + "\n"
        for i in range(1, COUNT + 1)
    )


def names(reading: Reading) -> set[str]:
    return {block.raw_name for block in reading.blocks}


def one(reading: Reading, name: str, split: str | None = "any") -> Block:
    found = [block for block in reading.blocks if block.raw_name == name and split in ("any", block.split)]
    assert len(found) == 1, [(block.raw_name, block.split, len(block.values)) for block in reading.blocks]
    return found[0]


# ---------------------------------------------------------------------- steps and epochs in any spelling

STEP = [
    "foo step={s} loss={v}",
    "foo bar step: {s} loss: {v}",
    "worker-3 step {s} loss {v}",
    "main process step={s}, loss={v}",
    "my.module.train step={s} loss={v}",
    "exp_07 step={s} loss={v}",
    "v1.2.3 step={s} loss={v}",
    "Rank 0: step {s} loss {v}",
    "rank=0 | step {s} | loss {v}",
    "pid=4711 step={s} loss={v}",
    "[pid 4711] step={s} loss={v}",
    "cuda:0 step={s} loss={v}",
    "gpu03 2: step {s} loss {v}",
    "node-07 [4711]: iter {s} loss {v}",
    "192.168.3.17:29500 step={s} loss={v}",
    "input [32, 3, 224, 224] step={s} loss={v}",
    "shape=(32, 3, 224, 224) step {s}: loss {v}",
    "model 7B step={s} loss={v}",
    "trial 3 step={s} loss={v}",
    "seed 42 step={s} loss={v}",
    "DEBUG:pkg.train:foo step={s} loss={v}",
    "INFO:root:step {s} loss {v}",
    "May  4 {t} node12 trainer[4711]: step={s} loss={v}",
    "I0504 {t}.123456 12345 train.py:88] step={s} loss={v}",
    "I0504 {t}.123456 12345 logging_writer.py:48] [{s}] loss={v}",
    "2031-05-04 {t} | INFO     | __main__:train:88 - step {s} | loss {v}",
    "    => 2031-05-04 {t}.5: step {s}, loss = {v}",
    "[{t}] step {s} loss {v}",
    "loss={v} at step={s}",
    "loss={v} step={s}",
    "Validation at step {s}: loss {v}",
    "Update {s}: loss {v}",
    "Iteration {s}, loss = {v}",
    "(step={s:07d}) loss: {v}",
    "step {s} of 100000: loss {v}",
    "Step {s}/100000 | loss {v}",
    "step:{s}/100000 loss:{v}",
    "[it {s}] loss {v}",
    "<iter {s}> loss {v}",
    "--- step {s} --- loss {v}",
    ">>> step {s}: loss={v}",
    "num_updates {s} | loss {v}",
    "training_step {s} loss {v}",
    "trainer/global_step: {s} | loss: {v}",
    "time/total_timesteps: {s} | loss: {v}",
    "optimizer_step: {s} loss: {v}",
    "gradient step {s} loss {v}",
    "current_iteration: {s} loss: {v}",
    "env_steps: {s} loss: {v}",
    "Learning iteration {s}/5000 loss: {v}",
    "{{'loss': {v}, 'step': {s}}}",
    "STEP={s} loss={v}",
]


@pytest.mark.parametrize("template", STEP)
def test_the_step_of_any_spelling(read, template: str) -> None:
    reading = read(lines(template))
    assert names(reading) == {"loss"}
    loss = one(reading, "loss")
    assert loss.steps is not None and loss.steps.tolist() == [100 * i for i in range(1, COUNT + 1)]
    assert loss.epochs is None


EPOCH = [
    ("e{e} s{s} loss {v}", True),
    ("epoch{e} step_{s}: loss {v}", True),
    ("epoch-{e} step-{s} loss {v}", None),
    ("Epoch[{e}] Batch [{b}/300] loss={v}", False),
    ("[Epoch {e}][Batch {b}] loss={v}", False),
    ("[{e}/200][{b}/300] loss: {v}", False),
    ("[{e}, {b:5d}] loss: {v}", False),
    ("Epoch #{e}: step {s}, loss={v}", True),
    ("epoch: {e} - step: {s} - loss: {v}", True),
    ("epoch={e};step={s};loss={v}", True),
    ("train | epoch {e} | loss {v}", False),
    ("Fold 3 | Epoch {e} | loss: {v}", False),
    ("fold=3 epoch={e} loss={v}", False),
    ("resnet50 epoch {e} loss {v}", False),
    ("Finished epoch {e} in 123.4s loss {v}", False),
    ("iters: {b}, epoch: {e} | loss: {v}", False),
]


@pytest.mark.parametrize(("template", "stepped"), EPOCH)
def test_the_epoch_of_any_spelling(read, template: str, stepped: bool | None) -> None:
    """`stepped`: the line has a step of the run; False: only one that starts again; None: the epoch, too, is not to be had."""
    reading = read(lines(template))
    assert names(reading) == {"loss"}
    loss = one(reading, "loss")
    assert (loss.epochs is None) == (stepped is None)
    if loss.epochs is not None:
        assert loss.epochs.tolist() == [1 + i // 4 for i in range(1, COUNT + 1)]
    assert (loss.steps is not None) == bool(stepped)


@pytest.mark.parametrize(
    "noise",
    [
        "pid {s} started on port 2950{d}", "listening on 10.0.0.{d}:29500", "torch 2.1.{d}+cu118 python 3.10.{d}",
        "Using GPU {d}: NVIDIA A100-SXM4-80GB", "input shape [{d}, 3, 224, 224]", "loaded {s} samples from /data/part-0000{d}.bin",
        "Saving checkpoint to /out/ckpt-{s}.pt", "checkpoint /out/epoch={d}-step={s}.ckpt", "world size {d}, rank {d}",
        "downloaded {s} of 2950{d} bytes", "Found {s} images in {d} classes", "next mAP calculation at {s} iterations",
        "Conv2d(3, {s}, kernel_size=({d}, {d}), stride=(1, 1))", "vocab size: {s}, merges: 2950{d}", "max_steps={s}",
        "resuming from step {s}", "best step {s} so far", "warmup steps: {s}", "time per step: 0.{d}",
    ],
)  # fmt: skip
def test_numbers_that_count_nothing_of_the_training(read, noise: str) -> None:
    assert names(read(lines(noise))) <= {"time per step"}
    reading = read("".join(one_line + f"\nstep {i} loss {3 / i}\n" for i, one_line in enumerate(lines(noise).splitlines(), 1)))
    assert names(reading) <= {"loss", "time per step"}
    loss = one(reading, "loss")
    assert loss.steps is not None and loss.steps.tolist() == list(range(1, COUNT + 1))


def test_what_a_name_counts() -> None:
    assert role("Global_Step") == role("trainer/global_step") == role("TotalEnvSteps") == "step"
    assert role("cur_epoch") == role("train epoch") == "epoch"
    assert role("time/step") == role("step_time") == role("loss_step") == role("steps per epoch") == ""
    for name in ("warmup step", "max epoch", "total step", "time per step", "resumed from step", "lr schedule step", "test_iter"):
        assert counter(name) is None, name
    val = counter("validation at step")
    assert val is not None and (val.kind, val.split, val.loose) == ("step", "val", False)
    saved = counter("saved the model at step")
    assert saved is not None and saved.loose


def test_a_counter_behind_other_words_is_no_heading(read) -> None:
    reading = read("step 10 loss 0.5\nSaving the model at step 7\nacc: 0.9\nEvaluating at step 20:\nacc: 0.8\n")
    acc = [(block.split, None if block.steps is None else block.steps.tolist(), block.values.tolist()) for block in reading.blocks[1:]]
    assert acc == [(None, [10], [0.9]), ("val", [20], [0.8])]


def test_an_epoch_in_a_heading_is_counted_once(read) -> None:
    reading = read("".join(f"Epoch {e} ({e}/40):\nLearning rate: 0.00{e}\nTrain accuracy is: 0.8{e}\n" for e in range(1, 5)))
    accuracy = one(reading, "Train accuracy")
    assert accuracy.epochs is not None and accuracy.epochs.tolist() == [1, 2, 3, 4] and accuracy.steps is None


def test_the_same_step_in_every_epoch_is_the_length_of_an_epoch(read) -> None:
    reading = read("".join(f"Epoch: {e}, Steps: 265 | Train Loss: 0.{9 - e}1 Vali Loss: 0.{9 - e}2\n" for e in range(1, 6)))
    assert one(reading, "Train Loss").steps is None
    assert one(reading, "Vali Loss").epochs.tolist() == [1, 2, 3, 4, 5]  # type: ignore[union-attr]


def test_numbers_at_the_beginning_that_only_grow_are_no_ranks(read) -> None:
    assert labelled("".join(f"{r}: step {i}\n" for i in range(9) for r in (0, 1)))
    assert labelled("".join(f"0: step {i}\n" for i in range(12)))
    assert not labelled("".join(f"{i}: loss={i}\n" for i in range(12)))
    assert [block.rank for block in read(lines("{s}: loss={v}")).blocks] == [None]


# ---------------------------------------------------------------------- blocks of rows


def test_a_row_with_a_counter_speaks_for_its_block(read) -> None:
    block = "Result for trial:\n  reward_mean: {r}\n  info:\n    learner:\n      total_loss: {v}\n  timesteps_total: {s}\n  training_iteration: {i}\n\n"
    reading = read("".join(block.format(r=i + 0.5, v=4 / i, s=4000 * i, i=i) for i in range(1, 6)))
    for name in ("reward_mean", "total_loss"):
        assert one(reading, name).steps.tolist() == [4000, 8000, 12000, 16000, 20000]  # type: ignore[union-attr]


def test_the_last_row_between_rules_speaks_for_those_above(read) -> None:
    block = "------------  ------\nQF1 Loss      {v}\nReturn Mean   {r}\nEpoch         {i}\n------------  ------\n"
    reading = read("".join(block.format(v=4 / i, r=i + 0.5, i=i) for i in range(1, 6)))
    assert one(reading, "QF1 Loss").epochs.tolist() == [1, 2, 3, 4, 5]  # type: ignore[union-attr]


def test_a_counter_that_a_block_says_twice_speaks_for_what_follows(read) -> None:
    reading = read("".join(f"  step: {i}\n  loss: {3 / i}\n" for i in range(1, 6)))
    assert one(reading, "loss").steps.tolist() == [1, 2, 3, 4, 5]  # type: ignore[union-attr]


def test_blocks_and_rows() -> None:
    assert block_ids([b"a", b"  b", b"  c", b"", b"  d", b"---", b"e", b"f", b"===", b"g", b"", b"h"]).tolist() == [
        -1, 0, 0, -1, 1, -1, 2, 2, -1, 3, -1, -1,
    ]  # fmt: skip
    assert (block_ids([b"  x"] * 500) == -1).all()
    assert is_row("  timesteps_total: 4000") and is_row("Epoch    7") and is_row("TotalEnvSteps   2,048")
    assert not is_row("Epoch 7") and not is_row("step: 4 loss: 3") and not is_row("[step=4]")


def test_a_block_is_not_cut_where_a_chunk_ends(read, monkeypatch: pytest.MonkeyPatch) -> None:
    from postmortem.parsers import _text_source

    block = "".join(
        f"Result:\n  reward_mean: {i}.5\n  timesteps_total: {100 * i}\n\n-----\nQF Loss   {i}.25\nEpoch   {i}\n-----\n" for i in range(60)
    )
    whole = [(b.raw_name, b.steps, b.epochs) for b in read(block).blocks]
    for size in (64, 333, 1000):
        monkeypatch.setattr(_text_source, "CHUNK", size)
        for (name, steps, epochs), found in zip(whole, read(block).blocks, strict=True):
            assert name == found.raw_name
            assert np.array_equal(NO_STEP if steps is None else steps, NO_STEP if found.steps is None else found.steps)
            assert epochs is None or np.array_equal(epochs, found.epochs, equal_nan=True)


# ---------------------------------------------------------------------- splits and names


def test_a_name_said_again_belongs_to_the_name_before_it(read) -> None:
    reading = read("".join(f"Epoch {e} Train Loss: 0.{e}1 Acc: 0.{e}2 | Val Loss: 0.{e}3 Acc: 0.{e}4\n" for e in range(1, 5)))
    assert one(reading, "Acc", "train").values.tolist() == [0.12, 0.22, 0.32, 0.42]
    assert one(reading, "Acc", "val").values.tolist() == [0.14, 0.24, 0.34, 0.44]


def test_how_many_samples_a_split_has_is_no_metric(read) -> None:
    reading = read("".join(f"Epoch {e}: Train [12632 samples] Loss 0.{e}, Acc 9{e}.5%\n" for e in range(1, 5)))
    assert names(reading) == {"Loss", "Acc"} and {block.split for block in reading.blocks} == {"train"}


def test_early_stopping_says_what_the_loss_was_before(read) -> None:
    epoch = "Epoch: {e} | Train Loss: 0.{v}1\nValidation loss decreased ({was} --> 0.{v}2).  Saving model ...\n"
    reading = read("".join(epoch.format(e=e, v=9 - e, was="inf" if e == 1 else f"0.{10 - e}2") for e in range(1, 6)))
    assert names(reading) == {"Train Loss"}


def test_a_section_may_name_its_data(read) -> None:
    reading = read(
        "".join(
            f"step {s} loss 0.{s}\n=> Evaluating on validation dataset...\n==> accuracy = 0.0{s}, best accuracy 0.09\n" for s in (1, 2, 3)
        )
    )
    assert one(reading, "accuracy", "val").steps.tolist() == [1, 2, 3]  # type: ignore[union-attr]


def test_stars_and_marks_are_no_part_of_a_name(read) -> None:
    reading = read(
        "".join(
            f"Epoch {e} | Val Loss: 0.{e}\n  *** NEW BEST *** Val Loss: 0.{e} (epoch {e})\nYay! New best dice: 0.{e}\n" for e in (1, 2, 3)
        )
    )
    assert names(reading) == {"Val Loss", "New best dice"}
