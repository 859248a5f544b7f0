from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import Connection, Engine, bindparam, event, select, text, update

from bridge.config.settings import StoreSettings
from bridge.errors import NotFound, NotPossible
from bridge.model import Attempt, Claim, Delivered, DeliveryState, Hold, Order, RetryAt
from bridge.store import (
    Database,
    checksums,
    due,
    hold_endpoint,
    outbox,
    resume_endpoint,
    retry_deliveries,
    take_snapshot,
)
from bridge.store.queries import DeliveryDetail, list_deliveries, show_delivery
from bridge.store.tables import deliveries, events
from tests.store.making import (
    GIVE_UP,
    LEASE,
    START,
    Clock,
    attempt,
    audited,
    identity,
    later,
    many,
    opened,
    plan,
    sms,
    sqlite_settings,
    writing,
)

PENDING, HELD, DEAD = DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD


def shown(settings: StoreSettings, claim: Claim) -> DeliveryDetail:
    database = Database.open(settings)
    try:
        with database.read() as connection:
            return show_delivery(connection, claim.delivery_id)
    finally:
        database.close()


def state_of(settings: StoreSettings, claim: Claim) -> DeliveryState:
    return shown(settings, claim).delivery.state


async def test_claim_takes_what_has_been_due_longest_once(
    settings: StoreSettings, clock: Clock
) -> None:
    """Claims come oldest due first, up to the limit, and no delivery comes twice."""
    async with opened(settings, clock=clock) as store:
        for item in many(3):
            await store.ingest(item)
            clock.forward(1)
        first = await store.claim("crm", 2)
        rest = await store.claim("crm", 2)
        assert await store.claim("crm", 2) == []
        assert await store.claim("erp", 2) == []
    wanted = [item.messages[0].message.id for item in many(3)]
    assert [claim.event.id for claim in first + rest] == wanted
    assert {claim.attempt for claim in first + rest} == {1}


async def test_a_lease_does_not_become_shorter_while_we_run(
    settings: StoreSettings, clock: Clock
) -> None:
    """A reload with a shorter timeout leaves attempts in flight that began with the longer one."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms())
        store.lease_for(LEASE / 2)
        assert len(await store.claim("crm", 9)) == 1  # by the lane that the reload replaces
        clock.forward(LEASE - 1)
        assert await store.claim("crm", 9) == []
        store.lease_for(2 * LEASE)
        clock.forward(2)
        assert len(await store.claim("crm", 9)) == 1
        clock.forward(2 * LEASE - 1)
        assert await store.claim("crm", 9) == []
        assert store.lease_seconds == 2 * LEASE


async def test_lease_that_ends_is_claimable_with_the_next_attempt(
    settings: StoreSettings, clock: Clock
) -> None:
    """A claim nobody records is due again when its lease ends; the lost attempt stays counted."""
    async with opened(settings, clock=clock) as store:
        receipt = await store.ingest(sms(deliveries=plan("crm", claimed=True)))
        assert await store.next_due("crm") == START + timedelta(seconds=LEASE)
        clock.forward(LEASE - 1)
        assert await store.claim("crm", 1) == []
        clock.forward(1)
        (again,) = await store.claim("crm", 1)
    (first,) = receipt.claims
    assert (again.delivery_id, again.attempt) == (first.delivery_id, 2)
    assert again.lease != first.lease


async def test_retry_waits_for_its_time(settings: StoreSettings, clock: Clock) -> None:
    """After RetryAt the delivery is due at that time, at that step, in the same schedule."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms())
        (claim,) = await store.claim("crm", 1)
        clock.forward(1)
        await store.record(attempt(claim, later(30, step=4)))
        assert await store.next_due("crm") == START + timedelta(seconds=30)
        clock.forward(28)
        assert await store.claim("crm", 1) == []
        clock.forward(1)
        (again,) = await store.claim("crm", 1)
        assert (again.attempt, again.step, again.elapsed) == (2, 4, 15)  # no beat: no more is known
        await store.record(attempt(again))
        assert await store.next_due("crm") is None
    detail = shown(settings, claim)
    assert [(each.number, each.result, each.status) for each in detail.attempts] == [
        (1, "retry", 500),
        (2, "delivered", 200),
    ]
    assert detail.attempts[0].answer == b"\xff\0ok"
    assert detail.delivery.state is DeliveryState.DELIVERED
    assert audited(settings).ok


