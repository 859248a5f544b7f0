"""Gets into a mailbox: to take mail out of it, or to look at it and change nothing."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from bridge.config.imap import ImapSettings
from bridge.errors import ImapLoginRefused, NotPossible
from bridge.net.tls import client_context
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.liveness import Pulse
from bridge.sources.imap.replies import Mailbox


class Tokens(Protocol):
    """Where an access token comes from, fresh enough for a login now. Raises BridgeError."""

    async def token(self) -> str:
        """Give the token."""

    def reject(self, token: str) -> None:
        """Take note that the server refused this token."""


def tls_context(settings: ImapSettings) -> ssl.SSLContext | None:
    """Build what the server must prove; ConfigError if the CA cannot be used."""
    if not settings.tls:
        return None
    return client_context(settings.tls_ca, f"imap.{settings.name}.tls_ca")


async def open_client(
    settings: ImapSettings,
    tokens: Tokens | None,
    tls: ssl.SSLContext | None,
    pulse: Pulse | None = None,
) -> ImapClient:
    """Connect and log in, with a token if there are `tokens`, else with the password.

    Each step beats `pulse`.
    """
    pulse = pulse or Pulse()
    pulse.beat(settings.timeout)
    # Before connecting, for getting one can take longer than a server waits for a login.
    token = await tokens.token() if tokens is not None else None
    client = await ImapClient.connect(
        settings.host,
        settings.port,
        tls,
        settings.timeout,
        max_literal=settings.max_message,
        pulse=pulse,
    )
    try:
        if token is not None:
            await client.authenticate_xoauth2(settings.username, token)
        else:
            assert settings.password is not None, "the config has one where there are no tokens"
            await client.login(settings.username, settings.password.get_secret_value())
    except BaseException as error:
        client.close()
        if tokens is not None and token is not None and isinstance(error, ImapLoginRefused):
            tokens.reject(token)
        raise
    return client


class Look:
    """A folder that is open for reading alone; no flag of any mail is changed."""

    def __init__(self, client: ImapClient, mailbox: Mailbox, max_message: int) -> None:
        self._client = client
        self._mailbox = mailbox
        self._max_message = max_message

    @property
    def uidvalidity(self) -> int:
        """What the UIDs are worth."""
        return self._mailbox.uidvalidity

    async def list_uids(self) -> list[int]:
        """Give the UIDs of all mails that are there."""
        return await self._client.search("ALL")

    async def fetch_raw(self, uid: int) -> bytes | None:
        """Give a mail's bytes; None if it is gone. NotPossible if it is over `max_message`."""
        meta = (await self._client.fetch_meta((uid,))).get(uid)
        if meta is None:
            return None
        if meta.size > self._max_message:
            raise NotPossible(f"mail {uid} has {meta.size} bytes, max_message is less")
        return await self._client.fetch_raw(uid, meta.size)


@asynccontextmanager
async def look_into(settings: ImapSettings, tokens: Tokens | None = None) -> AsyncIterator[Look]:
    """Open a mailbox's folder to look at it alone. Raises BridgeError."""
    client = await open_client(settings, tokens, tls_context(settings))
    try:
        mailbox = await client.select(settings.folder, readonly=True)
        yield Look(client, mailbox, settings.max_message)
    finally:
        await client.logout()
