"""Order within a conversation: who goes, who waits, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import select, text

from bridge.config.settings import StoreSettings
from bridge.model import (
    Claim,
    Decision,
    Delivered,
    DeliveryState,
    Hold,
    Order,
    PlannedDelivery,
    RetryAt,
)
from bridge.store import (
    Database,
    Ingest,
    Store,
    conversations,
    hold_endpoint,
    outbox,
    queries,
    replays,
    resume_endpoint,
    retry_deliveries,
)
from bridge.store.audit import audit
from bridge.store.bring_forward import bring_forward
from bridge.store.endpoints import BEHIND, match_config
from bridge.store.erase import erase_messages
from bridge.store.postgres import lock_order
from bridge.store.queries import list_deliveries
from bridge.store.replays import Selection
from bridge.store.search import MessageFilter
from bridge.store.snapshot import take_snapshot
from bridge.store.tables import deliveries
from tests.patience import PATIENCE
from tests.store.making import (
    GIVE_UP,
    LEASE,
    START,
    Clock,
    attempt,
    audited,
    identity,
    opened,
    sms,
    writing,
)
from tests.store.test_outbox import fill, plan_of

BLOCK, PASS = Order.BLOCK, Order.OVERTAKE
_numbers = count()


def said(
    conversation: int, order: Order, *, claimed: bool = False, endpoint: str = "crm"
) -> Ingest:
    """Make a message of a conversation."""
    number = next(_numbers)
    known = identity(f"order {number}", email=f"M{number}")
    pending = DeliveryState.PENDING
    planned = PlannedDelivery(
        endpoint, pending, claimed=claimed, order=order, conversation=conversation
    )
    return sms(known, (planned,))


async def write(store: Store, conversation: int, order: Order) -> None:
    await store.ingest(said(conversation, order))


@dataclass
class Case:
    """What was done with the first message of a conversation, and whether the second may go."""

    decision: Decision | None  # None: it is still in flight
    block: bool
    passes: bool
    later: float = 0.0  # seconds after that


SOON = START + timedelta(seconds=30)
CASES = {
    "in flight": Case(None, block=False, passes=False),
    "its lease ended": Case(None, block=False, passes=False, later=LEASE + 1),
    "delivered": Case(Delivered(), block=True, passes=True),
    "waits for its retry": Case(RetryAt(SOON, 1), block=False, passes=True),
    "its retry is due": Case(RetryAt(SOON, 1), block=False, passes=False, later=31),
    "dead": Case(GIVE_UP, block=True, passes=True),
    "held": Case(Hold("by hand"), block=False, passes=True),
}


@pytest.mark.parametrize("order", [BLOCK, PASS], ids=["block", "pass"])
@pytest.mark.parametrize("name", CASES)
async def test_second_message_goes_or_waits(
    settings: StoreSettings, clock: Clock, name: str, order: Order
) -> None:
    """The second message of a conversation goes when `behind` lets it; other ones never wait."""
    case = CASES[name]
    async with opened(settings, clock=clock) as store:
        await write(store, 1, order)
        await write(store, 1, order)
        (first,) = await store.claim("crm", 9, order)
        await write(store, 2, order)
        if case.decision is not None:
            await store.record(attempt(first, case.decision))
        clock.forward(case.later)
        claimed = [
            each.delivery_id - first.delivery_id for each in await store.claim("crm", 9, order)
        ]
        again = case.later > 0  # the first one is due itself
        assert (1 in claimed) is (case.block if order is BLOCK else case.passes)
        assert (0 in claimed) is again
        assert 2 in claimed
        assert len(claimed) == len(set(claimed))
    assert audited(settings, clock()).ok


@pytest.mark.parametrize("order", [BLOCK, PASS], ids=["block", "pass"])
async def test_what_was_claimed_ahead_and_given_back_still_goes_first(
    settings: StoreSettings, clock: Clock, order: Order
) -> None:
    """While it is claimed nothing of its conversation goes; given back, it is the first again."""
    async with opened(settings, clock=clock) as store:
        await write(store, 1, order)
        await write(store, 1, order)
        (first,) = await store.claim("crm", 9, order)
        assert await store.claim("crm", 9, order) == []
        await store.give_back([first])
        (again,) = await store.claim("crm", 9, order)
        assert (again.delivery_id, again.attempt) == (first.delivery_id, first.attempt)
        await store.record(attempt(again, Delivered()))
        (second,) = await store.claim("crm", 9, order)
        assert second.delivery_id > first.delivery_id
    assert audited(settings, clock()).ok


@pytest.mark.parametrize("repeat", ["delivered", "failed", "never recorded"])
async def test_a_late_success_lets_the_next_one_go_beside_the_repeat(
    settings: StoreSettings, clock: Clock, repeat: str
) -> None:
    """The endpoint has taken the first one; what is in flight is a duplicate, and says so.

    So the order in which it takes them for the first time is kept, whatever comes of the repeat.
    """
    async with opened(settings, clock=clock) as store:
        await write(store, 1, BLOCK)
        await write(store, 1, BLOCK)
        await write(store, 1, BLOCK)
        (first,) = await store.claim("crm", 9, BLOCK)
        clock.forward(LEASE + 1)
        (again,) = await store.claim("crm", 9, BLOCK)
        assert again.delivery_id == first.delivery_id
        assert again.sent_before
        assert await store.claim("crm", 9, BLOCK) == []
        await store.record(attempt(first))  # its answer came, and its record is late
        (second,) = await store.claim("crm", 9, BLOCK)
        assert second.delivery_id > first.delivery_id
        if repeat != "never recorded":
            late = attempt(again) if repeat == "delivered" else attempt(again, RetryAt(SOON, 1))
            await store.record(late)
        clock.forward(LEASE / 2)
        assert await store.claim("crm", 9, BLOCK) == []  # the second one is in flight
        await store.record(attempt(second))
        (third,) = await store.claim("crm", 9, BLOCK)
        assert third.delivery_id > second.delivery_id
        await store.record(attempt(third))
        clock.forward(LEASE * 2)
        assert await store.claim("crm", 9, BLOCK) == []
    assert audited(settings, clock()).ok


async def test_a_lease_that_ends_unrecorded_leaves_nobody_behind_it(
    settings: StoreSettings, clock: Clock
) -> None:
    """What passed a retry and died in flight waits behind it, and no longer the other way round."""
    async with opened(settings, clock=clock) as store:
        await write(store, 1, PASS)
        (first,) = await store.claim("crm", 9, PASS)
        await store.record(attempt(first, RetryAt(SOON, 1)))
        await write(store, 1, PASS)
        (second,) = await store.claim("crm", 9, PASS)
        clock.forward(31)
        assert await store.claim("crm", 9, PASS) == []  # the first one waits for the second now
        clock.forward(LEASE)
        assert await store.claim("crm", 9, PASS) == []
        (again,) = await store.claim("crm", 9, PASS)
        assert again.delivery_id == first.delivery_id
        await store.record(attempt(again))
        (last,) = await store.claim("crm", 9, PASS)
        assert last.delivery_id == second.delivery_id
    assert audited(settings, clock()).ok


@pytest.mark.parametrize("order", [BLOCK, PASS], ids=["block", "pass"])
async def test_new_messages_start_at_once_unless_one_goes_first(
    settings: StoreSettings, clock: Clock, order: Order
) -> None:
    """Ingest leases the first message of a conversation, also of one batch, and no second one."""
    async with opened(settings, clock=clock) as store:
        batch = [said(each, order, claimed=True) for each in (1, 1, 2, 1)]
        receipts = await asyncio.gather(*(store.ingest(each) for each in batch))
        assert [len(each.claims) for each in receipts] == [1, 0, 1, 0]
        assert await store.claim("crm", 9, order) == []
        assert await store.next_due("crm") == START + timedelta(seconds=LEASE)
        clock.forward(2)
        await store.record(attempt(receipts[0].claims[0]))
        (second,) = await store.claim("crm", 9, order)
        # Its schedule begins now that it may be tried, not when it came in.
        assert second.elapsed == 0
        await store.record(attempt(second, GIVE_UP))
        (third,) = await store.claim("crm", 9, order)
        assert third.delivery_id > second.delivery_id
        await store.record(attempt(third))
        again = await store.ingest(said(1, order, claimed=True))
        assert len(again.claims) == 1


async def test_an_endpoint_that_loses_its_order_gets_everything(
    settings: StoreSettings, clock: Clock
) -> None:
    """After a start without it, what waited behind another delivery goes; before, it waits on."""
    for order in (BLOCK, BLOCK, Order.NONE):
        async with opened(settings, clock=clock, orders={"crm": order}) as store:
            if order is BLOCK:
                await write(store, 1, BLOCK)
                await write(store, 1, BLOCK)
            assert len(await store.claim("crm", 9, order)) == (1 if order is BLOCK else 4)


@pytest.mark.parametrize("order", [Order.NONE, PASS], ids=["none", "pass"])
async def test_what_a_lane_parks_that_does_not_know_the_new_order_yet_goes(
    settings: StoreSettings, clock: Clock, order: Order
) -> None:
    """A reload looks again when the lanes that it replaced have ended; so does each start."""
    async with opened(settings, clock=clock, orders={"crm": BLOCK}) as store:
        await write(store, 1, BLOCK)
        (first,) = await store.claim("crm", 9, BLOCK)
        await store.record(attempt(first, RetryAt(START + timedelta(hours=9), 1)))
        new = {"crm": order}
        await store.change(lambda c: match_config(c, ["crm"], clock(), new))
        await write(store, 1, BLOCK)  # planned before the reload
        await store.change(lambda c: match_config(c, ["crm"], clock(), new))
        assert len(await store.claim("crm", 9, order)) == 1
    assert audited(settings, clock()).ok


@pytest.mark.parametrize("how", ["given back", "its lease ended", "freed at a start"])
async def test_a_retry_by_hand_passes_what_is_held_while_its_endpoint_is(
    settings: StoreSettings, clock: Clock, how: str
) -> None:
    """The operator's exception waits for the attempt in flight, and no longer than that."""
    async with opened(settings, clock=clock, orders={"crm": PASS}) as store:
        await write(store, 1, PASS)
        await write(store, 1, PASS)
        (first,) = await store.claim("crm", 9, PASS)
        await store.change(lambda c: hold_endpoint(c, "crm", "operator", clock()))
        await store.change(lambda c: retry_deliveries(c, now=clock(), endpoint="crm"))
        assert await store.claim("crm", 9, PASS) == []
        if how == "given back":
            await store.give_back([first])
        elif how == "its lease ended":
            clock.forward(LEASE + 1)
            assert await store.claim("crm", 9, PASS) == []
        else:
            await store.change(lambda c: outbox.free_leases(c, "us", clock()))
        (second,) = await store.claim("crm", 9, PASS)
        assert second.delivery_id > first.delivery_id
    assert audited(settings, clock()).ok


