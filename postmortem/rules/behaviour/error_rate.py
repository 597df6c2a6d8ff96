"""Requests to the model fail too often

Usual causes, most common first: a new model or configuration was rolled out, memory ran out under load, inputs of a kind that was never tested, a
dependency that times out.

To tell them apart: compare the first failing minute with the roll-out log; group the failures by error text and by input length.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from postmortem.model import Event
from postmortem.rules.base import Case, Hit, limit, quote
from postmortem.rules.examples import files

severity = "error"
needs = ("samples",)
fix = ("Roll back to the last version whose window was below the limit, then reproduce one failing request by hand.",)
prevention = ("Watch the error share over a sliding window of 1,000 requests and alarm above 1 %.",)
SERVER_ERROR = 500  # HTTP status codes from here on are the server's own failures (RFC 9110, 15.6)
FAILED_WORDS = ("error", "failed", "fail", "timeout", "exception")


@dataclass(frozen=True)
class Thresholds:
    share: float = limit(0.01, "share of the window", "errors above it are an incident", "reality check: alert threshold 1 %")
    window: float = limit(1000, "requests", "length of the sliding window", "reality check: window of 1,000")
    requests: float = limit(100, "requests", "fewer say nothing: one error would be more than 1 %", "1 / share")
    errors: float = limit(5, "errors", "so many in the worst window", "one or two may be chance")


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    judged = [(e, bad) for e in case.kind("sample") if (bad := _failed(e)) is not None]
    if len(judged) < limits.requests:
        return
    failed = np.array([wrong for _, wrong in judged], float)
    window = int(min(limits.window, len(failed)))
    sums = np.convolve(failed, np.ones(window), mode="full")[: len(failed)]
    worst = int(np.argmax(sums))
    if sums[worst] < limits.errors or sums[worst] / window <= limits.share:
        return
    over = int(np.flatnonzero(sums >= max(limits.errors, limits.share * window))[0])
    errors = [e for e, wrong in judged[: over + 1] if wrong]
    yield Hit(
        [quote(errors[0], primary=True), *(quote(e) for e in errors[-2:])],
        cause=f"{int(failed.sum())} of {len(failed)} requests failed; in the worst window of {window} it was "
        f"{100 * sums[worst] / window:.1f} %, above the limit from request {over + 1} on.",
    )


def _failed(event: Event) -> bool | None:
    """Whether a request failed, from its status code, status word or error field; None where the record says neither."""
    for key, value in event.data.items():
        name = key.lower().rsplit("/", 1)[-1]
        if name in ("status", "status_code", "code"):
            return value >= SERVER_ERROR if isinstance(value, int | float) else str(value).lower() in FAILED_WORDS
        if name in ("error", "failed", "is_error"):
            return str(value).lower() not in ("", "none", "null", "false", "0")
    return None


def _log(failures) -> Callable[[], str]:
    return lambda: "".join(
        f'{{"time": "2026-03-01T10:{i // 60 % 60:02d}:{i % 60:02d}Z", "prompt": "p{i}", "response": "r{i}", "status": {500 if bad else 200}}}\n'
        for i, bad in enumerate(failures)
    )


fires_on = [
    files("from the middle on every tenth fails", requests__jsonl=_log([i > 600 and i % 10 == 0 for i in range(1200)])),
    files("every twentieth", requests__jsonl=_log([i % 20 == 0 for i in range(400)])),
    files("one in fifty, eight in all", requests__jsonl=_log([i % 50 == 0 for i in range(400)])),
    files("a short log", requests__jsonl=_log([i % 20 == 0 for i in range(200)])),
    files("thirty in one stretch of many", requests__jsonl=_log([1000 <= i < 1300 and i % 10 == 0 for i in range(3500)])),
]
quiet_on = [
    files("none fails", requests__jsonl=_log([False] * 400)),
    files("two in a thousand", requests__jsonl=_log([i in (100, 700) for i in range(1000)])),
    files("six in a thousand, all at once", requests__jsonl=_log([400 <= i < 418 and i % 3 == 0 for i in range(1000)])),
    files("sixty requests", requests__jsonl=_log([i % 10 == 0 for i in range(60)])),
    files("four errors", requests__jsonl=_log([i % 60 == 7 for i in range(240)])),
]
