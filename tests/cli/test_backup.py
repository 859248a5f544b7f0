"""`smsbridge backup` and `restore`: private, checked copies, and nothing lost in between."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from bridge.config.load import load
from bridge.store import Database, migrations
from bridge.store import backup as copying
from bridge.store.audit import NOTED
from tests.cli.conftest import CONFIG, Filled, Ran, mail, store

Smsbridge = Callable[..., Ran]


def database(config: Path) -> Path:
    return config.with_name("bridge.db")


def messages(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM messages")}


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for each in statements:
            connection.execute(each)


def as_of(revision: str, path: Path) -> None:
    """Give the database the schema of an earlier revision, with the rows that it had then."""
    older = path.with_name("older.db")
    engine = create_engine(f"sqlite:///{older}")
    alembic = Config()
    alembic.set_main_option("script_location", str(Path(migrations.__file__).parent))
    alembic.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, revision)
    engine.dispose()
    with closing(sqlite3.connect(older)) as connection:
        connection.execute("ATTACH ? AS newer", (str(path),))
        with connection:
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> ?",
                (migrations.VERSION_TABLE,),
            ).fetchall():
                columns = ", ".join(
                    row[1] for row in connection.execute(f"PRAGMA table_info({table})")
                )
                connection.execute(f"DELETE FROM {table}")
                connection.execute(
                    f"INSERT INTO {table} ({columns}) SELECT {columns} FROM newer.{table}"
                )
    older.replace(path)


@pytest.fixture
def saved(smsbridge: Smsbridge, filled: Filled, tmp_path: Path) -> Path:
    """Back the filled store up."""
    path = tmp_path / "saved.db"
    assert smsbridge("backup", path, "-c", filled.config).code == 0
    return path


@pytest.fixture
def later(filled: Filled, saved: Path) -> str:
    """Store a message after the backup."""
    found = store(filled.config, mail("2", "later")).message_id
    assert found is not None
    return found


def test_a_backup_is_one_private_file_with_what_was_committed(
    smsbridge: Smsbridge, filled: Filled, tmp_path: Path
) -> None:
    """What is still in the log is in the copy, too, and nothing lies beside it."""
    path = tmp_path / "saved.db"
    with closing(sqlite3.connect(database(filled.config))) as kept_open:
        kept_open.execute("SELECT 1 FROM messages").fetchone()
        newest = store(filled.config, mail("2", "only in the log")).message_id
        assert database(filled.config).with_name("bridge.db-wal").stat().st_size > 0
        ran = smsbridge("backup", path, "-c", filled.config, "--json")
    document = ran.document
    assert (ran.code, document["ok"], document["audited"]) == (0, True, True)
    assert (document["totals"]["messages"], document["bytes"]) == (2, path.stat().st_size)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.glob("*saved.db*")] == ["saved.db"]
    assert not list(tmp_path.glob(".*partial*"))
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as alone:
        assert newest in {row[0] for row in alone.execute("SELECT id FROM messages")}


def test_a_backup_is_one_moment_whatever_is_written_meanwhile(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mails that are stored between two steps of the copy are not in it, and don't restart it."""
    monkeypatch.setattr(copying, "_PAGES_AT_ONCE", 1)
    steps: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        steps.append((done, total))
        if len(steps) <= 2:
            store(filled.config, mail(f"m{len(steps)}", "x" * 5000))

    settings = load(filled.config).store
    made = copying.backup(settings, tmp_path / "saved.db", lambda: datetime.now(UTC), progress)
    assert made.report is not None
    assert made.report.ok
    assert messages(made.path) == {filled.message_id}
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert len(messages(database(filled.config))) == 3


def test_a_backup_overwrites_nothing(smsbridge: Smsbridge, filled: Filled, saved: Path) -> None:
    """A file that is there stays, and no partial one is left."""
    before = saved.read_bytes()
    ran = smsbridge("backup", saved, "-c", filled.config)
    assert (ran.code, "exists already" in ran.err) == (2, True)
    assert saved.read_bytes() == before
    ran = smsbridge("backup", saved.parent / "none" / "x.db", "-c", filled.config)
    assert (ran.code, "no such file" in ran.err) == (2, True)


def test_a_backup_of_a_broken_ledger_is_kept_and_said(
    smsbridge: Smsbridge, filled: Filled, tmp_path: Path
) -> None:
    """A copy that fails the audit is better than none; the exit code is 1."""
    change(database(filled.config), "DELETE FROM deliveries")
    ran = smsbridge("backup", tmp_path / "saved.db", "-c", filled.config, "--json")
    assert (ran.code, ran.document["ok"]) == (1, False)
    assert ran.document["failed"] == [
        "every event has all its deliveries",
        "every endpoint's numbers are there up to its last one",
    ]
    assert (tmp_path / "saved.db").exists()


def test_a_database_of_an_earlier_version_can_be_backed_up(
    smsbridge: Smsbridge, filled: Filled, tmp_path: Path
) -> None:
    """Before the daemon migrates it, this is what an upgrade begins with."""
    change(database(filled.config), "UPDATE smsbridge_revision SET version_num = '0003'")
    ran = smsbridge("backup", tmp_path / "saved.db", "-c", filled.config, "--json")
    assert (ran.code, ran.document["audited"]) == (0, False)


