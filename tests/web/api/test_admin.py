"""The admin API shows what a scope may see, and each act is done once and logged."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path

import pytest

from bridge.errors import StoreFull
from bridge.model import DeliveryState
from bridge.operations.acts import list_acts
from bridge.store import acts
from bridge.store import answers as kept
from bridge.web.api import answers, openapi
from bridge.web.api.routes import ROUTES
from tests.cli.conftest import NUMBER
from tests.documents import PROJECT
from tests.store.making import GIVE_UP, attempt
from tests.web.api.bridges import (
    DEAD,
    MESSAGE,
    NO_SMS,
    QUARANTINED,
    SECRET_TEXT,
    UNTRUSTED,
    Served,
    numbers_and_texts,
    serving,
)

WHY = {"why": "they asked"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


def test_the_description_in_the_file_is_that_of_the_routes() -> None:
    """`make generate` after a change to routes or models."""
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.written(), "run: make generate"


def paths(api: Served, message_id: str) -> list[str]:
    """Return each route that shows something, with something that is there."""
    named = {"id": message_id, "number": "1", "name": "crm"}
    return [
        each.path.format(**named)
        for each in ROUTES
        if not each.writes and not each.path.endswith("/raw")
    ]


async def test_a_reading_token_sees_no_number_and_no_text(api: Served) -> None:
    """In no list and no story, whatever is named; an operating one sees them where it asks."""
    (message,) = (await api.get("/messages"))["data"]
    assert message["from"] == NUMBER
    assert "body" not in message
    shown = paths(api, message["id"])
    assert len(shown) == 15
    for path in shown:
        document = await api.get(path, reading=True)
        assert numbers_and_texts(document) == [], path
        assert NUMBER[-4:] not in path
    (message,) = (await api.get("/messages", include="body"))["data"]
    assert message["body"] == SECRET_TEXT
    story = await api.get(f"/messages/{message['id']}", include="body")
    assert (story["data"]["body"], story["data"]["from"]) == (SECRET_TEXT, NUMBER)
    assert story["arrivals"][0]["recipients"] == ["sms-token@example.com"]
    hidden = await api.get(f"/messages/{message['id']}")
    assert (hidden["data"]["body"], hidden["data"]["email"]["subject"]) == (None, None)
    for path in ("/messages", f"/messages/{message['id']}"):
        answer = await api.ask("GET", path, reading=True, include="body")
        assert answer.status_code == HTTPStatus.FORBIDDEN
    assert (await api.ask("GET", "/arrivals/1/raw", reading=True)).status_code == 403
    raw = await api.ask("GET", "/arrivals/1/raw")
    assert SECRET_TEXT.encode() in raw.content
    assert raw.headers["Content-Disposition"] == 'attachment; filename="arrival-1.eml"'


async def test_every_answer_is_as_described(api: Served) -> None:
    """Each document fits its model, which knows no other field."""
    (message,) = (await api.get("/messages"))["data"]
    named = {"id": message["id"], "number": "1", "name": "crm"}
    for route in ROUTES:
        if route.given and not route.writes:
            document = await api.get(route.path.format(**named))
            getattr(answers, route.given).model_validate(document)


async def test_what_is_asked_is_found(api: Served) -> None:
    """By each filter; what it doesn't know, or what isn't its kind, is refused in a sentence."""

    async def ids(path: str, **query: object) -> list[object]:
        return [each["id"] for each in (await api.get(path, **query))["data"]]

    (message_id,) = await ids("/messages", number=NUMBER, provider="agile", source="smtp")
    for nothing in (
        {"number": NUMBER[:-1]}, {"number": NUMBER[-4:]}, {"provider": "x"}, {"source": "imap"},
        {"until": "2026-01-01T00:00:00Z"}, {"state": "held"}, {"endpoint": "nobody"},
        {"since": "9999-12-31T23:59:59Z"}, {"until": "0001-01-01T00:00:00Z"},
    ):  # fmt: skip
        assert await ids("/messages", **nothing) == [], nothing
    always = {"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}
    assert await ids("/messages", **always) == [message_id]
    assert await ids("/messages", state="dead", endpoint="crm") == [message_id]
    assert await ids("/quarantine") == [UNTRUSTED, NO_SMS, QUARANTINED]
    assert await ids("/quarantine", reason="untrusted") == [UNTRUSTED]
    assert await ids("/arrivals", outcome="message") == [MESSAGE]
    assert await ids("/arrivals", limit=2, next=4) == [NO_SMS, QUARANTINED]
    assert await ids("/deliveries", state="dead", status=500, source="smtp") == [DEAD]
    assert await ids("/deliveries", status=404) == []
    assert await ids("/deliveries", endpoint="other", state="filtered") != []
    story = await api.get(f"/deliveries/{DEAD}")
    assert [each["status"] for each in story["attempts"]] == [500]
    for path, query, said in (
        ("/messages", {"limit": 0}, "limit"), ("/messages", {"limit": 201}, "limit"),
        ("/messages", {"limit": "5.0"}, "whole number"), ("/messages", {"wanted": 1}, "wanted"),
        ("/messages", {"since": 5}, "2026-04-08T14:30:00Z"),
            ("/deliveries", {"state": "x"}, "state"),
        ("/messages", {"<script>": 1}, "a parameter"), ("/log", {"next": -1}, "next"),
        ("/messages", {"since": "2026-02-30T00:00:00Z"}, "since"),
        ("/messages", {"since": "0001-01-01T00:00:00+23:59"}, "in UTC"),
    ):  # fmt: skip
        answer = await api.ask("GET", path, **query)
        assert answer.status_code == HTTPStatus.BAD_REQUEST, (path, query)
        assert said in answer.json()["detail"]
        assert "<script>" not in answer.text


async def test_what_is_not_there_is_a_404(api: Served) -> None:
    """Also a path that looks like a file's, and a number that is none."""
    for path in (
        "/messages/msg_NO", "/messages/9999999999999999999", "/arrivals/99", "/arrivals/x",
        "/arrivals/%31%00", "/deliveries/-1",
        "/deliveries/9999999999999999999999", "/endpoints/nobody", "/nowhere",
        "/../../etc/passwd", "/%2e%2e%2f%2e%2e%2fetc/passwd", "/messages/..%2f..%2fetc%2fpasswd",
        "/openapi.json/../../admin.py", "/endpoints/crm%0d%0aSet-Cookie:%20a=b",
    ):  # fmt: skip
        answer = await api.ask("GET", path)
        assert answer.status_code == HTTPStatus.NOT_FOUND, path
        if answer.url.path.startswith("/api/v1"):  # the client takes `..` out itself
            assert answer.headers["Content-Type"].startswith("application/problem+json"), path
        assert "Set-Cookie" not in answer.headers


