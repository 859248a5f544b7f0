"""Knows the tokens that open API and page, and when each was last used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from bridge import logs
from bridge.errors import StoreError
from bridge.model import Token
from bridge.store import Store, tokens

log = logs.logger("door")

_FRESH: Final = 1.0  # seconds; for so long a revoked token may still open
_NOTED: Final = 3600.0  # seconds between two notes of a token's use


class Admission:
    """The live tokens, read anew at most once a second, however many requests come.

    So a wrong token costs the store nothing, and a hash is looked up, never compared: what that
    takes says nothing of how much of a token is right.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._timer = timer
        self._live: Mapping[bytes, Token] = {}
        self._stale_at = 0.0
        self._reading = asyncio.Lock()
        self._note_at: dict[int, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def is_open(self) -> bool:
        """Whether there is a token; raises StoreError."""
        return bool(await self._fresh())

    async def find(self, given: str) -> Token | None:
        """Return the token that was given, and note its use; raises StoreError."""
        found = (await self._fresh()).get(tokens.hash_of(given))
        if found is not None:
            self._note(found)
        return found

    async def find_id(self, token_id: int) -> Token | None:
        """Return a live token by its id, as a session knows it; raises StoreError."""
        live = await self._fresh()
        found = next((each for each in live.values() if each.id == token_id), None)
        if found is not None:
            self._note(found)
        return found

    async def close(self) -> None:
        """Give up what is still to be noted."""
        for each in self._notes:
            each.cancel()
        if self._notes:
            await asyncio.wait(self._notes)

    async def _fresh(self) -> Mapping[bytes, Token]:
        async with self._reading:
            began = self._timer()
            if began >= self._stale_at:
                self._live = await self._store.read(tokens.live_tokens)
                self._stale_at = began + _FRESH
            return self._live

    def _note(self, token: Token) -> None:
        """Have the use written, which no request waits for: a disk that hangs closes nothing."""
        now = self._timer()
        if now < self._note_at.get(token.id, now):
            return
        self._note_at[token.id] = now + _NOTED
        task = asyncio.get_running_loop().create_task(self._write(token.id))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write(self, token_id: int) -> None:
        note = partial(tokens.note_use, token_id=token_id, now=self._clock())
        try:
            await self._store.change(note)
        except StoreError as error:
            log.warning("door.use_not_noted", detail=str(error))
