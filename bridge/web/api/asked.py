"""What is asked of the API: queries and bodies, as models that say what they want instead."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from bridge.model import ArrivalOutcome, DeliveryState, Reason, SourceKind

MAX_LIMIT: Final = 200
MAX_ID: Final = 2**63 - 1
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}"
    r"(:[0-9]{2}(\.[0-9]+)?)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _whole(value: object) -> object:
    """Take digits alone: ` 5`, `5.0` and digits of other scripts are mistakes."""
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise ValueError("must be a whole number")
        return int(value)
    return value


def _moment(value: object) -> object:
    """Take a time with its offset; a number would be taken for seconds."""
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError("must be a time with an offset, like 2026-04-08T14:30:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    """Return the same in UTC, as it is shown; on the first and last day there may be none."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time of the years 1 to 9999 in UTC") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_in_utc)]
Limit = Annotated[Annotated[int, Field(ge=1, le=MAX_LIMIT)], BeforeValidator(_whole)]
Id = Annotated[Annotated[int, Field(ge=0, le=MAX_ID)], BeforeValidator(_whole)]
Status = Annotated[Annotated[int, Field(ge=100, le=599)], BeforeValidator(_whole)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Number = Annotated[str, Field(min_length=1, max_length=32)]
Why = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]


class Asked(BaseModel):
    """A query or a body; what it doesn't know is refused, since it would be left out silently."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ListQuery(Asked):
    """Which part of a list."""

    limit: Limit = 50
    next: Id | None = Field(None, description="what the page before gave as `next`")


class SinceQuery(ListQuery):
    """Which part of a list, in time."""

    since: Moment | None = None
    until: Moment | None = None


class MessageQuery(SinceQuery):
    """Which messages; `since` and `until` are times of arrival."""

    number: Number | None = Field(None, description="from or to this number, the whole of it")
    provider: Name | None = None
    source: SourceKind | None = None
    endpoint: Name | None = Field(None, description="with a delivery to it")
    state: DeliveryState | None = Field(None, description="with a delivery in this state")
    include: Literal["body"] | None = Field(None, description="texts, too; scope operate")


class OneMessageQuery(Asked):
    """What of a message."""

    include: Literal["body"] | None = Field(None, description="its text, too; scope operate")


class ArrivalQuery(SinceQuery):
    """Which arrivals."""

    source: SourceKind | None = None
    source_name: Name | None = None
    provider: Name | None = None
    outcome: ArrivalOutcome | None = None


class QuarantineQuery(SinceQuery):
    """Which arrivals in quarantine."""

    reason: Reason | None = None
    source: SourceKind | None = None
    source_name: Name | None = None
    provider: Name | None = None


class DeliveryQuery(SinceQuery):
    """Which deliveries; `since` and `until` are times of their making."""

    endpoint: Name | None = None
    state: DeliveryState | None = None
    status: Status | None = Field(None, description="what the last attempt was answered")
    provider: Name | None = None
    source: SourceKind | None = None


class NoQuery(Asked):
    """Nothing can be chosen."""


class MayGiveReason(Asked):
    """Why, for the log, if there is something to say."""

    why: Why | None = None


class Reasoned(Asked):
    """Why: required, because somebody will ask."""

    why: Why


class RetryFilter(Asked):
    """Which deliveries; at least one of these. Times are those of their making."""

    endpoint: Name | None = None
    state: Literal["pending", "held", "dead"] | None = None
    status: Status | None = Field(None, description="what the last attempt was answered")
    provider: Name | None = None
    source: SourceKind | None = None
    since: Moment | None = None
    until: Moment | None = None


class RetryPreview(Asked):
    """What would be retried."""

    filter: RetryFilter
    why: Why | None = None


class RetryOrder(Asked):
    """What is to be retried, how fast, and why."""

    filter: RetryFilter
    rate: float = Field(10.0, ge=0.01, le=1000, description="deliveries a second")
    why: Why


def sentence_of(error: Any) -> str:
    """Say in a sentence what is wrong with the first thing that is."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(each) for each in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{_shown(place)} is not known here"
    said = str(first["msg"]).removeprefix("Value error, ")
    return f"{_shown(place)}: {said}" if place else said


def _shown(place: str) -> str:
    """Name a parameter, but not one that somebody made up to have it said back to him."""
    return place if re.fullmatch(r"[a-z_.0-9]{1,40}", place) else "a parameter"
