"""Stands in for the store where parts are built for `check`, and never run."""

from __future__ import annotations

from typing import Final

from bridge.model import Arrival, Cursor, Receipt


class NoStore:
    """The store and the intake of parts that never run."""

    async def accept(self, arrival: Arrival) -> Receipt:
        """Accept nothing."""
        raise AssertionError

    async def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        """Have no cursor."""
        raise AssertionError

    async def horizon(self, mailbox: str, folder: str) -> int | None:
        """Have no horizon."""
        raise AssertionError

    async def advance(
        self, mailbox: str, folder: str, cursor: Cursor, *, horizon: int | None = None
    ) -> None:
        """Advance nothing."""
        raise AssertionError

    async def lead(self, mailbox: str, folder: str) -> bool:
        """Lead nothing."""
        raise AssertionError

    async def refresh(self) -> None:
        """Refresh nothing."""
        raise AssertionError


NO_STORE: Final = NoStore()
