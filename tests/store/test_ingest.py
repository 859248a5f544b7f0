from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bridge.config.settings import StoreSettings
from bridge.errors import NotFound, NotPossible
from bridge.model import ArrivalOutcome, DeliveryState, Envelope, Identity, Reason
from bridge.store import Database
from bridge.store.queries import (
    list_quarantine,
    show_arrival,
    show_delivery,
    show_message,
)
from tests.store.making import (
    Clock,
    arrival,
    audited,
    identity,
    ignored,
    many,
    opened,
    plan,
    sms,
    unreadable,
)

NEW, AGAIN = ArrivalOutcome.MESSAGE, ArrivalOutcome.DUPLICATE


async def test_message_comes_back_as_it_went_in(settings: StoreSettings) -> None:
    """A receipt means that raw bytes, message, event and deliveries are all in the database."""
    item = sms(deliveries=(*plan("crm", claimed=True), *plan("erp")))
    async with opened(settings) as store:
        receipt = await store.ingest(item)
    (claim,) = receipt.claims
    assert receipt.outcome is NEW
    assert (claim.endpoint, claim.attempt, claim.step, claim.elapsed) == ("crm", 1, 0, 0)
    assert claim.event == item.messages[0].events[0]
    database = Database.open(settings)
    with database.read() as connection:
        shown = show_message(connection, receipt.message_id)
        stored = show_arrival(connection, receipt.arrival_id)
        sent = show_delivery(connection, claim.delivery_id).event
    database.close()
    assert sent == item.messages[0].events[0]
    assert stored.arrival == item.arrival
    assert shown.row.message == item.messages[0].message
    assert [(each.endpoint, each.state, each.attempts) for each in shown.deliveries] == [
        ("crm", DeliveryState.PENDING, 1),
        ("erp", DeliveryState.PENDING, 0),
    ]
    assert audited(settings).ok


PAIRS = {
    "the same mail twice": (["M1", "M1"], [NEW, AGAIN]),
    "two mails of equal content": (["M1", "M2"], [NEW, NEW]),
    "HTTP, then the mail of it": (["P1", "M1"], [NEW, AGAIN]),
    "mail, then HTTP": (["M1", "P1"], [NEW, AGAIN]),
    "two posts, then two mails": (["P1", "P2", "M1", "M2"], [NEW, NEW, AGAIN, AGAIN]),
    "two mails, then two posts": (["M1", "M2", "P1", "P2"], [NEW, NEW, AGAIN, AGAIN]),
    "a pair, then each once more": (["P1", "M1", "M1", "P1"], [NEW, AGAIN, AGAIN, AGAIN]),
    "a pair, then a third mail": (["P1", "M1", "M2"], [NEW, AGAIN, NEW]),
    "a post without an id, twice": (["-", "-"], [NEW, AGAIN]),
    "mail, then a post without an id": (["M1", "-"], [NEW, AGAIN]),
    "a post without an id, two mails": (["-", "M1", "M2"], [NEW, AGAIN, NEW]),
    "a mail that brings both": (["M1P1", "P1", "M1"], [NEW, AGAIN, AGAIN]),
    "both ids, another one of each": (["M1P1", "M2", "P2"], [NEW, NEW, AGAIN]),
}


def arriving(word: str) -> Identity:
    email = word[:2] if word.startswith("M") else None
    provider = word[-2:] if "P" in word else None
    return identity("equal", email=email, provider=provider)


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one by one"])
@pytest.mark.parametrize("case", PAIRS)
async def test_same_sms_by_mail_and_http_is_one(
    settings: StoreSettings, case: str, together: bool
) -> None:
    """Each message takes one arrival of each way; the rest repeat it or are messages themselves."""
    words, expected = PAIRS[case]
    items = [sms(arriving(word), plan("crm", claimed=True)) for word in words]
    async with opened(settings) as store:
        if together:
            receipts = await asyncio.gather(*(store.ingest(item) for item in items))
        else:
            receipts = [await store.ingest(item) for item in items]
    assert [receipt.outcome for receipt in receipts] == expected
    assert [bool(receipt.claims) for receipt in receipts] == [each is NEW for each in expected]
    report = audited(settings)
    assert report.ok, report
    assert report.totals["deliveries"] == expected.count(NEW)