def test_a_restore_keeps_what_was_there(
    smsbridge: Smsbridge, filled: Filled, saved: Path, later: str
) -> None:
    """Only with --replace; the former database is whole under its new name."""
    path = database(filled.config)
    refused = smsbridge("restore", saved, "-c", filled.config)
    assert (refused.code, "--replace" in refused.err) == (2, True)
    assert later in messages(path)
    ran = smsbridge("restore", saved, "--replace", "-c", filled.config, "--json")
    assert (ran.code, ran.document["ok"], ran.document["audited"]) == (0, True, True)
    assert messages(path) == {filled.message_id}
    assert messages(Path(ran.document["kept"])) == {filled.message_id, later}
    assert path.stat().st_mode & 0o777 == 0o600
    assert smsbridge("audit", "-c", filled.config).code == 0
    assert messages(saved) == {filled.message_id}


def test_a_log_that_was_left_is_not_replayed_into_a_restored_database(
    smsbridge: Smsbridge, filled: Filled, saved: Path, tmp_path: Path
) -> None:
    """A killed daemon leaves its log: what a plain copy of the backup would be overwritten by."""
    path = database(filled.config)
    log = path.with_name("bridge.db-wal")
    with closing(sqlite3.connect(path)) as kept_open:
        kept_open.execute("SELECT 1 FROM messages").fetchone()
        store(filled.config, mail("2", "in the log"))
        shutil.copy(path, tmp_path / "db")
        shutil.copy(log, tmp_path / "wal")
    shutil.copy(tmp_path / "db", path)
    shutil.copy(tmp_path / "wal", log)
    ran = smsbridge("restore", saved, "--replace", "-c", filled.config, "--json")
    assert ran.code == 0, ran.err
    assert messages(path) == {filled.message_id}
    assert len(messages(Path(ran.document["kept"]))) == 2


def test_a_restore_into_an_empty_place(
    smsbridge: Smsbridge, filled: Filled, saved: Path, tmp_path: Path
) -> None:
    """On a new machine there is no database yet; an older schema is brought up."""
    as_of("0003", saved)
    (tmp_path / "new").mkdir()
    config = tmp_path / "new" / "config.toml"
    config.write_text(CONFIG)
    ran = smsbridge("restore", saved, "-c", config, "--json")
    assert (ran.code, ran.document["kept"]) == (0, None), ran.err
    assert messages(database(config)) == {filled.message_id}


def test_a_restore_under_a_running_daemon_is_refused(
    smsbridge: Smsbridge, filled: Filled, saved: Path, later: str
) -> None:
    """Whoever holds the lock is asked to be stopped first."""
    running = Database.open(load(filled.config).store, lock=True)
    try:
        ran = smsbridge("restore", saved, "--replace", "-c", filled.config)
    finally:
        running.close()
    assert (ran.code, "another smsbridge runs on it" in ran.err) == (2, True)
    assert later in messages(database(filled.config))


@pytest.mark.parametrize(
    "wrong", ["damaged", "foreign", "empty", "incomplete", "missing", "itself"]
)
def test_what_is_no_sound_backup_is_not_put_in_place(
    smsbridge: Smsbridge, filled: Filled, saved: Path, later: str, wrong: str
) -> None:
    """Each is refused with a sentence, and the database stays as it was."""
    match wrong:
        case "damaged":
            content = bytearray(saved.read_bytes())
            content[3 * 4096 : 30 * 4096] = b"\xff" * (27 * 4096)
            saved.write_bytes(content)
        case "foreign":
            saved.unlink()
            change(saved, "CREATE TABLE theirs (x)")
        case "empty":
            saved.write_bytes(b"")
        case "incomplete":
            change(saved, "DELETE FROM deliveries")
        case "missing":
            saved.unlink()
        case _:
            saved = database(filled.config)
    ran = smsbridge("restore", saved, "--replace", "-c", filled.config)
    assert ran.code == 2
    assert ran.err.startswith("smsbridge: ")
    assert ran.err.count("\n") == 1
    assert later in messages(database(filled.config))
    assert not list(database(filled.config).parent.glob(".*partial*"))


def test_postgres_has_its_own_tools(smsbridge: Smsbridge, config: Path, tmp_path: Path) -> None:
    """The command says so, without connecting."""
    config.write_text(CONFIG.replace("[store]", '[store]\nurl = "postgresql://u:pw@127.0.0.1/x"'))
    for each in ("backup", "restore"):
        ran = smsbridge(each, tmp_path / "x.db", "-c", config)
        assert (ran.code, "pg_dump" in ran.err, "pw" in ran.err) == (2, True, False)


def test_noted_damage_is_no_reason_to_refuse_a_backup(
    smsbridge: Smsbridge, filled: Filled, tmp_path: Path
) -> None:
    """Nobody could accept it before: the daemon's database may be gone. It stays noted."""
    change(
        database(filled.config),
        "INSERT INTO damage (kind, first, last, found_at) VALUES ('missing', 8, 9, 0)",
    )
    saved = tmp_path / "saved.db"
    assert smsbridge("backup", saved, "-c", filled.config).code == 1
    ran = smsbridge("restore", saved, "--replace", "-c", filled.config, "--json")
    assert (ran.code, ran.document["ok"], ran.document["failed"]) == (0, False, [NOTED])
    ran = smsbridge("damage", "list", "-c", filled.config)
    assert (ran.code, "the mails 8 to 9" in ran.out) == (1, True)
