"""Quarantine can be emptied: by what is read later, and by an operator who says why."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest

from bridge.config.settings import StoreSettings
from bridge.errors import NotFound, NotPossible
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Envelope,
    MailboxPlace,
    MailFile,
    Origin,
    Reason,
    Unreadable,
)
from bridge.operations import quarantine as operations
from bridge.store import Database, Ingest, Store, queries
from bridge.store.discard import QuarantineFilter
from tests.store.making import START, Clock, arrival, audited, identity, opened, plan, sms

RAW = b"Subject: SMS\r\n\r\nNews ON"


def untrusted(
    raw: bytes = RAW, origin: Origin | None = None, *, reason: Reason = Reason.UNTRUSTED
) -> Ingest:
    arrived = arrival(raw, origin=origin or MailFile())
    return Ingest(arrived, Unreadable(reason, "the evidence is missing", "agile"))


def read(origin: Origin | None = None, *, reparse_of: int | None = None) -> Ingest:
    """Make the message that the same bytes are once there is evidence."""
    arrived = arrival(RAW, origin=origin or MailFile())
    return sms(identity("a", email="M1"), plan("crm"), arrived=arrived, reparse_of=reparse_of)


async def outcomes(store: Store, *arrival_ids: int) -> list[str]:
    found = []
    for each in arrival_ids:
        document = await operations.show_arrival(store, each)
        found.append(str(document["outcome"]))
    return found


SMTP = Envelope("192.0.2.1", "a@example.com", ("sms@example.org",))
PLACE = MailboxPlace("inbox", "INBOX", 7, 1)


@pytest.mark.parametrize("before", [MailFile(), SMTP, PLACE], ids=["file", "smtp", "imap"])
async def test_what_is_read_later_settles_the_quarantined_row(
    settings: StoreSettings, before: Origin
) -> None:
    """An import with --trusted, after the same mail was quarantined, leaves nothing behind."""
    async with opened(settings) as store:
        first = await store.ingest(untrusted(origin=before))
        other = await store.ingest(untrusted(b"Subject: other\r\n\r\nx", before))
        receipt = await store.ingest(read())
        assert receipt.outcome is ArrivalOutcome.MESSAGE
        assert await outcomes(store, first.arrival_id, other.arrival_id) == [
            "duplicate",
            "quarantine",
        ]
        shown = await operations.show_arrival(store, first.arrival_id)
        assert (shown["message_id"], shown["reason"]) == (receipt.message_id, None)
    assert audited(settings).ok


async def test_a_reparse_settles_the_copies(settings: StoreSettings) -> None:
    """The same mail, quarantined from a mailbox and from a file, is one message."""
    async with opened(settings) as store:
        by_smtp = await store.ingest(untrusted(origin=SMTP))
        by_imap = await store.ingest(untrusted(origin=PLACE))
        again = await store.ingest(read(PLACE, reparse_of=by_imap.arrival_id))
        assert again.outcome is ArrivalOutcome.MESSAGE
        assert await outcomes(store, by_smtp.arrival_id, by_imap.arrival_id) == [
            "duplicate",
            "message",
        ]
    assert audited(settings).ok


async def test_an_import_of_a_quarantined_mail_is_no_second_one(settings: StoreSettings) -> None:
    """Its raw bytes are known, whichever way they came; a mailbox's mail is one of its own."""
    async with opened(settings) as store:
        first = await store.ingest(untrusted(origin=SMTP))
        again = await store.ingest(untrusted())
        assert (again.arrival_id, again.repeated) == (first.arrival_id, True)
        in_mailbox = await store.ingest(untrusted(origin=PLACE))
        assert not in_mailbox.repeated


async def test_a_discarded_mail_stays_discarded(settings: StoreSettings) -> None:
    """Its raw mail is gone, its row says why, and reading it again brings nothing back."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        first = await store.ingest(untrusted(origin=PLACE))
        kept = await store.ingest(untrusted(b"another"))
        which = QuarantineFilter(ids=[first.arrival_id])
        assert await operations.match(store, which) == {"mails": 1, "bytes": len(RAW)}
        assert await operations.discard(store, which, "spam", clock) == {"discarded": 1}
        shown = await operations.show_arrival(store, first.arrival_id)
        assert (shown["outcome"], shown["discarded_because"], shown["size"]) == (
            "discarded",
            "spam",
            0,
        )
        again = await store.ingest(untrusted(origin=MailboxPlace("inbox", "INBOX", 8, 3)))
        assert (again.arrival_id, again.repeated) == (first.arrival_id, True)
        assert await outcomes(store, first.arrival_id, kept.arrival_id) == [
            "discarded",
            "quarantine",
        ]
        with pytest.raises(NotPossible, match="is a discarded"):
            await operations.discard(store, which, "again", clock)
        with pytest.raises(NotPossible, match="purged"):
            await operations.raw_arrival(store, first.arrival_id)
    report = audited(settings)
    assert report.ok, report
    assert report.totals["arrivals.discarded"] == 1


async def test_filters_take_what_fits_all_of_them(settings: StoreSettings) -> None:
    """By reason, provider, peer and time; in pieces, oldest first."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for number in range(450):
            reason = Reason.UNTRUSTED if number % 3 else Reason.NO_PROVIDER
            peer = f"192.0.2.{number % 2}"
            origin = Envelope(peer, "a@example.com", ("sms@example.org",))
            item = untrusted(b"%d" % number, origin, reason=reason)
            late = START + timedelta(days=number % 5)
            arrived = Arrival(origin, "x", item.arrival.raw, late)
            await store.ingest(Ingest(arrived, item.result))
        early = QuarantineFilter(
            reason=Reason.UNTRUSTED, provider="agile", peer="192.0.2.1",
            before=START + timedelta(days=2),
        )  # fmt: skip
        fits = [n for n in range(450) if n % 3 and n % 2 and n % 5 < 2]
        assert (await operations.match(store, early))["mails"] == len(fits)
        assert await operations.discard(store, early, "old", clock) == {"discarded": len(fits)}
        progress: list[int] = []
        rest = await operations.discard(store, QuarantineFilter(), "all", clock, progress.append)
        assert rest == {"discarded": 450 - len(fits)}
        assert progress[0] == 200
        assert sum(progress) == 450 - len(fits)
    assert audited(settings).totals["arrivals.quarantine"] == 0


async def test_an_id_that_cannot_be_meant_changes_nothing(settings: StoreSettings) -> None:
    """A message is not discarded, and a wrong id beside a right one neither."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        message = await store.ingest(sms())
        wanted = await store.ingest(untrusted(b"x"))
        for wrong, error in ((message.arrival_id, NotPossible), (99, NotFound)):
            with pytest.raises(error):
                await operations.discard(
                    store, QuarantineFilter(ids=[wanted.arrival_id, wrong]), "x", clock
                )
    with closing(Database.open(settings)) as database, database.read() as connection:
        assert queries.quarantined_ids(connection) == [wanted.arrival_id]
