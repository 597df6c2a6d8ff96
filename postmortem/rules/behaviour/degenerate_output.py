"""The model answers the same thing whatever it is asked, or repeats itself

Usual causes, most common first: greedy decoding of an under-trained or over-trained model, a chat template that differs from training, a loss that
was computed on padding, an end token that is never learned, a reward that can be had by length alone.

To tell them apart: sample with temperature 0.8; if the answers then differ it is decoding, if they stay the same it is the model or the prompt.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from postmortem.rules.base import Case, Hit, limit, quote
from postmortem.rules.behaviour._answers import Answer, answers, plain
from postmortem.rules.examples import files

severity = "warning"
needs = ("samples",)
fix = (
    "Check the chat template and the end token: print one encoded training example and one encoded prompt side by side.",
    "Decode with temperature and a repetition penalty; if that does not help, go back to an earlier checkpoint.",
)
prevention = ("Count distinct answers over a fixed set of prompts at each evaluation.",)


@dataclass(frozen=True)
class Thresholds:
    same: float = limit(
        0.5,
        "share of the answers",
        "so many prompts get the very same answer",
        "reality check: five outputs that are one output; half leaves room for legitimate refusals",
    )
    rival: float = limit(
        0.1,
        "share of the answers",
        "a second answer given so often, and more than once, is a choice: labels of two classes are each right half of the time",
        "a model that says one thing only has no second one",
    )
    repeated: float = limit(0.3, "share of the answers", "so many answers repeat themselves", "three in ten is no single slip")
    variety: float = limit(
        0.3,
        "distinct words / words",
        "an answer below it repeats itself",
        "ordinary prose of 50 words has about 0.7 distinct words per word",
    )
    words: float = limit(40, "words", "shorter answers are not judged for repetition", "short lists repeat words legitimately")
    answers: float = limit(5, "answers", "fewer say nothing", "reality check asks for five")


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    told = [a for a in answers(case) if "chosen_from_given" not in a.scores]  # " yes" of two choices may be right every second time
    if len(told) < limits.answers:
        return
    texts = Counter(plain(a.response) for a in told)
    (text, count), *others = texts.most_common(2)
    chosen = any(again > 1 and again >= limits.rival * len(told) for _, again in others)
    same = [a for a in told if plain(a.response) == text]
    if count >= limits.same * len(told) and not chosen and len({plain(a.prompt) for a in same}) >= limits.answers:
        what = "empty answers" if not text else "the same answer"
        yield Hit([quote(a.event, primary=i == 0) for i, a in enumerate(same[:3])], cause=f"{count} of {len(told)} prompts got {what}.")
    loops = [a for a in told if _repeats(a, limits)]
    if len(loops) >= limits.repeated * len(told):
        yield Hit(
            [quote(a.event, primary=i == 0) for i, a in enumerate(loops[:3])],
            cause=f"{len(loops)} of {len(told)} answers repeat themselves.",
        )


def _repeats(answer: Answer, limits: Thresholds) -> bool:
    words = plain(answer.response).split()
    return len(words) >= limits.words and len(set(words)) < limits.variety * len(words)


def _log(pairs) -> str:
    return "".join(f'{{"prompt": "{p}", "response": "{r}", "score": 1}}\n' for p, r in pairs)


fires_on = [
    files("one answer for all", answers__jsonl=_log((f"question {i}?", "I am happy to help.") for i in range(12))),
    files("the same label but once", answers__jsonl=_log((f"review {i}", "positive" if i else "negative") for i in range(8))),
    files("nineteen of twenty", answers__jsonl=_log((f"review {i}", "positive" if i % 25 > 1 else "negative") for i in range(25))),
    files("loops", answers__jsonl=_log((f"question {i}?", "so it goes " * 40 + f"{i}") for i in range(12))),
    files(
        "fifty words, ten of them",
        answers__jsonl=_log((f"question {i}?", f"the quick brown fox jumps over a lazy dog {i} " * 5) for i in range(16)),
    ),
    files(
        "five prompts of twelve",
        answers__jsonl=_log((f"question {i}?", "so it goes " * 40 if i < 5 else f"answer number {i}") for i in range(12)),
    ),
]
quiet_on = [
    files("different answers", answers__jsonl=_log((f"question {i}?", f"answer number {i} about topic {i * 7}") for i in range(12))),
    files("many runs of one prompt", answers__jsonl=_log(("the only question?", "I am happy to help.") for i in range(12))),
    files(
        "a third are the same refusal",
        answers__jsonl=_log((f"question {i}?", "I cannot help." if i % 3 == 0 else f"answer number {i}") for i in range(18)),
    ),
    files(
        "a sixth repeat themselves",
        answers__jsonl=_log((f"question {i}?", "so it goes " * 40 + f"{i}" if i % 6 == 0 else f"answer number {i}") for i in range(12)),
    ),
    files(
        "half of the words are new",
        answers__jsonl=_log((f"question {i}?", " ".join(f"word{k % 25}" for k in range(i, i + 50))) for i in range(12)),
    ),
    files("short lists", answers__jsonl=_log((f"question {i}?", f"yes no {i} " * 7) for i in range(12))),
    files(
        "lm-eval: of the choices that came with each question the same one is the likeliest",
        samples_boolq__jsonl="".join(
            f'{{"doc_id": {i}, "doc": {{"question": "is {i} a prime number?"}}, "target": {i % 2},'
            ' "arguments": {"gen_args_0": {"arg_0": "Q:", "arg_1": " no"}, "gen_args_1": {"arg_0": "Q:", "arg_1": " yes"}},'
            f' "filtered_resps": [["-{i}.5", "False"], ["-{i}.25", "True"]], "acc": {i % 2}}}\n'
            for i in range(20)
        ),
    ),
    files("labels of two classes", answers__jsonl=_log((f"review {i}", "positive" if i % 5 < 3 else "negative") for i in range(20))),
    files("three answers", answers__jsonl=_log((f"question {i}?", "I am happy to help.") for i in range(3))),
    files("three loops", answers__jsonl=_log((f"question {i}?", "so it goes " * 40 + f"{i}") for i in range(3))),
]
