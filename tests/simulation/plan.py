"""The config of a simulated run: one endpoint of each kind."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

from bridge.config.settings import Settings

GIVE_UP: Final = 60.0  # seconds, of one endpoint
KEY: Final = b"the key of the simulation"
PLAIN, STRICT, CHOOSY = "plain", "strict", "choosy"
ENDPOINTS: Final[Mapping[str, Mapping[str, object]]] = {
    PLAIN: {"give_up": f"{GIVE_UP:.0f}s"},
    STRICT: {"order": "conversation", "digest": "60s"},
    CHOOSY: {
        "order": "conversation", "behind": "pass", "rate": "20/s", "burst": 5,
        "filter": [{"body_pattern": "[0-9]"}],
    },
}  # fmt: skip
_SECRET: Final = f"whsec_{base64.b64encode(KEY).decode()}"


def wanted(endpoint: str, content: tuple[str, str, str]) -> bool:
    """Say whether an endpoint wants an SMS, by a rule that isn't the daemon's."""
    return endpoint != CHOOSY or any(character.isdigit() for character in content[2])


def settings() -> Settings:
    """Load the config."""
    return Settings.model_validate({
        "store": {"url": "sqlite:///unused.db"},
        "delivery": {
            "schedule": ["0s", "1s", "5s", "20s"], "repeat": "90s", "timeout": "10s",
        },
        "providers": [
            {
                "name": "agile",
                "time_zone": "Europe/Rome",
                "region": "IT",
                "trust": {"networks": ["192.0.2.0/24"]},
            }
        ],
        "endpoints": [
            {"name": name, "url": f"http://127.0.0.1:9/{name}", "secret": _SECRET, **more}
            for name, more in ENDPOINTS.items()
        ],
    })  # fmt: skip