async def test_what_is_held_is_passed_by_once_the_order_says_so(
    settings: StoreSettings, clock: Clock
) -> None:
    """A delivery that is held by itself blocks its conversation until `behind` is "pass"."""
    async with opened(settings, clock=clock, orders={"crm": BLOCK}) as store:
        await write(store, 1, BLOCK)
        await write(store, 1, BLOCK)
        (first,) = await store.claim("crm", 9, BLOCK)
        await store.record(attempt(first, Hold("by hand")))
        assert await store.claim("crm", 9, BLOCK) == []
        assert await store.next_due("crm") is None
        assert (await store.bring_forward("crm", 0, 9)).made == 0
        clock.forward(7 * 24 * 3600)
        await store.change(
            lambda c: match_config(c, ["crm"], clock(), {"crm": PASS})  # as a reload does
        )
        (second,) = await store.claim("crm", 9, PASS)
        # It has never been tried: else its first failure would be its last.
        assert second.elapsed == 0


async def test_a_dead_one_that_is_retried_does_not_wait_and_nobody_overtakes_it(
    settings: StoreSettings, clock: Clock
) -> None:
    """Its successors went when it died; those that are still there wait for it again."""
    async with opened(settings, clock=clock) as store:
        for _ in range(3):
            await write(store, 1, BLOCK)
        (first,) = await store.claim("crm", 9, BLOCK)
        await store.record(attempt(first, GIVE_UP))
        (second,) = await store.claim("crm", 9, BLOCK)
        await store.change(lambda c: retry_deliveries(c, now=clock(), ids=[first.delivery_id]))
        assert await store.claim("crm", 9, BLOCK) == []
        await store.record(attempt(second))
        (again,) = await store.claim("crm", 9, BLOCK)
        assert again.delivery_id == first.delivery_id
        await store.record(attempt(again))
        (third,) = await store.claim("crm", 9, BLOCK)
        assert third.delivery_id > second.delivery_id


