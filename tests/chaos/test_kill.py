"""Kill -9 at random moments, with a real Postfix in front and a real receiver behind."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.mails import sms_mails
from tests.chaos.storm import assert_nothing_lost, rage
from tests.servers.daemon import Config, Daemon
from tests.servers.ports import steady_port
from tests.servers.postfix import Postfix
from tests.servers.postgres import PostgresServer
from tests.servers.receiver import Receiver


@pytest.mark.timeout(3600)
def test_a_thousand_mails_survive_fifty_kills(
    tmp_path: Path, secret: str, receiver: Receiver, dice: random.Random
) -> None:
    """Of 1,000 mails that Postfix relays, 50 kills lose none and send none under another id."""
    config = Config({"crm": receiver.url}, secret, smtp_port=steady_port())
    mails = list(sms_mails("storm", 1000))
    with Postfix(config.smtp_port) as postfix, Daemon(config.write(tmp_path)) as daemon:
        storm = rage(daemon, postfix, receiver, mails, kills=50, dice=dice)
        assert_nothing_lost(daemon, postfix, receiver, mails)
    # A storm that falls between the work proves nothing.
    assert storm.with_work >= 30, storm
    assert storm.with_posts >= 5, storm
    assert storm.cut_sessions >= 10, storm


@pytest.mark.timeout(3600)
def test_a_hundred_mails_survive_ten_kills_on_postgresql(
    tmp_path: Path,
    secret: str,
    receiver: Receiver,
    dice: random.Random,
    postgres: PostgresServer,
) -> None:
    """On PostgreSQL, where a dead daemon's leases end by time alone, nothing is lost either."""
    config = Config(
        {"crm": receiver.url},
        secret,
        store=postgres.create_database(),
        smtp_port=steady_port(),
        extra={"crm": ("timeout = 1",)},  # and so a lease ends half a minute after its claim
    )
    mails = list(sms_mails("storm", 100))
    with Postfix(config.smtp_port) as postfix, Daemon(config.write(tmp_path)) as daemon:
        storm = rage(daemon, postfix, receiver, mails, kills=10, dice=dice)
        assert_nothing_lost(daemon, postfix, receiver, mails)
    assert storm.with_work >= 5, storm
