"""`[[imap]]`: the mailboxes to read, how to log in, and what to do with a mail afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    StrictBool,
    model_validator,
)

from bridge.config.loopback import is_loopback
from bridge.config.oauth import OAuthSettings
from bridge.config.strict import Strict
from bridge.config.values import ConfigPath, Name, PositiveSeconds, PositiveSize, Secret

_HOW: Final = '"leave", "seen", "delete", "move:Folder" or "copy:Folder"'


class Step(StrEnum):
    """What to do with a mail in its mailbox after the commit."""

    LEAVE = "leave"
    SEEN = "seen"
    DELETE = "delete"
    MOVE = "move"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Afterwards:
    """A step, with the folder that it needs."""

    step: Step
    folder: str | None = None

    def __str__(self) -> str:
        return self.step.value if self.folder is None else f"{self.step.value}:{self.folder}"


InitialSync = date | Literal["unseen", "all", "new"]


def _afterwards(value: object) -> object:
    """Parse `"seen"` or `"move:Folder"`."""
    if isinstance(value, Afterwards):
        return value
    word, colon, folder = value.partition(":") if isinstance(value, str) else ("", "", "")
    wants_folder = word in {Step.MOVE, Step.COPY}
    if word not in set(Step) or bool(colon) != wants_folder:
        raise ValueError(f"must be {_HOW}")
    return Afterwards(Step(word), _text(folder) if wants_folder else None)


def _start(value: object) -> object:
    """Accept a keyword, or a TOML date (without quotes)."""
    if isinstance(value, str) and value in {"unseen", "all", "new"}:
        return value
    # datetime is a subclass of date; IMAP's SINCE only has days.
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError('must be "unseen", "all", "new", or a date without quotes, like 2026-04-08')


def _text(text: str) -> str:
    """Reject text that no IMAP command can carry."""
    if not text or not text.isprintable():
        raise ValueError("must not be empty, nor hold control characters")
    return text


def _host(host: str) -> str:
    if not host or host != host.strip() or any(each in host for each in " /@\\") or "://" in host:
        raise ValueError('must be a host name or an IP address, like "imap.example.com"')
    return host


def _canonical(folder: str) -> str:
    """Return a folder's canonical name: only INBOX is case-insensitive (RFC 3501, 5.1)."""
    return "INBOX" if folder.upper() == "INBOX" else folder


Place = tuple[str, int, str, str]  # host, port, user, folder; canonical
Text = Annotated[str, AfterValidator(_text)]
What = Annotated[Afterwards, BeforeValidator(_afterwards)]


class ImapSettings(Strict):
    """`[[imap]]`: one folder of one mailbox to read."""

    name: Name
    host: Annotated[str, AfterValidator(_host)]
    port: Annotated[int, Field(ge=1, le=65535, strict=True)] = 993
    tls: StrictBool = True  # false: only for a server on this machine
    tls_ca: ConfigPath | None = None  # the only trusted CA (PEM); default: the system's
    folder: Text = "INBOX"
    username: Text
    password: Secret | None = None
    oauth: OAuthSettings | None = None
    on_message: What = Afterwards(Step.SEEN)
    on_quarantine: What = Afterwards(Step.SEEN)
    on_ignored: What = Afterwards(Step.SEEN)
    start: Annotated[InitialSync, BeforeValidator(_start)] = (
        "unseen"  # which existing mails the first start reads
    )
    poll: PositiveSeconds = 60.0  # poll interval, also with IDLE
    idle: StrictBool = True  # and at once when the server announces mail
    max_message: PositiveSize = ByteSize(25 * 1024**2)
    timeout: PositiveSeconds = 30.0  # for each command

    @property
    def place(self) -> Place:
        """The identity of the folder."""
        return self._place(self.folder)

    @property
    def targets(self) -> dict[str, Place]:
        """The folders that mails are moved or copied to, by setting."""
        actions = {
            "on_message": self.on_message,
            "on_quarantine": self.on_quarantine,
            "on_ignored": self.on_ignored,
        }
        return {
            name: self._place(action.folder)
            for name, action in actions.items()
            if action.folder is not None
        }

    def _place(self, folder: str) -> Place:
        return self.host.lower().rstrip("."), self.port, self.username, _canonical(folder)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.password is None) == (self.oauth is None):
            raise ValueError("set password, or an [imap.oauth] table, and not both")
        if not self.tls and not is_loopback(self.host):
            raise ValueError(
                "tls = false sends the password in clear text: only for 127.0.0.1 or ::1"
            )
        if not self.tls and self.tls_ca is not None:
            raise ValueError("tls_ca has no effect without tls: remove one")
        for name, target in self.targets.items():
            if target == self.place:
                raise ValueError(f"{name} names the folder that is read: name another one")
        return self
