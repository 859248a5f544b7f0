"""`smsbridge providers try` tells what whole mailboxes would become."""

from __future__ import annotations

import mailbox
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.operations.mail_files import read_mails
from bridge.store import Database
from tests.cli.conftest import Ran, mail

Smsbridge = Callable[..., Ran]
FROM = b"From me Thu Apr  9 14:30:52 2026\n"
LOST = b"From: smsin@agiletelecom.com\r\n\r\nFrom: +393301234567\r\nBody: x\r\n"


def unix(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n")


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    """Write three mails as the standard library does, one of them with lines like `From `."""
    path = tmp_path / "mails.mbox"
    box = mailbox.mbox(path)
    for each in (mail("1"), mail("2", "From here\r\n\r\nFrom there on\r\n"), LOST):
        box.add(unix(each))
    box.close()
    return path


def test_an_mbox_is_tabled_mail_by_mail(smsbridge: Smsbridge, mbox: Path) -> None:
    """Each mail has its row, the totals add up, and quarantine is exit code 1."""
    ran = smsbridge("providers", "try", mbox, "--json")
    assert ran.code == 1
    assert [each["outcome"] for each in ran.document["mails"]] == [
        "message", "message", "quarantine",
    ]  # fmt: skip
    assert ran.document["mails"][2]["mail"] == f"{mbox}, mail 3"
    assert "no label To" in ran.document["mails"][2]["detail"]
    assert ran.document["totals"] == {
        "message": 2, "duplicate": 0, "ignored": 0, "quarantine": 1,
    }  # fmt: skip
    text = smsbridge("providers", "try", mbox)
    assert text.code == 1
    assert "quarantine  agile     unreadable  1" in text.out
    assert "evidence was not checked" in text.err


def test_an_mbox_gives_each_mail_as_it_was(mbox: Path) -> None:
    """Splitting and unquoting give back the bytes that were put in."""
    found = list(read_mails(mbox))
    assert [each.raw for each in found] == [
        unix(mail("1")), unix(mail("2", "From here\n\nFrom there on\n")), unix(LOST),
    ]  # fmt: skip
    assert sum(each.consumed for each in found) == mbox.stat().st_size


def test_long_lines_and_a_missing_last_line_end(tmp_path: Path) -> None:
    """A long line stays whole, and `From ` in its middle or without a blank line splits nothing."""
    long = b"Subject: x\n\n" + b"a" * (64 * 1024 - 12) + b"From b\nFrom d\n\n>>From c"
    path = tmp_path / "x"
    path.write_bytes(FROM + long + b"\n\n" + FROM + LOST.rstrip())
    assert [each.raw for each in read_mails(path)] == [
        long.replace(b">>", b">") + b"\n", LOST.rstrip(),
    ]  # fmt: skip


def test_a_maildir_and_folders_are_read(smsbridge: Smsbridge, tmp_path: Path, mbox: Path) -> None:
    """A Maildir's cur and new are read, tmp is not; a folder is searched for *.eml and *.mbox."""
    box = mailbox.Maildir(tmp_path / "Maildir")
    box.add(mail("1"))
    (tmp_path / "Maildir/cur/2:2,S").write_bytes(mail("9"))
    (tmp_path / "Maildir/tmp/3").write_bytes(LOST)
    ran = smsbridge("providers", "try", tmp_path / "Maildir", "--json")
    assert (ran.code, ran.document["totals"]["message"]) == (0, 2)
    folder = tmp_path / "folder" / "inner"
    folder.mkdir(parents=True)
    (folder / "a.EML").write_bytes(mail("1"))
    (folder / "notes.txt").write_bytes(LOST)
    mbox.rename(folder / "b.mbox")
    totals = smsbridge("providers", "try", tmp_path / "folder", "--json").document["totals"]
    assert totals == {"message": 2, "duplicate": 1, "ignored": 0, "quarantine": 1}


def test_what_cannot_be_tried_is_exit_2(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """A path that is not there and a folder without mail are sentences."""
    for path, why in ((tmp_path / "none", "no such file"), (tmp_path, "there is no .eml or .mbox")):
        ran = smsbridge("providers", "try", path)
        assert (ran.code, why in ran.err) == (2, True), ran.err


def test_a_mail_over_the_bound_is_said_and_not_kept(tmp_path: Path) -> None:
    """An endless mail in an mbox costs no endless memory."""
    path = tmp_path / "x"
    path.write_bytes(FROM + b"a\n" * 1000 + b"\n" + FROM + LOST)
    assert [each.raw for each in read_mails(path, limit=1000)] == [None, LOST]
    path.write_bytes(b"a" * 1001)
    assert [each.raw for each in read_mails(path, limit=1000)] == [None]


def test_providers_try_and_import_read_the_same_mails(
    smsbridge: Smsbridge, tmp_path: Path, config: Path
) -> None:
    """A body line that begins like a separator parts no mail, and a Maildir's subfolders count."""
    Database.open(load(config).store, migrate=True).close()
    path = tmp_path / "mails.mbox"
    talk = mail("2", "Hello\n\nFrom my phone, call me\n")
    path.write_bytes(FROM + unix(mail("1")) + b"\n" + FROM + unix(talk) + b"\n")
    box = mailbox.Maildir(tmp_path / "Maildir")
    box.add(mail("3"))
    inner = box.add_folder("Archive")
    inner.add(mail("4"))
    inner.add(mail("5"))
    for place, count in ((path, 2), (tmp_path / "Maildir", 3)):
        tried = smsbridge("providers", "try", place, "-c", config, "--json").document
        assert tried["totals"]["message"] == len(tried["mails"]) == count
        imported = smsbridge("import", place, "-c", config, "--json").document
        assert (imported["read"], imported["message"]) == (count, count)
