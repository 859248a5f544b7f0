"""No pattern takes more than linear time, whatever a stranger writes.

A walk finds every compiled pattern of the package, derives attacks from it, and doubles their
size. Only processor time counts, as a ratio.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel

import bridge
from bridge import numbers
from bridge.config.pattern import SearchPattern, compile_pattern
from bridge.providers import formats, presets
from bridge.providers.base import MAX_TEXT
from bridge.providers.labels import Field, Labels
from tests.patterns.attacks import attacks
from tests.providers.reading import PROVIDERS

ROOT: Final = Path(bridge.__file__).parent
SIZES: Final = (10_000, 20_000, 40_000)  # characters
QUICK: Final = 0.0025  # seconds for the first size: whatever is quadratic takes longer
METHODS: Final = ("search", "match", "fullmatch", "finditer", "findall", "sub", "subn", "split")


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(bridge.__path__, "bridge."):
        if not found.name.endswith("__main__") and ".migrations" not in found.name:
            yield importlib.import_module(found.name)


def compiled_in(value: object, depth: int = 2) -> Iterator[re.Pattern[Any]]:
    """Yield the patterns that a module's attribute is or holds."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, Labels):
        yield from (each for each in vars(value).values() if isinstance(each, re.Pattern))
    elif depth and isinstance(value, Mapping):
        for each in value.values():
            yield from compiled_in(each, depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from compiled_in(each, depth - 1)
    elif depth and isinstance(value, type) and value.__module__.startswith("bridge."):
        for each in list(vars(value).values()):  # a look at a model's validator builds it
            yield from compiled_in(each, depth - 1)


def sources(*words: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the name and the tree of every file with one of the words; migrations read no mail."""
    for path in sorted(ROOT.rglob("*.py")):
        if "migrations" not in path.parts:
            text = path.read_text(encoding="utf-8")
            if any(word in text for word in words):
                yield str(path.relative_to(ROOT)), ast.parse(text)


def declared() -> dict[str, tuple[re.Pattern[Any], frozenset[str]]]:
    """Return every pattern of every module, with the methods that the module calls on it."""
    found = {}
    calls = {file: list(_calls(tree)) for file, tree in sources(*(f".{each}" for each in METHODS))}
    for module in modules():
        called = [
            ({name.id for name in ast.walk(node.func.value) if isinstance(name, ast.Name)}, method)
            for node, method in calls.get(str(Path(module.__file__).relative_to(ROOT)), ())
        ]
        for name, value in vars(module).items():
            for index, pattern in enumerate(compiled_in(value)):
                # One that is passed on is tried with each method.
                used = {method for names, method in called if name in names}
                methods = frozenset(used or {"search", "match", "fullmatch"})
                found[f"{module.__name__}.{name}.{index}"] = (pattern, methods)
    # It reads the operator's own patterns, and only those that RE2 accepted.
    del found["bridge.config.weight._TOKEN.0"]
    for file, nodes in calls.items():
        for node, method in nodes:
            if ast.unparse(node.func.value) == "re" and isinstance(node.args[0], ast.Constant):
                pattern = re.compile(node.args[0].value)
                found[f"{file}:{node.lineno}"] = (pattern, frozenset({method}))
    return found


def _calls(tree: ast.AST) -> Iterator[tuple[Any, str]]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in METHODS
        ):
            yield node, node.func.attr


DECLARED: Final = declared()


def compiling() -> tuple[int, set[str]]:
    """Count the `re.compile` outside functions, and name the functions that compile."""
    outside, inside = 0, set()
    for file, tree in sources("compile"):
        functions = {
            id(node): outer.name
            for outer in ast.walk(tree)
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(outer)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {
                "re.compile",
                "re2.compile",
            }:
                if id(node) in functions:
                    inside.add(f"{file}:{functions[id(node)]}")
                else:
                    outside += 1
    return outside, inside


def test_the_walk_finds_them_all() -> None:
    """No pattern is missed, wherever it stands; one that a function compiles has a test below."""
    outside, inside = compiling()
    assert len({id(pattern) for pattern, _ in DECLARED.values()}) >= outside - 1 > 70
    assert inside == {
        "config/pattern.py:compile_pattern",  # test_operators_patterns_are_linear
        "config/weight.py:_size",  # RE2, and never run on a text
        "mail/mime.py:_markers",  # test_boundaries_are_linear
        "numbers.py:pattern_of",  # test_the_search_for_a_number_is_linear
        "providers/formats.py:_translation",  # test_the_words_of_times_are_linear
        "providers/labels.py:__init__",  # test_labels_are_linear
    }


def grows(work: Callable[[Any], object], make: Callable[[int], Any]) -> str | None:
    """Return how the time grows where that is faster than the size, else None."""
    for size in (16, 20, 24, 28, 32):  # what is exponential never ends at the sizes below
        if seconds(work, make(size)) > 0.05 < seconds(work, make(size)):
            return f"exponential: over 50 ms for {size} characters"
    first = seconds(work, make(SIZES[0]))
    if first < QUICK:
        return None
    first = min(first, seconds(work, make(SIZES[0])))
    if first < QUICK:
        return None
    times = [first]
    for size in SIZES[1:]:
        value = make(size)
        times.append(min(seconds(work, value) for _ in range(3 if first < 0.05 else 1)))
        if times[-1] < 2.8 * times[-2]:
            return None
        if times[-1] > 0.5:
            break
    return ", ".join(f"{size}: {each:.4f} s" for size, each in zip(SIZES, times, strict=False))


def seconds(work: Callable[[Any], object], value: object) -> float:
    began = time.process_time()
    work(value)
    return time.process_time() - began


def calls(pattern: re.Pattern[Any], method: str) -> Callable[[Any], object]:
    if method in {"sub", "subn"}:
        blank = b"" if isinstance(pattern.pattern, bytes) else ""
        return lambda value: getattr(pattern, method)(blank, value)
    if method == "finditer":
        return lambda value: sum(1 for _ in pattern.finditer(value))
    return lambda value: getattr(pattern, method)(value)


def slow(pattern: re.Pattern[Any], methods: frozenset[str]) -> list[str]:
    """Return the attacks under which a pattern is worse than linear, with the times."""
    found = []
    for start, pump, end in attacks(pattern):

        def make(size: int, start: str = start, pump: str = pump, end: str = end) -> Any:
            text = start + pump * (size // len(pump)) + end
            return text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text

        for method in sorted(methods):
            grown = grows(calls(pattern, method), make)
            if grown is not None:
                return [f"{method} of {start!r} + {pump!r} * n + {end!r}: {grown}"]
    return found


@pytest.mark.parametrize("name", DECLARED)
def test_patterns_are_linear(name: str) -> None:
    """Every pattern of the package, with the methods that it is used with."""
    assert slow(*DECLARED[name]) == []


@pytest.mark.parametrize(
    "pattern",
    [r"[^\s<>,;:\"()]+@[^\s<>,;:\"()]+", r"^(\w+\s?)*$", r"(a|a)*b", r"\s*;", r"x.*y.*z"],
)
def test_a_slow_pattern_is_found(pattern: str) -> None:
    """The test can fail: these are quadratic or worse, the first one was ours."""
    assert slow(re.compile(pattern), frozenset({"search", "findall"})) != []


def test_boundaries_are_linear() -> None:
    """A boundary as a mail may name it: blanks, and what patterns use."""
    for boundary in ("b", "a b", "- -", " ".join("ab" * 15), "(a+)+$"):
        words = re.split(r"[ \t]+", f"--{boundary}")
        marker = re.compile(r"[ \t]++".join(map(re.escape, words)).encode())
        assert slow(marker, frozenset({"match"})) == []


def test_the_search_for_a_number_is_linear() -> None:
    """Whatever raw mails hold, a person's number is looked for in linear time."""
    for number in ("+393301234567", "+14155550123"):
        assert slow(numbers.pattern_of(number), frozenset({"search", "finditer"})) == []


def test_the_words_of_times_are_linear() -> None:
    """Names of months and zones that a config may hold, one of them the beginning of another."""
    words = ("a", "aa", "a a a", "(a+)+$", "mär", "märz")
    translate = formats._translation((word, "x") for word in words)
    for start, pump, end in attacks(re.compile("|".join(map(re.escape, words)))):
        assert (
            grows(translate, lambda size, s=start, p=pump, e=end: s + p * (size // len(p)) + e)
            is None
        )


LABELS: Final = {
    **{name: each.labels for name, each in ((each.name, each) for each in PROVIDERS) if
       getattr(each, "labels", None) is not None},
    "from the config": Labels(
        {
            Field.SENDER: ("a a a", "* *", "(a+)+$", "_ . /", "Von wem"),
            Field.BODY: ("a", "a a", "=", "Text"),
        },
        footers=("a", "(a|a)*$", "-- "),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_linear(name: str) -> None:
    """The patterns of labels and footers, the presets' and those that a config may name."""
    for pattern in compiled_in(LABELS[name]):
        assert slow(pattern, frozenset({"search", "match"})) == []


def configured(value: object) -> Iterator[SearchPattern]:
    """Yield every pattern in a preset's settings."""
    if isinstance(value, SearchPattern):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from configured(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from configured(each)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from configured(getattr(value, name))


NASTY: Final = [
    r"^(a|a)*$", r"(a+)+b", r"(\s*\w*\s*)*!", "(x*)*y", "a(?s:.*)b|a", "x(?P<value>y)?", "x*",
    "^-- $", "-{5,}$", r"(\d+)(?:(?s:.*)END)?",
]  # fmt: skip
OPERATORS: Final = sorted(
    {
        *NASTY,
        *(each.text for name in presets.DECLARED for each in configured(presets.settings(name))),
    }
)


@pytest.mark.parametrize("text", OPERATORS)
def test_operators_patterns_are_linear(text: str) -> None:
    """What a config says, one search or all matches, and never more than a tenth of a second."""
    pattern = compile_pattern(text)
    for start, pump, end in attacks(re.compile(text.replace(r"\z", r"\Z"))):

        def make(size: int, start: str = start, pump: str = pump, end: str = end) -> str:
            return start + pump * (size // len(pump)) + end

        for work in (pattern.search, pattern.__contains__, lambda value: list(pattern.all(value))):
            assert grows(work, make) is None, (start, pump, end)
            assert seconds(work, make(MAX_TEXT)) < 0.1
