"""Stores the refresh token that an issuer returned in exchange for the one in the config.

Some issuers rotate the refresh token with each access token, and the old one expires. It is kept
in memory, and in a file if the config names one: without the file a restart falls back to the
config's token, which such an issuer may refuse by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from bridge import logs
from bridge.config.secret import read_secret

log = logs.logger("oauth")

_PRIVATE: Final = 0o600


class RefreshState:
    """The current refresh token of one mailbox.

    The file holds a hash of the config's token from which its own descends: a new token in the
    config takes precedence, and the file is overwritten.
    """

    def __init__(self, given: str, file: Path | None, mailbox: str) -> None:
        self._origin = hashlib.sha256(given.encode()).hexdigest()
        self._token = given
        self._file = file
        self._mailbox = mailbox
        self._loaded = file is None

    async def read(self) -> str:
        """Return the current token; the file is read once."""
        if not self._loaded:
            found = await asyncio.to_thread(self._load)
            self._token = found or self._token
            self._loaded = True
        return self._token

    async def rotate(self, token: str) -> None:
        """Replace the token, and save it before it is needed."""
        if token == self._token:
            return
        self._token = token
        if self._file is None:
            return
        try:
            await asyncio.to_thread(self._save, self._file)
        except OSError as error:
            # The token in memory is valid: reading mail goes on.
            log.error(
                "oauth.state_not_kept", mailbox=self._mailbox, file=str(self._file),
                detail=(error.strerror or "cannot be written").lower(),
            )  # fmt: skip

    def _load(self) -> str | None:
        assert self._file is not None
        try:
            if not self._file.exists():
                return None
            document = json.loads(str(read_secret({"file": str(self._file)})))
            origin, token = document["origin"], document["refresh_token"]
        except OSError as error:  # for instance a parent folder without search permission
            detail = (error.strerror or "cannot be read").lower()
            log.error("oauth.state_unreadable", mailbox=self._mailbox, detail=detail)
            return None
        except (ValueError, KeyError, TypeError) as error:
            # The message of read_secret names the file and what is wrong with it.
            detail = str(error) if type(error) is ValueError else "holds no refresh token"
            log.error("oauth.state_unreadable", mailbox=self._mailbox, detail=detail)
            return None
        return str(token) if origin == self._origin else None

    def _save(self, file: Path) -> None:
        """Write atomically, private to our user: temp file, fsync, rename."""
        text = json.dumps({"origin": self._origin, "refresh_token": self._token})
        number, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(number, "w", encoding="ascii") as temporary:
                os.fchmod(temporary.fileno(), _PRIVATE)
                temporary.write(text)
                temporary.flush()
                os.fsync(temporary.fileno())
            Path(name).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
