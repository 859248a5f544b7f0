"""What Alembic runs: the revisions, inside the transaction that `bridge.store.schema` opened."""

from __future__ import annotations

from alembic import context

from bridge.store.migrations import VERSION_TABLE
from bridge.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite cannot alter a column in place
)
with context.begin_transaction():
    context.run_migrations()
