"""Access tokens, from a real HTTP server on the loopback, real commands and real files."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import ssl
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from bridge import logs
from bridge.config.imap import ImapSettings
from bridge.errors import TokenRefused, TokenUnavailable
from bridge.sources.imap.oauth import AccessTokens, tokens_for
from tests.conftest import Line
from tests.delivery.servers import Answer, Request, closed_port, hangs, receiver, repeats, says
from tests.patience import PATIENCE

SECRETS = ("hunter2-client", "hunter2-refresh", "hunter2-new", "hunter2-token")
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Monotonic:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tokens(
    oauth: dict[str, Any],
    monotonic: Callable[[], float] | None = None,
    timeout: float = PATIENCE,
) -> AccessTokens:
    settings = ImapSettings.model_validate(
        {
            "name": "inbox", "host": "imap.example.com", "username": "sms", "oauth": oauth,
            "timeout": timeout,
        }
    )  # fmt: skip
    made = tokens_for(settings, ssl.create_default_context, monotonic or Monotonic())
    assert made is not None
    return made


def user(url: str, **more: str) -> dict[str, Any]:
    """Give the settings of a user's refresh token."""
    return {
        "token_url": url, "client_id": "us", "client_secret": SECRETS[0],
        "refresh_token": SECRETS[1], "scope": "imap", **more,
    }  # fmt: skip


def issues(*documents: dict[str, Any], status: int = 200) -> Answer:
    """Answer with these documents, one after the other, the last one again and again."""
    left = list(documents)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        document = left.pop(0) if len(left) > 1 else left[0]
        await says(status, body=json.dumps(document).encode())(request, writer)

    return answer


def form(request: Request) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(request.body.decode()).items()}


async def test_a_refresh_token_is_exchanged_as_the_rfc_says() -> None:
    """The form holds the grant, and the answer's token is given."""
    answer = issues({"access_token": "hunter2-token", "expires_in": 3600, "token_type": "Bearer"})
    async with receiver(answer) as issuer:
        assert await tokens(user(issuer.url)).token() == "hunter2-token"
    (request,) = issuer.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept-encoding"] == "identity"
    assert form(request) == {
        "grant_type": "refresh_token", "refresh_token": "hunter2-refresh", "client_id": "us",
        "client_secret": "hunter2-client", "scope": "imap",
    }  # fmt: skip


async def test_an_application_asks_for_itself() -> None:
    """Without a refresh token the grant is that of client credentials."""
    async with receiver(issues({"access_token": "t", "expires_in": "3600"})) as issuer:
        settings = user(issuer.url)
        del settings["refresh_token"]
        assert await tokens(settings).token() == "t"
    assert form(issuer.requests[0])["grant_type"] == "client_credentials"
    assert "refresh_token" not in form(issuer.requests[0])


async def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    """It is asked for once while it is good, by all connections together, and then anew."""
    clock = Monotonic()
    answers = ({"access_token": f"t{n}", "expires_in": 3600} for n in range(3))
    async with receiver(issues(*answers)) as issuer:
        made = tokens(user(issuer.url), clock)
        assert await asyncio.gather(*(made.token() for _ in range(5))) == ["t0"] * 5
        clock.now += 3600 - 121
        assert await made.token() == "t0"
        clock.now += 2
        assert await made.token() == "t1"
    assert len(issuer.requests) == 2


async def test_a_short_life_leaves_most_of_it() -> None:
    """A token of a minute isn't asked for again at once."""
    clock = Monotonic()
    answers = ({"access_token": f"t{n}", "expires_in": 60} for n in range(2))
    async with receiver(issues(*answers)) as issuer:
        made = tokens(user(issuer.url), clock)
        await made.token()
        clock.now += 40
        assert await made.token() == "t0"
        clock.now += 10
        assert await made.token() == "t1"


async def test_a_token_that_the_server_refused_is_not_given_again() -> None:
    """After a refused login another token is asked for, unless one came meanwhile."""
    answers = ({"access_token": f"t{n}", "expires_in": 3600} for n in range(3))
    async with receiver(issues(*answers)) as issuer:
        made = tokens(user(issuer.url))
        made.reject(await made.token())
        assert await made.token() == "t1"
        made.reject("t0")
        assert await made.token() == "t1"


