"""What smsbridge counts, in one registry of its own, served at `/metrics`.

Counters and histograms are moved where the thing happens. The gauges in the last block are read
from the store at each scrape (`bridge.web` asks for a refresh first).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from bridge.model import Reason

# A `_created` twin for every series doubles the page and answers no question that we have.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY: Final = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

# A synced commit takes 0.1 ms on a fast disk, 5 to 20 ms on a plain one, seconds when it is ill.
_COMMIT_BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
# An attempt's deadline is 20 s by default: the buckets end a little above it.
_ATTEMPT_BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0,
)  # fmt: skip
_BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)

ARRIVALS: Final = Counter(
    "smsbridge_arrivals",
    "Stored arrivals, by source and outcome.",
    ("source", "outcome"),
    registry=REGISTRY,
)
QUARANTINE: Final = Counter(
    "smsbridge_quarantine",
    "Arrivals put into quarantine, by reason and provider (empty if none matched).",
    ("reason", "provider"),
    registry=REGISTRY,
)
UNWANTED: Final = Counter(
    "smsbridge_unwanted_messages",
    "Stored messages that no endpoint wanted, by provider: they went nowhere.",
    ("provider",),
    registry=REGISTRY,
)
DNS_LOOKUPS: Final = Counter(
    "smsbridge_dns_lookups",
    "DNS lookups of DKIM keys, by outcome: answered, none (no such key) or unanswered.",
    ("outcome",),
    registry=REGISTRY,
)
ATTEMPTS: Final = Counter(
    "smsbridge_attempts",
    "HTTP calls to an endpoint, by result: delivered, retry, held or dead.",
    ("endpoint", "result"),
    registry=REGISTRY,
)
ATTEMPT_SECONDS: Final = Histogram(
    "smsbridge_attempt_seconds",
    "Duration of an HTTP call to an endpoint, including the connection.",
    ("endpoint",),
    buckets=_ATTEMPT_BUCKETS,
    registry=REGISTRY,
)
RATE_LIMITED_SECONDS: Final = Counter(
    "smsbridge_rate_limited_seconds",
    "Time in which deliveries waited for nothing but the endpoint's rate.",
    ("endpoint",),
    registry=REGISTRY,
)
COMMIT_SECONDS: Final = Histogram(
    "smsbridge_commit_seconds",
    "Duration of a transaction, including the sync to disk.",
    buckets=_COMMIT_BUCKETS,
    registry=REGISTRY,
)
COMMIT_BATCH: Final = Histogram(
    "smsbridge_commit_batch",
    "Number of items committed in one transaction.",
    buckets=_BATCH_BUCKETS,
    registry=REGISTRY,
)
ACCEPT_SECONDS: Final = Histogram(
    "smsbridge_accept_seconds",
    "Time from receiving a mail completely to its commit: how long a sender waits.",
    ("source",),
    buckets=_COMMIT_BUCKETS,
    registry=REGISTRY,
)
SMTP_CONNECTIONS: Final = Gauge(
    "smsbridge_smtp_connections",
    "Open SMTP connections.",
    registry=REGISTRY,
)
SMTP_REJECTED: Final = Counter(
    "smsbridge_smtp_rejected",
    "SMTP replies that refused something, by code.",
    ("code",),
    registry=REGISTRY,
)
POST_REFUSALS: Final = (401, 404, 405, 413, 415, 503)
POSTS_REFUSED: Final = Counter(
    "smsbridge_posts_refused",
    "Posts to a provider's address that were not stored, by provider and HTTP status.",
    ("provider", "status"),
    registry=REGISTRY,
)
SMTP_TURNED_AWAY: Final = Counter(
    "smsbridge_smtp_turned_away",
    "SMTP connections and mails turned away or cut off, by the limit that was reached.",
    ("limit",),
    registry=REGISTRY,
)
for _limit in (
    "connections", "connections_per_peer", "memory", "memory_per_peer", "rate", "evicted",
    "recipients",
):  # fmt: skip
    SMTP_TURNED_AWAY.labels(_limit)  # alerts look for an increase
LOG_DROPPED: Final = Counter(
    "smsbridge_log_lines_dropped",
    "Log lines dropped because nobody read the log.",
    registry=REGISTRY,
)
SHORTAGES: Final = Counter(
    "smsbridge_shortages",
    "Times that something failed for want of file descriptors, threads or memory.",
    ("resource",),
    registry=REGISTRY,
)
for _resource in ("descriptors", "threads", "memory"):
    SHORTAGES.labels(_resource)
IMAP_CONNECTED: Final = Gauge(
    "smsbridge_imap_connected",
    "1 while the mailbox is open and monitored, else 0.",
    ("mailbox",),
    registry=REGISTRY,
)
IMAP_LAST_SYNC: Final = Gauge(
    "smsbridge_imap_last_sync_timestamp_seconds",
    "When the last full check of the mailbox ended.",
    ("mailbox",),
    registry=REGISTRY,
)
IMAP_LAST_PUSH: Final = Gauge(
    "smsbridge_imap_last_push_timestamp_seconds",
    "When the mail server last announced new mail.",
    ("mailbox",),
    registry=REGISTRY,
)
IMAP_LAG_SECONDS: Final = Histogram(
    "smsbridge_imap_lag_seconds",
    "Time from a mail's arrival in the mailbox to its commit; the server's clock is in seconds.",
    ("mailbox",),
    buckets=(1, 2, 5, 10, 30, 60, 300, 900, 3600, 86400),
    registry=REGISTRY,
)
IMAP_ALARMS: Final = Counter(
    "smsbridge_imap_alarms",
    "Problems in a mailbox that need an operator, by kind; the log event imap.<kind> has details.",
    ("mailbox", "kind"),
    registry=REGISTRY,
)

QUARANTINE_REFUSED: Final = Counter(
    "smsbridge_quarantine_refused",
    "Strangers' mails that were deferred because quarantine is full, by whose limit: all or peer.",
    ("limit",),
    registry=REGISTRY,
)
REPLAYED: Final = Counter(
    "smsbridge_replayed",
    "Deliveries that replays ordered, by endpoint.",
    ("endpoint",),
    registry=REGISTRY,
)
PURGED: Final = Counter(
    "smsbridge_purged",
    "Rows that retention emptied, or of records deleted, by its setting: raw, bodies and so on.",
    ("kind",),
    registry=REGISTRY,
)
for _limit in ("all", "peer"):
    QUARANTINE_REFUSED.labels(_limit)  # alerts look for an increase
PROBLEMS: Final = Gauge(
    "smsbridge_problems",
    "Problems that /healthz reports, by kind: store, source, progress, delivery, resources, log, "
    "clock or damage.",
    ("kind",),
    registry=REGISTRY,
)

CLOCK_JUMPS: Final = Counter(
    "smsbridge_clock_jumps",
    "How often the clock was found to have been set by more than five seconds, ahead or back.",
    ("way",),
    registry=REGISTRY,
)
CLOCK_APART_SECONDS: Final = Gauge(
    "smsbridge_clock_apart_seconds",
    "How far the machine's clock is ahead of that of the database's server; 0 without one.",
    registry=REGISTRY,
)
for _way in ("ahead", "back"):
    CLOCK_JUMPS.labels(_way)

# Read from the store at each scrape.
DELIVERIES: Final = Gauge(
    "smsbridge_deliveries",
    "Deliveries in the store, by endpoint and state.",
    ("endpoint", "state"),
    registry=REGISTRY,
)
ENDPOINT_STATE: Final = Gauge(
    "smsbridge_endpoint_state",
    "1 for the state that the endpoint is in, of active, paused, refused and failing; else 0.",
    ("endpoint", "state"),
    registry=REGISTRY,
)
DIGESTS: Final = Counter(
    "smsbridge_digests",
    "Digests made, by endpoint.",
    ("endpoint",),
    registry=REGISTRY,
)
PULLS: Final = Counter(
    "smsbridge_pulls",
    "Requests for the events of an endpoint under /api/v1, by endpoint and status.",
    ("endpoint", "status"),
    registry=REGISTRY,
)
PULLS_BY_OLD_TOKEN: Final = Counter(
    "smsbridge_pulls_by_old_token",
    "Those of them with a token of pull_tokens that is not the first, the new one.",
    ("endpoint",),
    registry=REGISTRY,
)
API_REQUESTS: Final = Counter(
    "smsbridge_api_requests",
    "Requests to the admin API that were let in, by operation and status.",
    ("operation", "status"),
    registry=REGISTRY,
)
TURNED_AWAY: Final = Counter(
    "smsbridge_turned_away",
    "Requests to API and page that were not let in, by status.",
    ("status",),
    registry=REGISTRY,
)
SEQUENCE: Final = Gauge(
    "smsbridge_sequence",
    "The last number in the endpoint's stream of deliveries.",
    ("endpoint",),
    registry=REGISTRY,
)
FAILOVER: Final = Gauge(
    "smsbridge_endpoint_failover",
    "1 while the endpoint's failover URL is in use, else 0.",
    ("endpoint",),
    registry=REGISTRY,
)
DELIVERIES_BEHIND: Final = Gauge(
    "smsbridge_deliveries_behind",
    "Pending deliveries that wait behind another one of their conversation, by endpoint.",
    ("endpoint",),
    registry=REGISTRY,
)
OLDEST_DUE_SECONDS: Final = Gauge(
    "smsbridge_oldest_due_seconds",
    "How long the oldest due delivery of an endpoint has been waiting for its attempt.",
    ("endpoint",),
    registry=REGISTRY,
)
OLDEST_UNDELIVERED_SECONDS: Final = Gauge(
    "smsbridge_oldest_undelivered_seconds",
    "Age of the oldest delivery that is pending, waiting for a retry, or held; 0 if there is none.",
    ("endpoint",),
    registry=REGISTRY,
)
FREE_BYTES: Final = Gauge(
    "smsbridge_free_bytes",
    "Free space on the disk that holds the store; NaN if that is on another machine.",
    registry=REGISTRY,
)
FREE_BYTES.set(math.nan)  # 0 would be a full disk: a PostgreSQL server's is not ours to see
QUARANTINED: Final = Gauge(
    "smsbridge_quarantined",
    "Arrivals in quarantine, by reason.",
    ("reason",),
    registry=REGISTRY,
)
STORE_UP: Final = Gauge(
    "smsbridge_store_up",
    "1 if the store answered this scrape, else 0: the other gauges read from it are then stale.",
    registry=REGISTRY,
)


def start_at_zero(providers: Sequence[str]) -> None:
    """Create the series of counters that alerts watch: from nothing to 1 is no increase."""
    for provider in ("", *providers):
        for reason in Reason:
            if reason is not Reason.NOT_SMS:  # ignored, never quarantined
                QUARANTINE.labels(reason.value, provider)
    for provider in providers:
        UNWANTED.labels(provider)
        for status in POST_REFUSALS:
            POSTS_REFUSED.labels(provider, str(status))