async def test_another_method_is_a_405(api: Served) -> None:
    """Which says the right one; HEAD is like GET."""
    answer = await api.ask("DELETE", "/messages")
    assert (answer.status_code, answer.headers["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "GET")
    assert (await api.ask("GET", "/endpoints/crm/hold")).headers["Allow"] == "POST"
    assert (await api.ask("HEAD", "/messages")).status_code == HTTPStatus.OK


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[]", 400), (b'"why"', 400), (b'{"why": ""}', 400),
     (b'{"why": " "}', 400), (b'{"why": 1}', 400), (b'{"why": "x", "scope": "operate"}', 400),
     (b"[" * 60_000, 400), (b'{"why": "' + b"x" * 501 + b'"}', 400),
     (b'{"why": "' + b"x" * 70_000 + b'"}', 413)],
)  # fmt: skip
async def test_a_body_that_is_none_does_nothing(api: Served, body: bytes, status: int) -> None:
    """Neither one that is too deep, nor one that is too large."""
    headers = {"Authorization": f"Bearer {api.operate}", "Content-Type": "application/json"}
    path = "/api/v1/endpoints/crm/hold"
    answer = await api.client.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    plain = headers | {"Content-Type": "text/plain"}
    answer = await api.client.post(path, content=json.dumps(WHY), headers=plain)
    assert answer.status_code == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert (await api.get("/endpoints/crm"))["state"] == "active"


async def test_an_act_is_logged_with_who_and_why(api: Served) -> None:
    """Done or not; a reading token does nothing, and that isn't an act."""
    assert (await api.ask("POST", "/endpoints/crm/hold", body=WHY)).json() == {"held": 0}
    assert (await api.ask("POST", "/endpoints/nobody/hold", body=WHY)).status_code == 404
    answer = await api.ask("POST", "/endpoints/crm/resume", reading=True, body=WHY)
    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert (await api.get("/endpoints/crm"))["held"] == "they asked"
    failed, done = (await api.get("/log"))["data"][:2]
    assert {key: done[key] for key in ("who", "way", "what", "target", "why", "result")} == {
        "who": "operate", "way": "api", "what": "endpoints hold", "target": "endpoint crm",
        "why": "they asked", "result": "done",
    }  # fmt: skip
    assert (failed["target"], failed["result"][:9]) == ("endpoint nobody", "not done:")


