"""A JavaScript bundle without the modules that its core does not need: packaged plotly.js draws maps and 3-D too, we draw lines."""

from __future__ import annotations

import itertools
import re

# The shape that esbuild gives a bundle: helpers first, then one `var NAME=WRAP((exports,module)=>{...});` a CommonJS module, functions and
# `NAME=LAZY(()=>{...})` for ES modules in between, at the end the entry module, which registers trace types with the core.
_ENTRY = re.compile(
    r"var (?P<entry>[\w$]+)=(?P<wrap>[\w$]+)\(\([\w$]+,(?P<module>[\w$]+)\)=>\{var (?P<core>[\w$]+)=(?P<load>[\w$]+)\(\);"
    r"(?P=core)\.register\(\[[\w$(),]*\]\);(?P=module)\.exports=(?P=core)\}\);return (?P=entry)\(\);"
)
_LAZY = re.compile(r"[,\s]([\w$]+)=\(\w,\w,\w\)=>\(\)=>\{if\(\w\)throw \w\[0\];try\{return \w&&\(\w=\w\(\w=0\)\),\w\}")
_EXPORT = re.compile(r"[,\s]([\w$]+)=\((\w),(\w)\)=>\{for\(var (\w) in \3\)[\w$]+\(\2,\4,\{get:\3\[\4\],enumerable:!0\}\)\}")
_NAME = re.compile(r"[\w$]+")


def core_only(script: str) -> str:
    """The bundle with the core (scatter traces, axes, legends, hover) and no further trace type.

    Modules are kept if the core names them, directly or through others; whatever is not recognised as a module is kept. A bundle of
    another shape comes back unchanged: the report is larger then, and works.
    """
    entry = _ENTRY.search(script)
    helpers = script[: entry.start()] if entry else ""
    lazy, export = _LAZY.search(helpers), _EXPORT.search(helpers)
    if not entry or not lazy or not export:
        return script
    starts = list(re.finditer(rf"(?<=[;}}\n])var ([\w$]+)={re.escape(entry['wrap'])}\((?=[\w$(])", script[: entry.start()]))
    cuts = [start.start() for start in starts] + [entry.start()]
    chunks = [script[a:b] for a, b in itertools.pairwise(cuts)]
    defined = re.compile(rf"\b([\w$]+)={re.escape(lazy[1])}\(\(|\b{re.escape(export[1])}\(([\w$]+),\{{")
    owners = {start[1]: number for number, start in enumerate(starts)}
    for number, chunk in enumerate(chunks):
        if f"={lazy[1]}((" in chunk or f"{export[1]}(" in chunk:  # a quick look: the pattern is slow on megabytes
            owners |= {a or b: number for a, b in defined.findall(chunk)}
    if entry["load"] not in owners:
        return script
    kept = _reached(chunks, owners, owners[entry["load"]])
    modules = "".join(chunk for number, chunk in enumerate(chunks) if number in kept)
    return f"{script[: cuts[0]]}{modules}return {entry['load']}();{script[entry.end() :]}"


def _reached(chunks: list[str], owners: dict[str, int], first: int) -> set[int]:
    """The chunks that `first` names, and those that these name, and so on."""
    reached: set[int] = set()
    waiting = [first]
    while waiting:
        number = waiting.pop()
        if number not in reached:
            reached.add(number)
            waiting += [owners[name] for name in set(_NAME.findall(chunks[number])) if name in owners]
    return reached
