"""What the screens look at and act on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bridge.config.settings import Settings
from bridge.delivery.endpoint import Endpoint
from bridge.intake import Intake
from bridge.reader import Reader
from bridge.store import Store
from bridge.web.health import Health
from bridge.web.page.pulse import Pulse


class InUse(Protocol):
    """The config that the daemon uses, and the file that it would use after a reload."""

    @property
    def settings(self) -> Settings:
        """The settings in use."""

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints in use."""

    def candidate(self) -> Reader:
        """Build the reader of the file as it is now; blocks, and raises BridgeError."""


@dataclass(frozen=True, slots=True)
class Site:
    """The daemon, as far as its page shows it; `config` returns the one in use."""

    store: Store
    health: Health
    intake: Intake
    pulse: Pulse
    clock: Callable[[], datetime]
    config: Callable[[], InUse]

    @property
    def names(self) -> list[str]:
        """The configured endpoints."""
        return [each.name for each in self.config().settings.endpoints]

    @property
    def rates(self) -> dict[str, str]:
        """The rates of the endpoints that have one."""
        return {
            each.name: each.rate.text
            for each in self.config().settings.endpoints
            if each.rate is not None
        }
