"""Settings files: values, lines, and hostile YAML that must neither run nor explode."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from postmortem.model import Reading
from postmortem.parsers import _safe_yaml, configs
from postmortem.parsers.base import HEAD_BYTES, NO, Request, SourceFile


def source(folder: Path, name: str, content: str | bytes) -> SourceFile:
    data = content.encode() if isinstance(content, str) else content
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return SourceFile(path, name, len(data), data[:HEAD_BYTES])


@pytest.fixture
def read(tmp_path):
    def _read(name: str, content: str | bytes) -> Reading:
        file = source(tmp_path, name, content)
        assert configs.claims(file) > NO
        return configs.read(file, Request())

    return _read


def values(reading: Reading) -> dict[str, object]:
    return {setting.key: setting.value for setting in reading.settings}


def lines(reading: Reading) -> dict[str, int | None]:
    return {setting.key: setting.origin.line for setting in reading.settings}


def test_yaml_keys_are_joined_and_know_their_line(read):
    reading = read(
        "hparams.yaml", "model:\n  name: tiny\n  layers:\n  - 3\n  - 4\nopt: {lr: 1e-4, betas: [0.9, 0.99]}\nstages:\n- n: 1\n- n: 2\n"
    )
    assert values(reading) == {
        "model.name": "tiny",
        "model.layers": [3, 4],
        "opt.lr": 1e-4,
        "opt.betas": [0.9, 0.99],
        "stages.0.n": 1,
        "stages.1.n": 2,
    }
    assert lines(reading)["opt.lr"] == 6 and lines(reading)["stages.1.n"] == 9 and lines(reading)["model.name"] == 2


def test_yaml_scalars(read):
    text = "a: 1e-4\nb: 1.0e-4\nc: 010\nd: off\ne: 12:30:45\nf: '5'\ng: ~\nh: .inf\ni: 0x10\nj: 1_000\nk:\n"
    found = values(read("c.yaml", text))
    assert found == {
        "a": 1e-4,
        "b": 1e-4,
        "c": 10,
        "d": False,
        "e": "12:30:45",
        "f": "5",
        "g": None,
        "h": float("inf"),
        "i": 16,
        "j": "1_000",
        "k": None,
    }


def test_tags_are_never_obeyed_and_the_rest_is_read(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        "a: !!python/object/apply:os.system [\"touch PWNED\"]\nb: 2\nc: !!python/object/new:os.system\n  args: ['touch PWNED']\n"
        "lr: !!python/object/apply:numpy.core.multiarray.scalar\n- !!python/object/apply:numpy.dtype\n  args: [f8]\n- !!binary |\n  AAAA\n"
        "act: !!python/name:torch.nn.ReLU ''\nt: !!python/tuple [1, 2]\nns: !!python/object:argparse.Namespace\n  size: 4\nu: !mine x\n"
    )
    reading = read("hparams.yaml", text)
    found = values(reading)
    assert not (tmp_path / "PWNED").exists() and reading.rejected == 0
    assert found["b"] == 2 and found["act"] == "torch.nn.ReLU" and found["t"] == [1, 2] and found["ns.size"] == 4 and found["u"] == "x"
    assert "not read" in str(found["a"]) and "not read" in str(found["c"]) and "numpy" in str(found["lr"])


def test_aliases_and_merge_keys(read):
    found = values(read("c.yaml", "base: &b\n  lr: 0.1\n  wd: 0.2\nx:\n  <<: *b\n  lr: 0.3\ny: *b\nz: &s 5\nw: *s\n"))
    assert found["x.lr"] == 0.3 and found["x.wd"] == 0.2 and found["y.lr"] == 0.1 and found["w"] == 5


def test_alias_bombs_deep_nesting_and_huge_files_are_bounded(read):
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for one, other in zip("bcdefghij", "abcdefghi", strict=True):
        bomb += f"{one}: &{one} [" + ",".join([f"*{other}"] * 9) + "]\n"
    start = time.perf_counter()
    for text in (
        bomb,
        "[" * 100_000,
        "- " * 100_000,
        "".join(f"k{k}: {k}\n" for k in range(60_000)),
        "a: &a [*a]\n",
        "? [a, b]\n: 1\nc: 2\n",
    ):
        reading = read("c.yaml", text)
        assert len(reading.settings) <= _safe_yaml.MOST_ENTRIES
    assert time.perf_counter() - start < 3
    assert "not read to the end" in " ".join(read("c.yaml", bomb).notes)


def test_broken_yaml_keeps_what_stands_before(read):
    reading = read("c.yaml", "lr: 0.1\nbatch: 4\nx: [1, 2\ny: }\n")
    assert values(reading)["lr"] == 0.1 and values(reading)["batch"] == 4 and reading.rejected == 1 and "line" in reading.notes[0]


def test_hydra_overrides_and_wrapped_values(read):
    assert values(read("overrides.yaml", "- model=big\n- +optim.lr=1e-3\n")) == {"model": "big", "optim.lr": 1e-3}
    assert values(read("config.yaml", "lr:\n  desc: null\n  value: 0.1\nopt:\n  value:\n    name: adam\n")) == {
        "lr": 0.1,
        "opt.name": "adam",
    }


def test_json_toml_ini_and_text(read):
    reading = read("args.json", '{\n "lr": 0.1,\n "opt": {"name": "adam", "betas": [0.9, 0.99]},\n "stages": [{"lr": 1}, {"lr": 2}]\n}')
    assert values(reading) == {"lr": 0.1, "opt.name": "adam", "opt.betas": [0.9, 0.99], "stages.0.lr": 1, "stages.1.lr": 2}
    assert lines(reading)["lr"] == 2 and lines(reading)["opt.name"] == 3 and lines(reading)["stages.1.lr"] == 4
    reading = read("c.toml", "[train]\nlr = 1e-3\n\n[data]\nlr = 2\n")
    assert values(reading) == {"train.lr": 1e-3, "data.lr": 2} and lines(reading) == {"train.lr": 2, "data.lr": 5}
    assert values(read("c.ini", "[t]\nlr = 1e-3\n; no\nname: 'x'\n")) == {"t.lr": 1e-3, "t.name": "x"}
    assert values(read("opt.txt", "------ Options ------\n   lr: 0.1   [default: 0.2]\n   gpu: 0\n------ End ------\n")) == {
        "lr": 0.1,
        "gpu": 0,
    }


def test_vocabularies_and_data_are_no_settings(read):
    assert not read("tokenizer.json", '{"model": {"vocab": {"a": 1}}}').settings
    assert not read("labels.json", "{" + ",".join(f'"w{k}": {k}' for k in range(3_000)) + "}").settings
    assert not read("boxes.json", "[" + ",".join('{"box": 1}' for _ in range(100)) + "]").settings


def test_long_keys_and_surrogates_stay_printable(read):
    for setting in read("c.json", '{"a\\ud800": "\\udfff", "' + "k" * 5_000 + '": 1}').settings:
        setting.key.encode()
        assert len(setting.key) <= 400 and str(setting.value).encode() is not None


def test_does_not_claim_logs(tmp_path):
    assert configs.claims(source(tmp_path, "train.txt", "epoch: 1\nloss: 2\n")) == NO
    assert configs.claims(source(tmp_path, "config.txt", "Starting the run now\nall is well here\n")) == NO
    assert configs.claims(source(tmp_path, "c.yaml", b"\x00\x01\x02")) == NO


def test_python_configs_are_parsed_and_never_run(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        '"""Run 7."""\nimport os\nLR = 3e-4\nbatch: int = 8 * 4  # a device\nmodel = dict(type="Net", depth=[1, 2], head=dict(act=None))\n'
        "opt = {'name': 'sgd', 'betas': (0.9, -1)}\nstages = [dict(k=1), dict(k=2)]\nfolder = os.makedirs('RAN')\n"
        "def build():\n    lr = 99\nclass Cfg:\n    hidden = 64\n"
    )
    reading = read("config.py", text)
    assert values(reading) == {
        "LR": 3e-4,
        "batch": 32,
        "model.type": "Net",
        "model.depth": [1, 2],
        "model.head.act": None,
        "opt.name": "sgd",
        "opt.betas": [0.9, -1],
        "stages.0.k": 1,
        "stages.1.k": 2,
        "Cfg.hidden": 64,
    }
    assert lines(reading)["model.head.act"] == 5 and not (tmp_path / "RAN").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.py", "import argparse\nlr = 0.1\nwd = 0.1\nbs = 1\n"),  # defaults: the command line says what was run
        ("train.py", "import torch\nlr = 0.1\nbs = 3\nwd = 0\n"),
        ("model.py", "def f():\n    x = 1\n"),
    ],
)
def test_source_code_is_no_config(tmp_path, name, text):
    assert configs.claims(source(tmp_path, name, text)) == NO


def test_no_warning_of_the_sources_reaches_the_user(read, recwarn):
    assert values(read("config.py", "a = '\\%'\nb = 1\n"))["b"] == 1
    assert not recwarn.list


def test_a_dumped_config_under_any_name(read):
    assert values(read("faster_rcnn.py", "auto = dict(base=16)\nlr = 0.02\nhooks = None\n")) == {"auto.base": 16, "lr": 0.02, "hooks": None}


@pytest.mark.parametrize(
    "text", ["x = " + "(" * 50_000, "x = " + "-" * 50_000 + "1", "a = 1" + " + 1" * 20_000, "x = 9 ** 9 ** 9", "x = [" * 900]
)
def test_python_that_is_deep_or_huge(tmp_path, text):
    found = configs.read(source(tmp_path, "config.py", text), Request())
    assert not found.settings


def test_gin_tabs_and_remarks(read):
    gin = read("operative_config.gin", "import t5.models\n# Macros:\nd_model = 512\ntrain/run.steps = 900  # all\nrun.fn = @opt.Adam\n")
    assert values(gin) == {"d_model": 512, "train/run.steps": 900, "run.fn": "@opt.Adam"} and gin.rejected == 0
    assert values(read("hparams.txt", "lr\t0.01\nepochs\t30\nname\tbase\n")) == {"lr": 0.01, "epochs": 30, "name": "base"}
    assert values(read("run.cfg", "[opt]\nlr = 1e-3 ; base\nurl = a;b\nq = 'x ; y'\n")) == {
        "opt.lr": 0.001,
        "opt.url": "a;b",
        "opt.q": "x ; y",
    }
    assert values(read("train_opt.txt", "   lr: 0.1       \t[default: 0.01]\n   bs: 4      \n")) == {"lr": 0.1, "bs": 4}


def test_values_that_swanlab_wraps(read):
    assert values(read("config.yaml", "lr:\n  desc: ''\n  sort: 0\n  value: 0.3\n")) == {"lr": 0.3}
