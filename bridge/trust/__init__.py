"""Why an arrival is believed: any one kind of evidence that the policy asks for is enough.

A new kind is one file with `weigh` and one line in KINDS. What a mail says about itself, its From
above all, is never evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from bridge.config.settings import TrustSettings
from bridge.errors import TrustUnavailable
from bridge.model import Arrival, Email, Reason, Trust, Unreadable
from bridge.trust import anyone, authserv_id, dkim, networks, recipients
from bridge.trust.base import Absent, Later, Names, Weigh
from bridge.trust.covered import covered, missed

__all__ = ["KINDS", "Names", "covered", "missed", "names_for", "weigh"]

# In this order; the first that is there is the one that the webhook names.
KINDS: Final[Mapping[str, Weigh]] = MappingProxyType({
    "networks": networks.weigh,
    "recipients": recipients.weigh,
    "authserv_id": authserv_id.weigh,
    "dkim": dkim.weigh,
    "anyone": anyone.weigh,
})  # fmt: skip


async def weigh(
    arrival: Arrival, email: Email, policy: TrustSettings, names: Names | None = None
) -> Trust | Unreadable:
    """Look for each kind of evidence that the policy asks for until one is there.

    Raises TrustUnavailable if none is there, and one of them can only be looked for later.
    """
    absent: list[str] = []
    later: list[str] = []
    for kind, look in KINDS.items():
        match await look(arrival, email, policy, names):
            case Trust() as trust:
                return trust
            case Absent(detail):
                absent.append(f"{kind}: {detail}")
            case Later(detail):
                later.append(f"{kind}: {detail}")
            case None:
                continue
    if later:
        raise TrustUnavailable("; ".join(later))
    return Unreadable(
        Reason.UNTRUSTED, "; ".join(absent) or "the config asks for no kind of evidence"
    )


def names_for(policies: Iterable[TrustSettings], patience: float) -> Names | None:
    """Make what asks the DNS, if any of the policies needs it; `patience` as in Names.

    What verifies signatures is imported here, at the start and not with the first mail, and only
    if it is needed: it takes memory.
    """
    if not any(policy.dkim for policy in policies):
        return None
    from bridge.trust import verify  # noqa: F401
    from bridge.trust.resolver import DnsNames

    return DnsNames(patience)