@pytest.mark.parametrize(
    ("decision", "state"), [(Hold("no secret"), HELD), (GIVE_UP, DEAD)], ids=["hold", "dead"]
)
async def test_stopped_delivery_waits_for_an_operator(
    settings: StoreSettings, clock: Clock, decision: Hold, state: DeliveryState
) -> None:
    """Held and dead deliveries are not due, say why, and go by a new schedule when retried."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms())
        (claim,) = await store.claim("crm", 1)
        await store.record(attempt(claim, decision))
        assert await store.next_due("crm") is None
        delivery = shown(settings, claim).delivery
        assert (delivery.state, delivery.reason) == (state, decision.reason)
        snapshot = await store.read(take_snapshot)
        assert snapshot.deliveries == {("crm", state): 1}
        now = clock.forward(3600)
        with writing(settings) as connection:
            assert retry_deliveries(connection, now=now, ids=[claim.delivery_id]) == 1
        (again,) = await store.claim("crm", 1)
    assert (again.attempt, again.step, again.elapsed) == (2, 0, 0)


async def test_retry_by_endpoint_and_state_leaves_the_others(
    settings: StoreSettings, clock: Clock
) -> None:
    """A bulk retry touches what it names: not what is under way, delivered, or another's."""
    async with opened(settings, clock=clock) as store:
        for item in many(4, "crm", "erp"):
            await store.ingest(item)
        dead, delivered, waiting, _running = await store.claim("crm", 4)
        await store.record(attempt(dead, GIVE_UP))
        await store.record(attempt(delivered))
        await store.record(attempt(waiting, later(30)))
        (other,) = await store.claim("erp", 1)
        await store.record(attempt(other, GIVE_UP))
        with writing(settings) as connection:
            assert retry_deliveries(connection, now=START, endpoint="crm", state=DEAD) == 1
            assert retry_deliveries(connection, now=START, endpoint="crm") == 2
            with pytest.raises(NotPossible):
                retry_deliveries(connection, now=START, state=DeliveryState.DELIVERED)
            with pytest.raises(NotPossible):
                retry_deliveries(connection, now=START)
        assert {claim.delivery_id for claim in await store.claim("crm", 9)} == {
            dead.delivery_id,
            waiting.delivery_id,
        }
    assert state_of(settings, other) is DEAD
    assert state_of(settings, delivered) is DeliveryState.DELIVERED


async def test_hold_of_an_endpoint_holds_all_that_is_its(
    settings: StoreSettings, clock: Clock
) -> None:
    """A 410 holds what waits, what comes later and what is under way; resume lets all of it go."""
    async with opened(settings, clock=clock) as store:
        for item in many(4, "crm", "erp"):
            await store.ingest(item)
        gone, running, delivered = await store.claim("crm", 3)
        await store.record(attempt(gone, Hold("410 Gone", whole_endpoint=True), status=410))
        assert state_of(settings, running) is PENDING
        receipt = await store.ingest(sms(identity("new", email="N"), plan("crm", claimed=True)))
        await store.record(attempt(running, later(5)))
        await store.record(attempt(delivered))
        assert receipt.claims == ()
        assert await store.next_due("crm") is None
        snapshot = await store.read(take_snapshot)
        assert snapshot.held_endpoints == {"crm": "410 Gone"}
        assert snapshot.deliveries == {("crm", HELD): 4, ("erp", PENDING): 4}
        now = clock.forward(60)
        with writing(settings) as connection:
            assert {row.reason for row in list_deliveries(connection, state=HELD)} == {"410 Gone"}
            assert resume_endpoint(connection, "crm", now) == 4
        claims = await store.claim("crm", 9)
        assert {(claim.step, claim.elapsed) for claim in claims} == {(0, 0)}
        assert len(claims) == 4
    assert audited(settings).ok


async def test_hold_and_retry_in_one_batch(settings: StoreSettings, clock: Clock) -> None:
    """A retry that is committed together with its endpoint's hold is held too."""
    async with opened(settings, clock=clock) as store:
        for item in many(2):
            await store.ingest(item)
        one, two = await store.claim("crm", 2)
        await asyncio.gather(
            store.record(attempt(one, later(5))),
            store.record(attempt(two, Hold("410 Gone", whole_endpoint=True), status=410)),
        )
        assert await store.next_due("crm") is None
    assert state_of(settings, one) is HELD


