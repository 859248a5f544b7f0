"""What the screens look at and act on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bridge.config.settings import Settings
from bridge.delivery.endpoint import Endpoint
from bridge.intake import Intake
from bridge.reader import Reader
from bridge.store import Store
from bridge.web.api import Bridge
from bridge.web.health import Health
from bridge.web.page.pulse import Pulse


@dataclass(frozen=True, slots=True)
class Site:
    """The running bridge, as far as its page shows it.

    `candidate` builds the reader of the config file as it is now; it blocks, and raises
    BridgeError.
    """

    bridge: Bridge
    pulse: Pulse
    candidate: Callable[[], Reader]

    @property
    def store(self) -> Store:
        """The store."""
        return self.bridge.store

    @property
    def health(self) -> Health:
        """The health of the bridge."""
        return self.bridge.health

    @property
    def intake(self) -> Intake:
        """The intake that sources use."""
        return self.bridge.intake

    @property
    def clock(self) -> Callable[[], datetime]:
        """The clock."""
        return self.bridge.clock

    @property
    def settings(self) -> Settings:
        """The settings in use."""
        return self.bridge.settings

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints in use."""
        return self.bridge.endpoints

    @property
    def names(self) -> list[str]:
        """The names of the endpoints in use."""
        return self.bridge.names

    @property
    def rates(self) -> dict[str, str]:
        """The rates of the endpoints that have one."""
        return {
            each.name: each.rate.text for each in self.settings.endpoints if each.rate is not None
        }
