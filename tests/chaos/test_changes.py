"""Every change of state dies at its commit, before and after: the ledger and the numbers hold.

A few kills each; `make kills` makes it twenty.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import update

from bridge.clock import Clock
from bridge.store import Database, Store, queries, tables
from bridge.store.queries import DeliveryRow
from tests.patience import PATIENCE
from tests.servers.daemon import Config, Daemon
from tests.servers.launcher import launcher
from tests.servers.ports import steady_port
from tests.servers.receiver import Exchange, Receiver, status, taken
from tests.store.making import GIVE_UP, attempt, audited, many, sqlite_settings

KILLS: Final = int(os.environ.get("CHAOS_KILLS", "2"))
MESSAGES: Final = 12
TOKEN: Final = "a-token-of-the-receiver"

# What an operator does, the change that it dies at, and the deliveries' states in the end.
COMMANDS: Final = {
    "pause": ("hold", ("endpoints", "hold", "crm"), {"held"}),
    "resume": ("hold", ("endpoints", "resume", "crm"), {"pending"}),
    "retry": ("retry", ("deliveries", "retry", "--state", "dead"), {"pending"}),
    "replay": ("replay order", ("replay", "start", "--to", "crm", "--provider", "agile"), {"dead"}),
}


def now() -> datetime:
    return datetime.now(UTC)


def fill(folder: Path, *, dead: bool, messages: int = MESSAGES) -> None:
    """Store messages for crm, all dead if that is wanted."""

    async def work() -> None:
        store = await Store.open(
            sqlite_settings(folder / "bridge.db"),
            owner="us", lease_seconds=60, endpoints=["crm"], clock=Clock(),
        )  # fmt: skip
        await asyncio.gather(*(store.ingest(each) for each in many(messages)))
        if dead:
            claims = await store.claim("crm", messages)
            await asyncio.gather(*(store.record(attempt(each, GIVE_UP)) for each in claims))
        await store.close()

    asyncio.run(work())


def deliveries(folder: Path) -> Sequence[DeliveryRow]:
    database = Database.open(sqlite_settings(folder / "bridge.db"))
    try:
        with database.read() as connection:
            return queries.list_deliveries(connection, limit=None)
    finally:
        database.close()


def assert_whole(folder: Path, messages: int = MESSAGES) -> None:
    """Fail unless the audit finds nothing, and the numbers are those from 1 on, each once."""
    report = audited(sqlite_settings(folder / "bridge.db"), now())
    assert report.ok, [each for each in report.checks if not each.ok]
    numbers = sorted(row.sequence for row in deliveries(folder) if row.sequence is not None)
    assert numbers == list(range(1, messages + 1))


def failing(point: str) -> Sequence[str]:
    return "-m", "tests.chaos.failpoint_daemon", point, str(KILLS)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", COMMANDS)
def test_command_that_dies_at_its_commit_is_done_or_not(
    name: str, when: str, tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """What an operator asks for is whole or not there, and asking again is safe."""
    point, words, states = COMMANDS[name]
    config = Config({"crm": receiver.url}, secret).write(tmp_path)
    fill(tmp_path, dead=point in {"retry", "replay order"})
    if name == "resume":
        assert Daemon(config).command("endpoints", "hold", "crm").returncode == 0
    done = launcher("commands").run((*failing(f"{when} {point}"), *words, "-c", str(config)))
    assert done.returncode == 0, done.stderr
    kills = [line for line in done.stderr.splitlines() if line.startswith("{")]
    assert [json.loads(line)["kills"] for line in kills] == list(range(1, KILLS + 1))
    assert {row.state.value for row in deliveries(tmp_path)} == states
    assert_whole(tmp_path)


def digests_of(receiver: Receiver) -> list[dict[str, object]]:
    return [each.data for each in receiver.all() if each.digest]


def pulled(port: int) -> dict[int, bytes]:
    """Read the endpoint's stream from the daemon."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/endpoints/crm/events",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
        page = json.loads(answer.read())
    return {each["sequence"]: each["body"].encode() for each in page["data"]}


