"""Access tokens for mailboxes: asked of an issuer, printed by a command, or kept in a file.

Nothing of a token, a secret or an issuer's own words ever gets into a log or an exception: an
issuer may repeat what it was sent.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

import httpx

import bridge
from bridge import logs
from bridge.config.imap import ImapSettings
from bridge.config.oauth import OAuthSettings
from bridge.config.secret import read_secret
from bridge.errors import TokenRefused, TokenUnavailable
from bridge.sources.imap.refresh_state import RefreshState
from bridge.sources.imap.token_command import run_command

log = logs.logger("oauth")

_MAX_ANSWER: Final = 64 * 1024  # bytes; a token with all its claims has some KiB
_MARGIN: Final = 120.0  # seconds before its end from which a token is no longer given out
_MARGIN_SHARE: Final = 0.2  # of a life so short that the margin would be most of it
_DEFAULT_LIFE: Final = 300.0  # seconds, where the issuer doesn't say
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")  # what a login can carry
# The error codes of RFC 6749: the only words of an issuer's answer that are repeated.
_CODES: Final = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
        "unsupported_grant_type", "invalid_scope", "interaction_required", "consent_required",
    }
)  # fmt: skip
_LATER: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


class Tokens(Protocol):
    """What a mailbox's login needs."""

    async def token(self) -> str:
        """Give an access token that is good for some minutes yet.

        Raises TokenUnavailable (try again later) or TokenRefused (an operator has to act).
        """
        ...

    def reject(self, token: str) -> None:
        """Say that the server refused this token: it is not given out again."""
        ...


def tokens_for(
    settings: ImapSettings,
    verify: ssl.SSLContext,
    monotonic: Callable[[], float] = time.monotonic,
) -> Tokens | None:
    """Build what gives a mailbox its tokens; None if it logs in by password.

    One for each mailbox, shared by all its connections. `verify` says whom we trust as the issuer.
    """
    oauth = settings.oauth
    if oauth is None:
        return None
    if oauth.token_command is not None or oauth.token_file is not None:
        return OutsideTokens(settings.name, oauth, settings.timeout)
    return IssuedTokens(settings.name, oauth, settings.timeout, verify, monotonic)


class OutsideTokens:
    """Tokens that a command prints or a file holds; asked each time, kept never."""

    def __init__(self, mailbox: str, settings: OAuthSettings, timeout: float) -> None:
        self._mailbox = mailbox
        self._settings = settings
        self._timeout = timeout

    async def token(self) -> str:
        """Run the command or read the file; see `Tokens.token`."""
        command, file = self._settings.token_command, self._settings.token_file
        if command is not None:
            text = await run_command(command, self._timeout, self._mailbox)
        else:
            try:
                found = await asyncio.to_thread(read_secret, {"file": str(file)})
            except ValueError as problem:
                raise TokenUnavailable(f"imap.{self._mailbox}: token_file: {problem}") from None
            text = str(found)
        token = text.strip()
        if not _TOKEN.fullmatch(token):
            whose = "token_command printed" if command is not None else "token_file holds"
            raise TokenUnavailable(f"imap.{self._mailbox}: {whose} no single token")
        return token

    def reject(self, _token: str) -> None:
        """Nothing is kept, so there is nothing to forget."""


@dataclass(frozen=True, slots=True)
class _Issued:
    token: str = field(repr=False)
    good_until: float


