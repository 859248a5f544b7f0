"""The revisions of the database's schema, made and run by Alembic.

`HEAD` is the newest one. It stands here so that a daemon whose database is up to date never
imports Alembic, which would cost memory for as long as it runs.
"""

from typing import Final

HEAD: Final = "0018"
VERSION_TABLE: Final = "smsbridge_revision"  # not Alembic's default: a database may be shared
