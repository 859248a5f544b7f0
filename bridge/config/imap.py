"""`[[imap]]`: a mailbox that is read."""

from __future__ import annotations

from datetime import date
from typing import Literal, Self

from pydantic import BaseModel, ByteSize, ConfigDict, model_validator

from bridge.config.values import ConfigPath, Count, Name, PositiveSeconds, PositiveSize, Secret


class ImapSettings(BaseModel):
    """`[[imap]]`: a folder of a mailbox, and what becomes of its mails."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name
    host: str
    port: Count = 993
    tls: bool = True
    tls_ca: ConfigPath | None = None
    folder: str = "INBOX"
    username: str
    password: Secret | None = None
    on_message: str = "seen"  # leave, seen, delete, move:Folder, copy:Folder
    on_quarantine: str = "seen"
    on_ignored: str = "seen"
    start: Literal["unseen", "all", "new"] | date = "unseen"
    poll: PositiveSeconds = 60.0
    idle: bool = True
    max_message: PositiveSize = ByteSize(10 * 1024**2)
    timeout: PositiveSeconds = 30.0

    @model_validator(mode="after")
    def _port_fits(self) -> Self:
        if self.port > 65535:
            raise ValueError("port must be at most 65535")
        return self
