from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bridge import metrics
from bridge.errors import NotFound, StoreError, StoreUnavailable
from bridge.model import ArrivalOutcome
from bridge.store import writer
from bridge.store.writer import Work, Writer
from tests.patience import PATIENCE
from tests.store.making import audited, many, opened, sms, sqlite_settings


class Number(Work[int]):
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Spare(Number):
    __slots__ = ()

    @property
    def spare(self) -> bool:
        return True


class Ledger:
    """Commits numbers when it is let; 13 cannot be written."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[int]] = []

    def commit(self, works: Sequence[Work[Any]]) -> None:
        self.entered.set()
        self.open.wait(10)
        numbers = [work.number for work in works]
        self.batches.append(numbers)
        if 13 in numbers:
            raise ValueError("13 is poison")
        for work in works:
            work.result = work.number * 2


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


async def stalled(ledger: Ledger) -> tuple[Writer, asyncio.Task[int]]:
    """Start a writer and give it one piece of work that it is stuck in."""
    made = Writer(ledger.commit, "the ledger")
    first = asyncio.create_task(made.submit(Number(0)))
    await asyncio.to_thread(ledger.entered.wait, 10)
    return made, first


async def test_what_waits_is_committed_together(ledger: Ledger) -> None:
    """Work that comes in during a commit shares the next one, up to the bound of a batch."""
    made, first = await stalled(ledger)
    rest = [asyncio.create_task(made.submit(Number(n))) for n in range(100, 500)]
    await asyncio.sleep(0)
    ledger.open.set()
    assert await asyncio.gather(first, *rest) == [0, *(n * 2 for n in range(100, 500))]
    assert [len(batch) for batch in ledger.batches] == [1, 256, 144]
    await made.close()


@pytest.mark.parametrize("turns", [1, 3])
async def test_what_comes_turn_after_turn_is_committed_together(ledger: Ledger, turns: int) -> None:
    """A transaction is not begun for the first item while the loop brings more, with few gaps."""
    ledger.open.set()
    made = Writer(ledger.commit, "the ledger")
    submitted = []
    for number in range(5):
        submitted.append(asyncio.create_task(made.submit(Number(number))))
        for _ in range(turns):
            await asyncio.sleep(0)
        time.sleep(0.01)  # the writer's thread would begin with what it has
    assert await asyncio.gather(*submitted) == [0, 2, 4, 6, 8]
    assert ledger.batches == [[0, 1, 2, 3, 4]]
    await made.close()


async def test_what_comes_without_end_delays_no_commit(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much the loop brings, what waits is handed over after some turns."""
    monkeypatch.setattr(writer, "MAX_WAITING", 10**9)
    ledger.open.set()
    made = Writer(ledger.commit, "the ledger")
    submitted = []
    async with asyncio.timeout(PATIENCE):
        while not ledger.entered.is_set():
            submitted.append(asyncio.create_task(made.submit(Number(100))))
            await asyncio.sleep(0)
    assert set(await asyncio.gather(*submitted)) == {200}
    await made.close()


async def test_batch_with_a_poisoned_item_runs_again_one_by_one(ledger: Ledger) -> None:
    """Only the poisoned item's waiter gets an error, and its text stays out of it."""
    made, first = await stalled(ledger)
    rest = [asyncio.create_task(made.submit(Number(n))) for n in (12, 13, 14)]
    await asyncio.sleep(0)
    ledger.open.set()
    twelve, thirteen, fourteen = await asyncio.gather(*rest, return_exceptions=True)
    assert (await first, twelve, fourteen) == (0, 24, 28)
    assert type(thirteen) is StoreError
    assert "poison" not in str(thirteen)
    assert ledger.batches == [[0], [12, 13, 14], [12], [13], [14]]
    await made.close()


async def test_cancelled_waiter_cancels_no_commit(ledger: Ledger) -> None:
    """A client that hangs up does not stop what it asked for, nor its neighbours."""
    made, first = await stalled(ledger)
    gone = asyncio.create_task(made.submit(Number(1)))
    stays = asyncio.create_task(made.submit(Number(2)))
    await asyncio.sleep(0)
    gone.cancel()
    ledger.open.set()
    assert await stays == 4
    assert await first == 0
    assert gone.cancelled()
    assert [1, 2] in ledger.batches
    await made.close()


