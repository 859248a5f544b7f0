"""`smsbridge import`: mails of files become what the same mails by SMTP would have become."""

from __future__ import annotations

import mailbox
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.errors import NotPossible
from bridge.operations.mail_files import FileMail, find_files, read_mails, total_size
from bridge.store import Database
from bridge.store.audit import audit
from tests.cli.conftest import Filled, Ran, mail
from tests.cli.conftest import store as store_by_smtp
from tests.patience import PATIENCE

Smsbridge = Callable[..., Ran]
SEPARATOR = b"From smsin@agiletelecom.com Wed Apr  8 12:30:52 2026\n"


def lf(raw: bytes) -> bytes:
    """Write line ends as files have them."""
    return raw.replace(b"\r\n", b"\n")


def raws(path: Path, limit: int = 1024**2) -> list[bytes | None]:
    return [each.raw for each in read_mails(path, limit)]


def test_an_mbox_is_parted_as_others_write_it(tmp_path: Path) -> None:
    """What the standard library writes into an mbox is what we read out of it."""
    path = tmp_path / "box"
    bodies = [b"one\n", b"two\n\nFrom here on\n", b"From the start 12:00\n", b"\n\n", b"x" * 70_000]
    mails = [b"Subject: %d\n\n" % number + body for number, body in enumerate(bodies)]
    box = mailbox.mbox(path)
    for each in mails:
        box.add(each)
    box.close()
    assert [each and each.rstrip(b"\n") for each in raws(path)] == [
        each.rstrip(b"\n") for each in mails
    ]


def test_a_body_line_that_looks_like_a_separator_is_none(tmp_path: Path) -> None:
    """Only after a blank line, and with a time and a year, does "From " begin another mail."""
    path = tmp_path / "box"
    body = b"S: 1\n\nFrom you\nFrom x Wed Apr  8 12:30:52 2026\n\nFrom a friend\n>>From y\n"
    path.write_bytes(SEPARATOR + body + b"\n" + SEPARATOR + b"S: 2\r\n\r\ntwo\r\n")
    assert raws(path) == [body.replace(b">>From", b">From"), b"S: 2\r\n\r\ntwo\r\n"]


def test_a_separator_without_a_blank_line_before_it(tmp_path: Path) -> None:
    """Not every program writes one: where a header follows, a mail begins all the same."""
    path = tmp_path / "box"
    path.write_bytes((SEPARATOR + b"S: 1\n\none\n") * 2 + SEPARATOR)
    one, two = read_mails(path)
    assert (one.raw, two.raw) == (b"S: 1\n\none\n", b"S: 1\n\none\n" + SEPARATOR)
    assert one.consumed + two.consumed == path.stat().st_size


def test_a_mail_over_the_limit_is_passed_by(tmp_path: Path) -> None:
    """It is named, holds no memory, and the next one is read; all bytes are counted."""
    path = tmp_path / "box"
    path.write_bytes(SEPARATOR + b"x" * 300_000 + b"\n\n" + SEPARATOR + b"S: 2\n\n")
    big, small = read_mails(path, 100_000)
    assert (big.raw, big.name) == (None, f"{path}, mail 1")
    assert small.raw == b"S: 2\n"
    assert big.consumed + small.consumed == path.stat().st_size
    single = tmp_path / "single"
    single.write_bytes(b"x" * 101)
    (found,) = read_mails(single, 100)
    assert found.raw is None
    assert found.problem is not None


def test_folders_are_looked_through(tmp_path: Path) -> None:
    """A Maildir with subfolders, .eml and .mbox at any depth; what is being written is left."""
    for name in ("cur", "new", "tmp", ".Old/cur", ".Old/new"):
        (tmp_path / "box" / name).mkdir(parents=True)
        (tmp_path / "box" / name / "1").write_bytes(name.encode())
    (tmp_path / "box" / "deep").mkdir()
    (tmp_path / "box" / "deep" / "a.eml").write_bytes(b"eml")
    (tmp_path / "box" / "deep" / "B.EML").write_bytes(b"EML")
    (tmp_path / "old.mbox").write_bytes(SEPARATOR + b"mbox")
    found = [each for path in find_files([tmp_path]) for each in raws(path)]
    assert sorted(found) == [b".Old/cur", b".Old/new", b"EML", b"cur", b"eml", b"mbox", b"new"]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(NotPossible):
            find_files([path])


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """It is a problem of its own, and no end of the import."""
    (found,) = read_mails(tmp_path / "gone")
    assert found == FileMail(tmp_path / "gone", None, None, 0, "no such file or directory")
    assert total_size([tmp_path / "gone"]) == 0  # a Maildir in use: listed, and then moved


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    """Write three messages, one of which is there twice, and something else."""
    path = tmp_path / "old.mbox"
    mails = [mail("1"), mail("2", "Second"), mail("2", "Second"), b"Subject: hello\n\nno SMS\n"]
    path.write_bytes(b"".join(SEPARATOR + lf(each) + b"\n" for each in mails))
    return path


def audited(config: Path) -> bool:
    from bridge.cli.options import now
    from bridge.config.load import load

    database = Database.open(load(config).store)
    try:
        with database.read() as connection:
            return audit(connection, now()).ok
    finally:
        database.close()


