"""Agile Telecom (Italy): one label a line, local time without a zone.

The separator, the charset and the zone are undocumented, so the labels are read leniently (those
of their HTTP post too, which has the same fields) and the operator names the zone. Shared numbers
put a code in front of the text, which stays part of it.
"""

from __future__ import annotations

import re
from typing import Final
from zoneinfo import ZoneInfo

from bridge.config.settings import ProviderSettings
from bridge.errors import ConfigError
from bridge.providers.base import LabelledProvider, Provider, Senders, extra_labels
from bridge.providers.labels import Field, Labels
from bridge.providers.times import local_time

SENDERS: Final = ("smsin@agiletelecom.com",)
LABELS: Final = Labels({
    Field.SENDER: ("From", "Originator"),
    Field.RECIPIENT: ("To", "Destination"),
    Field.TIME: ("Date/Time", "Date"),
    Field.BODY: ("Body", "Text"),
})  # fmt: skip
# Two hyphens, an en dash or an em dash: their pages show all of them.
_SUBJECT: Final = re.compile(
    r"Agile\s+Telecom\s*(?:--?|\u2013|\u2014)\s*SMS\s+received", re.IGNORECASE
)


def build(settings: ProviderSettings, key: str) -> Provider:
    """Build the provider from its table; `key` is the table's path in the config."""
    if settings.time_zone is None:
        raise ConfigError(
            f"{key}.time_zone",
            "agile's mails carry local times without a zone: name the zone of the account, "
            'most likely time_zone = "Europe/Rome"',
        )
    own = settings.subject
    return LabelledProvider(
        name=settings.name,
        senders=Senders.of(settings.senders or SENDERS),
        labels=LABELS.extended(extra_labels(settings), settings.footers),
        read_time=local_time(ZoneInfo(settings.time_zone)),
        region=settings.region,
        expects_subject=lambda text: (own or _SUBJECT).search(text) is not None,
    )
