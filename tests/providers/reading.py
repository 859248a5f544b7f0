"""One mail through decode, choose and read, as the fixtures' JSON tells it."""

from __future__ import annotations

from typing import Any

from bridge import mail, providers
from bridge.config.settings import ProviderSettings, TrustSettings
from bridge.model import Email, Ignored, SmsMessage, Unreadable

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
# What the presets cannot know: the operator's own numbers, zones and senders.
OWN: dict[str, dict[str, Any]] = {
    "dbus_sms_forward": {
        "time_zone": "Europe/Berlin",
        "template": {"to": {"value": "+4930123456"}},
    },
    "didhub": {},
    "didww": {},
    "freepbx": {"region": "US", "senders": ["pbx@freepbx.example"]},
    "fusionpbx": {"region": "US"},
    "google_voice": {},
    "httpsms2email": {
        "senders": ["sms@posts.example"],
        "template": {"to": {"value": "+4930123456"}},
    },
    "kalkun": {"region": "ID", "template": {"to": {"value": "+628110000001"}}},
    "lox24": {"senders": ["sms@lox24.example"]},
    "openvbx": {"region": "US", "template": {"to": {"value": "+14155550100"}}},
    "playsms": {"region": "ID", "time_zone": "Asia/Jakarta"},
    "portech": {},
    "pswincom": {"region": "NO"},
    "raspisms": {"region": "FR", "time_zone": "Europe/Paris"},
    "routeros_scripts": {"template": {"to": {"value": "+4930123456"}}},
    "routeros_sms": {"template": {"to": {"value": "+4930123456"}}},
    "sms2email": {"time_zone": "Europe/Berlin", "template": {"to": {"value": "+4930123456"}}},
    "sms2email_app": {"template": {"to": {"value": "+4930123456"}}},
    "sms2mail_android": {"template": {"to": {"value": "+4930123456"}}},
    "sms2mail_msmtp": {
        "senders": ["sms@msmtp.example"],
        "template": {"to": {"value": "+4930123456"}},
    },
    "sms_backup_plus": {"region": "DE", "template": {"to": {"value": "+4915112345678"}}},
    "sms_to_email_forwarder": {
        "time_zone": "Europe/Berlin",
        "template": {"to": {"value": "+4930123456"}},
    },
    "smsforwarder": {
        "senders": ["phone@smsf.example"],
        "time_zone": "Europe/Berlin",
        "template": {"to": {"value": "+4930123456"}},
    },
    "smsrelay": {"senders": ["smsrelay@relay.example"]},
    "telnyx_demo": {"template": {"to": {"value": "+4930123456"}}},
    "telnyx_sms2email": {"template": {"to": {"value": "+4930123456"}}},
    "twilio_mail": {"template": {"to": {"value": "+14155550100"}}},
    "zte_sms": {"senders": ["router@zte.example"], "template": {"to": {"value": "+4930123456"}}},
}
DECLARED = tuple(
    ProviderSettings.model_validate({"name": name, "preset": name, "trust": ANYONE, **own})
    for name, own in OWN.items()
)
PROVIDERS = providers.build((*SETTINGS, *DECLARED))

Read = SmsMessage | tuple[SmsMessage, ...] | Unreadable | Ignored


def read(raw: bytes) -> tuple[Email | None, Read]:
    """Read a mail as the line does, without trust."""
    email = mail.decode(raw)
    if isinstance(email, Unreadable):
        return None, email
    provider = providers.choose(PROVIDERS, email)
    if isinstance(provider, Unreadable):
        return email, provider
    return email, provider.read_email(email)


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
    if isinstance(result, Ignored):
        return {"outcome": "ignored", "provider": result.provider, "detail": result.detail}
    assert email is not None
    assert isinstance(result, SmsMessage)
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
