"""Each SMS comes by post and by mail while the daemon is killed again and again."""

from __future__ import annotations

import random
import smtplib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.chaos.ledger import wait_until_delivered
from tests.patience import PATIENCE
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.ports import steady_port
from tests.servers.receiver import Receiver

TOKEN = "storm-token-0123456789"
SMS = 80
KILLS = 8


def post(port: int, number: int) -> bool:
    """Post an SMS as Agile Telecom does; True if it was acknowledged."""
    values = {
        "originator": "+393301234567",
        "destination": "+393331234333",
        "date_time": "20260408143052",
        "text": f"both ways {number:04}",
    }
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{port}/in/agile/{TOKEN}", data=values, timeout=PATIENCE,
            trust_env=False,
        )  # fmt: skip
    except httpx.HTTPError:
        return False
    assert answer.status_code in {200, 503}, answer
    assert (answer.content == b"+OK") is (answer.status_code == 200)
    return answer.status_code == 200


def mail(port: int, number: int) -> bool:
    """Send the same SMS as Agile Telecom's mail; True if it was acknowledged."""
    text = (
        "From: smsin@agiletelecom.com\r\nSubject: Agile Telecom -- SMS received\r\n"
        f"Message-ID: <both-{number}@agiletelecom.com>\r\n\r\nFrom: +393301234567\r\n"
        f"To: +393331234333\r\nDate/Time: 20260408143052\r\nBody: both ways {number:04}\r\n"
    )
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.sendmail("smsin@agiletelecom.com", [MAILBOX], text)
    except (OSError, smtplib.SMTPException):
        return False
    return True


def until_taken(ways: list[Callable[[], bool]], done: list[int]) -> None:
    """Send each until it is acknowledged, as providers do."""
    for way in ways:
        deadline = time.monotonic() + 10 * PATIENCE
        while not way():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        done.append(1)


@pytest.mark.timeout(3600)
def test_an_sms_that_comes_both_ways_survives_kills_and_leaves_once(
    tmp_path: Path, secret: str, receiver: Receiver, dice: random.Random
) -> None:
    """One id for each SMS, whichever way came first and wherever the kill fell."""
    smtp, posts = steady_port(), steady_port()
    config = Config(
        {"crm": receiver.url},
        secret,
        smtp_port=smtp,
        extra={
            "smtp": ("[posts]", f'listen = ["127.0.0.1:{posts}"]'),
            "trust": ("[providers.post]", f'token = "{TOKEN}"'),
        },
    )
    work: list[Callable[[], bool]] = []
    for number in range(SMS):
        work.append(lambda number=number: post(posts, number))  # type: ignore[misc]
        work.append(lambda number=number: mail(smtp, number))  # type: ignore[misc]
    dice.shuffle(work)
    done: list[int] = []
    senders = [
        threading.Thread(target=until_taken, args=(work[first::4], done)) for first in range(4)
    ]
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        for sender in senders:
            sender.start()
        for kill in range(1, KILLS + 1):
            wanted = len(work) * kill // (KILLS + 1)
            deadline = time.monotonic() + 10 * PATIENCE
            while len(done) < wanted:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            daemon.kill()
            daemon.start()
        for sender in senders:
            sender.join(10 * PATIENCE)
            assert not sender.is_alive()
        assert receiver.wait_for_ids(SMS)
        wait_until_delivered(tmp_path / "bridge.db", SMS)
        daemon.assert_ledger_adds_up()
    receiver.assert_honest()
    texts = {webhooks[0].text for webhooks in receiver.by_id().values()}
    assert len(receiver.by_id()) == SMS
    assert texts == {f"both ways {number:04}" for number in range(SMS)}
