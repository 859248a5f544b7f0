"""How long a test waits for an event: only a hang takes longer, however busy the machine is."""

from __future__ import annotations

from typing import Final

PATIENCE: Final = 120.0  # seconds; never a verdict on speed: see CONTRIBUTING.md
