"""Keeps the refresh token that an issuer exchanged for the one in the config.

Some issuers give a new refresh token with each access token, and the old one ends sooner or later.
It is kept in memory, and in a file if the config names one: without the file a restart begins with
the config's own again, which such an issuer may refuse by then.
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
    """The present refresh token of one mailbox.

    The file names, by a hash, the config's token that its own descends from: once an operator puts
    a new one into the config, that one counts, and the file is written over.
    """

    def __init__(self, given: str, file: Path | None, mailbox: str) -> None:
        self._origin = hashlib.sha256(given.encode()).hexdigest()
        self._token = given
        self._file = file
        self._mailbox = mailbox
        self._looked = file is None

    async def read(self) -> str:
        """Give the present token; the file is looked into once."""
        if not self._looked:
            found = await asyncio.to_thread(self._kept)
            self._token = found or self._token
            self._looked = True
        return self._token

    async def rotate(self, token: str) -> None:
        """Take a new token, and keep it before it is needed."""
        if token == self._token:
            return
        self._token = token
        if self._file is None:
            return
        try:
            await asyncio.to_thread(self._keep, self._file)
        except OSError as error:
            # The token in memory is good: reading mail goes on.
            log.error(
                "oauth.state_not_kept", mailbox=self._mailbox, file=str(self._file),
                detail=(error.strerror or "cannot be written").lower(),
            )  # fmt: skip

    def _kept(self) -> str | None:
        assert self._file is not None
        try:
            if not self._file.exists():
                return None
            document = json.loads(str(read_secret({"file": str(self._file)})))
            origin, token = document["origin"], document["refresh_token"]
        except OSError as error:  # a folder on the way that we may not enter
            told = (error.strerror or "cannot be read").lower()
            log.error("oauth.state_unreadable", mailbox=self._mailbox, detail=told)
            return None
        except (ValueError, KeyError, TypeError) as error:
            # A sentence of read_secret names the file and what is wrong with it.
            told = str(error) if type(error) is ValueError else "holds no refresh token"
            log.error("oauth.state_unreadable", mailbox=self._mailbox, detail=told)
            return None
        return str(token) if origin == self._origin else None

    def _keep(self, file: Path) -> None:
        """Write it beside, sync it, put it in its place: never half of it, nor open to others."""
        text = json.dumps({"origin": self._origin, "refresh_token": self._token})
        number, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(number, "w", encoding="ascii") as beside:
                os.fchmod(beside.fileno(), _PRIVATE)
                beside.write(text)
                beside.flush()
                os.fsync(beside.fileno())
            Path(name).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
