"""Names of metrics: real spellings mean what people mean by them, look-alikes do not."""

from __future__ import annotations

import pytest

from postmortem.vocabulary import data, lookup

SPELLINGS = {
    "loss": ("loss", None, "down"),
    "train_loss_epoch": ("loss", "train", "down"),
    "train/loss": ("loss", "train", "down"),
    "training loss": ("loss", "train", "down"),
    "TrainIterStats/loss": ("loss", "train", "down"),
    "val_loss": ("loss", "val", "down"),
    "eval_loss": ("loss", "val", "down"),
    "validation_loss": ("loss", "val", "down"),
    "EvalStats/avg_loss": ("loss", "val", "down"),
    "test_loss": ("loss", "test", "down"),
    "train/learning_rate": ("lr", None, None),
    "lr-AdamW/pg1": ("lr", None, None),
    "info/learner/cur_lr": ("lr", None, None),
    "Policy/Learning Rate": ("lr", None, None),
    "gnorm": ("grad_norm", None, None),
    "info/learner/grad_gnorm": ("grad_norm", None, None),
    "train/data_time": ("data_time", "train", None),
    "time/fps": ("throughput", None, "up"),
    "info/sample_throughput": ("throughput", None, "up"),
    "utilization.gpu [%]": ("gpu_util", None, None),
    "Acc@1": ("accuracy", None, "up"),
    "episode_reward_mean": ("reward", None, "up"),
}
LOOK_ALIKES = {
    "train/value_loss": "loss",
    "grad_norm_clip": "grad_norm",
    "config/lr": "lr",
    "loss_scale": "loss",
    "layer_norm": "grad_norm",
    "accumulation_steps": "accuracy",
    "box_loss": "loss",
}


@pytest.mark.parametrize("raw", SPELLINGS)
def test_spellings(raw: str) -> None:
    word = lookup(raw)
    assert (word.metric, word.split, word.direction) == SPELLINGS[raw]


@pytest.mark.parametrize("raw", LOOK_ALIKES)
def test_look_alikes(raw: str) -> None:
    assert lookup(raw).metric != LOOK_ALIKES[raw]


def test_near_misses_of_the_data() -> None:
    for entry in data()["metric"]:
        for name in entry.get("near_misses", []):
            assert lookup(name).metric != entry["name"], name


def test_every_entry_is_reached_by_its_own_names() -> None:
    for entry in data()["metric"]:
        if entry["name"] != "@":
            for name in [entry["name"], *entry.get("names", [])]:
                assert lookup(name).metric == entry["name"], f"{name} is taken by {lookup(name).metric}"


def test_scores_of_ultralytics_are_those_of_its_validation() -> None:
    """Its names say no split; the brackets are the head: boxes, masks, poses."""
    for name, metric in {"metrics/mAP50(B)": "map", "metrics/precision(M)": "precision", "metrics/recall(P)": "recall"}.items():
        assert (lookup(name).metric, lookup(name).split) == (metric, "val")
    assert lookup("metrics/mAP_0.5", file="runs/train/exp3/results.csv").split == "val"
    assert lookup("metrics/train/precision").split == "train"
    assert lookup("metrics/loss").split is None


def test_the_folder_says_the_split_when_the_name_does_not() -> None:
    assert lookup("epoch_loss", None, "validation/events.out.tfevents.1").split == "val"
    assert lookup("epoch_loss", None, "train/events.out.tfevents.1").split == "train"
    assert lookup("train_loss", None, "validation/x").split == "train"


def test_the_word_learn_says_a_split_of_places_only() -> None:
    assert lookup("Logloss", None, "catboost_info/learn/events.out.tfevents.1").split == "train"
    assert lookup("learn_time_ms").split is None and lookup("learn_throughput").metric == "learn_throughput"


def test_the_name_of_a_run_before_that_of_a_metric() -> None:
    """As in a table that wandb's page gives for download."""
    word = lookup("llama-7b - train/loss")
    assert (word.metric, word.split, word.direction) == ("loss", "train", "down")
    assert lookup("loss - scaled by two").metric == lookup("loss_scaled_by_two").metric


@pytest.mark.parametrize("name", ["lr-AdamW", "lr-SGD/pg1", "lr-DecoupledSGDW/group0"])
def test_learning_rates_of_parameter_groups(name: str) -> None:
    assert lookup(name).metric == "lr"


def test_the_parser_knows_best() -> None:
    assert lookup("loss", "val").split == "val"


def test_value_is_not_val() -> None:
    assert lookup("train/value_loss").split == "train"
    assert lookup("value_loss").split is None


def test_unknown_names_stay_as_they_are() -> None:
    word = lookup("completions/mean_length")
    assert (word.metric, word.direction, word.kind) == ("completions/mean_length", None, "")


@pytest.mark.parametrize(
    ("name", "kind", "split"),
    [
        ("Vali Loss", "loss", "val"),
        ("CROSSVAL AVG.LOSS", "loss", "val"),
        ("validloss", "loss", "val"),
        ("trainloss", "loss", "train"),
        ("testloss", "loss", "test"),
        ("valid_en_mlm_ppl", "loss", "val"),
        ("average episode rewards", "score", None),
        ("fid50k_full", "score", None),
        ("TrainDeviance", "score", "train"),
        ("sec/kimg", "time", None),
        ("gpumem", "memory", None),
        ("SPS", "speed", None),
    ],
)
def test_names_of_rarer_trainers(name: str, kind: str, split: str | None) -> None:
    word = lookup(name)
    assert (word.kind, word.split) == (kind, split)
