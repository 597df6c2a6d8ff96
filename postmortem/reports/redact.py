"""Secrets stay here: a copy of a diagnosis with keys, passwords and tokens taken out, and a note where they were."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postmortem.model import Curve, Diagnosis, Event, Evidence, Finding, Origin, Reading, Run, Setting
from postmortem.reports.escape import capped, one_line, uncoloured, visible

NOTE_LIMIT = 500  # characters of a note of a reading
TEXT_LIMIT = 2000  # characters of one quotation; more is never read and makes reports grow without bound


def gone(kind: str) -> str:
    """What stands in the place of a secret."""
    return f"[redacted: {kind}]"


# ---------------------------------------------------------------------- what a secret looks like

# Key names whose value is a secret whatever it looks like. `token` alone is a word of language models: it counts only with a first part
# that means access, never as cls_token, pad_token, num_tokens.
_SECRET_NAME = (
    r"(?:pass(?:word|wd|phrase)|secret|credentials?|api[_-]?key|apikey|access[_-]?key(?:[_-]id)?|account[_-]?key|private[_-]?key"
    r"|secret[_-]?key|signing[_-]?key|encryption[_-]?key|(?:auth|access|api|hub|hf|hugging[_-]?face|bearer|refresh|session|github|gitlab|gh|git"
    r"|slack|wandb|neptune|comet|secret|oauth|jwt|personal|deploy|bot|user|login|id|csrf|use[_-]auth|security)[_-]?token)"
)
_WORD_START = r"(?:(?<![A-Za-z])|(?-i:(?<=[a-z])(?=[A-Z])))"  # hub_token, hubApiKey, but not gridtoken
SECRET_KEY = re.compile(rf"{_WORD_START}{_SECRET_NAME}$", re.IGNORECASE)
_NO_SECRET = re.compile(r"(?:none|null|nil|true|false|yes|no|on|off|unset|empty|redacted|\*+|<.*|\[redacted:.*|\$\{.*|)", re.IGNORECASE)

# The shapes that issuers publish for their keys (their own documentation and the gitleaks rule set).
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("private key", r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"),
        ("Hugging Face token", r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}"),
        ("GitHub token", r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}"),
        ("GitLab token", r"\bgl(?:pat|dt|rt|cbt|ptt)-[A-Za-z0-9_-]{20,}"),
        ("Anthropic key", r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
        ("API key", r"\bsk-(?:proj-|svcacct-|or-v1-)?(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{32,}"),
        ("AWS access key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
        ("Weights & Biases key", r"\bwandb_v1_[A-Za-z0-9_]{20,}"),
        ("Google API key", r"\bAIza[A-Za-z0-9_-]{35}"),
        ("Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
        ("PyPI token", r"\bpypi-[A-Za-z0-9_-]{50,}"),
        ("npm token", r"\bnpm_[A-Za-z0-9]{36}"),
        ("web token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}|\beyJhcGlf[A-Za-z0-9+/=_-]{20,}"),
    )
)

# A secret after something that announces it: group "secret" goes, the rest stays.
_ANNOUNCED: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE | re.MULTILINE))
    for kind, pattern in (
        ("authorization", r"\bauthorization\W{1,4}(?:basic|token|digest)\s+(?P<secret>[^\s'\",]{6,})"),
        ("authorization", r"\bbearer\s+(?P<secret>[A-Za-z0-9._~+/=-]{16,})"),
        ("password in a URL", r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:(?P<secret>[^\s/@'\"]+)@"),
        (
            "signed URL",
            r"[?&](?:x-(?:amz|goog)-(?:credential|signature|security-token)|sig(?:nature)?|awsaccesskeyid)=(?P<secret>[^&\s'\"]+)",
        ),
        ("password", r"\blogin\s+\S+\s+password\s+(?P<secret>\S+)"),
        # key: value alone on its line (a config file): the rest of the line is the value, unless more keys follow
        (
            "value of a secret setting",
            rf"^\s*(?:export\s+)?['\"]?(?:[\w.-]*[\W_])?{_SECRET_NAME}['\"]?\s*[:=]\s*"
            r"(?P<secret>[^\s,'\"](?:(?!\s[\w.-]+\s*[:=])[^\n])*?)\s*$",
        ),
        # key=value or "key": "value" inside a line (argparse, dicts, environments)
        (
            "value of a secret setting",
            rf"{_WORD_START}{_SECRET_NAME}['\"]?\s*(?:=>|[:=])\s*"
            r"(?:[bru]?'(?P<secret>[^'\n]+)'|[bru]?\"(?P<double>[^\"\n]+)\"|(?P<bare>[^\s,'\"&;)}\]]+))",
        ),
        # `token=` alone: only a value that no vocabulary has, letters and digits mixed
        ("token", r"(?<![A-Za-z])token['\"]?\s*[:=]\s*['\"]?(?P<secret>(?=[A-Za-z_-]*\d)(?=[0-9_-]*[A-Za-z])[A-Za-z0-9_-]{20,})"),
    )
)

# A line of a key whose head is out of sight: 60 to 76 characters of base64 and nothing else, not all of them hexadecimal.
_KEY_BODY = re.compile(r"(?m)^(?=.*[A-Z])(?=.*[g-z])(?=.*\d)[A-Za-z0-9+/]{60,76}={0,2}$")
_KEY_END = re.compile(r"\A[\s\S]*?-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----")


def redact(text: str, *, fragment: bool = False) -> tuple[str, tuple[str, ...]]:
    """Text without its secrets, and their kinds. Line breaks inside a secret stay, so that lines keep their numbers.

    fragment: the text is cut out of a file, so that a key may stand in it without its head (pictures in base64 look the same and go too).
    """
    found: list[str] = []

    def drop(kind: str, secret: str) -> str:
        if _NO_SECRET.fullmatch(secret.strip()):
            return secret
        found.append(kind)
        return "\n".join([gone(kind)] * (secret.count("\n") + 1))

    for kind, pattern in _SHAPES:
        text = pattern.sub(lambda m, kind=kind: drop(kind, m[0]), text)  # type: ignore[misc]
    if "PRIVATE KEY-----" in text:
        text = _KEY_END.sub(lambda m: drop("private key", m[0]), text)
    if fragment:
        text = _KEY_BODY.sub(lambda m: drop("private key", m[0]), text)
    for kind, pattern in _ANNOUNCED:
        text = pattern.sub(lambda m, kind=kind: _without(m, kind, drop), text)  # type: ignore[misc]
    return text, tuple(found)


def _without(match: re.Match[str], kind: str, drop: Any) -> str:
    """A match with the group that holds the secret taken out."""
    for group in match.re.groupindex:
        if match[group] is not None:
            start, end = match.start(group) - match.start(), match.end(group) - match.start()
            return match[0][:start] + drop(kind, match[group]) + match[0][end:]
    return match[0]


# ---------------------------------------------------------------------- a whole diagnosis


@dataclass
class Cleaner:
    """Makes texts, names and values fit to leave the house, and remembers which secrets it took out of which file."""

    taken: dict[str, dict[tuple[str, int | None], None]] = field(default_factory=dict)  # file -> (kind, line), in order

    def text(self, text: str, origin: Origin | None = None, limit: int = TEXT_LIMIT) -> str:
        """A quotation: colours gone, secrets gone, everything visible, at most `limit` characters."""
        middle = len(text) - 6 * limit
        if middle > 0:  # nobody sees it, and looking for secrets in megabytes takes its time; margins keep a secret at the cut whole
            text = text[: 3 * limit] + text[-3 * limit :]
        return capped(visible(self._drop(uncoloured(text), origin)), limit, max(0, middle))

    def name(self, name: str, file: str | None = None) -> str:
        """A metric, a file, a key: like `text`, but one line and never cut (reports shorten names where they show them)."""
        return one_line(self._drop(uncoloured(name), Origin(file) if file is not None else None))

    def value(self, key: str, value: object, origin: Origin) -> object:
        """A configuration value; that of a secret key goes whatever it looks like."""
        if isinstance(value, bool) or value is None:
            return value
        if SECRET_KEY.search(key) and not _NO_SECRET.fullmatch(str(value).strip()):
            self._note(origin, "value of a secret setting")
            return gone("value of a secret setting")
        if isinstance(value, dict):
            return {self.name(str(k), origin.file): self.value(str(k), v, origin) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(key, v, origin) for v in value]
        return value if isinstance(value, int | float) else self.text(str(value), origin)

    def _drop(self, text: str, origin: Origin | None) -> str:
        text, kinds = redact(text)
        for kind in kinds:
            self._note(origin, kind)
        return text

    def _note(self, origin: Origin | None, kind: str) -> None:
        if origin is not None:
            self.taken.setdefault(origin.file, {})[kind, origin.line] = None


def clean(diagnosis: Diagnosis) -> Diagnosis:
    """A copy fit for every report: no secrets (a note tells where one was), no invisible characters, quotations of bounded length."""
    cleaner = Cleaner()
    findings = [_finding(f, cleaner) for f in diagnosis.findings]
    renewed = dict(zip(map(id, diagnosis.findings), findings, strict=True))

    def same(finding: Finding) -> Finding:
        return renewed.get(id(finding)) or _finding(finding, cleaner)

    settings = [_setting(s, cleaner) for s in diagnosis.settings]
    proof = diagnosis.ending.proof
    return replace(
        diagnosis,
        run=_run(diagnosis.run, cleaner),
        ending=replace(diagnosis.ending, proof=_event(proof, cleaner) if proof else None),
        headline=cleaner.name(diagnosis.headline),
        curves=[_curve(c, cleaner) for c in diagnosis.curves],
        events=(),  # reports tell what rules made of them
        settings=settings,
        findings=findings,
        causes=[replace(c, finding=same(c.finding), explains=tuple(map(same, c.explains))) for c in diagnosis.causes],
        readings=list(_readings(diagnosis.readings, cleaner)),
    )


def redact_setting(key: str, value: object) -> object:
    """A configuration value fit for any output; that of a secret key goes whatever it looks like."""
    return Cleaner().value(key, value, Origin(""))


def _run(run: Run, cleaner: Cleaner) -> Run:
    framework = None if run.framework is None else cleaner.name(run.framework)
    return replace(run, path=cleaner.name(run.path), name=cleaner.name(run.name), framework=framework)


def _finding(finding: Finding, cleaner: Cleaner) -> Finding:
    """A finding with clean evidence. Its other words are ours, but the name of a metric may stand in them."""
    return replace(
        finding,
        title=cleaner.name(finding.title),
        cause=cleaner.text(finding.cause),
        fix=tuple(map(cleaner.text, finding.fix)),
        prevention=tuple(map(cleaner.text, finding.prevention)),
        evidence=tuple(_evidence(e, cleaner) for e in finding.evidence),
    )


def _evidence(evidence: Evidence, cleaner: Cleaner) -> Evidence:
    text = evidence.text
    key = evidence.metric or ""
    if SECRET_KEY.search(key) and text.startswith(f"{key} = "):
        text = f"{key} = {cleaner.value(key, text[len(key) + 3 :], evidence.origin)}"
    metric = cleaner.name(key, evidence.origin.file) if evidence.metric is not None else None
    return replace(evidence, text=cleaner.text(text, evidence.origin), metric=metric, origin=_origin(evidence.origin, cleaner))


def _origin(origin: Origin, cleaner: Cleaner) -> Origin:
    return replace(origin, file=cleaner.name(origin.file, origin.file))


def _event(event: Event, cleaner: Cleaner) -> Event:
    """An event without its data: reports quote its text only."""
    return replace(event, text=cleaner.text(event.text, event.origin), file=cleaner.name(event.file, event.file), data={})


def _setting(setting: Setting, cleaner: Cleaner) -> Setting:
    value = cleaner.value(setting.key, setting.value, setting.origin)
    return Setting(cleaner.name(setting.key, setting.origin.file), value, _origin(setting.origin, cleaner))


def _curve(curve: Curve, cleaner: Cleaner) -> Curve:
    metric = curve.metric if curve.metric != curve.raw_name else cleaner.name(curve.metric)
    return replace(curve, metric=metric, raw_name=cleaner.name(curve.raw_name, curve.file), file=cleaner.name(curve.file, curve.file))


def _readings(readings: Sequence[Reading], cleaner: Cleaner) -> Iterator[Reading]:
    """Readings with clean names and notes, and one note more where a secret was taken out. Runs last: it tells what the others found."""
    for reading in readings:
        file = cleaner.name(reading.file, reading.file)
        notes = [cleaner.text(note, Origin(reading.file), NOTE_LIMIT) for note in reading.notes]
        taken = cleaner.taken.get(reading.file, {})
        yield replace(reading, file=file, format=cleaner.name(reading.format), notes=[*notes, *([_told(taken)] if taken else [])])


def _told(taken: Iterable[tuple[str, int | None]]) -> str:
    places = [kind if line is None else f"{kind} (line {line})" for kind, line in taken]
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return f"secrets left out of this report: {', '.join(places[:5])}{more}"
