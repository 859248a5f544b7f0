"""What the ledger has already: the one place that knows a duplicate.

A message has up to two keys besides its content, one for each way it can come: the mail's, and the
provider's id. An arrival repeats a message that has one of its keys; or one of equal content that
has no key yet of any kind that the arrival brings, because it came the other way. Each message
takes one arrival of each way: two mails of equal content are two messages, a mail and an HTTP post
of equal content are one.

What became no message has no identity and is recognised by its bytes. A mailbox whose UIDVALIDITY
changes is read again from its beginning, and an import is run again: without this, each time would
fill the quarantine with the same mails.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from sqlalchemy import (
    Connection,
    bindparam,
    literal_column,
    null,
    select,
    update,
)

from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Identity,
    MailboxPlace,
    Message,
    Receipt,
    SourceKind,
)
from bridge.store.lookup import EMAILS, IDS, KEYS_AT_ONCE, PROVIDERS, contents_kind, look_up
from bridge.store.statements import Statement
from bridge.store.tables import arrivals, messages

_ADOPT: Final = Statement(
    update(messages)
    .where(messages.c.id == bindparam("known"))
    .values(email_key=bindparam("new_email"), provider_key=bindparam("new_provider"))
)


@dataclass(slots=True, eq=False)
class Known:
    """A message's keys, as they are or will be in the database."""

    id: str
    content: str
    email: str | None
    provider: str | None
    written: bool  # already a row

    def takes(self, arriving: Identity) -> bool:
        """Return whether this message has no key yet of any kind that the arrival brings."""
        return not (
            (self.email is not None and arriving.email is not None)
            or (self.provider is not None and arriving.provider is not None)
        )


class KnownMessages:
    """The messages that a batch of identities may repeat, those of the batch itself included.

    Only exact while no other transaction writes messages.
    """

    def __init__(self, found: Iterable[Known] = ()) -> None:
        self._by_id: dict[str, Known] = {}
        self._by_email: dict[str, Known] = {}
        self._by_provider: dict[str, Known] = {}
        self._by_content: defaultdict[str, list[Known]] = defaultdict(list)
        self._changed: dict[str, Known] = {}
        for each in found:
            self._index(each)

    @classmethod
    def load(cls, connection: Connection, identities: Iterable[Identity]) -> Self:
        """Find the messages that these identities may repeat, 256 of them in one statement."""
        wanted: defaultdict[str, list[str]] = defaultdict(list)
        for each in identities:
            wanted[IDS].append(each.message_id)
            if each.email is not None:
                wanted[EMAILS].append(each.email)
            if each.provider is not None:
                wanted[PROVIDERS].append(each.provider)
            wanted[contents_kind(each)].append(each.content)
        found: dict[str, Known] = {}
        for start in range(0, len(wanted[IDS]), KEYS_AT_ONCE):
            part = {kind: keys[start : start + KEYS_AT_ONCE] for kind, keys in wanted.items()}
            for row in look_up(connection, {kind: keys for kind, keys in part.items() if keys}):
                found[row[0]] = Known(*row, written=True)
        return cls(found[key] for key in sorted(found))

    def find(self, arriving: Identity) -> Known | None:
        """Return the message that this identity repeats, with its keys added, or None."""
        found = (
            (arriving.provider and self._by_provider.get(arriving.provider))
            or (arriving.email and self._by_email.get(arriving.email))
            or self._by_id.get(arriving.message_id)
            or self._other_way(arriving)
        )
        if not found:
            return None
        self._adopt(found, arriving)
        return found

    def _other_way(self, arriving: Identity) -> Known | None:
        """Return the first message of equal content that has not come this way yet."""
        equal = self._by_content[arriving.content]
        return next((each for each in equal if each.takes(arriving)), None)

    def add(self, arriving: Identity) -> Known:
        """Remember a message that this batch brings."""
        new = Known(
            arriving.message_id, arriving.content, arriving.email, arriving.provider, written=False
        )
        self._index(new)
        return new

    def write_changes(self, connection: Connection) -> None:
        """Write the keys that messages of earlier batches have been given."""
        if self._changed:
            _ADOPT.change(
                connection,
                [
                    {"known": each.id, "new_email": each.email, "new_provider": each.provider}
                    for each in self._changed.values()
                ],
            )

    def _adopt(self, found: Known, arriving: Identity) -> None:
        """Give a message the keys it lacks, unless another message has them."""
        email, provider = found.email, found.provider
        if email is None and arriving.email and arriving.email not in self._by_email:
            found.email = arriving.email
        if provider is None and arriving.provider and arriving.provider not in self._by_provider:
            found.provider = arriving.provider
        if (email, provider) != (found.email, found.provider):
            self._index(found)
            if found.written:
                self._changed[found.id] = found

    def _index(self, known: Known) -> None:
        if known.id not in self._by_id:
            self._by_id[known.id] = known
            self._by_content[known.content].append(known)
        if known.email is not None:
            self._by_email[known.email] = known
        if known.provider is not None:
            self._by_provider[known.provider] = known


