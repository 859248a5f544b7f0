"""What the charts are drawn from: two hours, and no more memory than that takes."""

from __future__ import annotations

from pathlib import Path

from bridge.web.page import pulse
from bridge.web.page.pulse import SAMPLES, Pulse
from tests.store.making import Clock, opened, plan, sms, sqlite_settings


async def test_the_age_of_the_oldest_and_the_rate_are_sampled(tmp_path: Path) -> None:
    """Ages in seconds, deliveries a minute; endpoints that are gone are forgotten."""
    clock = Clock()
    names = ["pulse-crm", "gone"]

    async def is_open() -> bool:
        return True

    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=clock) as store:
        sampled = Pulse(store, names, is_open, clock)
        await store.ingest(sms(deliveries=plan("pulse-crm")))
        clock.forward(30)
        await sampled.sample()
        pulse.metrics.ATTEMPTS.labels("pulse-crm", "delivered").inc(3)
        clock.forward(30)
        names.remove("gone")
        await sampled.sample()
        course = sampled.course("pulse-crm")
        assert list(course.ages) == [30.0, 60.0]
        assert list(course.rates) == [0.0, 6.0]
        assert not sampled.course("gone").ages
        for _ in range(SAMPLES):
            clock.forward(30)
            await sampled.sample()
        assert len(course.ages) == len(course.rates) == SAMPLES
