"""Patterns of a config, most of them odd, and text that is made against them."""

from __future__ import annotations

import random
from typing import Final

from bridge.config.pattern import compile_pattern

_ATOMS: Final = (
    "a", "b", "-", "=", " ", ".", r"\s", r"\S", r"\w", r"\d", r"[^\n]", "[a-z]", r"[^<>\s]", r"\n",
    "From", "SMS", "x?", "(?:a|b)", "(?:a|a)", "(?s:.)", r"\b", "^", "$", "à", r"[\x00-\x{10ffff}]",
)  # fmt: skip
_LARGE: Final = (r"\pL", r"[^\pN\s]", r"\PM")  # up to 0.1 s to compile, so they are rarer
_REPEATS: Final = ("", "", "*", "+", "?", "*?", "+?", "{2}", "{5,}", "{0,50}", "{1000}")
_SHAPES: Final = (
    "{0}{1}{2}", "({0}{1})+{2}", "(?:{0}+)+{1}", "(?:{0}|{1})*{2}", "^{0}{1}$",
    "(?P<value>{0}){1}{2}",
    "{0}.*{1}.*{2}", "{0}.*?{1}|{2}", "(?:(?:{0}*)*)*{1}", "(?s){0}.*{1}", "({0}{1}{2}){{5,}}",
)  # fmt: skip
_TEXTS: Final = (
    "a", "b", "-", "=", " ", "\t", "\n", "a\n", "-\n", "-----\n", "ab", "aab", "a b ", "From: a\n",
    "From: ", "from\n\n", "SMS", "1", "+391234567890", "à", "\u3000", "x@", "<", "\u202e", "a: b\n",
)  # fmt: skip


def odd_pattern(rng: random.Random) -> str:
    """Make a pattern; most are ones that a config accepts, or hardly any case would be read."""
    for _ in range(rng.choice((1, 20, 20, 20))):
        made = _any_pattern(rng)
        try:
            compile_pattern(made)
        except ValueError:
            continue
        break
    return made


def _any_pattern(rng: random.Random) -> str:
    atoms = [rng.choice(_ATOMS if rng.random() < 0.99 else _LARGE) for _ in range(3)]
    pieces = [atom + rng.choice(_REPEATS) for atom in atoms]
    pattern = rng.choice(_SHAPES).format(*pieces)
    if rng.random() < 0.2:
        at = rng.randrange(len(pattern))
        pattern = pattern[:at] + rng.choice("()[]{}*+?|\\.^$a") + pattern[at + rng.randint(0, 2) :]
    return pattern


def odd_text(rng: random.Random, size: int) -> str:
    """Make text that nearly matches: a few pieces, repeated, with another end."""
    text = ""
    while len(text) < size:
        piece = "".join(rng.choice(_TEXTS) for _ in range(rng.randint(1, 3)))
        text += piece * rng.choice((1, 3, size // len(piece) + 1))
    return text[:size] + rng.choice(("", "!", "\n", "!\n", "\n\n"))
