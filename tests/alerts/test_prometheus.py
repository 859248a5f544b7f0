"""A real Prometheus, set up as docs/deployment.md says, scrapes a real daemon and alerts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.alerts.recording import RULES
from tests.chaos.mails import sms_mail
from tests.servers.daemon import Config, Daemon
from tests.servers.prometheus import Prometheus

pytestmark = pytest.mark.processes

_PAGE: Final = Path(__file__).parents[2] / "docs" / "deployment.md"
_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_UNREACHABLE: Final = (
    'name = "inbox"', 'host = "127.0.0.1"', "port = 9", "tls = false",
    'username = "u"', 'password = "p"',
)  # fmt: skip


def test_prometheus_scrapes_loads_the_rules_and_alerts(tmp_path: Path) -> None:
    """Every rule is healthy and every series of theirs is there before anything has happened."""
    mail = sms_mail("quarantined")
    config = Config({"crm": "http://127.0.0.1:9/"}, _SECRET, extra={"imap": _UNREACHABLE})
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        with Prometheus(tmp_path, _as_written(daemon.http)) as prometheus:
            prometheus.wait_for('up{job="smsbridge"} == 1')
            prometheus.wait_for("smsbridge_quarantine_total")
            asked = set(re.findall(r"\bsmsbridge_\w+", RULES.read_text()))
            assert [name for name in sorted(asked) if not prometheus.query(name)] == []
            assert daemon.send(mail.sender, ["x@y.example"], mail.raw)[0] == 250
            (fired,) = prometheus.wait_for('ALERTS{alertname="SmsbridgeQuarantine"}')
            assert fired["alertstate"] == "firing"
            assert fired["reason"] == "untrusted"
            (group,) = prometheus.ask("rules")["groups"]
            assert {rule["health"] for rule in group["rules"]} == {"ok"}


def _as_written(http: tuple[str, int]) -> str:
    """Take the scrape config from the page, but for where things are in a test."""
    page = _PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(scrape_configs:.*?)^```$", page, re.MULTILINE | re.DOTALL)
    here = {
        "127.0.0.1:8080": "{}:{}".format(*http),
        f"/usr/share/smsbridge/{RULES.name}": f"{RULES}",
    }
    for written, actual in here.items():
        assert written in block
        block = block.replace(written, actual)
    return block
