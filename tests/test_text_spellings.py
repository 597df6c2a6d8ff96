"""The reader of logs: numbers, names and counters in less common spellings, and lines that only look as if they had some."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from log_readings import names, one, reading, steps

from postmortem.parsers._text_tail import told_at_the_end


@pytest.fixture
def read(tmp_path: Path):
    return functools.partial(reading, tmp_path)


def rows(template: str, count: int = 6) -> str:
    """The template with a number {i} that grows and a value {v} that falls."""
    return "".join(template.format(i=i, v=f"{2.5 / i + 0.0123:.4f}") + "\n" for i in range(1, count + 1))


# ---------------------------------------------------------------------- numbers


def test_a_nan_that_is_padded_with_letters(read) -> None:
    found = read(rows("epoch: [1/90], global_step: {i}0, lr: 0.001, loss: nanxxx, CTCLoss: infxxx, acc: {v}"))
    assert np.isnan(one(found, "loss").values).all() and steps(one(found, "loss")) == [10, 20, 30, 40, 50, 60]
    assert np.isposinf(one(found, "CTCLoss").values).all()


def test_a_nan_before_a_name_of_several_words(read) -> None:
    found = read("steps: 1 loss: 0.75 iter time (s): 3.25\n" + "steps: 2 loss: nan iter time (s): 3.5\n" * 2)
    assert names(found) == {"loss", "iter time (s)"}
    assert np.isnan(one(found, "loss").values[1:]).all()
    assert names(read("Warning: nan found in some of the gradients\n" * 7)) == set()
    assert names(read(rows("step {i} loss {v} | number of nan iterations: 0"))) == {"loss", "number of nan iterations"}


def test_counters_with_blanks_around_their_total(read) -> None:
    found = read(
        "".join(f"| [   {1 + i // 4}/   3][ {100 * i:5d}/  1000] |  {i}9/1932 batches | train_loss {2.5 / i:.4e}\n" for i in range(1, 8))
    )
    assert steps(one(found, "train_loss")) == [100 * i for i in range(1, 8)]
    assert one(found, "train_loss").epochs.tolist() == [1, 1, 1, 2, 2, 2, 2]  # type: ignore[union-attr]


# ---------------------------------------------------------------------- counters


@pytest.mark.parametrize(
    ("template", "name", "by"),
    [
        ("Loss after epoch {i}: {v}", "Loss", "epochs"),
        ("Train loss epoch {i}: {v}", "Train loss", "epochs"),
        ("Loss at iteration {i} : {v}", "Loss", "steps"),
        ("Validation loss at step {i}: {v}", "Validation loss", "steps"),
        ("2031-05-04 10:00:01,120 INFO:Epoch {i}: Loss={v}", "Loss", "epochs"),
        ("Epochs {i}/9. Running Loss: {v}", "Running Loss", "epochs"),
        ("Game number: 77  Frame number: 00{i}  Loss: {v}", "Loss", "steps"),
        ("Época {i}/9 - Loss: {v}", "Loss", "epochs"),
        ("Iteración {i} | Loss: {v}", "Loss", "steps"),
        ("step,{i},Loss,{v},lr,0.001", "Loss", "steps"),
        ("2031-05-04 10:00:01 | INFO     | net.core.trainer:270 - iter: {i}/3696, Loss: {v}", "Loss", "steps"),
        ("[info]  [2031-05-04T10:00:01Z] 1a2b3c4d || step {i} Loss: {v}", "Loss", "steps"),
        ("Communication round {i}, Loss {v}, early stopping round: 50", "Loss", "steps"),
        ("Loss at epoch [{i}/9]: {v}", "Loss", "epochs"),
        ("Epoch number {i}, Loss {v}", "Loss", "epochs"),
        ("Steps executed: {i} Episode length: 20 Loss: {v}", "Loss", "steps"),
        ("[Learner] Loss = {v} | Learner Steps = {i} | Learner Walltime = 12.1", "Loss", "steps"),
        ("total_steps: {i}, Loss: {v}", "Loss", "steps"),
        ("[{i}] Loss: {v}", "Loss", "steps"),
        ("[00{i}] Loss: {v}; g: 0.5", "Loss", "steps"),
        ("  {i} | Loss = {v} | mae = 1.5", "Loss", "steps"),
        ("{i}: Loss={v}", "Loss", "steps"),
        ("processed 'day' subset  {i} / 1311 Loss={v}", "Loss", "steps"),
    ],
)
def test_counters(read, template: str, name: str, by: str) -> None:
    found = one(read(rows(template)), name)
    assert getattr(found, by).tolist() == [1, 2, 3, 4, 5, 6]
    assert getattr(found, "steps" if by == "epochs" else "epochs") is None


def test_what_a_container_prints_has_a_time(read) -> None:
    found = one(
        read(
            "<>        [2031-12-07 10:43:01] 087c0ee7 || step: 1 loss: 0.5\n<info>    [2031-12-07 10:43:02] 087c0ee7 || step: 2 loss: 0.4\n"
        ),
        "loss",
    )
    assert found.times is not None and np.diff(found.times).tolist() == [1_000_000]


@pytest.mark.parametrize(
    "template", ["[4711] loss: {v}", "total_steps: 9000, loss: {v}", "[1700000000] loss: {v}", "7 | loss = {v}", "correct 95/100 loss={v}"]
)
def test_a_number_that_does_not_grow_is_no_step(read, template: str) -> None:
    found = one(read(rows(template)), "loss")
    assert found.steps is None and found.epochs is None and len(found.values) == 6


def test_a_number_that_starts_again_is_no_step(read) -> None:
    found = read("".join(f"Epoch {e}\n" + "".join(f"  {c} | acc = 0.{e}{c}\n" for c in range(3)) for e in range(1, 5)))
    assert one(found, "acc").steps is None
    assert one(found, "acc").epochs.tolist() == [e for e in range(1, 5) for _ in range(3)]  # type: ignore[union-attr]


def test_a_heading_above_rows_with_numbers_speaks_for_what_follows_them(read) -> None:
    found = read("".join(f"Step {s}:\n[{s}1] a_loss: 0.{s}\nb_loss: 0.{s}5\n" for s in range(1, 5)))
    assert steps(one(found, "b_loss")) == [1, 2, 3, 4]


def test_how_many_there_are_is_a_part_of_the_name(read) -> None:
    found = read("".join(f"Step {i} | avg reward over 100 episodes: {i}.5\n" for i in range(1, 5)))
    assert steps(one(found, "avg reward over 100 episodes")) == [1, 2, 3, 4]


# ---------------------------------------------------------------------- what is told, and what is not


def test_a_log_of_one_epoch_is_no_list_of_settings(read) -> None:
    block = "epoch:  41\n2031-05-04 10:00:01.5: train loss : -0.8374\n2031-05-04 10:00:09.5: validation loss: -0.7419\n2031-05-04 10:00:09.6: lr: 0.0031\n"
    found = read(block)
    assert one(found, "train loss").epochs.tolist() == [41]  # type: ignore[union-attr]
    assert one(found, "validation loss").values.tolist() == [-0.7419]
    settings = read("epoch: 40\ncls_loss: 0.5\nbox_loss: 2.0\nlr: 0.01\n")
    assert names(settings) == set() and {setting.key for setting in settings.settings} == {"cls_loss", "box_loss", "lr"}


def test_a_line_of_a_known_trainer_is_no_setting(read) -> None:
    assert names(read("{'loss': 1.2011, 'learning_rate': 4.11e-05, 'epoch': 0.61}\n")) == {"loss", "learning_rate"}


def test_a_rate_below_two_headings(read) -> None:
    assert one(read("epoch: 1\nlr: 0.01\nepoch: 2\nlr: 0.001\n"), "lr").values.tolist() == [0.01, 0.001]


@pytest.mark.parametrize(
    "noise",
    [
        "THCudaCheck FAIL file=/src/THCGeneral.cpp line=74 error=35 : driver version",
        "[LightGBM] [Info] Start training from score 0.66874",
        "Year 2015, Part 3",
    ],
)
def test_numbers_that_tell_nothing(read, noise: str) -> None:
    assert names(read("".join(f"step {i} loss 0.{i}\n{noise}\n" for i in range(1, 8)))) == {"loss"}
    assert names(read("".join(f"step {i} loss 0.{i} {noise}\n" for i in range(1, 8) if "Year" in noise))) <= {"loss"}


def test_a_printed_tensor_is_no_code(read) -> None:
    found = read("".join(f"step: {i}\nloss = tensor(0.{i}, device='cuda:0', grad_fn=<NllLossBackward0>)\n" for i in range(1, 5)))
    assert steps(one(found, "loss")) == [1, 2, 3, 4]
    assert names(read("loss = tensor(config, 3)\n" * 5)) == set()


def test_precision_lines_of_coco_take_the_epoch_above_them(read) -> None:
    line = " Average Precision  (AP) @[ IoU=0.50:0.95 | area= {a} | maxDets=100 ] = {v}\n"
    found = read(
        "".join(
            f"Epoch: [{e}] Total time: 0:01:02\n" + line.format(a="  all", v=f"0.{e}52") + line.format(a="small", v="-1.000")
            for e in range(1, 4)
        )
    )
    assert names(found) == {"AP@0.50:0.95", "Total time"}
    assert one(found, "AP@0.50:0.95").epochs.tolist() == [1, 2, 3]  # type: ignore[union-attr]


def test_a_score_without_any_sign_between_name_and_number(read) -> None:
    found = read(rows("Epoch {i}, loss = {v}") + "RMSE 30.9601, MAPE 0.3924\n")
    assert one(found, "RMSE").values.tolist() == [30.9601]


# ---------------------------------------------------------------------- tables and bars


def test_tables_drawn_in_box_characters(read) -> None:
    head = "┏━━━━━━━┳━━━━━━━━━━━━┓\n┃ Epoch ┃ Train Loss ┃\n┡━━━━━━━╇━━━━━━━━━━━━┩\n"
    for bar in ("│", "┃"):
        found = read(head + rows(f"{bar} {{i}}     {bar} {{v}}     {bar}") + "└───────┴────────────┘\n")
        assert one(found, "Train Loss").epochs.tolist() == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]
    narrow = read("│ epoch │ loss │\n" + rows("│ {i} │ {v} │"))
    assert one(narrow, "loss").epochs.tolist() == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]
    ascii_table = read(
        "+-------+------------+\n|   Epoch | Train Loss |\n+-------+------------+\n"
        + rows("|   {i}   |   {v}   |")
        + "+-------+------------+\n"
    )
    assert one(ascii_table, "Train Loss").epochs.tolist() == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]


def test_rows_of_nothing_but_nan(read) -> None:
    head = "epoch     train_loss  valid_loss  _rmse     mae       time    \n"
    found = read(head + "".join(f"\r{i}         nan         nan         nan       nan       00:00     \n" for i in range(4)))
    assert names(found) == {"train_loss", "valid_loss", "_rmse", "mae"}
    assert one(found, "valid_loss").epochs.tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]


def test_bars_that_are_drawn_as_a_line(read) -> None:
    row = "\r        {e}/9         1.5G      {v}      5.041      4.345          8         96: {p}% {bar} {i}/4 {speed}"
    lines = []
    for e in range(1, 4):
        lines.append("      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size\n")
        for i in range(5):
            speed = "0.3s" if i == 0 else f"1.{i}it/s 0.5s<1.8s"
            lines.append(row.format(e=e, v=f"{6.5 / (e + i / 4):.3f}", p=25 * i, bar="━━━" * i + "───" * (4 - i), i=i, speed=speed))
        lines.append(
            "\n\r      Class     Images  Instances      Box(P          R      mAP50  mAP50-95): 100% ━━━━━━━━━━━━ 1/1 1.5Kit/s 0.1s\n"
        )
        lines.append(f"        all          8          8      0.{e}11      0.{e}22      0.{e}33      0.{e}44\n")
    found = read("".join(lines))
    assert one(found, "mAP50-95").values.tolist() == [0.144, 0.244, 0.344]
    assert one(found, "mAP50-95").split == "val"
    box = one(found, "box_loss")
    assert len(box.values) == 15 and box.epochs.tolist() == [e for e in range(1, 4) for _ in range(5)]  # type: ignore[union-attr]
    assert "Kit/s" not in names(found)


def test_a_bar_drawn_as_a_line_may_be_open_at_the_end() -> None:
    bar = "  3/9   1.5G   6.875   96: 25% ━━━───────── 1/4 1.6it/s 0.5s<1.8s"
    assert [event.data["what"] for event in told_at_the_end(bar, "a.log", 1)[0]] == ["open-bar"]
    assert not told_at_the_end(bar.replace("1/4", "4/4"), "a.log", 1)[0]


# ---------------------------------------------------------------------- several numbers behind one name, durations


def test_two_numbers_behind_one_name_are_told_apart_by_a_legend(read) -> None:
    found = read(rows("Epoch {i}: train loss/acc: 0.{i}1/0.{i}2, val loss/acc: 0.{i}3/0.{i}4"))
    assert one(found, "train acc").values.tolist() == [0.12, 0.22, 0.32, 0.42, 0.52, 0.62]
    assert one(found, "val loss").values.tolist() == [0.13, 0.23, 0.33, 0.43, 0.53, 0.63]
    assert names(read(rows("Epoch {i} train 0.{i}1/0.{i}2 val 0.{i}3/0.{i}4 (loss/acc)"))) == {
        "train loss",
        "train acc",
        "val loss",
        "val acc",
    }
    assert names(read(rows("Epoch {i} train 0.{i}1/0.{i}2"))) == set()  # nobody says which is which
    assert names(read(rows("Last 10 training episodes: mean/median reward 2{i}.5/1{i}.0"))) == {"mean reward", "median reward"}


def test_a_duration_is_no_million(read) -> None:
    found = read(rows("tick {i}     kimg 4.{i}      time 1{i}m 16s      sec/tick 7{i}.1    sec/kimg 1{i}.35   time left 5{i}m"))
    assert one(found, "sec/tick").values.tolist() == [71.1, 72.1, 73.1, 74.1, 75.1, 76.1]
    assert not {name for name in names(found) if "time" in name}
    spelled = "epoch {i} loss={v}, time passed: 3 hours, 11 minutes, 1{i} seconds, left=3 minutes and 2.5 seconds"
    assert names(read(rows(spelled))) == {"loss"}


# ---------------------------------------------------------------------- counters


@pytest.mark.parametrize(
    "template",
    [
        "Ep.{i}/20 loss {v}",
        "E:{i} loss {v}",
        "E: {i}, B: 20, loss: {v}",
        "train: [{i}][10/400] loss {v}",
        "[train: {i}, 10 / 400] loss: {v}",
    ],
)
def test_short_epochs(read, template: str) -> None:
    assert one(read(rows(template)), "loss").epochs.tolist() == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "template",
    [
        "t={i} loss={v}",
        "#Iter=  {i}\tloss={v}",
        "Training average loss at step {i}: {v}",
        "Score at iteration {i} is {v}",
        "[{i}] return 2.5 / loss {v}",
    ],
)
def test_counters_in_rare_places(read, template: str) -> None:
    found = read(rows(template))
    known = next(block for block in found.blocks if block.raw_name in ("loss", "Training average loss", "Score"))
    assert steps(known) == [1, 2, 3, 4, 5, 6] and known.values[0] == 2.5123


def test_hits_and_durations_count_no_steps(read) -> None:
    found = read(rows("Train Epoch: {i} | Loss: {v} | Acc: 9{i}.2% (91{i}/1000)"))
    assert one(found, "Acc").steps is None and one(found, "Loss").epochs is not None
    bar = read(rows(" [=====>...]  Step: 12ms | Tot: 5s123ms | Loss: {v} | Acc: 45.3% (58{i}/1280) {i}/391"))
    assert steps(one(bar, "Loss")) == [1, 2, 3, 4, 5, 6]
    assert one(read(rows("[E {i}/10] [B 10/100] [D loss: {v}]")), "D loss").epochs.tolist() == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]
    assert steps(one(read(rows("{i}00 [D loss: {v}, acc.: 81.25%]")), "D loss")) == [100, 200, 300, 400, 500, 600]


def test_total_steps_of_a_line_with_an_epoch(read) -> None:
    found = read(rows("epoch 0, total_step 24{i}50, total loss is {v} , reg_loss is 0.08, time 229.386 samples/sec"))
    assert steps(one(found, "total loss")) == [24150, 24250, 24350, 24450, 24550, 24650]


def test_a_letter_that_does_not_grow_counts_nothing(read) -> None:
    assert one(read(rows("t=3 loss={v} acc=0.{i}1")), "loss").steps is None


def test_a_rule_with_a_step_opens_a_block(read) -> None:
    """DreamerV3 on a terminal: pairs between slashes below a drawn rule."""
    block = "\u2500\u2500\u2500\u2500 Step {i}00 \u2500\u2500\u2500\u2500\nepisode/score {v} / train/model_loss 1.2e3 /\nfps/policy 57.1\n"
    assert steps(one(read(rows(block)), "episode/score")) == [100, 200, 300, 400, 500, 600]


# ---------------------------------------------------------------------- splits


def test_a_split_that_opens_a_line_holds_for_its_scores(read) -> None:
    """The phases of PyTorch's transfer learning tutorial."""
    found = read(rows("Epoch {i}/24\n----------\ntrain Loss: {v} Acc: 0.{i}1\nval Loss: {v} Acc: 0.{i}2"))
    assert one(found, "Acc", "train").values.tolist() == [0.11, 0.21, 0.31, 0.41, 0.51, 0.61]
    assert one(found, "Acc", "val").values.tolist() == [0.12, 0.22, 0.32, 0.42, 0.52, 0.62]


