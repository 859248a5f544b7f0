"""An endpoint with a failover URL: what goes where, from an outage to its end and over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from bridge.config.endpoints import EndpointSettings
from bridge.config.settings import DeliverySettings
from bridge.delivery import Dispatcher, Endpoint
from bridge.errors import ConfigError
from bridge.metrics import REGISTRY
from bridge.model import DeliveryState, Hold, RetryAt
from bridge.signing.standard_webhooks import generate_secret, parse_secret
from tests.conftest import Line
from tests.delivery.rows import START, Rows
from tests.delivery.servers import Receiver, Request, receiver, says
from tests.delivery.test_dispatcher import MESSAGE, Make, Opening, _eventually, now
from tests.patience import PATIENCE

AFTER = 60.0
SECRET = generate_secret()


@dataclass
class Pair:
    """A lane at work on two URLs, whose answers can be changed."""

    rows: Rows
    dispatcher: Dispatcher
    own: Receiver
    other: Receiver
    statuses: dict[str, int]

    async def bring(self) -> None:
        """Bring a message, and wait until it is tried."""
        before = len(self.rows.recorded)
        (planned,) = self.dispatcher.plan(MESSAGE)
        claim = self.rows.add(leased=planned.claimed)
        if planned.claimed:
            self.dispatcher.start([claim])
        else:
            self.dispatcher.release([planned])
        await self.rows.have(before + 1)

    async def fail_over(self) -> None:
        """Let the own URL fail until the other one is used, and all is delivered."""
        self.statuses["own"] = 503
        await self.bring()
        await _eventually(lambda: bool(self.dispatcher.over), seconds=300.0)
        await _eventually(lambda: set(self.rows.states()) == {DeliveryState.DELIVERED}, 60.0)


@asynccontextmanager
async def _pair(
    endpoint_at: Make, opening: Opening, over: datetime | None = None, **changes: object
) -> AsyncIterator[Pair]:
    rows = Rows(now)
    statuses = {"own": 200, "other": 200}

    def answers(name: str) -> object:
        async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
            wait = ["Retry-After: 3600"] if statuses[name] == 429 else []
            await says(statuses[name], *wait)(request, writer)

        return answer

    async with receiver(answers("own")) as own, receiver(answers("other")) as other:  # type: ignore[arg-type]
        endpoint = endpoint_at(own.url, keys=(parse_secret(SECRET),), **changes)
        failover = replace(endpoint, url=httpx.URL(other.url))
        endpoint = replace(endpoint, failover=failover, failover_after=AFTER)
        dispatcher = Dispatcher(
            [endpoint],
            DeliverySettings(),
            rows,
            opening,
            clock=now,
            rng=lambda: 0.0,
            failing=["crm"] if over else [],
            over={"crm": over} if over else {},
        )
        pair = Pair(rows, dispatcher, own, other, statuses)
        running = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(0.02)
        yield pair
        await dispatcher.drain(PATIENCE)
        await running


def _ids(server: Receiver) -> list[str]:
    return [request.headers["webhook-id"] for request in server.requests]


@pytest.mark.unhurried
async def test_an_outage_from_its_beginning_to_its_end(
    endpoint_at: Make, opening: Opening, lines: list[Line]
) -> None:
    """The same events go to the other URL, signed alike, and back as soon as a probe succeeds."""
    async with _pair(endpoint_at, opening) as pair:
        for _ in range(3):
            await pair.bring()
        assert len(pair.own.requests) == 3
        began = asyncio.get_running_loop().time()
        await pair.fail_over()
        waited = asyncio.get_running_loop().time() - began
        assert AFTER <= waited < AFTER + 2  # not at the next try, which is a minute later
        assert pair.rows.failed_over == ["crm"]
        assert _ids(pair.other) == ["msg_4"]
        assert pair.other.requests[0].body == pair.own.requests[-1].body
        head, body = pair.other.requests[0].headers, pair.other.requests[0].body.decode()
        at = datetime.fromtimestamp(int(head["webhook-timestamp"]), UTC)
        assert Webhook(SECRET).sign("msg_4", at, body) == head["webhook-signature"]
        await pair.bring()
        assert _ids(pair.other)[-1] == "msg_5"
        assert set(pair.dispatcher.over) == {"crm"}
        # A probe: one delivery tries the own URL, and is sent to the other one at once.
        await asyncio.sleep(11)
        sent = len(pair.own.requests)
        await pair.bring()
        await pair.rows.have(len(pair.rows.recorded) + 1)
        assert len(pair.own.requests) == sent + 1
        assert _ids(pair.other)[-1] == _ids(pair.own)[-1] == "msg_6"
        # It is back.
        pair.statuses["own"] = 200
        await asyncio.sleep(11)
        await pair.bring()
        assert _ids(pair.own)[-1] == "msg_7"
        assert not pair.dispatcher.over
        await pair.bring()
        assert _ids(pair.own)[-1] == "msg_8"
        assert "msg_8" not in _ids(pair.other)
    assert pair.rows.states() == [DeliveryState.DELIVERED] * 8
    assert len(set(_ids(pair.other))) == len(pair.other.requests)
    made = [(each.claim.event.id, each.failover) for each in pair.rows.recorded]
    assert made[-4:] == [("msg_6", False), ("msg_6", True), ("msg_7", False), ("msg_8", False)]
    assert [each.failing for each in pair.rows.recorded if each.failing is not None] == [False]
    events = [line["event"] for line in lines]
    assert events.count("endpoint.failed_over") == events.count("endpoint.recovered") == 1
    assert [each.get("failover") for each in lines if each["event"] == "delivery.attempt"][
        -3
    ] is True


@pytest.mark.unhurried
async def test_after_a_restart_it_goes_on(endpoint_at: Make, opening: Opening) -> None:
    """The other URL is used from the beginning, and the first delivery tries the own one."""
    since = START
    async with _pair(endpoint_at, opening, over=since) as pair:
        assert pair.dispatcher.over == {"crm": since}
        assert _gauge() == 1
        pair.statuses["own"] = 503
        await pair.bring()
        await pair.rows.have(2)
        assert (len(pair.own.requests), len(pair.other.requests)) == (1, 1)
        for _ in range(5):
            await pair.bring()
        assert (len(pair.own.requests), len(pair.other.requests)) == (1, 6)
        pair.statuses["own"] = 200
        await asyncio.sleep(11)
        await pair.bring()
        assert pair.dispatcher.over == {}
        assert _gauge() == 0
    assert pair.rows.states() == [DeliveryState.DELIVERED] * 7


def _gauge() -> float | None:
    return REGISTRY.get_sample_value("smsbridge_endpoint_failover", {"endpoint": "crm"})


@pytest.mark.unhurried
async def test_a_backlog_goes_to_the_other_url(endpoint_at: Make, opening: Opening) -> None:
    """What waits for its retry is brought forward, beside what is due; each is sent there once."""
    async with _pair(endpoint_at, opening) as pair:
        pair.statuses["own"] = 500
        for _ in range(200):
            pair.rows.add()
        pair.dispatcher.kick()
        await _eventually(lambda: bool(pair.dispatcher.over), seconds=300.0)
        began = asyncio.get_running_loop().time()
        await _eventually(lambda: set(pair.rows.states()) == {DeliveryState.DELIVERED}, 60.0)
        assert asyncio.get_running_loop().time() - began < 15
    assert len(pair.other.requests) == len(set(_ids(pair.other))) == 200


@pytest.mark.unhurried
async def test_a_retry_after_holds_nothing_back_from_the_other_url(
    endpoint_at: Make, opening: Opening
) -> None:
    """The endpoint's own URL asked to wait for an hour; the other one asked nobody."""
    async with _pair(endpoint_at, opening) as pair:
        pair.statuses["own"] = 429
        for _ in range(3):
            await pair.bring()
        assert {row.not_before is None for row in pair.rows.rows.values()} == {False}
        await _eventually(lambda: set(pair.rows.states()) == {DeliveryState.DELIVERED}, 90.0)
    assert sorted(_ids(pair.other)) == ["msg_1", "msg_2", "msg_3"]


