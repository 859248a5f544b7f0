"""Deliveries: planned, claimed, attempted, decided on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bridge.model.message import SMS_RECEIVED, Event


class DeliveryState(StrEnum):
    """The state of a delivery; every delivery is in exactly one."""

    PENDING = "pending"
    DELIVERED = "delivered"
    HELD = "held"
    DEAD = "dead"
    FILTERED = "filtered"


class EndpointState(StrEnum):
    """The state of an endpoint. All but ACTIVE hold back deliveries, none drops any."""

    ACTIVE = "active"
    PAUSED = "paused"  # by an operator
    REFUSED = "refused"  # it answered 410 Gone
    FAILING = "failing"  # too many attempts failed: one at a time is made


class Order(StrEnum):
    """Which deliveries of one conversation an endpoint gets one after the other."""

    NONE = "none"
    BLOCK = "block"  # all of them: behind one that fails the others wait
    OVERTAKE = "pass"  # those that fail are passed by while they wait for their retry


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """An endpoint's state, since when, and why an operator or the endpoint decided it."""

    state: EndpointState
    since: datetime | None = None  # None while it is active
    reason: str | None = None
    failover_since: datetime | None = None  # its failover URL is in use


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """A delivery to be written with its message.

    `claimed`: the lane has a free slot, so the row is written as leased to us, attempt 1, unless
    another delivery of its `conversation` goes first.
    """

    endpoint: str
    state: DeliveryState
    claimed: bool = False
    reason: str | None = None  # why it is held or filtered
    format: str = SMS_RECEIVED  # of the event that the endpoint gets
    order: Order = Order.NONE
    conversation: int | None = None  # None without an order
    lane: int = field(default=0, compare=False)  # whose slot it has, if `claimed`


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery leased to us for one attempt, which the store has counted already.

    `attempt` counts every HTTP call ever made for this delivery, from 1. `step` counts from 0 in
    its schedule, which had gone on for `elapsed` seconds that bridges have really lived; an
    operator's retry begins a new one.
    """

    delivery_id: int
    endpoint: str
    event: Event
    attempt: int
    step: int
    elapsed: float
    lease: str  # the token that `record` must present
    conversation: int | None = None  # in which the endpoint gets its deliveries one by one
    due_at: datetime | None = None  # before it was claimed; None if it was written as claimed
    sequence: int | None = None  # its number in the endpoint's stream
    sent_before: bool = False  # an earlier request with this event may have arrived
    created_at: datetime | None = None  # the event
    lane: int = 0  # whose slot was reserved for it; 0: it was claimed from the store


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one HTTP call ended: a status, or the error that came instead of one.

    `duration` is in seconds; `answer` is at most 4 KiB of the response's body; `retry_after` is
    the header in seconds. `error` is a constant name (`timeout`, `connect`, `tls`, `protocol`,
    `address` for one that is not allowed, `answer` for a 2xx one that is no success), `detail` the
    sentence.
    """

    status: int | None
    duration: float
    error: str | None = None
    detail: str = ""
    retry_after: float | None = None
    answer: bytes = field(default=b"", repr=False)
    sent: bool = True  # whether the request had begun to be sent: else it can't have arrived


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint accepted it."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at this time, as this step of the schedule.

    `not_before`: until when the endpoint asked to wait (Retry-After); None if it didn't.
    """

    at: datetime
    step: int
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep it until an operator resumes; `whole_endpoint` holds every delivery of the endpoint."""

    reason: str
    whole_endpoint: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """The schedule is exhausted; the payload is kept."""

    reason: str


Decision = Delivered | RetryAt | Hold | Dead


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP call and the decision on it, to be recorded.

    `failing`: whether the endpoint is failing from now on; None if that hasn't changed.
    `failover`: it was made to the endpoint's failover URL.
    """

    claim: Claim
    started_at: datetime
    outcome: Outcome
    decision: Decision
    failing: bool | None = None
    failover: bool = False
