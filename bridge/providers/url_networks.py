"""URL Networks (Australia): the fallback mail that is sent when their POST fails.

Its layout is undocumented. The POST's field names are documented, so these are the labels that are
read, with obvious synonyms. In the POST the body is in the middle, so fields that are missing
before it are also looked for at the end of the mail, in the POST's order. The POST always has a
timestamp: a mail that has it in front of the body ends with the SMS's own text.
"""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.providers.base import LabelledProvider, Provider, Senders, extra_labels
from bridge.providers.labels import Field, Labels
from bridge.providers.times import epoch

_AFTER_BODY: Final = (
    Field.SERVICE_ID, Field.SENDER, Field.RECIPIENT, Field.MESSAGE_ID, Field.TIME,
    Field.WEBHOOK_URL, Field.FALLBACK_URL,
)  # fmt: skip
LABELS: Final = Labels(after_body=_AFTER_BODY, spellings={
    Field.SENDER: ("from", "sender"),
    Field.RECIPIENT: ("sms_number", "sms number", "to", "recipient"),
    Field.TIME: ("timestamp",),
    Field.MESSAGE_ID: ("message_id", "message id"),
    Field.BODY: ("body", "message", "text"),
    Field.SERVICE_ID: ("service_id", "service id"),
    Field.WEBHOOK_URL: ("webhook_url", "webhook url"),
    Field.FALLBACK_URL: ("webhook_url_fallback", "webhook url fallback"),
})  # fmt: skip


def build(settings: ProviderSettings, key: str) -> Provider:
    """Build the provider from its table; `key` is the table's path in the config."""
    if not settings.senders:
        raise ConfigError(
            f"{key}.senders",
            "the address that URL Networks' fallback mails come from is published nowhere: "
            'take it from a real one, as in senders = ["sms@example.com"] or ["@example.com"]',
        )
    own = settings.subject
    return LabelledProvider(
        name=settings.name,
        senders=Senders.of(settings.senders),
        labels=LABELS.extended(extra_labels(settings), settings.footers),
        read_time=epoch(ZoneInfo(settings.time_zone) if settings.time_zone else None),
        region=settings.region,
        expects_subject=lambda text: own is None or text in own,
    )
