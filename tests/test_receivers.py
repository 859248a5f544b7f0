"""The webhook receivers in the documents, run as they are printed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self

import pytest

from bridge.signing import standard_webhooks
from tests.documents import PROJECT, blocks, page
from tests.servers.daemon import Daemon
from tests.servers.ports import steady_port
from tests.servers.programs import need

SECRET: Final = standard_webhooks.generate_secret()
BODY: Final = json.dumps(
    {"type": "sms.received", "data": {"from": "+39330", "to": "+39333", "body": "è 1"}}
).encode()
HANG: Final = 90.0  # seconds; more than any step here takes on the busiest machine

(PYTHON,) = blocks(page("README.md"), "python")
(NODE,) = blocks(page("docs/receivers.md"), "js")
# What each is saved as, and what runs it. -I -S: without any installed package.
RECEIVERS: Final = {
    "python": (PYTHON, "receiver.py"),
    "node-js": (NODE, "receiver.js"),
    "node-cjs": (NODE, "receiver.cjs"),
}


def signed(
    body: bytes = BODY,
    *,
    webhook_id: str = "msg_1",
    secrets: tuple[str, ...] = (SECRET,),
    age: int = 0,
) -> dict[str, str]:
    """Return the headers with which smsbridge signs a body, `age` seconds ago."""
    timestamp = int(time.time()) - age
    keys = [standard_webhooks.parse_secret(secret) for secret in secrets]
    return dict(standard_webhooks.headers(keys, webhook_id, timestamp, body))


def forged(wrong: str) -> tuple[dict[str, str], bytes]:
    """Return headers and a body that no receiver may accept, by what is wrong with them."""
    headers, body = signed(), BODY
    match wrong:
        case "secret":
            headers = signed(secrets=(standard_webhooks.generate_secret(),))
        case "body":
            body += b" "
        case "id":
            headers["webhook-id"] = "msg_2"
        case "missing":
            del headers["webhook-signature"]
        case "old":
            headers = signed(age=3600)
        case "early":
            headers = signed(age=-3600)
        case "no timestamp":
            del headers["webhook-timestamp"]
        case "timestamp":
            headers["webhook-timestamp"] = "9" * 5000
        case _:
            headers["webhook-signature"] = "v1"
    return headers, body


WRONG: Final = (
    "secret", "body", "id", "missing", "nonsense", "old", "early", "no timestamp", "timestamp",
)  # fmt: skip


class Receiver:
    """A receiver in a process of its own; use it in a `with`."""

    def __init__(self, command: list[str | Path], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self.lines: list[str] = []  # what it printed, over all its lives
        self._printed = threading.Condition()
        self.port = 0

    def __enter__(self) -> Self:
        """Start it, and wait until it names its port."""
        with (self._folder / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env={
                    "PATH": os.environ["PATH"],
                    "SMSBRIDGE_SECRET": SECRET,
                    "PORT": str(self.port),
                    "PYTHONUTF8": "1",
                },
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
            )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if "http://127.0.0.1:" not in first:
            self._process.stdout.close()
            self._end()
            raise AssertionError(f"it does not listen:\n{(self._folder / 'stderr').read_text()}")
        self.port = int(first.strip().rstrip("/").rpartition(":")[2])
        self._thread = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it: it has no chance to tidy up."""
        self._end()
        self._thread.join()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self, stdout: Any) -> None:
        with contextlib.closing(stdout):
            for line in stdout:
                with self._printed:
                    self.lines.append(line.strip())
                    self._printed.notify_all()

    def post(self, headers: dict[str, str], body: bytes = BODY) -> int:
        """Post a webhook; return the status of the answer, 0 if the connection was closed."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=HANG)
        with contextlib.closing(connection):
            try:
                connection.request("POST", "/hooks/sms", body, headers)
                return connection.getresponse().status
            except (RemoteDisconnected, ConnectionResetError):
                return 0

    def wait_for(self, *lines: str) -> None:
        """Wait until it has printed exactly these lines, in any order."""
        with self._printed:
            self._printed.wait_for(lambda: len(self.lines) >= len(lines), HANG)
            assert sorted(self.lines) == sorted(lines)


@pytest.fixture(params=RECEIVERS)
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    """Save a receiver as its document says, and run it in an empty folder."""
    source, name = RECEIVERS[request.param]
    (tmp_path / name).write_text(source, encoding="utf-8")
    command: list[str | Path] = (
        [sys.executable, "-I", "-S", name] if request.param == "python" else [need("node"), name]
    )
    with Receiver(command, tmp_path) as running:
        yield running


SHOWN: Final = "+39330 +39333 è 1"


@pytest.mark.processes
class TestEveryReceiver:
    """Each receiver stores a message once, answers after that, and believes only a signature."""

    def test_takes_a_message_once(self, receiver: Receiver) -> None:
        """A repetition is answered with success again; its work is done once."""
        answers = [receiver.post(signed()) for _ in range(3)]
        answers.append(receiver.post(signed(webhook_id="msg_2")))

        assert answers == [204, 204, 204, 204]
        receiver.wait_for(SHOWN, SHOWN)

    def test_takes_a_message_once_in_parallel(self, receiver: Receiver) -> None:
        """Twenty messages, each three times and all at the same time: each is taken once."""
        posts = [signed(webhook_id=f"msg_{number}") for number in range(20)] * 3
        with ThreadPoolExecutor(len(posts)) as threads:
            answers = list(threads.map(receiver.post, posts))

        assert answers == [204] * 60
        receiver.wait_for(*[SHOWN] * 20)

    def test_remembers_over_a_kill(self, receiver: Receiver) -> None:
        """An answer of 204 means stored: SIGKILL right after it forgets neither message nor id."""
        assert receiver.post(signed()) == 204
        receiver.wait_for(SHOWN)
        receiver.__exit__()
        with receiver:
            assert receiver.post(signed()) == 204
            assert receiver.post(signed(webhook_id="msg_2")) == 204
            receiver.wait_for(SHOWN, SHOWN)

    def test_answers_500_when_it_cannot_store(self, receiver: Receiver, tmp_path: Path) -> None:
        """What cannot be stored is not acknowledged, and is taken when it is sent again."""
        inbox = next(each for name in ("sms.db", "inbox") if (each := tmp_path / name).exists())
        aside = inbox.rename(tmp_path / "aside")
        blocked = inbox / "in the way"
        blocked.parent.mkdir()
        if inbox.suffix != ".db":
            blocked.parent.rmdir()
            inbox.write_text("a file where the folder was")

        assert receiver.post(signed()) == 500
        assert receiver.lines == []

        inbox.unlink() if inbox.is_file() else inbox.rmdir()
        aside.rename(inbox)
        assert receiver.post(signed()) == 204
        receiver.wait_for(SHOWN)

    def test_accepts_either_secret_during_a_rotation(self, receiver: Receiver) -> None:
        """A webhook signed with a new and the old secret is taken by one that knows the old."""
        assert receiver.post(signed(secrets=(standard_webhooks.generate_secret(), SECRET))) == 204

    @pytest.mark.parametrize("wrong", WRONG)
    def test_refuses_what_is_not_signed(self, receiver: Receiver, wrong: str) -> None:
        """Whatever is wrong, the answer is 401 and nothing is taken; then a good one is."""
        assert receiver.post(*forged(wrong)) == 401
        assert receiver.post(signed(webhook_id="msg_9")) == 204
        receiver.wait_for(SHOWN)

    def test_accepts_a_type_that_it_does_not_know(self, receiver: Receiver) -> None:
        """A ping is answered with success and is no SMS; the same goes for types still to come."""
        ping = json.dumps({"type": "smsbridge.ping", "data": {}}).encode()
        assert receiver.post(signed(ping, webhook_id="ping_1"), ping) == 204
        assert receiver.post(signed()) == 204
        receiver.wait_for(SHOWN)

    def test_passes_our_own_test(self, receiver: Receiver, tmp_path: Path) -> None:
        """`smsbridge endpoints test` finds nothing wrong with it."""
        config = tmp_path / "config.toml"
        config.write_text(
            f'[[endpoints]]\nname = "crm"\nurl = "http://127.0.0.1:{receiver.port}/"\n'
            f'secret = "{SECRET}"\ntimeout = "{2 * HANG}s"\n'
        )
        config.chmod(0o600)
        ran = subprocess.run(
            [sys.executable, "-m", "bridge", "endpoints", "test", "crm", "-c", str(config)],
            capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert [line.split()[0] for line in ran.stdout.splitlines()[1:]] == [
            "valid", "prompt", "repeated", "slow", "cut", "wrong", "tampered", "stale",
        ]  # fmt: skip

    def test_takes_what_a_daemon_delivers(self, receiver: Receiver, tmp_path: Path) -> None:
        """The README's first config and first mail end in the receiver; only the ports differ."""
        secret = tmp_path / "crm.secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        shown = blocks(page("README.md"), "toml")[0]
        assert "127.0.0.1:9000" in shown
        config = tmp_path / "config.toml"
        config.write_text(
            shown.replace("127.0.0.1:9000", f"127.0.0.1:{receiver.port}")
            + '[smtp]\nlisten = ["127.0.0.1:0"]\n[http]\nlisten = "127.0.0.1:0"\n'
        )
        (mail,) = blocks(page("README.md"), "eml")
        with Daemon(config) as daemon:
            daemon.start()
            for _ in range(2):  # the second is a duplicate
                raw = mail.replace("\n", "\r\n").encode()
                assert daemon.send("smsin@agiletelecom.com", ["sms@example.com"], raw)[0] == 250
            receiver.wait_for("+393301234567 +393331234333 News ON")
            assert daemon.stop() == 0
            daemon.assert_ledger_adds_up()
        receiver.wait_for("+393301234567 +393331234333 News ON")


