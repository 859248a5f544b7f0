"""`smsbridge status`: asks the daemon, and says what waits."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.cli.conftest import Filled, Ran
from tests.servers.daemon import Config, Daemon
from tests.servers.ports import steady_port

Smsbridge = Callable[..., Ran]
SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiBzbXNicmlkZ2U="


@contextmanager
def answering(status: int, body: object) -> Iterator[str]:
    """Answer every GET on 127.0.0.1 like this; yield the address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listen_at(config: Path, address: str) -> None:
    config.write_text(f'{config.read_text()}\n[http]\nlisten = "{address}"\n')


def beat(config: Path) -> None:
    """Write a heartbeat as a daemon does: in microseconds since 1970."""
    with sqlite3.connect(config.with_name("bridge.db")) as database:
        database.execute("UPDATE heartbeat SET beat_at = CAST(unixepoch() AS INTEGER) * 1000000")
    database.close()


def test_a_daemon_that_does_not_answer_is_down(smsbridge: Smsbridge, filled: Filled) -> None:
    """Nothing listens: exit 1, and what waits is shown all the same."""
    address = f"127.0.0.1:{steady_port()}"
    listen_at(filled.config, address)
    beat(filled.config)
    ran = smsbridge("status", "-c", filled.config, "--json")
    document = ran.document
    assert (ran.code, document["ok"], document["daemon"]["state"]) == (1, False, "down")
    assert document["problems"] == [f"daemon: down: nothing answers at http://{address}/healthz"]
    (crm, other) = document["endpoints"]
    assert (crm["name"], crm["pending"], crm["undelivered_since"] is None) == ("crm", 1, False)
    assert (other["pending"], other["undelivered_since"]) == (0, None)
    assert document["quarantined"] == 1
    assert document["last_message_at"].endswith("Z")
    assert "daemon" in smsbridge("status", "-c", filled.config).out


def test_what_the_daemon_says_is_shown(smsbridge: Smsbridge, filled: Filled) -> None:
    """An unhealthy daemon is up; its problems and its mailboxes are in the status."""
    sources = {"imap.inbox": {"state": "away", "last_sync": None, "lag_seconds": 3.0, "open": 2}}
    health = {"ok": False, "problems": ["source: imap.inbox: no"], "sources": sources}
    with answering(503, health) as address:
        listen_at(filled.config, address)
        filled.config.write_text(
            filled.config.read_text()
            + '[[imap]]\nname = "inbox"\nhost = "127.0.0.1"\nusername = "u"\npassword = "p"\n'
        )
        beat(filled.config)
        ran = smsbridge("status", "-c", filled.config, "--json")
    assert (ran.code, ran.document["daemon"]["state"]) == (1, "up")
    assert ran.document["problems"] == ["source: imap.inbox: no"]
    assert ran.document["mailboxes"] == [
        {"name": "inbox", "state": "away", "last_sync": None, "lag_seconds": 3.0, "open": 2}
    ]


@pytest.mark.parametrize(
    ("status", "body"), [(200, {"hello": 1}), (404, {"problems": [], "sources": {}}), (200, [])]
)
def test_another_program_is_no_daemon(
    smsbridge: Smsbridge, filled: Filled, status: int, body: object
) -> None:
    """Whatever answers there otherwise isn't taken for a daemon."""
    with answering(status, body) as address:
        listen_at(filled.config, address)
        ran = smsbridge("status", "-c", filled.config, "--json")
    assert (ran.code, ran.document["daemon"]["state"]) == (1, "down")
    assert "another program answers" in ran.document["problems"][0]


