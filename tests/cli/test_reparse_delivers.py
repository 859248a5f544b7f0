"""A mail that could not be read is delivered once a label is added to the config."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.cli.demo import Daemon
from bridge.cli.demo_receiver import Receiver
from tests.cli.conftest import SECRET, Ran, mail
from tests.patience import PATIENCE

pytestmark = pytest.mark.processes


Smsbridge = Callable[..., Ran]
CONFIG = f"""
[store]
min_free = 0
[smtp]
listen = ["127.0.0.1:0"]
[http]
listen = ""
[log]
format = "json"
[[providers]]
name = "agile"
time_zone = "Europe/Rome"
trust = {{ anyone = true }}
# labels
[[endpoints]]
name = "crm"
url = "URL"
secret = "{SECRET}"
"""
LABELS = 'labels = { from = ["Mittente"], body = ["Messaggio"] }'
UNKNOWN = (
    mail("italian", "482913")
    .replace(b"\r\nFrom: +39", b"\r\nMITTENTE : +39")
    .replace(b"Body:", b"Messaggio:")
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Take webhooks on the loopback."""
    with Receiver() as receiver:
        yield receiver


def test_a_label_that_is_added_makes_reparse_deliver(
    smsbridge: Smsbridge, tmp_path: Path, receiver: Receiver
) -> None:
    """Quarantine names the missing field; after the fix the webhook has the id of a first try."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.replace("URL", receiver.url))
    config.chmod(0o600)
    daemon = Daemon(config)
    try:
        with smtplib.SMTP(daemon.host, daemon.port, timeout=PATIENCE) as client:
            client.sendmail("smsin@agiletelecom.com", ["sms@example.com"], UNKNOWN)

        (waiting,) = smsbridge("quarantine", "list", "-c", config, "--json").document
        assert waiting["reason"] == "unreadable"
        assert waiting["provider"] == "agile"
        assert "no label Body or Text was found" in waiting["detail"]
        arrival = str(waiting["id"])
        assert smsbridge("quarantine", "reparse", arrival, "-c", config, "--json").code == 1

        config.write_text(config.read_text().replace("# labels", LABELS))
        (tmp_path / "raw.eml").write_bytes(UNKNOWN)
        fresh = smsbridge("parse", tmp_path / "raw.eml", "-c", config, "--json").document
        ran = smsbridge("quarantine", "reparse", arrival, "-c", config, "--json")
        assert (ran.code, ran.document[0]["outcome"]) == (0, "message")
        webhook = receiver.next()
    finally:
        daemon.stop()
    data = json.loads(webhook.body)["data"]
    assert data["id"] == webhook.headers["webhook-id"] == fresh["data"]["id"]
    assert (data["from"], data["body"]) == ("+393301234567", "482913")
    assert smsbridge("audit", "-c", config).code == 0