async def test_too_many_waiting_are_told_to_try_later(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the bound nothing more is queued, and what is queued is still committed."""
    monkeypatch.setattr(writer, "MAX_WAITING", 3)
    made, first = await stalled(ledger)
    queued = [asyncio.create_task(made.submit(Number(n))) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="3 commits wait already"):
        await made.submit(Number(9))
    ledger.open.set()
    assert await asyncio.gather(first, *queued) == [0, 0, 2, 4]
    await made.close()


async def test_close_commits_what_waits_and_takes_nothing_more(ledger: Ledger) -> None:
    """Nothing that was submitted before the end is forgotten."""
    made, first = await stalled(ledger)
    queued = asyncio.create_task(made.submit(Number(1)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(made.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await made.submit(Number(2))
    ledger.open.set()
    await closing
    assert await asyncio.gather(first, queued) == [0, 2]


async def test_spare_work_waits_for_all_other(ledger: Ledger) -> None:
    """It goes alone, when nothing else waits, so that nobody's commit is longer by it."""
    made, first = await stalled(ledger)
    waiting = [asyncio.create_task(made.submit(each)) for each in (Spare(1), Number(2), Spare(3))]
    await asyncio.sleep(0)
    ledger.open.set()
    assert await asyncio.gather(first, *waiting) == [0, 2, 4, 6]
    assert ledger.batches == [[0], [2], [1], [3]]
    await made.close()


async def test_spare_work_is_done_under_any_load(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was passed over often enough it goes first, or it would wait for ever."""
    monkeypatch.setattr(writer, "_MAX_BATCH", 1)
    monkeypatch.setattr(writer, "_PASSED_OVER", 3)
    made, first = await stalled(ledger)
    works = [Spare(1), *(Number(number) for number in range(2, 9)), Spare(9)]
    waiting = [asyncio.create_task(made.submit(each)) for each in works]
    await asyncio.sleep(0)
    ledger.open.set()
    await asyncio.gather(first, *waiting)
    assert ledger.batches == [[0], [2], [3], [1], [4], [5], [6], [7], [8], [9]]
    await made.close()


async def test_spare_work_is_committed_at_the_end(ledger: Ledger) -> None:
    """Nothing that was submitted before the end is forgotten, however little it matters."""
    made, first = await stalled(ledger)
    waiting = [asyncio.create_task(made.submit(each)) for each in (Spare(1), Number(2), Spare(3))]
    await asyncio.sleep(0)
    closing = asyncio.create_task(made.close())
    await asyncio.sleep(0)
    ledger.open.set()
    await closing
    assert await asyncio.gather(first, *waiting) == [0, 2, 4, 6]


@pytest.mark.parametrize("fails", [False, True])
async def test_only_spare_changes_are_not_synced(settings, fails: bool) -> None:
    """Whatever is committed after one is, also if that one fails."""

    def level(connection: Connection) -> str:
        asked = "PRAGMA synchronous" if settings.url.startswith("sqlite") else _COMMITS
        return str(connection.execute(text(asked)).scalar_one())

    def refuse(connection: Connection) -> None:
        seen.append(level(connection))
        raise NotFound("nothing is here")

    seen: list[str] = []
    async with opened(settings) as store:
        for _ in range(2):
            if fails:
                with pytest.raises(NotFound):
                    await store.change(refuse, spare=True)
            else:
                seen.append(await store.change(level, spare=True))
            seen.append(await store.change(level))
    assert seen in (["1", "2"] * 2, ["off", "on"] * 2)


_COMMITS = "SHOW synchronous_commit"


async def test_commits_are_measured(tmp_path) -> None:
    """Each committed transaction counts its time and its items."""
    async with opened(sqlite_settings(tmp_path / "bridge.db")) as store:
        before = metrics.REGISTRY.get_sample_value("smsbridge_commit_batch_sum")
        commits = metrics.REGISTRY.get_sample_value("smsbridge_commit_seconds_count")
        await asyncio.gather(*(store.ingest(item) for item in many(7)))
        after = metrics.REGISTRY.get_sample_value("smsbridge_commit_batch_sum")
        assert after - before == 7
        assert metrics.REGISTRY.get_sample_value("smsbridge_commit_seconds_count") > commits


async def test_cancelled_ingest_is_committed_all_the_same(settings) -> None:
    """The sender that hung up sends again, and that is a duplicate of what was stored."""
    async with opened(settings) as store:
        task = asyncio.create_task(store.ingest(sms()))
        await asyncio.sleep(0)
        task.cancel()
        receipt = await store.ingest(sms())
    assert receipt.outcome is ArrivalOutcome.DUPLICATE
    assert audited(settings).totals["arrivals"] == 2


async def test_closed_store_is_unavailable(settings) -> None:
    """After close nothing is taken and nothing is read."""
    async with opened(settings) as store:
        pass
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.ingest(sms())
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.next_due("crm")