@pytest.mark.processes
def test_the_first_five_minutes(tmp_path: Path) -> None:
    """The README's commands, as they are printed: init, the receiver, send-test, status, ping."""
    readme = page("README.md")
    typed = dict(re.findall(r"^    \.venv/bin/(smsbridge (\w[\w-]*).*)$", readme, re.MULTILINE))
    commands = {name: line for line, name in typed.items()}
    assert {"init", "send-test", "status"} <= set(commands)

    def run(line: str, *more: str) -> subprocess.CompletedProcess[str]:
        _, *words = shlex.split(line)
        return subprocess.run(
            [sys.executable, "-m", "bridge", *words, *more],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=HANG,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )  # fmt: skip

    ports = [steady_port() for _ in range(2)]
    free = ("--listen", f"127.0.0.1:{ports[0]}", "--http", f"127.0.0.1:{ports[1]}")
    (tmp_path / "receiver.py").write_text(PYTHON, encoding="utf-8")
    with Receiver([sys.executable, "-I", "-S", "receiver.py"], tmp_path) as receiver:
        init = commands["init"].replace("127.0.0.1:9000", f"127.0.0.1:{receiver.port}")
        done = run(init, *free)
        assert done.returncode == 0, done.stderr
        # The receiver was started with a secret of its own; it has to be the daemon's.
        (tmp_path / "crm.secret").write_text(SECRET)
        with Daemon(tmp_path / "config.toml") as daemon:
            daemon.start()
            sent = run(commands["send-test"], "--text", "Hello")
            assert (sent.returncode, "crm: delivered" in sent.stdout) == (0, True), sent
            receiver.wait_for("+14155550123 +14155550199 Hello")
            daemon.wait_for_health(200)
            status = run(commands["status"])
            assert (status.returncode, "no problems" in status.stdout) == (0, True), status
            assert run("smsbridge send-test --endpoint crm").returncode == 0
            (mail,) = blocks(readme, "eml")
            (tmp_path / "mail.eml").write_text(mail)
            (curl,) = re.findall(r"^    (curl .*)$", readme, re.MULTILINE)
            assert "127.0.0.1:2525" in curl
            for _ in range(2):  # as the README says, the second prints nothing
                _, *words = shlex.split(curl.replace("127.0.0.1:2525", free[1]))
                subprocess.run(
                    [need("curl"), "-sS", *words], cwd=tmp_path, check=True, timeout=HANG
                )
            receiver.wait_for(
                "+14155550123 +14155550199 Hello", "+393301234567 +393331234333 News ON"
            )


