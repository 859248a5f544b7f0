"""How long messages take from the mail to the webhook, to compare a good day with a bad one."""

from __future__ import annotations

import smtplib
import statistics
import time
from collections.abc import Mapping, Sequence

from tests.chaos.mails import SmsMail
from tests.servers.daemon import Daemon
from tests.servers.receiver import Received, Receiver


def send(daemon: Daemon, mails: Sequence[SmsMail], patience: float) -> dict[str, float]:
    """Send mails on one connection; return when each was begun, by its text."""
    begun = {}
    with smtplib.SMTP(*daemon.smtp, timeout=patience) as client:
        for mail in mails:
            begun[mail.text] = time.monotonic()
            client.sendmail(*mail.envelope)
    return begun


def slowest(receiver: Receiver, begun: Mapping[str, float], patience: float) -> float:
    """Wait for these texts; return how long all but a hundredth of them took at most."""

    def complete(got: list[Received]) -> bool:
        return begun.keys() <= {each.text for each in got}

    assert receiver.wait(complete, patience), "the healthy endpoint misses messages"
    first: dict[str, float] = {}
    for each in receiver.all():
        first.setdefault(each.text, each.at)
    delays = [first[text] - at for text, at in begun.items()]
    if len(delays) == 1:
        return delays[0]
    return statistics.quantiles(delays, n=100, method="inclusive")[98]