class IssuedTokens:
    """Tokens that an issuer gives for a refresh token or for the application's own secret."""

    def __init__(
        self,
        mailbox: str,
        settings: OAuthSettings,
        timeout: float,
        verify: ssl.SSLContext,
        monotonic: Callable[[], float],
    ) -> None:
        self._mailbox = mailbox
        self._settings = settings
        self._timeout = timeout
        self._verify = verify
        self._monotonic = monotonic
        self._issued: _Issued | None = None
        self._one_at_a_time = asyncio.Lock()
        self._state: RefreshState | None = None
        if settings.refresh_token is not None:
            given = settings.refresh_token.get_secret_value()
            self._state = RefreshState(given, settings.refresh_state, mailbox)

    async def token(self) -> str:
        """Give the token that we have, or ask for another before it ends; see `Tokens.token`."""
        async with self._one_at_a_time:
            if self._issued is None or self._monotonic() >= self._issued.good_until:
                self._issued = None
                self._issued = await self._ask()
            return self._issued.token

    def reject(self, token: str) -> None:
        """Forget the token, unless another one has taken its place already."""
        if self._issued is not None and self._issued.token == token:
            self._issued = None

    async def _ask(self) -> _Issued:
        asked_at = self._monotonic()
        fields = await self._fields()
        try:
            async with asyncio.timeout(self._timeout):
                status, content = await self._post(fields)
        except TimeoutError:
            raise self._unavailable(f"did not answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            # Its text may hold the URL with what is in it.
            raise self._unavailable(f"cannot be reached ({type(error).__name__})") from None
        answer = _document(content)
        if status != HTTPStatus.OK:
            raise self._refusal(status, answer)
        token, life = answer.get("access_token"), _seconds(answer.get("expires_in"))
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._unavailable("gave no token that can be used")
        rotated = answer.get("refresh_token")
        if self._state is not None and isinstance(rotated, str) and _TOKEN.fullmatch(rotated):
            await self._state.rotate(rotated)
        margin = min(_MARGIN, life * _MARGIN_SHARE)
        log.info("oauth.token", mailbox=self._mailbox, good_for=round(life))
        return _Issued(token, asked_at + life - margin)

    async def _fields(self) -> dict[str, str]:
        """Put together what RFC 6749 wants for our grant."""
        fields = {"client_id": self._settings.client_id or ""}
        if self._settings.client_secret is not None:
            fields["client_secret"] = self._settings.client_secret.get_secret_value()
        if self._settings.scopes is not None:
            fields["scope"] = self._settings.scopes
        if self._state is None:
            return {"grant_type": "client_credentials", **fields}
        return {"grant_type": "refresh_token", "refresh_token": await self._state.read(), **fields}

    async def _post(self, fields: Mapping[str, str]) -> tuple[int, bytes]:
        """Ask once: no redirect, no proxy of the environment, no more of the answer than fits.

        A client for each call, since one call an hour is worth no connection that is kept.
        """
        url = self._settings.endpoint
        assert url is not None, "the config names one"
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"smsbridge/{bridge.__version__}",
        }
        async with (
            httpx.AsyncClient(
                verify=self._verify, trust_env=False, follow_redirects=False, timeout=self._timeout
            ) as client,
            client.stream("POST", url, data=fields, headers=headers) as response,
        ):
            content = b""
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > _MAX_ANSWER:
                    raise self._unavailable("answered far more than a token")
            return response.status_code, content

    def _refusal(
        self, status: int, answer: Mapping[str, object]
    ) -> TokenRefused | TokenUnavailable:
        """Judge an answer that is no token: whether to try again makes sense."""
        code = answer.get("error")
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return TokenRefused(
                f"imap.{self._mailbox}: the issuer redirects ({status}), and secrets are not sent "
                "on: write the address that it means as token_url"
            )
        passing = status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or passing or code in _LATER:
            return self._unavailable(f"answered {status}")
        known = f", {code}" if isinstance(code, str) and code in _CODES else ""
        return TokenRefused(
            f"imap.{self._mailbox}: the issuer refuses a token ({status}{known}): look at "
            "[imap.oauth], or let the mailbox's owner agree again"
        )

    def _unavailable(self, what: str) -> TokenUnavailable:
        return TokenUnavailable(f"imap.{self._mailbox}: the issuer of tokens {what}")


def _document(content: bytes) -> Mapping[str, object]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _seconds(value: object) -> float:
    """Read `expires_in`, which some issuers send as text."""
    try:
        life = float(value) if isinstance(value, int | float | str) else _DEFAULT_LIFE
    except ValueError:
        return _DEFAULT_LIFE
    return life if 0 < life < 366 * 86400 else _DEFAULT_LIFE
