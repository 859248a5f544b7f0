"""The straight line from an arrival to the receipt: decode, trust, read, plan, store, start.

What cannot be read becomes quarantine, never an exception: the only faults that leave here are
the store's, and a DNS's that does not answer. They mean that nothing was taken.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from bridge import event, logs, mail, metrics, providers, trust
from bridge.config.settings import TrustSettings
from bridge.errors import StoreUnavailable, TrustUnavailable
from bridge.model import (
    Arrival,
    ArrivalOutcome,
    Claim,
    Email,
    Event,
    Identity,
    Ignored,
    PlannedDelivery,
    Reason,
    Receipt,
    SmsMessage,
    Trust,
    Unreadable,
)
from bridge.providers.base import Provider
from bridge.store import Ingest, Parsed

log = logs.logger("ingest")

# A store that hangs must not hold the other side for longer than it is willing to wait. What was
# handed over may still be committed: then the mail that comes again is a duplicate.
_COMMIT_DEADLINE: Final = 60.0
# A mail over this size is decoded in a thread: the worst HTML that is read at all takes 0.1 s,
# which must hold nobody up. Below it the thread would cost more than the work.
_DECODE_INLINE: Final = 8 * 1024
_MAX_COPIES: Final = 8 * 1024**2  # bytes of one mail that holds several SMS, times these


@dataclass(frozen=True, slots=True)
class Reading:
    """A message that was read, with all that follows from it but the deliveries."""

    message: SmsMessage
    email: Email
    identity: Identity
    trust: Trust | None  # None only where trust was not asked for
    event: Event
    more: tuple[Reading, ...] = ()  # the other messages of the same mail, in their order

    @property
    def all(self) -> tuple[Reading, ...]:
        """Every message of the mail."""
        return (self, *self.more)


class Reader:
    """Reads arrivals with the configured providers and their evidence.

    `policies` None reads without asking for evidence: for `smsbridge parse`, never for a source.
    `vouched` stands in for all evidence: an operator answers for the mails of an import. `names`
    is asked for what evidence lies in the DNS.
    """

    def __init__(
        self,
        known: Sequence[Provider],
        policies: Mapping[str, TrustSettings] | None,
        clock: Callable[[], datetime],
        vouched: Trust | None = None,
        names: trust.Names | None = None,
    ) -> None:
        self._names = names
        self._vouched = vouched
        self._known = known
        self._policies = policies
        self._clock = clock

    async def read(self, arrival: Arrival) -> Reading | Unreadable | Ignored:
        """Read one arrival; a bug on the way is quarantine too, so that the raw mail is kept.

        Raises TrustUnavailable if its evidence can only be looked for later.
        """
        try:
            return await self._read(arrival)
        except TrustUnavailable:
            raise
        except Exception as error:
            # The exception's text may quote the mail, so only its class is told; the log has
            # the place.
            log.exception("arrival.bug", source=arrival.source_name)
            return Unreadable(
                Reason.INTERNAL,
                f"a bug in smsbridge ({type(error).__name__}): the log says where; please report "
                "it, and reparse this arrival after the fix",
            )

    async def _read(self, arrival: Arrival) -> Reading | Unreadable | Ignored:
        if len(arrival.raw) > _DECODE_INLINE:
            email = await asyncio.to_thread(mail.decode, arrival.raw)
        else:
            email = mail.decode(arrival.raw)
        if isinstance(email, Unreadable):
            return email
        provider = providers.choose(self._known, email)
        if isinstance(provider, Unreadable):
            return provider
        believed = self._vouched
        if believed is None and self._policies is not None:
            weighed = await trust.weigh(arrival, email, self._policies[provider.name], self._names)
            if isinstance(weighed, Unreadable):
                return Unreadable(weighed.reason, weighed.detail, provider.name)
            believed = weighed
            email = trust.covered(email, believed)
            if not provider.matches(email):
                return Unreadable(
                    Reason.UNTRUSTED,
                    "only headers without evidence say that the mail is this provider's"
                    + trust.missed(email),
                    provider.name,
                )
        result = provider.read_email(email)
        if isinstance(result, Unreadable):
            return replace(result, detail=result.detail + trust.missed(email))
        if isinstance(result, Ignored):
            return result
        messages = (result,) if isinstance(result, SmsMessage) else result
        if len(messages) > 1 and len(messages) * len(arrival.raw) > _MAX_COPIES:
            return Unreadable(
                Reason.UNREADABLE,
                f"{len(messages)} SMS in a mail of {len(arrival.raw)} bytes are too much: the raw "
                f"mail is kept with each, {_MAX_COPIES} bytes in all at most",
                provider.name,
            )
        first, *more = (
            self._reading(arrival, email, believed, message, ordinal)
            for ordinal, message in enumerate(messages)
        )
        return replace(first, more=tuple(more)) if more else first

    def _reading(
        self,
        arrival: Arrival,
        email: Email,
        believed: Trust | None,
        message: SmsMessage,
        ordinal: int,
    ) -> Reading:
        identity = event.identity(message, email, ordinal)
        fields = event.data(
            message,
            message_id=identity.message_id,
            arrival=arrival,
            email=email,
            trust=believed,
            bridged_at=self._clock(),
        )
        return Reading(message, email, identity, believed, event.build(fields, message.received_at))


class Deliveries(Protocol):
    """What the line needs of the dispatcher."""

    def plan(self, message: SmsMessage) -> tuple[PlannedDelivery, ...]:
        """Say which deliveries follow, and reserve a lane's slot for those it can run now."""

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Give back the slots of deliveries that were not written."""

    def start(self, claims: Sequence[Claim]) -> None:
        """Run the deliveries that were written as leased to us."""


class Ledger(Protocol):
    """What the line needs of the store."""

    async def ingest(self, item: Ingest) -> Receipt:
        """Commit an arrival with all that follows from it."""


class Intake:
    """Takes arrivals from the sources: `accept` is what they are given."""

    def __init__(
        self,
        reader: Reader,
        ledger: Ledger,
        deliveries: Deliveries,
        deadline: float = _COMMIT_DEADLINE,
    ) -> None:
        self._deadline = deadline
        self._reader = reader
        self._ledger = ledger
        self._deliveries = deliveries

    async def accept(self, arrival: Arrival) -> Receipt:
        """Store an arrival, whatever it is, and return the receipt once it is committed.

        Raises StoreUnavailable or StoreFull if it is not known to be stored, and TrustUnavailable
        if it was not handed to the store at all: the source must then leave the arrival with the
        other side. If a commit ends after its deadline all the same, the
        arrival that comes again is a duplicate, and the deliveries go out when their lease ends.
        Deliveries begin in the background.
        """
        began = time.monotonic()
        result = await self._reader.read(arrival)
        planned: Sequence[tuple[PlannedDelivery, ...]] = ()
        if isinstance(result, Reading):
            planned = [self._deliveries.plan(each.message) for each in result.all]
        unused: Sequence[PlannedDelivery] = [plan for each in planned for plan in each]
        try:
            async with asyncio.timeout(self._deadline):
                receipt = await self._ledger.ingest(to_store(arrival, result, planned))
            unused = _not_started(unused, receipt.claims)
        except TimeoutError:
            raise StoreUnavailable(
                f"the store did not commit within {self._deadline:.0f} s"
            ) from None
        finally:
            self._deliveries.release(unused)
        self._deliveries.start(receipt.claims)
        _tell(arrival, result, receipt, time.monotonic() - began)
        return receipt


def _not_started(
    planned: Sequence[PlannedDelivery], claims: Sequence[Claim]
) -> list[PlannedDelivery]:
    """Give what was planned less one claimed plan for each claim."""
    started = Counter(claim.endpoint for claim in claims)
    unused: list[PlannedDelivery] = []
    for plan in planned:
        if plan.claimed and started[plan.endpoint]:
            started[plan.endpoint] -= 1
        else:
            unused.append(plan)
    return unused


def to_store(
    arrival: Arrival,
    result: Reading | Unreadable | Ignored,
    planned: Sequence[tuple[PlannedDelivery, ...]],
    arrival_id: int | None = None,
) -> Ingest:
    """Put together what the store writes, `planned` being the deliveries of each message.

    `arrival_id` names the arrival that is parsed again.
    """
    if not isinstance(result, Reading):
        return Ingest(arrival, result, arrival_id)
    parsed = [_parsed(each, plans) for each, plans in zip(result.all, planned, strict=True)]
    return Ingest(arrival, parsed[0], arrival_id, tuple(parsed[1:]))


def _parsed(reading: Reading, planned: tuple[PlannedDelivery, ...]) -> Parsed:
    assert reading.trust is not None, "an arrival whose evidence was not weighed is never stored"
    return Parsed(reading.message, reading.identity, reading.event, reading.trust, planned)


def _tell(
    arrival: Arrival, result: Reading | Unreadable | Ignored, receipt: Receipt, seconds: float
) -> None:
    """Count the arrival and write its one log line; numbers masked, no text."""
    source = arrival.source.value
    metrics.ARRIVALS.labels(source, receipt.outcome.value).inc()
    metrics.ACCEPT_SECONDS.labels(source).observe(seconds)
    known = {
        "arrival": receipt.arrival_id,
        "source": arrival.source_name,
        "peer": arrival.peer,
        "outcome": receipt.outcome.value,
        "ms": round(seconds * 1000, 1),
    }
    if isinstance(result, Reading):
        log.info(
            "arrival.stored",
            **known,
            message=receipt.message_id,
            messages=len(result.all),
            provider=result.message.provider,
            sender=logs.mask(result.message.sender),
            recipient=logs.mask(result.message.recipient),
        )
    elif receipt.outcome is ArrivalOutcome.IGNORED or isinstance(result, Ignored):
        log.info("arrival.stored", **known, provider=result.provider, detail=result.detail)
    else:
        metrics.QUARANTINE.labels(result.reason.value, result.provider or "").inc()
        log.warning(
            "arrival.stored",
            **known,
            provider=result.provider,
            reason=result.reason.value,
            detail=result.detail,
        )
