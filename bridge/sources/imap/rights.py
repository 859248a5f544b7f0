"""What the account may do with the folders, as the server says (RFC 4314, RFC 3501); read only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.config.imap import ImapSettings, Step
from bridge.sources.imap.client import ImapClient

# The letters of RFC 4314.
_MARK: Final = ("s", "mark mails as read")
_DELETE: Final = (("t", "mark mails as deleted"), ("e", "remove mails"))
_INSERT: Final = ("i", "put mails into it")
_IN_FOLDER: Final = {
    Step.LEAVE: (),
    Step.SEEN: (_MARK,),
    Step.DELETE: _DELETE,
    Step.MOVE: (_MARK, *_DELETE),
    Step.COPY: (_MARK,),
}
# What the permanent flags tell where the server has no ACL. Expunging is not among it.
_FLAGS: Final = {"s": "\\seen", "t": "\\deleted"}


async def missing_rights(client: ImapClient, settings: ImapSettings) -> tuple[str, ...]:
    """Return what the settings need and the account may not do, as sentences without a subject.

    Without ACL the folder is opened for writing, which changes no flag that other clients see,
    and nothing is known about the folders that mails are moved or copied to.
    """
    actions = (settings.on_message, settings.on_quarantine, settings.on_ignored)
    wanted = [(settings.folder, right) for each in actions for right in _IN_FOLDER[each.step]]
    granted: dict[str, frozenset[str]] = {}
    if client.has("ACL"):
        wanted += [(each.folder, _INSERT) for each in actions if each.folder is not None]
        granted = {folder: await client.my_rights(folder) for folder in {f for f, _ in wanted}}
    elif wanted:
        granted = {settings.folder: await _by_flags(client, settings.folder)}
    return tuple(
        f"{what} in the folder {folder!r}"
        for folder, (letter, what) in dict.fromkeys(wanted)
        if letter not in granted[folder]
    )


async def _by_flags(client: ImapClient, folder: str) -> frozenset[str]:
    mailbox = await client.select(folder, readonly=False)
    return frozenset(_granted(mailbox.readonly, mailbox.permanent_flags))


def _granted(readonly: bool, flags: frozenset[str] | None) -> Iterator[str]:
    if not readonly:
        yield "e"
        yield from (letter for letter, flag in _FLAGS.items() if flags is None or flag in flags)
