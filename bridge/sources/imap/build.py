"""Builds what reads a mailbox from its settings; each function raises ConfigError.

`bridge.app` imports this only for a config with a mailbox.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime
from functools import partial

from bridge.config.imap import ImapSettings
from bridge.model import Arrival, Receipt
from bridge.net.tls import client_context
from bridge.sources.imap.lease import LeasedSource
from bridge.sources.imap.mailbox import OpenMailbox
from bridge.sources.imap.oauth import tokens_for
from bridge.sources.imap.open import open_read_only
from bridge.sources.imap.places import Places
from bridge.sources.imap.source import ImapSource
from bridge.sources.imap.survey import Survey, survey


def source(
    settings: ImapSettings,
    accept: Callable[[Arrival], Awaitable[Receipt]],
    places: Places,
    lease_seconds: float,
    clock: Callable[[], datetime],
) -> LeasedSource:
    """Build the source of one mailbox; of several bridges on one store, one reads it at a time.

    Each turn gets a new source, all of them with the same tokens: a rotated refresh token is kept.
    """
    tokens = tokens_for(settings, client_context)
    make = partial(ImapSource, settings, accept, places, tokens, clock=clock)
    make()  # refuse unusable settings at start-up, not at the first turn
    lead = partial(places.lead, settings.name, settings.folder)
    return LeasedSource(settings.name, lead, make, lease_seconds)


def opened(settings: ImapSettings) -> AbstractAsyncContextManager[OpenMailbox]:
    """Open a mailbox's folder read-only."""
    return open_read_only(settings, tokens_for(settings, client_context))


async def surveyed(settings: ImapSettings, today: date) -> Survey:
    """Log in to a mailbox as the daemon would, and report its state; raises BridgeError."""
    return await survey(settings, tokens_for(settings, client_context), today)
