"""Reads settings that are written as Python (mmcv's dumped configs, `config.py`): the source is parsed into a tree, never executed."""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Iterator

from postmortem.parsers._literals import LONGEST, shortened

LONGEST_SOURCE = 256 * 1024  # characters; a longer source is no config
DEEPEST = 20  # levels of nested values
FEWEST = 3  # assignments that make a file without any statement of another kind a config
LARGEST = 10**12  # of a number in a calculation ("1024 * 4")
NAME = re.compile(
    r"^(?:train_|default_|base_)?(?:configs?|cfg|conf|hparams|hyperparameters|hyperparams|hp|params|settings|args|opts?)\.py$"
)
# Source that takes its settings from the command line holds defaults: what was run may be another thing.
_DEFAULTS = re.compile(r"\bargparse\b|ArgumentParser|sys\.argv|__main__|\bclick\.|tyro\.|fire\.Fire|flags\.DEFINE")
_ASSIGNMENT = re.compile(r"(?m)^[A-Za-z_]\w*\s*(?::[^=\n]+)?=[^=]")
_STATEMENT = re.compile(r"(?m)^(?:def|class|import|from|if|for|while|with|try|async|assert|del|raise|print\b|@)")
_SUMS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


class _Unknown(Exception):
    """A value that only running the source would tell."""


def is_config(name: str, text: str) -> bool:
    """Whether a Python source is a config: by its name, or because it holds assignments and nothing else."""
    if len(text) > LONGEST_SOURCE or _DEFAULTS.search(text):
        return False
    assigned = len(_ASSIGNMENT.findall(text))
    return assigned > 0 if NAME.match(name) else assigned >= FEWEST and not _STATEMENT.search(text)


def settings_in(text: str) -> Iterator[tuple[str, object, int]]:
    """(dotted key, plain value, line) of the assignments of a source and of its classes. Raises ValueError where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of "\\%" in a text: that is no matter of ours
            tree = ast.parse(text)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    yield from _assigned(tree.body, "")


def _assigned(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, object, int]]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not prefix:
            yield from _assigned(node.body, f"{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and not target.id.startswith("__"):
                yield from _leaves(prefix + target.id, node.value, 0)


def _leaves(key: str, node: ast.expr, depth: int) -> Iterator[tuple[str, object, int]]:
    """The plain values below an expression; dict(lr=0.1) and {"lr": 0.1} are followed, what cannot be known is left out."""
    if depth > DEEPEST:
        return
    pairs: list[tuple[str, ast.expr]] | None = None
    if isinstance(node, ast.Call) and node.keywords and not node.args:
        pairs = [(word.arg, word.value) for word in node.keywords if word.arg]
    elif isinstance(node, ast.Dict):
        pairs = [(str(name.value), value) for name, value in zip(node.keys, node.values, strict=True) if isinstance(name, ast.Constant)]
    elif isinstance(node, ast.List | ast.Tuple) and any(isinstance(item, ast.Dict | ast.Call) for item in node.elts):
        pairs = [(str(place), item) for place, item in enumerate(node.elts)]
    if pairs is not None:
        for name, value in pairs:
            yield from _leaves(f"{key}.{name}", value, depth + 1)
        return
    try:
        yield shortened(key), _value(node, depth), node.lineno
    except _Unknown:
        return


def _value(node: ast.expr, depth: int) -> object:
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, str):
            return shortened(value)
        if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
            return value
    elif isinstance(node, ast.List | ast.Tuple | ast.Set) and depth <= DEEPEST:
        return [_value(item, depth + 1) for item in node.elts[:LONGEST]]
    elif isinstance(node, ast.UnaryOp | ast.BinOp):
        return _number(node, depth)
    raise _Unknown


def _number(node: ast.expr, depth: int) -> float:
    """A small calculation: "-1", "8 * 1024", "10 ** -4"."""
    if depth > DEEPEST:
        raise _Unknown
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand, depth + 1)
    if isinstance(node, ast.BinOp) and (sum_of := _SUMS.get(type(node.op))) is not None:
        left, right = _number(node.left, depth + 1), _number(node.right, depth + 1)
        small = abs(left) < LARGEST and abs(right) < (64 if isinstance(node.op, ast.Pow) else LARGEST)
        try:
            found = sum_of(left, right) if small else None
        except (ArithmeticError, ValueError):
            found = None
        if isinstance(found, int | float) and abs(found) < 2**63:
            return found
    raise _Unknown
