"""Receivers written for a provider's post take ours, by real deliveries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook

from bridge.formats import sms_received
from tests.delivery.servers import Answer, Receiver, Request, receiver, says
from tests.formats.bridges import SECRET, bridge
from tests.formats.receivers import (
    AgileHandler,
    MobileApiConnectHandler,
    TwilioHandler,
    UrlNetworksHandler,
)

BODY = "News ON: è € 🎉 +1 & a=b"
FROM, TO = "+393301234567", "+393331234333"
AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
PATH = "/agents/support/sms/path-token-0123456789"


@dataclass
class Answers:
    """Answers what a handler answers, but first what a receiver in trouble would."""

    handler: Callable[[Request], Answer]
    troubles: Iterator[Answer] = field(default_factory=lambda: iter(()))

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Let the handler take the request, and answer."""
        answer = self.handler(request)
        await next(self.troubles, answer)(request, writer)


def endpoint(url: str, form: str, *more: str) -> str:
    lines = ["[[endpoints]]", 'name = "old"', f'url = "{url}"', f'format = "{form}"', *more]
    return "\n".join(lines)


def the_same_each_time(server: Receiver, tries: int) -> None:
    """Every try has the same bytes and id, and its own number."""
    assert len({request.body for request in server.requests}) == 1
    assert len({request.headers["webhook-id"] for request in server.requests}) == 1
    numbers = [request.headers["webhook-attempt"] for request in server.requests]
    assert numbers == [str(number) for number in range(1, tries + 1)]


async def test_an_agile_handler(tmp_path: Path) -> None:
    """Only a 200 with exactly `+OK` is a success; the handler has the message once."""
    handler = AgileHandler()
    troubles = (
        says(200, body=b""), says(200, body=b"+OK\n"), says(200, body=b"OK"),
        says(500, body=b"+OK"), says(200, body=b"+OK" + b" " * 5000),
    )  # fmt: skip
    async with (
        receiver(Answers(handler, iter(troubles))) as server,
        bridge(tmp_path, endpoint(server.url, "agile")) as ours,
    ):
        await ours.mail(BODY)
        (row,) = await ours.delivered(1)
        assert handler.taken == [(FROM, TO, BODY)]
        the_same_each_time(server, 6)
        attempts = await ours.attempts(row.id)
        assert attempts.count((None, "answered 200, but its body is not +OK")) == 4
        await ours.in_order()
    assert "date_time=20260408143052" in server.requests[0].body.decode()


async def test_a_url_networks_handler(tmp_path: Path) -> None:
    """Only the status 200 is a success, and the message id stays."""
    handler = UrlNetworksHandler()
    troubles = (says(204, body=b""), says(201), says(500))
    async with (
        receiver(Answers(handler, iter(troubles))) as server,
        bridge(tmp_path, endpoint(server.url, "url_networks")) as ours,
    ):
        await ours.mail(BODY)
        (row,) = await ours.delivered(1)
        assert handler.taken == [(FROM, TO, BODY)]
        the_same_each_time(server, 4)
        assert (None, "answered 204, but only 200 counts") in await ours.attempts(row.id)
    assert "timestamp=1775651452" in server.requests[0].body.decode()


@pytest.mark.parametrize("query", ["", "?tenant=a%2Fb&x=%C3%A8+1"])
async def test_a_twilio_handler(tmp_path: Path, query: str) -> None:
    """PyPI's validator accepts the signature over the endpoint's URL; a repetition is ignored."""
    handler = TwilioHandler(auth_token=AUTH_TOKEN)
    troubles = (says(502), says(500))
    async with receiver(Answers(handler, iter(troubles))) as server:
        handler.url = server.url.replace("/hook", PATH + query)
        secret = f'secret = "{AUTH_TOKEN}"'
        async with bridge(tmp_path, endpoint(handler.url, "twilio", secret)) as ours:
            await ours.mail(BODY)
            await ours.mail(BODY, 2, "20260408143053")
            await ours.delivered(2)
            assert handler.taken == [(FROM, TO, BODY)] * 2
            assert sum(handler.seen.values()) == 4
            await ours.in_order()