async def test_operator_holds_an_endpoint(settings: StoreSettings, clock: Clock) -> None:
    """An operator's hold, made by another process, is seen by the next ingest."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms())
        with writing(settings) as connection:
            assert hold_endpoint(connection, "crm", "paused", START) == 1
        receipt = await store.ingest(sms(identity("b", email="b"), plan("crm", claimed=True)))
        assert receipt.claims == ()
        assert await store.claim("crm", 9) == []


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one by one"])
async def test_record_after_the_lease_was_lost(
    settings: StoreSettings, clock: Clock, together: bool
) -> None:
    """A late record keeps its attempt; only a delivered one changes the delivery."""
    async with opened(settings, clock=clock) as store:
        for item in many(2):
            await store.ingest(item)
        late = await store.claim("crm", 2)
        clock.forward(LEASE)
        new = await store.claim("crm", 2)
        records = [attempt(late[0], GIVE_UP), attempt(late[1], Delivered())]
        if together:
            await asyncio.gather(*map(store.record, records))
        else:
            for each in records:
                await store.record(each)
        assert state_of(settings, new[0]) is PENDING
        assert state_of(settings, new[1]) is DeliveryState.DELIVERED
        assert [row.lease_lost for row in shown(settings, new[0]).attempts] == [True]
        await store.record(attempt(new[0], later(5)))
        await store.record(attempt(new[1], GIVE_UP))
    assert state_of(settings, new[0]) is PENDING
    assert state_of(settings, new[1]) is DeliveryState.DELIVERED
    assert audited(settings).ok


async def test_recording_again_changes_nothing(settings: StoreSettings, clock: Clock) -> None:
    """An attempt that is recorded twice is one row and one change."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms())
        (claim,) = await store.claim("crm", 1)
        made = attempt(claim, later(5))
        await asyncio.gather(store.record(made), store.record(made))
        await store.record(made)
    assert len(shown(settings, claim).attempts) == 1
    assert audited(settings).ok


async def test_record_of_an_unknown_delivery_fails_alone(
    settings: StoreSettings, clock: Clock
) -> None:
    """A record that names no delivery is NotFound for its own waiter, not for its batch."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms())
        (claim,) = await store.claim("crm", 1)
        wrong = Claim(999, "crm", claim.event, 1, 0, 0.0, claim.lease)
        refused, fine = await asyncio.gather(
            store.record(Attempt(wrong, START, attempt(claim).outcome, Delivered())),
            store.record(attempt(claim)),
            return_exceptions=True,
        )
    assert isinstance(refused, NotFound)
    assert fine is None


@pytest.mark.parametrize("order", Order)
async def test_what_became_due_lately_can_be_claimed_before_a_backlog(
    settings: StoreSettings, clock: Clock, order: Order
) -> None:
    """Only that, the oldest of it first, and nothing that is not due yet."""
    async with opened(settings, clock=clock, orders={"crm": order}) as store:
        for item in many(3):
            await store.ingest(item)
        (late,) = await store.claim("crm", 1, order)
        await store.record(attempt(late, later(600)))
        clock.forward(60)
        lately = clock()
        for item in many(2, first=3):
            await store.ingest(item)
            clock.forward(1)
        claims = await store.claim("crm", 1, order, lately)
        claims += await store.claim("crm", 9, order, lately)
        assert [each.event.id for each in claims] == [
            each.messages[0].events[0].id for each in many(2, first=3)
        ]
        assert await store.claim("crm", 9, order, clock()) == []
        assert len(await store.claim("crm", 9, order)) == 2
    assert audited(settings).ok


@pytest.mark.parametrize("failed_over", [False, True])
async def test_bring_forward_ends_the_wait_for_a_retry(
    settings: StoreSettings, clock: Clock, failed_over: bool
) -> None:
    """What waits for its schedule is due at once; not what is in flight, nor another endpoint's."""
    async with opened(settings, clock=clock) as store:
        for item in many(5, "crm", "erp"):
            await store.ingest(item)
        waits, sooner, asked, flies, _ = await store.claim("crm", 5)
        (other,) = await store.claim("erp", 1)
        await store.record(attempt(waits, later(21_600, step=9)))
        await store.record(attempt(sooner, later(7_200, step=8)))
        until = START + timedelta(seconds=3_600)
        await store.record(attempt(asked, RetryAt(until + timedelta(seconds=60), 1, until)))
        await store.record(attempt(other, later(21_600)))
        clock.forward(5)
        assert await store.try_one("crm") == 1
        (claim,) = await store.claim("crm", 9)
        assert (claim.delivery_id, claim.step) == (sooner.delivery_id, 8)
        assert (await store.bring_forward("crm", 0, 9)).made == 1
        assert (await store.bring_forward("crm", 0, 9)).made == 0
        (claim,) = await store.claim("crm", 9)
        assert (claim.delivery_id, claim.step) == (waits.delivery_id, 9)
        assert other.delivery_id not in {each.delivery_id for each in await store.claim("erp", 9)}
        assert state_of(settings, flies) is PENDING
        if failed_over:  # the failover URL has asked for nothing
            assert (await store.bring_forward("crm", 0, 9, clock())).made == 1
        else:
            clock.forward(3_600)  # what the endpoint asked for is over
            assert (await store.bring_forward("crm", 0, 9)).made == 1
        assert asked.delivery_id in {each.delivery_id for each in await store.claim("crm", 9)}
    assert audited(settings).ok


