"""Secrets stay in the run directory; look-alikes are left alone. Every secret here is made up when the test runs."""

from __future__ import annotations

import random
import string
from dataclasses import replace

import pytest
from diagnoses import curve, diagnosis, finding, saying

from postmortem import reports
from postmortem.model import Evidence, Origin, Reading, Setting
from postmortem.reports import journal, regress
from postmortem.reports.redact import redact, redact_setting

LETTERS = string.ascii_letters
MIXED = LETTERS + string.digits


def some(n: int, of: str = MIXED) -> str:
    """n characters that are the same in every run of the tests, with a digit where digits are allowed."""
    draw = random.Random(f"{n}{of}")
    text = "".join(draw.choice(of) for _ in range(n - 1))
    return text + ("7" if "7" in of else of[0])


KEY_BLOCK = "\n".join(["-----BEGIN RSA PRIVATE " + "KEY-----", *(some(64) for _ in range(3)), "-----END RSA PRIVATE " + "KEY-----"])
SECRETS = {
    "hugging face": ("401 for token={}", "hf" + "_" + some(34, LETTERS)),
    "github": ("remote: {} denied", "gh" + "o_" + some(36)),
    "github fine-grained": ("{}", "github" + "_pat_" + some(60)),
    "gitlab": ("{}", "gl" + "pat-" + some(20)),
    "anthropic": ("key {} rejected", "sk-" + "ant-api03-" + some(90)),
    "openai": ("key {} rejected", "sk-" + "proj-" + some(48)),
    "aws": ("aws {} unknown", "AK" + "IA" + some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
    "wandb": ("key={}", "wandb" + "_v1_" + some(22) + "_" + some(43)),
    "wandb in the environment": ("WANDB_API_KEY={}", some(40, "0123456789abcdef")),
    "google": ("{}", "AI" + "za" + some(35)),
    "slack": ("{}", "xo" + "xb-" + some(30)),
    "web token": ("{}", "ey" + "J" + some(20) + "." + "ey" + "J" + some(30) + "." + some(30)),
    "bearer": ("Authorization: Bearer {}", some(32)),
    "basic": ("'Authorization': 'Basic {}'", some(24)),
    "url": ("mlflow at https://ann:{}@tracking.example/", some(16)),
    "presigned": ("GET https://b.example/k?X-Amz-Credential={}&X-Amz-Date=1", some(20)),
    "sas": ("https://x.example/blob?sv=1&sig={}", some(44)),
    "namespace": ("Namespace(lr=0.1, hub_token='{}', seed=1)", some(12)),
    "dict": ('{{"api_key": "{}", "lr": 0.1}}', "hunter" + "2"),
    "yaml": ("db:\n  password: {}\n  port: 1", "correct horse battery"),
    "camel case": ("hubApiKey={} lr=1", some(10)),
    "netrc": ("machine api.example login user password {}", some(40, "0123456789abcdef")),
    "bare token": ("token: {}", some(30)),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_taken_out_and_the_rest_stays(kind: str) -> None:
    around, secret = SECRETS[kind]
    text, kinds = redact(f"before\n{around.format(secret)}\nafter")
    assert secret not in text
    assert kinds
    assert text.startswith("before\n") and text.endswith("\nafter")
    assert "[redacted: " in text


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_in_no_output_and_its_place_is_told(kind: str) -> None:
    around, secret = SECRETS[kind]
    faulty = saying("RuntimeError: " + around.format(secret) if "\n" not in around else around.format(secret))
    for format in reports.FORMATS:
        assert secret not in reports.render(faulty, format), format
    assert "secrets left out of this report" in reports.render(faulty, "json")
    assert "(line 40)" in reports.render(faulty, "html")
    assert "secrets were left out of 1 file" in " ".join(reports.render(faulty, "text").split())


def test_a_key_over_several_lines_goes_with_its_line_count() -> None:
    text, kinds = redact(f"a\n{KEY_BLOCK}\nb")
    assert text.count("\n") == KEY_BLOCK.count("\n") + 2
    assert set(kinds) == {"private key"}
    assert not any(line in text for line in KEY_BLOCK.split("\n")[1:-1])
    for part in (KEY_BLOCK.split("\n")[1:], KEY_BLOCK.split("\n")[2:3], KEY_BLOCK.split("\n")[:2]):
        cut = redact("\n".join(part), fragment=True)[0]
        assert not any(line in cut for line in part if " " not in line)


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "ab12" * 16,
        "commit 89e6c98d92887913cadf06b2adb97f26cde4849b",
        "snapshots/5206a32e0bd3067aef1ce90f5528ade7d866253f/model.bin",
        "probe_pred_checksum=0.48291038",
        "use_cls_token=True num_tokens=4096 pad_token_id=0 tokens/s=12000 eos_token='</s>' bos_token=<s>",
        "user_token: <|user|> assistant_token=<|assistant|>",
        "GPU-7f3e2b1a-1111-2222-3333-444455556666",
        "api_key=None password: null secret=*** hub_token=<your token>",
        "api_key: ${WANDB_API_KEY}",
        "tcp://10.0.0.1:29500 and s3://bucket/key and http://host:8080/path",
        "PWD=/home/ann/run OLDPWD=/",
        "tokenizer: gpt2, token: the, next_token=42",
        "md5 5d41402abc4b2a76b9719d911017c592",
        "the secret of the bearer bond",
        "skip-connection sk-learn",
        "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAABRUlEQVR4nG3QS07D7",  # a picture
    ],
)
def test_look_alikes_are_left_alone(text: str) -> None:
    assert redact(text) == (text, ())


