"""What an operator does on the page is done, once, and logged with the token's name."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from urllib.parse import unquote, urlencode

import aiohttp
import pytest

from tests.patience import PATIENCE
from tests.servers.receiver import Received
from tests.web.page.house import Browser, House, agile_mail

pytestmark = pytest.mark.processes


async def test_an_endpoint_is_held_and_resumed_with_a_reason(house: House) -> None:
    """Its state, the reason and the count are shown; without a reason nothing is done."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        refused = await browser.post("/endpoints/billing/hold", reason=" ")
        assert (refused.status, "say why" in refused.text.lower()) == (409, True)
        reason = "<i>moving</i> house"
        held = await browser.post("/endpoints/billing/hold", reason=reason)
        assert "deliveries wait now, and new ones will" in held.text
        assert f"Paused by an operator: {reason}." in held.text
        assert "<i>moving" not in held.html
        resumed = await browser.post("/endpoints/billing/resume")
        assert "deliveries go out" in resumed.text
        assert "Paused" not in resumed.text
    what = ("endpoint hold", "billing", reason, "done")
    assert ("operate", "page", *what) in _acts(house)
    assert ("operate", "page", "endpoint resume", "billing", None, "done") in _acts(house)


async def test_an_endpoint_is_tested_with_a_ping(house: House) -> None:
    """The answer of a good and of a bad receiver is said; nothing is stored."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        good = await browser.post("/endpoints/crm/test")
        assert "It was taken: answered 200" in good.text
        bad = await browser.post("/endpoints/billing/test")
        assert "It was not taken: answered 503" in bad.text
        assert "<script>steal()" in bad.text
        assert "<script>steal()" not in bad.html
        assert (await browser.post("/endpoints/none/test")).status == 404


async def test_a_delivery_is_retried(house: House) -> None:
    """The attempt is made at once, not when its schedule says."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        listed = await browser.get("/deliveries?state=pending&endpoint=billing")
        delivery = next(href for href, _ in listed.parsed.links if href.startswith("/deliveries/"))
        shown = await browser.post(f"{delivery}/retry")
        assert "It is tried again now." in shown.text or "under way" in shown.text
        done = await browser.get("/deliveries?state=delivered&endpoint=crm")
        delivered = next(href for href, _ in done.parsed.links if href.startswith("/deliveries/"))
        shown = await browser.post(f"{delivered}/retry")
        assert "Nothing to retry" in shown.text


async def test_a_quarantined_mail_is_tried_mended_and_delivered(house: House) -> None:
    """The file as it is now is tried without storing; after a reload the mail is a message."""
    text = house.take_in_unknown()
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        listed = await browser.get("/quarantine")
        arrival = next(href for href, _ in listed.parsed.links if href.startswith("/arrivals/"))
        tried = await browser.post(f"{arrival}/try")
        assert tried.text.count("It would stay in quarantine") == 2
        with house.mended_config():
            tried = await browser.post(f"{arrival}/try")
            assert tried.text.count("It would stay in quarantine") == 1
            assert "It would become a message." in tried.text
            assert text in tried.text
            still = await browser.post(f"{arrival}/reparse")
            assert "it stays in quarantine" in still.text
            house.reload()
            mended = await browser.post(f"{arrival}/reparse")
            assert "Read and stored: it is this message now" in mended.text
            assert text in mended.text

    def came(all_: list[Received]) -> bool:
        return any(text.encode() in each.body for each in all_ if each.path == "/ok")

    assert await asyncio.to_thread(house.receiver.wait, came)
    house.take_in_unknown()
    house.change_config("senders = [", "senders = [ # broken")
    try:
        async with Browser(house.url) as browser:
            await browser.log_in(house.operate)
            listed = await browser.get("/quarantine")
            arrival = next(href for href, _ in listed.parsed.links if href.startswith("/arrivals/"))
            tried = await browser.post(f"{arrival}/try")
            assert "The file cannot be used" in tried.text
    finally:
        house.change_config("senders = [ # broken", "senders = [")


async def test_login_and_logout(house: House) -> None:
    """A wrong token is told so; a login leads to where one wanted to go, and never elsewhere."""
    async with Browser(house.url) as browser:
        asked = await browser.get("/messages?state=dead")
        assert unquote(asked.url) == f"{house.url}/login?next=/messages?state=dead"
        wrong = await browser.log_in("smsb_wrong")
        assert (wrong.status, "opens nothing" in wrong.text) == (401, True)
        there = await browser.post("/login", token=house.read, next="/messages?state=dead")
        assert there.url == f"{house.url}/messages?state=dead"
        for elsewhere in ("//evil.example/", "/\\evil.example", "https://evil.example", "x"):
            away = await browser.post("/login", token=house.read, next=elsewhere)
            assert away.url == f"{house.url}/", elsewhere
        out = await browser.post("/logout")
        assert out.url == f"{house.url}/login"
        assert (await browser.get("/messages")).url.startswith(f"{house.url}/login")


async def test_the_live_list_shows_what_comes_and_ends_with_the_session(house: House) -> None:
    """What came while it was paused is there when it goes on; after a logout it ends."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        page = await browser.get("/live?what=messages")
        (feed,) = [known for _, known in page.parsed.tags if known.get("id") == "live"]
        after = feed["data-after"]
        house.take_in(agile_mail("+393309876501", "while it was paused", 31))
        address = f"{house.url}{feed['data-stream']}&{urlencode({'after': after or ''})}"
        headers = {"Sec-Fetch-Site": "same-origin"}
        async with browser.client.get(address, headers=headers) as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            assert "while it was paused" in await _until(stream, "while it was paused")
            house.take_in(agile_mail("+393309876502", "<b>live</b>", 32))
            got = await _until(stream, "&lt;b&gt;live")
            assert "<b>live" not in got
            await browser.post("/logout")
            assert "event: ended" in await _until(stream, "ended")
            assert await stream.content.read() == b"data: \n\n"
        foreign = {"Sec-Fetch-Site": "cross-site"}
        await browser.log_in(house.operate)
        async with browser.client.get(address, headers=foreign) as refused:
            assert refused.status == 403


async def _until(stream: aiohttp.ClientResponse, wanted: str) -> str:
    said = ""
    async with asyncio.timeout(PATIENCE):
        while wanted not in said:
            line = await stream.content.readline()
            assert line, f"it ended without {wanted}"
            said += line.decode()
    return said


def _acts(house: House) -> set[tuple[str | None, ...]]:
    path = house.daemon.config.parent / "bridge.db"
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT who, way, what, target, why, result FROM acts").fetchall()
    return set(rows)
