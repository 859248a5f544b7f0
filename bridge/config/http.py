"""`[http]`: health, metrics, API and page."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, field_validator

from bridge.config.address import parse_listen
from bridge.config.strict import Strict
from bridge.config.values import Host, PublicUrl

HttpOpen = Literal["health", "metrics"]
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")


def _no_pattern(host: str) -> str:
    if host.startswith("*"):
        raise ValueError(f"{host!r} would let in names that somebody else may own: write each one")
    return host


class HttpSettings(Strict):
    """`[http]`: health, metrics, API and page; `listen = ""` turns it off."""

    listen: str = "127.0.0.1:8080"
    # Besides the address that was connected to, localhost, and public_url's.
    hosts: tuple[Annotated[Host, AfterValidator(_no_pattern)], ...] = ()
    public_url: PublicUrl | None = None  # where browsers find it, if a proxy stands in front
    open: tuple[HttpOpen, ...] = ("health", "metrics")  # what needs no token

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str) -> str:
        if listen:
            parse_listen(listen)
        return listen

    @field_validator("public_url")
    @classmethod
    def _plain_path(cls, url: str | None) -> str | None:
        if url is not None and not _PREFIX.fullmatch(urlsplit(url).path):
            raise ValueError("has a path with other characters than letters, digits and . _ ~ -")
        return url

    @property
    def public(self) -> SplitResult | None:
        """The parts of `public_url`."""
        return None if self.public_url is None else urlsplit(self.public_url)