# At the end of an outage: each delivery by how many hours ago it came in, and in how many it is due
# again (before now: it was never tried, or its next try is due anyway), or for how many hours the
# endpoint asked to wait for it. Then the order in which they go.
_ENDS: Final = {
    "the oldest waits for longest": ([(9, 6, None), (8, 2, None), (7, 1, None)], [0, 1, 2]),
    "the oldest waits for least": ([(9, 1, None), (8, 2, None), (7, 6, None)], [0, 1, 2]),
    "some were never tried": (
        [(9, 6, None), (8, -8, None), (7, 3, None), (6, -6, None)],
        [0, 1, 2, 3],
    ),
    "a retry is overdue": ([(9, -1, None), (8, -8, None), (7, 3, None)], [0, 1, 2]),
    "some were tried by hand": ([(0, 6, None), (8, 5, None), (0, 4, None)], [1, 0, 2]),
    "the endpoint asked to wait": ([(9, 6, 1), (8, 6, -1), (7, -7, None)], [1, 2]),
}


@pytest.mark.parametrize("limit", [1, 9])
@pytest.mark.parametrize("case", _ENDS)
async def test_what_is_brought_forward_goes_by_age(
    settings: StoreSettings, clock: Clock, case: str, limit: int
) -> None:
    """The oldest first, whatever it waited for, and however many transactions it takes."""
    made, expected = _ENDS[case]
    hour = timedelta(hours=1)
    async with opened(settings, clock=clock) as store:
        for item in many(len(made)):
            await store.ingest(item)
        with writing(settings) as connection:
            ids = sorted(row.id for row in list_deliveries(connection))
            for which, (age, due, asked) in zip(ids, made, strict=True):
                connection.execute(
                    update(deliveries)
                    .where(deliveries.c.id == which)
                    .values(
                        step=5,
                        schedule_from=START - age * hour,
                        due_at=START + due * hour,
                        not_before=None if asked is None else START + asked * hour,
                    )
                )
        after: int | None = 0
        while after is not None:
            _, after, _ = await store.bring_forward("crm", after, limit)
            clock.forward(1)
        claims = [await store.claim("crm", 1) for _ in expected]
        assert [each.delivery_id for (each,) in claims] == [ids[each] for each in expected]
        assert await store.claim("crm", 9) == []
    assert audited(settings).ok


async def test_what_failed_again_goes_behind_all_others(
    settings: StoreSettings, clock: Clock
) -> None:
    """An endpoint that never takes one SMS must not be kept from the others by it, each time."""
    async with opened(settings, clock=clock) as store:
        for item in many(2):
            await store.ingest(item)
        bad, good = await store.claim("crm", 2)
        for claim in (bad, good):
            await store.record(attempt(claim, later(600)))
        clock.forward(60)
        made, _, at = await store.bring_forward("crm", 0, 9)
        assert made == 2
        clock.forward(1)
        (bad,) = await store.claim("crm", 1)
        await store.record(attempt(bad, later(1200)))
        assert await store.bring_forward("crm", 0, 9, None, at) == (1, good.delivery_id, clock())
        assert [each.delivery_id for each in await store.claim("crm", 9)] == [
            good.delivery_id, bad.delivery_id
        ]  # fmt: skip