def test_the_daemon_of_another_config_is_not_this_one(smsbridge: Smsbridge, filled: Filled) -> None:
    """A healthy answer counts only while this database has a heartbeat."""
    with answering(200, {"ok": True, "problems": [], "sources": {}}) as address:
        listen_at(filled.config, address)
        ran = smsbridge("status", "-c", filled.config, "--json")
        assert (ran.code, ran.document["daemon"]["state"]) == (1, "down")
        assert "does not write to this database" in ran.document["problems"][0]
        beat(filled.config)
        ran = smsbridge("status", "-c", filled.config, "--json")
    assert (ran.code, ran.document["problems"], ran.document["ok"]) == (0, [], True)


def test_without_an_address_the_heartbeat_counts(smsbridge: Smsbridge, filled: Filled) -> None:
    """With [http] off, a daemon is up if its heartbeat is recent."""
    listen_at(filled.config, "")
    assert smsbridge("status", "-c", filled.config, "--json").document["daemon"]["state"] == "down"
    beat(filled.config)
    ran = smsbridge("status", "-c", filled.config, "--json")
    assert (ran.code, ran.document["daemon"]["state"]) == (0, "up")


def test_held_and_dead_deliveries_are_problems(smsbridge: Smsbridge, filled: Filled) -> None:
    """Each comes with the command that helps, and the last failure is shown."""
    listen_at(filled.config, "")
    beat(filled.config)
    with sqlite3.connect(filled.config.with_name("bridge.db")) as database:
        database.execute(
            "INSERT INTO attempts (delivery_id, number, started_at, duration, result, lease_lost,"
            " status, detail, answer) VALUES (1, 1, 0, 0.5, 'dead', 0, 500, '', x'')"
        )
        database.execute("UPDATE deliveries SET state = 'dead', attempts = 1 WHERE id = 1")
    database.close()
    smsbridge("endpoints", "hold", "other", "--reason", "a new release", "-c", filled.config)
    with sqlite3.connect(filled.config.with_name("bridge.db")) as database:
        database.execute(
            "INSERT INTO endpoints (name, failing_since) VALUES ('crm', 1775651452000000)"
            " ON CONFLICT DO UPDATE SET failing_since = excluded.failing_since"
        )
    database.close()
    ran = smsbridge("status", "-c", filled.config, "--json")
    assert ran.code == 1
    states = [(each["state"], each["since"]) for each in ran.document["endpoints"]]
    assert (states[0], states[1][0]) == (("failing", "2026-04-08T12:30:52Z"), "paused")
    (failing, dead, held) = ran.document["problems"]
    assert failing.startswith("endpoints.crm: failing since 2026-04-08T12:30:52Z: `smsbridge ")
    assert dead.startswith("endpoints.crm: 1 dead: `smsbridge deliveries retry ")
    assert held.startswith("endpoints.other: held (a new release): `smsbridge endpoints resume ")
    assert ran.document["last_failure"] == {
        "delivery_id": 1, "endpoint": "crm", "at": "1970-01-01T00:00:00Z", "result": "dead",
        "status": 500, "error": None, "detail": "",
    }  # fmt: skip
    assert "delivery 1 to crm: answered 500 (dead)" in smsbridge("status", "-c", filled.config).out


def test_a_store_that_cannot_be_read_is_a_problem(smsbridge: Smsbridge, config: Path) -> None:
    """No database yet: the daemon is still asked, and the exit code is 1."""
    listen_at(config, f"127.0.0.1:{steady_port()}")
    ran = smsbridge("status", "-c", config, "--json")
    assert (ran.code, len(ran.document["problems"])) == (1, 2)
    assert "does not exist yet" in ran.document["problems"][1]
    assert smsbridge("status", "-c", config).code == 1


@pytest.mark.processes
def test_a_running_daemon_is_up(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """A real daemon on its own database: up and without a problem."""
    config = Config({"crm": "http://127.0.0.1:9/"}, SECRET, http_port=steady_port())
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        daemon.wait_for_health(200)
        ran = smsbridge("status", "-c", daemon.config, "--json")
    assert (ran.code, ran.document["problems"]) == (0, [])
    assert ran.document["daemon"]["state"] == "up"
