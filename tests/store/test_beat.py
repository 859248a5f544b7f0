"""What a heartbeat does when the clock was set: nothing dies, waits longer, or stays leased."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import select, text

from bridge.clock import MOST, ZERO, Clock, machine_time
from bridge.config.settings import DeliverySettings, StoreSettings
from bridge.delivery.schedule import decide, longest_waits
from bridge.model import Claim, Dead, Outcome, RetryAt
from bridge.operations.retention import Retention
from bridge.store import Ingest, Longest, Mailboxes, Store, retry_deliveries
from bridge.store.beat import FAR, JUMP, Kept, is_resting, jump_of, jump_of_first, lived_between
from bridge.store.tables import deliveries
from tests.servers.postgres import PostgresServer
from tests.store.making import (
    LEASE,
    START,
    SettableClock,
    arrival,
    at_revision,
    attempt,
    audited,
    identity,
    later,
    opened,
    plan,
    sms,
)

YEAR = timedelta(days=400)
THREE_HOURS = timedelta(hours=3)
ROW = Kept(START, START, ZERO, START)


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("late", "moved", "known", "jump"),
    [
        (0.0, 0.0, 0.0, 0.0),
        (4.9, 0.0, 0.0, 0.0),  # a time service's step: followed in silence
        (5.0, 0.0, 0.0, 5.0),
        (-3600.0, 0.0, 0.0, -3600.0),
        (3600.0, 3600.0, 0.0, 0.0),  # another bridge has moved the times
        (3602.0, 3600.0, 0.0, 0.0),
        (3600.0, 7200.0, 7200.0, 3600.0),  # that was another jump, of which we know
        (0.0, 0.0, 3600.0, 3600.0),  # our transaction was undone after all
    ],
)
def test_who_moves_what_waits(late: float, moved: float, known: float, jump: float) -> None:
    """A set clock is seen by each bridge, and the times are moved by the first one."""
    kept = Kept(START, START, _seconds(moved), START)
    assert jump_of(kept, _seconds(late), _seconds(known)) == _seconds(jump)


@pytest.mark.parametrize(
    ("since", "jump"), [(0.0, 0.0), (8 * 86400.0, 0.0), (-4.9, 0.0), (-5.0, -5.0), (-1e9, -1e9)]
)
def test_a_clock_that_was_set_while_no_bridge_ran(since: float, jump: float) -> None:
    """Set back, it is before the last heartbeat; ahead, it can't be told from a long stop."""
    assert jump_of_first(ROW, START + _seconds(since)) == _seconds(jump)


@pytest.mark.parametrize(
    ("awake", "since", "lived"),
    [
        (5.0, 5.0, 5.0),
        (5.0, 2.5, 2.5),  # another bridge has counted the rest
        (5.0, 8 * 3600.0, 5.0),  # the machine was suspended
        (3600.0, 3600.0, 15.0),  # the process was stopped, or the store away
        (5.0, -1.0, 0.0),
        (0.0, 100.0, 0.0),  # a first beat
    ],
)
def test_what_was_lived(awake: float, since: float, lived: float) -> None:
    """What went by for us, no second twice, and no more than a beat."""
    assert lived_between(_seconds(awake), _seconds(since)) == _seconds(lived)


def _sms(name: str, received_at: datetime = START) -> Ingest:
    arrived = arrival(received_at=received_at)
    return sms(identity(name, email=f"<{name}>"), plan("crm"), arrived=arrived)


async def _due(store: Store) -> list[datetime]:
    due = await store.read(
        lambda connection: (
            connection.execute(select(deliveries.c.due_at).order_by(deliveries.c.id))
            .scalars()
            .all()
        )
    )
    return list(due)


async def _waiting(store: Store, count: int, seconds: float) -> list[Claim]:
    """Store messages whose first attempt failed, to be retried in so many seconds."""
    for number in range(count):
        await store.ingest(_sms(f"{number}"))
    claims = await store.claim("crm", count)
    for claim in claims:
        await store.record(attempt(claim, later(seconds)))
    return claims


