"""A real Postfix on loopback, in a folder of its own, that relays `@bridge.test` to one port.

It takes mail on `port`, and tries again as fast as Postfix can be told to (seconds), so that a
test sees in seconds what a mail server does in hours. Mail to any other domain, bounces included,
is discarded: nothing leaves the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

import pytest

from tests.patience import PATIENCE
from tests.servers.absence import cannot
from tests.servers.ports import steady_port
from tests.servers.programs import need

DOMAIN: Final = "bridge.test"

_MAIN: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.bridge.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = none
smtp_connect_timeout = 2s
smtp_helo_timeout = 5s
smtp_mail_timeout = 5s
smtp_rcpt_timeout = 5s
smtp_data_init_timeout = 5s
smtp_data_xfer_timeout = 5s
smtp_data_done_timeout = 20s
smtp_rset_timeout = 2s
smtp_quit_timeout = 2s
transport_maps = inline:{{ {{ bridge.test = smtp:[127.0.0.1]:{target} }} }}
default_transport = discard:
relay_transport = discard:
initial_destination_concurrency = 10
default_destination_concurrency_limit = 20
# Never give up on the whole destination: each mail is tried again by itself.
smtp_destination_concurrency_failed_cohort_limit = 0
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
transport_retry_time = 1s
maximal_queue_lifetime = 1d
bounce_queue_lifetime = 1d
notify_classes =
in_flow_delay = 0
message_size_limit = 20480000
"""

_MASTER: Final = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 1 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A running Postfix; use it in a `with`."""

    def __init__(self, target: int, more: str = "") -> None:
        """Relay to the port `target`; `more` are lines of main.cf."""
        self._program = need("postfix")
        if os.geteuid() != 0:
            cannot("postfix needs root")
        # Not pytest's own folder: Postfix's unprivileged processes must be able to enter.
        self.folder = Path(tempfile.mkdtemp(prefix="smsbridge-postfix-"))
        self.folder.chmod(0o755)
        self.port = steady_port()
        self.log = self.folder / "maillog"
        etc = self.folder / "etc"
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir(mode=0o755)
        shutil.chown(self.folder / "data", "postfix", "postfix")
        (etc / "main.cf").write_text(_MAIN.format(folder=self.folder, target=target) + more)
        (etc / "master.cf").write_text(_MASTER.format(port=self.port))
        self._etc = etc

    def __enter__(self) -> Self:
        """Start it, and wait until it takes connections."""
        done = subprocess.run(
            [self._program, "-c", str(self._etc), "start"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=PATIENCE,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE).quit()
            except OSError:
                if done.returncode != 0 or time.monotonic() > deadline:
                    said = self.lines()
                    self.__exit__()
                    pytest.fail("postfix did not start:\n" + "\n".join(said[-10:]))
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        """End its master by pid, with the processes that it started, and forget the folder."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            master = int((self.folder / "queue/pid/master.pid").read_text())
            # The master leads a session of its own: nobody else's process is in its group.
            os.killpg(master, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE
            while Path(f"/proc/{master}").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            os.killpg(master, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def inject(self, mails: Iterable[tuple[str, Sequence[str], bytes]]) -> None:
        """Hand over (sender, recipients, raw mail) on one connection; a return means queued."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
            for sender, recipients, raw in mails:
                client.sendmail(sender, list(recipients), raw)

    def lines(self) -> list[str]:
        """Return its log so far."""
        try:
            return self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def count(self, text: str) -> int:
        """Count the lines of its log that hold a text."""
        return sum(text in line for line in self.lines())

    def waiting(self) -> int:
        """Count the mails in its queue."""
        queue = self.folder / "queue"
        return sum(
            path.is_file()
            for name in ("maildrop", "incoming", "active", "deferred")
            for path in (queue / name).rglob("*")
        )
