"""Who could get an SMS in, and what stands in the way; for `smsbridge trust show`.

The words come from the kinds of evidence and the warnings from `check`: this only puts them beside
the ways in that the config has.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from bridge import trust
from bridge.config.imap import ImapSettings
from bridge.config.settings import ProviderSettings, Settings
from bridge.errors import NotPossible
from bridge.model import SourceKind
from bridge.operations.documents import Document
from bridge.operations.plan import about_provider, is_open
from bridge.trust import KINDS, Kinds


def ways_in(settings: Settings) -> list[Document]:
    """List the sources of a config as {"source", "place", "who", "guards"}.

    `who` can put a mail there; what it says is then still without evidence.
    """
    return [*_listeners(settings), *map(_mailbox, settings.imap)]


def who_gets_in(
    settings: Settings, name: str | None = None, kinds: Kinds = KINDS
) -> list[Document]:
    """Describe one provider, or all: {"provider", "senders", "evidence", "warnings"}.

    `evidence` is a list of {"kind", "accepts", "who", "guards", "sources"}; its `sources` are those
    of the config by which such evidence can come. Raises NotPossible if there is no such provider.
    """
    chosen = [each for each in settings.providers if name in {None, each.name}]
    if name is not None and not chosen:
        raise NotPossible(_unknown(name, [each.name for each in settings.providers]))
    return [_provider(each, settings, kinds) for each in chosen]


def _provider(provider: ProviderSettings, settings: Settings, kinds: Kinds) -> Document:
    sources = list(dict.fromkeys(way["source"] for way in ways_in(settings)))
    return {
        "provider": provider.name,
        "senders": list(provider.senders) if provider.senders is not None else None,
        "evidence": [
            {
                "kind": kind.name,
                "accepts": list(kind.describe(value)),
                "who": kind.who(value),
                "guards": list(kind.guards(value)),
                "sources": [each for each in sources if SourceKind(each) in kind.sources(value)],
            }
            for kind, value in trust.configured(provider.trust, kinds)
        ],
        "warnings": list(about_provider(provider, settings, kinds)),
    }


def _listeners(settings: Settings) -> Iterator[Document]:
    smtp = settings.smtp
    guards = []
    if smtp.recipients:
        guards.append("[smtp] recipients refuses mail for any other address")
    for listen in (*smtp.listen, *smtp.tls_listen):
        if listen.startswith("systemd:"):
            who = "whoever reaches the address in its .socket unit"
        elif is_open(listen):
            who = "whoever reaches this machine over the network"
        else:
            who = "every program and every user on this machine"
        yield {"source": "smtp", "place": listen, "who": who, "guards": guards}


def _mailbox(settings: ImapSettings) -> Document:
    return {
        "source": "imap",
        "place": settings.name,
        "who": (
            f"whoever can send to the mailbox, or write to its folder {settings.folder!r} at "
            f"{settings.host}: its users, rules and administrators"
        ),
        "guards": [] if settings.tls else ["read without TLS, which is only taken from loopback"],
    }


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
    return f"no provider {name!r} in the config, {meant}"
