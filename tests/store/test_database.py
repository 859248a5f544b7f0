from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text

import bridge.store.migrations as shipped
from bridge.config.settings import StoreSettings
from bridge.errors import StoreUnavailable, StoreUnusable
from bridge.store import Database, schema
from bridge.store.migrations import HEAD, VERSION_TABLE
from bridge.store.tables import heartbeat, limit_indexes, metadata
from tests.patience import PATIENCE
from tests.store.making import Clock, arrival, audited, many, opened, sms, sqlite_settings


def make(settings: StoreSettings) -> None:
    Database.open(settings, migrate=True).close()


@contextmanager
def migrated(settings: StoreSettings) -> Iterator[Connection]:
    """Give a connection to an empty database on which every revision was run, and undo it."""
    with closing(Database.open(settings, migrate=True)) as database:
        with database.begin() as connection:
            metadata.drop_all(connection)
            connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
        with database.begin() as connection:
            schema.migrate(connection)
            yield connection


def options(index: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in index.get("dialect_options", {}).items()} | {
        "dialect_options": ""
    }


def described(connection: Connection) -> object:
    """Tell all that the database knows of its tables."""
    found = inspect(connection)
    return {
        table: {
            "columns": sorted(repr(each) for each in found.get_columns(table)),  # in any order
            "indexes": sorted(
                repr({name: str(value) for name, value in index.items()} | options(index))
                for index in found.get_indexes(table)
            ),
            "keys": [
                repr(found.get_pk_constraint(table)["constrained_columns"]),
                *sorted(map(repr, found.get_foreign_keys(table))),
                *sorted(map(repr, found.get_unique_constraints(table))),
            ],
            "checks": sorted(map(repr, found.get_check_constraints(table))),
        }
        for table in found.get_table_names()
    } | {"heartbeat rows": connection.execute(select(heartbeat)).all()}


def run_statement(settings: StoreSettings, statement: str) -> None:
    with closing(Database.open(settings)) as database, database.begin() as connection:
        connection.execute(text(statement))


def test_migrated_schema_is_what_the_tables_say(settings: StoreSettings) -> None:
    """Alembic finds no difference between a migrated database and tables.py, indexes included."""
    with migrated(settings) as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_server_default": True}
        )
        limit_indexes(metadata, connection)
        assert compare_metadata(context, metadata) == []


def test_created_schema_is_the_migrated_one(settings: StoreSettings) -> None:
    """A database that was made at once is, to the last index, what the revisions make."""
    make(settings)
    with closing(Database.open(settings)) as database, database.read() as connection:
        created = described(connection)
    with migrated(settings) as connection:
        assert described(connection) == created


def test_head_is_the_newest_revision() -> None:
    """The constant that spares us Alembic's import is the script folder's head."""
    scripts = ScriptDirectory(str(Path(shipped.__file__).parent))
    assert scripts.get_heads() == [HEAD]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.processes
def test_database_is_opened_without_alembic(settings: StoreSettings, there: bool) -> None:
    """A daemon whose database is new or up to date never pays for Alembic's memory."""
    if there:
        make(settings)
    done = python(OPEN + "assert 'alembic' not in sys.modules", settings)
    _, errors = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0, errors


OPEN = """
import sys
from bridge.config.settings import StoreSettings
from bridge.store import Database, schema
Database.open(StoreSettings(url=sys.argv[1], min_free=0), migrate=True).close()
"""


STARTED = """
import sys, alembic.command, alembic.config, sqlalchemy
from bridge.store import Database, Store
if sys.argv[1].startswith("postgres"):
    import psycopg, sqlalchemy.dialects.postgresql
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
"""


def python(code: str, settings: StoreSettings) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, settings.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.processes
def test_processes_that_start_at_once_migrate_once(settings: StoreSettings) -> None:
    """Of several starts on an empty database one migrates, and all find it current."""
    running = [python(STARTED + OPEN, settings) for _ in range(4)]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=PATIENCE)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 4, errors
    with closing(Database.open(settings)) as database, database.read() as connection:
        beats = connection.execute(text("SELECT count(*) FROM heartbeat")).scalar_one()
    assert beats == 1


