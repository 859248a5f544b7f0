"""Mutual TLS: whose certificate the client of a post must show. Pure.

That a CA of the config signed it was checked in the handshake.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from bridge import letters
from bridge.model import Post, Trust
from bridge.providers.posts.base import Client, Posts

_LONGEST: Final = 200  # characters of a certificate's names in a message to the operator
_KINDS: Final = frozenset({"DNS", "URI", "email", "IP Address"})


def require(names: Collection[str], built: Posts) -> Posts:
    """Admit only clients whose certificate has one of these names."""
    wanted = frozenset(map(letters.lower, names))

    def admit(post: Post, client: Client, at: datetime) -> str | None:
        return _refusal(client, wanted, at) or built.admit(post, client, at)

    def verify(post: Post, at: datetime) -> Trust | str:
        trust = built.verify(post, at)
        if isinstance(trust, str):
            return trust
        return replace(trust, detail=f"the client's certificate, {trust.detail}")

    return replace(built, admit=admit, verify=verify)


def _refusal(client: Client, wanted: frozenset[str], at: datetime) -> str | None:
    if not client.certificate:
        return "the client shows no certificate"
    found = set(_names(client))
    if not wanted & found:
        shown = ", ".join(sorted(found))[:_LONGEST] or "nobody"
        return f"the client's certificate is for {shown}: none of certificate_names"
    # A connection, or a session that is resumed, may outlive the certificate of its handshake.
    if at.timestamp() > ssl.cert_time_to_seconds(client.certificate["notAfter"]):
        return "the client's certificate has expired"
    return None


def _names(client: Client) -> Iterator[str]:
    """Yield the alternative names of a certificate; its common name only if it has none."""
    certificate = client.certificate or {}
    alternative = certificate.get("subjectAltName", ())
    common = (
        pair for part in certificate.get("subject", ()) for pair in part if pair[0] == "commonName"
    )
    for kind, name in alternative or common:
        if kind in _KINDS or not alternative:
            yield letters.lower(name)
