"""`[imap.oauth]`: where access tokens, used in place of a password, come from."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, AnyHttpUrl, BeforeValidator, model_validator

from bridge.config.loopback import is_loopback
from bridge.config.strict import Strict
from bridge.config.values import ConfigPath, Secret

_GOOGLE: Final = "https://oauth2.googleapis.com/token"
_MICROSOFT: Final = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
# A user consents to single scopes; an application has those that an administrator granted.
_MICROSOFT_USER: Final = "https://outlook.office.com/IMAP.AccessAsUser.All offline_access"
_MICROSOFT_APPLICATION: Final = "https://outlook.office365.com/.default"
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,254}")


def _command(value: object) -> object:
    """Accept a program and its arguments, run without a shell."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError('must be a list: ["/path/of/program", "argument"]')
    if not all(isinstance(word, str) and word and "\0" not in word for word in value):
        raise ValueError("must be a list of strings")
    if not str(value[0]).startswith("/"):
        raise ValueError(f"{value[0]!r} must be the program's whole path")
    return tuple(value)


def _tenant(tenant: str) -> str:
    if not _TENANT.fullmatch(tenant):
        raise ValueError('must be a domain or an id, like "example.onmicrosoft.com", or "common"')
    return tenant


def _scope(scope: str) -> str:
    if not scope.strip() or not scope.isascii() or not scope.isprintable():
        raise ValueError("must be words separated by spaces")
    return scope


class OAuthSettings(Strict):
    """`[imap.oauth]`: an issuer that grants tokens, or a command or file that provides them.

    With `refresh_token` the issuer is asked in the name of the user who once agreed, else in that
    of the application itself (client credentials).
    """

    issuer: Literal["google", "microsoft"] | None = None  # instead of token_url and scope
    tenant: Annotated[str, AfterValidator(_tenant)] | None = None  # Microsoft's
    token_url: AnyHttpUrl | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    refresh_token: Secret | None = None
    refresh_state: ConfigPath | None = None  # where a rotated refresh token is kept
    scope: Annotated[str, AfterValidator(_scope)] | None = None
    token_command: Annotated[tuple[str, ...], BeforeValidator(_command)] | None = None
    token_file: ConfigPath | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [
            name
            for name in ("issuer", "token_url", "token_command", "token_file")
            if getattr(self, name) is not None
        ]
        if len(ways) != 1:
            raise ValueError("set one of issuer, token_url, token_command and token_file")
        if self.token_command is not None or self.token_file is not None:
            given = self.model_fields_set - {"token_command", "token_file"}
            if given:
                raise ValueError(f"{ways[0]} needs nothing else: take {min(given)} away")
            return self
        if (self.issuer == "microsoft") != (self.tenant is not None):
            raise ValueError('issuer = "microsoft" needs a tenant, and nothing else does')
        if self.client_id is None:
            raise ValueError("client_id is missing: the issuer's name for this application")
        return self._grant()

    def _grant(self) -> Self:
        url = self.token_url
        if url is not None and url.scheme != "https" and not is_loopback(url.host or ""):
            raise ValueError("token_url must be https://: secrets are sent to it")
        if self.refresh_token is None:
            if self.client_secret is None:
                raise ValueError("set refresh_token, or client_secret (client credentials)")
            if self.issuer == "google":
                raise ValueError('issuer = "google" needs a refresh_token')
            if self.refresh_state is not None:
                raise ValueError("refresh_state is for a refresh_token, and there is none")
        return self

    @property
    def endpoint(self) -> str | None:
        """The token endpoint; None if a command or a file provides tokens."""
        match self.issuer:
            case "google":
                return _GOOGLE
            case "microsoft":
                return _MICROSOFT.format(tenant=self.tenant)
            case _:
                return None if self.token_url is None else str(self.token_url)

    @property
    def scopes(self) -> str | None:
        """The requested scope; Google's refresh tokens imply it."""
        if self.scope is not None or self.issuer != "microsoft":
            return self.scope
        return _MICROSOFT_APPLICATION if self.refresh_token is None else _MICROSOFT_USER
