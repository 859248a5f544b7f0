"""The built-in providers whose posts are declared in TOML.

Each file is a complete `[[providers]]` table that can be copied into a config; its first line says
what it reads. A new one is a file here, one line in DECLARED, and its fixtures.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from bridge.config.post_template import PostTemplateSettings

DECLARED: Final = (
    "46elks",
    "aws_sns",
    "bandwidth",
    "bird",
    "bulksms",
    "clicksend",
    "httpsms",
    "infobip",
    "plivo",
    "signalwire",
    "sinch",
    "smseagle",
    "telnyx",
    "textbee",
    "vonage_messages",
    "vonage_sms",
)


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset declares; the token and the secret in its file are placeholders."""

    template: PostTemplateSettings
    time_zone: str | None


@cache
def text(name: str) -> str:
    """Return a preset's TOML."""
    return resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")


@cache
def preset(name: str) -> Preset:
    """Return what a preset declares."""
    (table,) = tomllib.loads(text(name))["providers"]
    template = PostTemplateSettings.model_validate(table["post"]["template"])
    return Preset(template, table.get("time_zone"))


def summary(name: str) -> str:
    """Return one line on what a preset reads."""
    return text(name).splitlines()[0].removeprefix("# ")