async def test_the_same_key_acts_once(api: Served) -> None:
    """The same request gets the same answer; another one with its key is refused."""
    key = {"Idempotency-Key": "retry-1"}
    path = f"/deliveries/{DEAD}/retry"
    first = await api.ask("POST", path, headers=key)
    assert (first.status_code, first.json()) == (HTTPStatus.OK, {"retried": 1})
    for claim in await api.store.claim("crm", 1):  # it is tried, so that a second retry would count
        await api.store.record(attempt(claim, GIVE_UP, 500))
    again = await api.ask("POST", path, headers=key)
    assert (again.json(), again.headers["Idempotency-Replayed"]) == ({"retried": 1}, "true")
    (delivery,) = (await api.get("/deliveries", endpoint="crm"))["data"]
    assert delivery["state"] == DeliveryState.DEAD
    other = await api.ask("POST", path, headers=key, body=WHY)
    assert other.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert (await api.ask("POST", path, headers={"Idempotency-Key": "a b"})).status_code == 400
    missing = {"Idempotency-Key": "retry-2"}
    assert (await api.ask("POST", "/deliveries/99/retry", headers=missing)).status_code == 404
    assert (await api.ask("POST", path, headers=missing)).json() == {"retried": 1}
    acts = await list_acts(api.store, limit=9)
    assert [each["what"] for each in acts].count("deliveries retry") == 3


async def test_twice_at_once_acts_once(api: Served) -> None:
    """The second one learns that the first is under way, or gets its answer."""
    key = {"Idempotency-Key": "hold"}
    calls = [api.ask("POST", "/endpoints/crm/hold", headers=key, body=WHY) for _ in range(5)]
    answers_ = await asyncio.gather(*calls)
    statuses = sorted(each.status_code for each in answers_)
    assert statuses[0] == HTTPStatus.OK
    assert set(statuses) <= {HTTPStatus.OK, HTTPStatus.CONFLICT}
    acts = await list_acts(api.store, limit=9)
    assert [each["what"] for each in acts].count("endpoints hold") == 1


