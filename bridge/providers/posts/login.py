"""Checks the secret that a caller shows: basic auth, a bearer token, a header or a parameter."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge import posts
from bridge.config.post_template import LoginSettings
from bridge.model import Post
from bridge.providers.posts.base import matches

AUTHORIZATION = "authorization"


@dataclass(frozen=True, slots=True)
class Login:
    """A declared login with its secrets, newest first; `username` is for basic auth."""

    settings: LoginSettings
    secrets: Sequence[str]
    username: str = ""

    @property
    def shown(self) -> str:
        """How the caller shows the secret, in words."""
        way = self.settings
        if way.basic or way.bearer:
            return "basic auth" if way.basic else "a bearer token"
        return f"the header {way.header}" if way.header else f"the parameter {way.parameter}"

    @property
    def secret_names(self) -> frozenset[str]:
        """The headers and parameters that hold the secret: they are not stored."""
        return frozenset({self.settings.header or self.settings.parameter or AUTHORIZATION})

    def refusal(self, post: Post) -> str | None:
        """Return why a caller is refused, or None if the secret is right."""
        way = self.settings
        if way.parameter is not None:
            pairs = posts.parameters(post)
            found = pairs if isinstance(pairs, str) else posts.once(pairs)
            given = found.get(way.parameter, "") if isinstance(found, Mapping) else ""
        else:
            given = post.headers.get(way.header or AUTHORIZATION, "")
        right = matches(
            [self._written(secret) for secret in self.secrets], _lower_scheme(given, way)
        )
        return None if right else f"{self.shown} is missing or wrong"

    def _written(self, secret: str) -> str:
        if self.settings.basic:
            pair = base64.b64encode(f"{self.username}:{secret}".encode()).decode("ascii")
            return f"basic {pair}"
        return f"bearer {secret}" if self.settings.bearer else secret


def _lower_scheme(given: str, way: LoginSettings) -> str:
    """Write the scheme of an Authorization header in lower case: it has no case (RFC 9110)."""
    if not (way.basic or way.bearer):
        return given
    scheme, _, rest = given.partition(" ")
    return f"{scheme.lower()} {rest.strip()}"
