"""What an attempt tells: one line in the log, and its metrics."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bridge import logs, metrics
from bridge.model import Attempt, Claim, Dead, Decision, Delivered, Hold, RetryAt

log = logs.logger("delivery")

_RESULTS: Final[dict[type[Decision], str]] = {
    Delivered: "delivered",
    RetryAt: "retry",
    Hold: "held",
    Dead: "dead",
}


class AttemptReport:
    """Reports the attempts of one endpoint."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._counters = {
            result: metrics.ATTEMPTS.labels(endpoint, result) for result in _RESULTS.values()
        }
        self._seconds = metrics.ATTEMPT_SECONDS.labels(endpoint)
        self._paced = metrics.RATE_LIMITED_SECONDS.labels(endpoint)

    def paced(self, seconds: float) -> None:
        """Count time in which deliveries waited for nothing but the endpoint's rate."""
        self._paced.inc(seconds)

    def over(self, *, over: bool) -> None:
        """Show whether the endpoint's failover URL is in use."""
        metrics.FAILOVER.labels(self._endpoint).set(over)

    def write(self, done: Attempt, now: datetime) -> None:
        """Count and log an attempt that has ended; `age` is the event's, in seconds."""
        claim, outcome, decision = done.claim, done.outcome, done.decision
        result = _RESULTS[type(decision)]
        self._counters[result].inc()
        self._seconds.observe(outcome.duration)
        write = log.info if isinstance(decision, Delivered) else log.warning
        write(
            "delivery.attempt",
            delivery=claim.delivery_id,
            webhook_id=claim.event.id,
            endpoint=self._endpoint,
            attempt=claim.attempt,
            result=result,
            status=outcome.status,
            error=outcome.error,
            detail=outcome.detail or None,
            age=_age(claim, now),
            ms=round(outcome.duration * 1000, 1),
            failover=done.failover or None,
            next_at=decision.at if isinstance(decision, RetryAt) else None,
        )


def _age(claim: Claim, now: datetime) -> float | None:
    return None if claim.created_at is None else round((now - claim.created_at).total_seconds(), 1)
