"""What is wrong right now, as sentences for an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from bridge.model import Report

# The store takes a write; a source takes mail in; a source has not stopped in silence.
Condition = Literal["store", "source", "progress"]


class Health:
    """Named conditions, each good or with a sentence that says what is wrong.

    Healthy: no condition is bad. Ready: started, and not draining. A sick bridge stays ready: it
    defers mail (451), which loses nothing, and a restart would mend neither a disk nor a server.
    """

    def __init__(self) -> None:
        self._bad: dict[tuple[Condition, str], str] = {}
        self._parts: dict[str, Callable[[], Report]] = {}
        self._started = False
        self._draining = False

    def bad(self, condition: Condition, problem: str, part: str = "") -> bool:
        """Say what is wrong with a condition, or with a part of it; True if it was good before."""
        was_good = (condition, part) not in self._bad
        self._bad[condition, part] = problem
        return was_good

    def good(self, condition: Condition, part: str = "") -> bool:
        """Say that a condition, or this part of it, is good; True if it was bad before."""
        return self._bad.pop((condition, part), None) is not None

    def show(self, part: str, report: Callable[[], Report]) -> None:
        """Let a part be asked how it does; it is no verdict."""
        self._parts[part] = report

    def start(self) -> None:
        """Everything listens and the store is open."""
        self._started = True

    def drain(self) -> None:
        """Shutting down: nothing more is taken in."""
        self._draining = True

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, one sentence each; empty means healthy."""
        return tuple(f"{condition}: {problem}" for (condition, _), problem in self._bad.items())

    @property
    def reports(self) -> Mapping[str, Report]:
        """How each part does now."""
        return {part: report() for part, report in self._parts.items()}

    @property
    def not_ready(self) -> tuple[str, ...]:
        """Why nothing should be sent here; empty means ready."""
        if self._draining:
            return ("draining: the bridge is shutting down",)
        if not self._started:
            return ("starting: not everything listens yet",)
        return ()
