"""`smsbridge retries`: ordered by a command or by the API, carried out by a real daemon."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from bridge.signing.standard_webhooks import generate_secret
from tests.cli.conftest import Filled, Ran, mail
from tests.patience import PATIENCE
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.receiver import Receiver

Smsbridge = Callable[..., Ran]


def test_an_empty_filter_is_refused(smsbridge: Smsbridge, filled: Filled) -> None:
    """In one sentence, and nothing is ordered."""
    for more in ((), ("--dry-run",)):
        ran = smsbridge("retries", "start", *more, "-c", filled.config)
        assert (ran.code, "this would be all of them" in ran.err) == (2, True)
    assert smsbridge("retries", "list", "-c", filled.config, "--json").document == []


def test_the_json_has_the_promised_keys(smsbridge: Smsbridge, filled: Filled) -> None:
    """Preview, order, list and cancel; and the log says who and why."""
    wanted = ("--endpoint", "crm", "--state", "pending", "-c", filled.config, "--json")
    preview = smsbridge("retries", "start", *wanted, "--dry-run").document
    assert preview == {"deliveries": 1}
    ordered = smsbridge("retries", "start", *wanted, "--because", "they are back").document
    assert ordered == {"retry": 1}
    (shown,) = smsbridge("retries", "list", "-c", filled.config, "--json").document
    told = smsbridge("retries", "list", "--help").out
    assert [key for key in shown if f'"{key}"' not in told] == []
    assert (shown["state"], shown["why"]) == ("running", "they are back")
    (act,) = smsbridge("token", "log", "-c", filled.config, "--json").document
    assert (act["what"], act["why"]) == ("retries start", "they are back")
    ran = smsbridge("retries", "cancel", "1", "-c", filled.config, "--json")
    assert ran.document == {"cancelled": 1}
    assert smsbridge("retries", "cancel", "1", "-c", filled.config).code == 2


@pytest.mark.processes
def test_a_daemon_goes_on_over_a_kill(tmp_path: Path) -> None:
    """What is held is ordered by the API; SIGKILL in the middle; each goes out."""
    secret = generate_secret()
    with Receiver(secret) as receiver:
        config = Config({"crm": receiver.url}, secret).write(tmp_path)
        with Daemon(config) as daemon:
            daemon.start()
            assert daemon.command("endpoints", "hold", "crm").returncode == 0
            for number in range(30):
                raw = mail(f"{number}", f"text {number}")
                assert daemon.send("a@example.com", [MAILBOX], raw)[0] == 250
            made = daemon.command("token", "create", "ann", "--scope", "operate").stdout
            host, port = daemon.http
            order = {"filter": {"state": "held"}, "rate": 10, "why": "they can take some"}
            with httpx.Client(
                base_url=f"http://{host}:{port}/api/v1", trust_env=False, timeout=PATIENCE,
                headers={"Authorization": f"Bearer {made.strip()}"},
            ) as api:  # fmt: skip
                patience = time.monotonic() + PATIENCE
                while api.get("/retries").status_code == 404:  # tokens are looked up once a second
                    assert time.monotonic() < patience
                    time.sleep(0.05)
                assert api.post("/retries/preview", json=order | {"rate": 1}).status_code == 400
                del order["rate"]
                assert api.post("/retries/preview", json=order).json() == {"deliveries": 30}
                answer = api.post("/retries", json=order | {"rate": 10})
                assert (answer.status_code, answer.json()) == (200, {"retry": 1}), answer.text
            assert receiver.wait_for_ids(5)
            daemon.kill()
            daemon.start()
            assert receiver.wait_for_ids(30)
            daemon.wait_for("retry.done")
            assert daemon.command("audit").returncode == 0
            assert daemon.stop() == 0
        receiver.assert_honest()
