"""The report: the status of a running source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# What `/healthz` prints of a source beside its state: ISO 8601 times, seconds, counts.
Details = Mapping[str, str | float | None]


@dataclass(frozen=True, slots=True)
class Report:
    """The status of a source at this moment.

    `problem` is a sentence for the operator; with one the bridge is unhealthy. `stalled` is one,
    too: the source stopped without an error and only a restart helps, so the watchdog isn't fed.
    """

    state: str  # a constant, such as "connected"
    problem: str | None = None
    stalled: str | None = None
    details: Details = field(default_factory=dict)