@pytest.mark.parametrize("by", [YEAR, -YEAR, THREE_HOURS, -THREE_HOURS], ids=str)
async def test_a_set_clock_changes_no_wait_and_kills_nothing(
    settings: StoreSettings, by: timedelta
) -> None:
    """Retries and leases are moved with the clock, once, and the schedule has lived on."""
    clock = SettableClock()
    async with opened(settings, clock=clock) as store:
        await store.probe()
        await _waiting(store, 5, 600)
        await store.ingest(_sms("leased"))
        (leased,) = await store.claim("crm", 1)
        clock.forward(5)
        clock.put(by)
        assert await store.claim("crm", 9) == []  # a clock that is set is nobody's before a beat
        await store.probe()
        now = START + _seconds(5) + by
        assert clock() == now
        assert await _due(store) == [START + by + _seconds(600)] * 5 + [
            START + by + _seconds(LEASE)
        ]
        await store.probe()
        assert (await _due(store))[0] == START + by + _seconds(600)
        await store.record(attempt(leased))
        clock.forward(594)
        assert await store.claim("crm", 9) == []
        clock.forward(1)
        claims = await store.claim("crm", 9)
        assert len(claims) == 5
        assert {claim.elapsed for claim in claims} == {5 + MOST.total_seconds()}
        await store.record(attempt(claims[0]))
    assert audited(settings, clock()).ok


async def test_a_clock_set_back_while_no_bridge_ran(settings: StoreSettings) -> None:
    """A retry that was written by the clock of 400 days ahead does not wait for these days."""
    clock = SettableClock()
    clock.put(YEAR)
    async with opened(settings, clock=clock) as store:
        await store.probe()
        await _waiting(store, 2, 400 * 86400 + 60)
    again = SettableClock()
    again.forward(30)
    async with opened(settings, clock=again) as store:
        assert await _due(store) == [START + _seconds(30 + 60)] * 2


async def test_an_attempt_in_flight_while_the_clock_is_set_back(settings: StoreSettings) -> None:
    """What it decided by the clock of before is recorded by the new one."""
    clock = SettableClock()
    async with opened(settings, clock=clock) as store:
        await store.ingest(_sms("a"))
        (claim,) = await store.claim("crm", 1)
        clock.put(-THREE_HOURS)
        await store.probe()
        asked = RetryAt(START + _seconds(60), 1, not_before=START + _seconds(30))
        await store.record(attempt(claim, asked))
        assert await _due(store) == [START - THREE_HOURS + _seconds(60)]
        clock.forward(31)
        assert (await store.bring_forward("crm", 0, 1))[0] == 1


@pytest.mark.parametrize("leased", [False, True])
async def test_what_no_schedule_can_have_asked_for_is_cut_short(
    settings: StoreSettings, leased: bool
) -> None:
    """A time that an attempt in flight or another program wrote by a wrong clock holds nothing."""
    clock = SettableClock()
    longest = Longest(_seconds(3600), _seconds(7200))
    store = await Store.open(
        settings, owner="us", lease_seconds=LEASE, endpoints=["crm"], clock=clock, longest=longest
    )
    try:
        await _waiting(store, 2, 3600)
        owner = "'somebody'" if leased else "NULL"
        year = 366 * 86400 * 1_000_000
        await store.change(
            lambda connection: connection.execute(
                text(
                    f"UPDATE deliveries SET leased_by = {owner}, due_at = due_at + {year} "
                    "WHERE id = (SELECT min(id) FROM deliveries)"
                )
            )
        )
        await store.probe()
        cut = LEASE if leased else 3600
        assert await _due(store) == [START + _seconds(cut), START + _seconds(3600)]
    finally:
        await store.close()


async def test_who_reads_a_mailbox_is_no_bridge_of_next_year(settings: StoreSettings) -> None:
    """A mailbox's lease that a wrong clock wrote ends at the next beat."""
    clock = SettableClock()
    async with opened(settings, clock=clock) as store:
        insert = (
            "INSERT INTO mailboxes (mailbox, folder, leader, led_until) "
            f"VALUES ('inbox', 'INBOX', 'other', {int((START + YEAR).timestamp()) * 1_000_000})"
        )
        await store.change(lambda connection: connection.execute(text(insert)))
        await store.probe()
        assert await Mailboxes(store, "us", clock).lead("inbox", "INBOX")