@pytest.mark.parametrize(
    ("path", "secret", "status"),
    [(PATH + "x", AUTH_TOKEN, 404), (PATH, AUTH_TOKEN[::-1], 401)],
)
async def test_a_twilio_handler_refuses_what_is_wrong(
    tmp_path: Path, path: str, secret: str, status: int
) -> None:
    """A wrong path token is answered 404, a wrong secret 401; neither loses the message."""
    handler = TwilioHandler(auth_token=AUTH_TOKEN)
    answered: list[int] = []

    def answer(request: Request) -> Answer:
        if len(answered) == 1:  # the second try is made after it was set right
            return says(200)
        answered.append(status)
        return handler(request)

    async with receiver(Answers(answer)) as server:
        handler.url = server.url.replace("/hook", PATH)
        used = server.url.replace("/hook", path)
        table = endpoint(used, "twilio", f'secret = "{secret}"')
        async with bridge(tmp_path, table) as ours:
            await ours.mail(BODY)
            (row,) = await ours.delivered(1)
            assert [each for each, _ in await ours.attempts(row.id)] == [status, 200]
    assert handler.taken == []


async def test_a_mobile_api_connect_handler(tmp_path: Path) -> None:
    """The HMAC over the raw body is the one in the header, keyed with the secret as it is shown."""
    handler = MobileApiConnectHandler(secret=SECRET, read=json.loads)
    async with (
        receiver(Answers(handler, iter((says(503),)))) as server,
        bridge(
            tmp_path, endpoint(server.url, "mobile_api_connect", f'secret = "{SECRET}"')
        ) as ours,
    ):
        await ours.mail(BODY)
        await ours.delivered(1)
        assert handler.taken == [(FROM[1:], TO[1:], BODY)]
        the_same_each_time(server, 2)
    sms = json.loads(server.requests[0].body)
    assert sms["receivedAt"] == "2026-04-08T12:30:52.000Z"
    assert sms["ref"] == server.requests[0].headers["webhook-id"]


@pytest.mark.parametrize("form", ["cloudevents", "cloudevents-binary"])
async def test_cloudevents(tmp_path: Path, form: str) -> None:
    """PyPI's library reads the event in either mode, and the signature is Standard Webhooks'."""
    async with (
        receiver(Answers(lambda _: says(204, body=b""), iter((says(500),)))) as server,
        bridge(tmp_path, endpoint(server.url, form, f'secret = "{SECRET}"')) as ours,
    ):
        receipt = await ours.mail(BODY)
        await ours.delivered(1)
        the_same_each_time(server, 2)
    first, request = server.requests
    event = from_http_event(HTTPMessage(dict(request.headers), request.body))
    assert event.get_specversion() == "1.0"
    assert event.get_id() == request.headers["webhook-id"] != receipt.message_id
    assert (event.get_type(), event.get_source()) == ("sms.received", "smsbridge:agile")
    assert event.get_time().isoformat() == "2026-04-08T12:30:52+00:00"
    data = event.get_data()
    assert isinstance(data, dict)
    assert (data["id"], data["body"]) == (receipt.message_id, BODY)
    schema = json.loads(sms_received.schema())
    jsonschema.Draft202012Validator(schema["properties"]["data"]).validate(data)
    attributes = [
        {name: value for name, value in each.headers.items() if name.startswith("ce-")}
        for each in (first, request)
    ]
    assert attributes[0] == attributes[1]
    assert bool(attributes[0]) is (form == "cloudevents-binary")
    Webhook(SECRET).verify(request.body.decode(), dict(request.headers))


async def test_endpoints_of_several_formats(tmp_path: Path) -> None:
    """Each gets its own event, with an id of its own; equal formats share one event."""
    agile, plain = AgileHandler(), says(200)
    async with (
        receiver(Answers(agile)) as old,
        receiver(Answers(lambda _: plain)) as new,
        bridge(
            tmp_path,
            endpoint(old.url, "agile")
            + "".join(
                f'\n[[endpoints]]\nname = "{name}"\nurl = "{new.url}"\nsecret = "{SECRET}"\n{more}'
                for name, more in (("a", ""), ("b", ""), ("c", 'format = "cloudevents"'))
            ),
        ) as ours,
    ):
        receipt = await ours.mail(BODY)
        await ours.delivered(4)
        await ours.in_order()
        ids = [request.headers["webhook-id"] for request in (*old.requests, *new.requests)]
        assert sorted(ids.count(each) for each in set(ids)) == [1, 1, 2]
        assert receipt.message_id in ids
        assert len(agile.taken) == 1
        await ours.mail(BODY)
        assert len(await ours.messages()) == 1
