"""What commands print when something is odd: exactly what is wrong, and nothing more."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import CONFIG, SECRET, Filled, Ran, mail
from tests.servers.ports import steady_port

Smsbridge = Callable[..., Ran]
MBOX_LINE = b"From smsin@agiletelecom.com Wed Apr  8 14:30:52 2026\n"


def test_a_server_that_is_down_is_not_promised_to_be_tried_again(
    smsbridge: Smsbridge, config: Path
) -> None:
    """A command ends: the sentence says what to look at, and no more."""
    url = f"postgresql://bridge@127.0.0.1:{steady_port()}/sms"
    config.write_text(CONFIG.replace("[store]", f'[store]\nurl = "{url}"'))
    ran = smsbridge("messages", "list", "-c", config)
    assert ran.code == 2
    assert "the server cannot be reached" in ran.err
    assert "tried again" not in ran.err


def test_a_lock_is_not_promised_to_be_tried_again(smsbridge: Smsbridge, filled: Filled) -> None:
    """The same for a database that another process has locked."""
    filled.config.write_text(
        filled.config.read_text().replace("min_free = 0", 'min_free = 0\nbusy_timeout = "10ms"')
    )
    with closing(sqlite3.connect(filled.config.with_name("bridge.db"))) as other:
        other.execute("BEGIN IMMEDIATE")
        ran = smsbridge("deliveries", "retry", "1", "-c", filled.config)
    assert (ran.code, "holds its lock" in ran.err) == (2, True)
    assert "tried again" not in ran.err


def test_a_server_without_a_database_name_has_no_gap_in_its_name(
    smsbridge: Smsbridge, config: Path
) -> None:
    """Without one, PostgreSQL takes the user's name, and the sentence doesn't show a hole."""
    url = f"postgresql://bridge@127.0.0.1:{steady_port()}"
    config.write_text(CONFIG.replace("[store]", f'[store]\nurl = "{url}"'))
    ran = smsbridge("messages", "list", "-c", config)
    assert "the database at 127.0.0.1" in ran.err


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("missing/bridge.db", "missing does not exist; make it"),
        ("file/bridge.db", "file does not exist; make it"),
        ("folder", "is no regular file"),
        ("file", "is no SQLite database"),
    ],
)
def test_check_refuses_a_store_that_run_cannot_use(
    smsbridge: Smsbridge, config: Path, place: str, why: str
) -> None:
    """Exit 1 with the line of the setting; `check` itself makes no file."""
    (config.parent / "file").write_text("no database")
    (config.parent / "folder").mkdir()
    config.write_text(CONFIG.replace("[store]", f'[store]\nurl = "sqlite:///{place}"'))
    ran = smsbridge("check", "-c", config)
    assert (ran.code, why in ran.err) == (1, True), ran
    assert f"{config}: line 3: store.url: " in ran.err
    config.write_text(CONFIG)
    assert smsbridge("check", "-c", config).code == 0
    assert not (config.parent / "bridge.db").exists()


ENDPOINT = f'[[endpoints]]\nname = "x"\nurl = "https://a.b"\nsecret = "{SECRET}"\nto = ["%s"]\n'


@pytest.mark.parametrize(
    ("table", "warning"),
    [
        (
            '[[providers]]\nname="didww"\ntrust={networks=["0.0.0.0/0"]}',
            "0.0.0.0/0 is every address",
        ),
        ('[[providers]]\nname="didww"\ntrust={networks=["::/1"]}', "::/1 is open to "),
        ('[[providers]]\nname="didww"\ntrust={dkim=["gmail.com"]}', "a mailbox at gmail.com can"),
        (
            '[[providers]]\nname="didhub"\ntrust={dkim=["amazonses.com"]}',
            "amazonses.com signs and sends",
        ),
        (ENDPOINT % "banana", "is no phone number"),
        (ENDPOINT % "+39", "is no phone number"),
        (ENDPOINT % "+39333123433312343331234", "is no phone number"),
    ],
)
def test_what_is_probably_a_mistake_is_warned_of(
    smsbridge: Smsbridge, config: Path, table: str, warning: str
) -> None:
    """Evidence that anyone has, and filters that nothing passes: exit 0, with a warning."""
    config.write_text(table)
    ran = smsbridge("check", "-c", config, "--json")
    assert ran.code == 0
    assert [each for each in ran.document["warnings"] if warning in each]


@pytest.mark.parametrize(
    "table",
    [
        '[[providers]]\nname="didww"\ntrust={networks=["10.0.0.0/8", "fd00::/8"]}',
        '[[providers]]\nname="didww"\ntrust={dkim=["didww.com"]}',
        '[[providers]]\nname="google_voice"\ntrust={dkim=["txt.voice.google.com"]}',
        '[[providers]]\nname="didhub"\ntrust={dkim=["didhub.example"]}',
        ENDPOINT % "+393331234333",
        ENDPOINT % "12345",
        ENDPOINT % "393331234333",
    ],
)
def test_what_is_meant_is_not_warned_of(smsbridge: Smsbridge, config: Path, table: str) -> None:
    """A provider's own domain, a private network, a number and a short code."""
    config.write_text(table)
    warnings = smsbridge("check", "-c", config, "--json").document["warnings"]
    assert [each for each in warnings if "there are no" not in each] == []