def test_sqlite_is_durable_and_private(tmp_path: Path) -> None:
    """WAL, a sync at every commit, foreign keys, and a file that nobody else can read."""
    settings = sqlite_settings(tmp_path / "bridge.db", busy_timeout=1.5)
    with closing(Database.open(settings, migrate=True)) as database:
        with database.begin() as connection:
            found = [
                connection.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert found == ["wal", 2, 1, 1500]
    assert modes == {0o600}


def test_postgres_syncs_even_where_the_server_would_not(postgres) -> None:
    """A database whose default is synchronous_commit = off is written with on."""
    settings = StoreSettings(url=postgres.create_database())
    name = settings.url.rsplit("/", 1)[1]
    postgres.execute("postgres", f"ALTER DATABASE {name} SET synchronous_commit TO off")
    with closing(Database.open(settings, migrate=True)) as database, database.begin() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "30s"


def test_newer_database_is_refused(settings: StoreSettings) -> None:
    """A revision that this program does not know stops the start, with what to do."""
    make(settings)
    run_statement(settings, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreUnusable, match=r"newer smsbridge \(revision 9999.*install"):
        make(settings)


def test_foreign_database_is_refused(settings: StoreSettings, postgres) -> None:
    """A database with another program's tables is not touched."""
    if settings.url.startswith("sqlite"):
        with closing(sqlite3.connect(settings.url.removeprefix("sqlite:///"))) as connection:
            connection.execute("CREATE TABLE users (id)")
    else:
        postgres.execute(settings.url.rsplit("/", 1)[1], "CREATE TABLE users (id int)")
    with pytest.raises(StoreUnusable, match="another program"):
        make(settings)


def test_database_that_is_not_there_yet_is_not_made_by_a_reader(settings: StoreSettings) -> None:
    """The CLI makes no database; it says who does."""
    with pytest.raises(StoreUnusable, match="smsbridge run"):
        Database.open(settings)


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, but it is long enough to be one" * 100)


def short_garbage(path: Path) -> None:
    path.write_bytes(b"x")


def truncated(path: Path) -> None:
    make(sqlite_settings(path))
    path.write_bytes(path.read_bytes()[:20_000])


def scribbled(path: Path) -> None:
    make(sqlite_settings(path))
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 4] = b"\xa5" * (4096 * 3)
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [garbage, short_garbage, truncated, scribbled])
def test_damaged_file_is_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A file that is damaged or no database stops the start with a sentence that names it."""
    path = tmp_path / "bridge.db"
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match=r"bridge\.db"):
        make(sqlite_settings(path))
    assert path.read_bytes() == before


def test_large_file_is_checked_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound the last rows are read instead of everything."""
    monkeypatch.setattr("bridge.store.sqlite._FULL_CHECK", 0)
    make(sqlite_settings(tmp_path / "bridge.db"))
    scribbled(tmp_path / "other.db")
    with pytest.raises(StoreUnusable, match="damaged"):
        make(sqlite_settings(tmp_path / "other.db"))


def test_unusable_places_are_named(tmp_path: Path) -> None:
    """A missing folder, a folder in the file's place, an option: each gets its sentence."""
    for path, sentence in (
        (tmp_path / "missing" / "bridge.db", "the folder .*missing does not exist"),
        (tmp_path, "no regular file"),
    ):
        with pytest.raises(StoreUnusable, match=sentence):
            make(sqlite_settings(path))
    with pytest.raises(StoreUnusable, match="must name a file"):
        make(StoreSettings(url=f"sqlite:///{tmp_path}/bridge.db?mode=ro"))


def test_read_only_file_is_refused_at_the_start(tmp_path: Path) -> None:
    """A file that is not to be written stops the start."""
    path = tmp_path / "bridge.db"
    make(sqlite_settings(path))
    path.chmod(0o400)
    with pytest.raises(StoreUnusable, match="permissions"):
        make(sqlite_settings(path))


def test_url_that_cannot_be_read_is_not_repeated() -> None:
    """The password in a malformed URL does not get into the error."""
    with pytest.raises(StoreUnusable) as caught:
        make(StoreSettings(url="postgresql://user:hunter2@host:port/db"))
    assert "hunter2" not in str(caught.value)


def test_server_that_is_away_is_unavailable() -> None:
    """No answer from PostgreSQL is an outage, told without the password."""
    url = "postgresql://user:hunter2@127.0.0.1:1/db"
    with pytest.raises(StoreUnavailable, match=r"db at 127\.0\.0\.1:1") as caught:
        make(StoreSettings(url=url))
    assert "hunter2" not in str(caught.value)


async def test_second_daemon_on_one_file_is_refused(tmp_path: Path) -> None:
    """Two daemons never share an SQLite file; the CLI may read beside one."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    async with opened(settings):
        with pytest.raises(StoreUnusable, match="another smsbridge runs on it"):
            async with opened(settings):
                pass
        assert audited(settings).ok
    async with opened(settings):
        pass


async def test_second_daemon_by_another_name_of_the_file_is_refused(tmp_path: Path) -> None:
    """A link to the file leads to the same lock."""
    async with opened(sqlite_settings(tmp_path / "bridge.db")):
        (tmp_path / "link.db").symlink_to(tmp_path / "bridge.db")
        with pytest.raises(StoreUnusable, match="another smsbridge runs on it"):
            async with opened(sqlite_settings(tmp_path / "link.db")):
                pass


async def test_reader_sees_one_snapshot(settings: StoreSettings) -> None:
    """All of a reader's statements see the same moment, beside a writer that goes on."""
    async with opened(settings, clock=Clock()) as store:
        await store.ingest(sms())
        count = text("SELECT count(*) FROM arrivals")
        with closing(Database.open(settings)) as database, database.read() as connection:
            before = connection.execute(count).scalar_one()
            for item in many(3):
                await store.ingest(item)
            assert connection.execute(count).scalar_one() == before == 1


def test_arrivals_of_the_suite_are_private() -> None:
    """Raw bytes do not show in what is printed of a row."""
    from bridge.store.queries import ArrivalDetail

    shown = repr(ArrivalDetail(row=None, raw=arrival().raw))
    assert "News" not in shown
