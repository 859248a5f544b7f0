"""Order within a conversation, through a real daemon that is killed again and again."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.patience import PATIENCE
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.receiver import Exchange, Receiver, status, taken

PEOPLE = 4
EACH = 8
KILLS = 3


def mails() -> Iterator[tuple[str, bytes]]:
    """Yield what some people write, one message each in turn."""
    for number in range(EACH):
        for person in range(PEOPLE):
            yield (
                f"+3933012345{person:02}",
                (
                    "From: smsin@agiletelecom.com\r\nSubject: Agile Telecom -- SMS received\r\n"
                    f"Message-ID: <order-{person}-{number}@agiletelecom.com>\r\n\r\n"
                    f"From: +3933012345{person:02}\r\nTo: +393331234333\r\n"
                    f"Date/Time: 202604081430{number:02}\r\nBody: {number}\r\n"
                ).encode(),
            )


def spoken(receiver: Receiver) -> dict[str, list[int]]:
    """Return what the receiver got of each person, in the order in which it came."""
    heard: dict[str, list[int]] = defaultdict(list)
    for each in receiver.all():
        heard[each.data["from"]].append(int(each.text))
    return dict(heard)


def in_turn(numbers: Sequence[int]) -> bool:
    """Whether each number came before the next one; it may have come more than once."""
    return list(numbers) == sorted(numbers) and set(numbers) == set(range(EACH))


def test_each_conversation_arrives_in_order_over_kills(
    tmp_path: Path, secret: str, receiver: Receiver, dice: random.Random
) -> None:
    """One at a time of each person, all people side by side; what fails is waited for."""
    here: set[str] = set()
    all_here, go_on = asyncio.Event(), asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        here.add(exchange.webhook.data["from"])
        if len(here) == PEOPLE:
            all_here.set()
        await all_here.wait()  # for ever, if one conversation waited for another
        await go_on.wait()
        await asyncio.sleep(dice.uniform(0, 0.02))
        await (status(500) if dice.random() < 0.2 else taken)(exchange)

    receiver.answer = answer
    extra = {
        "crm": ('order = "conversation"',),
        "delivery": ('schedule = ["0s", "100ms"]', 'repeat = "100ms"'),
    }
    with Daemon(Config({"crm": receiver.url}, secret, extra=extra).write(tmp_path)) as daemon:
        daemon.start()
        for _, raw in mails():
            assert daemon.send("smsin@agiletelecom.com", [MAILBOX], raw)[0] == 250
        assert receiver.wait_for_ids(PEOPLE)
        listed = json.loads(daemon.command("deliveries", "list", "--json").stdout)
        waiting = [each for each in listed if each["behind"] is not None]
        assert len(waiting) == PEOPLE * (EACH - 1)
        front = {each["id"] for each in listed if each["under_way"]}
        assert {each["behind"] for each in waiting} == front
        for kill in range(KILLS):
            if kill == 1:
                receiver._loop.call_soon_threadsafe(go_on.set)
            before = len(receiver.all())
            assert receiver.wait(lambda got, n=before + kill * 3: len(got) >= n, PATIENCE)
            daemon.kill()
            daemon.start()
        assert receiver.wait_for_ids(PEOPLE * EACH)
        daemon.wait_until(lambda: _waiting(daemon) == 0)
        assert daemon.stop() == 0
        daemon.assert_ledger_adds_up()
    receiver.assert_honest()
    heard = spoken(receiver)
    assert len(heard) == PEOPLE
    assert all(map(in_turn, heard.values())), heard
    assert len(receiver.all()) > PEOPLE * EACH  # it had something to wait for


def _waiting(daemon: Daemon) -> int:
    listed = json.loads(daemon.command("deliveries", "list", "--state", "pending", "--json").stdout)
    return len(listed)
