"""Operators' patterns are compiled at load, linear, and refused in words."""

from __future__ import annotations

import random
import time

import pytest

from bridge.config.pattern import compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "value"),
    [
        (r"^SMS from (?P<value>\S+)", "x\nsms FROM abc def", "abc"),
        (r"from (\S+)", "from abc", "abc"),
        (r"from \S+$", "from abc\nto", "from abc"),
        (r"(a)(?P<value>b)", "ab", "b"),
        (r"é+", "CAFÉÉ!", "ÉÉ"),
        (r"x(?P<value>y)?", "x xy", "y"),
        (r"👋(?P<value>.)", "1👋2", "2"),
    ],
)
def test_a_pattern_finds_its_value(pattern: str, text: str, value: str) -> None:
    """The group `value`, else the one group, else all of it, and the span is the text's."""
    match = compile_pattern(pattern).search(text)
    assert match is not None
    assert match.value == value
    assert text[slice(*match.span)] == value


@pytest.mark.parametrize(
    "pattern",
    [
        r"(\S+)$", r"^(a|ab)(c|bcd)?(?P<value>d*)", r"\b(\w+)\b", r"a(?s:.*)c|(a)", r"(a*?)b?$",
        r"(?s)(.*?)\z", r"\A(.)", r"(à+)\B", "^()$", "(x)|a", r"(?P<value>[(?P<a>])\Q(?P<b>",
    ],
)  # fmt: skip
def test_a_value_is_what_its_group_matched(pattern: str) -> None:
    """Matches are found without their groups, and then what the value's group matched in each."""
    found = compile_pattern(pattern)
    rng = random.Random(pattern)
    for _ in range(300):
        text = "".join(rng.choices("aabcd \nàx(?P<b>\N{GRINNING FACE}", k=rng.randint(0, 12)))
        both = found.with_groups.finditer(text)
        spans = [(each.span(found.group), each.span()) for each in both]
        assert [(each.span, each.whole) for each in found.all(text)] == [
            (value, whole) for value, whole in spans if value[0] >= 0
        ]
    assert found.compiled.groups == 0


def test_a_match_within_a_letters_bytes_has_no_value() -> None:
    r"""RE2's \B looks at bytes; whoever writes é must not stop what an operator wrote."""
    found = compile_pattern(r"\B(b*)|\n")
    assert [each.span for each in found.all("A \tbéé1\nb")]


def test_the_value_of_a_match_that_is_far_too_long_is_not_looked_for() -> None:
    """Any text of an SMS can be a value; what takes too long to find is none."""
    pattern = compile_pattern(r"(?s)^Text: (.*?)\s*--$")
    longest = "Text: " + "a" * 40_000 + "\n--"
    assert pattern.search(longest) is not None
    assert pattern.search(longest.replace("aa", "a" * 60)) is None
    assert len(list(pattern.wholes(longest.replace("aa", "a" * 60)))) == 1


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(a", "missing ): (a"),
        ("[z-a]", "character class"),
        (r"(?=a)", "look-ahead"),
        (r"(a)\1", "back-references"),
        ("a{5000}", "repetition"),
        (r"(?:a|a)?.*?\S{1000}|\pL", "must be at most 200 characters"),
        (r"(?s:.){1000}", "1000 places at once"),
        (r"(?:[^\n]{20}){20}", "slow"),
        (r"(?:[\x00-\x{10ffff}]*(?s:.){0,50}x){5,}", "slow"),
        ("a" + "." * 900 + "b", "slow"),
        ("a" + "[ab]" * 240 + "b", "slow"),
        (r"(?:ab|ba){100}", "slow"),
        ("x" * 900 + "y", "slow"),
        (r"(?:()|\b){1000}", "999 places at once"),
        (r"(${1000}[^<>\s]*)+=+", "slow"),
        ("", "empty"),
        ("a" * 1001, "longer than 1000"),
    ],
)
def test_a_bad_pattern_is_refused(pattern: str, says: str) -> None:
    """The sentence says what is wrong, in the operator's own pattern."""
    with pytest.raises(ValueError, match=r"^(is|must)") as caught:
        compile_pattern(pattern)
    assert says in str(caught.value)
    assert "(?im)" not in str(caught.value)


@pytest.mark.parametrize("pattern", [r"^(a|a)*$", r"(a+)+b", r"(\s*\w*\s*)*!", "(x*)*y"])
def test_no_pattern_can_hold_the_bridge_up(pattern: str) -> None:
    """What takes a backtracking engine for ever takes this one a moment, on 200,000 characters."""
    began = time.thread_time()
    compile_pattern(pattern).search("a" * 100_000 + " x" * 50_000)
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(
    "pattern",
    [
        r"^-{5,}$", r"[\pL ]{1,40}", r"\S{100}.{100}", r"\Qa{1000}\E", r"^Text: (.{1,160})$",
        r"(?:^a|^b|\b$){2,20}",
        "This mail was sent by " * 10, "é" * 250, "|".join(f"keyword{n}" for n in range(99)),
    ],
)  # fmt: skip
def test_counts_that_cost_little_are_taken(pattern: str) -> None:
    """A long pattern, or one with large classes, is as good as a short one."""
    assert compile_pattern(pattern)


def test_a_lone_surrogate_moves_nothing() -> None:
    """A character that UTF-8 cannot say counts as one, so that later spans stay right."""
    text = "\ud800é from abc"
    match = compile_pattern(r"from (\w+)").search(text)
    assert match is not None
    assert text[slice(*match.span)] == "abc"


@pytest.mark.parametrize(
    ("pattern", "text", "value"),
    [
        ("^-- $", "--", "--"),
        ("^-- $", "-- \t", "-- \t"),
        (r"a\tb", "a  b", "a  b"),
        ("a b", "a\t b", "a\t b"),
        ("a:  b", "a: b", "a: b"),
        ("a: (.*)", "a:   b", "  b"),
        ("a: +(.*)", "a:   b", "b"),
        ("a {2,}b", "a b", "a b"),
        ("a ?b", "a  b", "a  b"),
        (r"\Qa. b\E", "a. b", "a. b"),
        ("[ ]x", " x", " x"),
        (r"[\] a]b", "ab", "ab"),
        ("a b", "ab", None),
        ("a $", "ab", None),
        ("^SMS from ", "SMS from", None),
    ],
)
def test_blanks_are_alike(pattern: str, text: str, value: str | None) -> None:
    """However many spaces or tabs there are, which no signature sees; at a line's end, none."""
    match = compile_pattern(pattern).search(text)
    assert (match and match.value) == value