async def test_what_came_when_the_clock_was_ahead_is_brought_forward_to_now(
    settings: StoreSettings, clock: Clock
) -> None:
    """A schedule that began in the future is no reason to wait for that."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms())
        (claim,) = await store.claim("crm", 1)
        await store.record(attempt(claim, later(60)))
        clock.forward(-3600)
        assert (await store.bring_forward("crm", 0, 9))[0] == 1
        assert len(await store.claim("crm", 9)) == 1


async def test_a_retry_forgets_what_the_endpoint_asked_for(
    settings: StoreSettings, clock: Clock
) -> None:
    """After a retry by hand, and a failure without Retry-After, the wait can be ended again."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms())
        (claim,) = await store.claim("crm", 1)
        far = START + timedelta(days=1)
        await store.record(attempt(claim, RetryAt(far, 1, far)))
        assert (await store.bring_forward("crm", 0, 9)).made == 0
        with writing(settings) as connection:
            assert retry_deliveries(connection, now=clock(), ids=[claim.delivery_id]) == 1
        (claim,) = await store.claim("crm", 1)
        await store.record(attempt(claim, later(600)))
        assert (await store.bring_forward("crm", 0, 9)).made == 1


async def test_start_frees_a_dead_predecessors_leases(
    settings: StoreSettings, clock: Clock
) -> None:
    """What a killed daemon had leased is due at once for the next one of its name."""
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms(deliveries=plan("crm", claimed=True)))
    clock.forward(1)
    async with opened(settings, clock=clock) as store:
        assert await store.next_due("crm") == clock.now
        (claim,) = await store.claim("crm", 1)
    assert claim.attempt == 2


async def test_what_a_dead_daemon_had_leased_to_a_held_endpoint_is_held(
    settings: StoreSettings, clock: Clock
) -> None:
    """A hold outlives a crash: it left in-flight deliveries alone, and nobody records those."""
    async with opened(settings, clock=clock) as store:
        for item in many(2):
            await store.ingest(item)
        await store.claim("crm", 2)
        with writing(settings) as connection:
            assert hold_endpoint(connection, "crm", "paused", START) == 0
    async with opened(settings, clock=clock) as store:
        clock.forward(LEASE)
        assert await store.claim("crm", 2) == []
        with writing(settings) as connection:
            assert {row.reason for row in list_deliveries(connection, state=HELD)} == {"paused"}
            assert resume_endpoint(connection, "crm", clock.now) == 2
        assert {each.attempt for each in await store.claim("crm", 2)} == {2}
    assert audited(settings).ok


async def test_a_start_takes_its_locks_in_the_common_order(postgres, clock: Clock) -> None:
    """A bridge that starts can't block one that records, which has the order's lock first."""
    taken: list[int] = []

    def note(_connection, _cursor, statement: str, parameters, *_: object) -> None:
        if "pg_advisory_xact_lock" in statement:
            taken.append(parameters["key"])

    settings = StoreSettings(url=postgres.create_database())
    async with opened(settings, clock=clock):
        pass
    event.listen(Engine, "before_cursor_execute", note)
    try:
        async with opened(settings, clock=clock):
            pass
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    order = next(key for key in taken if key & 0xFFFF == 4)
    holds = next(key for key in taken if key & 0xFFFF == 3)
    assert taken.index(order) < taken.index(holds)


async def test_a_lease_that_ends_while_its_endpoint_is_held_is_held(
    settings: StoreSettings, clock: Clock
) -> None:
    """Of a held endpoint only what an operator retries may be claimed, not what ran out."""
    async with opened(settings, clock=clock) as store:
        for item in many(3):
            await store.ingest(item)
        claims = await store.claim("crm", 2)
        with writing(settings) as connection:
            assert hold_endpoint(connection, "crm", "paused", START) == 1
            (third,) = list_deliveries(connection, state=HELD)
            assert retry_deliveries(connection, now=clock.now, ids=[third.id]) == 1
        clock.forward(LEASE)
        assert [each.delivery_id for each in await store.claim("crm", 9)] == [third.id]
        assert {state_of(settings, each) for each in claims} == {HELD}
    assert audited(settings).ok


async def test_another_bridges_leases_are_left_alone(postgres, clock: Clock) -> None:
    """On PostgreSQL a bridge that starts does not take what another one is at."""
    settings = StoreSettings(url=postgres.create_database())
    async with opened(settings, clock=clock, owner="one") as store:
        await store.ingest(sms(deliveries=plan("crm", claimed=True)))
        async with opened(settings, clock=clock, owner="two") as other:
            assert await other.claim("crm", 1) == []