async def test_retries_that_are_due_after_a_suspend_go_at_once(settings: StoreSettings) -> None:
    """Time that went by for everybody is no jump, and it was not lived."""
    clock = SettableClock()
    async with opened(settings, clock=clock) as store:
        await store.probe()
        await _waiting(store, 1, 3600)
        clock.suspend(8 * 3600)
        await store.probe()
        (claim,) = await store.claim("crm", 1)
        assert claim.elapsed == 0


async def test_a_long_stop_is_not_lived(settings: StoreSettings) -> None:
    """A bridge that was off for 30 days goes on with its schedules where it was."""
    clock = SettableClock()
    async with opened(settings, clock=clock) as store:
        await _waiting(store, 1, 60)
        clock.forward(10)
        await store.probe()
    clock = SettableClock()
    clock.forward(30 * 86400)
    async with opened(settings, clock=clock) as store:
        (claim,) = await store.claim("crm", 1)
        assert claim.elapsed == 10


async def test_nothing_is_removed_for_an_age_that_it_has_not(settings: StoreSettings) -> None:
    """Retention rests for a day that is lived after a jump ahead; a day later it goes on."""
    clock = SettableClock()
    removed: list[int] = []

    async def pause(_: float) -> None:
        return None

    async with opened(settings, clock=clock) as store:
        await store.ingest(_sms("a"))
        (claim,) = await store.claim("crm", 1)
        await store.record(attempt(claim))
        clock.forward(600)
        retention = Retention(store, {"bodies": 30 * 86400.0}, clock, pause)
        clock.put(YEAR)
        for _ in range(2):
            await store.probe()
            removed.append(sum((await retention.sweep()).values()))
        # Beats of a day.
        lived = text("UPDATE heartbeat SET lived = lived + 86400000000")
        await store.change(lambda connection: connection.execute(lived))
        await store.probe()
        removed.append(sum((await retention.sweep()).values()))
    assert removed == [0, 0, 1]


async def test_a_restart_does_not_end_the_rest(settings: StoreSettings) -> None:
    """It is the database's, not the process's; a stop of a day or more begins one of its own."""
    clock = SettableClock()
    async with opened(settings, clock=clock) as store:
        clock.put(FAR)
        await store.probe()
    async with opened(settings, clock=clock) as store:
        assert await store.read(is_resting)
    clock.forward(86400)
    async with opened(settings, clock=clock) as store:
        assert await store.read(is_resting)


async def test_problems_are_sentences(settings: StoreSettings) -> None:
    """Set ahead, set back before what has arrived: each says so, and ends when it is over."""
    clock = SettableClock()
    told: list[list[str]] = []

    async with opened(settings, clock=clock) as store:

        async def look() -> None:
            await store.probe()
            told.append([each for each in store.clock_problems.values() if each])

        await look()
        clock.put(YEAR)
        await look()
        await store.ingest(_sms("old", clock()))
        clock.put(-YEAR)
        await look()
        await store.ingest(_sms("new", clock()))
        await look()
    assert told[0] == told[3] == []
    ((ahead,), (before,)) = told[1:3]
    assert ahead.startswith("the clock was set ahead by 400 days: look at `date`")
    assert before.startswith("the clock is 400 days before the newest arrival: look at `date`")


async def test_an_operators_retry_begins_a_schedule_with_its_claim(
    settings: StoreSettings,
) -> None:
    """A command can't tell what the bridges have lived, so the next claim says when it began."""
    clock = SettableClock()
    async with opened(settings, clock=clock) as store:
        await _waiting(store, 1, 3600)
        clock.forward(10)
        await store.probe()
        command = await Store.beside(settings, owner="retry", clock=SettableClock())
        await command.change(
            lambda connection: retry_deliveries(connection, now=clock(), endpoint="crm")
        )
        await command.close()
        (claim,) = await store.claim("crm", 1)
        assert claim.elapsed == 0
        await store.record(attempt(claim, later(5)))
        clock.forward(5)
        await store.probe()
        (claim,) = await store.claim("crm", 1)
        assert claim.elapsed == 5


