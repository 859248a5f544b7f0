"""Opens a mailbox: to take mail out of it, or for reading only."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from bridge.config.imap import ImapSettings
from bridge.errors import ImapLoginRefused, NotPossible
from bridge.net.tls import client_context
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.liveness import Heartbeat
from bridge.sources.imap.oauth import AccessTokens
from bridge.sources.imap.replies import Mailbox


def tls_context(settings: ImapSettings) -> ssl.SSLContext | None:
    """Build the context that verifies the server; ConfigError if the CA cannot be used."""
    if not settings.tls:
        return None
    return client_context(settings.tls_ca, f"imap.{settings.name}.tls_ca")


async def open_client(
    settings: ImapSettings,
    tokens: AccessTokens | None,
    tls: ssl.SSLContext | None,
    heartbeat: Heartbeat | None = None,
) -> ImapClient:
    """Connect and log in, with a token if there are `tokens`, else with the password.

    Each step beats `heartbeat`.
    """
    heartbeat = heartbeat or Heartbeat()
    heartbeat.beat(settings.timeout)
    # Before connecting, since getting one can take longer than a server waits for a login.
    token = await tokens.token() if tokens is not None else None
    client = await ImapClient.connect(
        settings.host,
        settings.port,
        tls,
        settings.timeout,
        max_literal=settings.max_message,
        heartbeat=heartbeat,
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


class ReadOnlyFolder:
    """A folder opened for reading only; no flag of any mail is changed."""

    def __init__(self, client: ImapClient, mailbox: Mailbox, max_message: int) -> None:
        self._client = client
        self._mailbox = mailbox
        self._max_message = max_message

    @property
    def uidvalidity(self) -> int:
        """The UIDVALIDITY of the folder."""
        return self._mailbox.uidvalidity

    async def list_uids(self) -> list[int]:
        """Return the UIDs of all mails in the folder."""
        return await self._client.search("ALL")

    async def fetch_raw(self, uid: int) -> bytes | None:
        """Return a mail's bytes; None if it is gone. NotPossible if it is over `max_message`."""
        meta = (await self._client.fetch_meta((uid,))).get(uid)
        if meta is None:
            return None
        if meta.size > self._max_message:
            raise NotPossible(f"mail {uid} has {meta.size} bytes, max_message is less")
        return await self._client.fetch_raw(uid, meta.size)

    async def received_at(self, uid: int) -> datetime | None:
        """Return when the mail server received a mail; None if it is gone or doesn't say."""
        meta = (await self._client.fetch_meta((uid,))).get(uid)
        return None if meta is None else meta.internaldate


@asynccontextmanager
async def open_read_only(
    settings: ImapSettings, tokens: AccessTokens | None = None
) -> AsyncIterator[ReadOnlyFolder]:
    """Open a mailbox's folder for reading only. Raises BridgeError."""
    client = await open_client(settings, tokens, tls_context(settings))
    try:
        mailbox = await client.select(settings.folder, readonly=True)
        yield ReadOnlyFolder(client, mailbox, settings.max_message)
    finally:
        await client.logout()
