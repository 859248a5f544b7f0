"""`smsbridge reconcile` on a real Dovecot's mailbox: compared, mended, and what cannot be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Filled, Ran, mail
from tests.servers.dovecot import PASSWORD, DovecotServer
from tests.servers.dovecot import dovecot as dovecot
from tests.servers.ports import steady_port

Smsbridge = Callable[..., Ran]
COMPARE = ("reconcile", "inbox", "--all")  # no daemon has read it: `start` leaves nothing out


def mailbox(port: int, user: str, password: str = PASSWORD, *more: str) -> str:
    """Write `[[imap]]` for a user's INBOX."""
    lines = (
        "[[imap]]", 'name = "inbox"', 'host = "127.0.0.1"', f"port = {port}",
        f'username = "{user}"', f"password = '{password}'", 'timeout = "60s"', *more,
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def configure(filled: Filled, text: str) -> Path:
    filled.config.write_text(filled.config.read_text() + text)
    return filled.config


def seen(dovecot: DovecotServer, user: str) -> bytes:
    with dovecot.session(user) as other:
        return bytes(other.uid("SEARCH", "SEEN")[1][0])


def test_a_mailbox_is_compared_and_what_is_missing_is_taken_in(
    smsbridge: Smsbridge, filled: Filled, dovecot: DovecotServer
) -> None:
    """One came by SMTP before, two are missing and one too big; nothing in the mailbox changes."""
    user = dovecot.new_user()
    big = b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n" * 40_000
    dovecot.deliver(user, mail("1"), mail("2", "Second"), b"Subject: hello\r\n\r\nno SMS 3", big)
    with dovecot.session(user) as other:  # seen or not, it is compared
        other.uid("STORE", "2", "+FLAGS", "(\\Seen)")
    config = configure(
        filled, mailbox(dovecot.imap_port, user, PASSWORD, "tls = false", 'max_message = "64KiB"')
    )
    ran = smsbridge(*COMPARE, "-c", config, "--json")
    assert ran.code == 1, ran.err
    assert (ran.document["mails"], ran.document["known"]) == (4, 1)
    assert [
        (each["uid"], each["waiting"], each["would_be"], each["taken_in"])
        for each in ran.document["missing"]
    ] == [(2, True, "message", None), (3, True, "quarantine", None), (4, True, None, None)]
    assert "max_message is less" in ran.document["missing"][2]["problem"]
    assert ran.err == ""

    ran = smsbridge(*COMPARE, "--fix", "-c", config, "--json")
    assert ran.code == 1
    assert [each["taken_in"] for each in ran.document["missing"]] == ["message", "quarantine", None]
    ran = smsbridge(*COMPARE, "-c", config, "--json")
    assert [each["uid"] for each in ran.document["missing"]] == [4]
    assert ran.document["known"] == 3

    with dovecot.session(user) as other:
        other.uid("STORE", "4", "+FLAGS", "(\\Deleted)")
        other.expunge()
    ran = smsbridge(*COMPARE, "-c", config)
    assert (ran.code, ran.err) == (0, "")
    assert seen(dovecot, user) == b"2"
    bodies = [
        smsbridge("messages", "show", each["id"], "-c", config, "--json").document["data"]["body"]
        for each in smsbridge("messages", "list", "-c", config, "--json").document
    ]
    assert sorted(bodies) == ["News ON", "Second"]
    assert smsbridge("audit", "-c", config).code == 0


def test_the_way_through_tls(smsbridge: Smsbridge, filled: Filled, dovecot: DovecotServer) -> None:
    """A pinned certificate is believed; without it the sentence says what is wrong, and exit 2."""
    user = dovecot.new_user()
    dovecot.deliver(user, mail("1"))
    text = filled.config.read_text()
    config = configure(filled, mailbox(dovecot.imaps_port, user))
    ran = smsbridge(*COMPARE, "-c", config)
    assert ran.code == 2
    assert "the mail server's certificate is not trusted: self-signed certificate" in ran.err
    config.write_text(text)
    ca = f'tls_ca = "{dovecot.certificate}"'
    configure(filled, mailbox(dovecot.imaps_port, user, PASSWORD, ca))
    assert smsbridge(*COMPARE, "-c", config).code == 0


@pytest.mark.parametrize("fix", [(), ("--fix",)])
def test_a_server_that_cannot_be_reached(
    smsbridge: Smsbridge, filled: Filled, fix: tuple[str, ...]
) -> None:
    """It is exit 2 and one sentence: nothing was compared, so nothing was found wrong."""
    config = configure(filled, mailbox(steady_port(), "sms", PASSWORD, "tls = false"))
    ran = smsbridge(*COMPARE, *fix, "-c", config)
    assert (ran.code, ran.out) == (2, "")
    assert "cannot connect: Connection refused" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_password_that_is_wrong(
    smsbridge: Smsbridge, filled: Filled, dovecot: DovecotServer
) -> None:
    """It is exit 2 and one sentence, with neither the password nor the name of the user."""
    user = dovecot.new_user()
    config = configure(filled, mailbox(dovecot.imap_port, user, "wr0ng-one", "tls = false"))
    ran = smsbridge(*COMPARE, "-c", config)
    assert (ran.code, ran.out) == (2, "")
    assert "the login was refused: NO [AUTHENTICATIONFAILED]" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert "wr0ng-one" not in ran.err


def test_a_folder_that_is_not_there(
    smsbridge: Smsbridge, filled: Filled, dovecot: DovecotServer
) -> None:
    """It is exit 2, and the sentence names the folder."""
    more = ("tls = false", 'folder = "Nowhere"')
    config = configure(filled, mailbox(dovecot.imap_port, dovecot.new_user(), PASSWORD, *more))
    ran = smsbridge(*COMPARE, "-c", config)
    assert ran.code == 2
    assert "opening the folder 'Nowhere' was refused" in ran.err
