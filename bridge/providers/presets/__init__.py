"""The built-in providers that are declared in TOML.

Each file is a complete `[[providers]]` table that can be copied into a config; its first line says
what it reads. Files of providers written in Python only show their settings.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Final

from bridge.config.settings import ProviderSettings

DECLARED: Final = (
    "dbus_sms_forward",
    "didhub",
    "didww",
    "freepbx",
    "fusionpbx",
    "google_voice",
    "httpsms2email",
    "kalkun",
    "lox24",
    "openvbx",
    "playsms",
    "portech",
    "pswincom",
    "raspisms",
    "routeros_scripts",
    "routeros_sms",
    "sms2email",
    "sms2email_app",
    "sms2mail_android",
    "sms2mail_msmtp",
    "sms_backup_plus",
    "sms_to_email_forwarder",
    "smsforwarder",
    "smsrelay",
    "telnyx_demo",
    "telnyx_sms2email",
    "twilio_mail",
    "zte_sms",
)


@cache
def text(name: str) -> str:
    """Return a preset's TOML."""
    return resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")


@cache
def settings(name: str) -> ProviderSettings:
    """Return a preset's settings."""
    (table,) = tomllib.loads(text(name))["providers"]
    return ProviderSettings.model_validate(table)


def summary(name: str) -> str:
    """Return one line on what a preset reads."""
    return text(name).splitlines()[0].removeprefix("# ")
