"""The metrics' names are a contract with dashboards and alerts."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bridge import metrics

LABELS = {
    "smsbridge_arrivals": ("source", "outcome"),
    "smsbridge_quarantine": ("reason", "provider"),
    "smsbridge_unwanted_messages": ("provider",),
    "smsbridge_dns_lookups": ("outcome",),
    "smsbridge_attempts": ("endpoint", "result"),
    "smsbridge_attempt_seconds": ("endpoint",),
    "smsbridge_rate_limited_seconds": ("endpoint",),
    "smsbridge_endpoint_failover": ("endpoint",),
    "smsbridge_commit_seconds": (),
    "smsbridge_commit_batch": (),
    "smsbridge_accept_seconds": ("source",),
    "smsbridge_replayed": ("endpoint",),
    "smsbridge_purged": ("kind",),
    "smsbridge_smtp_connections": (),
    "smsbridge_smtp_rejected": ("code",),
    "smsbridge_posts_refused": ("provider", "status"),
    "smsbridge_smtp_turned_away": ("limit",),
    "smsbridge_shortages": ("resource",),
    "smsbridge_log_lines_dropped": (),
    "smsbridge_imap_connected": ("mailbox",),
    "smsbridge_imap_last_sync_timestamp_seconds": ("mailbox",),
    "smsbridge_imap_last_push_timestamp_seconds": ("mailbox",),
    "smsbridge_imap_lag_seconds": ("mailbox",),
    "smsbridge_imap_alarms": ("mailbox", "kind"),
    "smsbridge_quarantine_refused": ("limit",),
    "smsbridge_deliveries": ("endpoint", "state"),
    "smsbridge_endpoint_state": ("endpoint", "state"),
    "smsbridge_deliveries_behind": ("endpoint",),
    "smsbridge_sequence": ("endpoint",),
    "smsbridge_digests": ("endpoint",),
    "smsbridge_pulls": ("endpoint", "status"),
    "smsbridge_pulls_by_old_token": ("endpoint",),
    "smsbridge_oldest_due_seconds": ("endpoint",),
    "smsbridge_oldest_undelivered_seconds": ("endpoint",),
    "smsbridge_problems": ("kind",),
    "smsbridge_api_requests": ("operation", "status"),
    "smsbridge_turned_away": ("status",),
    "smsbridge_clock_jumps": ("way",),
    "smsbridge_clock_apart_seconds": (),
    "smsbridge_free_bytes": (),
    "smsbridge_quarantined": ("reason",),
    "smsbridge_store_up": (),
}


def test_names_and_labels() -> None:
    """Every metric has its name, its labels and a help text."""
    ours = {
        value._name: value
        for value in vars(metrics).values()
        if getattr(value, "_name", "").startswith("smsbridge_")
    }
    assert {name: value._labelnames for name, value in ours.items()} == LABELS
    assert all(value._documentation.endswith(".") for value in ours.values())


def test_the_registry_is_ours_and_tells_of_the_process() -> None:
    """The page holds our metrics and the process's own, and no `_created` twins."""
    metrics.ARRIVALS.labels("smtp", "message").inc(0)
    page = generate_latest(metrics.REGISTRY).decode()
    names = {family.name for family in text_string_to_metric_families(page)}
    assert {"smsbridge_arrivals", "process_open_fds", "process_resident_memory_bytes"} <= names
    assert "_created" not in page


@pytest.mark.processes
def test_free_space_that_nobody_has_measured_is_no_full_disk() -> None:
    """With PostgreSQL it is never measured, and an alert on little space must stay silent."""
    asked = "from bridge.metrics import REGISTRY; print(REGISTRY.get_sample_value({!r}))"
    command = [sys.executable, "-c", asked.format("smsbridge_free_bytes")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "nan\n"
