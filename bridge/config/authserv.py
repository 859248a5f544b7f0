"""`authserv_id` in `[providers.trust]`: which server's authentication results count."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from bridge import letters
from bridge.config.strict import Strict
from bridge.config.values import Domain, Network

_ID: Final = re.compile(r"[\x21-\x7e]{0,253}")
# Delimiters of an id in the header.
_NOT_IN_IDS: Final = frozenset(';()"\\')


def _several(value: object) -> object:
    """Accept a single string as a list of one."""
    return [value] if isinstance(value, str) else value


def _authserv_id(text: str) -> str:
    if not _ID.fullmatch(text) or _NOT_IN_IDS & set(text):
        raise ValueError('must be what the server writes first in the header, like "mx.google.com"')
    return letters.lower(text)


AuthservId = Annotated[str, AfterValidator(_authserv_id)]


class AuthservSettings(Strict):
    """Accepts what your own server wrote into Authentication-Results (RFC 8601).

    Domains must be equal: subdomains don't count.
    """

    # "" matches a server that writes none, such as Microsoft 365.
    id: Annotated[tuple[AuthservId, ...], BeforeValidator(_several), Field(min_length=1)]
    dkim: tuple[Domain, ...] = ()  # dkim=pass, of these domains
    spf: tuple[Domain, ...] = ()  # spf=pass, smtp.mailfrom of these domains
    dmarc: tuple[Domain, ...] = ()  # dmarc=pass, header.from of these domains
    headers: Annotated[int, Field(ge=1, le=10, strict=True)] = (
        1  # how many such headers it adds to each mail
    )
    received_above: Annotated[int, Field(ge=0, le=20, strict=True)] = 0  # your own servers' only
    networks: tuple[Network, ...] = ()  # for mail by SMTP: your own server's addresses

    @model_validator(mode="after")
    def _some_result(self) -> Self:
        if not (self.dkim or self.spf or self.dmarc):
            raise ValueError('name what must have passed, and for whom: dkim = ["example.com"]')
        return self
