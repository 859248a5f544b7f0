"""Strangers cannot fill the store: what nobody vouches for has a bound of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from bridge.config.settings import StoreSettings
from bridge.errors import QuarantineFull
from bridge.model import (
    ArrivalOutcome,
    Envelope,
    MailboxPlace,
    MailFile,
    Origin,
    Reason,
    Unreadable,
)
from bridge.store import Database, Ingest, ingest_many
from bridge.store.lease import Lease
from bridge.store.quota import Quota
from tests.store.making import START, arrival, identity, sms

LEASE = Lease("us", START, START)
QUARANTINED = ArrivalOutcome.QUARANTINE


class Ticks:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def connection(settings: StoreSettings) -> Iterator[Connection]:
    """Begin a write transaction on an empty database."""
    database = Database.open(settings, migrate=True)
    with database.begin() as connection:
        yield connection
    database.close()


def smtp(peer: str) -> Envelope:
    return Envelope(peer, "a@example.com", ("sms@example.org",))


def mail(
    number: int,
    origin: Origin,
    *,
    size: int = 100,
    reason: Reason = Reason.NO_PROVIDER,
) -> Ingest:
    raw = b"%d" % number
    return Ingest(arrival(raw.ljust(size), origin=origin), Unreadable(reason, "why", None))


def taken(connection: Connection, quota: Quota, *items: Ingest) -> list[bool]:
    """Store mails one by one; tell of each if it was taken."""
    found = [ingest_many(connection, [item], LEASE, quota)[0] for item in items]
    assert all(isinstance(each, QuarantineFull) or each.arrival_id for each in found)
    return [not isinstance(each, QuarantineFull) for each in found]


def test_all_strangers_together_have_a_bound(connection: Connection) -> None:
    """In mails and in bytes, and at the bound only strangers are refused."""
    quota = Quota(mails=8, size=1_000)
    peers = [smtp(f"192.0.2.{number}") for number in range(12)]
    assert taken(connection, quota, *(mail(n, peer) for n, peer in enumerate(peers))) == [
        *[True] * 8,
        *[False] * 4,
    ]
    unreadable = mail(50, peers[0], reason=Reason.UNREADABLE)  # believed, and not understood
    assert taken(connection, quota, unreadable, sms(identity("b", email="M2"))) == [True, True]
    by_size = Quota(mails=100, size=1_000)
    assert taken(connection, by_size, mail(60, peers[10], size=200)) == [True]
    assert taken(connection, by_size, mail(61, peers[11], size=1)) == [False]


def test_one_peer_has_a_quarter(connection: Connection) -> None:
    """An IPv6 customer has a network full of addresses, and is one peer all the same."""
    quota = Quota(mails=8, size=10_000)
    for first, (one, other) in enumerate(
        [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::ffff:2")]
    ):
        numbers = range(first * 10, first * 10 + 3)
        peers = (one, other, one)
        mails = [mail(n, smtp(peer)) for n, peer in zip(numbers, peers, strict=True)]
        assert taken(connection, quota, *mails) == [True, True, False]
    assert taken(connection, quota, mail(30, smtp("2001:db8:0:1::1"))) == [True]


def test_a_mailbox_is_no_peer(connection: Connection) -> None:
    """It is bound by the whole alone; a repeated mail and an import cost nothing."""
    quota = Quota(mails=4, size=10_000)
    places = [MailboxPlace("inbox", "INBOX", 7, uid) for uid in range(1, 6)]
    mails = [mail(place.uid, place) for place in places]
    assert taken(connection, quota, *mails, mails[0]) == [True, True, True, True, False, True]
    assert taken(connection, quota, mail(20, MailFile())) == [True]


def test_what_is_in_the_database_counts(connection: Connection) -> None:
    """After a restart, and once in a while for what other bridges took or an operator ended."""
    clock = Ticks()
    quota = Quota(mails=8, size=10_000, clock=clock)
    assert taken(connection, quota, mail(0, smtp("192.0.2.1"))) == [True]
    another = Quota(mails=8, size=10_000)
    assert taken(connection, another, mail(1, smtp("192.0.2.1"))) == [True]
    assert taken(connection, another, mail(2, smtp("192.0.2.1"))) == [False]
    assert taken(connection, quota, mail(3, smtp("192.0.2.1"))) == [True]  # not counted yet
    clock.now += 30
    assert taken(connection, quota, mail(4, smtp("192.0.2.1"))) == [False]


def test_a_reparse_is_never_refused(connection: Connection) -> None:
    """What is stored already takes no more room by being read again."""
    quota = Quota(mails=1, size=10_000)
    first = mail(0, MailboxPlace("inbox", "INBOX", 7, 1))
    (receipt,) = ingest_many(connection, [first], LEASE, quota)
    assert taken(connection, quota, mail(1, smtp("192.0.2.1"))) == [False]
    again = Ingest(first.arrival, first.result, receipt.arrival_id)
    assert taken(connection, quota, again) == [True]
