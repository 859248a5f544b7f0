"""Mails through the daemon, and what they cost it in processor time, which load hardly changes."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence

from tests.chaos.mails import SmsMail
from tests.patience import PATIENCE
from tests.servers.daemon import Daemon
from tests.servers.receiver import Receiver


def send(daemon: Daemon, mails: Sequence[SmsMail]) -> None:
    """Send mails on one connection."""
    with smtplib.SMTP(*daemon.smtp, timeout=PATIENCE) as client:
        for mail in mails:
            client.sendmail(*mail.envelope)


def arrive(receiver: Receiver, mails: Sequence[SmsMail]) -> None:
    """Wait until each of these mails has come as a webhook."""
    texts = {mail.text for mail in mails}
    assert receiver.wait(lambda got: texts <= {each.text for each in got}), "messages are missing"


def pass_through(daemon: Daemon, receiver: Receiver, mails: Sequence[SmsMail]) -> float:
    """Send mails and wait for their webhooks; return the daemon's processor time in seconds."""
    before = daemon.processor_time()
    send(daemon, mails)
    arrive(receiver, mails)
    return daemon.processor_time() - before
