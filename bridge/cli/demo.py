"""`smsbridge demo`: a real daemon, real mails over SMTP, real signed webhooks."""

# The receiving side is imported inside functions: `smsbridge --help` must not pay for a web server
# and a verifier.

from __future__ import annotations

import json
import queue
import shutil
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from bridge.cli.demo_mails import MAILBOX, Sample, agile, samples
from bridge.cli.demo_receiver import PATIENCE, Received, Receiver
from bridge.errors import BridgeError, NotPossible
from bridge.signing import standard_webhooks

_SILENCE: Final = 0.5  # seconds in which a webhook that must not come would have come


class Daemon:
    """A real `smsbridge run` in a process of its own."""

    def __init__(self, config: Path) -> None:
        self._lines: list[str] = []
        self._found: queue.Queue[tuple[str, int]] = queue.Queue()
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "bridge", "run", "-c", str(config)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=config.parent,
        )
        threading.Thread(target=self._read_log, daemon=True).start()
        self.host, self.port = self._wait_until_listening()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as log:
            for line in log:
                self._lines.append(line)
                if '"smtp.listening"' in line:
                    host, _, port = json.loads(line)["addresses"][0].rpartition(":")
                    self._found.put((host, int(port)))

    def _wait_until_listening(self) -> tuple[str, int]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return self._found.get(timeout=0.2)
            except queue.Empty:
                continue
        self.kill()
        raise NotPossible("the daemon did not start:\n" + "".join(self._lines[-5:]))

    def send(self, sample: Sample) -> None:
        """Send a mail by SMTP; returns once the daemon has answered 250."""
        with smtplib.SMTP(self.host, self.port, timeout=PATIENCE) as client:
            sender = str(sample.mail["From"])
            client.send_message(sample.mail, from_addr=sender, to_addrs=[sample.to])

    def kill(self) -> None:
        """SIGKILL: no chance to clean up."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Send SIGTERM, and wait until it has drained."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="smsbridge-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _write_config(folder: Path, url: str, secret: str) -> Path:
    config = folder / "config.toml"
    config.write_text(
        f"""\
[store]
url = "sqlite:///{folder}/bridge.db"
min_free = "1MiB"

[smtp]
listen = ["127.0.0.1:0"]

[http]
listen = "127.0.0.1:0"

[log]
format = "json"

[[providers]]
name = "agile"
time_zone = "Europe/Rome"
region = "IT"
[providers.trust]
recipients = ["{MAILBOX}"]

[[providers]]
name = "url_networks"
senders = ["sms@pbx.example"]
[providers.trust]
recipients = ["{MAILBOX}"]

