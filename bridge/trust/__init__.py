"""Why an arrival is believed: any one kind of evidence that the policy asks for is enough.

A new kind is one file with `weigh` and one line in KINDS. What a mail says about itself, its From
above all, is never evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, Reason, Trust, Unreadable
from bridge.trust import anyone, authserv_id, networks, recipients
from bridge.trust.base import Absent, Weigh
from bridge.trust.covered import covered, missed

__all__ = ["KINDS", "covered", "missed", "weigh"]

# In this order; the first that is there is the one that the webhook names.
KINDS: Final[Mapping[str, Weigh]] = MappingProxyType({
    "networks": networks.weigh,
    "recipients": recipients.weigh,
    "authserv_id": authserv_id.weigh,
    "anyone": anyone.weigh,
})  # fmt: skip


async def weigh(arrival: Arrival, email: Email, policy: TrustSettings) -> Trust | Unreadable:
    """Look for each kind of evidence that the policy asks for until one is there."""
    absent: list[str] = []
    for kind, look in KINDS.items():
        match await look(arrival, email, policy):
            case Trust() as trust:
                return trust
            case Absent(detail):
                absent.append(f"{kind}: {detail}")
            case None:
                continue
    return Unreadable(
        Reason.UNTRUSTED, "; ".join(absent) or "the config asks for no kind of evidence"
    )
