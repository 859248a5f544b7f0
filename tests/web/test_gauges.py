"""The gauges show what waits, and counting a large store does not keep it busy."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bridge import metrics
from bridge.model import DeliveryState, EndpointState, Order, RetryAt
from bridge.store import hold_endpoint
from bridge.web import Gauges
from tests.store.making import (
    START,
    Clock,
    attempt,
    identity,
    opened,
    plan,
    sms,
    sqlite_settings,
    unreadable,
)


def value(gauge: str, *labels: str) -> float:
    return getattr(metrics, gauge).labels(*labels)._value.get()


async def test_what_waits_for_a_retry_or_is_held_is_undelivered(tmp_path: Path) -> None:
    """It is not due, and all the same a one-time password that nobody got."""
    clock = Clock()
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=clock) as store:
        gauges = Gauges(store, ["crm", "erp"], clock)
        item = sms(identity("a", email="M1"), plan("crm", "erp", claimed=True))
        for claim in (await store.ingest(item)).claims:
            if claim.endpoint == "crm":
                later = RetryAt(START + timedelta(hours=5), 1)
                await store.record(attempt(claim, later))
        await store.change(lambda connection: hold_endpoint(connection, "erp", "paused", START))
        await store.ingest(sms(identity("b", email="M2"), plan("erp")))
        clock.forward(700)
        await gauges.refresh()
        assert value("OLDEST_DUE_SECONDS", "crm") == 0
        assert value("OLDEST_UNDELIVERED_SECONDS", "crm") == 700
        assert value("OLDEST_UNDELIVERED_SECONDS", "erp") == 700
        assert value("DELIVERIES", "erp", DeliveryState.HELD.value) == 1
        assert (value("SEQUENCE", "crm"), value("SEQUENCE", "erp")) == (1, 2)


async def test_what_waits_behind_another_delivery_is_counted(tmp_path: Path) -> None:
    """It is not due either, and its age counts as undelivered."""
    clock = Clock()
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=clock) as store:
        gauges = Gauges(store, ["crm"], clock)
        for name in "abc":
            planned = replace(plan("crm", claimed=True)[0], order=Order.BLOCK, conversation=7)
            await store.ingest(sms(identity(name, email=name), (planned,)))
        clock.forward(30)
        await gauges.refresh()
        assert value("DELIVERIES_BEHIND", "crm") == 2
        assert value("DELIVERIES", "crm", DeliveryState.PENDING.value) == 3
        assert value("OLDEST_DUE_SECONDS", "crm") == 0
        assert value("OLDEST_UNDELIVERED_SECONDS", "crm") == 30


async def test_an_endpoint_is_in_one_state(tmp_path: Path) -> None:
    """The state's series is 1, the others are 0, and they follow at the next scrape."""
    async with opened(sqlite_settings(tmp_path / "bridge.db")) as store:
        gauges = Gauges(store, ["crm", "erp"], Clock())

        async def states(endpoint: str) -> dict[str, float]:
            await gauges.refresh()
            return {each: value("ENDPOINT_STATE", endpoint, each.value) for each in EndpointState}

        assert await states("crm") == {"active": 1, "paused": 0, "refused": 0, "failing": 0}
        await store.change(lambda connection: hold_endpoint(connection, "crm", "move", START))
        assert await states("crm") == {"active": 0, "paused": 1, "refused": 0, "failing": 0}
        assert (await states("erp"))["active"] == 1


async def test_an_endpoint_without_deliveries_is_at_zero(tmp_path: Path) -> None:
    """The series is there before anything waits, and after everything went."""
    clock = Clock()
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=clock) as store:
        gauges = Gauges(store, ["crm"], clock)
        (claim,) = (await store.ingest(sms(deliveries=plan("crm", claimed=True)))).claims
        clock.forward(60)
        await gauges.refresh()
        assert value("OLDEST_UNDELIVERED_SECONDS", "crm") == 60
        await store.record(attempt(claim))
        await gauges.refresh()
        assert value("OLDEST_UNDELIVERED_SECONDS", "crm") == 0


async def test_counts_that_take_long_are_made_seldom(tmp_path: Path) -> None:
    """A second of counting is followed by fifty of rest; ages stay exact meanwhile."""
    clock = Clock()
    ticks = iter([0.0, 1.0, 30.0, 51.5, 51.6])
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=clock) as store:
        gauges = Gauges(store, ["crm"], clock, timer=lambda: next(ticks))
        await gauges.refresh()
        await store.ingest(sms(deliveries=plan("crm")))
        clock.forward(10)
        await gauges.refresh()
        pending = DeliveryState.PENDING.value
        assert value("DELIVERIES", "crm", pending) == 0
        assert value("OLDEST_UNDELIVERED_SECONDS", "crm") == 10
        await gauges.refresh()
        assert value("DELIVERIES", "crm", pending) == 1


async def test_quarantine_is_counted_by_reason(tmp_path: Path) -> None:
    async with opened(sqlite_settings(tmp_path / "bridge.db")) as store:
        await store.ingest(unreadable())
        await Gauges(store, [], Clock()).refresh()
        assert value("QUARANTINED", "unreadable") == 1


@pytest.mark.parametrize("provider", ["", "acme"])
def test_counters_that_alerts_watch_exist_from_the_start(provider: str) -> None:
    """The first quarantined mail is an increase, from 0 to 1."""
    metrics.start_at_zero(["acme"])
    labels = {"reason": "no_provider", "provider": provider}
    assert metrics.REGISTRY.get_sample_value("smsbridge_quarantine_total", labels) is not None
