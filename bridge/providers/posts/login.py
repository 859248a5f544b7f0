"""Checks the password that a caller shows: basic auth, a bearer token, a header or a parameter."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bridge import posts
from bridge.config.post_template import LoginSettings
from bridge.model import Post
from bridge.providers.posts.base import matches

_AUTHORIZATION: Final = "authorization"
_CHALLENGES: Final = {"basic": 'Basic realm="posts"', "bearer": "Bearer"}


@dataclass(frozen=True, slots=True)
class Login:
    """A declared login with its passwords, newest first; `username` is for basic auth."""

    settings: LoginSettings
    passwords: Sequence[str]
    username: str = ""

    @property
    def shown(self) -> str:
        """How the caller shows the password, in words."""
        match self.settings.kind:
            case "basic":
                return "basic auth"
            case "bearer":
                return "a bearer token"
            case kind:
                return f"the {kind} {self.settings.name}"

    @property
    def challenge(self) -> str | None:
        """What asks for the password in a 401; None where HTTP knows no such question."""
        return _CHALLENGES.get(self.settings.kind)

    @property
    def secret_names(self) -> frozenset[str]:
        """The headers and parameters that hold the password: they are not stored."""
        return frozenset({self._name})

    def refusal(self, post: Post) -> str | None:
        """Return why a caller is refused, or None if the password is right."""
        if self.settings.kind == "parameter":
            pairs = posts.parameters(post)
            found = pairs if isinstance(pairs, str) else posts.once(pairs)
            given = found.get(self._name, "") if isinstance(found, Mapping) else ""
        else:
            given = self._as_compared(post.headers.get(self._name, ""))
        right = matches([self._written(password) for password in self.passwords], given)
        return None if right else f"{self.shown} is missing or wrong"

    @property
    def _name(self) -> str:
        name = self.settings.name or _AUTHORIZATION
        return name if self.settings.kind == "parameter" else name.lower()

    def _written(self, password: str) -> str:
        match self.settings.kind:
            case "basic":
                pair = f"{self.username}:{password}".encode()
                return f"basic {base64.b64encode(pair).decode('ascii')}"
            case "bearer":
                return f"bearer {password}"
            case _:
                return password

    def _as_compared(self, given: str) -> str:
        """Write the scheme of an Authorization header in lower case: it has no case (RFC 9110)."""
        if self.settings.kind == "header":
            return given
        scheme, _, rest = given.partition(" ")
        return f"{scheme.lower()} {rest.strip()}"
