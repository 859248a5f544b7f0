"""What a kind of evidence is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, Trust


@dataclass(frozen=True, slots=True)
class Absent:
    """Evidence that was looked for and is not there; the sentence never holds a secret."""

    detail: str


# None: the policy does not ask for this kind.
Weigh = Callable[[Arrival, Email, TrustSettings], Awaitable[Trust | Absent | None]]


def related(one: str, other: str) -> bool:
    """Tell whether two domains are the same, or one is a subdomain of the other."""
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