@pytest.mark.parametrize("when", ["before", "after"])
def test_daemon_that_dies_with_its_digests_makes_each_once(
    when: str, tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """No period has two digests, and what they tell leaves no number out."""
    extra = {"crm": ('digest = "1s"', "concurrency = 2", f'pull_token = "{TOKEN}"')}
    port = steady_port()
    config = Config({"crm": receiver.url}, secret, http_port=port, extra=extra).write(tmp_path)
    fill(tmp_path, dead=False)
    with Daemon(config, failing(f"{when} digest")) as daemon:
        daemon.spawn()
        daemon.wait_until(lambda: len(daemon.log("failpoint")) == KILLS)
        assert receiver.wait(
            lambda got: len({each.id for each in got if not each.digest}) == MESSAGES
        )
        assert receiver.wait(
            lambda _: any(each["last"] == MESSAGES for each in digests_of(receiver))
        )
        daemon.wait_until(lambda: daemon.health() != 0)  # the last kill may have been just now
        assert pulled(port) == {
            each.sequence: each.body for each in receiver.all() if not each.digest
        }
        assert daemon.stop() == 0
    receiver.assert_honest()
    receiver.assert_no_gap()
    told = {each["id"]: each for each in digests_of(receiver)}
    assert len({each["number"] for each in told.values()}) == len(told)
    assert len({each["due_at"] for each in told.values()}) == len(told)
    ended = 0
    for each in sorted(told.values(), key=lambda each: int(str(each["number"]))):
        assert int(str(each["after"])) <= ended, "numbers that no digest tells of"
        ended = int(str(each["last"]))
    assert_whole(tmp_path)


@pytest.mark.parametrize("when", ["before", "after"])
def test_daemon_that_dies_in_a_replay_replays_each_once(
    when: str, tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """However often a step of it dies, the job ends, and each message has one more delivery."""
    config = Config({"crm": receiver.url}, secret).write(tmp_path)
    fill(tmp_path, dead=True)
    with Daemon(config, failing(f"{when} replay step")) as daemon:
        words = ("--to", "crm", "--provider", "agile", "--rate", str(2 * KILLS + 8))
        assert daemon.command("deliveries", "retry", "--state", "dead").returncode == 0
        daemon.spawn()
        assert receiver.wait_for_ids(MESSAGES)
        ordered = daemon.command("replay", "start", *words)
        assert ordered.returncode == 0, ordered.stderr
        copies = receiver.wait(lambda got: len({each.sequence for each in got}) == 2 * MESSAGES)
        assert copies, "a message was not replayed"
        daemon.wait_until(lambda: len(daemon.log("failpoint")) >= 1)
        assert daemon.stop() == 0
    receiver.assert_no_gap()
    assert {each.state.value for each in deliveries(tmp_path)} == {"delivered"}
    assert_whole(tmp_path, 2 * MESSAGES)


@pytest.mark.parametrize("when", ["before", "after"])
def test_daemon_that_dies_as_an_endpoint_refuses_holds_it(
    when: str, tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """A 410 holds the endpoint, also if the process dies over it; resumed, it gets everything."""
    receiver.answer = status(410)
    config = Config({"crm": receiver.url}, secret, extra={"crm": ("concurrency = 1",)})
    path = config.write(tmp_path)
    fill(tmp_path, dead=False)
    with Daemon(path, failing(f"{when} hold")) as daemon:
        daemon.spawn()
        daemon.wait_until(lambda: bool(daemon.log("failpoint")))
        daemon.wait_until(lambda: {each.state.value for each in deliveries(tmp_path)} == {"held"})
        receiver.answer = taken
        assert daemon.command("endpoints", "resume", "crm").returncode == 0
        assert receiver.wait_for_ids(MESSAGES)
        daemon.wait_until(
            lambda: {each.state.value for each in deliveries(tmp_path)} == {"delivered"}
        )
        assert daemon.stop() == 0
    receiver.assert_honest()
    receiver.assert_no_gap()
    assert_whole(tmp_path)


@pytest.mark.parametrize("when", ["before", "after"])
def test_daemon_that_dies_as_an_endpoint_fails_goes_on(
    when: str, tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """A breaker that opens or closes while the process dies loses nothing, and recovers."""
    tries = 0
    # The commit that is lost each time is tried by each life; else the first one has done it, and a
    # failing endpoint is tried once a second.
    bad = MESSAGES * (KILLS + 1) if when == "before" else MESSAGES + 3

    async def answer(exchange: Exchange) -> None:
        nonlocal tries
        tries += 1
        await (status(500) if tries <= bad else taken)(exchange)

    receiver.answer = answer
    extra = {"delivery": ('schedule = ["0s"]', 'repeat = "1s"')}
    config = Config({"crm": receiver.url}, secret, extra=extra).write(tmp_path)
    fill(tmp_path, dead=False)
    with Daemon(config, failing(f"{when} failing")) as daemon:
        daemon.spawn()
        assert receiver.wait_for_ids(MESSAGES)
        daemon.wait_until(
            lambda: {each.state.value for each in deliveries(tmp_path)} == {"delivered"}
        )
        assert len(daemon.log("failpoint")) >= 1
        assert daemon.stop() == 0
    receiver.assert_honest()
    receiver.assert_no_gap()
    assert_whole(tmp_path)


@pytest.mark.parametrize("when", ["before", "after"])
def test_daemon_that_dies_as_it_brings_forward_what_waits_goes_on(
    when: str, tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """What one life has not made due isn't left to its own time, which is in hours."""
    count = MESSAGES * KILLS
    config = Config({"crm": receiver.url}, secret).write(tmp_path)
    fill(tmp_path, dead=False, messages=count)
    in_hours = update(tables.deliveries).values(step=5, due_at=now() + timedelta(hours=6))
    with (
        closing(Database.open(sqlite_settings(tmp_path / "bridge.db"))) as database,
        database.begin() as connection,
    ):
        connection.execute(in_hours)
    with Daemon(config, failing(f"{when} forward")) as daemon:
        daemon.spawn()
        assert receiver.wait_for_ids(count)
        daemon.wait_until(
            lambda: {each.state.value for each in deliveries(tmp_path)} == {"delivered"}
        )
        assert len(daemon.log("failpoint")) == KILLS
        assert daemon.stop() == 0
    receiver.assert_honest()
    receiver.assert_no_gap()
    assert_whole(tmp_path, count)
