"""What a kind of evidence declares about itself, and the types that its check returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from bridge.model import Arrival, Email, SourceKind, Trust

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Absent:
    """Evidence that was looked for and not found; `detail` never holds a secret."""

    detail: str


@dataclass(frozen=True, slots=True)
class Later:
    """Evidence that can't be checked right now; the other side should send the mail again."""

    detail: str


class UnansweredError(Exception):
    """The DNS did not answer; caught within this package.

    `lasting`: the outage has lasted so long that the mail is judged without the answer.
    """

    def __init__(self, *, lasting: bool) -> None:
        super().__init__("the DNS did not answer")
        self.lasting = lasting


class Names(Protocol):
    """The DNS queries that evidence needs."""

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return the TXT records of a name, empty if it has none; raises UnansweredError."""


def smtp_only(_: object) -> frozenset[SourceKind]:
    """Return the sources of evidence that is in the SMTP session: the peer, the envelope."""
    return frozenset({SourceKind.SMTP})


def _every_source(_: object) -> frozenset[SourceKind]:
    return frozenset(SourceKind)


def _nothing(_: object) -> tuple[str, ...]:
    return ()


def _do_nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Kind(Generic[_T]):
    """One kind of evidence: how it is checked, what it needs, and how it's shown to an operator.

    Every function gets the kind's own value in `[providers.trust]`, as `TrustSettings` types it.
    """

    name: str
    """The key in `[providers.trust]`, and `trust.by` in the webhook."""

    proves: str
    """One phrase for operators: what a mail with this evidence proves."""

    weigh: Callable[[Arrival, Email, _T, Names | None], Awaitable[Trust | Absent | Later]]
    """Look for the evidence in one arrival."""

    describe: Callable[[_T], Iterable[str]]
    """List what is accepted, one phrase each; secrets are only counted."""

    who: Callable[[_T], str]
    """Name who can get a message in with this evidence, a forger included; one phrase."""

    guards: Callable[[_T], Iterable[str]]
    """List what stands in a forger's way, one phrase each."""

    warnings: Callable[[_T], Iterable[str]] = _nothing
    """List what is probably a mistake."""

    domains: Callable[[_T], Iterable[str]] = _nothing
    """List the domains that are trusted to vouch for a mail."""

    sources: Callable[[_T], frozenset[SourceKind]] = _every_source
    """Return the kinds of source whose arrivals can carry this evidence."""

    needs_dns: bool = False
    """Whether checking it queries the DNS."""

    about_sender: bool = False
    """Whether it speaks for the domain of the From: then a From without an address has none."""

    secret: str | None = None
    """What to call the value where it is a secret, as in "secret recipient"."""

    preload: Callable[[], None] = _do_nothing
    """Import what is too heavy to import unless the config uses this kind."""

    close: Callable[[], None] = _do_nothing
    """End the threads that checking it started, if any."""


def related(one: str, other: str) -> bool:
    """Return whether two domains are equal or one is a subdomain of the other."""
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
