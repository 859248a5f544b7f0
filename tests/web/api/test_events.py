"""`GET /api/v1/endpoints/NAME/events` gives whoever has the token each event as it was sent."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge import metrics
from bridge.config.endpoints import EndpointSettings
from bridge.model import Event
from bridge.signing.standard_webhooks import generate_secret
from bridge.store import Store
from bridge.store.stream import Gone
from bridge.web import EventsApi, Health, WebServer
from tests.documents import blocks, page
from tests.store.making import GIVE_UP, attempt, many, opened, sqlite_settings

TOKEN = "0123456789abcdef-crm"
Get = Callable[..., Any]


def endpoint(name: str, *tokens: str) -> EndpointSettings:
    return EndpointSettings(
        name=name, url="http://127.0.0.1/hook", secret=generate_secret(), pull_tokens=tokens
    )


@asynccontextmanager
async def serving(store: Store, api: EventsApi) -> AsyncIterator[httpx.AsyncClient]:
    """Run the server, and give a client that has the token."""

    async def nothing() -> None:
        """Refresh nothing."""

    web = WebServer("127.0.0.1:0", Health(), nothing, api=api.routes())
    await web.start()
    host, port = web.addresses[0]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        async with httpx.AsyncClient(
            base_url=f"http://{host}:{port}", headers=headers, trust_env=False
        ) as client:
            yield client
    finally:
        await web.stop()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(sqlite_settings(tmp_path / "bridge.db")) as opened_store:
        yield opened_store


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    api = EventsApi(store, [endpoint("crm", TOKEN), endpoint("erp")])
    async with serving(store, api) as running:
        yield running


CRM = "/api/v1/endpoints/crm/events"


async def test_events_are_the_bytes_that_are_sent(store: Store, client: httpx.AsyncClient) -> None:
    """Each has its number, id and body; reading them delivers nothing."""
    items = many(3)
    latin = items[1].messages[0]
    odd = replace(latin.events[0], body=b'{"body":"\xe8"}')
    items[1] = replace(items[1], result=(replace(latin, events=(odd,)),))
    for item in items:
        await store.ingest(item)
    [claim] = await store.claim("crm", 1)
    await store.record(attempt(claim, GIVE_UP))
    answer = await client.get(CRM)
    assert answer.status_code == 200
    page = answer.json()
    assert {name: page[name] for name in ("endpoint", "after", "through", "last", "next")} == {
        "endpoint": "crm", "after": 0, "through": 3, "last": 3, "next": None,
    }  # fmt: skip
    assert page["gone"] == []
    sent = [item.messages[0].events[0] for item in items]
    assert [body_of(each) for each in page["data"]] == [event.body for event in sent]
    shown = ("sequence", "id", "state", "attempts")
    assert [tuple(each[name] for name in shown) for each in page["data"]] == [
        (1, sent[0].id, "dead", 1), (2, sent[1].id, "pending", 0), (3, sent[2].id, "pending", 0),
    ]  # fmt: skip
    assert page["data"][0]["content_type"] == "application/json"
    assert [each.sequence for each in await store.claim("crm", 5)] == [2, 3]


def body_of(event: Mapping[str, Any]) -> bytes:
    if event["body"] is None:
        return base64.b64decode(event["body_base64"])
    assert event["body_base64"] is None
    return str(event["body"]).encode()


async def test_answer_is_the_documented_one(store: Store, client: httpx.AsyncClient) -> None:
    """docs/receivers.md shows exactly these keys."""
    _, documented = (json.loads(each) for each in blocks(page("docs/receivers.md"), "json"))
    await store.ingest(many(1)[0])
    answer = (await client.get(CRM)).json()
    assert list(answer) == list(documented)
    assert list(answer["data"][0]) == list(documented["data"][0])
    assert list(documented["gone"][0]) == [each.name for each in fields(Gone)]


async def test_headers_of_the_format_are_told(store: Store, client: httpx.AsyncClient) -> None:
    """What describes an event beside its body is there, as on every try."""
    [item] = many(1)
    planned = item.messages[0]
    body = json.dumps({"id": "msg_1", "provider": "agile", "received_at": "2026-04-08T14:30:52Z"})
    event = Event("msg_1", "cloudevents-binary", "sms.received", body.encode())
    plans = tuple(replace(each, format=event.format) for each in planned.deliveries)
    await store.ingest(replace(item, result=(replace(planned, events=(event,), deliveries=plans),)))
    [shown] = (await client.get(CRM)).json()["data"]
    assert shown["headers"]["ce-id"] == "msg_1"


async def test_pages_follow_each_other(store: Store, client: httpx.AsyncClient) -> None:
    """`next` leads through all there is, and says null where nothing more has come yet."""
    for item in many(5):
        await store.ingest(item)
    after, seen = 0, []
    while after is not None:
        page = (await client.get(CRM, params={"after": after, "limit": 2})).json()
        seen += [each["sequence"] for each in page["data"]]
        after = page["next"]
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (CRM, {"Authorization": ""}),
        (CRM, {"Authorization": "Bearer 0123456789abcdef-cr"}),
        (CRM, {"Authorization": f"Basic {TOKEN}"}),
        (CRM, {"Authorization": TOKEN}),
        (CRM, {"Authorization": "Bearer \xff"}),
        (CRM + "?token=" + TOKEN, {"Authorization": "Bearer"}),
        ("/api/v1/endpoints/erp/events", {}),  # closed: it has no token
        ("/api/v1/endpoints/erp/events", {"Authorization": "Bearer " + "-" * 32}),
        ("/api/v1/endpoints/none/events", {}),
        ("/api/v1/endpoints/none/events", {"Authorization": "Bearer " + "-" * 32}),
        (CRM + "?after=x", {"Authorization": "Bearer x"}),
    ],
)
async def test_without_the_token_nobody_learns_anything(
    store: Store, client: httpx.AsyncClient, path: str, headers: Mapping[str, str]
) -> None:
    """A wrong token, a closed endpoint and one that isn't there have one answer."""
    await store.ingest(many(1)[0])
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = await client.get(path, headers=raw)
    wrong = await client.get(CRM, headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.content) == (401, wrong.content)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 401


