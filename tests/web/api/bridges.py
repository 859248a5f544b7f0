"""A bridge with an API, on a real store with a bit of everything in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bridge import app
from bridge.clock import Clock
from bridge.config.load import load
from bridge.config.settings import Settings
from bridge.delivery.planner import Planner
from bridge.intake import Intake
from bridge.model import Arrival, DeliveryState, Envelope, Receipt, Scope, Trust
from bridge.operations import retries
from bridge.operations.tokens import create_token
from bridge.store import Store
from bridge.store.pages import DeliveryFilter
from bridge.web import Api, Bridge, Health, WebServer
from bridge.web.door import Admission, Door, Sessions
from tests.cli.conftest import CONFIG, NUMBER, mail
from tests.store.making import GIVE_UP, START, attempt, opened, sqlite_settings

SECRET_TEXT = "the secret text"
MESSAGE, QUARANTINED, NO_SMS, UNTRUSTED = 1, 2, 3, 4  # arrivals
DEAD = 1  # a delivery


@dataclass(slots=True)
class Served:
    """What a test asks; `read` and `operate` are the tokens."""

    url: str
    store: Store
    client: httpx.AsyncClient
    read: str
    operate: str
    bridge: Bridge
    reader: bool = False

    async def ask(
        self, method: str, path: str, *, reading: bool = False, body: object = None,
        headers: Mapping[str, str] | None = None, **query: object,
    ) -> httpx.Response:  # fmt: skip
        """Ask with a token of a scope."""
        token = self.read if reading else self.operate
        known = {"Authorization": f"Bearer {token}", **(headers or {})}
        return await self.client.request(
            method, f"/api/v1{path}", params={k: str(v) for k, v in query.items()}, headers=known,
            **({} if body is None else {"json": body}),
        )  # fmt: skip

    async def get(self, path: str, *, reading: bool = False, **query: object) -> Any:
        """Get a document."""
        answer = await self.ask("GET", path, reading=reading, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def take_in(intake: Intake, raw: bytes, peer: str = "192.0.2.1") -> Receipt:
    envelope = Envelope(peer, "smsin@agiletelecom.com", ("sms-token@example.com",))
    return await intake.accept(Arrival(envelope, "smtp", raw, app.now()))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    """Serve a store with a dead delivery, a filtered one, and mails in quarantine."""
    config = folder / "config.toml"
    config.write_text(
        CONFIG.replace("trust = { anyone = true }", 'trust = { networks = ["192.0.2.0/24"] }')
    )
    config.chmod(0o600)
    settings = load(config)
    endpoints = app.endpoints_of(settings)
    async with opened(
        sqlite_settings(folder / "bridge.db"), clock=Clock(), endpoints=["crm", "other"]
    ) as store:
        planner = Planner(endpoints)
        intake = Intake(app.reader_of(settings), store, planner)
        await take_in(intake, mail("1", SECRET_TEXT))
        await take_in(intake, b"From: smsin@agiletelecom.com\r\nSubject: x\r\n\r\n?\r\n")
        await take_in(intake, b"From: a@example.net\r\nSubject: hello\r\n\r\nhello\r\n")
        await take_in(intake, mail("2", "not believed"), "198.51.100.1")
        for claim in await store.claim("crm", 1):
            await store.record(attempt(claim, GIVE_UP, 500))

        held = DeliveryFilter("other", DeliveryState.HELD)  # matches none
        await retries.start(store, app.now, held, rate=1.0, who="test", why=None)

        def believing(current: Settings, name: str) -> Intake:
            return Intake(app.reader_of(current, Trust("operator", name)), store, planner)

        bridge = Bridge(store, Health(), app.now, intake, believing, settings, endpoints)
        admission = Admission(store, app.now)
        door = Door(settings.http, admission, Sessions())
        made = [
            str((await create_token(store, lambda: START, scope.value, scope, "test"))["token"])
            for scope in Scope
        ]

        async def nothing() -> None:
            """Refresh nothing."""

        routes = Api(bridge, door).routes()
        server = WebServer("127.0.0.1:0", bridge.health, nothing, api=routes, guard=door.guard)
        await server.start()
        host, port = server.addresses[0]
        url = f"http://{host}:{port}"
        try:
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
                yield Served(url, store, client, *made, bridge)
        finally:
            await server.stop()
            await admission.close()


def numbers_and_texts(document: object) -> list[str]:
    """Return what of this store's secrets is in a document."""
    written = json.dumps(document)
    return [each for each in (NUMBER, SECRET_TEXT, "sms-token@", "not believed") if each in written]
