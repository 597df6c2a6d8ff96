"""The model copies its input instead of answering

Usual causes, most common first: labels that are the inputs (no shift, or a shift twice), a loss over the prompt instead of the answer, a base
model that was never tuned to answer, a residual connection around the whole model.

To tell them apart: decode the labels of one training example: they should hold the answer only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from postmortem.rules.base import Case, Hit, limit, quote
from postmortem.rules.behaviour._answers import answers, plain
from postmortem.rules.examples import files

severity = "warning"
needs = ("samples",)
explains = ("degenerate-output", "knows-nothing")
fix = ("Print `tokenizer.decode(labels[labels != -100])` of one example: it must be the answer, and nothing but the answer.",)
prevention = ("Count answers that equal their prompt at each evaluation.",)


@dataclass(frozen=True)
class Thresholds:
    share: float = limit(
        0.5, "share of the answers", "so many answers are copies", "reality check: a model that returns its input; half is no coincidence"
    )
    answers: float = limit(5, "answers", "fewer say nothing", "as for degenerate output")


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    told = [a for a in answers(case) if plain(a.prompt)]
    copies = [a for a in told if plain(a.response) == plain(a.prompt)]
    if len(told) >= limits.answers and len(copies) >= limits.share * len(told):
        yield Hit(
            [quote(a.event, primary=i == 0) for i, a in enumerate(copies[:3])],
            cause=f"{len(copies)} of {len(told)} answers are their own prompt.",
        )


def _log(pairs) -> str:
    return "".join(f'{{"prompt": "{p}", "response": "{r}", "score": 0}}\n' for p, r in pairs)


fires_on = [
    files("word for word", answers__jsonl=_log((f"what is {i} plus 2", f"what is {i} plus 2") for i in range(12))),
    files("with other punctuation", answers__jsonl=_log((f"What is {i} plus 2?", f"what is {i} plus 2") for i in range(12))),
]
quiet_on = [
    files("answers", answers__jsonl=_log((f"what is {i} plus 2", f"it is {i + 2}") for i in range(12))),
    files(
        "the question is repeated before the answer",
        answers__jsonl=_log((f"what is {i} plus 2", f"what is {i} plus 2 it is {i + 2}") for i in range(12)),
    ),
    files(
        "a third are copies",
        answers__jsonl=_log((f"what is {i} plus 2", f"what is {i} plus 2" if i % 3 == 0 else f"{i + 2}") for i in range(12)),
    ),
    files("three answers", answers__jsonl=_log((f"what is {i} plus 2", f"what is {i} plus 2") for i in range(3))),
    files("nothing asked, nothing answered", answers__jsonl=_log(("?", "...") for _ in range(12))),
]
