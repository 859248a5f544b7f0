"""A name server that is dead: who waits for it waits alone, and nobody waits at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.imap_storm import ANYONE, mailbox_lines
from tests.chaos.ledger import count_deliveries
from tests.chaos.mails import sms_mail, sms_mails
from tests.chaos.pace import arrive, pass_through, send
from tests.servers.daemon import Config, Daemon
from tests.servers.dovecot import DovecotServer
from tests.servers.names import DeadNames
from tests.servers.receiver import Exchange, Receiver

_HEALTHY: Final = "healthy.bridge.test"
_ENDPOINTS: Final = tuple(f"crm-{number}.bridge.test" for number in range(4))
_MAILBOXES: Final = ("imap-0.bridge.test", "imap-1.bridge.test")
_ISSUER: Final = "issuer.bridge.test"
_MAILS: Final = 10  # that are under way to each dead endpoint at the end

_DEAD_ENDPOINTS: Final = {
    name.partition(".")[0]: f"https://{name}/hooks/sms" for name in _ENDPOINTS
}
_DEAD_MAILBOXES: Final[Sequence[Sequence[str]]] = (
    *(
        (f'name = "{host[:6]}"', f'host = "{host}"', 'username = "sms"', 'password = "x"')
        for host in _MAILBOXES
    ),
    (
        *('name = "tokens"', 'host = "127.0.0.1"', 'username = "sms"', "[imap.oauth]"),
        *(f'token_url = "https://{_ISSUER}/"', 'client_id = "us"', 'client_secret = "x"'),
    ),
)


async def _once(exchange: Exchange) -> None:
    """Consent and close: so each webhook needs a connection of its own."""
    exchange.keep = False
    await exchange.send(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")


@pytest.fixture
def receiver(receiver: Receiver) -> Receiver:
    """Run a healthy receiver that keeps no connection."""
    receiver.answer = _once
    return receiver


@pytest.fixture
def names(tmp_path: Path) -> Iterator[DeadNames]:
    """Run a name server that never answers; only the healthy endpoint can do without it."""
    folder = tmp_path / "etc"
    folder.mkdir()
    with DeadNames(folder, [_HEALTHY]) as running:
        yield running


@pytest.mark.parametrize("whose", ["endpoints", "mailboxes"])
def test_a_name_that_hangs_harms_nobody_else(
    whose: str,
    tmp_path: Path,
    secret: str,
    receiver: Receiver,
    names: DeadNames,
    mortal: DovecotServer,
) -> None:
    """While other names hang, an endpoint and a mailbox with good ones go on, one by one."""
    user = mortal.new_user()
    healthy = {"healthy": receiver.url.replace("127.0.0.1", _HEALTHY)}
    mailbox = [
        line.replace('"127.0.0.1"', '"localhost"')
        for line in mailbox_lines(mortal, user, "poll = 600")
    ]
    if whose == "endpoints":
        endpoints, imap, asked = {**_DEAD_ENDPOINTS, **healthy}, mailbox, _ENDPOINTS
    else:
        endpoints, asked = healthy, (*_MAILBOXES, _ISSUER)
        imap = _mailboxes(*_DEAD_MAILBOXES, mailbox)
    config = Config(endpoints, secret, extra={"imap": imap, "trust": ANYONE})
    with Daemon(config.write(tmp_path), within=names.command()) as daemon:
        daemon.start()
        send(daemon, list(sms_mails("first", 2)))
        names.wait_until_asked(*asked)
        # Whoever waited for a look-up would wait for longer than this test does.
        pass_through(daemon, receiver, list(sms_mails("beside", 50)))

        mortal.stop()  # so that the mailbox needs its name again
        mortal.start()
        mail = sms_mail("by the mailbox")
        mortal.deliver(user, mail.raw)
        arrive(receiver, [mail])
        receiver.assert_honest()


def test_the_end_does_not_wait_for_a_name_that_hangs(
    tmp_path: Path, secret: str, names: DeadNames
) -> None:
    """SIGTERM with look-ups under way ends with 0 before they do, and the messages stay ours."""
    extra = {"imap": _mailboxes(*_DEAD_MAILBOXES), "delivery": ('grace = "1s"',)}
    config = Config(_DEAD_ENDPOINTS, secret, extra=extra)
    with Daemon(config.write(tmp_path), within=names.command()) as daemon:
        daemon.start()
        send(daemon, list(sms_mails("held up", _MAILS)))
        names.wait_until_asked(*_ENDPOINTS, *_MAILBOXES, _ISSUER)
        assert daemon.stop() == 0  # within the test's patience, which is shorter than a look-up
        assert count_deliveries(tmp_path / "bridge.db") == {"pending": _MAILS * len(_ENDPOINTS)}
        daemon.assert_ledger_adds_up()


def _mailboxes(*tables: Sequence[str]) -> Sequence[str]:
    """Write several mailboxes where a config wants the lines of one."""
    first, *others = tables
    return [*first, *(line for table in others for line in ("[[imap]]", *table))]