class TestReceiveInPython:
    """The function of the Python receiver, for those who call it from a framework."""

    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Run the module without its server, and note what it takes."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SMSBRIDGE_SECRET", SECRET)
        module: Any = ModuleType("receiver")
        exec(compile(PYTHON, "README.md", "exec"), module.__dict__)
        module.taken = []
        module.take = module.taken.append
        return module

    def test_takes_a_message_once(self, module: Any) -> None:
        """The same id is answered with success again, and its work is done once."""
        answers = [module.receive(signed(), BODY) for _ in range(2)]
        answers.append(module.receive(signed(webhook_id="msg_2"), BODY))

        assert answers == [204, 204, 204]
        assert [sms["body"] for sms in module.taken] == ["è 1", "è 1"]

    def test_forgets_an_id_whose_work_failed(self, module: Any) -> None:
        """An id is not remembered when the work on it fails, so that the next try does it."""

        def fail(_: object) -> None:
            raise OSError

        noted, module.take = module.take, fail
        with pytest.raises(OSError):  # noqa: PT011 - it is ours, from just above
            module.receive(signed(), BODY)
        module.take = noted

        assert module.receive(signed(), BODY) == 204
        assert len(module.taken) == 1

    def test_works_in_any_thread(self, module: Any) -> None:
        """A threaded server calls it from a thread that did not load the module."""
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(module.receive, signed(), BODY).result() == 204

    def test_accepts_either_secret_while_they_change(self, module: Any) -> None:
        """A webhook signed with a new and the old secret is taken by one who knows the old."""
        new = standard_webhooks.generate_secret()

        assert module.receive(signed(secrets=(new, SECRET)), BODY) == 204

    @pytest.mark.parametrize("wrong", WRONG)
    def test_refuses_what_is_not_signed(self, module: Any, wrong: str) -> None:
        """Another secret, a changed body or id, or no signature at all: 401, and nothing taken."""
        headers, body = forged(wrong)

        assert module.receive(headers, body) == 401
        assert module.taken == []
