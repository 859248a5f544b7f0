"""One mail through decode, choose and read, as the fixtures' JSON tells it."""

from __future__ import annotations

from typing import Any

from bridge import mail, providers
from bridge.config.settings import ProviderSettings, TrustSettings
from bridge.model import Email, SmsMessage, Unreadable

ANYONE = TrustSettings(anyone=True)
SETTINGS = (
    ProviderSettings(name="agile", time_zone="Europe/Rome", region="IT", trust=ANYONE),
    ProviderSettings(
        name="url_networks",
        region="AU",
        time_zone="Australia/Sydney",
        senders=("sms@pbx.example.com.au",),
        trust=ANYONE,
    ),
)
PROVIDERS = providers.build(SETTINGS)


def read(raw: bytes) -> tuple[Email | None, SmsMessage | Unreadable]:
    """Read a mail as the line does, without trust."""
    email = mail.decode(raw)
    if isinstance(email, Unreadable):
        return None, email
    provider = providers.choose(PROVIDERS, email)
    if isinstance(provider, Unreadable):
        return email, provider
    result = provider.read_email(email)
    assert isinstance(result, SmsMessage | Unreadable)
    return email, result


def outcome(raw: bytes) -> dict[str, Any]:
    """Tell what a mail became."""
    email, result = read(raw)
    if isinstance(result, Unreadable):
        return {
            "outcome": "quarantine",
            "reason": result.reason.value,
            "provider": result.provider,
            "detail": result.detail,
        }
    assert email is not None
    return {
        "outcome": "message",
        "provider": result.provider,
        "from": result.sender,
        "to": result.recipient,
        "body": result.body,
        "received_at": result.received_at.isoformat(),
        "has_own_time": result.has_own_time,
        "provider_message_id": result.provider_message_id,
        "raw": {
            "from": result.raw.sender,
            "to": result.raw.recipient,
            "date": result.raw.date,
        },
        "charset": email.charset,
        "from_html": email.from_html,
        "warnings": list(result.warnings),
    }
