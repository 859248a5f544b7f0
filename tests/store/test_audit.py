from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing

import pytest

from bridge.config.settings import StoreSettings
from bridge.model import Hold, RetryAt
from tests.store.making import (
    GIVE_UP,
    LEASE,
    START,
    Clock,
    attempt,
    audited,
    identity,
    ignored,
    many,
    opened,
    plan,
    sms,
    unreadable,
)


async def filled(settings: StoreSettings) -> None:
    """Write a ledger that has one of everything."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for item in many(6, "crm", "erp"):
            await store.ingest(item)
        await store.ingest(many(1)[0])
        await store.ingest(sms(identity("x", provider="P"), ()))
        await store.ingest(unreadable())
        await store.ingest(ignored())
        claims = await store.claim("crm", 5)
        await store.record(attempt(claims[0]))
        await store.record(attempt(claims[1], GIVE_UP))
        await store.record(attempt(claims[2], Hold("no secret")))
        await store.record(attempt(claims[3], RetryAt(START, 1)))


def tamper(settings: StoreSettings, statements: Sequence[str]) -> None:
    """Change rows behind the store's back, foreign keys not enforced."""
    if settings.url.startswith("sqlite"):
        path = settings.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
        return
    import psycopg

    with psycopg.connect(settings.url, autocommit=True) as server:
        for statement in ("SET session_replication_role = replica", *statements):
            server.execute(statement.encode())


async def test_ledger_with_one_of_everything_is_clean(settings: StoreSettings) -> None:
    """Whatever happens in the ordinary way keeps every rule, and the totals say what there is."""
    await filled(settings)
    report = audited(settings)
    assert report.ok, report
    assert report.notes == ()
    assert report.totals == {
        "arrivals": 10,
        "arrivals.message": 7,
        "arrivals.duplicate": 1,
        "arrivals.quarantine": 1,
        "arrivals.discarded": 0,
        "arrivals.ignored": 1,
        "messages": 7,
        "events": 7,
        "deliveries": 12,
        "deliveries.pending": 9,
        "deliveries.delivered": 1,
        "deliveries.held": 1,
        "deliveries.dead": 1,
        "deliveries.filtered": 0,
        "attempts": 4,
    }


