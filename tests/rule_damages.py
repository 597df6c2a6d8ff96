"""Small damages to the text of a rule: alternatives and guards of a pattern taken out, conditions of code dropped or turned round."""

from __future__ import annotations

import ast
import copy
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

# ---------------------------------------------------------------------- patterns


def patterns(pattern: str) -> Iterator[tuple[str, str, str]]:
    """(what was done, kind of mutant, the pattern) for each alternative removed and each guard dropped."""
    flags = re.match(r"\(\?[aimsx]+\)", pattern)
    head = flags[0] if flags else ""
    parts = _alternatives(pattern[len(head) :])
    for i, part in enumerate(parts):
        if len(parts) > 1:
            yield f"says without {_short(part)}", "says alternative", head + "|".join(parts[:i] + parts[i + 1 :])
        for begin, end in _guards(part):
            other = [*parts[:i], part[:begin] + part[end:], *parts[i + 1 :]]
            yield f"says: {_short(part[begin:end])} dropped from {_short(part)}", "says guard", head + "|".join(other)


def _walk(source: str) -> Iterator[tuple[int, str, int]]:
    """(position, token, depth) of a pattern outside of character classes; a token is a character or an escape."""
    i, depth = 0, 0
    while i < len(source):
        if source[i] == "\\":
            yield i, source[i : i + 2], depth
            i += 2
        elif source[i] == "[":
            i += 1 + source.startswith("^", i + 1)
            i += 1  # the first character of a class never closes it
            while source[i] != "]":
                i += 2 if source[i] == "\\" else 1
            i += 1
        else:
            depth -= source[i] == ")"
            yield i, source[i], depth
            depth += source[i] == "("
            i += 1


def _alternatives(source: str) -> list[str]:
    cuts = [i for i, token, depth in _walk(source) if token == "|" and depth == 0]
    return [source[a + 1 : b] for a, b in zip([-1, *cuts], [*cuts, len(source)], strict=True)]


def _guards(source: str) -> Iterator[tuple[int, int]]:
    """Where word boundaries, anchors and look-arounds stand."""
    tokens = list(_walk(source))
    for i, token, depth in tokens:
        if token in (r"\b", r"\B", "^", "$"):
            yield i, i + len(token)
        elif token == "(" and re.match(r"\(\?<?[!=]", source[i:]):
            yield i, next(j for j, other, at in tokens if j > i and other == ")" and at == depth) + 1


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


# ---------------------------------------------------------------------- code


def conditions(tree: ast.Module) -> Iterator[tuple[str, ast.Module]]:
    """Each condition of the functions that `check` and `examine` reach, dropped or turned round."""
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    reached, waiting = set(), [name for name in ("check", "examine") if name in functions]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [n.id for n in ast.walk(functions[name]) if isinstance(n, ast.Name) and n.id in functions]
    for name in sorted(reached, key=lambda n: functions[n].lineno):
        for number, node in enumerate(ast.walk(functions[name])):
            for what, change in _changes(node):
                changed = copy.deepcopy(tree)
                twin = next(n for n in changed.body if isinstance(n, ast.FunctionDef) and n.name == name)
                change(list(ast.walk(twin))[number])
                line = getattr(node, "lineno", functions[name].lineno)
                yield f"{name}, line {line}: {what}", changed


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], None]]]:
    """What can be done to a node: a sentence, and a function that does it to a copy of the node."""
    if isinstance(node, ast.If):
        leaves = isinstance(node.body[-1], ast.Return | ast.Continue | ast.Break | ast.Raise) and not _gives(node)
        yield f"`if {_short(ast.unparse(node.test))}` dropped", functools.partial(_fixed, to=not leaves)
        yield f"`if {_short(ast.unparse(node.test))}` negated", _negated
    elif isinstance(node, ast.IfExp):
        yield f"`... if {_short(ast.unparse(node.test))} else ...` negated", _negated
    elif isinstance(node, ast.comprehension):
        for i, test in enumerate(node.ifs):
            yield f"filter `if {_short(ast.unparse(test))}` dropped", functools.partial(_unfiltered, at=i)
    elif isinstance(node, ast.BoolOp) and (isinstance(node.op, ast.And) or any(map(_truth, node.values))):
        joint = "and" if isinstance(node.op, ast.And) else "or"
        for i, value in enumerate(node.values):
            yield f"`{_short(ast.unparse(value))}` dropped from an `{joint}`", functools.partial(_fewer, at=i)


def _gives(node: ast.If) -> bool:
    """Whether the body of an `if` gives something back: then dropping the condition means doing it always."""
    last = node.body[-1]
    given = isinstance(last, ast.Return) and last.value is not None and not (isinstance(last.value, ast.Constant) and not last.value.value)
    return given or any(isinstance(n, ast.Yield | ast.YieldFrom) for n in ast.walk(node))


def _truth(node: ast.expr) -> bool:
    """Whether an operand of `or` is a condition and no default value (`x or 0`)."""
    return isinstance(node, ast.Compare) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)) or isinstance(node, ast.BoolOp)


def _fixed(node: Any, to: bool) -> None:
    # the condition is still evaluated: it may name what the body uses
    node.test = ast.BoolOp(ast.Or() if to else ast.And(), [node.test, ast.Constant(to)])


def _negated(node: Any) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _unfiltered(node: Any, at: int) -> None:
    node.ifs[at] = ast.BoolOp(ast.Or(), [node.ifs[at], ast.Constant(True)])


def _fewer(node: Any, at: int) -> None:
    neutral = isinstance(node.op, ast.And)
    node.values[at] = ast.BoolOp(ast.Or() if neutral else ast.And(), [node.values[at], ast.Constant(neutral)])
