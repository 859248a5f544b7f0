"""`[posts]`: where providers' HTTP posts come in; `[providers.post]`: what protects one's posts."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ByteSize, Field, SecretStr, model_validator

from bridge.config.post_template import PostTemplateSettings
from bridge.config.strict import Strict
from bridge.config.values import ConfigPath, Count, Listen, Network, PositiveSize, PublicUrl, Secret

_MIN_TOKEN: Final = 16
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]+")


def _token(token: SecretStr) -> SecretStr:
    value = token.get_secret_value()
    if len(value) < _MIN_TOKEN:
        raise ValueError(f"a token has at least {_MIN_TOKEN} characters (`smsbridge secret`)")
    if _TOKEN.fullmatch(value) is None:
        raise ValueError("a token holds letters, digits and . _ ~ - only: it stands in a URL")
    return token


Token = Annotated[Secret, AfterValidator(_token)]
CertificateName = Annotated[str, Field(min_length=1)]


class PostsSettings(Strict):
    """`[posts]`: the listener for providers' posts; without an address there is none."""

    listen: tuple[Listen, ...] = ()
    tls_listen: tuple[Listen, ...] = ()
    tls_certificate: ConfigPath | None = None
    tls_key: ConfigPath | None = None
    tls_client_ca: ConfigPath | None = None  # who signs the certificates that clients show
    public_url: PublicUrl | None = None
    proxies: tuple[Network, ...] = ()  # whose X-Forwarded-For is believed
    max_body: PositiveSize = ByteSize(256 * 1024)
    max_connections: Count = 200
    max_connections_per_peer: Count = 50

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address to listen on."""
        return (*self.listen, *self.tls_listen)

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: set both or none")
        if self.tls_listen and self.tls_certificate is None:
            raise ValueError("tls_listen needs tls_certificate and tls_key")
        return self


class PostSettings(Strict):
    """`[providers.post]`: the token in the URL that the provider calls, and its secrets."""

    token: Token | None = None
    tokens: tuple[Token, ...] = ()  # [new, old] while changing it
    secret: Secret | None = None  # what the provider signs with, if it does
    secrets: tuple[Secret, ...] = ()  # [new, old] while rotating
    username: str | None = Field(None, min_length=1)  # beside the password, for basic auth
    password: Secret | None = None  # what the provider shows, if it logs in
    passwords: tuple[Secret, ...] = ()  # [new, old] while changing it
    to: str | None = None  # our number, where the provider's posts don't name it
    networks: tuple[Network, ...] = ()  # the only ones that may call; default: any
    certificate_names: tuple[CertificateName, ...] = ()  # one must be in the client's certificate
    template: PostTemplateSettings | None = None  # how its posts are read, or what differs

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.token is None) == (not self.tokens):
            raise ValueError("set token, or tokens = [new, old] while changing it, and not both")
        if self.secret is not None and self.secrets:
            raise ValueError("set secret, or secrets = [new, old] while rotating, and not both")
        if self.password is not None and self.passwords:
            raise ValueError("set password, or passwords = [new, old], and not both")
        return self

    @property
    def all_tokens(self) -> tuple[str, ...]:
        """The tokens, newest first."""
        found = self.tokens or ((self.token,) if self.token else ())
        return tuple(each.get_secret_value() for each in found)

    @property
    def signing_secrets(self) -> tuple[SecretStr, ...]:
        """The provider's signing secrets, newest first."""
        return self.secrets or ((self.secret,) if self.secret else ())

    @property
    def all_passwords(self) -> tuple[str, ...]:
        """The passwords, newest first."""
        found = self.passwords or ((self.password,) if self.password else ())
        return tuple(each.get_secret_value() for each in found)
