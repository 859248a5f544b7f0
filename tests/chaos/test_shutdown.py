"""SIGTERM: what was acknowledged is stored, what was begun is finished, nothing goes twice."""

from __future__ import annotations

import asyncio
import random
import signal
import smtplib
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.ledger import count_messages
from tests.chaos.mails import SmsMail, sms_mail, sms_mails
from tests.chaos.nasty import hang
from tests.chaos.storm import slow
from tests.patience import PATIENCE
from tests.servers.daemon import Config, Daemon
from tests.servers.postgres import running_server
from tests.servers.receiver import Exchange, Receiver, taken

_SENDERS: Final = 4
_AN_HOUR: Final = ('timeout = "1h"',)
_GRACE: Final = ('grace = "1h"',)


class _Sender(threading.Thread):
    """Sends mails as fast as they are taken; `acknowledged` are the texts that got a 250."""

    def __init__(self, address: tuple[str, int], mails: Iterable[SmsMail]) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.ended_with = ""
        self._address = address
        self._mails = mails

    def run(self) -> None:
        try:
            with smtplib.SMTP(*self._address, timeout=PATIENCE) as client:
                for mail in self._mails:
                    client.sendmail(*mail.envelope)
                    self.acknowledged.append(mail.text)
            self.ended_with = "all sent"
        except smtplib.SMTPResponseException as answer:
            self.ended_with = str(answer.smtp_code)
        except OSError as error:
            self.ended_with = type(error).__name__


async def _dawdle(exchange: Exchange) -> None:
    await asyncio.sleep(0.5)
    await taken(exchange)


def test_sigterm_under_load(
    tmp_path: Path, secret: str, receiver: Receiver, dice: random.Random
) -> None:
    """SIGTERM under load ends with 0; all that was acknowledged arrives, and nothing twice."""
    receiver.answer = slow(dice)
    config = Config({"crm": receiver.url}, secret)
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        senders = [
            _Sender(daemon.smtp, sms_mails(f"sender {number}", 1_000_000))
            for number in range(_SENDERS)
        ]
        for sender in senders:
            sender.start()
        assert receiver.wait_for_ids(200)
        receiver.answer = _dawdle
        under_way = len(receiver.all()) + 5
        assert receiver.wait(lambda got: len(got) >= under_way)
        assert daemon.stop() == 0
        receiver.answer = taken
        for sender in senders:
            sender.join(PATIENCE)
        acknowledged = {text for sender in senders for text in sender.acknowledged}
        assert not {"all sent"} & {sender.ended_with for sender in senders}, "no load at the end"
        # A mail may be stored whose 250 the sender no longer heard; it would send it again.
        stored = count_messages(tmp_path / "bridge.db")
        assert len(acknowledged) <= stored <= len(acknowledged) + _SENDERS
        daemon.start()
        assert receiver.wait_for_ids(stored)
        assert daemon.stop() == 0
        receiver.assert_honest()
        got = [each.text for each in receiver.all()]
        assert acknowledged <= set(got)
        assert len(got) == len(set(got)) == stored, "something was delivered twice"
        daemon.assert_ledger_adds_up()


def test_a_second_sigterm_does_not_wait_for_an_endpoint_that_hangs(
    tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """The first SIGTERM waits for a running try, the second does not; the message stays ours."""
    receiver.answer = hang
    config = Config({"crm": receiver.url}, secret, extra={"crm": _AN_HOUR, "delivery": _GRACE})
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        assert daemon.send(*sms_mail("held up").envelope)[0] == 250
        assert receiver.wait_for_ids(1)
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("stopping")
        time.sleep(0.5)
        assert daemon.process.poll() is None, "it did not wait for the try that runs"
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() != 0  # the try, and the grace, have an hour
        _arrives_after_a_restart(daemon, receiver)


def test_the_grace_is_the_longest_that_an_endpoint_can_hold_us_up(
    tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """When the grace is over the daemon ends with 0, and the next one makes the try again."""
    receiver.answer = hang
    config = Config(
        {"crm": receiver.url}, secret, extra={"crm": _AN_HOUR, "delivery": ('grace = "1s"',)}
    )
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        assert daemon.send(*sms_mail("held up").envelope)[0] == 250
        assert receiver.wait_for_ids(1)
        began = time.monotonic()
        assert daemon.stop() == 0  # the try has an hour
        assert time.monotonic() - began >= 0.9
        _arrives_after_a_restart(daemon, receiver)


def test_sigterm_ends_the_daemon_while_a_commit_hangs(
    tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """A database that hangs delays neither the end nor the next start, and nothing is lost."""
    with running_server() as server:
        extra = {"delivery": ('grace = "1s"',)}
        url = server.create_database()
        config = Config({"crm": receiver.url}, secret, store=url, extra=extra)
        with Daemon(config.write(tmp_path)) as daemon:
            daemon.start()
            assert daemon.send(*sms_mail("before").envelope)[0] == 250
            assert receiver.wait_for_ids(1)
            with server.frozen(), _in_its_text(daemon, sms_mail("meanwhile")) as client:
                client.send(b".\r\n")
                assert daemon.stop() == 1
                with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
                    client.getreply()
            (said,) = daemon.log("stopped.cut_off")
            assert "a commit" in said["detail"]
            daemon.start()
            assert daemon.send(*sms_mail("after").envelope)[0] == 250
            assert receiver.wait(lambda got: {"before", "after"} <= {each.text for each in got})
            assert daemon.stop() == 0
            daemon.assert_ledger_adds_up()


def test_a_mail_that_never_ends_takes_no_longer_than_the_grace(
    tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """A sender in the middle of its mail is cut off with the grace, and the daemon ends well."""
    config = Config({"crm": receiver.url}, secret, extra={"delivery": ('grace = "1s"',)})
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        with _in_its_text(daemon, sms_mail("unfinished")) as client:
            assert daemon.stop() == 0
            with suppress(smtplib.SMTPServerDisconnected):
                assert client.getreply()[0] == 421
        assert not daemon.log("stopped.cut_off")
        assert not daemon.log("smtp.drain_cut"), "it waited for as long as SMTP waits by itself"
        assert count_messages(tmp_path / "bridge.db") == 0


@contextmanager
def _in_its_text(daemon: Daemon, mail: SmsMail) -> Iterator[smtplib.SMTP]:
    """Send a mail but for the dot at its end."""
    with closing(smtplib.SMTP(*daemon.smtp, timeout=PATIENCE)) as client:
        sender, (recipient,), raw = mail.envelope
        client.ehlo()
        client.mail(sender)
        client.rcpt(recipient)
        assert client.docmd("DATA")[0] == 354
        client.send(raw)
        yield client


def _arrives_after_a_restart(daemon: Daemon, receiver: Receiver) -> None:
    receiver.answer = taken
    daemon.start()
    assert receiver.wait(lambda got: len(got) >= 2)
    assert daemon.stop() == 0
    receiver.assert_honest()
    assert [each.attempt for each in receiver.all()] == [1, 2]
    assert receiver.count() == 1
    daemon.assert_ledger_adds_up()
