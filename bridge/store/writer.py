"""The one writer: a thread that commits everything that waits in one synced transaction.

The sync to disk is what a commit costs. Sharing it among all who wait turns 173 commits a second
on a disk that takes 5 ms into thousands of items a second.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from bridge import logs, metrics
from bridge.errors import BridgeError, StoreError, StoreUnavailable, StoreUnusable

log = logs.logger("store")

MAX_WAITING: Final = 10_000  # items; beyond it, new work is refused and the other side tries again
_MAX_BATCH: Final = 256  # items in one transaction
_MAX_BATCH_BYTES: Final = 16 * 1024**2  # raw bytes in one transaction, one item's more at most
_QUIET: Final = 4  # turns of the loop without more, after which a batch is handed over
_TURNS: Final = 16  # of the loop that a batch grows for at most
_PASSED_OVER: Final = 50  # batches, after which spare work is done before the next one

T = TypeVar("T")
_ROOM: Final = str(Path(__file__).parent)


class Work(Generic[T]):
    """Something to be committed, and what became of it.

    Whoever commits sets `result`: the value for the waiter, or the error that is this item's own
    and leaves the others of its batch alone.
    """

    __slots__ = ("future", "result")

    future: asyncio.Future[T]
    result: T | BridgeError

    @property
    def size(self) -> int:
        """How many bytes this adds to a transaction, roughly."""
        return 0

    @property
    def ordered(self) -> bool:
        """Whether it may touch deliveries that have an order within their conversation."""
        return False

    @property
    def spare(self) -> bool:
        """Whether it waits for all other work, and may be lost with the power: it is done again."""
        return False

    def fall_back(self, error: Exception) -> bool:
        """Turn into something else to commit after the database refused this; False: nothing."""
        return False


class Writer:
    """Takes work from one event loop, commits it in batches on a thread of its own.

    A transaction costs as much as five of its items, so what is submitted goes to the thread once
    a few turns of the loop in a row bring no more. One is not enough: a turn may bring nothing but
    the commands before the next mail. A lone item waits for microseconds.

    `commit` runs on that thread: it writes a batch in one transaction and sets every result. If it
    raises, nothing of the batch was committed. While the store is unavailable the whole batch
    fails; otherwise it is run again item by item, so that only the poisoned one fails or is
    replaced by what it falls back to. This is the only place that isolates poison.

    Spare work has a batch of its own once nothing else waits, or has been passed over often enough.
    """

    def __init__(self, commit: Callable[[Sequence[Work[Any]]], None], name: str) -> None:
        self._commit = commit
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Work[Any] | None] = SimpleQueue()
        self._gathered: list[Work[Any]] = []
        self._closed = False
        self._spare: deque[Work[Any]] = deque()  # the thread's own
        self._passed_over = 0
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Work[T]) -> T:
        """Wait until the work is committed and synced; return its result or raise its error.

        A waiter that is cancelled cancels nothing: what was submitted is committed all the same.
        Raises StoreUnavailable if too many wait already, or after `close`.
        """
        if self._closed:
            raise StoreUnavailable(f"{self._name} is closed")
        if self._queue.qsize() + len(self._gathered) >= MAX_WAITING:
            raise StoreUnavailable(f"{self._name}: {MAX_WAITING} commits wait already; try later")
        work.future = self._loop.create_future()
        self._gathered.append(work)
        if len(self._gathered) == 1:
            self._loop.call_soon(self._gather, 0, 0, _TURNS)
        return await work.future

    def _gather(self, before: int, quiet: int, turns: int) -> None:
        """Hand over what was gathered, unless one of the loop's last turns brought more."""
        quiet = 0 if len(self._gathered) > before else quiet + 1
        if turns and quiet < _QUIET:
            self._loop.call_soon(self._gather, len(self._gathered), quiet, turns - 1)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        for work in self._gathered:
            self._queue.put(work)
        self._gathered.clear()

    async def close(self) -> None:
        """Commit what waits, take nothing more, end the thread."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                self._settle(batch)
                self._hand_back(batch)
            if last:
                return
            # Else this thread would hold a big batch's bytes until the next one comes.
            del batch

    def _next_batch(self) -> tuple[list[Work[Any]], bool]:
        """Wait for work, then take all that waits, within bounds; and whether to end."""
        batch: list[Work[Any]] = []
        size = 0
        while len(batch) < _MAX_BATCH and size < _MAX_BATCH_BYTES:
            if self._spare and self._passed_over >= _PASSED_OVER and not batch:
                break
            try:
                work = self._queue.get(block=not batch and not self._spare)
            except Empty:
                break
            if work is None:
                return [*batch, *self._spare], True
            if work.spare:
                self._spare.append(work)
            else:
                batch.append(work)
                size += work.size
        if batch:
            self._passed_over += 1
            return batch, False
        self._passed_over = 0
        return [self._spare.popleft()], False

    def _settle(self, batch: Sequence[Work[Any]]) -> None:
        """Commit the batch; after this every item has a result."""
        began = time.perf_counter()
        try:
            self._commit(batch)
        except (StoreUnavailable, StoreUnusable) as error:
            # Damage that shows up at run time is for the other side the same as any outage.
            kind = type(error) if isinstance(error, StoreUnavailable) else StoreUnavailable
            for work in batch:
                work.result = kind(str(error))
        except Exception as error:  # noqa: BLE001 - the writer must outlive any row
            if len(batch) > 1:
                log.warning("store.batch_split", items=len(batch), error=type(error).__name__)
                for work in batch:
                    self._settle([work])
            elif batch[0].fall_back(error):
                log.error("store.message_refused", where=_where(error))
                self._settle(batch)
            elif isinstance(error, BridgeError) and not isinstance(error, StoreError):
                batch[0].result = error  # a change that refuses itself: NotFound, NotPossible
            else:
                batch[0].result = _refusal(self._name, error)
                log.error("store.refused", error=str(batch[0].result), where=_where(error))
        else:
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)
            metrics.COMMIT_BATCH.observe(len(batch))

    def _hand_back(self, batch: Sequence[Work[Any]]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, batch)
        except RuntimeError:
            # The loop is closed: nobody waits any more, and what was committed stays so.
            return


def _resolve(batch: Sequence[Work[Any]]) -> None:
    for work in batch:
        if work.future.done():
            continue  # cancelled
        if isinstance(work.result, BridgeError):
            work.future.set_exception(work.result)
        else:
            work.future.set_result(work.result)


def _where(error: Exception) -> str:
    """Name the place where an exception was raised; its text may quote a row and is not logged."""
    cause = error.__context__ or error  # a driver's error was translated on its way
    frames = traceback.extract_tb(cause.__traceback__)
    ours = [frame for frame in frames if _ROOM in frame.filename] or frames
    return f"{ours[-1].filename}:{ours[-1].lineno} {type(cause).__name__}" if ours else ""


def _refusal(name: str, error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    # Its text may quote the row.
    return StoreError(f"{name}: this cannot be written ({type(error).__name__})")
