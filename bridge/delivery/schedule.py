"""Decides what happens to a delivery after an attempt: pure, given outcome, schedule and time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

from bridge.config.settings import DeliverySettings
from bridge.delivery.routes import Way
from bridge.model import Claim, Dead, Decision, Delivered, Hold, Outcome, RetryAt

# Jitter spreads deliveries that failed together. It is only ever added: a wait is never shorter
# than the schedule or the endpoint's Retry-After.
JITTER_SHARE: Final = 0.1  # of the wait
JITTER_MAX: Final = 300.0  # seconds
OWN: Final = Way()


def decide(
    outcome: Outcome,
    claim: Claim,
    *,
    now: datetime,
    rng: Callable[[], float],
    settings: DeliverySettings,
    way: Way = OWN,
    over: bool = False,
) -> Decision:
    """Return the decision on an attempt of `claim` that ended at `now`.

    Any 2xx is Delivered. 410 holds the whole endpoint. Anything else is retried, no sooner than
    the schedule and the endpoint's Retry-After allow, until the schedule has gone on for `give_up`
    seconds: the first failure at or after that moment is Dead. Only time counts in which a bridge
    ran, so neither a clock that is set nor a long stop ends a schedule. `rng` returns numbers in
    [0, 1).

    `over`: the endpoint's failover URL is in use. What failed at its own URL goes there at once, as
    the same step; a 410 there holds nothing, since the endpoint itself did not say so.
    """
    if delivered(outcome):
        return Delivered()
    if outcome.status == HTTPStatus.GONE and not way.failover:
        return Hold("the endpoint answered 410 Gone", whole_endpoint=True)
    if over and not way.failover:
        return RetryAt(now, claim.step)
    if claim.elapsed + outcome.duration >= settings.give_up:
        return Dead(f"{failure(outcome)}, and the schedule is over after {claim.attempt} attempts")
    asked = _retry_after(outcome, settings)
    wait = _with_jitter(max(step_wait(claim.step, settings), asked), rng())
    not_before = now + timedelta(seconds=asked) if asked else None
    return RetryAt(now + wait, claim.step + 1, not_before)


def delivered(outcome: Outcome) -> bool:
    """Return whether the endpoint accepted the event: any 2xx, nothing else."""
    return outcome.error is None and outcome.status is not None and 200 <= outcome.status < 300


def failure(outcome: Outcome) -> str:
    """Return a short reason why an attempt failed."""
    if outcome.status is not None:
        return f"the endpoint answered {outcome.status}"
    return outcome.detail or outcome.error or "no answer"


def step_wait(step: int, settings: DeliverySettings) -> float:
    """Return the seconds between try `step` (counted from 0) and the next, without jitter."""
    # schedule[0] is the delay before the first try, which the store has applied already.
    following = step + 1
    return settings.schedule[following] if following < len(settings.schedule) else settings.repeat


def longest_waits(settings: DeliverySettings) -> tuple[timedelta, timedelta]:
    """Return the longest waits: by the schedule, and because an endpoint asked for it."""
    by_schedule = max(*settings.schedule, settings.repeat)
    return _with_jitter(by_schedule, 1), _with_jitter(settings.max_retry_after, 1)


def _with_jitter(wait: float, share: float) -> timedelta:
    return timedelta(seconds=wait + share * min(wait * JITTER_SHARE, JITTER_MAX))


def _retry_after(outcome: Outcome, settings: DeliverySettings) -> float:
    return min(outcome.retry_after or 0.0, settings.max_retry_after)
