"""The tables of who may do what by API and page, and of what they did.

With these, `metadata` is complete: whoever needs all tables takes it from here.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Index, Integer, LargeBinary, Table

from bridge.store.stream_tables import metadata
from bridge.store.tables import ROWS
from bridge.store.types import Instant, Key, SafeText

__all__ = ["acts", "answers", "metadata", "tokens"]

# What opens the API and the page. Revoked ones stay, so that the log's names mean something.
tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", SafeText, nullable=False),
    Column("scope", SafeText, nullable=False),  # read or operate
    # SHA-256 of the token, which has 256 random bits: nobody finds it by guessing, however fast
    # the hash is, and a slow one would cost each request as much as an attacker's guess.
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant),  # about: written once an hour at most
    Column("revoked_at", Instant),
    Index("tokens_hash", "hash", unique=True),
    Index("tokens_name", "name", unique=True, info={ROWS: "revoked_at IS NULL"}),
)

# What was done with them, the newest ones. An act is written before it is done; one without a
# result was cut off by the end of the process.
acts: Final = Table(
    "acts",
    metadata,
    Column("id", Key, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("who", SafeText, nullable=False),  # the token's name
    Column("way", SafeText, nullable=False),  # api, page or command
    Column("what", SafeText, nullable=False),  # the operation
    Column("target", SafeText, nullable=False),  # an id, a name or a filter, numbers masked
    Column("why", SafeText),  # the operator's words
    Column("result", SafeText),
)

# The answers to requests with an Idempotency-Key, for a day: the same request again gets the same
# answer. NULL while the first one is under way.
answers: Final = Table(
    "answers",
    metadata,
    Column("token_id", Key, primary_key=True, autoincrement=False),
    Column("key", SafeText, primary_key=True),
    Column("request", LargeBinary, nullable=False),  # its hash
    Column("at", Instant, nullable=False),
    Column("status", Integer),
    Column("body", LargeBinary),
    Index("answers_at", "at"),
)