async def test_a_rotated_refresh_token_is_used_and_kept(tmp_path: Path) -> None:
    """The new one is sent, survives a restart in a private file, and gives way to the config's."""
    state = tmp_path / "state.json"
    first = {"access_token": "t", "expires_in": 60, "refresh_token": "hunter2-new"}
    clock = Monotonic()
    async with receiver(issues(first, {"access_token": "t", "expires_in": 60})) as issuer:
        made = tokens(user(issuer.url, refresh_state=str(state)), clock)
        await made.token()
        clock.now += 60
        await made.token()
        await tokens(user(issuer.url, refresh_state=str(state))).token()
        changed = user(issuer.url, refresh_state=str(state), refresh_token="hunter2-other")
        await tokens(changed).token()
        await tokens(user(issuer.url)).token()
    sent = [form(request)["refresh_token"] for request in issuer.requests]
    assert sent == [
        "hunter2-refresh", "hunter2-new", "hunter2-new", "hunter2-other", "hunter2-refresh",
    ]  # fmt: skip
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("spoiled", ["", "no json", '{"origin": 1}', "[]"])
async def test_a_spoiled_state_is_told_and_done_without(
    tmp_path: Path, lines: list[Line], spoiled: str
) -> None:
    """What the file cannot say, the config says; the log names the file."""
    state = tmp_path / "state.json"
    state.write_text(spoiled)
    state.chmod(0o600)
    async with receiver(issues({"access_token": "t"})) as issuer:
        await tokens(user(issuer.url, refresh_state=str(state))).token()
    assert form(issuer.requests[0])["refresh_token"] == "hunter2-refresh"
    assert [line["event"] for line in lines if line["level"] == "error"] == [
        "oauth.state_unreadable"
    ]


async def test_a_state_that_cannot_be_reached_is_told(tmp_path: Path, lines: list[Line]) -> None:
    """A path that the system refuses is no bug: the config's token is used."""
    state = tmp_path / ("x" * 300) / "state.json"
    async with receiver(issues({"access_token": "t"})) as issuer:
        await tokens(user(issuer.url, refresh_state=str(state))).token()
    assert form(issuer.requests[0])["refresh_token"] == "hunter2-refresh"
    (line,) = [line for line in lines if line["level"] == "error"]
    assert (line["event"], line["detail"]) == ("oauth.state_unreadable", "file name too long")


async def test_a_state_that_cannot_be_kept_is_told(tmp_path: Path, lines: list[Line]) -> None:
    """A missing folder loses no token: it is used from memory, and the log says what is wrong."""
    clock = Monotonic()
    answer = issues({"access_token": "t", "expires_in": 60, "refresh_token": "hunter2-new"})
    async with receiver(answer) as issuer:
        made = tokens(user(issuer.url, refresh_state=str(tmp_path / "none" / "s.json")), clock)
        await made.token()
        clock.now += 60
        await made.token()
    assert form(issuer.requests[1])["refresh_token"] == "hunter2-new"
    assert "oauth.state_not_kept" in [line["event"] for line in lines]


REFUSING: dict[str, tuple[Answer, type[Exception], str]] = {
    "the owner took it back": (
        issues({"error": "invalid_grant", "error_description": "hunter2-refresh"}, status=400),
        TokenRefused, r"refuses a token \(400, invalid_grant\)",
    ),
    "a wrong secret": (issues({"error": "invalid_client"}, status=401), TokenRefused, "401"),
    "words of its own": (issues({"error": "hunter2-client"}, status=400), TokenRefused, r"\(400\)"),
    "a redirect": (says(302, "Location: http://127.0.0.1:1/"), TokenRefused, "redirects"),
    "an outage": (says(503), TokenUnavailable, "answered 503"),
    "too many": (says(429), TokenUnavailable, "answered 429"),
    "later, by name": (
        issues({"error": "temporarily_unavailable"}, status=400), TokenUnavailable, "answered 400",
    ),
    "no JSON": (says(200, body=b"<html>hunter2-token"), TokenUnavailable, "no usable token"),
    "a list": (says(200, body=b"[]"), TokenUnavailable, "no usable token"),
    "no token": (issues({"expires_in": 1}), TokenUnavailable, "no usable token"),
    "a token with a line end": (
        issues({"access_token": "a\r\nb"}), TokenUnavailable, "no usable token",
    ),
    "silence": (hangs, TokenUnavailable, "did not answer within 0.5 s"),
    "drops": (repeats(HEAD + b"x", 0.02), TokenUnavailable, "did not answer within"),
    "a flood": (repeats(HEAD + b"x" * 10_000), TokenUnavailable, "an answer that is far too long"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSING)
@pytest.mark.unhurried
async def test_what_an_issuer_can_do_wrong(case: str, lines: list[Line]) -> None:
    """Each ends in time, says whether to try again, and repeats no secret."""
    answer, kind, sentence = REFUSING[case]
    async with receiver(answer) as issuer:
        with pytest.raises(kind, match=sentence) as caught:
            await tokens(user(issuer.url), timeout=0.5).token()
        assert len(issuer.requests) == 1
    told = str(caught.value) + repr(caught.value.__cause__) + json.dumps(lines, default=str)
    assert not any(secret in told for secret in SECRETS)


async def test_nobody_there_is_unavailable() -> None:
    """A refused connection is tried again later."""
    with pytest.raises(TokenUnavailable, match="cannot be reached"):
        await tokens(user(f"http://127.0.0.1:{closed_port()}/token")).token()


async def test_after_a_failure_it_is_asked_again() -> None:
    """A failure is not remembered."""
    failing = True

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if failing:
            await says(500)(request, writer)
        else:
            await issues({"access_token": "t"})(request, writer)

    async with receiver(answer) as issuer:
        made = tokens(user(issuer.url))
        with pytest.raises(TokenUnavailable):
            await made.token()
        failing = False
        assert await made.token() == "t"


async def test_the_log_holds_no_token(lines: list[Line], monkeypatch: pytest.MonkeyPatch) -> None:
    """A token's coming is told by its mailbox and life alone."""
    monkeypatch.setattr(logs._output, "level", 0)
    answer = issues(
        {"access_token": "hunter2-token", "expires_in": 60, "refresh_token": "hunter2-new"}
    )
    async with receiver(answer) as issuer:
        made = tokens(user(issuer.url))
        await made.token()
    assert [line["event"] for line in lines] == ["oauth.token"]
    assert not any(secret in json.dumps(lines) + repr(vars(made)) for secret in SECRETS)


def command(script: str, timeout: float = PATIENCE) -> AccessTokens:
    return tokens({"token_command": [sys.executable, "-c", script]}, timeout=timeout)


@pytest.mark.processes
async def test_a_command_prints_the_token() -> None:
    """Its output without the line end is the token, and it is run each time."""
    made = command("import time; print(f't{time.monotonic_ns()}')")
    made.reject(await made.token())
    assert await made.token() != await made.token()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("import sys; print('hunter2-token'); sys.exit(3)", "failed with exit code 3"),
        ("import sys\nwhile True: sys.stdout.write('hunter2-token' * 1000)", "printed too much"),
        ("print('two tokens')", "printed no single token"),
        ("pass", "printed no single token"),
        ("print('\\u00e9')", "printed no single token"),
    ],
)
@pytest.mark.processes
async def test_what_a_command_can_do_wrong(script: str, sentence: str) -> None:
    """A command that fails, floods or prints something else is told and ended."""
    with pytest.raises(TokenUnavailable, match=sentence) as caught:
        await command(script).token()
    assert "hunter2" not in str(caught.value)


