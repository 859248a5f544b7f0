"""Erases what the store has of a phone number, when its owner asks for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from re import Pattern
from typing import Final, TypeVar

from bridge import mail, numbers
from bridge.errors import NotPossible
from bridge.model import Unreadable
from bridge.operations.documents import Document
from bridge.store import Store, erase
from bridge.store.erase import RawBytes

BECAUSE: Final = "erased at the request of a number's owner"
_AT_ONCE: Final = 50
_ENCODED: Final = re.compile(rb"(?i)transfer-encoding:\s*(?:base64|quoted-printable)")
_READ: Final = 20  # arrivals of up to 25 MB each in memory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Found:
    """The ids of everything that belongs to a number."""

    messages: Sequence[str]
    undelivered: int
    arrivals: Sequence[int]  # that hold it, whosever message they brought
    quarantined: int  # of those
    waiting: int  # of those: of messages that an endpoint has yet to get
    answers: Sequence[int]
    mentioned: int
    number: str = field(repr=False)

    def document(self) -> Document:
        """Count it."""
        return {
            "messages": len(self.messages),
            "undelivered": self.undelivered,
            "arrivals": len(self.arrivals),
            "quarantined": self.quarantined,
            "waiting": self.waiting,
            "answers": len(self.answers),
            "mentioned": self.mentioned,
        }


async def preview(store: Store, number: str) -> Document:
    """Count what `purge` would erase.

    {"messages", "undelivered": of those, "arrivals": raw mails that contain the number,
    "quarantined": of those, "waiting": of those, for messages, also of others, that an endpoint
    has yet to get, "answers": of endpoints, "mentioned": messages from and to others
    whose text contains it}. Reads all raw mails. Raises NotPossible if it is no number in E.164.
    """
    return (await _find(store, number)).document()


async def purge(
    store: Store,
    number: str,
    clock: Callable[[], datetime],
    *,
    even_undelivered: bool = False,
) -> Document:
    """Erase a number's messages and raw mails, then rewrite the files; return what `preview` does.

    "messages" and "arrivals" are those that were erased, "undelivered" and "waiting" those that
    were left because an endpoint has yet to get them: they go if this is called once more when it
    has. With `even_undelivered` only those with an attempt in flight are left. Texts of others
    that mention the number stay. May be interrupted and called again. Raises NotPossible,
    StoreUnavailable, StoreFull.
    """
    found = await _find(store, number)
    erased = 0
    for ids in _parts(found.messages):
        erased += await store.change(
            partial(erase.erase_messages, ids=ids, now=clock(), even_undelivered=even_undelivered)
        )
    for raw in _parts(found.arrivals):
        await store.change(partial(erase.erase_arrivals, ids=raw, because=BECAUSE, now=clock()))
    for answers in _parts(found.answers):
        await store.change(partial(erase.erase_answers, ids=answers))
    left = await store.read(partial(erase.find_messages, number=found.number))
    waiting = await _count(store, erase.count_left, found.arrivals)
    await store.rewrite()
    return found.document() | {
        "messages": erased,
        "undelivered": len(left),
        "arrivals": len(found.arrivals) - waiting,
        "waiting": waiting,
    }


async def _find(store: Store, number: str) -> _Found:
    wanted = numbers.normalise(number, None).value
    try:
        digits, pattern = numbers.national_digits(wanted), numbers.pattern_of(wanted)
    except ValueError:
        raise NotPossible("--number needs an international number, as in +393301234567") from None
    arrivals = await _matching(store, erase.read_raw, pattern)
    ids = [each for each, _ in arrivals]
    answers = await _matching(store, erase.read_answers, pattern)
    return _Found(
        messages=await store.read(partial(erase.find_messages, number=wanted)),
        undelivered=await store.read(partial(erase.count_undelivered, number=wanted)),
        arrivals=ids,
        quarantined=sum(quarantined for _, quarantined in arrivals),
        waiting=await _count(store, erase.count_waiting, ids),
        answers=[each for each, _ in answers],
        mentioned=await store.read(partial(erase.count_mentions, number=wanted, digits=digits)),
        number=wanted,
    )


async def _matching(
    store: Store,
    read: Callable[..., list[RawBytes]],
    pattern: Pattern[bytes],
) -> list[tuple[int, bool]]:
    found: list[tuple[int, bool]] = []
    after = 0
    while rows := await store.read(partial(read, after=after, most=_READ)):
        found += [(row.id, row.quarantined) for row in rows if _holds(row, pattern)]
        after = rows[-1].id
    return found


def _holds(row: RawBytes, pattern: Pattern[bytes]) -> bool:
    if pattern.search(row.raw):
        return True
    if not _ENCODED.search(row.raw):
        return False
    decoded = mail.decode(row.raw)
    return not isinstance(decoded, Unreadable) and bool(
        pattern.search(decoded.text.encode("utf-8", "replace"))
    )


async def _count(store: Store, count: Callable[..., int], ids: Sequence[int]) -> int:
    total = 0
    for some in _parts(ids):
        total += await store.read(partial(count, ids=some))
    return total


def _parts(ids: Sequence[T]) -> Iterable[Sequence[T]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
