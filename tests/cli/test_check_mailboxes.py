"""`smsbridge check --mailboxes` gets into real mailboxes, and changes nothing in them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, mail
from tests.servers.dovecot import PASSWORD, DovecotServer, running_dovecot
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
            "missing_rights": [],
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


ACL = """
mail_plugins = acl
protocol imap {{
  mail_plugins = acl {imap_acl}
}}
plugin {{
  acl = vfile:{rights}
}}
"""
RIGHTS = """
INBOX owner lrwstei
Full owner lrwstei
Shut owner lr
Seen owner lrws
Kept owner lrwste
"""


@pytest.fixture(scope="module", params=["imap_acl", ""])
def limited(request: pytest.FixtureRequest) -> Iterator[tuple[DovecotServer, bool]]:
    """Start a server with rights, which it tells by ACL or only by the flags that it keeps."""
    with tempfile.TemporaryDirectory(prefix="smsbridge-acl-") as folder:
        Path(folder).chmod(0o755)  # its processes run as other users
        rights = Path(folder) / "rights"
        rights.write_text(RIGHTS)
        with running_dovecot(ACL.format(imap_acl=request.param, rights=rights)) as server:
            yield server, request.param != ""


@pytest.mark.parametrize(
    ("folder", "actions", "by_acl", "by_flags"),
    [
        ("INBOX", "on_message = 'move:Full'", [], []),
        ("Shut", "on_message = 'leave'\non_quarantine = 'leave'\non_ignored = 'leave'", [], []),
        ("Shut", "", ["mark mails as read in the folder 'Shut'"],
         ["mark mails as read in the folder 'Shut'"]),
        ("Seen", "", [], []),
        ("Seen", "on_ignored = 'delete'",
         ["mark mails as deleted in the folder 'Seen'", "remove mails in the folder 'Seen'"],
         ["mark mails as deleted in the folder 'Seen'"]),
        ("INBOX", "on_message = 'move:Kept'", ["put mails into it in the folder 'Kept'"], []),
    ],
)  # fmt: skip
def test_rights_that_the_account_lacks_are_told(
    smsbridge: Smsbridge,
    config: Path,
    limited: tuple[DovecotServer, bool],
    folder: str,
    actions: str,
    by_acl: list[str],
    by_flags: list[str],
) -> None:
    """A folder from which nothing can be moved is found before the first SMS; nothing changes."""
    server, has_acl = limited
    user = server.new_user()
    with server.session(user) as session:
        for name in ("Full", "Shut", "Seen", "Kept"):
            session.create(name)
    _write(
        config,
        _table("inbox", server.imap_port, user, _password(), f"folder = '{folder}'", actions),
    )
    ran = smsbridge("check", "--mailboxes", "-c", config, "--json")
    wanted = by_acl if has_acl else by_flags
    assert ran.document["mailboxes"][0]["missing_rights"] == wanted
    assert ran.code == (1 if wanted else 0)
    assert len(ran.document["problems"]) == (1 if wanted else 0)
    if wanted:
        assert f"imap.inbox: the account may not {wanted[0]}" in ran.document["problems"][0]