# Sources that may bring the very same bytes once more.
_READ_AGAIN: Final = frozenset({SourceKind.IMAP, SourceKind.FILE})
_STORED: Final = (
    select(arrivals.c.digest, arrivals.c.outcome, arrivals.c.source, arrivals.c.id)
    .where(arrivals.c.digest.in_(bindparam("digests", expanding=True)))
    .order_by(arrivals.c.id.desc())
)
_SETTLED: Final = Statement(
    update(arrivals)
    .where(
        arrivals.c.digest == bindparam("bytes"),
        arrivals.c.outcome.in_([literal_column("'quarantine'"), literal_column("'ignored'")]),
    )
    .values(
        outcome=literal_column("'duplicate'"),
        message_id=bindparam("message"),
        provider=bindparam("its_provider"),
        reason=null(),
        detail=null(),
        reparsed_at=bindparam("now"),
    )
)
_PLACE: Final = ("mailbox", "folder", "uidvalidity", "uid")
_MOVED: Final = Statement(
    update(arrivals)
    .where(arrivals.c.id == bindparam("arrival"))
    .values({name: bindparam(f"new_{name}") for name in _PLACE})
)


def digest_of(arrival: Arrival) -> bytes:
    """Hash the raw bytes, by which a mail that became no message is recognised."""
    return hashlib.sha256(arrival.raw).digest()


def is_read_again(arrival: Arrival) -> bool:
    """Return whether its source may bring the very same bytes once more."""
    return arrival.source in _READ_AGAIN


def settle(connection: Connection, read: Iterable[tuple[Message, str]], now: datetime) -> None:
    """Make duplicates of the arrivals that are in quarantine with the bytes of these messages.

    For mails that were stored without the evidence that they have now. Each message is given with
    the id under which the ledger has it.
    """
    rows = [
        {
            "bytes": bytes.fromhex(message.sha256),
            "message": known_as,
            "its_provider": message.sms.provider,
            "now": now,
        }
        for message, known_as in read
    ]
    if rows:
        _SETTLED.change(connection, rows)


def place_columns(place: MailboxPlace | None) -> dict[str, object]:
    """Return a place as columns of its arrival."""
    return {name: None if place is None else getattr(place, name) for name in _PLACE}


class KnownBytes:
    """The arrivals without a message that a batch may repeat, those of the batch included."""

    def __init__(self, found: Iterable[tuple[bytes, str, str, int]] = ()) -> None:
        self._known: dict[tuple[bytes, str], int] = {}
        self._not_by_smtp: dict[tuple[bytes, str], int] = {}
        for digest, outcome, source, arrival in found:
            # One that was discarded stays so: nobody wants it back in quarantine.
            was = "quarantine" if outcome == ArrivalOutcome.DISCARDED else outcome
            self._note((bytes(digest), was), arrival, by_smtp=source == SourceKind.SMTP)
        self._moved: list[dict[str, object]] = []

    @classmethod
    def load(cls, connection: Connection, digests: Iterable[bytes | None]) -> Self:
        """Find them in one statement, or in none if nothing in the batch can be a repeat."""
        wanted = [digest for digest in digests if digest is not None]
        if not wanted:
            return cls()
        rows = connection.execute(_STORED, {"digests": wanted})
        return cls((row.digest, row.outcome, row.source, row.id) for row in rows)

    def add(self, digest: bytes, outcome: ArrivalOutcome, arrived: Arrival, arrival: int) -> None:
        """Remember one that this batch brings."""
        by_smtp = arrived.source is SourceKind.SMTP
        self._note((digest, outcome.value), arrival, by_smtp=by_smtp)

    def _note(self, key: tuple[bytes, str], arrival: int, *, by_smtp: bool) -> None:
        self._known[key] = arrival
        if not by_smtp:
            self._not_by_smtp[key] = arrival

    def find(
        self, digest: bytes | None, outcome: ArrivalOutcome, place: MailboxPlace | None
    ) -> int | None:
        """Return the arrival that is repeated, and note where it lies now; None if it is new.

        A mail in a mailbox never repeats one that came by SMTP: that one lies in no mailbox.
        """
        if digest is None:
            return None
        known = self._known if place is None else self._not_by_smtp
        arrival = known.get((digest, outcome.value))
        if arrival is not None and place is not None:
            named = {f"new_{name}": value for name, value in place_columns(place).items()}
            self._moved.append({"arrival": arrival, **named})
        return arrival

    def write_changes(self, connection: Connection) -> None:
        """Write the places that have changed."""
        if self._moved:
            _MOVED.change(connection, self._moved)


def find_stored_message(connection: Connection, identities: Iterable[Identity]) -> Receipt | None:
    """Return the receipt of the message that an arrival with these identities is, if all are known.

    Of several the first; it writes nothing.
    """
    wanted = list(identities)
    known = KnownMessages.load(connection, wanted)
    found = [known.find(each) for each in wanted]
    if not found or None in found or found[0] is None:
        return None
    brought = select(arrivals.c.id).where(
        arrivals.c.message_id == found[0].id, arrivals.c.outcome == ArrivalOutcome.MESSAGE
    )
    arrival = connection.execute(brought.limit(1)).scalar_one()
    return Receipt(arrival, ArrivalOutcome.DUPLICATE, found[0].id, repeated=True)


def is_known(connection: Connection, raw: bytes, identities: Iterable[Identity]) -> bool:
    """Return whether the ledger has all these messages, or these bytes; it writes nothing."""
    wanted = list(identities)
    if find_stored_message(connection, wanted) is not None:
        return True
    digest = hashlib.sha256(raw).digest()
    found = select(arrivals.c.id).where(arrivals.c.digest == digest).limit(1)
    return connection.execute(found).first() is not None
