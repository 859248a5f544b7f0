"""Splits the mails to be fetched into windows bounded in number and bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from bridge.sources.imap.replies import Meta

WINDOW: Final = 100  # mails that are committed together: they share syncs to disk
WINDOW_BYTES: Final = 4 * 1024**2  # of mails in memory, exceeded by one mail at most
_LISTED: Final = 300  # mails whose sizes are asked for at once; also the longest set of UIDs


class Windows:
    """Iterates over windows of `wanted`; `sizes` is asked on demand, `accept` filters mails.

    Mails up to the UID `singly_up_to` get a window each.
    """

    def __init__(
        self,
        sizes: Callable[[Sequence[int]], Awaitable[dict[int, Meta]]],
        wanted: Sequence[int],
        accept: Callable[[int, Meta | None], bool],
        singly_up_to: int,
    ) -> None:
        self._sizes = sizes
        self._portions = portions(wanted)
        self._accept = accept
        self._singly_up_to = singly_up_to
        self._ready: list[tuple[int, Meta]] = []  # the next one last

    async def next(self) -> dict[int, Meta] | None:
        """Return the next window, None after the last."""
        while not self._ready:
            some = next(self._portions, None)
            if some is None:
                return None
            metas = await self._sizes(some)
            self._ready = [
                (uid, metas[uid])
                for uid in reversed(some)
                if self._accept(uid, metas.get(uid)) and uid in metas
            ]
        window: dict[int, Meta] = {}
        size = 0
        while self._ready and len(window) < WINDOW and size < WINDOW_BYTES:
            uid, meta = self._ready.pop()
            window[uid] = meta
            size += meta.size
            if uid <= self._singly_up_to:
                break
        return window


def portions(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Split UIDs into sets short enough for one command."""
    for start in range(0, len(uids), _LISTED):
        yield uids[start : start + _LISTED]
