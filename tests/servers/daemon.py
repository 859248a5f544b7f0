"""A real smsbridge daemon in a process of its own, with a written config, ended by its pid."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import smtplib
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tests.patience import PATIENCE
from tests.servers.launcher import Started, launcher

_ROOT: Final = Path(__file__).parents[2]
_LISTENING: Final = ("smtp.listening", "web.listening")

MAILBOX: Final = "sms-7f3k9q2m8x4v6t1w5z@bridge.test"  # the secret address that is the evidence


@dataclass(frozen=True, slots=True)
class Config:
    """What a test wants to say; the rest is the default."""

    endpoints: Mapping[str, str]  # name → URL
    secret: str
    store: str = ""  # URL; default: SQLite in the folder
    smtp_port: int = 0
    http_port: int = 0
    min_free: str = '"1MiB"'  # as TOML
    busy_timeout: str = "5s"
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)  # table → more lines of it

    def write(self, folder: Path) -> Path:
        """Write `config.toml` into a folder."""
        store = self.store or f"sqlite:///{folder}/bridge.db"
        tables = [
            ("[store]", f'url = "{store}"', f"min_free = {self.min_free}"),
            (f'busy_timeout = "{self.busy_timeout}"', *self.extra.get("store", ())),
            ("[smtp]", f'listen = ["127.0.0.1:{self.smtp_port}"]', *self.extra.get("smtp", ())),
            ("[http]", f'listen = "127.0.0.1:{self.http_port}"'),
            ("[log]", 'format = "json"'),
            ("[delivery]", *self.extra.get("delivery", ())),
            ("[retention]", *self.extra.get("retention", ())),
            ("[[providers]]", 'name = "agile"', 'time_zone = "Europe/Rome"', 'region = "IT"'),
            ("[providers.trust]", f'recipients = ["{MAILBOX}"]', *self.extra.get("trust", ())),
            ("[[providers]]", 'name = "url_networks"', 'senders = ["sms@pbx.example"]'),
            ("[providers.trust]", f'recipients = ["{MAILBOX}"]', *self.extra.get("trust", ())),
        ]
        if "imap" in self.extra:
            tables.append(("[[imap]]", *self.extra["imap"]))
        for name, url in self.endpoints.items():
            mine = self.extra.get(name, ())
            tables.append(
                (
                    "[[endpoints]]",
                    f'name = "{name}"',
                    f'url = "{url}"',
                    f'secret = "{self.secret}"',
                    *mine,
                )
            )
        path = folder / "config.toml"
        path.write_text("\n".join(line for table in tables for line in table) + "\n")
        path.chmod(0o600)
        return path


class Daemon:
    """`smsbridge run`, to be started, killed and started again; use it in a `with`."""

    def __init__(
        self,
        config: Path,
        command: Sequence[str] = ("-m", "bridge"),
        within: Sequence[str] = (),  # what goes in front, and becomes the daemon in the end
        python: Path = Path(sys.executable),
        root: Path = _ROOT,  # whose code runs
    ) -> None:
        self.config = config
        self._root = root
        self._command = (*within, str(python), *command)
        self._forked = (within, python, root, command[0]) == ((), Path(sys.executable), _ROOT, "-m")
        self._process: subprocess.Popen[bytes] | Started | None = None
        self._told = threading.Condition()
        self._log: list[dict[str, Any]] = []
        self._life = 0
        self._threads: list[threading.Thread] = []
        self._reading = threading.Lock()  # of its log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind."""
        self.kill()
        for thread in self._threads:
            thread.join(PATIENCE)

    # Its life.

    def spawn(self) -> None:
        """Start the process; `wait_until_listening` says when it takes mail."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        self._life += 1
        log, written = os.pipe()
        command = [*self._command, "run", "-c", str(self.config)]
        try:
            if self._forked:
                self._process = launcher("daemon").spawn(command[1:], written)
            else:
                self._process = subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, stderr=written, cwd=self._root
                )
        finally:
            os.close(written)
        thread = threading.Thread(target=self._read, args=(log, self._life), daemon=True)
        thread.start()
        self._threads.append(thread)

    def start(self) -> Self:
        """Start the process and wait until it takes mail."""
        self.spawn()
        self.wait_until_listening()
        return self

    def wait_until_listening(self) -> None:
        """Wait until this life listens for mail and HTTP."""
        self.wait_for(*_LISTENING)

    def wait_for(self, *events: str, seconds: float = PATIENCE) -> None:
        """Wait until this life has logged each of these events, or fail with what it said."""
        deadline = time.monotonic() + seconds
        while not all(self.logged(event) for event in events):
            with self._told:
                self._told.wait(0.1)
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = "\n".join(json.dumps(line) for line in self.log()[-10:])
                raise AssertionError(f"{events} not logged (exit {self.process.poll()}):\n{said}")

    def wait_until(self, met: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until something is so, which the log may show."""
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, self.log()[-10:]
            with self._told:
                self._told.wait(0.1)

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM, and wait until it has drained; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    @property
    def process(self) -> subprocess.Popen[bytes] | Started:
        assert self._process is not None, "it was never started"
        return self._process

    # What it says.

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the log lines of this life, or those of one event."""
        with self._told:
            lines = [line for line in self._log if line["life"] == self._life]
        return [line for line in lines if event is None or line.get("event") == event]

    @contextlib.contextmanager
    def log_unread(self) -> Iterator[None]:
        """Leave its log unread, but for what is buffered here."""
        with self._reading:
            yield

    def logged(self, event: str) -> bool:
        """Say whether this life has logged an event."""
        return bool(self.log(event))

    def ever_logged(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of one event in all lives."""
        with self._told:
            return [line for line in self._log if line.get("event") == event]

    @property
    def smtp(self) -> tuple[str, int]:
        """The address that takes mail."""
        return self._address("smtp.listening")

    @property
    def http(self) -> tuple[str, int]:
        """The address of health and metrics."""
        return self._address("web.listening")

    def _address(self, event: str) -> tuple[str, int]:
        line = self.log(event)[0]
        host, _, port = str(line.get("address") or line["addresses"][0]).rpartition(":")
        return host, int(port)

    def health(self, path: str = "/healthz") -> int:
        """Ask it how it is; 0: it doesn't answer."""
        return self.page(path)[0]

    def page(self, path: str) -> tuple[int, str]:
        """Ask for a page; give status and body, 0 and nothing if it doesn't answer."""
        host, port = self.http
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=PATIENCE) as got:
                return int(got.status), got.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()
        except OSError:
            return 0, ""

    def wait_for_health(self, status: int, seconds: float = PATIENCE) -> None:
        """Wait until it answers with this status."""
        deadline = time.monotonic() + seconds
        while (got := self.health()) != status:
            assert time.monotonic() < deadline, f"health is {got}, not {status}"
            time.sleep(0.1)

    def rss(self) -> int:
        """Return its resident memory in bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS: the daemon has ended")

    def processor_time(self) -> float:
        """Return the seconds of processor time that it has used so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    # What one does with it.

    def send(self, sender: str, recipients: Sequence[str], raw: bytes) -> tuple[int, bytes]:
        """Hand it a mail; return the answer to the end of DATA, or to what it refused earlier."""
        host, port = self.smtp
        with smtplib.SMTP(host, port, timeout=PATIENCE) as client:
            try:
                client.ehlo()
                for verb, argument in [("mail", sender), *(("rcpt", each) for each in recipients)]:
                    code, said = getattr(client, verb)(argument)
                    if code >= 400:
                        return code, said
                return client.data(raw)
            except smtplib.SMTPDataError as refused:
                return refused.smtp_code, refused.smtp_error if isinstance(
                    refused.smtp_error, bytes
                ) else refused.smtp_error.encode()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `smsbridge WORDS -c config` beside it."""
        return launcher("commands").run(("-m", "bridge", *words, "-c", str(self.config)))

    def assert_ledger_adds_up(self) -> None:
        """Let `smsbridge audit` prove that nothing is missing."""
        done = self.command("audit")
        assert done.returncode == 0, f"audit: exit {done.returncode}\n{done.stdout}{done.stderr}"

    def _read(self, log: int, life: int) -> None:
        with open(log, encoding="utf-8") as lines:
            for text in lines:
                with self._reading:
                    pass
                try:
                    line = json.loads(text)
                except ValueError:
                    line = {"event": "unreadable", "line": text.rstrip()}
                with self._told:
                    self._log.append({**line, "life": life})
                    self._told.notify_all()