[[endpoints]]
name = "crm"
url = "{url}"
secret = "{secret}"
"""
    )
    config.chmod(0o600)
    return config


class Demo:
    """The demo's steps; `failures` counts unexpected results."""

    def __init__(self, console: Console, receiver: Receiver, secret: str) -> None:
        from standardwebhooks import Webhook, WebhookVerificationError

        self._console = console
        self._receiver = receiver
        self._verifier = Webhook(secret)
        self._refused = WebhookVerificationError
        self.failures = 0

    def report(self, good: bool, text: str) -> None:
        """Print one result."""
        self.failures += not good
        mark = "[green]ok[/]  " if good else "[bold red]FAIL[/]"
        self._console.print(f"  {mark} {text}")

    def verify(self, webhook: Received) -> dict[str, Any] | None:
        """Verify a webhook with the independent library; return its `data`."""
        try:
            self._verifier.verify(webhook.body.decode(), webhook.headers)
        except self._refused as error:
            self.report(False, f"the signature was refused: {error}")
            return None
        data: dict[str, Any] = json.loads(webhook.body)["data"]
        return data

    def deliver(self, daemon: Daemon, mails: tuple[Sample, ...]) -> None:
        """Send every mail and compare the webhooks with what is expected."""
        expected = [sample.text for sample in mails if sample.text is not None]
        for sample in mails:
            daemon.send(sample)
            fate = "" if sample.text is not None else " [dim](no webhook may follow)[/]"
            self._console.print(f"  [cyan]250[/]  {sample.title}{fate}")
        table = Table("webhook-id", "from", "received", "text", "signature", box=None)
        ids: set[str] = set()
        for _ in range(len(expected)):
            data = self.verify(self._receiver.next())
            if data is None:
                continue
            ids.add(data["id"])
            if data["body"] in expected:
                expected.remove(data["body"])
            table.add_row(
                f"msg_…{data['id'][-8:]}",  # it begins with the time, which two may share
                data["from"],
                data["received_at"][11:],
                " / ".join(data["body"].splitlines()),
                "[green]verified[/]",
            )
        self._console.print(table)
        self.report(not expected, "every message arrived, verified by standardwebhooks")
        time.sleep(_SILENCE)
        self.report(self._receiver.inbox.empty(), "nothing else arrived")

    def survive(self, config: Path, daemon: Daemon) -> Daemon:
        """Kill the daemon between the 250 and the delivery; the message must still arrive."""
        sample = Sample(
            "a message while the receiver answers 503",
            agile(9, "+393301234567", "20260408143400", "Still here?"),
            "Still here?",
        )
        self._receiver.refuse.set()
        daemon.send(sample)
        self._console.print(f"  [cyan]250[/]  {sample.title}")
        first = self._receiver.next()
        daemon.kill()
        self._console.print("  the daemon is killed with SIGKILL, and started again")
        self._receiver.refuse.clear()
        daemon = Daemon(config)
        again = self._receiver.next()
        while again.status != 204:
            again = self._receiver.next()
        data = self.verify(again)
        same = first.headers["webhook-id"] == again.headers["webhook-id"]
        self.report(
            data is not None and data["body"] == sample.text, "it arrived after the restart"
        )
        attempt = again.headers["webhook-attempt"]
        self.report(same, f"with the same webhook-id, as attempt {attempt}")
        return daemon

    def audit(self, config: Path) -> None:
        """Run `smsbridge audit`."""
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "bridge", "audit", "-c", str(config)],
            capture_output=True,
            text=True,
            check=False,
        )
        self.report(done.returncode == 0, "smsbridge audit: the ledger adds up")
        if done.returncode != 0:
            self._console.print(done.stdout + done.stderr)

    def keep_up(self, daemon: Daemon, config: Path) -> None:
        """Print each webhook that arrives, until Ctrl-C."""
        self._console.print(
            f"\nStill running. Mail it yourself: the evidence is the recipient {MAILBOX},\n"
            f"SMTP listens on {daemon.host}:{daemon.port}, the config is {config}.\n"
            "Ctrl-C ends it."
        )
        try:
            while daemon.process.poll() is None:
                try:
                    webhook = self._receiver.inbox.get(timeout=1)
                except queue.Empty:
                    continue
                if self.verify(webhook) is not None:
                    self._console.print_json(webhook.body.decode())
        except KeyboardInterrupt:
            self._console.print("bye")


@click.command()
@click.option("--keep", is_flag=True, help="Keep running afterwards, for mails of your own.")
def demo(keep: bool) -> None:
    """Run the whole pipeline on this machine: real daemon, real mails, verified webhooks.

    Exits 0 if every webhook arrived and verified, else 1.
    """
    console = Console(highlight=False)
    try:
        import standardwebhooks  # noqa: F401 - asked for here to fail before anything starts
    except ImportError:
        raise NotPossible("the demo needs the verifier: pip install 'smsbridge[demo]'") from None
    secret = standard_webhooks.generate_secret()
    with _folder(keep) as folder, Receiver() as receiver:
        config = _write_config(folder, receiver.url, secret)
        steps = Demo(console, receiver, secret)
        console.print("[bold]1. The daemon starts on SQLite and takes mails by SMTP[/]")
        daemon = Daemon(config)
        try:
            steps.deliver(daemon, samples())
            console.print("[bold]2. It is killed between the 250 and the delivery[/]")
            daemon = steps.survive(config, daemon)
            console.print("[bold]3. The ledger[/]")
            steps.audit(config)
            if keep:
                steps.keep_up(daemon, config)
        except BridgeError as error:
            steps.report(False, str(error))
        finally:
            daemon.stop()
    console.print(
        "[bold green]All webhooks arrived and verified.[/]"
        if steps.failures == 0
        else f"[bold red]{steps.failures} findings failed.[/]"
    )
    sys.exit(0 if steps.failures == 0 else 1)