async def test_a_replay_goes_to_the_end_of_its_conversation(
    settings: StoreSettings, clock: Clock
) -> None:
    """What is delivered again comes after what waits, and new messages after it."""
    async with opened(settings, clock=clock) as store:
        first = await store.ingest(said(1, BLOCK, claimed=True))
        await store.record(attempt(first.claims[0]))
        await write(store, 1, BLOCK)
        (second,) = await store.claim("crm", 9, BLOCK)
        with writing(settings) as connection:
            replays.order(
                connection, "crm", Selection(filter=MessageFilter(text="News")), 1.0, clock()
            )
            (started,) = replays.list_replays(connection)
            again = first.claims[0].event
            plan = PlannedDelivery("crm", DeliveryState.PENDING, order=BLOCK, conversation=1)
            assert again is not None
            assert first.message_id is not None
            new = [replays.Replayed(first.message_id, again, plan)]
            assert replays.advance(connection, started, new, 1, clock(), skipped=0) == 1
        assert await store.claim("crm", 9, BLOCK) == []
        await write(store, 1, BLOCK)
        await store.record(attempt(second))
        events = []
        for _ in range(2):
            (claim,) = await store.claim("crm", 9, BLOCK)
            events.append(claim.event.id)
            await store.record(attempt(claim))
        assert events[0] == again.id
        assert events[1] != again.id


