"""What the API answers, as models. The OpenAPI document is made of them; the daemon has none."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from bridge.model import ArrivalOutcome, DeliveryState, EndpointState, SourceKind

_Item = TypeVar("_Item")


class Answer(BaseModel):
    """Strict here, so that a test finds what isn't written down; fields are only ever added."""

    model_config = ConfigDict(extra="forbid")


class Problem(Answer):
    """A problem document (RFC 9457); `detail` is a sentence for the operator."""

    type: str
    title: str
    status: int
    detail: str


class List(Answer, Generic[_Item]):
    """A page of a list; `next` asks for the one after it, null at the end.

    A page may be shorter than `limit`, or empty, while there is a `next`: of a filter that hardly
    anything matches, each looks at so much and no more.
    """

    data: list[_Item]
    next: int | None


class Message(Answer):
    """A message in a list; numbers are masked for the scope read."""

    id: str
    arrival_id: int
    provider: str
    sender: str = Field(alias="from")
    to: str
    received_at: AwareDatetime
    bridged_at: AwareDatetime
    provider_message_id: str | None
    arrived_at: AwareDatetime
    state: DeliveryState | None = Field(description="sums up its deliveries; null: it has none")
    body: str | None = Field(None, description="with include=body alone")


class Trust(Answer):
    """Why an arrival was believed."""

    by: str
    detail: str | None


class Arrival(Answer):
    """What came in, and what it became; envelope addresses are for the scope operate."""

    id: int
    source: SourceKind
    source_name: str
    received_at: AwareDatetime
    outcome: ArrivalOutcome
    reason: str | None
    detail: str | None
    provider: str | None
    message_id: str | None
    trust: Trust | None
    reparsed_at: AwareDatetime | None
    purged_at: AwareDatetime | None
    discarded_because: str | None
    peer: str | None
    size: int
    envelope_from: str | None = None
    recipients: list[str] | None = None


class Delivery(Answer):
    """An event on its way to an endpoint, or there."""

    id: int
    message_id: str | None
    endpoint: str
    state: DeliveryState
    reason: str | None
    attempts: int
    next_at: AwareDatetime | None
    under_way: bool
    behind: int | None
    waits_for_rate: str | None
    created_at: AwareDatetime
    changed_at: AwareDatetime
    last_error: str | None
    replay: int | None
    sequence: int | None


class Attempt(Answer):
    """One HTTP call; `answer`, the beginning of what it answered, is for the scope operate."""

    number: int
    started_at: AwareDatetime
    seconds: float
    result: str
    status: int | None
    error: str | None
    detail: str
    sent: bool
    failover: bool
    lease_lost: bool
    answer: str | None


class DeliveryStory(Answer):
    """A delivery with every attempt."""

    delivery: Delivery
    attempts: list[Attempt]


class MessageStory(Answer):
    """A message with the arrivals that brought and repeat it, and its deliveries.

    `data` is that of the webhook, with its text null unless it was asked for.
    """

    data: dict[str, Any]
    arrivals: list[Arrival]
    deliveries: list[Delivery]


class Endpoint(Answer):
    """An endpoint, and what waits for it."""

    name: str
    configured: bool
    state: EndpointState
    since: AwareDatetime | None
    failover_since: AwareDatetime | None
    held: str | None = Field(description="why it is held, if it is")
    pending: int
    behind: int
    held_deliveries: int
    dead: int
    sequence: int
    oldest_due: datetime | None


class Sources(Answer):
    """How each source is, and what is wrong with the bridge, in sentences."""

    data: dict[str, dict[str, Any]]
    problems: list[str]


class Act(Answer):
    """What somebody did; without a result it was cut off."""

    id: int
    at: AwareDatetime
    who: str
    way: str
    what: str
    target: str
    why: str | None
    result: str | None


class Reparsed(Answer):
    """What an arrival became when it was read again."""

    arrival_id: int
    outcome: str
    message_id: str | None
    reason: str | None
    detail: str | None


class Discarded(Answer):
    """How many arrivals were discarded."""

    discarded: int


class Retried(Answer):
    """How many deliveries are tried again; 0: it is under way, or done."""

    retried: int


class Held(Answer):
    """How many pending deliveries are held now."""

    held: int


class Resumed(Answer):
    """How many deliveries were released."""

    resumed: int


class Pinged(Answer):
    """What an endpoint answered to a ping."""

    ok: bool
    endpoint: str
    webhook_id: str
    status: int | None
    error: str | None
    detail: str
    seconds: float
    answer: str


class Previewed(Answer):
    """How many deliveries match now."""

    deliveries: int


class Ordered(Answer):
    """The retry that was ordered."""

    retry: int


class Cancelled(Answer):
    """The retry that was cancelled."""

    cancelled: int


class Retry(Answer):
    """A retry by filter, and how far it is; `looked_at` is the part of the deliveries."""

    id: int
    filter: dict[str, Any]
    state: str = Field(description="running, done or cancelled")
    rate: float
    retried: int
    skipped: int
    looked_at: float
    created_at: AwareDatetime
    changed_at: AwareDatetime
    who: str | None
    why: str | None


class Config(BaseModel):
    """The config that is in use, without secrets, as `smsbridge check --json` has it."""


class Description(BaseModel):
    """An OpenAPI document."""


MessageList = List[Message]
ArrivalList = List[Arrival]
DeliveryList = List[Delivery]
EndpointList = List[Endpoint]
ActList = List[Act]
RetryList = List[Retry]
