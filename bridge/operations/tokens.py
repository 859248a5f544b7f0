"""Makes, lists and revokes the tokens that open API and page."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from bridge.errors import NotPossible
from bridge.model import Scope
from bridge.operations.acts import logged
from bridge.operations.documents import Document, when
from bridge.store import Store, tokens
from bridge.store.acts import Act

# In front of each, so that a scanner for lost secrets can know them.
PREFIX: Final = "smsb_"
_BYTES: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.@-]{0,62}")


async def create_token(
    store: Store, clock: Callable[[], datetime], name: str, scope: Scope, who: str
) -> Document:
    """Make a token: {"name", "scope", "token"}, which nobody can be shown again.

    `who` makes it. Raises NotPossible if the name is in use, or is none.
    """
    if not _NAME.fullmatch(name):
        raise NotPossible(
            f"{name!r} is no name: lower-case letters, digits and . _ @ -, at most 63 of them"
        )
    token = PREFIX + secrets.token_urlsafe(_BYTES)
    add = partial(tokens.add_token, name=name, scope=scope, token=token, now=clock())
    act = Act(who, "command", "token create", f"{name} ({scope})")
    await logged(store, clock, act, lambda: store.change(add))
    return {"name": name, "scope": scope.value, "token": token}


async def list_tokens(store: Store) -> list[Document]:
    """List all tokens, newest first: [{"name", "scope", "created_at", "used_at", "revoked_at"}].

    "used_at" is right to the hour.
    """
    return [
        {
            "name": each.name,
            "scope": each.scope.value,
            "created_at": when(each.created_at),
            "used_at": when(each.used_at),
            "revoked_at": when(each.revoked_at),
        }
        for each in await store.read(tokens.list_tokens)
    ]


async def revoke_token(
    store: Store, clock: Callable[[], datetime], name: str, who: str
) -> Document:
    """Revoke a token, and end its sessions, within a second: {"revoked"}; raises NotFound."""
    revoke = partial(tokens.revoke_token, name=name, now=clock())
    act = Act(who, "command", "token revoke", name)
    await logged(store, clock, act, lambda: store.change(revoke))
    return {"revoked": name}
