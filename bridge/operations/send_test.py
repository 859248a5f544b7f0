"""Sends a test: a mail through the daemon's own door, or a signed ping to one endpoint."""

from __future__ import annotations

import asyncio
import json
import re
import smtplib
import ssl
from collections.abc import Callable
from datetime import datetime
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Final

from bridge.config.address import Address, parse_listen
from bridge.config.settings import ProviderSettings, SmtpSettings
from bridge.delivery.attempt import attempt
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.paced import Pace, PacedTransport
from bridge.delivery.transport import open_transport
from bridge.errors import NotPossible
from bridge.model import SMS_RECEIVED, ArrivalOutcome, Claim, DeliveryState, Event
from bridge.operations.documents import (
    Document,
    arrival_document,
    attempt_document,
    delivery_document,
    when,
)
from bridge.store import Store, queries
from bridge.store.queries import DeliveryRow
from bridge.store.search import find_arrival

PING: Final = "smsbridge.ping"  # its type: receivers answer 2xx to types that they don't know
_SMTP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_SYSTEMD_PORT: Final = 25  # of the socket unit that comes with smsbridge
_STORED: Final = re.compile(r"Stored as ([A-Za-z0-9_-]+)")


def smtp_address(settings: SmtpSettings) -> Address:
    """Return the address of the daemon's SMTP listener, as seen from this machine.

    Raises NotPossible if the config names none that can be known from here.
    """
    for text in settings.listen:
        address = parse_listen(text)
        if not isinstance(address, Address):
            return Address("127.0.0.1", _SYSTEMD_PORT)
        if address.port:
            return address.reachable
    raise NotPossible(
        "[smtp] listen names no address to send a test mail to: name one with --server, or test an "
        "endpoint alone with --endpoint"
    )


def recipient_for(provider: ProviderSettings, smtp: SmtpSettings) -> str:
    """Return the address that a test mail is sent to: the evidence's own, or an accepted one."""
    if provider.trust.recipients:
        return provider.trust.recipients[0]
    accepted = next(iter(smtp.recipients), "send-test@localhost")
    return f"send-test{accepted}" if accepted.startswith("@") else accepted


def read_mail(path: Path) -> EmailMessage | bytes:
    """Return a mail's bytes; raises NotPossible."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotPossible(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None


async def send_mail(
    server: Address, sender: str, recipient: str, mail: EmailMessage | bytes
) -> str:
    """Send a mail by SMTP; return the id that the daemon's 250 gives it.

    Raises NotPossible if nobody listens, or the mail is not accepted by a smsbridge.
    """
    return await asyncio.to_thread(_send_mail, server, sender, recipient, mail)


def _send_mail(server: Address, sender: str, recipient: str, mail: EmailMessage | bytes) -> str:
    raw = (
        mail if isinstance(mail, bytes) else mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))
    )
    try:
        with smtplib.SMTP(server.host or "", server.port, timeout=_SMTP_SECONDS) as client:
            client.ehlo()
            for step in (
                partial(client.mail, sender), partial(client.rcpt, recipient),
                partial(client.data, raw),
            ):  # fmt: skip
                code, answer = step()
                if code >= 400:
                    raise NotPossible(_refused(server, code, answer))
    except smtplib.SMTPResponseException as error:
        raise NotPossible(_refused(server, error.smtp_code, error.smtp_error)) from None
    except (OSError, smtplib.SMTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise NotPossible(f"no SMTP at {server}: {why}; is the daemon running?") from None
    stored = _STORED.search(answer.decode("ascii", "replace"))
    if stored is None:
        raise NotPossible(f"{server} accepted the mail, but is no smsbridge")
    return stored[1]


def _refused(server: Address, code: int, answer: bytes | str) -> str:
    text = answer.decode("ascii", "replace") if isinstance(answer, bytes) else answer
    return f"{server} refused the test mail: {code} {' '.join(text.split())}"


async def follow(
    store: Store, smtp_id: str, seconds: float, changed: Callable[[Document], None]
) -> Document:
    """Wait until every delivery of an arrival's message is at rest, for at most `seconds`.

    `smtp_id` is the one of the 250; raises NotFound if the store is not the daemon's.
    Returns {"ok", "arrival": {…}, "deliveries": [{…, "last_attempt": {…} or null}]}; "ok" if it
    became a message that was delivered, and no delivery is left. `changed` is called with each
    delivery whenever its state or its attempts change.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    arrival_id = await store.read(partial(find_arrival, smtp_id=smtp_id))
    arrival = await store.read(partial(queries.show_arrival, arrival_id=arrival_id))
    message_id = arrival.row.message_id
    seen: dict[int, tuple[DeliveryState, int]] = {}
    rows: tuple[DeliveryRow, ...] = ()
    while message_id is not None:
        rows = (await store.read(partial(queries.show_message, message_id=message_id))).deliveries
        for row in rows:
            if seen.get(row.id) != (row.state, row.attempts):
                seen[row.id] = (row.state, row.attempts)
                changed(delivery_document(row))
        if not any(row.state is DeliveryState.PENDING for row in rows) or loop.time() >= deadline:
            break
        await asyncio.sleep(_POLL_SECONDS)
    states = {row.state for row in rows}
    done = DeliveryState.DELIVERED in states and states <= {
        DeliveryState.DELIVERED, DeliveryState.FILTERED,
    }  # fmt: skip
    return {
        "ok": arrival.row.outcome is ArrivalOutcome.MESSAGE and done,
        "arrival": arrival_document(arrival.row, reveal=False),
        "deliveries": [await _with_last_attempt(store, row) for row in rows],
    }


async def _with_last_attempt(store: Store, row: DeliveryRow) -> Document:
    found = await store.read(partial(queries.show_delivery, delivery_id=row.id))
    last = attempt_document(found.attempts[-1]) if found.attempts else None
    return {**delivery_document(row), "last_attempt": last}


async def ping(
    endpoint: Endpoint,
    tls: ssl.SSLContext,
    token: str,
    clock: Callable[[], datetime],
    pace: Pace | None = None,
) -> Document:
    """Send one signed ping to an endpoint; nothing is stored and nothing is retried.

    With a `pace`, in pieces.

    Returns {"ok", "endpoint", "webhook_id", "status", "error", "detail", "seconds", "answer"}; "ok"
    for a 2xx. Raises NotPossible for an endpoint that takes another format than sms.received.
    """
    if endpoint.format != SMS_RECEIVED:
        raise NotPossible(
            f"endpoint {endpoint.name} takes the format {endpoint.format}, which has no ping: send "
            "a test mail instead"
        )
    now = clock()
    body = json.dumps({"type": PING, "timestamp": when(now), "data": {}}).encode()
    event = Event(f"ping_{token}", SMS_RECEIVED, PING, body)
    claim = Claim(0, endpoint.name, event, attempt=1, step=0, elapsed=0.0, lease="")
    transport = PacedTransport(endpoint, tls, pace) if pace else open_transport(endpoint, tls)
    try:
        outcome = await attempt(transport, endpoint, claim, clock)
    finally:
        await transport.aclose()
    taken = outcome.status is not None and 200 <= outcome.status < 300
    return {
        "ok": taken,
        "endpoint": endpoint.name,
        "webhook_id": event.id,
        "status": outcome.status,
        "error": outcome.error,
        "detail": outcome.detail,
        "seconds": round(outcome.duration, 3),
        "answer": outcome.answer.decode("utf-8", "replace"),
    }
