"""`smsbridge send-test`: a mail in at the daemon's own door, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge import mail, providers
from bridge.config.settings import ProviderSettings
from bridge.model import Email, SmsMessage, Unreadable
from bridge.operations.samples import SampleSms, sample_mail
from tests.cli.conftest import Ran
from tests.patience import PATIENCE
from tests.providers.reading import DECLARED, SETTINGS
from tests.servers.daemon import Config, Daemon
from tests.servers.ports import steady_port
from tests.servers.receiver import Receiver, status

Smsbridge = Callable[..., Ran]
SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiBzbXNicmlkZ2U="
AT = datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)
SMS = SampleSms("+14155550123", "+14155550199", "Grüße, 1 of 2", AT, "5f3a")


@pytest.mark.parametrize("settings", [*SETTINGS, *DECLARED], ids=lambda each: each.name)
def test_a_sample_is_read_as_the_sms_that_it_was_made_from(settings: ProviderSettings) -> None:
    """In every built-in format: the sender, the text and the time come out again."""
    made = sample_mail(settings, SMS)
    made["To"] = "sms@example.com"
    email = mail.decode(made.as_bytes())
    assert isinstance(email, Email)
    provider = providers.choose(providers.build([settings]), email)
    assert not isinstance(provider, Unreadable), provider
    read = provider.read_email(email)
    assert isinstance(read, SmsMessage), read
    assert (read.body, read.received_at) == (SMS.text, AT)
    assert read.sender.removeprefix("+") == "14155550123"


def test_every_sample_is_a_mail_of_its_own() -> None:
    """Message-IDs and the provider's own ids differ, so a second test is no duplicate."""
    other = SampleSms(SMS.sender, SMS.recipient, SMS.text, AT, "other")
    for settings in (*SETTINGS, *DECLARED):
        assert (
            sample_mail(settings, SMS)["Message-ID"] != sample_mail(settings, other)["Message-ID"]
        )


@pytest.fixture
def port() -> int:
    return steady_port()


def write_config(folder: Path, url: str, smtp_port: int, **extra: tuple[str, ...]) -> Path:
    return Config({"crm": url}, SECRET, smtp_port=smtp_port, extra=extra).write(folder)


@pytest.mark.processes
def test_a_mail_is_followed_to_its_delivery(
    smsbridge: Smsbridge, tmp_path: Path, port: int
) -> None:
    """A mail to the secret address, through SMTP, the store and a lane, to a verified webhook."""
    with Receiver(SECRET) as receiver, Daemon(write_config(tmp_path, receiver.url, port)) as daemon:
        daemon.start()
        ran = smsbridge("send-test", "-c", daemon.config, "--wait", str(PATIENCE), "--json")
        document = ran.document
        assert (ran.code, document["ok"], document["arrival"]["outcome"]) == (0, True, "message")
        (delivery,) = document["deliveries"]
        assert (delivery["state"], delivery["last_attempt"]["status"]) == ("delivered", 204)
        (webhook,) = receiver.all()
        assert webhook.verified
        assert webhook.id == document["arrival"]["message_id"]

        again = smsbridge("send-test", "-c", daemon.config, "--wait", str(PATIENCE),
                          "--provider", "url_networks", "--text", "Hello again")  # fmt: skip
        assert (again.code, "crm: delivered" in again.out) == (0, True), again
        assert receiver.all()[-1].text == "Hello again"

        receiver.answer = status(503)
        refused = smsbridge("send-test", "-c", daemon.config, "--wait", "0")
        assert (refused.code, "crm: pending" in refused.out) == (1, True), refused

        # A test mail cannot come from where this provider's mails come from.
        untrusted = smsbridge("send-test", "-c", daemon.config, "--mail", tmp_path / "none.eml")
        assert (untrusted.code, "no such file" in untrusted.err) == (2, True)
        (tmp_path / "mail.eml").write_bytes(b"Subject: hello\r\n\r\nno SMS")
        stray = smsbridge(
            "send-test", "-c", daemon.config, "--mail", tmp_path / "mail.eml", "--json"
        )
        assert (stray.code, stray.document["arrival"]["reason"]) == (1, "no_sender")


@pytest.mark.processes
def test_evidence_that_it_cannot_show_is_explained(
    smsbridge: Smsbridge, tmp_path: Path, port: int
) -> None:
    """A provider that is trusted by its signature alone: quarantine, and a note that says why."""
    path = write_config(tmp_path, "http://127.0.0.1:9/", port)
    path.write_text(path.read_text().replace("recipients = [", "dkim = ['example.com'] #"))
    with Daemon(path) as daemon:
        daemon.start()
        ran = smsbridge("send-test", "-c", path)
    assert (ran.code, "untrusted" in ran.out, "--endpoint" in ran.err) == (1, True, True), ran


def test_without_a_daemon_it_says_so(smsbridge: Smsbridge, filled_config: Path) -> None:
    """Nobody listens: one sentence, exit 2."""
    ran = smsbridge("send-test", "-c", filled_config)
    assert (ran.code, "is the daemon running?" in ran.err) == (2, True)
    assert ran.err.count("\n") == 1


@pytest.fixture
def filled_config(filled: object, config: Path, port: int) -> Path:
    """Give a config with a store, and an SMTP address at which nobody listens."""
    config.write_text(f'{config.read_text()}\n[smtp]\nlisten = ["127.0.0.1:{port}"]\n')
    return config


def test_wrong_names_are_sentences(smsbridge: Smsbridge, filled_config: Path) -> None:
    """A typo in a provider, an endpoint or an address is named, with the nearest known one."""
    for wrong, said in (
        (("--provider", "agil"), "did you mean 'agile'?"),
        (("--endpoint", "cmr"), "no endpoint 'cmr'"),
        (("--server", "localhost"), "has no port"),
    ):
        ran = smsbridge("send-test", *wrong, "-c", filled_config)
        assert (ran.code, said in ran.err) == (2, True), ran.err


def test_a_ping_is_signed_and_stored_nowhere(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """It needs no daemon and no store, has a type of its own, and fails like an attempt."""
    with Receiver(SECRET) as receiver:
        path = write_config(tmp_path, receiver.url, 0)
        ran = smsbridge("send-test", "--endpoint", "crm", "-c", path, "--json")
        assert (ran.code, ran.document["ok"], ran.document["status"]) == (0, True, 204)
        (webhook,) = receiver.all()
        assert webhook.verified
        assert json.loads(webhook.body)["type"] == "smsbridge.ping"
        assert not (tmp_path / "bridge.db").exists()
        receiver.answer = status(500, body=b"no such table")
        ran = smsbridge("send-test", "--endpoint", "crm", "-c", path)
        assert (ran.code, "no such table" in ran.out) == (1, True)
    ran = smsbridge("send-test", "--endpoint", "crm", "-c", path, "--json")
    assert (ran.code, ran.document["error"]) == (1, "connect")