async def test_a_delivery_names_the_one_that_it_waits_for(
    settings: StoreSettings, clock: Clock
) -> None:
    """The one in flight, else the first that is open; lists and the count of those that wait."""
    async with opened(settings, clock=clock) as store:
        for conversation in (1, 1, 1, 2):
            await write(store, conversation, PASS)

        async def behind() -> list[int | None]:
            rows = await store.read(list_deliveries)
            snapshot = await store.read(take_snapshot)
            waits = [row.behind for row in reversed(rows)]
            assert snapshot.behind.get("crm", 0) == sum(each is not None for each in waits)
            return waits

        claims = await store.claim("crm", 9, PASS)
        one = claims[0].delivery_id
        assert await behind() == [None, one, one, None]
        await store.record(attempt(claims[0], RetryAt(SOON, 1)))
        (second,) = await store.claim("crm", 9, PASS)
        assert await behind() == [None, None, second.delivery_id, None]
        assert await store.next_due("crm") == SOON


async def test_what_waits_behind_an_erased_message_goes(
    settings: StoreSettings, clock: Clock
) -> None:
    """A delivery that ends without an attempt keeps nobody waiting."""
    async with opened(settings, clock=clock) as store:
        first = await store.ingest(said(1, BLOCK))
        await write(store, 1, BLOCK)
        assert first.message_id is not None
        ids = [first.message_id]
        await store.change(
            lambda connection: erase_messages(connection, ids, clock(), even_undelivered=True)
        )
        assert len(await store.claim("crm", 9, BLOCK)) == 1
    assert audited(settings).ok


