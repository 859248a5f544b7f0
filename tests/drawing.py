"""Examples of Hypothesis' strategies as a list, the same ones for the same seed."""

from __future__ import annotations

import zlib
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

Drawn = TypeVar("Drawn")


def drawn(named: str, strategy: st.SearchStrategy[Drawn], examples: int) -> list[Drawn]:
    """Return examples of a strategy; the name is the seed."""
    found: list[Drawn] = []

    @seed(zlib.crc32(named.encode()))
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def draw(example: Drawn) -> None:
        found.append(example)

    draw()
    return found