INDEXED = "every row is in the indexes as it is in its table"  # tests/store/test_damage.py
ANY = "(SELECT min(id) FROM {})"
DELIVERED = "(SELECT id FROM deliveries WHERE state = 'delivered')"
QUARANTINED = "(SELECT id FROM arrivals WHERE outcome = 'quarantine')"
OTHER = f"(SELECT body FROM events WHERE id <> {ANY.format('events')} LIMIT 1)"
TAMPERED = {
    "every arrival has an outcome": [
        f"UPDATE arrivals SET outcome = 'lost' WHERE id = {QUARANTINED}"
    ],
    "messages and duplicates name a message, nothing else does": [
        "UPDATE arrivals SET message_id = NULL WHERE outcome = 'duplicate'"
    ],
    "every quarantined arrival has a reason": [
        f"UPDATE arrivals SET reason = NULL WHERE id = {QUARANTINED}"
    ],
    "every discarded arrival says why, and no other does": [
        f"UPDATE arrivals SET outcome = 'discarded' WHERE id = {QUARANTINED}"
    ],
    "the message that an arrival names is there": [
        "UPDATE arrivals SET message_id = 'msg_none' WHERE outcome = 'duplicate'"
    ],
    "every message was brought by one arrival": [
        f"DELETE FROM arrivals WHERE id = {ANY.format('arrivals')}"
    ],
    "every message has its event": [f"DELETE FROM events WHERE id = {ANY.format('events')}"],
    "every event has its message": [f"DELETE FROM messages WHERE id = {ANY.format('messages')}"],
    "no message has two events of one format": [
        "DROP INDEX events_message",
        "UPDATE events SET message_id = (SELECT max(message_id) FROM events)",
    ],
    "every event has all its deliveries": [
        f"DELETE FROM deliveries WHERE id = {ANY.format('deliveries')}"
    ],
    "no event goes to an endpoint twice": [
        "DROP INDEX deliveries_event",
        "UPDATE deliveries SET endpoint = 'crm', sequence = NULL",
    ],
    "no number of an endpoint is there twice": [
        "DROP INDEX deliveries_sequence",
        "UPDATE deliveries SET sequence = 1 WHERE sequence = 2",
    ],
    "no number of an endpoint is missing": [
        "DELETE FROM deliveries WHERE endpoint = 'crm' AND sequence = 2"
    ],
    "every number of an endpoint was counted": ["UPDATE sequences SET last = 5"],
    "every delivery that goes out has a number": [
        "UPDATE deliveries SET sequence = NULL WHERE endpoint = 'crm' AND sequence = 6",
        "UPDATE sequences SET last = 5 WHERE endpoint = 'crm'",
    ],
    "every endpoint's numbers are there up to its last one": ["UPDATE sequences SET last = 9"],
    "every replay has all its deliveries": [
        (
            "INSERT INTO replays (id, endpoint, selection, rate, position, last, written, skipped, "
            "state, created_at, changed_at) VALUES (1, 'crm', '{}', 1, 0, 0, 1, 0, 'done', 0, 0)"
        )
    ],
    "every replayed delivery has its replay": [
        "UPDATE deliveries SET replay = 7",
        "UPDATE events SET planned = 0",
    ],
    "whatever waits behind another delivery has one in front": [
        "UPDATE deliveries SET due_at = 253370764800000000 WHERE endpoint = 'erp'"
    ],
    "every delivery has its event": [f"DELETE FROM events WHERE id = {ANY.format('events')}"],
    "every delivery is in a known state": [
        f"UPDATE deliveries SET state = 'lost' WHERE id = {DELIVERED}"
    ],
    "only pending deliveries are leased": [
        f"UPDATE deliveries SET leased_by = 'us' WHERE id = {DELIVERED}"
    ],
    "every delivered delivery was taken by its endpoint": [
        f"UPDATE attempts SET status = 302 WHERE delivery_id = {DELIVERED}"
    ],
    "every delivery that was taken is delivered": [
        f"UPDATE deliveries SET state = 'dead' WHERE id = {DELIVERED}"
    ],
    "every attempt was counted before it was made": ["UPDATE deliveries SET attempts = 0"],
    "no attempt is there twice": [
        "DROP INDEX attempts_delivery",
        f"UPDATE attempts SET number = 1, delivery_id = {DELIVERED}",
    ],
    "every attempt has its delivery": [f"DELETE FROM deliveries WHERE id = {DELIVERED}"],
    "nothing is left of what was purged": [
        "UPDATE messages SET purged_at = 1",
        "UPDATE deliveries SET state = 'filtered' WHERE state <> 'delivered'",
    ],
    "nothing was purged before it was delivered": [
        "UPDATE messages SET purged_at = 1, body = NULL",
        "UPDATE events SET body = ''",
    ],
    "every event's body names its own id": [
        f"UPDATE events SET body = {OTHER} WHERE id = {ANY.format('events')}"
    ],
    "the ledger adds up": [
        f"UPDATE arrivals SET outcome = 'message' WHERE id = {QUARANTINED}",
    ],
    "every arrival, message and event is what was stored": [
        "UPDATE messages SET recipient = '+39'",
    ],
    "every delivery's counts are such as can be": ["UPDATE deliveries SET step = -1"],
    "nothing is altered or missing that nobody has accepted": [
        "INSERT INTO damage (kind, first, last, found_at) VALUES ('missing', 98, 99, 1)"
    ],
    "the counts of what is open are right": [
        "UPDATE tallies SET count = count + 1 WHERE state = 'held'"
    ],
}


@pytest.mark.parametrize("rule", TAMPERED)
async def test_tampering_fails_the_check_that_is_about_it(
    settings: StoreSettings, rule: str
) -> None:
    """Each rule of the ledger is able to fail, and says what breaks it."""
    await filled(settings)
    tamper(settings, TAMPERED[rule])
    report = audited(settings)
    assert not report.ok
    failed = {check.name: check.detail for check in report.checks if not check.ok}
    assert rule in failed
    assert failed[rule]


async def test_every_check_is_tampered_with(settings: StoreSettings) -> None:
    """A new check cannot come without the proof that it can fail."""
    await filled(settings)
    names = {check.name for check in audited(settings).checks}
    assert names - {INDEXED} == set(TAMPERED)


async def test_body_that_is_no_json_is_found(settings: StoreSettings) -> None:
    """An event whose bytes were spoiled is told, not raised."""
    await filled(settings)
    tamper(settings, ["UPDATE events SET body = '', checksum = NULL"])
    (failed,) = [check for check in audited(settings).checks if not check.ok]
    assert failed.name == "every event's body names its own id"
    assert failed.detail.startswith("7: msg_")


async def test_ended_lease_is_a_note(settings: StoreSettings) -> None:
    """A delivery whose lease has ended is due again: worth telling, but nothing is wrong."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms(deliveries=plan("crm", claimed=True)))
    report = audited(settings, clock.forward(LEASE + 1))
    assert report.ok
    assert "1 leases have ended" in report.notes[0]
