"""No evidence at all: the operator said out loud that everybody is believed."""

from __future__ import annotations

from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, Trust
from bridge.trust.base import Absent, Names


async def weigh(
    _arrival: Arrival, _email: Email, policy: TrustSettings, _names: Names | None
) -> Trust | Absent | None:
    """Believe, if the policy says so."""
    return Trust("anyone", "the config believes everybody") if policy.anyone else None
