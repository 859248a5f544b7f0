"""A format's labels with those of the config in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.config.template import LabelSettings
from bridge.providers.labels import Field

Spellings = Mapping[Field, Sequence[str]]


def spelled(own: Spellings, config: LabelSettings | None) -> Spellings:
    """Give a format's labels, each field's replaced where the config names some for it."""
    if config is None:
        return own
    named = {
        Field.SENDER: config.sender,
        Field.RECIPIENT: config.to,
        Field.TIME: config.date,
        Field.MESSAGE_ID: config.id,
        Field.BODY: config.body,
    }
    return {**own, **{field: names for field, names in named.items() if names}}
