"""What a kind of evidence is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, Trust


@dataclass(frozen=True, slots=True)
class Absent:
    """Evidence that was looked for and is not there; the sentence never holds a secret."""

    detail: str


@dataclass(frozen=True, slots=True)
class Later:
    """Evidence that cannot be looked for right now; the other side should bring the mail again."""

    detail: str


class UnansweredError(Exception):
    """The DNS did not answer; it never leaves this room.

    `lasting`: for so long that a mail had better be judged without.
    """

    def __init__(self, *, lasting: bool) -> None:
        super().__init__("the DNS did not answer")
        self.lasting = lasting


class Names(Protocol):
    """The DNS, as far as evidence asks it."""

    async def txt(self, name: str) -> Sequence[bytes]:
        """Give the TXT records of a name, none if it has none; raises UnansweredError."""


# None: the policy does not ask for this kind.
Weigh = Callable[
    [Arrival, Email, TrustSettings, Names | None], Awaitable[Trust | Absent | Later | None]
]


def related(one: str, other: str) -> bool:
    """Tell whether two domains are the same, or one is a subdomain of the other."""
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
