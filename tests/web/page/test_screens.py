"""Every screen of a real daemon says what is so, and nothing that a stranger wrote runs on one."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from bridge.web.page.routes import ADDRESSES
from bridge.web.page.screens import SCREENS
from tests.web.page.house import NEW_SENDER, NUMBER, TEXT, Browser, House, Shown

pytestmark = pytest.mark.processes

# By every field that a stranger can fill: of a mail, and of an endpoint's answer.
FIELDS = ("x-number", "x-text", "x-subject", "x-body", "x-label", "x-raw", "x-answer")


async def test_every_link_leads_to_a_screen_and_no_script_of_a_stranger_runs(house: House) -> None:
    """All that strangers wrote is there to be read, as text; tags and attributes are ours."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        found = await browser.crawl()
        await browser.log_in(house.operate)
    raw = {path for path in found if path.endswith("/raw")}
    assert {found[path].status for path in found} == {200}
    assert raw, "no raw mail was linked"
    for path in raw:
        headers = found[path].headers
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Disposition"].startswith("attachment;")
    screens = {path: shown for path, shown in found.items() if path not in raw}
    kinds = {re.sub(r"\?.*", "", path).split("/")[1] for path in screens}
    assert {"", "messages", "deliveries", "quarantine", "arrivals", "endpoints", "live"} <= kinds
    for path, shown in screens.items():
        _assert_ours(path, shown)
    everything = " ".join(shown.text for shown in screens.values())
    for field in FIELDS:
        assert f"{field}\"'><script>steal()</script>" in everything, field
    assert "{{7*7}}" in everything


def _assert_ours(path: str, shown: Shown) -> None:
    scripts = [attributes for tag, attributes in shown.parsed.tags if tag == "script"]
    assert scripts == [{"src": "/page/page.js", "defer": None}], path
    for tag, attributes in shown.parsed.tags:
        assert tag not in {"img", "iframe", "object", "style", "base"}, (path, tag)
        assert not [name for name in attributes if name.startswith("on") or name == "style"], path
    for href, _ in shown.parsed.links:
        assert href.startswith(("/", "#")), (path, href)
    assert "script-src 'self'" in shown.headers["Content-Security-Policy"]


async def test_numbers_and_texts_are_masked_for_a_token_that_may_read(house: House) -> None:
    """No screen shows them, offers an act, or the raw mail; acts and raw mails are refused."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.read)
        found = await browser.crawl()
        for path, shown in found.items():
            assert shown.status == 200, path
            assert NUMBER not in shown.html, path
            assert TEXT not in shown.html, path
            assert "steal()" not in shown.html, path
            assert set(shown.parsed.forms) <= {"/logout"}, path
            assert not path.endswith("/raw")
        assert "+39******4567" in found["/messages"].text
        arrival = next(path for path in found if path.startswith("/arrivals/"))
        assert (await browser.get(f"{arrival}/raw")).status == 403
        assert (await browser.post("/endpoints/crm/hold", reason="x")).status == 403
        # The end of a number would be an oracle for the digits that are masked.
        for asked, there in (("4567", False), (NUMBER, True), ("+", False)):
            shown = await browser.get(f"/messages?{urlencode({'number': asked})}")
            assert ("+39******4567" in shown.text) is there, asked
        shown = await browser.get(f"/messages?{urlencode({'text': 'absent'})}")
        assert "+39******4567" in shown.text, "the text was searched"


async def test_an_sms_is_found_by_its_number_and_followed_to_its_attempts(house: House) -> None:
    """From the number as somebody says it, to what each endpoint answered."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        listed = await browser.get(f"/messages?{urlencode({'number': '330 123-45 67'})}")
        assert listed.text.count(NUMBER) == 1
        message = next(href for href, _ in listed.parsed.links if href.startswith("/messages/msg"))
        shown = await browser.get(message)
        assert f"SMS from {NUMBER} to +393331234333" in shown.text
        assert TEXT in shown.text
        assert "It brought this message." in shown.text
        assert "It repeats a message that was here" in shown.text
        assert "Believed for its recipients" in shown.text
        assert "Delivered, with 1 attempt." in shown.text
        assert re.search(r"Answered 503 after [0-9.e-]+ s\. It is tried again\.", shown.text)
        marks = [tag for tag, _ in shown.parsed.tags if tag == "mark"]
        assert len(marks) == 4, "from, to, date and body are marked in the mail"
        delivery = await browser.get(shown.link("delivery"))
        assert "Where it stands" in delivery.text
        # By its id, too.
        again = await browser.get(f"/messages?number={message.removeprefix('/messages/')}")
        assert again.url == house.url + message


@pytest.mark.parametrize(
    ("query", "there"),
    [
        ({"text": "NEWS on"}, True),
        ({"text": "absent"}, False),
        ({"provider": "agile"}, True),
        ({"provider": "none"}, False),
        ({"source": "smtp"}, True),
        ({"source": "imap"}, False),
        ({"state": "delivered", "endpoint": "crm"}, True),
        ({"state": "delivered", "endpoint": "billing"}, False),
        ({"since": "2020-01-01T00:00"}, True),
        ({"until": "2020-01-01T00:00"}, False),
        ({"since": "no time", "before": "no number", "state": "odd"}, True),
        ({"number": "x" * 500}, True),
    ],
)
async def test_filters_stand_in_the_address(
    house: House, query: dict[str, str], there: bool
) -> None:
    """What the address says is what is shown; what means nothing is left out."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        shown = await browser.get(f"/messages?{urlencode(query)}")
        assert (shown.status, TEXT in shown.text) == (200, there)


async def test_quarantine_says_why_and_what_would_help(house: House) -> None:
    """Each reason has its sentence, and each mail what would make it readable."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        listed = await browser.get("/quarantine?reason=no_provider")
        shown = await browser.get(_first(listed, "/arrivals/"))
        assert "No provider of the config knows it" in shown.text
        assert "add that to its senders" in shown.text
        assert NEW_SENDER in shown.text
        listed = await browser.get("/quarantine?reason=unreadable")
        shown = await browser.get(_first(listed, "/arrivals/"))
        assert "the SMS was not found in it" in shown.text
        assert "missing: from, to, date, body" in shown.text


async def test_what_is_not_there_is_said_in_a_sentence(house: House) -> None:
    """A screen with a sentence, and nothing of what was asked for as HTML."""
    async with Browser(house.url) as browser:
        await browser.log_in(house.operate)
        for path in ("/messages/<b>x", "/deliveries/99999999", "/deliveries/x", "/arrivals/0",
                     "/arrivals/99999999/raw", "/endpoints/<b>x"):  # fmt: skip
            shown = await browser.get(path)
            assert (shown.status, "there is no" in shown.text.lower()) == (404, True), path
            assert "<b>x" not in shown.html
        assert (await browser.get("/page/../page.py")).status == 404


def test_every_address_has_its_screen() -> None:
    """The light list and the one that is imported later are the same."""
    others = {("GET", "/login"), ("POST", "/login"), ("POST", "/logout"), ("GET", "/page/{file}")}
    known = {(each.method, each.path) for each in ADDRESSES if not each.stream}
    assert known - others == set(SCREENS)


def _first(shown: Shown, beginning: str) -> str:
    return next(href for href, _ in shown.parsed.links if href.startswith(beginning))
