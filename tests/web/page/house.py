"""A real daemon with its page open, with messages and trouble; and a browser without pictures."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, Self

import aiohttp

from bridge.clock import Clock
from bridge.config.load import load
from bridge.model import Scope
from bridge.operations.tokens import create_token
from bridge.store import Store
from tests.patience import PATIENCE
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.receiver import Exchange, Receiver, status, taken

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NUMBER: Final = "+393301234567"
TEXT: Final = "News ON, please"
NEW_SENDER: Final = "sms@new-pbx.example"  # not in the config yet
VOID: Final = frozenset({"meta", "link", "input", "br", "img", "hr"})


def hostile(field_: str) -> str:
    """Return what a stranger writes who wants his script to run; `field_` tells it apart."""
    return f"{field_}\"'><script>steal()</script><img src=x onerror=steal()>{{{{7*7}}}}"


def agile_mail(sender: str, text: str, number: int, subject: str = "SMS") -> bytes:
    """Return a mail of Agile Telecom's."""
    lines = [f"From: {sender}", "To: +393331234333", f"Date/Time: 202604081430{number:02}"]
    return mail_of("smsin@agiletelecom.com", [*lines, f"Body: {text}"], f"agile-{number}", subject)


def pbx_mail(sender: str, text: str, message_id: str) -> bytes:
    """Return a mail of URL Networks', from this address."""
    lines = ["service_id: 4411", "from: +61412345678", "sms_number: +61480001122"]
    lines += [f"message_id: {message_id}", "timestamp: 1775651452", f"body: {text}"]
    return mail_of(sender, lines, message_id, "SMS received")


def mail_of(sender: str, lines: list[str], name: str, subject: str) -> bytes:
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = sender
    mail["To"] = MAILBOX
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{name}@mail.example>"
    mail.set_content("\n".join(lines) + "\n")
    return mail.as_bytes()


@dataclass(slots=True)
class House:
    """The daemon, its receiver, and the tokens that open its page."""

    daemon: Daemon
    receiver: Receiver
    operate: str
    read: str
    mended: int = 0  # counts the mails that tests mend

    @property
    def url(self) -> str:
        host, port = self.daemon.http
        return f"http://{host}:{port}"

    def take_in(self, raw: bytes) -> None:
        """Send a mail."""
        code, said = self.daemon.send("sender@example.com", [MAILBOX], raw)
        assert code == 250, said

    def take_in_unknown(self) -> str:
        """Send a mail that goes to quarantine until its sender is in the config; give its text."""
        self.mended += 1
        text = f"to be mended {self.mended}"
        self.take_in(pbx_mail(NEW_SENDER, text, f"unknown-{self.mended}"))
        return text

    def change_config(self, old: str, new: str) -> None:
        """Write another config, which nobody uses yet."""
        written = self.daemon.config.read_text()
        assert old in written
        self.daemon.config.write_text(written.replace(old, new))

    def reload(self) -> None:
        """Have the daemon take the config over, and wait until it has."""
        done = len(self.daemon.log("reload.config"))
        self.daemon.signal(signal.SIGHUP)
        self.daemon.wait_until(lambda: len(self.daemon.log("reload.config")) > done)

    @contextmanager
    def mended_config(self) -> Iterator[None]:
        """Have the new sender in the config file; in the end, all is as it was."""
        old, new = (f'senders = ["{each}"]' for each in ("sms@pbx.example", NEW_SENDER))
        self.change_config(old, new)
        try:
            yield
        finally:
            self.change_config(new, old)
            self.reload()


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    """Run a daemon with messages, an endpoint that fails and mails in quarantine."""

    async def answer(exchange: Exchange) -> None:
        body = hostile("x-answer").encode()
        answers = {"/bad": status(503, body=body), "/ok": status(200, body=body)}
        await answers.get(exchange.webhook.path, taken)(exchange)

    with Receiver(SECRET, answer) as receiver:
        base = f"http://127.0.0.1:{receiver.port}"
        endpoints = {"crm": f"{base}/ok", "billing": f"{base}/bad", "silent": f"{base}/silent"}
        config = Config(endpoints=endpoints, secret=SECRET).write(folder)
        operate, read = asyncio.run(_tokens(config))
        with Daemon(config) as daemon:
            house = House(daemon.start(), receiver, operate, read)
            house.take_in(agile_mail(NUMBER, TEXT, 1))
            house.take_in(agile_mail(NUMBER, TEXT, 1))  # once more
            house.take_in(
                agile_mail(hostile("x-number"), hostile("x-text"), 2, hostile("x-subject"))
            )
            house.take_in(mail_of(NEW_SENDER, [hostile("x-body")], "q1", hostile("x-subject")))
            house.take_in(mail_of("smsin@agiletelecom.com", [hostile("x-label")], "q2", "SMS"))
            house.take_in(b"no mail at all: " + hostile("x-raw").encode() + b"\r\n")
            assert receiver.wait_for_ids(2)
            yield house


async def _tokens(config: Path) -> list[str]:
    store = await Store.open(
        load(config).store, owner="test", lease_seconds=1, endpoints=[], clock=Clock()
    )
    try:
        return [
            (await create_token(store, Clock(), scope.value, scope, "test"))["token"]
            for scope in (Scope.OPERATE, Scope.READ)
        ]
    finally:
        await store.close()


@dataclass(slots=True)
class Shown:
    """An answer to a browser."""

    status: int
    url: str
    html: str
    headers: dict[str, str]
    parsed: Parsed = field(repr=False)

    @property
    def text(self) -> str:
        """What is to be read on it, with single blanks."""
        return " ".join("".join(self.parsed.texts).split())

    def link(self, name: str) -> str:
        """Return the address of the first link whose text contains this."""
        return next(href for href, text in self.parsed.links if name in text)


class Parsed(HTMLParser):
    """A page taken apart as a browser would: what a stranger could have put in shows here."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.forms: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append((tag, known))
        if tag == "a":
            self.links.append((known.get("href") or "", ""))
        if tag == "form" and known.get("method") == "post":
            self.forms.append(known.get("action") or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "a" in self._open and self.links:
            href, text = self.links[-1]
            self.links[-1] = (href, text + data)


class Browser:
    """Keeps cookies and follows redirects, as a person's does."""

    def __init__(self, url: str) -> None:
        self.url = url
        jar = aiohttp.CookieJar(unsafe=True)  # also of an IP address
        self.client = aiohttp.ClientSession(
            cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=PATIENCE)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def log_in(self, token: str) -> Shown:
        """Type a token into the form."""
        return await self.post("/login", token=token)

    async def get(self, path: str) -> Shown:
        """Follow a link of ours."""
        return await self._ask("GET", path, {})

    async def post(self, path: str, **form: str) -> Shown:
        """Press a button."""
        return await self._ask("POST", path, form)

    async def _ask(self, method: str, path: str, form: dict[str, str]) -> Shown:
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": self.url}
        async with self.client.request(
            method, self.url + path, data=form or None, headers=headers
        ) as answer:
            html = await answer.text()
            return Shown(answer.status, str(answer.url), html, dict(answer.headers), Parsed(html))

    async def crawl(self) -> dict[str, Shown]:
        """Follow every link from the overview on, once; give what was found by its path."""
        found: dict[str, Shown] = {}
        wanted = ["/"]
        while wanted:
            path = wanted.pop()
            if path in found:
                continue
            found[path] = shown = await self.get(path)
            wanted += [href for href, _ in shown.parsed.links if href.startswith("/")]
        return found