@pytest.mark.processes
async def test_a_command_that_hangs_is_told_and_ended() -> None:
    """A command has as long as a mail server's answer, and no longer."""
    with pytest.raises(TokenUnavailable, match=r"did not end within 0\.5 s"):
        await command("import time; time.sleep(3600)", 0.5).token()


@pytest.mark.processes
async def test_a_command_that_is_not_there_is_told() -> None:
    """A wrong path is a sentence."""
    with pytest.raises(TokenUnavailable, match="cannot be run: no such file"):
        await tokens({"token_command": ["/nowhere/token"]}).token()


@pytest.mark.processes
async def test_what_a_command_leaves_behind_is_ended(tmp_path: Path) -> None:
    """A child that outlives its parent and keeps the pipe open holds nobody up for ever."""
    fifo, held = tmp_path / "fifo", tmp_path / "held"
    script = (
        f"import os, time\nos.mkfifo({str(fifo)!r})\nif os.fork() == 0:\n"
        f"    os.open({str(fifo)!r}, os.O_RDWR)\n"
        f"    os.rename({str(fifo)!r}, {str(held)!r})\n    time.sleep(3600)\nprint('t')\n"
    )
    for seconds in (0.5, 5.0, PATIENCE):  # until the child had the time to come to be
        fifo.unlink(missing_ok=True)
        with pytest.raises(TokenUnavailable, match="did not end"):
            await command(script, seconds).token()
        if held.exists():
            break
    async with asyncio.timeout(PATIENCE):  # the kernel ends it a moment later, and tells nobody
        while _is_held(held):
            await asyncio.sleep(0.01)


def _is_held(fifo: Path) -> bool:
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        assert error.errno == errno.ENXIO  # noqa: PT017 - nobody has it open any more
        return False
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.processes
async def test_a_command_that_we_may_not_kill_has_a_deadline() -> None:
    """One that runs as somebody else (sudo) and hangs is left behind, and holds nobody up."""
    script = """
import asyncio, os
from bridge.errors import TokenUnavailable
from bridge.sources.imap.token_command import run_command

async def main():
    running = asyncio.create_task(run_command(["/bin/sleep", "20"], 0.5, "inbox"))
    await asyncio.sleep(0.2)
    os.setresuid(65534, 65534, 0)
    try:
        await running
    except TokenUnavailable as error:
        os.write(1, str(error).encode())
    os._exit(0)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate()
    assert said == b"imap.inbox: token_command did not end within 0.5 s"


async def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """What keeps the file up to date needs to tell nobody."""
    file = tmp_path / "token"
    file.write_text("t1\n")
    file.chmod(0o600)
    made = tokens({"token_file": str(file)})
    assert await made.token() == "t1"
    file.write_text("t2\n")
    assert await made.token() == "t2"
    file.chmod(0o644)
    with pytest.raises(TokenUnavailable, match="open to others: chmod 600"):
        await made.token()
    file.unlink()
    with pytest.raises(TokenUnavailable, match="no such file"):
        await made.token()


def test_a_password_needs_no_tokens() -> None:
    """A mailbox with a password has no tokens at all."""
    settings = ImapSettings(name="inbox", host="h", username="u", password="p")
    assert tokens_for(settings, ssl.create_default_context) is None
