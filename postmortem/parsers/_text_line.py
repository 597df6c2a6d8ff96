"""What one line of a log says: which number is which metric, the step, the epoch; or that it is a heading, a table row, code.

A line is read on its own here; what it means in its place (below a heading, inside a table) is _text_context's affair.
Dialects of `formats` are asked first, then the generic reader: numbers that stand by themselves, each with the name before it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from postmortem import formats, vocabulary
from postmortem.model import Split
from postmortem.parsers import _text_numbers as numbers
from postmortem.parsers import _text_pairs as pairs
from postmortem.parsers import _text_rows as rows
from postmortem.parsers._text_numbers import Num
from postmortem.parsers._text_prefix import Opened
from postmortem.parsers._text_words import BAR_RANK, COMPANY, DOUBTFUL, FORMS, RULE

LONGEST = 20_000  # characters of a line that are looked at for numbers


class Metric(NamedTuple):
    """A number with its name as the line spells it; split None: the line does not say (the name may)."""

    name: str
    num: Num
    split: Split | None = None


class Cells(NamedTuple):
    """A line that is a row of a table: its cells, None where a cell is no number; `ruled`: what stood between them ("|", ",", "" blanks)."""

    nums: tuple[Num | None, ...]
    label: str  # the words before the first number; between bars the first cell
    ruled: str

    @property
    def piped(self) -> bool:
        """Did the cells stand between bars?"""
        return self.ruled == "|"


class Columns(NamedTuple):
    """A line that is the head of a table: the names of its columns."""

    names: tuple[str, ...]
    ruled: str
    starts: tuple[int, ...] = ()  # where the names begin and end in `Opened.bare`, of columns between blanks
    ends: tuple[int, ...] = ()

    def fitting(self, count: int) -> tuple[str, ...] | None:
        """The names as this many columns: without the `#` of a comment, with names apart that one blank divides; None: they do not fit."""
        apart = () if self.ruled else tuple(" ".join(self.names).split())
        tries = (self.names, self.names[1:] if self.names[0] == "#" else (), apart, apart[1:] if apart[:1] == ("#",) else ())
        return next((names for names in tries if len(names) == count), None)


@dataclass(slots=True)
class Said:
    """What one line says. Places are in `Opened.bare`.

    family   names the kind of line: the dialect's pattern, or the words around the numbers and which counters it carries
    heads    True: it carries a step or an epoch for the lines after it and no metric
    counts   it has a step that counts the whole run, not only the batches of an epoch
    section  the split that it announces for the lines after it; "" is none, "clear" ends a section
    boxed    a row of a box (`| name | 1.5 |`): its step counts for the whole box, `group` begins a group of names in it
    aside    its epoch holds for this line only
    firm     its step is told with its total ("Learning iteration 12/1500"): a row below it that counts ("Total timesteps: 90") is no step
    row      how well its counter counts, where the line is a row with a counter and nothing else (_text_rows); -1: it is none
    """

    family: str = ""
    metrics: list[Metric] = field(default_factory=list)
    step: Num | None = None
    epoch: Num | None = None
    rank: Num | None = None
    stamp: tuple[int, int] | None = None
    section: str = ""
    heads: bool = False
    counts: bool = False
    cells: Cells | None = None
    columns: Columns | None = None
    boxed: bool = False
    group: str | None = None
    aside: bool = False
    firm: bool = False
    row: int = -1
    code: bool = False


def said(line: Opened) -> Said | None:
    """What the line says, None: nothing that we understand."""
    if not line.bare or line.bare.isspace():
        return None
    found = _dialect(line) or _generic(line)
    if found is not None and found.stamp is None:
        found.stamp = line.stamp
    return found


# ---------------------------------------------------------------------- dialects


@functools.cache
def _patterns() -> tuple[tuple[str, formats.Pattern], ...]:
    return tuple((f"{dialect.name}/{pattern.name}", pattern) for dialect in formats.dialects() for pattern in dialect.patterns)


def _dialect(line: Opened) -> Said | None:
    """The line as the dialect reads it that finds most in it, None where no dialect knows it."""
    best: tuple[int, str, formats.Pattern, Sequence[formats.Field]] | None = None
    text = line.bare[:LONGEST]
    for family, pattern in _patterns():
        read = pattern.read(text)
        if read is not None and (best is None or len(read) > best[0]):
            best = (len(read), family, pattern, read)
    if best is None:
        return None
    _, family, pattern, fields = best
    found = Said(family=family)
    split = pattern.split
    for one in fields:
        if one.role:
            _role(found, one, text)
            if one.name == "split":
                split = formats.split_of(text[one.start : one.end]) or split
    for one in fields:
        if not one.role and (num := numbers.at(text, one.start, one.end, flags=True)) is not None:
            found.metrics.append(Metric(one.name, num, None if pairs.says_split(one.name) else split))
    found.counts, found.aside = found.step is not None, pattern.aside
    found.family += "|s" if found.step is not None else "|"  # a line with a step and one without are an iteration and an average
    found.heads = pattern.header or (not found.metrics and (found.step is not None or found.epoch is not None))
    if found.heads:
        found.metrics = []
        found.section = split or "clear"
    return found


def _role(found: Said, one: formats.Field, text: str) -> None:
    if one.name == "time":
        found.stamp = (one.start, one.end)
    elif one.name in ("step", "epoch", "rank"):
        setattr(found, one.name, numbers.at(text, one.start, one.end))


# ---------------------------------------------------------------------- generic

_DIGITS = re.compile(r"\d|\bnanx*\b|\binfx*\b", re.IGNORECASE | re.ASCII)
# Source code, usage texts and batch scripts that were printed into the log: no numbers of a training.
# (No look-around in it: Polars runs it, too.)
CODE = (
    r"^\s*(?:(?:async )?def \w+\(|class \w+[(:]|from [\w.]+ import |import [\w., *()]+$|return\b"
    r"|(?:if|elif|while|with|for|try|else|except|finally)\b.*:\s*(?:#.*)?$|@\w+$|assert |raise "
    r"|print\(|self\.\w+|#(?:include|define|BSUB|SBATCH|PBS|!|\$ )"
    r"|[\w.\[\]]+ = (?:[A-Za-z_][\w.]*\(|\[|\{|torch|nn\.|os\.)|usage: |[\w]+ *: *(?:int|float|str|bool)\b *="
    r"|\[?--?[a-z][\w-]+[ =][A-Z_{\[])|\):\s*$|\)\s*->\s*\w+:|\s--[a-z][\w-]+.*\s--[a-z][\w-]+.*\s--[a-z]"
)
_CODE = re.compile(CODE)
_COUNTED = re.compile(r"\s*[\[(]*(?:epoch|step|iter|iteration)\b[\s:\[#]*\d", re.IGNORECASE)  # "Epoch 21 (21/251):"
_PRINTED = re.compile(r"\s*[\w.]+ = (?:tensor|array)\(\s*\[*-?[\dni.]")  # "loss = tensor(0.5, device='cuda:0')" is no code
_NOISE = re.compile(
    r"NCCL (?:INFO|WARN)|torch\.Size\(|https?://\S*\d|\bChunk at 0x|^\s*File \"|UserWarning|DeprecationWarning|FutureWarning|\bwandb: "
    r"|THCudaCheck FAIL|\btraining from score\b"
)


def _generic(line: Opened) -> Said | None:
    text = line.bare[:LONGEST]
    begin = line.message
    if _CODE.search(text[begin:]) and not _COUNTED.match(text, begin) and not _PRINTED.match(text, begin):
        return Said(code=True)
    if _NOISE.search(text, begin):
        return None
    if not _DIGITS.search(text, begin):
        return _words_only(text, begin)
    found = _pairs(text, begin)
    if found is not None and (found.metrics or found.heads):
        return found
    cells = _cells(text, begin)
    if cells is not None:
        if cells.label and cells.piped and len(cells.nums) == 2 and cells.nums[1] is not None:
            return _boxed(cells.label, cells.nums[1])
        return Said(family="table", cells=cells)
    return _words_only(text, begin)


_TOTAL = re.compile(r"\s?/\s{0,7}\d")


def _pairs(text: str, begin: int) -> Said | None:
    read = pairs.read(text, begin)
    if read is None:
        return None
    found = Said(step=read.step, epoch=read.epoch, rank=read.rank)
    found.counts = read.step is not None and read.step_order <= 1
    counters = ("s" if read.step else "") + ("e" if read.epoch else "")
    found.family = " ".join(read.lead) + (DOUBTFUL if read.doubtful else f"|{counters}")
    found.metrics = [Metric(pair.name, pair.num, pair.split) for pair in read.pairs]
    found.heads = not found.metrics and bool(counters) and read.sure
    found.boxed = (
        len(found.metrics) == 1 and not counters and not read.lead and text.lstrip().startswith("|") and text.rstrip().endswith("|")
    )
    if found.heads:
        found.section = read.split or "clear"
        if read.step_order == BAR_RANK:
            found.step = None  # "Epoch 21 (21/251):" counts epochs twice
        if rows.is_row(text[begin:]):
            found.row = read.step_order if found.step is not None else 0
        found.firm = found.step is not None and bool(_TOTAL.match(text, found.step.end))
    return found


def _boxed(name: str, num: Num) -> Said:
    role = pairs.role(name)
    found = Said(family="box|", boxed=True)
    if role == "epoch":
        found.epoch = num
    elif role:
        found.step = num
    else:
        found.metrics = [Metric(name, num)]
    return found


# ---------------------------------------------------------------------- lines of words: sections and heads of tables

_PUNCTUATION = re.compile(r"[=\-*#>\s\[\]!.:()|<~_]+")
_NAME = re.compile(r"[A-Za-z%#_][\w@./()%+: \-]{0,38}$")


def _words_only(text: str, begin: int) -> Said | None:
    bar = _BAR_END.search(text, begin)
    message = text[begin : bar.start() if bar else len(text)]
    if len(message.strip()) <= 60 and (section := _section(message)):
        return Said(section=section)
    stripped = message.strip()
    if stripped.startswith("|") and stripped.endswith("|"):
        cells = [cell.strip() for cell in stripped.strip("|").split("|")]
        if len(cells) == 2 and cells[0] and not cells[1] and _NAME.match(cells[0]):
            return Said(boxed=True, group=cells[0])
    columns = _columns(message, begin)
    return Said(columns=columns) if columns else None


def _section(message: str) -> str:
    if re.search(r"[:=]\s*\w+\s*$", message):
        return ""  # "phase: TEST" is a setting
    words = [word.lower() for word in _PUNCTUATION.split(message) if word]
    splits = {FORMS[word] for word in words if word in FORMS}
    if len(splits) != 1 or len(words) > 6 or any(word not in FORMS and word not in COMPANY for word in words):
        return ""
    split = splits.pop()
    # "Start training" opens the run, it does not label the numbers of one section.
    return "clear" if split == "train" and len(words) > 1 and not {"results", "metrics", "stats", "set"} & set(words) else split


_BETWEEN_BLANKS = re.compile(r"[^\s](?:[^\s]| (?=\S))*")


def _columns(message: str, begin: int) -> Columns | None:
    """The column names, where the line is the head of a table with a name that is known to be a metric, or with a counter first."""
    stripped = message.strip().rstrip(":")
    if len(stripped) > 400 or ("=" in stripped) or stripped.endswith((".", ",", ";")):
        return None
    ruled = "|" if "|" in stripped else "," if stripped.count(",") >= 2 else ""
    if ruled:
        names = [cell.strip() for cell in stripped.strip("|").split(ruled)]
    else:
        names = re.split(r"\s{2,}|\t", stripped)
        if len(names) < 3:
            names = stripped.split()
            if len(names) < 3 or sum(_metric(name) or bool(pairs.role(name)) for name in names) < max(2, len(names) // 2):
                return None
    if len(names) < 2 or len(names) > 40 or not all(_NAME.match(name) for name in names if name) or not names[0] + names[-1]:
        return None
    if not _worth_a_table(names, ruled):
        return None
    spans = [] if ruled else [match.span() for match in _BETWEEN_BLANKS.finditer(message)]
    if len(spans) != len(names):
        return Columns(tuple(names), ruled)
    return Columns(tuple(names), ruled, tuple(start + begin for start, _ in spans), tuple(end + begin for _, end in spans))


def _worth_a_table(names: list[str], ruled: str) -> bool:
    known = [name for name in names if _metric(name)]
    counters = [name for name in names if pairs.role(name)]
    if ruled == ",":  # a sentence has commas, too
        return all(len(name.split()) <= 3 for name in names) and len(known) + len(counters) >= 2 and bool(known)
    sides = [name for name in names if name.lower() in FORMS]
    first = next(name for name in names if name and name != "#")
    counted = bool(pairs.role(first.split()[0])) if not ruled else bool(known) and bool(pairs.role(names[0]))
    if len(names) >= 3:
        return bool(known) or counted or (ruled == "|" and len(sides) >= 2 and len(sides) == sum(map(bool, names)))
    return ruled == "|" and (counted or len(sides) == len(names))


def _metric(name: str) -> bool:
    return vocabulary.lookup(name).kind in ("loss", "score", "rate", "norm", "speed", "ratio")


# ---------------------------------------------------------------------- rows

# Blanks are tried once, where they begin: a line of them costs no square.
_BAR_END = re.compile(rf"(?:(?<!\s):?\s*)?\d{{1,3}}%(?:\||\s{RULE}).*")


def _cells(text: str, begin: int) -> Cells | None:
    """The cells of a line that may be a row of a table: at least half of them numbers; between commas two of them."""
    end = match.start() if (match := _BAR_END.search(text, begin)) else len(text.rstrip())
    message = text[begin:end]
    if "|" in message:
        return _divided(text, begin, end, "|")
    return _divided(text, begin, end, "") or (_divided(text, begin, end, ",") if message.count(",") >= 2 else None)


_PARTS = {"|": re.compile(r"[^|]+"), ",": re.compile(r"[^,]+|(?<=,)(?=,|$)"), "": re.compile(r"\S+")}


def _divided(text: str, begin: int, end: int, ruled: str) -> Cells | None:
    nums: list[Num | None] = []
    words: list[str] = []
    for part in _PARTS[ruled].finditer(text, begin, end):
        if ruled == "|" and not part[0].strip() and (not nums or part.end() >= end):
            continue
        num = _cell(text, *part.span())
        if num is None and len(words) == len(nums) and (not ruled or not words):
            words.append(part[0].strip())
        nums.append(num)
    label = " ".join(words).strip("!*> ") if nums and nums[0] is None else ""
    known = sum(num is not None for num in nums)
    least = 2 if ruled == "," else max(1, (len(nums) + 1) // 2)
    if known < least or not 2 <= len(nums) <= 40 or (label and not _NAME.match(label)) or (words and not label and ruled != ","):
        return None
    return Cells(tuple(nums), label, ruled)


def _cell(text: str, start: int, end: int) -> Num | None:
    cell = text[start:end]
    lead = len(cell) - len(cell.lstrip())
    cell = cell.strip().rstrip(":")
    if cell.startswith("[") and cell.endswith("]"):  # an array of one number
        lead, cell = lead + 1, cell[1:-1]
    whole = cell.split("/")[0] if re.fullmatch(r"\d+/\d+", cell) else cell
    return numbers.at(text, start + lead, start + lead + len(whole)) if whole else None