@pytest.mark.parametrize("written", [acts.end_act, kept.keep_answer])
async def test_what_is_done_is_said_though_that_cannot_be_written(
    api: Served, monkeypatch: pytest.MonkeyPatch, written: Callable[..., object]
) -> None:
    """Told to ask again, one would do it twice: so the answer is right, and the key stays taken."""

    def full(*_: object, **__: object) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(sys.modules[written.__module__], written.__name__, full)
    order = {"filter": {"endpoint": "crm"}, "why": "they asked"}
    asked = [
        await api.ask("POST", "/retries", body=order, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]
    assert asked[0].status_code == HTTPStatus.OK
    assert asked[1].status_code in {HTTPStatus.OK, HTTPStatus.CONFLICT}
    ordered = await api.get("/retries")
    assert [each["filter"] for each in ordered["data"]].count({"endpoint": "crm"}) == 1


async def test_who_looked_before_somebody_else_acted_is_told(api: Served) -> None:
    """Two people, one endpoint: the second one's If-Match is old."""
    tag = (await api.ask("GET", "/endpoints/crm")).headers["ETag"]
    held = await api.ask("POST", "/endpoints/crm/hold", body=WHY, headers={"If-Match": tag})
    assert held.status_code == HTTPStatus.OK
    late = await api.ask("POST", "/endpoints/crm/resume", headers={"If-Match": tag})
    assert late.status_code == HTTPStatus.PRECONDITION_FAILED
    assert (await api.get("/endpoints/crm"))["state"] == "paused"
    new = (await api.ask("GET", "/endpoints/crm")).headers["ETag"]
    for wanted in (f'"old", {new}', "*"):
        answer = await api.ask("POST", "/endpoints/crm/resume", headers={"If-Match": wanted})
        assert answer.status_code == HTTPStatus.OK


async def test_a_mail_in_quarantine_is_read_again_released_or_ended(api: Served) -> None:
    """Read again it is as untrusted as before; released it is a message, by whose name."""
    again = await api.ask("POST", f"/quarantine/{UNTRUSTED}/reparse")
    assert (again.json()["outcome"], again.json()["reason"]) == ("quarantine", "untrusted")
    assert (await api.ask("POST", f"/quarantine/{UNTRUSTED}/release")).status_code == 400
    released = await api.ask("POST", f"/quarantine/{UNTRUSTED}/release", body=WHY)
    assert released.json()["outcome"] == "message"
    story = await api.get(f"/messages/{released.json()['message_id']}")
    assert story["data"]["trust"] == {"by": "operator", "detail": "operate"}
    ended = await api.ask("POST", f"/quarantine/{NO_SMS}/discard", body=WHY)
    assert ended.json() == {"discarded": 1}
    shown = await api.get(f"/arrivals/{NO_SMS}")
    assert (shown["outcome"], shown["discarded_because"]) == ("discarded", "they asked (operate)")
    for act in ("discard", "release", "reparse"):
        answer = await api.ask("POST", f"/quarantine/{NO_SMS}/{act}", body=WHY)
        assert answer.status_code == HTTPStatus.CONFLICT, act


async def test_many_are_retried_by_a_filter(api: Served) -> None:
    """Counted first, once for a key, with who and why; everything at once is refused."""
    order = {"filter": {"state": "dead", "endpoint": "crm"}, "why": "they are back"}
    assert (await api.ask("POST", "/retries/preview", body=order)).json() == {"deliveries": 1}
    key = {"Idempotency-Key": "1"}
    for _ in range(2):
        assert (await api.ask("POST", "/retries", body=order, headers=key)).json() == {"retry": 2}
    shown = await api.get("/retries/2", reading=True)
    assert {name: shown[name] for name in ("filter", "state", "who", "why")} == {
        **order, "state": "running", "who": "operate",
    }  # fmt: skip
    (act, *_) = (await api.get("/log"))["data"]
    assert (act["what"], act["target"]) == ("retries", "deliveries: endpoint crm, state dead")
    assert (await api.ask("POST", "/retries/2/cancel")).json() == {"cancelled": 2}
    assert (await api.ask("POST", "/retries/2/cancel")).status_code == HTTPStatus.CONFLICT
    for body, status in (
        ({"filter": {}, "why": "x"}, 409), ({"filter": {"state": "dead"}}, 400),
        ({"filter": {"state": "delivered"}, "why": "x"}, 400), ({"why": "x"}, 400),
        (order | {"rate": 0}, 400), (order | {"rate": 1e9}, 400), (order | {"rate": "x"}, 400),
    ):  # fmt: skip
        assert (await api.ask("POST", "/retries", body=body)).status_code == status, body
    assert (await api.ask("POST", "/retries", reading=True, body=order)).status_code == 403
    assert len((await api.get("/retries"))["data"]) == 2


@pytest.mark.processes
async def test_the_commands_in_the_docs_do_what_they_say(api: Served) -> None:
    """The page's `sh` lines, as they stand: what is dead is shown, and an endpoint is held."""
    page = (PROJECT / "docs/api.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8080" in block
    shell = await asyncio.create_subprocess_exec(
        "sh", "-ec", block.replace("http://127.0.0.1:8080", api.url).replace("curl ", "curl -sSf "),
        env=os.environ | {"TOKEN": api.operate}, stdout=subprocess.PIPE,
    )  # fmt: skip
    said, _ = await shell.communicate()
    assert shell.returncode == 0
    first, rest = json.JSONDecoder().raw_decode(text := said.decode())
    assert [each["state"] for each in first["data"]] == ["dead"]
    assert "held" in json.loads(text[rest:])


async def test_the_config_has_no_secret(api: Served) -> None:
    """Neither in a URL nor in a table."""
    text = json.dumps(await api.get("/config", reading=True))
    assert "crm.internal" in text
    for secret in ("t0ken", "user:pass", "whsec_", "ZXhhbXBsZS"):
        assert secret not in text


async def test_a_store_that_is_away_is_a_503(api: Served) -> None:
    """With when to ask again; nothing was done."""
    await api.get("/messages")
    await api.store.close()
    for method, path in (("GET", "/messages"), ("POST", f"/deliveries/{DEAD}/retry")):
        answer = await api.ask(method, path)
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert answer.headers["Retry-After"] == "5"
