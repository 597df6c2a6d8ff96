"""The user's own probe lines, printed by hand into a training that does not learn: each variant has another first cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from postmortem.examine import examine

EPOCHS = 30


def lines(
    *, lr: str = "[0.0002, 0.0008]", path: str = "1.234e-02", ok: str = "True", delta: str = "1.234e-04", learns: bool = False
) -> str:
    """The probe lines of EPOCHS epochs, in the spelling of the surgical probes (mojibake Delta in every second line)."""
    text = ""
    for e in range(1, EPOCHS + 1):
        train, val = (0.8 / (1 + 0.2 * e), 0.9 / (1 + 0.15 * e)) if learns else (0.217, 1.921642)
        param = "Δparam" if e % 2 else "Œîparam"
        text += f"[LR] epoch={e} groups=['backbone','head'] lr={lr}\n"
        if e == 1:
            text += f"[GRADPATH] d<R_blend>/d(cov_fact_angle) = {path}\n"
        text += f"[GRAD] step_ok={ok} g_back=1.23e-02 g_head=2.45e-02\n"
        text += f"[STEP] {param} L2: median={delta}  max={delta}\n"
        text += f"[VAL] loss(first-batch)={val:.6f}\n"
        text += f"Epoch {e:03d}/{EPOCHS:03d}: train {train:.3f}  val {val:.6f}\n"
    return text


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ({"lr": "[0.0, 0.0]", "delta": "0.000e+00"}, "lr-zero"),
        ({"path": "0.000e+00", "delta": "0.000e+00"}, "broken-grad-path"),
        ({"ok": "False", "delta": "0.000e+00"}, "steps-skipped"),
        ({"delta": "0.000e+00"}, "frozen-parameters"),
        ({}, "flat-train-loss"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_probe_lines_name_the_cause(tmp_path: Path, broken: dict[str, str], cause: str) -> None:
    (tmp_path / "train.log").write_text(lines(**broken), encoding="utf-8")
    diagnosis = examine(tmp_path)
    assert diagnosis.causes[0].finding.rule == cause
    assert "constant-val-loss" in {f.rule for f in diagnosis.findings}


def test_the_fixed_run_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(lines(learns=True), encoding="utf-8")
    assert [f.rule for f in examine(tmp_path).findings if f.severity != "note"] == []
