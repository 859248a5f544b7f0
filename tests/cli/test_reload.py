"""`smsbridge reload`: the running daemon takes a changed config over, and says what it did."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.errors import NotPossible
from bridge.operations.reloading import reload_daemon
from bridge.process import Process
from bridge.signing.standard_webhooks import generate_secret
from tests.cli.test_status import answering
from tests.servers.daemon import Config, Daemon
from tests.servers.ports import steady_port

pytestmark = pytest.mark.processes

NOBODY = 2**22 + 1  # no process has this id
UNIT = Path(__file__).parents[2] / "systemd/smsbridge.service"


def test_a_daemon_takes_a_config_over_or_says_why_not(tmp_path: Path) -> None:
    """Changed tables are named; a mistake that the command sees leaves the daemon alone."""
    config = Config({"crm": "http://127.0.0.1:9/"}, generate_secret(), http_port=steady_port())
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        replace(
            config,
            endpoints={"crm": "http://127.0.0.1:9/", "erp": "http://127.0.0.1:9/"},
            extra={"delivery": ("concurrency = 3",)},
        ).write(tmp_path)
        done = daemon.command("reload")
        assert (done.returncode, done.stdout) == (0, "reloaded; changed: endpoints\n")
        assert done.stderr == "note: [delivery] changes at a restart\n"

        # What only the daemon lacks: the command finds it in its own environment.
        path = config.write(tmp_path)
        text = path.read_text()
        path.write_text(re.sub('secret = ".*"', 'secret = { env = "RELOADED" }', text))
        os.environ["RELOADED"] = config.secret
        try:
            done = daemon.command("reload", "--json")
        finally:
            del os.environ["RELOADED"]
        document = json.loads(done.stdout)
        assert (done.returncode, document["ok"]) == (1, False)
        assert "reload.refused" in document["problems"][0]
        assert daemon.logged("reload.refused")

        path.write_text(text.replace("[[endpoints]]", "[[endpoints]]\nurll = 1"))
        done = daemon.command("reload")
        assert done.returncode == 2
        assert "unknown key 'urll', did you mean 'url'?" in done.stderr
        reload = json.loads(daemon.page("/healthz")[1])["reload"]
        assert reload == {"count": 2, "ok": False, "changed": [], "needs_restart": []}

        path.write_text(text)
        assert daemon.command("reload").stdout == "reloaded; changed: endpoints\n"
        assert daemon.command("reload").stdout == "reloaded; changed: nothing\n"


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    """Nothing listens, or no address is known: exit 2, and where it looked."""
    config = Config({"crm": "http://127.0.0.1:9/"}, generate_secret(), http_port=steady_port())
    with Daemon(config.write(tmp_path)) as daemon:
        done = daemon.command("reload")
        assert done.returncode == 2
        assert f"nothing answers at http://127.0.0.1:{config.http_port}/healthz" in done.stderr
        replace(config, http_port=0).write(tmp_path)
        assert "[http] listen names no fixed address" in daemon.command("reload").stderr


@pytest.mark.parametrize("process", [{}, {"pid": "all", "started": 1}, {"pid": None, "started": 1}])
def test_what_names_no_process_gets_no_signal(process: object) -> None:
    """Whatever answers at the address, it is a sentence."""
    body = {"problems": [], "sources": {}, "process": process, "reload": {"count": 0}}
    with answering(200, body) as listen, pytest.raises(NotPossible, match="another program"):
        asyncio.run(reload_daemon(listen, 1.0))


def test_only_the_process_that_systemd_names_gets_a_signal() -> None:
    """Whatever else answers at the address, it isn't the unit's."""
    own = Process.named(os.getpid())
    assert own is not None
    body = {"problems": [], "sources": {}, "reload": {"count": 0}}
    body["process"] = {"pid": own.pid, "started": own.started}
    with answering(200, body) as listen, pytest.raises(NotPossible, match=f"and not {NOBODY}: is"):
        asyncio.run(reload_daemon(listen, 1.0, NOBODY))


def test_the_unit_s_reload_fails_where_the_config_is_refused(tmp_path: Path) -> None:
    """`systemctl reload` runs this line: it says what is wrong, and the daemon goes on."""
    (line,) = re.findall("^ExecReload=smsbridge (.*)$", UNIT.read_text(), re.MULTILINE)
    config = Config({"crm": "http://127.0.0.1:9/"}, generate_secret(), http_port=steady_port())
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        pid = json.loads(daemon.page("/healthz")[1])["process"]["pid"]
        path = config.write(tmp_path)
        words = line.replace("${MAINPID}", str(pid)).split(" -c ")[0].split()
        assert daemon.command(*words).stdout == "reloaded; changed: nothing\n"
        path.write_text(path.read_text().replace("[[endpoints]]", "[[endpoints]]\nurll = 1"))
        done = daemon.command(*words)
        assert done.returncode == 2
        assert "unknown key 'urll', did you mean 'url'?" in done.stderr
        assert json.loads(daemon.page("/healthz")[1])["reload"]["count"] == 1


def test_another_process_with_the_same_id_gets_no_signal() -> None:
    """The daemon of another container has an id that here is somebody else's."""
    own = Process.named(os.getpid())
    assert own is not None
    with pytest.raises(ProcessLookupError):
        Process(own.pid, own.started + 1).signal(signal.SIGHUP)
    assert Process.named(2**22 + 1) is None