async def test_open_deliveries_keep_their_age_over_the_upgrade(settings: StoreSettings) -> None:
    """What had waited for six days by the last heartbeat has lived for six days."""
    with at_revision(settings, "0014") as connection:
        micros = int(START.timestamp()) * 1_000_000
        born = micros - 6 * 86400 * 1_000_000
        body = "x'78'" if connection.dialect.name == "sqlite" else "'x'"
        for statement in (
            f"UPDATE heartbeat SET beat_at = {micros}",
            (
                "INSERT INTO messages (id, provider, sender, recipient, received_at, bridged_at, "
                "content_key) VALUES ('m', 'p', 's', 'r', 0, 0, 'c')"
            ),
            (
                "INSERT INTO events (id, message_id, format, type, planned, created_at, body) "
                f"VALUES ('m', 'm', 't', 't', 1, 0, {body})"
            ),
            (
                "INSERT INTO deliveries (id, event_id, endpoint, state, attempts, step, "
                "schedule_from, due_at, created_at, changed_at, replay) "
                f"VALUES (1, 'm', 'crm', 'pending', 3, 3, {born}, 0, 0, 0, 0)"
            ),
        ):
            connection.execute(text(statement))
    clock = SettableClock()
    clock.put(YEAR)  # the machine's clock at the upgrade is no measure
    async with opened(settings, clock=clock) as store:
        (claim,) = await store.claim("crm", 1)
        assert claim.elapsed == 6 * 86400


@pytest.mark.processes
async def test_bridges_take_the_databases_time(postgres: PostgresServer) -> None:
    """Machines that are minutes apart lease by one time, and each says that it is wrong.

    By their own, the one ahead would send what the one behind has just begun to send.
    """
    settings = StoreSettings(url=postgres.create_database())
    told: list[list[str]] = []
    times: list[datetime] = []
    async with AsyncExitStack() as stack:
        for ahead in (-180, 0, 180):
            clock = Clock(partial(_ahead, ahead))
            store = await stack.enter_async_context(
                opened(settings, clock=clock, owner=f"{ahead}", endpoints=["crm"])
            )
            await store.probe()
            told.append([each for each in store.clock_problems.values() if each])
            times.append(clock())
            await store.ingest(_sms(f"{ahead}"))
            assert len(await store.claim("crm", 9)) == 1  # of the others' none
    assert times == sorted(times)
    assert [len(each) for each in told] == [1, 0, 1]
    assert "3 minutes behind that of the database's server" in told[0][0]
    assert "3 minutes ahead of that of the database's server" in told[2][0]


def _ahead(seconds: float) -> datetime:
    return machine_time() + _seconds(seconds)


steps = st.one_of(
    st.tuples(st.just("live"), st.floats(0, 14)),
    st.tuples(st.just("set"), st.floats(-1e8, 1e8)),
    st.tuples(st.just("suspend"), st.floats(0, 1e5)),
)


@given(story=st.lists(steps, max_size=30))
@effort(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_story_of_jumps_kills_or_delays(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, float]]
) -> None:
    """None dies before it has lived for `give_up`, none waits for longer than a step and a beat."""
    path = tmp_path_factory.mktemp("story") / "bridge.db"
    asyncio.run(_live(StoreSettings(url=f"sqlite:///{path}", min_free=0), story))


async def _live(settings: StoreSettings, story: list[tuple[str, float]]) -> None:
    delivery = DeliverySettings(schedule=(0, 2, 10), repeat=30, give_up=60, max_retry_after=0)
    clock = SettableClock()
    store = await Store.open(
        settings, owner="us", lease_seconds=LEASE,
        endpoints=["crm"], clock=clock, longest=Longest(*longest_waits(delivery)),
    )  # fmt: skip
    lived = since = 0.0
    try:
        await store.ingest(sms(deliveries=plan("crm")))
        for what, amount in story:
            match what:
                case "live":
                    clock.forward(amount)
                    lived += amount
                    since += amount
                case "set":
                    clock.put(_seconds(amount))
                case "suspend":
                    clock.suspend(amount)
                    since += amount
            await store.probe()
            claims = await store.claim("crm", 1)
            assert claims or since <= 30 + JUMP.total_seconds() + 5, "it waits for too long"
            for claim in claims:
                decision = decide(
                    Outcome(500, 0), claim, now=clock(), rng=lambda: 0.0, settings=delivery
                )
                await store.record(attempt(claim, decision))
                since = 0.0
                if isinstance(decision, Dead):
                    assert lived >= 60 - 1e-3
                    return
    finally:
        await store.close()