@pytest.mark.unhurried
async def test_a_backlog_that_is_brought_forward_is_sent_meanwhile(
    endpoint_at: Make, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take as long as a million rows do; what is due meanwhile is claimed."""
    async with _pair(endpoint_at, opening) as pair:
        done, real = asyncio.Event(), pair.rows.bring_forward

        async def slowly(*what: Any) -> tuple[int, int | None, datetime]:
            await done.wait()
            return await real(*what)

        monkeypatch.setattr(pair.rows, "bring_forward", slowly)
        pair.statuses["own"] = 429
        for _ in range(3):
            await pair.bring()
        await _eventually(lambda: bool(pair.dispatcher.over), seconds=300.0)
        pair.rows.add()
        await _eventually(lambda: _ids(pair.other) == ["msg_4"])
        done.set()
        await _eventually(lambda: set(pair.rows.states()) == {DeliveryState.DELIVERED})


@pytest.mark.unhurried
async def test_a_410_of_the_other_url_holds_nothing(endpoint_at: Make, opening: Opening) -> None:
    """The endpoint itself did not say that it is gone; when it does, all is held as ever."""
    async with _pair(endpoint_at, opening, over=START) as pair:
        pair.statuses |= {"own": 503, "other": 410}
        await pair.bring()
        await pair.rows.have(2)
        assert isinstance(pair.rows.recorded[-1].decision, RetryAt)
        assert pair.rows.recorded[-1].failover
        pair.statuses["own"] = 410
        await asyncio.sleep(15)
        await _eventually(lambda: pair.rows.states() == [DeliveryState.HELD], 60.0)
    assert isinstance(pair.rows.recorded[-1].decision, Hold)


@pytest.mark.unhurried
async def test_a_store_that_is_down_keeps_it_from_happening(
    endpoint_at: Make, opening: Opening
) -> None:
    """What could not be kept over a restart is not begun; it is as soon as the store is back."""
    async with _pair(endpoint_at, opening) as pair:
        pair.statuses["own"] = 503
        await pair.bring()
        await pair.rows.have(3)
        pair.rows.down = True
        await asyncio.sleep(AFTER + 30)
        assert not pair.dispatcher.over
        assert not pair.other.requests
        pair.rows.down = False
        await _eventually(lambda: pair.rows.states() == [DeliveryState.DELIVERED], 120.0)
    assert pair.rows.failed_over == ["crm"]


def _settings(**changes: object) -> EndpointSettings:
    known: dict[str, object] = {"name": "crm", "url": "https://a.example/x", "secret": SECRET}
    return EndpointSettings(**(known | changes))  # type: ignore[arg-type]


def _built(**changes: object) -> Endpoint:
    return Endpoint.from_settings(2, _settings(**changes), DeliverySettings())


def test_it_is_the_same_endpoint_with_another_url() -> None:
    """Headers, format and the rest are the endpoint's; secrets, too, unless it has some."""
    shared = _built(failover={"url": "https://b.example/y"}, bearer="t0ken", rate="5/s")
    assert shared.failover == replace(
        shared, url=httpx.URL("https://b.example/y"), failover=None, failover_after=0.0
    )
    assert shared.failover_after == 60.0
    other = generate_secret()
    own = _built(failover={"url": "https://b.example/y", "after": "5m", "secrets": [other, SECRET]})
    assert own.failover is not None
    assert own.failover.keys == (parse_secret(other), parse_secret(SECRET))
    assert own.keys == (parse_secret(SECRET),)
    assert own.failover_after == 300.0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"failover": {"url": "https://a.example/x"}}, "is the endpoint's own url"),
        ({"failover": {"url": "https://b.example/#x"}}, "has a #fragment"),
        ({"failover": {"url": "https://u:p@b.example/"}, "bearer": "t"}, "keep one"),
        ({"failover": {"url": "https://b.example/", "secret": "s", "secrets": ["t"]}}, "not both"),
        ({"failover": {}}, "Field required"),
    ],
)
def test_a_wrong_failover_is_told(changes: dict[str, object], problem: str) -> None:
    """As for the endpoint's own URL."""
    with pytest.raises(ValueError, match=problem):
        _settings(**changes)


@pytest.mark.parametrize(
    ("failover", "key"),
    [
        ({"url": "http://169.254.169.254/"}, "endpoints.2.failover.url: leads to a link-local"),
        ({"url": "https://b.example/", "secret": "hunter2"}, "endpoints.2.failover: a signing"),
    ],
)
def test_what_can_never_work_is_refused(failover: dict[str, object], key: str) -> None:
    """By `check` and at the start."""
    with pytest.raises(ConfigError) as refused:
        _built(failover=failover)
    assert str(refused.value).startswith(key)
