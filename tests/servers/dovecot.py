"""A real Dovecot for the tests: its own folder, loopback alone, gone afterwards.

Import `dovecot` into a conftest.py. Each xdist worker that needs it starts one of its own. Every
user exists, with the password `PASSWORD`; mail comes in by LMTP.
"""

from __future__ import annotations

import contextlib
import getpass
import grp
import imaplib
import json
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.patience import PATIENCE
from tests.servers.ports import steady_port
from tests.servers.programs import need

PASSWORD = 'se"cr\\et'

_IN_USE: Final = "Address already in use"
_CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
listen = 127.0.0.1
protocols = imap lmtp
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain xoauth2 oauthbearer
auth_failure_delay = 0
mail_location = maildir:~/Maildir
mail_max_userip_connections = 200
first_valid_uid = 1
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
# Or it would answer everybody on loopback later and later, once a test had a login refused.
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = static
  args = password={password}
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u allow_all_users=yes
}}
{more}
"""
_OAUTH = """
tokeninfo_url = http://127.0.0.1:{port}/tokeninfo?access_token=
username_attribute = email
tls_ca_cert_file =
"""


@dataclass
class DovecotServer:
    """A server that can be stopped and started again on the same ports and mails."""

    folder: Path
    imap_port: int
    imaps_port: int
    lmtp_port: int
    tokens: dict[str, str]  # access token → user
    _numbers: Iterator[int] = field(default_factory=count, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def certificate(self) -> Path:
        """What a client must trust to use the port with TLS."""
        return self.folder / "cert.pem"

    def new_user(self) -> str:
        """Make up a user that nobody has used."""
        return f"user{next(self._numbers)}"

    def deliver(self, user: str, *mails: bytes) -> None:
        """Hand mails to the user's mailbox by LMTP."""
        with smtplib.LMTP("127.0.0.1", self.lmtp_port) as lmtp:
            for mail in mails:
                lmtp.sendmail("sender@example.com", [user], mail)

    def fill(self, user: str, mails: Iterable[bytes]) -> None:
        """Lay mails into the mailbox of a user who has never been there; faster than LMTP."""
        home = self.folder / "mail" / user
        new = home / "Maildir" / "new"
        for each in (new, new.with_name("cur"), new.with_name("tmp")):
            each.mkdir(parents=True, exist_ok=True)
        for number, mail in enumerate(mails):
            (new / f"{number:08}.M0P0.test").write_bytes(mail)
        if os.geteuid() == 0:
            for each in (home, *home.rglob("*")):
                shutil.chown(each, "nobody", "nogroup")

    @contextmanager
    def session(self, user: str, folder: str = "INBOX") -> Iterator[imaplib.IMAP4]:
        """Look at a user's mailbox with another client."""
        client = imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=PATIENCE)
        try:
            client.login(user, PASSWORD)
            if folder:
                client.select(folder)
            yield client
        finally:
            client.logout()

    def doveadm(self, *words: str) -> str:
        """Run Dovecot's own tool."""
        return _run([str(need("doveadm")), "-c", str(self.folder / "dovecot.conf"), *words])

    def start(self) -> None:
        """Start it and wait until it answers."""
        deadline = time.monotonic() + PATIENCE
        self._spawn()
        while not self._answers():
            assert self._process is not None
            ended = self._process.poll() is not None
            output = (self.folder / "output").read_text() if ended else ""
            if time.monotonic() > deadline or (ended and _IN_USE not in output):
                raise RuntimeError(output or "Dovecot does not answer")
            time.sleep(0.02)  # there is no event to wait for but the port itself
            if ended:
                # Those that were killed with the last one have their ports until they are gone.
                self._spawn()

    def _spawn(self) -> None:
        command = [str(need("dovecot")), "-F", "-c", str(self.folder / "dovecot.conf")]
        with (self.folder / "output").open("wb") as output:
            # In a group of its own, so that `kill` finds all its processes.
            self._process = subprocess.Popen(
                command, cwd="/", stdout=output, stderr=output, process_group=0
            )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.imap_port), 2) as connection:
                return connection.recv(4) == b"* OK"
        except OSError:
            return False

    def stop(self) -> None:
        """Stop it; open connections hear BYE or break.

        Told alone, the master would leave those who are logged in to their sessions.
        """
        assert self._process is not None
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for it and all its processes: nobody says BYE."""
        assert self._process is not None
        self._signal(signal.SIGKILL)
        self._process.wait(PATIENCE)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):  # nobody is left
            os.killpg(self._process.pid, number)


@pytest.fixture(scope="session")
def dovecot() -> Iterator[DovecotServer]:
    """Start a server for the whole test run; skip by name (under CI: fail) where there is none."""
    with running_dovecot() as server:
        yield server


@contextmanager
def running_dovecot(more: str = "") -> Iterator[DovecotServer]:
    """Run a server until the end of the block; `more` is added to its config."""
    for program in ("dovecot", "lmtp", "openssl"):
        need(program)
    folder = Path(tempfile.mkdtemp(prefix="smsbridge-dovecot-"))
    folder.chmod(0o755)  # its processes run as other users
    tokens: dict[str, str] = {}
    try:
        with (
            _token_server(tokens) as token_port,
            _configured(folder, tokens, token_port, more) as server,
        ):
            server.start()
            try:
                yield server
            finally:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _configured(
    folder: Path, tokens: dict[str, str], token_port: int, more: str
) -> Iterator[DovecotServer]:
    root = os.geteuid() == 0
    me = getpass.getuser()
    group = grp.getgrgid(os.getegid()).gr_name
    imap, imaps, lmtp = _steady_ports(3)
    (folder / "mail").mkdir()
    if root:
        shutil.chown(folder / "mail", "nobody", "nogroup")
    _certificate(folder)
    (folder / "oauth2.conf").write_text(_OAUTH.format(port=token_port))
    config = _CONFIG.format(
        folder=folder, imap=imap, imaps=imaps, lmtp=lmtp, password=_in_config(PASSWORD), more=more,
        internal="dovecot" if root else me,
        internal_group="dovecot" if root else group,
        login="dovenull" if root else me,
        uid="nobody" if root else me,
        gid="nogroup" if root else group,
    )  # fmt: skip
    (folder / "dovecot.conf").write_text(config)
    yield DovecotServer(folder, imap, imaps, lmtp, tokens)


def _in_config(password: str) -> str:
    return password.replace("%", "%%")


def _certificate(folder: Path) -> None:
    _run(
        [
            str(need("openssl")), "req", "-x509", "-newkey", "ec",
            "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=dovecot",
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"),
        ]
    )  # fmt: skip


@contextmanager
def _token_server(tokens: dict[str, str]) -> Iterator[int]:
    """Answer Dovecot's question whose token this is."""

    class TokenInfo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = parse_qs(urlsplit(self.path).query).get("access_token", [""])[0]
            user = tokens.get(token)
            body = json.dumps({"email": user} if user else {"error": "invalid_token"}).encode()
            self.send_response(200 if user else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), TokenInfo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _steady_ports(number: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < number:
        ports.add(steady_port())
    return list(ports)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, cwd="/", capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout
