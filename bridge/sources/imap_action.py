"""What becomes of a mail in the mailbox once it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from bridge.config.imap import ImapSettings
from bridge.errors import ConfigError
from bridge.model import ArrivalOutcome
from bridge.sources.imap_client import ImapClient


class Verb(StrEnum):
    """What can be done; `move` and `copy` name a folder."""

    LEAVE = "leave"
    SEEN = "seen"
    DELETE = "delete"
    MOVE = "move"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do with mails. Done twice it does no harm, except that COPY copies twice."""

    verb: Verb
    folder: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `seen` or `move:Folder`; raises ValueError with a sentence."""
        verb, colon, folder = text.partition(":")
        wants_folder = verb in (Verb.MOVE, Verb.COPY)
        if verb not in tuple(Verb) or wants_folder != bool(colon) or wants_folder != bool(folder):
            raise ValueError('must be "leave", "seen", "delete", "move:Folder" or "copy:Folder"')
        return cls(Verb(verb), folder)

    async def do(self, client: ImapClient, uids: Sequence[int]) -> bool:
        r"""Do it; False if the mails could only be marked `\Deleted` where they were to go."""
        match self.verb:
            case Verb.LEAVE:
                return True
            case Verb.SEEN:
                await client.store_seen(uids)
            case Verb.DELETE:
                return await client.delete(uids)
            case Verb.MOVE:
                # Seen first: who looks into that folder should not find it unread.
                await client.store_seen(uids)
                return await client.move(uids, self.folder)
            case Verb.COPY:
                await client.copy(uids, self.folder)
                await client.store_seen(uids)
        return True


def actions_of(settings: ImapSettings) -> Mapping[ArrivalOutcome, Action]:
    """Give the action for each outcome; a duplicate is a message that came before."""
    read: dict[str, Action] = {}
    for key in ("on_message", "on_quarantine", "on_ignored"):
        try:
            read[key] = Action.parse(str(getattr(settings, key)))
        except ValueError as error:
            raise ConfigError(f"imap.{settings.name}.{key}", str(error)) from None
    return {
        ArrivalOutcome.MESSAGE: read["on_message"],
        ArrivalOutcome.DUPLICATE: read["on_message"],
        ArrivalOutcome.QUARANTINE: read["on_quarantine"],
        ArrivalOutcome.IGNORED: read["on_ignored"],
    }
