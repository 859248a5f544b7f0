"""Reads an arrival: decodes the mail, checks its evidence, parses the SMS in it.

What can't be read becomes quarantine, never an exception. The only error raised is a DNS that
doesn't answer: then the result isn't known yet, and the other side keeps the mail.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from bridge import event, formats, logs, mail, providers, trust
from bridge import posts as post_bytes
from bridge.config.settings import TrustSettings
from bridge.errors import ResourcesShort, TrustUnavailable
from bridge.model import (
    SMS_RECEIVED,
    Arrival,
    Caller,
    Email,
    EmailSummary,
    Event,
    Identity,
    Ignored,
    Message,
    Reason,
    SmsMessage,
    SourceKind,
    Trust,
    Unreadable,
)
from bridge.providers.base import Provider, headers_read
from bridge.shortage import noted

if TYPE_CHECKING:
    from bridge.providers.posts import Posts

log = logs.logger("reader")

# Bytes. Larger mails are decoded and read in a thread: the worst that is accepted takes 0.2 s,
# which must not block the loop. Below this size the thread would cost more than the work.
_INLINE: Final = 8 * 1024
# Messages × bytes of the mail: the raw mail is stored once per message.
_MAX_COPIES: Final = 8 * 1024**2
_POSTS_COME_BY: Final = frozenset({SourceKind.HTTP, SourceKind.FILE})


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """One message of an arrival, with its identity keys and its events."""

    message: Message
    identity: Identity
    events: tuple[Event, ...]  # one per format that an endpoint uses


@dataclass(frozen=True, slots=True)
class Reading:
    """An arrival that was read: its messages in order, at least one."""

    messages: tuple[ReadMessage, ...]

    @property
    def provider(self) -> str:
        """The provider of the messages."""
        return self.messages[0].message.sms.provider


Result = Reading | Unreadable | Ignored
T = TypeVar("T")


class Reader:
    """Reads arrivals with the configured providers and their evidence.

    With `policies` None, evidence isn't checked: for `smsbridge parse`, never for a source.
    `vouched` replaces all evidence: an operator vouches for an import. `names` is the DNS client.
    """

    def __init__(
        self,
        known: Sequence[Provider],
        policies: Mapping[str, TrustSettings] | None,
        clock: Callable[[], datetime],
        vouched: Trust | None = None,
        names: trust.Names | None = None,
        wanted: Sequence[str] = (SMS_RECEIVED,),
        posts: Mapping[str, Posts] = MappingProxyType({}),
    ) -> None:
        self._posts = posts
        self._formats = wanted
        self._names = names
        self._vouched = vouched
        self._known = known
        self._policies = policies
        self._clock = clock

    @property
    def known(self) -> Sequence[Provider]:
        """The providers whose mails it reads."""
        return self._known

    async def read(self, arrival: Arrival) -> Result:
        """Read one arrival; a bug of ours quarantines it, so that the raw mail is kept.

        Raises TrustUnavailable if its evidence can only be checked later, and ResourcesShort.
        """
        try:
            return await self._read(arrival)
        except TrustUnavailable:
            raise
        except Exception as error:
            if (short := noted(error)) is not None:
                raise ResourcesShort(short) from None
            # The exception's text may quote the mail, so the operator gets its class only; the log
            # has the place in the code.
            log.exception("arrival.bug", source=arrival.source_name)
            return Unreadable(
                Reason.INTERNAL,
                f"a bug in smsbridge ({type(error).__name__}): the log says where; please report "
                "it, and reparse this arrival after the fix",
            )

    async def _read(self, arrival: Arrival) -> Result:
        # Only there: a stranger's mail may begin like a post.
        if arrival.source in _POSTS_COME_BY and post_bytes.is_post(arrival.raw):
            return self._read_post(arrival)
        return await self._read_mail(arrival)

    def _read_post(self, arrival: Arrival) -> Result:
        post = post_bytes.decode(arrival.raw)
        if isinstance(post, Unreadable):
            return post
        name = post_bytes.provider_of(post)
        provider = self._posts.get(name)
        if provider is None:
            return Unreadable(
                Reason.NO_PROVIDER,
                f"no provider {name[:40]!r} has a [providers.post]",
            )
        believed = self._vouched
        if believed is None and self._policies is not None:
            known = arrival.origin.believed if isinstance(arrival.origin, Caller) else None
            verdict = known or provider.verify(post, arrival.received_at)
            if isinstance(verdict, str):
                return Unreadable(Reason.UNTRUSTED, verdict, name)
            if arrival.source is SourceKind.FILE and verdict.by == "token":
                return Unreadable(Reason.UNTRUSTED, "a file shows no token", name)
            believed = verdict
        result = provider.read(post, arrival.received_at)
        if isinstance(result, Unreadable | Ignored):
            return result
        found = (result,) if isinstance(result, SmsMessage) else result
        return self._reading(arrival, None, believed, found)

    async def _read_mail(self, arrival: Arrival) -> Result:
        opened = await self._run(arrival, lambda: self._open(arrival.raw))
        if isinstance(opened, Unreadable):
            return opened
        email, provider = opened
        believed = self._vouched
        signed = False
        uncovered = ""
        if believed is None and self._policies is not None:
            weighed = await trust.weigh(arrival, email, self._policies[provider.name], self._names)
            if isinstance(weighed, Unreadable):
                return Unreadable(weighed.reason, weighed.detail, provider.name)
            believed = weighed
        if believed is not None and believed.covers is not None:
            signed = True
            uncovered = trust.uncovered(email, believed, headers_read(provider))
            email = trust.only_covered(email, believed)
        result = await self._run(arrival, lambda: _read_covered(provider, email, signed=signed))
        if isinstance(result, Unreadable):
            return replace(result, detail=result.detail + uncovered)
        if isinstance(result, Ignored):
            return result
        found = (result,) if isinstance(result, SmsMessage) else result
        if len(found) > 1 and len(found) * len(arrival.raw) > _MAX_COPIES:
            return Unreadable(
                Reason.UNREADABLE,
                f"{len(found)} SMS in a mail of {len(arrival.raw)} bytes are too many: the raw "
                f"mail is stored with each, at most {_MAX_COPIES} bytes in total",
                provider.name,
            )
        return self._reading(arrival, email, believed, found)

    async def _run(self, arrival: Arrival, work: Callable[[], T]) -> T:
        """Run a part of the reading: in a thread, if the mail is large."""
        return await asyncio.to_thread(work) if len(arrival.raw) > _INLINE else work()

    def _open(self, raw: bytes) -> tuple[Email, Provider] | Unreadable:
        """Decode a mail and find the provider that it claims to come from."""
        email = mail.decode(raw)
        if isinstance(email, Unreadable):
            return email
        provider = providers.choose(self._known, email)
        return provider if isinstance(provider, Unreadable) else (email, provider)

    def _reading(
        self,
        arrival: Arrival,
        email: Email | None,
        believed: Trust | None,
        found: Sequence[SmsMessage],
    ) -> Reading:
        digest = hashlib.sha256(arrival.raw).hexdigest()
        once = f"{digest} {arrival.received_at.isoformat()}"
        summary: EmailSummary | None = None
        repairs: tuple[str, ...] = ()
        if email is not None:
            summary = EmailSummary(email.message_id, email.subject, email.charset)
            repairs = (*_line_ends(arrival), *email.warnings)
        now = self._clock()
        messages = []
        for ordinal, sms in enumerate(found):
            identity = event.identity(sms, email, ordinal, once)
            warnings = tuple(dict.fromkeys((*repairs, *sms.warnings)))
            message = Message(
                id=identity.message_id,
                sms=sms if warnings == sms.warnings else replace(sms, warnings=warnings),
                source=arrival.source,
                email=summary,
                sha256=digest,
                trust=believed,
                bridged_at=now,
            )
            events = formats.events(message, self._formats)
            messages.append(ReadMessage(message, identity, events))
        return Reading(tuple(messages))


def _line_ends(arrival: Arrival) -> tuple[str, ...]:
    """Warn of bare LF, where it is the client's own: in a file it is the system's line end."""
    bare = arrival.source is SourceKind.SMTP and (
        arrival.raw.count(b"\n") != arrival.raw.count(b"\r\n")
    )
    return (str(mail.Repair.BARE_LINE_FEEDS),) if bare else ()


def _read_covered(
    provider: Provider, email: Email, *, signed: bool
) -> SmsMessage | tuple[SmsMessage, ...] | Unreadable | Ignored:
    """Read a mail that has only the headers that its evidence covers."""
    if not provider.matches(email):
        return Unreadable(
            Reason.UNTRUSTED,
            "only headers that the evidence doesn't cover mark the mail as this provider's",
            provider.name,
        )
    return providers.read_signed(provider, email) if signed else provider.read_email(email)
