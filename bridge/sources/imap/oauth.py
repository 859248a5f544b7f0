"""OAuth access tokens for mailboxes: requested from an issuer, or from a command or a file.

No token, secret or text from an issuer ever gets into a log or an exception: an issuer may echo
what it was sent.
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

_MAX_ANSWER: Final = 64 * 1024  # bytes; a token with all its claims is a few KiB
_MARGIN: Final = 120.0  # seconds before its expiry from which a token is no longer used
_MARGIN_SHARE: Final = 0.2  # of the lifetime of a token, where that is shorter
_DEFAULT_LIFE: Final = 300.0  # seconds, where the issuer gives none
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")  # what a login can carry
# The error codes of RFC 6749: the only part of an issuer's answer that is shown.
_CODES: Final = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
        "unsupported_grant_type", "invalid_scope", "interaction_required", "consent_required",
    }
)  # fmt: skip
_LATER: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


class AccessTokens(Protocol):
    """Supplies the access tokens that a mailbox's login needs."""

    async def token(self) -> str:
        """Return an access token that is valid for some minutes.

        Raises TokenUnavailable (try again later) or TokenRefused (an operator has to act).
        """

    def reject(self, token: str) -> None:
        """Discard a token that the server refused: it is not returned again."""


def tokens_for(
    settings: ImapSettings,
    verify: Callable[[], ssl.SSLContext],
    monotonic: Callable[[], float] = time.monotonic,
) -> AccessTokens | None:
    """Build a mailbox's supply of tokens; None if it logs in by password.

    One per mailbox, shared by all its connections. `verify` makes the context that verifies
    the issuer, if there is one.
    """
    oauth = settings.oauth
    if oauth is None:
        return None
    if oauth.token_command is not None or oauth.token_file is not None:
        return ExternalTokens(settings.name, oauth, settings.timeout)
    return IssuedTokens(settings.name, oauth, settings.timeout, verify(), monotonic)


class ExternalTokens:
    """Tokens that a command prints or a file holds; read each time, never cached."""

    def __init__(self, mailbox: str, settings: OAuthSettings, timeout: float) -> None:
        self._mailbox = mailbox
        self._settings = settings
        self._timeout = timeout

    async def token(self) -> str:
        """Run the command or read the file; see `AccessTokens.token`."""
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
        """Do nothing: no token is cached."""


@dataclass(frozen=True, slots=True)
class _Issued:
    token: str = field(repr=False)
    use_until: float


class IssuedTokens:
    """Tokens that an issuer grants for a refresh token or for the client's own credentials."""

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
        """Return the cached token, or a new one before it expires; see `AccessTokens.token`."""
        async with self._one_at_a_time:
            if self._issued is None or self._monotonic() >= self._issued.use_until:
                self._issued = None
                self._issued = await self._ask()
            return self._issued.token

    def reject(self, token: str) -> None:
        """Discard the token, unless it has been replaced already."""
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
            # Its text may contain the URL, and with it secrets.
            raise self._unavailable(f"cannot be reached ({type(error).__name__})") from None
        answer = _document(content)
        if status != HTTPStatus.OK:
            raise self._refusal(status, answer)
        token, life = answer.get("access_token"), _seconds(answer.get("expires_in"))
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._unavailable("sent no usable token")
        rotated = answer.get("refresh_token")
        if self._state is not None and isinstance(rotated, str) and _TOKEN.fullmatch(rotated):
            await self._state.rotate(rotated)
        margin = min(_MARGIN, life * _MARGIN_SHARE)
        log.info("oauth.token", mailbox=self._mailbox, good_for=round(life))
        return _Issued(token, asked_at + life - margin)

    async def _fields(self) -> dict[str, str]:
        """Return the form fields of RFC 6749 for our grant."""
        fields = {"client_id": self._settings.client_id or ""}
        if self._settings.client_secret is not None:
            fields["client_secret"] = self._settings.client_secret.get_secret_value()
        if self._settings.scopes is not None:
            fields["scope"] = self._settings.scopes
        if self._state is None:
            return {"grant_type": "client_credentials", **fields}
        return {"grant_type": "refresh_token", "refresh_token": await self._state.read(), **fields}

    async def _post(self, fields: Mapping[str, str]) -> tuple[int, bytes]:
        """Post once: no redirects, no proxy from the environment, and a bounded answer.

        A client per call: one call an hour is not worth a kept-alive connection.
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
                    raise self._unavailable("sent an answer that is far too long")
            return response.status_code, content

    def _refusal(
        self, status: int, answer: Mapping[str, object]
    ) -> TokenRefused | TokenUnavailable:
        """Return the error for an answer without a token: temporary, or for an operator."""
        code = answer.get("error")
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return TokenRefused(
                f"imap.{self._mailbox}: the issuer redirects ({status}), and secrets are not sent "
                "on: set token_url to the address that it redirects to"
            )
        temporary = status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or temporary or code in _LATER:
            return self._unavailable(f"answered {status}")
        named = f", {code}" if isinstance(code, str) and code in _CODES else ""
        return TokenRefused(
            f"imap.{self._mailbox}: the issuer refuses a token ({status}{named}): look at "
            "[imap.oauth], or have the mailbox's owner consent again"
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
    """Parse `expires_in`, which some issuers send as text."""
    try:
        life = float(value) if isinstance(value, int | float | str) else _DEFAULT_LIFE
    except ValueError:
        return _DEFAULT_LIFE
    return life if 0 < life < 366 * 86400 else _DEFAULT_LIFE
