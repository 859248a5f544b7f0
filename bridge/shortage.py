"""Shortages of file descriptors, threads and memory: no bugs, counted, with a sentence each."""

from __future__ import annotations

import errno
import time
from enum import StrEnum
from typing import Final

from bridge import metrics

_RECENT: Final = 60.0  # seconds for which a shortage counts as going on


class Resource(StrEnum):
    """What can run out; also the label of a metric."""

    DESCRIPTORS = "descriptors"
    MEMORY = "memory"
    THREADS = "threads"


_SENTENCES: Final = {
    Resource.DESCRIPTORS: "out of file descriptors: raise LimitNOFILE= in the unit (ulimit -n), "
    "or lower max_connections",
    Resource.MEMORY: "out of memory: raise MemoryMax= in the unit, or lower max_message",
    Resource.THREADS: "no thread can be started: raise TasksMax= in the unit (ulimit -u)",
}
_ERRNOS: Final = {
    errno.EMFILE: Resource.DESCRIPTORS,
    errno.ENFILE: Resource.DESCRIPTORS,
    errno.ENOMEM: Resource.MEMORY,
}
_NO_THREAD: Final = "can't start new thread"  # CPython has no class of its own for it

_last: dict[Resource, float] = {}


def resource_of(error: BaseException) -> Resource | None:
    """Return what an error says has run out; None if it says something else."""
    if isinstance(error, MemoryError):
        return Resource.MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        return _ERRNOS.get(error.errno)
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return Resource.THREADS
    return None


def noted(error: BaseException) -> str | None:
    """Count a shortage, and return the sentence for the operator; None if it is none."""
    resource = resource_of(error)
    if resource is None:
        return None
    metrics.SHORTAGES.labels(resource).inc()
    _last[resource] = time.monotonic()
    return _SENTENCES[resource]


def problem() -> str | None:
    """Describe what has run out within the last minute; None if nothing has."""
    since = time.monotonic() - _RECENT
    lately = [_SENTENCES[each] for each, at in sorted(_last.items()) if at > since]
    return "; ".join(lately) or None
