from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from bridge.config.settings import StoreSettings
from bridge.store import Database
from bridge.store.tables import deliveries, messages
from tests.store.making import audited

pytestmark = pytest.mark.processes


ROUNDS = 8
ACKNOWLEDGED = 60  # in each round, before the kill

CHILD = """
import asyncio, os, sys
from bridge.config.settings import StoreSettings
from bridge.model import ArrivalOutcome, Delivered
from tests.store.making import attempt, identity, opened, plan, sms

async def send(store, sender):
    for number in range(100_000):
        name = f"{sys.argv[2]}-{sender}-{number}"
        item = sms(identity(name, email=name), plan("crm", "erp", claimed=True))
        receipt = await store.ingest(item)
        os.write(1, f"stored {receipt.message_id}\\n".encode())
        await store.record(attempt(receipt.claims[0]))
        os.write(1, f"delivered {receipt.claims[0].delivery_id}\\n".encode())

async def main():
    async with opened(StoreSettings(url=sys.argv[1], min_free=0), owner=sys.argv[2]) as store:
        await asyncio.gather(*(send(store, sender) for sender in range(10)))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_sigkill(settings: StoreSettings) -> None:
    """A process that is killed in the middle of its commits has kept every word it gave."""
    said: dict[str, set[str]] = {"stored": set(), "delivered": set()}
    for number in range(ROUNDS):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, settings.url, f"round{number}"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(ACKNOWLEDGED + 7 * number)]
            child.kill()
            lines += child.stdout.readlines()
        for line in lines:
            # The last line may be cut by the kill; then nobody was told.
            if line.endswith("\n"):
                word, what = line.split()
                said[word].add(what)
    with closing(Database.open(settings)) as database, database.read() as connection:
        stored = set(connection.execute(select(messages.c.id)).scalars())
        query = select(deliveries.c.id).where(deliveries.c.state == "delivered")
        delivered = {str(each) for each in connection.execute(query).scalars()}
    assert len(said["stored"]) >= ROUNDS * ACKNOWLEDGED / 3
    assert said["stored"] <= stored
    assert said["delivered"] <= delivered
    report = audited(settings)
    assert report.ok, report
