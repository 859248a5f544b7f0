"""Whatever is sent is stored: each try has the same bytes and headers, in every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from bridge import formats
from bridge.config.endpoints import NO_SCHEME
from bridge.delivery.attempt import build_request
from bridge.delivery.endpoint import Endpoint
from bridge.formats import FORMATS
from bridge.model import Claim, DeliveryState, PlannedDelivery
from bridge.signing import SCHEMES
from bridge.store import Store
from bridge.store.stream import read_page
from tests.store.making import (
    START,
    Clock,
    attempt,
    audited,
    later,
    opened,
    planned_message,
    sms,
    sqlite_settings,
)
from tests.store.making import identity as identity_of

# What differs between two tries: to where and when it was made, and its count.
OF_THE_TRY = {
    "host",
    "webhook-timestamp", "webhook-signature", "webhook-attempt", "x-signature", "x-timestamp",
    "webhook-possible-duplicate",
}  # fmt: skip
TEXT = "perché no? 5 € 🙂\r\n\x00 end \ud800"  # with what JSON, forms and databases stumble over


def endpoint(name: str) -> Endpoint:
    form = FORMATS[name]
    scheme = SCHEMES[form.scheme]
    keys = () if form.scheme == NO_SCHEME else (scheme.parse_secret(scheme.generate_secret()),)
    return Endpoint("crm", httpx.URL("https://crm.test/hook"), keys, 1, 20.0, format=name,
                    scheme=scheme)  # fmt: skip


def sent(endpoint: Endpoint, claim: Claim, now: datetime) -> tuple[bytes, Mapping[str, str]]:
    request = build_request(endpoint, claim, now)
    stable = {key: value for key, value in request.headers.items() if key not in OF_THE_TRY}
    return request.content, stable


@pytest.mark.parametrize("name", FORMATS)
async def test_each_try_is_the_same_in_every_format(tmp_path: Path, name: str) -> None:
    """Over retries, restarts and to a failover URL: bytes, id, number and all headers stay."""
    clock, settings = Clock(), sqlite_settings(tmp_path / "bridge.db")
    crm = endpoint(name)
    standby = replace(crm, url=httpx.URL("https://standby.test/hook"))
    known = planned_message(identity_of("a", email="M1"), (), body=TEXT)
    events = formats.events(known.message, [name])
    planned = PlannedDelivery("crm", DeliveryState.PENDING, claimed=True, format=name)
    whole = replace(known, events=events, deliveries=(planned,))
    item = sms()
    tries = []
    async with opened(settings, clock=clock) as store:
        [claim] = (await store.ingest(replace(item, result=(whole,)))).claims
        tries.append(sent(crm, claim, clock()))
        await store.record(attempt(claim, later(10)))
    for number in range(3):
        clock.forward(3600)
        async with opened(settings, clock=clock) as store:
            [claim] = await store.claim("crm", 1)
            to = standby if number == 1 else crm
            tries.append(sent(to, claim, clock()))
            later_on = later((clock() - START).total_seconds() + 10)
            await store.record(attempt(claim, later_on if number < 2 else None))
            pulled = await in_stream(store)
    assert [body for body, _ in tries] == [events[0].body] * 4
    assert all(headers == tries[0][1] for _, headers in tries)
    assert tries[0][1]["webhook-sequence"] == "1"
    assert pulled == events[0].body
    assert audited(settings, clock.now + timedelta(seconds=1)).ok


async def in_stream(store: Store) -> bytes:
    read = partial(read_page, endpoint="crm", after=0, most=10, most_bytes=2**20)
    [stored] = (await store.read(read)).deliveries
    return stored.event.body
