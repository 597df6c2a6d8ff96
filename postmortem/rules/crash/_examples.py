"""Small logs for the examples of crash rules: a few steps of training, then what the fault looks like."""

from __future__ import annotations

from postmortem.rules.examples import Example, log

STEPS = "".join(f"step {10 * i}: loss {3.2 / (1 + 0.1 * i):.4f} lr 0.0003\n" for i in range(1, 9))


def last_words(text: str, note: str = "", *, name: str = "train.log") -> Example:
    """A run that trained for a few steps and whose log ends with this text."""
    return log(f"{STEPS}{text}\n", name, note)


def first_words(text: str, note: str = "", *, name: str = "train.log") -> Example:
    """A run whose log holds this text and nothing else: it never came to a first step."""
    return log(f"{text}\n", name, note)


def raised(error: str, note: str = "", *, frame: str = "train.py", line: int = 118, code: str = "loss = model(batch)") -> Example:
    """A run that trained for a few steps and ended with this Python exception ("Type: message")."""
    return last_words(f'Traceback (most recent call last):\n  File "{frame}", line {line}, in main\n    {code}\n{error}', note)


__all__ = ["STEPS", "first_words", "last_words", "raised"]