def test_a_split_alone_stands_for_the_metric_before_it(read) -> None:
    found = read(rows("=== EPOCH {i}/10 ===\nloss train: {v}  eval: 0.{i}2\nacc train: 0.{i}3  eval: 0.{i}4"))
    assert one(found, "loss", "val").values.tolist() == [0.12, 0.22, 0.32, 0.42, 0.52, 0.62]
    assert one(found, "acc", "val").values.tolist() == [0.14, 0.24, 0.34, 0.44, 0.54, 0.64]


def test_a_split_in_the_name_of_a_run_is_none(read) -> None:
    assert one(read(rows("cpu_test: Walker: Step: {i}00. Mean Reward: {v}")), "Mean Reward").split is None
    assert one(read(rows("Testing at - {i}0/100 of epoch 0, loss {v}")), "loss").split == "test"
    assert one(read(rows("Train Metrics (step {i}) - CTC Loss: {v}")), "CTC Loss").split == "train"


def test_a_place_in_code_is_no_number(read) -> None:
    assert names(read(rows("(ignite.engine.Trainer:272) - Epoch: 1/5, Iter: {i}/9 -- train_loss: {v}"))) == {"train_loss"}


def test_speeds_name_themselves(read) -> None:
    assert names(read(rows("step={i} loss={v} gnorm=1.2{i} tok/s=1{i}.3k"))) == {"loss", "gnorm", "tok/s"}
    found = read(rows("Step {i}       [1{i}.5 sec/step, loss={v}]"))
    assert one(found, "sec/step").values.tolist() == [11.5, 12.5, 13.5, 14.5, 15.5, 16.5]
    assert names(read(rows("step {i} - 10{i}.33 sent/s - 2380{i}.34 words/s - loss: {v}"))) == {"sent/s", "words/s", "loss"}


def test_counters_that_are_said_to_be_done(read) -> None:
    """wav2letter counts `nupdates`, DeepPavlov `batches_seen` and `epochs_done`."""
    assert steps(one(read(rows("epoch: 1 | nupdates: {i}00 | lr: 0.01 | loss: {v}")), "loss")) == [100, 200, 300, 400, 500, 600]
    found = read(rows('{{"train": {{"epochs_done": {i}, "batches_seen": {i}0, "loss": {v}}}}}'))
    assert steps(one(found, "loss")) == [10, 20, 30, 40, 50, 60] and one(found, "loss").epochs.tolist() == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]