async def test_duplicate_names_the_first(settings: StoreSettings) -> None:
    """A duplicate's receipt and row name the message that it repeats, not an id of its own."""
    async with opened(settings) as store:
        first = await store.ingest(sms(identity("x", provider="P1")))
        second = await store.ingest(sms(identity("x", email="M1")))
    assert second.message_id == first.message_id
    assert second.arrival_id != first.arrival_id


async def test_equal_ids_are_one_message_whatever_the_keys_say(settings: StoreSettings) -> None:
    """Two identities with one webhook id never become a poisoned row."""
    one = identity("x", email="M1")
    other = Identity(one.message_id, "content y", "email M2", None)
    async with opened(settings) as store:
        receipts = [await store.ingest(sms(each)) for each in (one, other)]
    assert [receipt.outcome for receipt in receipts] == [NEW, AGAIN]


async def test_quarantine_and_ignored_are_stored_raw(settings: StoreSettings) -> None:
    """What became no message is kept with its bytes, its reason and no delivery."""
    async with opened(settings) as store:
        kept = await store.ingest(unreadable(raw=b"\0\xff raw"))
        left = await store.ingest(ignored())
    assert (kept.outcome, kept.message_id, kept.claims) == (ArrivalOutcome.QUARANTINE, None, ())
    assert left.outcome is ArrivalOutcome.IGNORED
    database = Database.open(settings)
    with database.read() as connection:
        (row,) = list_quarantine(connection)
        assert (row.id, row.reason, row.size) == (kept.arrival_id, Reason.UNREADABLE, 6)
        assert show_arrival(connection, kept.arrival_id).raw == b"\0\xff raw"
    database.close()
    assert audited(settings).ok


async def test_reparse_turns_a_quarantined_arrival_into_its_message(
    settings: StoreSettings,
) -> None:
    """Parsed again after a fix, an arrival keeps its row and gets the id it would have had."""
    async with opened(settings) as store:
        first = await store.ingest(unreadable())
        still = await store.ingest(unreadable(reparse_of=first.arrival_id))
        now = await store.ingest(sms(identity("x", email="M1"), reparse_of=first.arrival_id))
        again = await store.ingest(sms(identity("x", email="M1")))
    assert still.outcome is ArrivalOutcome.QUARANTINE
    assert (now.arrival_id, now.outcome) == (first.arrival_id, NEW)
    assert now.message_id == again.message_id == identity("x", email="M1").message_id
    assert again.outcome is AGAIN
    report = audited(settings)
    assert report.ok
    assert report.totals["arrivals"] == 2


async def test_reparse_of_what_cannot_be_reparsed_fails_alone(settings: StoreSettings) -> None:
    """A wrong reparse tells its own waiter and leaves its batch alone."""
    async with opened(settings) as store:
        message = await store.ingest(sms())
        missing, refused, fine = await asyncio.gather(
            store.ingest(unreadable(reparse_of=999)),
            store.ingest(unreadable(reparse_of=message.arrival_id)),
            store.ingest(unreadable()),
            return_exceptions=True,
        )
    assert isinstance(missing, NotFound)
    assert isinstance(refused, NotPossible)
    assert fine.outcome is ArrivalOutcome.QUARANTINE
    assert audited(settings).ok


async def test_strings_that_no_database_holds_are_stored_all_the_same(
    settings: StoreSettings,
) -> None:
    """Lone surrogates and NUL are escaped in columns, and the raw bytes stay what they were."""
    odd = "a\udcffb\0c"
    item = sms(
        identity("odd", email="M1"),
        body=odd,
        sender=odd,
        arrived=arrival(b"\0\xff", origin=Envelope("192.0.2.1", odd, (odd, "é"))),
    )
    async with opened(settings) as store:
        receipt = await store.ingest(item)
        (claim,) = await store.claim("crm", 1)
    assert receipt.outcome is NEW
    assert claim.event == item.messages[0].events[0]
    database = Database.open(settings)
    with database.read() as connection:
        stored = show_arrival(connection, receipt.arrival_id)
        shown = show_message(connection, receipt.message_id)
    database.close()
    assert (stored.raw, stored.arrival.recipients) == (b"\0\xff", (odd, "é"))
    assert stored.row.origin.sender == "a\\udcffb\\x00c"
    found = shown.row.message.sms
    assert (found.sender, found.body) == ("a\\udcffb\\x00c", odd)