def test_a_database_that_others_can_read_is_warned_of(smsbridge: Smsbridge, filled: Filled) -> None:
    """A restored or copied one often is; it holds texts and passwords."""
    path = filled.config.with_name("bridge.db")
    assert "chmod 600" not in smsbridge("check", "-c", filled.config).out
    path.chmod(0o644)
    assert f"{path} can be read by everybody" in smsbridge("check", "-c", filled.config).out


def test_an_arrival_is_shown_without_python(smsbridge: Smsbridge, filled: Filled) -> None:
    """Nested values are words, not the representation of a dict."""
    ran = smsbridge("quarantine", "show", "1", "-c", filled.config)
    assert "{" not in ran.out
    assert "by anyone" in ran.out


def test_a_mail_in_an_mbox_is_parsed(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """Its separator is no part of it."""
    path = tmp_path / "one.mbox"
    path.write_bytes(MBOX_LINE + mail())
    assert smsbridge("parse", path, "--json").document["outcome"] == "message"
    assert smsbridge("parse", "-", "--json", stdin=MBOX_LINE + mail()).code == 0


def test_several_mails_in_an_mbox_are_not_swallowed(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """`parse` explains one mail: of several it says how many, and what reads them all."""
    path = tmp_path / "two.mbox"
    path.write_bytes((MBOX_LINE + mail() + b"\n") * 2)
    ran = smsbridge("parse", path)
    assert (ran.code, "2 mails" in ran.err, "providers try" in ran.err) == (2, True, True)


def test_a_long_line_is_not_printed_whole(smsbridge: Smsbridge) -> None:
    """A mail of megabytes in one line shows its beginning, and how much more there is."""
    raw = b"Subject: x\r\nFrom: a@b.c\r\n\r\n" + b"x" * 400_000
    ran = smsbridge("parse", "-", stdin=raw)
    assert len(ran.out) < 20_000
    assert "more characters" in ran.out


@pytest.mark.parametrize("raw", [b"", b"Subject: x\r\nFrom: a@b.c\r\n\r\n"])
def test_parse_prints_no_empty_heading(smsbridge: Smsbridge, raw: bytes) -> None:
    """Below every heading stands something."""
    lines = smsbridge("parse", "-", stdin=raw).out.splitlines()
    for before, line in zip([*lines, ""], [*lines[1:], ""], strict=False):
        assert not (before in ("how it was parsed", "the mail's text", "found") and not line)
    assert lines[-1] not in ("how it was parsed", "the mail's text", "found")


@pytest.mark.parametrize("text", ['[smtp]\nhostname = "abc\n', "[smtp]\nhostname = 'abc\n"])
def test_a_missing_quote_is_called_one(smsbridge: Smsbridge, config: Path, text: str) -> None:
    """The parser's own words for it are "illegal character", for an invisible one."""
    config.write_text(text)
    assert "the closing quote of a string is missing" in smsbridge("check", "-c", config).err
