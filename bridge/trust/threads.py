"""The threads that verify signatures: their own, so that decoding costly mails can't occupy them.

In shared threads, four mails that are slow to decode made honest signed mails miss the deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

_T = TypeVar("_T")

_SMALL: Final = 2  # threads; a signature and a body of an SMS take a millisecond
_LARGE: Final = 1  # large bodies one at a time: in parallel they would all miss the deadline


class EvidenceThreads:
    """Two pools of threads, for small and for large mails; started when first used."""

    def __init__(self) -> None:
        self._pools: dict[bool, ThreadPoolExecutor] = {}

    async def run(self, work: Callable[[], _T], *, is_large: bool) -> _T:
        """Run `work` in a thread."""
        pool = self._pools.get(is_large)
        if pool is None:
            name, most = ("evidence-large", _LARGE) if is_large else ("evidence", _SMALL)
            pool = self._pools[is_large] = ThreadPoolExecutor(most, name)
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def close(self) -> None:
        """End the threads; work that hasn't begun is dropped."""
        while self._pools:
            self._pools.popitem()[1].shutdown(wait=False, cancel_futures=True)
