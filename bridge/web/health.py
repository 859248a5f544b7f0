"""The health of the bridge: what is wrong now, as sentences for an operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, get_args

from bridge.model import Details, Report

# The store accepts a write; a source takes mail in; a source has not stalled; an endpoint takes
# what it is due; the process has the descriptors, threads and memory that it needs;
# the log is read; the clock is right, as far as one can tell; nothing that was stored is altered or
# missing.
Condition = Literal[
    "store", "source", "progress", "delivery", "resources", "log", "clock", "damage"
]
CONDITIONS: Final[tuple[Condition, ...]] = get_args(Condition)


@dataclass(frozen=True, slots=True)
class Reload:
    """How many reloads of the config have ended, and how the last one did: names of tables."""

    count: int = 0
    ok: bool = True
    changed: Sequence[str] = ()
    needs_restart: Sequence[str] = ()


class Health:
    """Named conditions, each good or bad with a sentence that says what is wrong.

    Healthy: no condition is bad. Ready: started, and not draining. An unhealthy bridge stays
    ready: it defers mail (451), which loses nothing, and a restart would repair neither a disk nor
    a mail server.
    """

    def __init__(self) -> None:
        self._bad: dict[tuple[Condition, str], str] = {}
        self._sources: dict[str, Callable[[], Report]] = {}
        self._reload = Reload()
        self._started = False
        self._draining = False

    def bad(self, condition: Condition, problem: str, part: str = "") -> bool:
        """Mark a condition, or one part of it, as bad; True if it was good before."""
        was_good = (condition, part) not in self._bad
        self._bad[condition, part] = problem
        return was_good

    def good(self, condition: Condition, part: str = "") -> bool:
        """Mark a condition, or one part of it, as good; True if it was bad before."""
        return self._bad.pop((condition, part), None) is not None

    def show(self, source: str, report: Callable[[], Report]) -> None:
        """Show a source's state and details; they don't affect the verdict."""
        self._sources[source] = report

    def start(self) -> None:
        """Become ready: everything listens and the store is open."""
        self._started = True

    def drain(self) -> None:
        """Become unready for good: the bridge is shutting down."""
        self._draining = True

    def reloaded(
        self, *, ok: bool, changed: Sequence[str] = (), needs_restart: Sequence[str] = ()
    ) -> None:
        """Show how a reload ended. It doesn't affect the verdict: the former config is in use."""
        self._reload = Reload(self._reload.count + 1, ok, changed, needs_restart)

    @property
    def last_reload(self) -> Details:
        """The last reload, as `/healthz` prints it."""
        return asdict(self._reload)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, one sentence each; empty means healthy."""
        return tuple(f"{condition}: {problem}" for (condition, _), problem in self._bad.items())

    def count(self) -> Mapping[Condition, int]:
        """Count the problems of each kind."""
        counted = Counter(condition for condition, _ in self._bad)
        return {condition: counted[condition] for condition in CONDITIONS}

    @property
    def reports(self) -> Mapping[str, Details]:
        """The state and details of each source, as `/healthz` prints them."""
        reports = {source: report() for source, report in self._sources.items()}
        return {
            source: {"state": report.state, **report.details} for source, report in reports.items()
        }

    @property
    def not_ready(self) -> tuple[str, ...]:
        """Why no traffic should be sent here; empty means ready."""
        if self._draining:
            return ("draining: the bridge is shutting down",)
        if not self._started:
            return ("starting: not everything listens yet",)
        return ()