@pytest.mark.parametrize("order", [BLOCK, PASS], ids=["block", "pass"])
def test_the_look_at_a_conversation_is_seeks(settings: StoreSettings, order: Order) -> None:
    """A claim reads no other conversation, however many wait."""
    with closing(Database.open(settings, migrate=True)) as database:
        with database.begin() as connection:
            fill(connection, 20_000, "'pending'")
            connection.execute(text("UPDATE deliveries SET conversation = id % 2000"))
        with database.begin() as connection:
            connection.execute(text("ANALYZE"))
        with database.read() as connection:
            values = {"wanted": "crm", "now": START, "since": START}
            found = plan_of(connection, conversations._LOOKS[order], values)
            values = {"wanted": "crm", "conversation": 7, "now": START, "in_conversation": 7}
            busy = plan_of(connection, conversations._BUSY[order]._clause, values)
            wake = plan_of(connection, conversations._WAKE._clause, values)
            listed = plan_of(connection, queries._DELIVERY.limit(9), {})
    assert "deliveries_due" in found
    for plan in (found, busy):
        assert "deliveries_conversation" in plan
        assert "deliveries_in_flight" in plan
    assert "deliveries_conversation" in wake
    assert "deliveries_due" not in wake
    assert "deliveries_conversation" in listed
    for plan in (found, busy, wake):
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan
        assert "SCAN deliveries" not in plan
        assert "Seq Scan" not in plan


async def test_a_long_conversation_is_not_read_again_and_again(
    settings: StoreSettings, clock: Clock
) -> None:
    """Deliveries that wait are looked at once, and then left alone until it is their turn."""
    async with opened(settings, clock=clock) as store:
        with writing(settings) as connection:
            fill(connection, 1_000, "'pending'")
            connection.execute(text("UPDATE deliveries SET conversation = 1"))
        for _ in range(3):
            (claim,) = await store.claim("crm", 9, BLOCK)
            await store.record(attempt(claim))
        with writing(settings) as connection:
            due = text("SELECT count(*) FROM deliveries WHERE state = 'pending' AND due_at < :far")
            far = {"far": 253370764800000000}
            assert connection.execute(due, far).scalar_one() == 1  # the next one


@dataclass
class Bridge:
    """One of two bridges on a database: its store, and what it holds."""

    name: str
    store: Store
    claims: dict[int, tuple[Claim, datetime]] = field(default_factory=dict)  # and the lease's end


@dataclass
class World:
    """A database that lives longer than one example: each has an endpoint of its own."""

    settings: StoreSettings
    order: Order
    runner: asyncio.Runner


