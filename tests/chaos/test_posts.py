"""Each SMS comes by post and by mail while the daemon is killed again and again."""

from __future__ import annotations

import os
import random
import smtplib
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from uuid import UUID

import httpx
import pytest

from tests.chaos.ledger import wait_until_delivered
from tests.patience import PATIENCE
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.ports import steady_port
from tests.servers.receiver import Receiver

TOKEN: Final = "storm-token-0123456789"
# `make posts-test` has 1,000 and 50.
SMS: Final = int(os.environ.get("POSTS_SMS", "80"))
KILLS: Final = int(os.environ.get("POSTS_KILLS", "8"))
SENDERS: Final = 4


@dataclass(frozen=True)
class Sms:
    """An SMS that its provider sends by post and by mail: URL Networks' has an id, Agile's none."""

    number: int

    @property
    def provider(self) -> str:
        return ("agile", "url_networks")[self.number % 2]

    @property
    def text(self) -> str:
        return f"both ways {self.number:04}"

    @property
    def form(self) -> dict[str, str]:
        if self.provider == "agile":
            return {
                "originator": "+393301234567", "destination": "+393331234333",
                "date_time": "20260408143052", "text": self.text,
            }  # fmt: skip
        return {
            "from": "+61412345678", "sms_number": "+61480001122", "body": self.text,
            "message_id": str(UUID(int=self.number)), "timestamp": "1775651452",
        }  # fmt: skip

    @property
    def mail(self) -> str:
        values = self.form
        if self.provider == "agile":
            sender = "smsin@agiletelecom.com"
            labels = {
                "From": "originator", "To": "destination", "Date/Time": "date_time", "Body": "text",
            }  # fmt: skip
        else:
            sender = "sms@pbx.example"
            labels = {
                "from": "from", "to": "sms_number", "message_id": "message_id",
                "timestamp": "timestamp", "body": "body",
            }  # fmt: skip
        return "\r\n".join([
            f"From: {sender}", "Subject: Agile Telecom -- SMS received",
            f"Message-ID: <{self.number}@bridge.test>", "",
            *(f"{label}: {values[name]}" for label, name in labels.items()), "",
        ])  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One of the two ways of an SMS, and what came of it."""

    sms: Sms
    by_post: bool

    def send(self, smtp: int, posts: httpx.Client) -> bool:
        """Send it; True if it was acknowledged."""
        return self._post(posts) if self.by_post else self._mail(smtp)

    def _post(self, client: httpx.Client) -> bool:
        try:
            answer = client.post(f"/in/{self.sms.provider}/{TOKEN}", data=self.sms.form)
        except httpx.HTTPError:
            return False
        assert answer.status_code in {200, 503}, answer
        if self.sms.provider == "agile":
            assert (answer.content == b"+OK") is (answer.status_code == 200)
        return answer.status_code == 200

    def _mail(self, port: int) -> bool:
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
                client.sendmail("provider@example.com", [MAILBOX], self.sms.mail)
        except (OSError, smtplib.SMTPException):
            return False
        return True


@dataclass
class Sending:
    """Senders that send each way until it is acknowledged, as providers do."""

    ways: Sequence[Way]
    smtp: int
    posts: httpx.Client
    taken: list[Way] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)
    tries: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for first in range(SENDERS):
            thread = threading.Thread(target=self._run, args=(self.ways[first::SENDERS],))
            thread.start()
            self.threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def _run(self, share: Sequence[Way]) -> None:
        try:
            for way in share:
                deadline = time.monotonic() + 10 * PATIENCE
                while not way.send(self.smtp, self.posts):
                    if self.ended.is_set():
                        return
                    assert time.monotonic() < deadline
                    self.tries += 1
                    time.sleep(0.02)
                self.taken.append(way)
        except BaseException as error:
            self.failed.append(error)
            raise

    def wait_for(self, taken: int) -> None:
        deadline = time.monotonic() + 10 * PATIENCE
        while len(self.taken) < taken:
            assert not self.failed, self.failed
            assert time.monotonic() < deadline
            time.sleep(0.002)


def assert_stored(database: Path, taken: Sequence[Way]) -> None:
    """Fail if something was acknowledged that a dead daemon's database doesn't hold."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT source, raw FROM arrivals WHERE outcome IN ('message', 'duplicate')"
        ).fetchall()
    stored = {
        (source == "http", raw[raw.rindex(b"both") :][:14].decode().replace("+", " "))
        for source, raw in rows
    }
    missing = [way for way in taken if (way.by_post, way.sms.text) not in stored]
    assert not missing, f"acknowledged and not stored: {missing}"


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
    ways = [Way(Sms(number), by_post) for number in range(SMS) for by_post in (True, False)]
    dice.shuffle(ways)
    database = tmp_path / "bridge.db"
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        with (
            httpx.Client(
                base_url=f"http://127.0.0.1:{posts}", timeout=PATIENCE, trust_env=False
            ) as client,
            Sending(ways, smtp, client) as sending,
        ):
            for kill in range(1, KILLS + 1):
                sending.wait_for(len(ways) * kill // (KILLS + 1))
                time.sleep(dice.uniform(0, 0.01))
                daemon.kill()
                assert_stored(database, list(sending.taken))
                daemon.start()
            sending.wait_for(len(ways))
        assert receiver.wait_for_ids(SMS)
        wait_until_delivered(database, SMS)
        daemon.assert_ledger_adds_up()
    assert_stored(database, ways)
    receiver.assert_honest()
    texts = {webhooks[0].text for webhooks in receiver.by_id().values()}
    assert len(receiver.by_id()) == SMS
    assert texts == {sms.text for sms in map(Sms, range(SMS))}
    assert sending.tries >= KILLS  # else the kills fell between the work