async def test_two_stores_on_one_postgres_take_the_same_mails_once(postgres) -> None:
    """Bridges beside each other store each mail once and never lease a delivery twice."""
    settings = StoreSettings(url=postgres.create_database())
    items = many(150)
    async with (
        opened(settings, owner="one") as one,
        opened(settings, owner="two") as two,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(store.ingest(item)) for item in items for store in (one, two)]
        receipts = await asyncio.gather(*tasks)
        outcomes = [receipt.outcome for receipt in receipts]
        assert (outcomes.count(NEW), outcomes.count(AGAIN)) == (150, 150)
        parts = await asyncio.gather(*(store.claim("crm", 10) for store in [one, two] * 10))
        ids = [claim.delivery_id for part in parts for claim in part]
        assert len(ids) == len(set(ids)) == 150
        assert await one.next_due("crm") > Clock().now
    report = audited(settings)
    assert report.ok, report


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_two_stores_are_exact_whatever_isolation_the_server_prefers(
    postgres, level: str
) -> None:
    """A role or a database with another default isolation does not make a duplicate a fault."""
    settings = StoreSettings(url=postgres.create_database())
    name = settings.url.rsplit("/", 1)[1]
    postgres.execute(
        "postgres", f"ALTER DATABASE {name} SET default_transaction_isolation TO '{level}'"
    )
    items = many(60)
    async with opened(settings, owner="one") as one, opened(settings, owner="two") as two:
        for item in items:
            receipts = await asyncio.gather(one.ingest(item), two.ingest(item))
            assert sorted(receipt.outcome for receipt in receipts) == [AGAIN, NEW]


async def test_two_bridges_pair_mail_and_http(postgres) -> None:
    """A post at one bridge and its mail at the other, at the same moment, are one message."""
    settings = StoreSettings(url=postgres.create_database())
    posts = [sms(identity(str(number), provider=f"P{number}")) for number in range(100)]
    mails = [sms(identity(str(number), email=f"M{number}")) for number in range(100)]
    async with opened(settings, owner="one") as one, opened(settings, owner="two") as two:
        for post, mail in zip(posts, mails, strict=True):
            receipts = await asyncio.gather(one.ingest(post), two.ingest(mail))
            assert {receipt.outcome for receipt in receipts} == {NEW, AGAIN}
    assert audited(settings).totals["messages"] == 100


async def test_several_messages_of_one_arrival_are_one_transaction(settings: StoreSettings) -> None:
    """Each has an arrival of its own that brought it, and the receipt is of all of them."""
    first, second, third = many(3, "crm")
    item = replace(first, result=(*first.messages, *second.messages, *third.messages))
    async with opened(settings) as store:
        receipt = await store.ingest(item)
        again = await store.ingest(item)
        one_new = await store.ingest(
            replace(item, result=(*item.messages, *many(4, "crm")[3].messages))
        )
    assert (receipt.outcome, receipt.message_id) == (NEW, first.messages[0].message.id)
    assert (again.outcome, again.message_id) == (AGAIN, receipt.message_id)
    assert (one_new.outcome, one_new.message_id) == (NEW, many(4)[3].messages[0].message.id)
    report = audited(settings)
    assert report.ok, report
    assert report.totals["arrivals.message"] == report.totals["messages"] == 4
    assert report.totals["arrivals.duplicate"] == 6
    assert report.totals["deliveries"] == 4


async def test_a_reparsed_arrival_may_bring_several_messages(settings: StoreSettings) -> None:
    """The quarantined arrival becomes the first one's, the others get rows of their own."""
    first, second = many(2, "crm")
    async with opened(settings) as store:
        stored = await store.ingest(unreadable())
        item = replace(
            first,
            reparse_of=stored.arrival_id,
            result=(*first.messages, *second.messages),
        )
        receipt = await store.ingest(item)
        with pytest.raises(NotPossible):
            await store.ingest(item)
    assert (receipt.arrival_id, receipt.outcome) == (stored.arrival_id, NEW)
    report = audited(settings)
    assert report.ok, report
    assert (report.totals["arrivals"], report.totals["messages"]) == (2, 2)


async def test_a_claim_says_whose_slot_it_has(settings: StoreSettings) -> None:
    """After a reload the lane that planned it is still the one to send it."""
    planned = tuple(replace(each, lane=7) for each in plan("crm", claimed=True))
    async with opened(settings) as store:
        (claim,) = (await store.ingest(sms(deliveries=planned))).claims
        assert claim.lane == 7
