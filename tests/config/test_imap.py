"""`[[imap]]`: what an operator may write, and the sentence for what not."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from bridge.config.imap import Afterwards, Step
from bridge.config.load import load
from bridge.config.settings import Settings
from bridge.errors import ConfigErrors

MAILBOX = """
[[imap]]
name = "inbox"
host = "imap.example.com"
username = "sms@example.com"
"""
PASSWORD = 'password = "hunter2"'


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(path)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigErrors) as caught:
        read(tmp_path, text)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def test_a_mailbox_needs_little(tmp_path: Path) -> None:
    """Name, host, user and password suffice; SMTP goes on listening beside it."""
    settings = read(tmp_path, MAILBOX + PASSWORD)
    (inbox,) = settings.imap
    assert (inbox.port, inbox.tls, inbox.folder, inbox.start) == (993, True, "INBOX", "unseen")
    assert (inbox.poll, inbox.timeout, inbox.max_message) == (60.0, 30.0, 25 * 1024**2)
    assert inbox.on_message == inbox.on_quarantine == inbox.on_ignored == Afterwards(Step.SEEN)
    assert settings.smtp.listen
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("leave", Afterwards(Step.LEAVE)),
        ("delete", Afterwards(Step.DELETE)),
        ("move:Done/2026 ü", Afterwards(Step.MOVE, "Done/2026 ü")),
        ("copy:a:b", Afterwards(Step.COPY, "a:b")),
    ],
)
def test_what_is_done_afterwards(tmp_path: Path, written: str, meant: Afterwards) -> None:
    """A word, or a word and a folder, which may itself hold a colon; written back as it was."""
    settings = read(tmp_path, MAILBOX + PASSWORD + f"\non_message = {written!r}")
    assert settings.imap[0].on_message == meant
    assert str(meant) == written


def test_the_first_start_may_be_a_date(tmp_path: Path) -> None:
    """A TOML date is the day from which mails are taken."""
    settings = read(tmp_path, MAILBOX + PASSWORD + "\nstart = 2026-04-08")
    assert settings.imap[0].start == date(2026, 4, 8)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "imap.inbox: set password, or an [imap.oauth] table, and not both"),
        (PASSWORD + "\ntls = false", "imap.inbox: tls = false sends the password in clear text"),
        (PASSWORD + "\non_message = 'moved:X'", 'on_message: must be "leave", "seen", "delete"'),
        (PASSWORD + "\non_message = 'move'", "on_message: must be "),
        (PASSWORD + "\non_message = 'seen:X'", "on_message: must be "),
        (PASSWORD + "\non_ignored = 'move:'", "on_ignored: must not be empty"),
        (PASSWORD + "\non_ignored = 'move:INBOX'", "on_ignored names the folder that is read"),
        (PASSWORD + "\non_message = 'move:inbox'", "on_message names the folder that is read"),
        (PASSWORD + "\non_message = 'copy:Inbox'", "on_message names the folder that is read"),
        (PASSWORD + "\nstart = 'yesterday'", 'start: must be "unseen", "all", "new", or a date'),
        (PASSWORD + "\nstart = 2026-04-08T10:00:00", "start: must be "),
        (PASSWORD + "\nstart = ['all']", "start: must be "),
        (PASSWORD + '\nfolder = "a\\r\\nb"', "folder: must not be empty, nor hold control"),
        (PASSWORD + "\nport = 0", "port: must be at least 1"),
        (PASSWORD + "\npol = 5", "did you mean 'poll'?"),
        (PASSWORD + MAILBOX + PASSWORD, "the name 'inbox' is used 2 times"),
        (PASSWORD.replace("password", "oauth"), "oauth: must be a table"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, line: str, sentence: str) -> None:
    """Each mistake has its own sentence, and no secret is in it."""
    assert sentence in refused(tmp_path, MAILBOX + line)


def test_loopback_may_do_without_tls(tmp_path: Path) -> None:
    """A server on this machine may be read in the clear, but then a CA says nothing."""
    local = MAILBOX.replace("imap.example.com", "127.0.0.1") + PASSWORD + "\ntls = false"
    assert read(tmp_path, local).imap[0].tls is False
    assert "tls_ca has no effect without tls" in refused(tmp_path, local + "\ntls_ca = 'ca.pem'")


USER = 'client_id = "us"\nclient_secret = "hunter2"\nrefresh_token = "hunter2-r"\n'


@pytest.mark.parametrize(
    ("oauth", "endpoint", "scope"),
    [
        ('issuer = "google"\n' + USER, "https://oauth2.googleapis.com/token", None),
        (
            'issuer = "microsoft"\ntenant = "example.com"\n' + USER,
            "https://login.microsoftonline.com/example.com/oauth2/v2.0/token",
            "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
        ),
        (
            'issuer = "microsoft"\ntenant = "common"\nclient_id = "us"\nclient_secret = "hunter2"',
            "https://login.microsoftonline.com/common/oauth2/v2.0/token",
            "https://outlook.office365.com/.default",
        ),
        (
            'token_url = "https://id.example.com/token"\nscope = "imap"\n' + USER,
            "https://id.example.com/token",
            "imap",
        ),
        ('token_command = ["/bin/token", "x"]', None, None),
        ('token_file = "token"', None, None),
    ],
)
def test_each_issuer_of_tokens(
    tmp_path: Path, oauth: str, endpoint: str | None, scope: str | None
) -> None:
    """Presets know their endpoint and scope; a command and a file need neither."""
    (inbox,) = read(tmp_path, MAILBOX + "[imap.oauth]\n" + oauth).imap
    assert inbox.oauth is not None
    assert (inbox.oauth.endpoint, inbox.oauth.scopes) == (endpoint, scope)
    assert "hunter2" not in repr(inbox)


@pytest.mark.parametrize(
    ("oauth", "sentence"),
    [
        ("", "imap.inbox.oauth: set one of issuer, token_url, token_command and token_file"),
        ('issuer = "google"\ntoken_file = "x"', "set one of issuer, token_url"),
        ('issuer = "gogle"\n' + USER, "oauth.issuer: must be one of 'google', 'microsoft'"),
        ('issuer = "microsoft"\n' + USER, "needs a tenant"),
        ('issuer = "microsoft"\ntenant = "a/b"\n' + USER, "oauth.tenant: must be a domain"),
        ('issuer = "google"\nclient_secret = "hunter2"', "client_id is missing"),
        ('issuer = "google"\nclient_id = "a"\nclient_secret = "hunter2"', "needs a refresh_token"),
        ('token_url = "https://x.example/t"\nclient_id = "a"', "set refresh_token, or client_sec"),
        ('token_url = "http://x.example/t"\n' + USER, "token_url must be https://"),
        ('token_command = ["token"]', "must be the program's whole path"),
        ('token_command = "/bin/token x"', "token_command: must be a list"),
        ('token_file = "x"\nclient_id = "a"', "token_file needs nothing else: take client_id"),
        (
            'token_url = "https://x/t"\nclient_id = "a"\nclient_secret = "b"\nrefresh_state = "x"',
            "refresh_state is for a refresh_token",
        ),
    ],
)
def test_what_gives_no_token_is_refused(tmp_path: Path, oauth: str, sentence: str) -> None:
    """Each mistake in [imap.oauth] has its own sentence, and no secret is in it."""
    assert sentence in refused(tmp_path, MAILBOX + "[imap.oauth]\n" + oauth)


@pytest.mark.parametrize(
    ("folder", "username", "refuses"),
    [
        ("INBOX", "sms@example.com", True),
        ("inbox", "sms@example.com", True),
        ("SMS", "sms@example.com", False),
        ("INBOX", "otp@example.com", False),
    ],
)
def test_a_folder_is_read_once(tmp_path: Path, folder: str, username: str, refuses: bool) -> None:
    """Two names for one folder would fight over its mails; several folders are several entries."""
    second = f"""
[[imap]]
name = "other"
host = "IMAP.example.com."
username = "{username}"
folder = "{folder}"
"""
    text = MAILBOX + PASSWORD + second + PASSWORD
    if refuses:
        assert "inbox and other read the same folder" in refused(tmp_path, text)
    else:
        assert [each.folder for each in read(tmp_path, text).imap] == ["INBOX", folder]


def test_no_folder_that_is_read_gets_our_mails(tmp_path: Path) -> None:
    """Two entries that move mails to each other would never be done."""
    second = MAILBOX.replace('"inbox"', '"done"') + 'folder = "Done"\n' + PASSWORD
    told = refused(tmp_path, MAILBOX + PASSWORD + "\non_message = 'move:Done'" + second)
    assert "inbox.on_message names a folder that done reads" in told


def test_inbox_has_no_case(tmp_path: Path) -> None:
    """A mail moved to `Inbox` would come in again, for ever."""
    told = refused(tmp_path, MAILBOX + PASSWORD + "\non_message = 'move:Inbox'")
    assert "on_message names the folder that is read" in told