async def test_endpoint_that_left_the_config_is_held_until_it_is_back(
    settings: StoreSettings, clock: Clock
) -> None:
    """Deliveries of an endpoint nobody serves are held, say so, and go on when it returns."""
    async with opened(settings, clock=clock) as store:
        for item in many(2, "crm", "erp"):
            await store.ingest(item)
    async with opened(settings, clock=clock, endpoints=["erp"]) as store:
        assert await store.next_due("crm") is None
        assert (await store.read(take_snapshot)).deliveries == {
            ("crm", HELD): 2,
            ("erp", PENDING): 2,
        }
        with writing(settings) as connection:
            reasons = {row.reason for row in list_deliveries(connection, endpoint="crm")}
    assert reasons == {"endpoint is not in the config"}
    async with opened(settings, clock=clock) as store:
        assert len(await store.claim("crm", 9)) == 2


@pytest.fixture
def crowded(settings: StoreSettings) -> Iterator[Database]:
    """Give a database in which 20,000 deliveries wait, and as many are at rest."""
    database = Database.open(settings, migrate=True)
    with database.begin() as connection:
        fill(connection, 40_000, "CASE i % 2 WHEN 0 THEN 'pending' ELSE 'delivered' END")
    with database.begin() as connection:
        connection.execute(text("ANALYZE"))
    yield database
    database.close()


def fill(connection: Connection, count: int, state: str) -> None:
    """Write many deliveries by the database's own means."""
    numbers, nothing = f"generate_series(1, {count}) AS n(i)", "''"
    if connection.dialect.name == "sqlite":
        numbers = (
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
            f"WHERE i < {count}) SELECT i FROM n)"
        )
        nothing = "x''"
    for rows in (
        (
            "messages (id, provider, sender, recipient, received_at, bridged_at, content_key) "
            "SELECT 'm' || i, 'p', 's', 'r', 0, 0, 'c' || i"
        ),
        (
            "events (id, message_id, format, type, planned, created_at, body) "
            f"SELECT 'm' || i, 'm' || i, 't', 't', 1, 0, {nothing}"
        ),
        (
            "deliveries (id, event_id, endpoint, state, attempts, step, schedule_from, due_at, "
            f"created_at, changed_at) SELECT i, 'm' || i, 'crm', {state}, 0, 0, 0, i, 0, 0"
        ),
    ):
        connection.execute(text(f"INSERT INTO {rows} FROM {numbers}"))
    firsts = select(events).where(events.c.id.in_([f"m{number}" for number in range(1, 101)]))
    connection.execute(
        update(events).where(events.c.id == bindparam("of")).values(checksum=bindparam("new")),
        [
            {"of": row["id"], "new": checksums.of_event(row)}
            for row in connection.execute(firsts).mappings()
        ],
    )


def plan_of(connection: Connection, statement: object, values: dict[str, object]) -> str:
    compiled = statement.compile(connection.engine, compile_kwargs={"render_postcompile": True})
    prefix = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    filled = compiled.construct_params(values)
    for name, processor in compiled._bind_processors.items():
        filled[name] = processor(filled[name])
    positions = compiled.positiontup
    bound = filled if positions is None else tuple(filled[name] for name in positions)
    rows = connection.exec_driver_sql(prefix + str(compiled), bound)
    return "\n".join(str(row) for row in rows)


def test_claims_are_seeks_in_an_index_however_many_wait(crowded: Database) -> None:
    """Neither claim nor next_due reads the waiting rows to find the oldest."""
    values = {"wanted": "crm", "now": START, "since": START - timedelta(seconds=1), "most": 10}
    with crowded.read() as connection:
        for statement in (due._DUE, outbox._NEXT_DUE):
            found = plan_of(connection, statement, values)
            assert "deliveries_due" in found
            assert "TEMP B-TREE" not in found
            assert "Sort" not in found


def test_plain_python_lists_are_bounded() -> None:
    """A retry of many ids is cut into statements that every database takes."""
    parts = outbox.in_parts(range(1201))
    assert [len(part) for part in parts] == [500, 500, 201]


async def test_hundred_thousand_waiting_deliveries_are_never_loaded(tmp_path) -> None:
    """A claim among 100,000 rows costs memory for its own rows only."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        with writing(settings) as connection:
            fill(connection, 100_000, "'pending'")
        tracemalloc.start()
        try:
            assert len(await store.claim("crm", 10)) == 10
            await store.next_due("crm")
            await store.read(take_snapshot)
            with writing(settings) as connection:
                hold_endpoint(connection, "crm", "paused", START)
                resume_endpoint(connection, "crm", START)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 5_000_000
