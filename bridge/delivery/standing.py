"""How an endpoint stands: whether it fails, and which of its URLs is in use; told to everybody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from bridge import logs
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.outbox import Outbox
from bridge.delivery.report import AttemptReport
from bridge.delivery.routes import Routes, Way
from bridge.delivery.schedule import delivered
from bridge.model import Outcome

log = logs.logger("delivery")


class Standing:
    """Changes an endpoint's routes by what attempts come to, and says so.

    `failing` and `over_since` are how the last run ended: whether it failed, and since when its
    failover URL was in use.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        outbox: Outbox,
        report: AttemptReport,
        *,
        failing: bool,
        over_since: datetime | None,
    ) -> None:
        self._name = endpoint.name
        self._outbox = outbox
        self._report = report
        self._since = over_since
        self._tells = True
        self.routes = Routes(
            endpoint.concurrency,
            None if endpoint.failover is None else endpoint.failover_after,
            failing=failing,
            over=over_since is not None,
        )

    @property
    def over_since(self) -> datetime | None:
        """Since when the failover URL is in use; None while it isn't."""
        return self._since if self.routes.over else None

    def hand_over(self) -> tuple[bool, datetime | None]:
        """Return whether it fails, and since when its failover URL is in use; tell no more.

        For the lane that takes over: else what attempts in flight come to at a former URL would be
        said of the endpoint, and nobody would ever take it back.
        """
        self._tells = False
        return self.routes.failing, self.over_since

    def show(self) -> None:
        """Show which URL is in use."""
        self._report.over(over=self.routes.over)

    def update(self, outcome: Outcome, way: Way, now: float) -> bool | None:
        """Return whether the endpoint is failing from now on; None if that hasn't changed."""
        if not delivered(outcome):
            if not self.routes.failed(way, now) or not self._tells:
                return None
            log.warning("endpoint.failing", endpoint=self._name)
            return True
        if not self.routes.succeeded(way) or not self._tells:
            return None
        self.show()
        log.info("endpoint.recovered", endpoint=self._name)
        return False

    async def fail_over(self, time: Callable[[], float]) -> bool:
        """Use the failover URL from now on if it is time to; return whether that is so.

        The store is told first: what it can't keep doesn't happen. Raises StoreUnavailable.
        """
        if not (self._tells and self.routes.is_due(time())):
            return False
        since = await self._outbox.fail_over(self._name)
        if not self.routes.is_due(time()):  # a late success came meanwhile
            await self._outbox.recovered(self._name)
            return False
        self.routes.fail_over(time())
        self._since = since
        self.show()
        log.warning("endpoint.failed_over", endpoint=self._name)
        return True
