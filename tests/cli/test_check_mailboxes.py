"""`smsbridge check --mailboxes` gets into real mailboxes, and changes nothing in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Ran, mail
from tests.servers.dovecot import PASSWORD, DovecotServer
from tests.servers.dovecot import dovecot as dovecot

Smsbridge = Callable[..., Ran]


def _table(name: str, port: int, user: str, *more: str) -> str:
    lines = (
        "[[imap]]",
        f'name = "{name}"',
        'host = "127.0.0.1"',
        f"port = {port}",
        "tls = false",
        "timeout = 60",
        f'username = "{user}"',
        *more,
    )
    return "\n".join(lines) + "\n"


def _write(config: Path, *tables: str) -> None:
    config.write_text(config.read_text() + "".join(tables))


def _password(word: str = PASSWORD) -> str:
    return f"password = '{word}'"


def test_it_says_what_is_in_a_mailbox_and_what_a_first_start_takes(
    smsbridge: Smsbridge, config: Path, dovecot: DovecotServer
) -> None:
    """Mails, those that would be taken, and what the server can do; every flag stays."""
    user = dovecot.new_user()
    with dovecot.session(user) as session:
        session.create('"Erledigt &- weg"')  # as IMAP writes it
        for number in range(3):
            session.append("INBOX", "\\Seen" if number == 0 else "", "", mail(str(number)))
    table = _table(
        "inbox", dovecot.imap_port, user, _password(), "on_message='move:Erledigt & weg'"
    )
    _write(config, table)
    ran = smsbridge("check", "--mailboxes", "-c", config, "--json")
    assert (ran.code, ran.document["ok"], ran.document["problems"]) == (0, True, [])
    assert ran.document["mailboxes"] == [
        {
            "name": "inbox",
            "problem": None,
            "mails": 3,
            "first_start": 2,
            "idle": True,
            "move": True,
            "uidplus": True,
            "missing_folders": [],
        }
    ]
    with dovecot.session(user) as session:
        session.select("INBOX", readonly=True)
        assert session.search(None, "UNSEEN")[1] == [b"2 3"]
    assert "The config is valid." in smsbridge("check", "--mailboxes", "-c", config).out


def test_each_mailbox_that_cannot_be_used_is_told(
    smsbridge: Smsbridge, config: Path, dovecot: DovecotServer
) -> None:
    """A wrong password, a server that is away, and folders that are missing: all at once."""
    users = [dovecot.new_user() for _ in range(4)]
    _write(
        config,
        _table("login", dovecot.imap_port, users[0], _password("hunter2")),
        _table("away", 1, users[1], _password()),
        _table("folder", dovecot.imap_port, users[2], _password(), 'folder = "Nowhere"'),
        _table("target", dovecot.imap_port, users[3], _password(), 'on_ignored = "move:Not SMS"'),
    )
    ran = smsbridge("check", "--mailboxes", "-c", config, "--json")
    assert (ran.code, ran.document["ok"]) == (1, False)
    told = ran.document["problems"]
    for problem, words in zip(
        told,
        (
            "imap.login: the login was refused",
            "imap.away: cannot connect: Connection refused",
            "imap.folder: opening the folder 'Nowhere' was refused",
            "imap.target: there is no folder 'Not SMS'",
        ),
        strict=True,
    ):
        assert problem.startswith(f"{config}: {words}")
    text = smsbridge("check", "--mailboxes", "-c", config)
    assert text.code == 1
    assert "there is no folder 'Not SMS'" in text.err
    assert "hunter2" not in text.out + text.err + ran.out


def test_without_being_asked_no_mailbox_is_opened(smsbridge: Smsbridge, config: Path) -> None:
    """A plain check needs no network."""
    _write(config, _table("away", 1, "nobody", _password()))
    ran = smsbridge("check", "-c", config, "--json")
    assert ran.code == 0
    assert "mailboxes" not in ran.document
