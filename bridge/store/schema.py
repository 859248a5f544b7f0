"""Is this database ours, and as new as this program? And if it is older: bring it up."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from importlib.resources import as_file, files
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    String,
    Table,
    Text,
    column,
    insert,
    inspect,
    select,
    table,
)

from bridge.errors import StoreUnusable
from bridge.store import counting, postgres
from bridge.store.access_tables import metadata
from bridge.store.migrations import HEAD, VERSION_TABLE
from bridge.store.tables import heartbeat

_NEVER: Final = datetime.fromtimestamp(0, UTC)
_OURS: Final = {"arrivals", "deliveries"}


class Schema(Enum):
    """How a database stands to this program."""

    EMPTY = "empty"
    OLDER = "older"
    CURRENT = "current"


def look(connection: Connection, name: str) -> Schema:
    """Return the state of the schema; raise StoreUnusable if it is newer or not ours."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return Schema.EMPTY
    if VERSION_TABLE not in tables:
        raise StoreUnusable(
            f"{name} holds tables of another program; give smsbridge a database of its own"
        )
    version = select(column("version_num", Text)).select_from(table(VERSION_TABLE))
    revision = connection.execute(version).scalar_one_or_none()
    if revision == HEAD:
        if not tables >= _OURS:
            raise StoreUnusable(f"{name} lacks tables that it should have; restore a backup")
        return Schema.CURRENT
    if revision is None or revision not in _known_revisions():
        raise StoreUnusable(
            f"{name} was written by a newer smsbridge (revision {revision}, this one knows "
            f"{HEAD}); install that version, or restore the backup from before the upgrade"
        )
    return Schema.OLDER


def bring_up(connection: Connection, name: str) -> None:
    """Bring the database up to HEAD within the given write transaction.

    Of two processes that start at once the second waits, looks again and finds nothing to do.
    """
    postgres.lock_migration(connection)
    match look(connection, name):
        case Schema.EMPTY:
            _create(connection)
        case Schema.OLDER:
            migrate(connection)
        case Schema.CURRENT:
            return


def _create(connection: Connection) -> None:
    """Make all tables at once and note the revision: the first start needs no Alembic either.

    A test holds what this makes equal to what the revisions make.
    """
    metadata.create_all(connection)
    counting.install(connection)
    stamp = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))
    stamp.create(connection)
    connection.execute(insert(stamp).values(version_num=HEAD))
    connection.execute(insert(heartbeat).values(id=1, owner="", beat_at=_NEVER))


def migrate(connection: Connection) -> None:
    """Run the revisions that are missing, all of them on an empty database."""
    from alembic import command
    from alembic.config import Config

    postgres.take_time(connection)
    with as_file(files("bridge.store") / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    counting.install(connection)


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    with as_file(files("bridge.store") / "migrations") as folder:
        return {each.revision for each in ScriptDirectory(str(folder)).walk_revisions()}
