"""What becomes of a delivery after a try: a pure function of the outcome and the schedule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_chain, wait_fixed

from bridge.config.settings import DeliverySettings
from bridge.model import Claim, Dead, Decision, Delivered, Hold, Outcome, RetryAt

# Jitter spreads what failed together, so that it doesn't come back together. It is only ever
# added: a wait is never shorter than the schedule, or the endpoint itself, says.
JITTER_SHARE: Final = 0.1  # of the wait
JITTER_MAX: Final = 300.0  # seconds

# tenacity's waits look at nothing but the state's attempt number; this only fills the type.
_RETRYING: Final = Retrying()


def decide(
    outcome: Outcome,
    claim: Claim,
    *,
    now: datetime,
    rng: Callable[[], float],
    settings: DeliverySettings,
) -> Decision:
    """Judge one try of `claim` that ended at `now`.

    Any 2xx is Delivered. 410 holds the whole endpoint. Everything else is tried again, no sooner
    than the schedule and the endpoint's Retry-After say, until `give_up` after the schedule
    began: the first failure at or after that moment is Dead. `rng` gives numbers in [0, 1).
    """
    if delivered(outcome):
        return Delivered()
    if outcome.status == HTTPStatus.GONE:
        return Hold("the endpoint answered 410 Gone", whole_endpoint=True)
    if now - claim.schedule_from >= timedelta(seconds=settings.give_up):
        return Dead(f"{failure(outcome)}, and the schedule is over after {claim.attempt} attempts")
    wait = max(step_wait(claim.step, settings), _asked_for(outcome, settings))
    wait += rng() * min(wait * JITTER_SHARE, JITTER_MAX)
    return RetryAt(now + timedelta(seconds=wait), claim.step + 1)


def delivered(outcome: Outcome) -> bool:
    """Say whether the endpoint took it: 2xx and nothing else."""
    return outcome.error is None and outcome.status is not None and 200 <= outcome.status < 300


def failure(outcome: Outcome) -> str:
    """Say in a few words why a try failed."""
    if outcome.status is not None:
        return f"the endpoint answered {outcome.status}"
    return outcome.detail or outcome.error or "no answer"


def step_wait(step: int, settings: DeliverySettings) -> float:
    """Give the seconds from the end of try `step` (counted from 0) to the next, without jitter."""
    state = RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = step + 1
    return _waits(settings.schedule, settings.repeat)(state)


@lru_cache(maxsize=8)
def _waits(schedule: tuple[float, ...], repeat: float) -> wait_chain:
    # schedule[0] is the wait before the first try, which the store has waited already.
    return wait_chain(*(wait_fixed(seconds) for seconds in (*schedule[1:], repeat)))


def _asked_for(outcome: Outcome, settings: DeliverySettings) -> float:
    return min(outcome.retry_after or 0.0, settings.max_retry_after)