def test_mails_become_messages_once(smsbridge: Smsbridge, filled: Filled, mbox: Path) -> None:
    """A mail that came by SMTP is a duplicate, the others are sent, and running again is safe."""
    first = smsbridge("import", mbox, "-c", filled.config, "--json")
    assert first.code == 1  # something went to quarantine
    assert {name: first.document[name] for name in first.document if name != "problems"} == {
        "read": 4, "message": 1, "duplicate": 2, "ignored": 0, "quarantine": 1, "repeated": 0,
        "failed": 0,
    }  # fmt: skip
    (problem,) = first.document["problems"]
    assert problem["mail"] == f"{mbox}, mail 4"
    again = smsbridge("import", mbox, "-c", filled.config, "--json").document
    assert (again["message"], again["duplicate"], again["repeated"]) == (0, 3, 1)
    quarantined = smsbridge("quarantine", "list", "-c", filled.config, "--json").document
    assert len(quarantined) == 2  # the one that was there, and ours once
    assert audited(filled.config)
    (newest, _) = smsbridge("messages", "list", "-c", filled.config, "--json").document
    shown = smsbridge("messages", "show", newest["id"], "-c", filled.config, "--json").document
    assert shown["data"]["source"] == "file"
    assert {each["endpoint"]: each["state"] for each in shown["deliveries"]} == {
        "crm": "pending", "other": "filtered",
    }  # fmt: skip


def test_the_other_way_round_gives_the_same_id(
    smsbridge: Smsbridge, filled: Filled, tmp_path: Path
) -> None:
    """A mail that was imported is a duplicate of the same id when it comes by SMTP."""
    file = tmp_path / "one.eml"
    file.write_bytes(lf(mail("7", "Seventh")))
    assert smsbridge("import", file, "-c", filled.config).code == 0
    (newest, _) = smsbridge("messages", "list", "-c", filled.config, "--json").document
    receipt = store_by_smtp(filled.config, mail("7", "Seventh"))
    assert (receipt.outcome, receipt.message_id) == ("duplicate", newest["id"])


def test_a_file_is_not_believed_by_itself(smsbridge: Smsbridge, filled: Filled, mbox: Path) -> None:
    """Evidence of a transmission is missing in a file; --trusted is the operator's own word."""
    text = filled.config.read_text()
    filled.config.write_text(text.replace("anyone = true", 'networks = ["127.0.0.1/32"]'))
    ran = smsbridge("import", mbox, "-c", filled.config)
    assert ran.code == 1
    assert "run the same command with --trusted" in ran.err
    ran = smsbridge("import", mbox, "-c", filled.config, "--trusted", "--json")
    assert (ran.document["message"], ran.document["duplicate"]) == (1, 2)
    (newest, _) = smsbridge("messages", "list", "-c", filled.config, "--json").document
    shown = smsbridge("messages", "show", newest["id"], "-c", filled.config, "--json").document
    assert shown["data"]["trust"] == {"by": "operator", "detail": "imported with --trusted"}


def test_a_poisoned_mail_fails_alone(smsbridge: Smsbridge, filled: Filled, mbox: Path) -> None:
    """What the database refuses is told, and its neighbours are stored."""
    import sqlite3
    from contextlib import closing

    path = filled.config.parent / "bridge.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TRIGGER poison BEFORE INSERT ON arrivals WHEN new.outcome = 'quarantine' "
            "BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )
    document = smsbridge("import", mbox, "-c", filled.config, "--json").document
    assert (document["message"], document["duplicate"], document["failed"]) == (1, 2, 1)


def test_what_cannot_be_done_is_exit_2(smsbridge: Smsbridge, filled: Filled, config: Path) -> None:
    """A path that is not there, and a store that is not there, are sentences."""
    assert smsbridge("import", "nowhere.mbox", "-c", filled.config).code == 2
    (config.parent / "bridge.db").unlink()
    ran = smsbridge("import", config, "-c", config)
    assert (ran.code, "smsbridge run" in ran.err) == (2, True)


@pytest.mark.processes
def test_an_import_that_is_stopped_goes_on(
    filled: Filled, tmp_path: Path, environment: dict[str, str], smsbridge: Smsbridge
) -> None:
    """Ctrl-C in the middle leaves whole batches, and the same command brings the rest."""
    count = 600
    fifo = tmp_path / "fifo.mbox"
    os.mkfifo(fifo)
    mails = [SEPARATOR + lf(mail(f"s{n}", f"text {n}")) + b"\n" for n in range(count)]
    running = subprocess.Popen(
        [sys.executable, "-m", "bridge", "import", str(fifo), "-c", str(filled.config)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    with fifo.open("wb", buffering=0) as stream:
        stream.write(b"".join(mails[:400]))  # more than a pipe holds: some were read by now
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, err
    assert "run the same command again to continue" in err
    whole = tmp_path / "whole.mbox"
    whole.write_bytes(b"".join(mails))
    document = smsbridge("import", whole, "-c", filled.config, "--json").document
    assert document["message"] + document["duplicate"] == count
    assert document["duplicate"] % 100 == 0
    assert (
        len(smsbridge("messages", "list", "-n", "5000", "-c", filled.config, "--json").document)
        == count + 1
    )
    assert audited(filled.config)
