"""Providers declared in a line or two, and mails for them."""

from __future__ import annotations

import tomllib
from typing import Any

from bridge import mail, providers
from bridge.config.settings import ProviderSettings
from bridge.model import Email
from bridge.providers import Provider
from tests.providers.reading import ANYONE

SENDER = "sms@acme.example"


def declared(template: str, **more: Any) -> Provider:
    """Make a provider whose `[providers.template]` is this TOML."""
    table = {"name": "acme", "senders": [SENDER], "trust": ANYONE, **more}
    settings = ProviderSettings.model_validate({**table, "template": tomllib.loads(template)})
    (provider,) = providers.build([settings])
    return provider


def mail_of(
    text: str = "", subject: str = "", sender: str = SENDER, headers: tuple[str, ...] = ()
) -> Email:
    """Make a decoded mail."""
    lines = [
        f"From: {sender}",
        f"Subject: {subject}",
        "Date: Wed, 08 Apr 2026 12:30:52 +0000",
        "Message-ID: <1@acme.example>",
        "Content-Type: text/plain; charset=utf-8",
        *headers,
        "",
        text,
    ]
    email = mail.decode("\n".join(lines).encode("utf-8", "surrogatepass"))
    assert isinstance(email, Email)
    return email
