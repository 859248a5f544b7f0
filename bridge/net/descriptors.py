"""File descriptors: enough for every connection that is let in, and some kept for the store.

Without a descriptor left, a connection is reset without a word, and SQLite cannot open its files.
So no more connections are let in than there are descriptors for; the others get 421.
"""

from __future__ import annotations

import resource
from typing import Final

from bridge import logs
from bridge.config.settings import Settings
from bridge.net.limits import HTTP_LIMITS

log = logs.logger("net")

RESERVED: Final = 128  # for the store, look-ups, files, and connections that are turned away
_LEAST: Final = 4  # connections that are let in in any case
_FEW: Final = (
    "fewer connections are let in than max_connections says: raise LimitNOFILE= in the unit "
    "(ulimit -n) to what is wanted"
)


def provide(wanted: int) -> int:
    """Raise the soft limit to what is wanted, as far as the hard one allows.

    Return how many of the wanted descriptors there are.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return raised


def fitted(settings: Settings) -> Settings:
    """Return the settings with no more connections than there are file descriptors for.

    Raises the process's limit first, as far as the system lets it.
    """
    peers = {"smtp": settings.smtp.max_connections}
    if settings.posts.addresses:
        peers["posts"] = settings.posts.max_connections
    others = RESERVED + HTTP_LIMITS.connections + 2 * len(settings.imap)
    others += sum(each.concurrency or settings.delivery.concurrency for each in settings.endpoints)
    wanted = others + sum(peers.values())
    limit = provide(wanted)
    if limit >= wanted:
        return settings
    fair = {
        name: max(_LEAST, count * (limit - others) // (wanted - others))
        for name, count in peers.items()
    }
    log.warning("descriptors.few", limit=limit, wanted=wanted, max_connections=fair, detail=_FEW)
    return settings.model_copy(
        update={
            name: getattr(settings, name).model_copy(update={"max_connections": count})
            for name, count in fair.items()
        }
    )
