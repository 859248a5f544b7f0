"""Builds a provider that is declared in TOML: by an operator, or by a preset in `presets/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from zoneinfo import ZoneInfo

from bridge.config.pattern import STEPS
from bridge.config.settings import ProviderSettings
from bridge.config.template import PlaceSettings, TemplateSettings
from bridge.config.times import has_month_name, has_zone
from bridge.errors import ConfigError
from bridge.providers.base import MAX_TEXT, Provider, Senders, extra_labels
from bridge.providers.formats import read_formats
from bridge.providers.labels import Field, Label, Labels
from bridge.providers.marks import Marks
from bridge.providers.places import headers_of, piece_of, place_of
from bridge.providers.splitting import Split
from bridge.providers.template_provider import KEYS, NEEDED, TemplateProvider


def build(settings: ProviderSettings, key: str, base: ProviderSettings | None = None) -> Provider:
    """Build a declared provider; its settings override those of the preset `base`.

    `key` is the table's path in the config, as in `providers.0`. Raises ConfigError.
    """
    template = _merged(settings.template, base.template if base else None)
    senders = settings.senders or (base.senders if base else None)
    subject = settings.subject or (base.subject if base else None)
    region = settings.region or (base.region if base else None)
    zone = settings.time_zone or (base.time_zone if base else None)
    marks = Marks(
        senders=Senders.of(senders) if senders else None,
        subject=subject,
        recipient=template.recipient,
        headers=template.headers,
    )
    if not (marks.subject or marks.beside_subject):
        raise ConfigError(
            f"{key}.senders",
            "nothing identifies this provider's mails: set senders, as in "
            'senders = ["sms@example.com"], or subject, or the template\'s recipient or headers',
        )
    places = _places(template, settings, key)
    require_readable_times(template, zone, key, "template")
    if template.months and not any(map(has_month_name, template.date_format)):
        raise ConfigError(f"{key}.template.months", "no date_format has a month's name, %b or %B")
    labels = _labels(places)
    return TemplateProvider(
        name=settings.name,
        marks=marks,
        places={
            field: tuple(place_of(each, field) for each in found) for field, found in places.items()
        },
        labels=Labels(labels) if labels else None,
        read_time=read_formats(
            template.date_format,
            ZoneInfo(zone) if zone else None,
            template.months or (),
            template.zones,
        ),
        region=region,
        footers=template.footers,
        part=template.part,
        split=Split.of(template.split) if template.split else None,
        ignore=template.ignore,
        headers_read=marks.headers_read.union(
            *(headers_of(each) for found in places.values() for each in found),
            *(rule.headers for rule in template.ignore),
        ),
        needs_sender=_needs_sender(marks, template),
        max_text=_max_text(template, places.values()),
    )


def _needs_sender(marks: Marks, template: TemplateSettings) -> bool:
    """Return whether anything looks at the From to tell which mails are the provider's."""
    looked_at = [marks.headers, *(rule.headers for rule in template.ignore)]
    return (
        marks.senders is not None
        or any(rule.sender is not None for rule in template.ignore)
        or any("from" in headers for headers in looked_at)
    )


def _max_text(template: TemplateSettings, places: Iterable[Sequence[PlaceSettings]]) -> int:
    """Return how many characters of a mail are read: fewer, if its patterns weigh much."""
    searched = [
        *(pattern for found in places for each in found for pattern in each.patterns),
        *template.footers,
        *(rule.text for rule in template.ignore if rule.text),
        *([template.split.line] if template.split else []),
    ]
    return min(MAX_TEXT, STEPS // max(1, sum(each.weight for each in searched)))


def _merged(own: TemplateSettings | None, base: TemplateSettings | None) -> TemplateSettings:
    """Override a preset's template key by key."""
    if own is None or base is None:
        return own or base or TemplateSettings()
    return base.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def _places(
    template: TemplateSettings, settings: ProviderSettings, key: str
) -> dict[Field, tuple[PlaceSettings, ...]]:
    """Return the places of each field, with the labels that the config adds to it."""
    extra = extra_labels(settings)
    chosen = {
        Field.SENDER: template.sender,
        Field.RECIPIENT: template.to,
        Field.BODY: template.body,
        Field.TIME: template.date,
        Field.MESSAGE_ID: template.id,
    }
    found: dict[Field, tuple[PlaceSettings, ...]] = {}
    for field, places in chosen.items():
        if labels := extra.get(field):
            places = (*(places or ()), PlaceSettings(label=labels))
        if places:
            found[field] = places
        elif field in NEEDED:
            raise ConfigError(f"{key}.template.{KEYS[field]}", f"is missing: say {NEEDED[field]}")
    if any(each.join for each in found[Field.BODY]):
        # What is put together stands nowhere, so it could not be hidden from the other fields.
        raise ConfigError(f"{key}.template.body", "a text is not joined: name one place")
    return found


def _labels(places: Mapping[Field, Sequence[PlaceSettings]]) -> dict[Label, list[str]]:
    """Collect the labels of each field, and those of its joined places, each on its own."""
    found: dict[Label, list[str]] = {}
    for field, of_field in places.items():
        for place in of_field:
            if place.label:
                found.setdefault(field, []).extend(place.label)
            for each in place.join or ():
                if each.label:
                    found.setdefault(piece_of(field, each), []).extend(each.label)
    return found


class Dated(Protocol):
    """A declaration that may have times."""

    @property
    def date(self) -> object:
        """Where the time is; None for nowhere."""

    @property
    def date_format(self) -> Sequence[str]:
        """How it is written."""


def require_readable_times(template: Dated, zone: str | None, key: str, table: str) -> None:
    """Refuse a time without a format, and a local time without a zone; raises ConfigError.

    `key` is the provider's path in the config, and `table` the declaration's below it.
    """
    if template.date and not template.date_format:
        raise ConfigError(
            f"{key}.{table}.date_format",
            'is missing: say how the time at date is written, like "%Y-%m-%d %H:%M:%S", "epoch", '
            '"epoch_ms", "rfc2822" or "iso8601"',
        )
    local = [each for each in template.date_format if "%" in each and not has_zone(each)]
    if template.date and local and zone is None:
        raise ConfigError(
            f"{key}.time_zone",
            f'times like {local[0]!r} carry no zone: name it, as in time_zone = "Europe/Rome"',
        )
