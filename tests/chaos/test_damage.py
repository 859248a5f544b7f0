"""A daemon that is killed, and whose files are damaged before it starts again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.chaos.ledger import wait_until_delivered
from tests.chaos.mails import sms_mails
from tests.servers.daemon import Config, Daemon
from tests.servers.ports import steady_port
from tests.servers.receiver import Receiver

MAILS = 12
WAL_FRAME = 24 + 4096


def test_a_damaged_log_loses_no_mail_unseen(tmp_path: Path, secret: str) -> None:
    """Whatever frame is damaged, the first start names each acknowledged mail that is missing."""
    nobody = f"http://127.0.0.1:{steady_port()}/"
    with Daemon(Config({"crm": nobody}, secret).write(tmp_path)) as daemon:
        daemon.start()
        for mail in sms_mails("damage", MAILS):
            assert daemon.send(*mail.envelope)[0] == 250
        daemon.kill()
        log = tmp_path / "bridge.db-wal"
        whole = log.read_bytes()
        frames = (len(whole) - 32) // WAL_FRAME
        kept = tmp_path / "kept"
        kept.mkdir()
        for each in tmp_path.glob("bridge.db*"):
            shutil.copy(each, kept)
        for frame in (frames // 2, frames - 3):
            for each in kept.iterdir():
                shutil.copy(each, tmp_path)
            flipped = bytearray(whole)
            flipped[32 + frame * WAL_FRAME + 1000] ^= 4
            log.write_bytes(flipped)
            with closing(sqlite3.connect(tmp_path / "bridge.db")) as connection:
                (there,) = connection.execute("SELECT max(id) FROM arrivals").fetchone()
            report = json.loads(daemon.command("audit", "--json").stdout)
            if there == MAILS:  # only attempts were lost: they are made again
                assert report["ok"], report
                continue
            missing = f"the mails {there + 1} to {MAILS} were acknowledged and are missing"
            assert not report["ok"]
            assert missing in json.dumps(report["checks"])
            daemon.start()
            (said,) = daemon.log("store.mails_missing")
            assert missing in said["detail"]
            daemon.wait_for_health(503)
            assert missing in daemon.page("/healthz")[1]
            assert 'smsbridge_problems{kind="damage"} 1.0' in daemon.page("/metrics")[1]
            for mail in sms_mails("more", 1):  # new mail must come in
                assert daemon.send(*mail.envelope)[0] == 250
            (found,) = json.loads(daemon.command("damage", "list", "--json").stdout)
            assert (found["first"], found["last"]) == (there + 1, MAILS)
            accepted = daemon.command("damage", "accept", str(found["id"]), "--because", "a test")
            assert accepted.returncode == 0, accepted
            assert json.loads(daemon.command("audit", "--json").stdout)["ok"]
            daemon.wait_until(lambda: "missing" not in daemon.page("/healthz")[1])
            daemon.kill()


def test_an_altered_event_is_never_sent(tmp_path: Path, secret: str, receiver: Receiver) -> None:
    """One bit in the file: that SMS is held and named, all others are delivered as they were."""
    nobody = f"http://127.0.0.1:{steady_port()}/"
    mails = list(sms_mails("damage", MAILS))
    with Daemon(Config({"crm": nobody}, secret).write(tmp_path)) as daemon:
        daemon.start()
        for mail in mails:
            assert daemon.send(*mail.envelope)[0] == 250
        daemon.kill()
        database = tmp_path / "bridge.db"
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (event,) = connection.execute("SELECT id FROM events LIMIT 1 OFFSET 5").fetchone()
        pages = bytearray(database.read_bytes())
        text = f'"data":{{"id":"{event}"'.encode()
        at = pages.index(b"no? 5", pages.index(text))
        pages[at + 4] ^= 2  # 5 becomes 7
        database.write_bytes(pages)
        Config({"crm": receiver.url}, secret).write(tmp_path)
        daemon.start()
        assert receiver.wait_for_ids(MAILS - 1)
        daemon.wait_for_health(503)
        assert event in daemon.page("/healthz")[1]
        assert event not in {each.id for each in receiver.all()}
        assert not any("7 " in each.data["body"] for each in receiver.all())
        audit = json.loads(daemon.command("audit", "--deep", "--json").stdout)
        assert f"events {event}" in json.dumps(audit["checks"])
        assert daemon.command("damage", "list").returncode == 1


def test_a_sound_ledger_says_nothing(tmp_path: Path, secret: str, receiver: Receiver) -> None:
    """After a kill, and after a restart."""
    with Daemon(Config({"crm": receiver.url}, secret).write(tmp_path)) as daemon:
        for label in ("one", "two"):
            daemon.start()
            for mail in sms_mails(label, 3):
                assert daemon.send(*mail.envelope)[0] == 250
            daemon.kill()
        daemon.start()
        wait_until_delivered(tmp_path / "bridge.db", 6)
        daemon.wait_for_health(200)
        assert json.loads(daemon.command("audit", "--deep", "--json").stdout)["ok"]
        listed = daemon.command("damage", "list", "--accepted")
        assert (listed.returncode, "nothing" in listed.stdout + listed.stderr) == (0, True)
