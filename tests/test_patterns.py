"""Expressions that are compiled when needed: the needles must stand in everything that matches."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postmortem import formats
from postmortem.patterns import Sought, Wanted, needles, plain
from postmortem.rules import base

RULES = [rule for rule in base.catalogue().values() if rule.says]


@pytest.mark.parametrize(
    ("source", "flags", "found"),
    [
        ("out of memory", 0, {"out of memory"}),
        (r"\bexit code (?:137|143)\b", 0, {"exit code "}),
        (r"(?:first word|second word) \d+", 0, {"first word", "second word"}),
        (r"(?:first word|\d+) of tea", 0, {" of tea"}),
        (r"(?:first word|\d+)", 0, set()),
        ("colou?rs of tea", 0, {"rs of tea"}),
        ("tea{2,}pots", 0, {"pots"}),
        ("kettles+on", 0, {"kettles"}),
        ("(?:green )?kettle", 0, {"kettle"}),
        ("(?:green )kettle", 0, {"green kettle"}),
        ("(?P<what>green )kettle(?!s are gone)", 0, {"green kettle"}),
        ("(?i)Green KETTLE", 0, {"green kettle"}),
        (r"pot\.lid\x21more", 0, {"pot.lid"}),
        (r"[)\]|(]kettle[^]a-z]", 0, {"kettle"}),
        (r"green kettle # not this | nor this", re.VERBOSE, {"greenkettle"}),
        ("(?x) green \\ kettle", 0, {"green kettle"}),
        (r"(?x:green[ ]kettle)", 0, {"kettle"}),
        (r"(?P<a>x)?(?(a)kettle|green pot)", 0, set()),
        (r"kettle (?x: ( green | black ) )", 0, set()),
        (r"green\(?(?:kettle|pot lid)", 0, {"kettle", "pot lid"}),
        ("(?:)|kettle", 0, set()),
        ("", 0, set()),
    ],
)
def test_needles_are_the_longest_texts_that_must_be_there(source: str, flags: int, found: set[str]) -> None:
    re.compile(source, flags)
    assert needles(source, flags) == found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_whatever_a_rule_asks_for_holds_one_of_its_needles(rule: base.Rule) -> None:
    assert rule.says is not None
    regex = re.compile(rule.says.source)
    lines = {line for example in rule.fires_on for text in example.files.values() for line in text.split("\n")}
    for line in lines:
        assert (rule.says.search(line) is None) == (regex.search(line) is None), line


@pytest.mark.parametrize("ending", [one for one in formats.endings() if not one.last], ids=lambda ending: ending.name)
def test_whatever_an_ending_says_holds_one_of_its_needles(ending: formats.Ending) -> None:
    sought = Sought(ending.source, re.VERBOSE, ending.literal)
    for sample in ending.samples:
        assert any(needle in plain(sample.line) for needle in sought.needles), (sample.line, sought.needles)
    assert sought.needles, "it would be tried on every line of every file, and no line could be passed over"


_WORD = st.text("ab .\\-", min_size=1, max_size=8).map(re.escape)
_ATOM = st.one_of(_WORD, st.sampled_from([r"\d", r"[ab]", ".", r"\s", "^", r"\b"]))
_TIMES = st.sampled_from(["", "", "?", "*", "+", "{0,2}", "{2}", "+?"])


def _parts(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = st.tuples(st.sampled_from(["(?:", "(", "(?i:"]), st.lists(inner, min_size=1, max_size=3), _TIMES)
    return st.one_of(group.map(lambda some: f"{some[0]}{'|'.join(some[1])}){some[2]}"), st.tuples(inner, inner).map("".join))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.recursive(_ATOM, _parts, max_leaves=8), st.data())
def test_every_match_of_any_expression_holds_a_needle(source: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(source))
    found = needles(source)
    assert not found or any(needle in plain(text) for needle in found)


def test_nothing_is_compiled_that_no_text_asks_for() -> None:
    kettle, pot = Sought("green kettle"), Sought("black pot")
    assert Wanted((kettle, pot)).search("a black pot, it is") is not None
    assert "regex" not in vars(kettle) and "regex" in vars(pot)
    fresh = base.load(RULES[0].module, RULES[0].family)
    assert fresh.says is not None and "regex" not in vars(fresh.says)
