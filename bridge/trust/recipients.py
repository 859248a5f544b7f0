"""Evidence: the mail was sent to an address that only the provider was told.

Only the envelope counts; headers are the sender's own words. The address is a secret: it is
compared without a difference in time, and no sentence ever holds it.
"""

from __future__ import annotations

from hmac import compare_digest

from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, Trust
from bridge.trust.base import Absent, Names


async def weigh(
    arrival: Arrival, _email: Email, policy: TrustSettings, _names: Names | None
) -> Trust | Absent | None:
    """Compare the envelope's recipients with the policy's secret addresses."""
    if not policy.recipients:
        return None
    found = False
    given = [_comparable(recipient) for recipient in arrival.recipients]
    for secret in map(_comparable, policy.recipients):
        for recipient in given:
            found |= compare_digest(secret, recipient)  # all pairs, found or not
    if found:
        return Trust("recipients", "a secret recipient of the config")
    if not given:
        return Absent("the arrival names no envelope recipient")
    return Absent("no envelope recipient is one that the config names")


def _comparable(address: str) -> bytes:
    # What is no UTF-8 on the wire comes as surrogates, which plain encoding refuses.
    return address.strip().casefold().encode("utf-8", "surrogatepass")
