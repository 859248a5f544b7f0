"""A provider's post: an HTTP request, as far as it is read, signed or needed to judge it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Post:
    """A provider's HTTP request. Its path is without the token, which is a secret.

    `query` is as it stood behind the `?`, undecoded. `headers` has lower-case names; of a repeated
    header all values, joined by ", " (RFC 9110, 5.3).
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
