"""No more connections are let in than there are file descriptors for."""

from __future__ import annotations

import json
import signal
import smtplib
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from bridge.config.settings import Settings
from bridge.net import descriptors
from bridge.signing.standard_webhooks import generate_secret
from tests.chaos.mails import sms_mail
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.servers.daemon import Config, Daemon
from tests.servers.receiver import Receiver

_ENDPOINT = {"name": "crm", "url": "https://a.example/", "concurrency": 8}
_OTHERS = descriptors.RESERVED + 64 + 8


def _settings(**more: object) -> Settings:
    return Settings.model_validate(
        {"endpoints": [{**_ENDPOINT, "secret": generate_secret()}], **more}
    )


def test_with_enough_of_them_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is asked for as much as may be needed."""
    asked = []
    monkeypatch.setattr(descriptors, "provide", lambda wanted: asked.append(wanted) or wanted)
    settings = _settings(smtp={"max_connections": 300})
    assert descriptors.fitted(settings) is settings
    assert asked == [300 + _OTHERS]


@pytest.mark.parametrize(("limit", "smtp", "posts"), [(_OTHERS + 100, 75, 25), (50, 4, 4)])
def test_with_too_few_each_gets_its_part(
    limit: int, smtp: int, posts: int, monkeypatch: pytest.MonkeyPatch, lines: list[Line]
) -> None:
    """Mails and posts get the same part of what they want, and a few connections in any case."""
    monkeypatch.setattr(descriptors, "provide", lambda _: limit)
    settings = _settings(
        smtp={"max_connections": 300}, posts={"listen": ("127.0.0.1:0",), "max_connections": 100}
    )
    fitted = descriptors.fitted(settings)
    assert (fitted.smtp.max_connections, fitted.posts.max_connections) == (smtp, posts)
    assert settings.smtp.max_connections == 300
    (line,) = lines
    assert (line["event"], line["wanted"]) == ("descriptors.few", 400 + _OTHERS)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("soft", "hard", "raised"), [(64, 256, 200), (64, 100, 100), (256, 256, 256)]
)
def test_the_limit_is_raised_as_far_as_allowed(soft: int, hard: int, raised: int) -> None:
    """As much as is wanted, no more than the hard limit, and never lowered."""
    script = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from bridge.net.descriptors import provide\n"
        "print(provide(200), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert ran.stdout.split() == [str(min(raised, 200)), str(raised), str(hard)]


@pytest.mark.processes
def test_a_flood_beyond_the_descriptors_is_told_and_harms_nobody(tmp_path: Path) -> None:
    """With 260 descriptors, 300 connections get 220 or 421, and a session's mail is delivered."""
    secret = generate_secret()
    limits = ("max_connections = 1000", "max_connections_per_peer = 1000")
    within = ("prlimit", "--nofile=260:260")
    with Receiver(secret) as receiver, ExitStack() as opened:
        config = Config({"crm": receiver.url}, secret, extra={"smtp": limits}).write(tmp_path)
        daemon = opened.enter_context(Daemon(config, within=within)).start()
        first = opened.enter_context(smtplib.SMTP(*daemon.smtp, timeout=PATIENCE))
        flood = [
            opened.enter_context(socket.create_connection(daemon.smtp, PATIENCE))
            for _ in range(300)
        ]
        greeted = Counter(each.recv(3) for each in flood)
        assert set(greeted) == {b"220", b"421"}
        mail = sms_mail("in the flood")
        assert first.sendmail(*mail.envelope) == {}
        assert receiver.wait_for_ids(1)
        assert daemon.logged("descriptors.few")
        daemon.signal(signal.SIGHUP)
        daemon.wait_until(lambda: json.loads(daemon.page("/healthz")[1])["reload"]["count"] == 1)
        assert not daemon.log("reload.needs_restart"), "the config's own limit is no change"
        assert daemon.health() in {200, 503}, "it does not answer"