class Conversations(RuleBasedStateMachine):
    """Two bridges that claim, fail, die and come back, and an operator, in any sequence."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._order = world.order
        self._run = world.runner.run
        self._settings = world.settings
        self._endpoint = f"e{next(_numbers)}"
        self._clock = Clock()
        self._bridges = [self._run(self._bridge()), self._run(self._bridge())]
        self._conversation: dict[int, int] = {}  # by delivery
        self._dead: dict[int, datetime] = {}  # leases of killed bridges, and their ends

    async def _bridge(self) -> Bridge:
        name = f"b{next(_numbers)}"
        store = Store(
            Database.open(self._settings), owner=name, lease_seconds=LEASE, clock=self._clock
        )
        return Bridge(name, store)

    def _rows(self) -> dict[int, tuple[str, datetime, str | None]]:
        each = deliveries
        with closing(Database.open(self._settings)) as database, database.read() as connection:
            found = connection.execute(
                select(each.c.id, each.c.state, each.c.due_at, each.c.leased_by).where(
                    each.c.endpoint == self._endpoint
                )
            )
            return {row.id: (row.state, row.due_at, row.leased_by) for row in found}

    def _hold(self, bridge: Bridge, claims: Sequence[Claim]) -> None:
        until = self._clock() + timedelta(seconds=LEASE)
        bridge.claims |= {each.delivery_id: (each, until) for each in claims}

    def _in_flight(self) -> set[int]:
        now = self._clock()
        held = (each for bridge in self._bridges for each in bridge.claims.items())
        return {number for number, (_, until) in held if until > now} | self._orphans

    @property
    def _orphans(self) -> set[int]:
        """What a dead bridge had in flight: nobody may take it before its lease ends."""
        return {number for number, until in self._dead.items() if until > self._clock()}

    @rule(conversation=st.integers(1, 3), claimed=st.booleans(), which=st.integers(0, 1))
    def write(self, conversation: int, claimed: bool, which: int) -> None:
        bridge = self._bridges[which]
        flying, before = self._in_flight(), self._rows()
        item = said(conversation, self._order, claimed=claimed, endpoint=self._endpoint)
        receipt = self._run(bridge.store.ingest(item))
        (new,) = set(self._rows()) - set(before)
        self._conversation[new] = conversation
        for claim in receipt.claims:
            self._check(claim, before, flying)
        self._hold(bridge, receipt.claims)

    @rule(limit=st.integers(1, 4), which=st.integers(0, 1), fresh=st.booleans())
    def claim(self, limit: int, which: int, fresh: bool) -> None:
        bridge = self._bridges[which]
        flying, before = self._in_flight(), self._rows()
        since = self._clock() - timedelta(seconds=10) if fresh else None
        claims = self._run(bridge.store.claim(self._endpoint, limit, self._order, since))
        for claim in claims:
            self._check(claim, before, flying)
        spoken = [self._conversation[each.delivery_id] for each in claims]
        assert len(spoken) == len(set(spoken)), "two of a conversation at once"
        self._hold(bridge, claims)

    def _check(
        self, claim: Claim, rows: dict[int, tuple[str, datetime, str | None]], flying: set[int]
    ) -> None:
        mine, now = claim.delivery_id, self._clock()
        others = [
            n for n, c in self._conversation.items() if c == self._conversation[mine] and n != mine
        ]
        assert not flying & {mine, *others}, "one of the conversation is in flight"
        for number in (each for each in others if each < mine):
            state, due, lease = rows[number]
            if self._order is BLOCK:
                assert state in {"delivered", "dead"}, f"{mine} before {number}, which is {state}"
            elif state == "pending":
                assert lease is None
                assert now < due < BEHIND, f"{mine} before {number}, whose turn it was"

    @precondition(lambda self: any(bridge.claims for bridge in self._bridges))
    @rule(
        data=st.data(),
        what=st.sampled_from(["delivered", "delivered", "retry", "retry", "dead", "gone"]),
    )
    def record(self, data: st.DataObject, what: str) -> None:
        bridge = next(bridge for bridge in self._bridges if bridge.claims)
        number = data.draw(st.sampled_from(sorted(bridge.claims)))
        claim, _ = bridge.claims.pop(number)
        decision: Decision = {
            "delivered": Delivered(),
            "retry": RetryAt(self._clock() + timedelta(seconds=20), claim.step + 1),
            "dead": GIVE_UP,
            "gone": Hold("410", whole_endpoint=True),
        }[what]
        status = 410 if what == "gone" else None
        self._run(bridge.store.record(attempt(claim, decision, status=status)))

    @precondition(lambda self: any(bridge.claims for bridge in self._bridges))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Undo claims that no attempt was made of, whoever has them by now."""
        bridge = next(bridge for bridge in self._bridges if bridge.claims)
        numbers = data.draw(st.sets(st.sampled_from(sorted(bridge.claims)), min_size=1))
        unused = [bridge.claims.pop(number)[0] for number in numbers]
        self._run(bridge.store.give_back(unused))

    @rule(seconds=st.sampled_from([1, 21, LEASE + 1]))
    def wait(self, seconds: float) -> None:
        self._clock.forward(seconds)

    @rule(which=st.integers(0, 1), known=st.booleans())
    def die(self, which: int, known: bool) -> None:
        """Kill a bridge; its successor frees its leases if it has its name."""
        dead = self._bridges[which]
        self._run(dead.store.close())
        self._dead = {**self._dead, **{n: until for n, (_, until) in dead.claims.items()}}
        if known:
            with writing(self._settings) as connection:
                outbox.free_leases(connection, dead.name, self._clock())
            self._dead = {n: t for n, t in self._dead.items() if n not in dead.claims}
        self._bridges[which] = self._run(self._bridge())

    @rule(what=st.sampled_from(["retry", "hold", "resume", "forward"]))
    def operate(self, what: str) -> None:
        store, now, name = self._bridges[0].store, self._clock(), self._endpoint
        change = {
            "retry": lambda connection: retry_deliveries(connection, now=now, endpoint=name),
            "hold": lambda connection: hold_endpoint(connection, name, "operator", now),
            "resume": lambda connection: resume_endpoint(connection, name, now),
            "forward": lambda connection: bring_forward(connection, name, 0, 9, now),
        }[what]
        self._run(store.change(change))

    def teardown(self) -> None:
        """Whatever happened: once all succeeds, everything goes out, nothing is stuck."""
        bridge = self._bridges[0]
        self._clock.forward(LEASE + 1)
        now = self._clock()
        self._run(bridge.store.change(lambda c: resume_endpoint(c, self._endpoint, now)))
        for _ in range(4 * len(self._conversation) + 4):
            self._clock.forward(21)
            for claim in self._run(bridge.store.claim(self._endpoint, 9, self._order)):
                self._run(bridge.store.record(attempt(claim)))
        left = {state for state, _, _ in self._rows().values()}
        for each in self._bridges:
            self._run(each.store.close())
        assert left <= {"delivered", "dead"}, self._rows()
        with closing(Database.open(self._settings)) as database, database.read() as connection:
            report = audit(connection, self._clock())
        assert report.ok, report


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.mark.parametrize("order", [BLOCK, PASS], ids=["block", "pass"])
def test_no_delivery_is_claimed_out_of_order(
    settings: StoreSettings, runner: asyncio.Runner, order: Order
) -> None:
    """Whatever two bridges and an operator do: one at a time, in turn, and none is left behind."""
    Database.open(settings, migrate=True).close()
    world = World(settings, order, runner)
    run_state_machine_as_test(
        lambda: Conversations(world),
        settings=effort(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.generate],  # shrinking would take minutes, and a run is short
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_what_one_bridge_parks_while_another_one_records_is_woken(postgres) -> None:
    """Whoever looks at a conversation keeps others from changing it until its commit."""
    settings = StoreSettings(url=postgres.create_database())
    async with opened(settings) as store:
        await write(store, 1, BLOCK)
        await write(store, 1, BLOCK)
        (first,) = await store.claim("crm", 9, BLOCK)
        with writing(settings) as connection:
            connection.execute(
                text("UPDATE deliveries SET due_at = 0 WHERE due_at > 1775651452000000 * 2")
            )
        with writing(settings) as connection:
            lock_order(connection)
            assert conversations.choose(connection, "crm", 9, START, BLOCK) == []
            recording = asyncio.create_task(store.record(attempt(first)))
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            async with asyncio.timeout(PATIENCE):
                while not recording.done() and not await store.read(
                    lambda c: c.execute(waiting).scalar_one()
                ):
                    await asyncio.sleep(0.01)
        await recording
        assert len(await store.claim("crm", 9, BLOCK)) == 1


async def test_two_bridges_claim_side_by_side_and_keep_the_order(postgres) -> None:
    """Two bridges that hammer one endpoint send each conversation in the order it was written."""
    settings = StoreSettings(url=postgres.create_database())
    clock, conversations_, each = Clock(), 5, 12
    sent: dict[int, list[int]] = {number: [] for number in range(conversations_)}
    flying: set[int | None] = set()
    async with (
        opened(settings, clock=clock, owner="one") as one,
        opened(settings, clock=clock, owner="two") as two,
    ):
        for number in range(conversations_ * each):
            await write(one, number % conversations_, BLOCK)

        async def work(store: Store) -> None:
            while sum(map(len, sent.values())) < conversations_ * each:
                for claim in await store.claim("crm", 3, BLOCK):
                    assert claim.conversation not in flying
                    assert claim.conversation is not None
                    flying.add(claim.conversation)
                    sent[claim.conversation].append(claim.delivery_id)
                    await asyncio.sleep(0)
                    flying.discard(claim.conversation)
                    await store.record(attempt(claim))

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for store in (one, two):
                for _ in range(2):
                    tasks.create_task(work(store))
    assert all(order == sorted(order) and len(order) == each for order in sent.values())
    assert audited(settings).ok