def test_a_secret_broken_by_colours_is_found() -> None:
    secret = SECRETS["hugging face"][1]
    page = reports.render(saying(f"token \x1b[31m{secret[:9]}\x1b[0m{secret[9:]} refused"), "json")
    assert secret[9:] not in page and "refused" in page


def test_values_of_secret_settings_go_whatever_they_look_like() -> None:
    values = {
        "api_key": "hunter2",
        "aws.secret_access_key": "abcdef",
        "password": "correct horse",
        "hub.token_id": "kept",
        "lr": 0.1,
        "flags.api_key": True,
    }
    settings = [Setting(key, value, Origin("config.yaml", i)) for i, (key, value) in enumerate(values.items(), 1)]
    nested = Setting("env", {"HF_TOKEN": "abcabc", "USER": "ann"}, Origin("config.yaml", 9))
    page = reports.render(replace(diagnosis(), settings=[*settings, nested]), "html")
    assert not any(word in page for word in ("hunter2", "abcdef", "correct horse", "abcabc"))
    assert all(word in page for word in ("kept", "0.1", "True", "ann"))


def test_one_setting_can_be_cleaned_alone() -> None:
    assert redact_setting("api_key", "hunter2") == "[redacted: value of a secret setting]"
    assert redact_setting("lr", 0.1) == 0.1 and redact_setting("name", "a\x1bb") == "a\\x1bb"


def test_evidence_about_a_secret_setting_does_not_tell_it() -> None:
    told = Evidence("tracker.password = open sesame", Origin("config.yaml", 2), "tracker.password", primary=True)
    assert "sesame" not in reports.render(diagnosis(finding("config-error", evidence=[told])), "json")


def test_secrets_in_names_are_taken_out() -> None:
    secret = SECRETS["github"][1]
    faulty = replace(
        diagnosis(finding(evidence=[Evidence("x", Origin(f"{secret}/a.log", 1), f"loss/{secret}", primary=True)])),
        curves=[curve(f"loss/{secret}", [1, 2], file=f"{secret}/a.csv")],
        readings=[Reading(f"{secret}/a.log", "text", notes=[f"first: {secret}"])],
    )
    faulty = replace(faulty, run=replace(faulty.run, path=f"/runs/{secret}", name=secret))
    for format in reports.FORMATS:
        assert secret not in reports.render(faulty, format), format
    assert secret not in journal.render(reports.base.clean(faulty), "0" * 16, "2026-01-01")
    assert secret not in regress.render(faulty)


def test_nothing_is_said_about_secrets_where_there_are_none() -> None:
    assert "secrets" not in reports.render(saying("RuntimeError: size mismatch"), "html")
