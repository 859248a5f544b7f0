"""A retry by filter tries each delivery that matches once, at its rate, over restarts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest

from bridge.config.settings import StoreSettings
from bridge.errors import NotFound, NotPossible
from bridge.model import DeliveryState, SourceKind
from bridge.operations import retries as operations
from bridge.operations.deliveries import retry
from bridge.operations.replay import list_replays
from bridge.operations.retries import Retrier
from bridge.store import Store, retries
from bridge.store.pages import DeliveryFilter, page_of_deliveries
from tests.store.making import GIVE_UP, Clock, attempt, audited, many, opened

DEAD = DeliveryFilter(endpoint="crm", state=DeliveryState.DEAD)


async def fail(store: Store, count: int, status: int = 500) -> None:
    """Take messages in for two endpoints, of which one fails."""
    for item in many(count, "crm", "erp", first=10 * status):
        await store.ingest(item)
    for name in ("crm", "erp"):
        while claims := await store.claim(name, 100):
            for claim in claims:
                made = attempt(claim, GIVE_UP, status) if name == "crm" else attempt(claim)
                await store.record(made)


async def pending(store: Store) -> int:
    look = partial(page_of_deliveries, which=DeliveryFilter(state=DeliveryState.PENDING), limit=200)
    return len((await store.read(look)).rows)


async def test_it_keeps_to_its_rate_and_goes_on_after_a_restart(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each dead one once; what was done before the process ended is not done again."""
    monkeypatch.setattr(retries, "LOOKED_AT", 7)
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm", "erp"]) as store:
        await fail(store, 20)
        assert await operations.preview(store, DEAD) == {"deliveries": 20}
        ordered = await operations.start(
            store, clock, DEAD, rate=2.0, who="ann", why="they are back"
        )
        assert ordered == {"retry": 1}
        retrier = Retrier(store, clock)
        counts = []
        for _ in range(4):
            clock.forward(1.0)
            await retrier.step()
            counts.append(await pending(store))
        steps = [new - old for old, new in pairwise([0, *counts])]
        assert max(steps) == 2
        assert 4 <= counts[-1] < 20
        shown = await operations.show_retry(store, 1)
        assert (shown["retried"], shown["state"], shown["who"]) == (
            counts[-1], "running", "ann",
        )  # fmt: skip
    async with opened(settings, clock=clock, endpoints=["crm", "erp"]) as store:
        clock.forward(3600)
        retrier = Retrier(store, clock)
        await retrier.step()
        assert await pending(store) <= counts[-1] + 4  # nothing is made up for
        for _ in range(30):
            clock.forward(1.0)
            await retrier.step()
        assert await pending(store) == 20
        (shown,) = await operations.list_retries(store)
        assert (shown["retried"], shown["skipped"], shown["state"]) == (20, 0, "done")
        assert shown["filter"] == {"endpoint": "crm", "state": "dead"}
        assert await list_replays(store) == []
        assert await operations.preview(store, DEAD) == {"deliveries": 0}
    assert audited(settings, clock()).ok


async def test_each_step_is_made_once(settings: StoreSettings) -> None:
    """Of two bridges one makes it: the other's does nothing, nor does one of a cancelled order."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm", "erp"]) as store:
        await fail(store, 6)
        which = DeliveryFilter(endpoint="crm")
        await operations.start(store, clock, which, rate=100.0, who="ann", why=None)
        (order,) = await store.read(partial(retries.list_retries, running=True))
        look = partial(retries.look, which=which, after=0, last=order.last, most=4)
        found = await store.read(look)
        advance = partial(retries.advance, retry=order, found=found, now=clock())
        assert await store.change(advance) == 4
        assert await store.change(advance) == 0
        (order,) = await store.read(partial(retries.list_retries, running=True))
        await operations.cancel(store, clock, order.id)
        advance = partial(retries.advance, retry=order, found=found, now=clock())
        assert await store.change(advance) == 0


async def test_what_was_delivered_meanwhile_is_left_alone(settings: StoreSettings) -> None:
    """Between the look and the change; it counts as skipped."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm", "erp"]) as store:
        await fail(store, 6)
        which = DeliveryFilter(endpoint="crm")
        await operations.start(store, clock, which, rate=100.0, who="ann", why=None)
        (order,) = await store.read(partial(retries.list_retries, running=True))
        look = partial(retries.look, which=which, after=0, last=order.last, most=100)
        found = await store.read(look)
        await retry(store, clock, endpoint="crm")
        for claim in await store.claim("crm", 100):
            await store.record(attempt(claim))
        advance = partial(retries.advance, retry=order, found=found, now=clock())
        assert await store.change(advance) == 0
        (shown,) = await operations.list_retries(store)
        assert (shown["retried"], shown["skipped"], shown["state"]) == (0, 6, "done")
        assert await pending(store) == 0


async def test_it_can_be_cancelled(settings: StoreSettings) -> None:
    """What was retried stays so; what is not known, or has ended, can't be."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm", "erp"]) as store:
        await fail(store, 6)
        await operations.start(store, clock, DEAD, rate=2.0, who="ann", why=None)
        clock.forward(1.0)
        await Retrier(store, clock).step()
        assert await operations.cancel(store, clock, 1) == {"cancelled": 1}
        clock.forward(1.0)
        await Retrier(store, clock).step()
        assert await pending(store) == 2
        with pytest.raises(NotPossible, match="cancelled"):
            await operations.cancel(store, clock, 1)
        with pytest.raises(NotFound):
            await operations.cancel(store, clock, 2)


@pytest.mark.parametrize(
    ("which", "count"),
    [
        (DeliveryFilter(status=500), 4), (DeliveryFilter(status=503), 3),
        (DeliveryFilter(source=SourceKind.SMTP), 7), (DeliveryFilter(source=SourceKind.IMAP), 0),
        (DeliveryFilter(endpoint="erp"), 0), (DeliveryFilter(state=DeliveryState.HELD), 0),
    ],
)  # fmt: skip
async def test_it_is_chosen_by_each_filter(
    settings: StoreSettings, which: DeliveryFilter, count: int
) -> None:
    """Delivered ones never match; and the filter is the same after it was stored."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm", "erp"]) as store:
        await fail(store, 4)
        await fail(store, 3, 503)
        assert await operations.preview(store, which) == {"deliveries": count}
        full = replace(which, since=clock(), until=clock.forward(60), provider="agile")
        await operations.start(store, clock, full, rate=1.0, who="ann", why=None)
        (order,) = await store.read(retries.list_retries)
        assert order.which == full


async def test_everything_is_refused(settings: StoreSettings) -> None:
    """An empty filter, and states in which nothing is tried again."""
    async with opened(settings) as store:
        for which in (
            DeliveryFilter(), DeliveryFilter(state=DeliveryState.DELIVERED),
            DeliveryFilter("crm", DeliveryState.FILTERED),
        ):  # fmt: skip
            with pytest.raises(NotPossible):
                await operations.preview(store, which)
            with pytest.raises(NotPossible):
                await operations.start(store, Clock(), which, rate=1.0, who="ann", why=None)
        assert await operations.list_retries(store) == []


async def test_one_that_is_in_no_list_any_more_is_shown(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is bounded; how far a long one is can be asked all the same."""
    monkeypatch.setattr(retries, "SHOWN", 1)
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for who in ("ann", "ben"):
            await operations.start(store, clock, DEAD, rate=1.0, who=who, why=None)
        assert [each["who"] for each in await operations.list_retries(store)] == ["ben"]
        assert (await operations.show_retry(store, 1))["who"] == "ann"
        with pytest.raises(NotFound):
            await operations.show_retry(store, 3)