async def test_peer_without_an_address_is_answered_alike(store: Store, tmp_path: Path) -> None:
    """A proxy may ask through a Unix socket, which systemd hands over."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path := str(tmp_path / "web.sock"))
    listening.listen()

    async def nothing() -> None:
        """Refresh nothing."""

    api = EventsApi(store, [endpoint("crm", TOKEN)])
    sockets = {"web": [listening]}
    web = WebServer("systemd:web", Health(), nothing, sockets, api=api.routes())
    await web.start()
    try:
        transport = httpx.AsyncHTTPTransport(uds=path)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.get(CRM)).status_code == 401
            right = {"Authorization": f"Bearer {TOKEN}"}
            assert (await client.get(CRM, headers=right)).status_code == 200
    finally:
        await web.stop()


async def test_wrong_tokens_are_told_to_wait_and_the_right_one_is_not(
    client: httpx.AsyncClient,
) -> None:
    """After some wrong tries the answer is 429; who has the token is let in all the same."""
    wrong = {"Authorization": "Bearer wrong"}
    answers = [(await client.get(CRM, headers=wrong)).status_code for _ in range(15)]
    assert answers == [401] * 10 + [429] * 5
    last = await client.get(CRM, headers=wrong)
    assert int(last.headers["retry-after"]) > 0
    assert (await client.get(CRM)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CRM + "?after=-1", 400),
        ("GET", CRM + "?after=1e3", 400),
        ("GET", CRM + "?after=" + "9" * 30, 400),
        ("GET", CRM + "?after=" + "0" * 20 + "9" * 30, 400),
        ("GET", CRM + "?after=" + "0" * 5000, 400),  # more digits than Python converts
        ("GET", CRM + "?after=%D9%A1", 400),  # a digit, but none of ASCII
        ("GET", CRM + "?limit=0", 400),
        ("GET", CRM + "?limit=101", 400),
        ("GET", CRM + "?limit=", 400),
        ("POST", CRM, 405),
        ("DELETE", CRM, 405),
        ("GET", "/api/v1/none", 404),
        ("GET", "/api/v1/", 404),
    ],
)
async def test_errors_are_problem_documents(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    """Whatever is wrong with a request is said in a document, without quoting it."""
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["status"] == status


async def test_store_that_is_away_is_503(store: Store, client: httpx.AsyncClient) -> None:
    """Whoever asks then is told to ask again."""
    await store.close()
    answer = await client.get(CRM)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "bridge.db" not in answer.text


async def test_reload_changes_the_tokens(store: Store) -> None:
    """A new token counts from then on, the old one no longer."""
    api = EventsApi(store, [endpoint("crm", TOKEN)])
    async with serving(store, api) as client:
        assert (await client.get(CRM)).status_code == 200
        api.use([endpoint("crm", "another-0123456789")])
        assert (await client.get(CRM)).status_code == 401
        fresh = {"Authorization": "bearer another-0123456789"}
        assert (await client.get(CRM, headers=fresh)).status_code == 200


async def test_two_tokens_open_it_while_they_change(store: Store) -> None:
    """Both do, the old one is counted, and none of another endpoint does."""
    old, new = TOKEN, "another-0123456789"
    api = EventsApi(store, [endpoint("crm", new, old), endpoint("erp", "erp-0123456789abcdef")])
    counted = metrics.PULLS_BY_OLD_TOKEN.labels("crm")._value.get
    before = counted()
    async with serving(store, api) as client:
        codes = {
            token: (await client.get(CRM, headers={"Authorization": f"Bearer {token}"})).status_code
            for token in (new, old, "erp-0123456789abcdef", "-" * 32)
        }
    assert list(codes.values()) == [200, 200, 401, 401]
    assert counted() == before + 1


async def test_pulls_are_counted_for_endpoints_that_exist(client: httpx.AsyncClient) -> None:
    """A name that somebody makes up is no series."""

    def count(status: str) -> float:
        return metrics.PULLS.labels("crm", status)._value.get()

    before = count("200"), count("401")
    await client.get(CRM)
    await client.get(CRM, headers={"Authorization": "Bearer wrong"})
    await client.get("/api/v1/endpoints/made-up/events")
    assert (count("200"), count("401")) == (before[0] + 1, before[1] + 1)
    assert not [
        sample
        for metric in metrics.PULLS.collect()
        for sample in metric.samples
        if sample.labels["endpoint"] == "made-up"
    ]
