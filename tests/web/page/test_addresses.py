"""An address of the page leads to a screen: one that nobody would write, and one of a proxy."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.web.api.bridges import serving

LAST = 2**63 - 1


async def test_the_ends_of_numbers_and_times_are_none(tmp_path: Path) -> None:
    """What is too large to be an id isn't there; what is no time in UTC chooses nothing."""
    async with serving(tmp_path) as served:
        for path, status in (
            (f"/deliveries/{LAST}", 404), (f"/arrivals/{LAST}", 404), (f"/retries/{LAST}", 404),
            (f"/messages/{10 * LAST}", 404), (f"/deliveries?before={LAST}&state=dead", 200),
            (f"/quarantine?before={LAST}", 200), (f"/messages?before={LAST}", 200),
            ("/messages?since=0001-01-01&until=9999-12-31T23:59:59", 200),
            ("/messages?since=0001-01-01T00:00:00%2B23:59", 200),
            ("/messages?until=9999-12-31T23:59:59-23:59", 200),
        ):  # fmt: skip
            headers = {"Authorization": f"Bearer {served.operate}"}
            answer = await served.client.get(path, headers=headers)
            assert answer.status_code == status, path


async def test_a_login_behind_a_proxy_leads_to_where_one_wanted_to_go(tmp_path: Path) -> None:
    """With the prefix, whether the proxy takes that away or not: without it is somebody else's."""
    public = '[http]\npublic_url = "https://ops.example.com/sms"\n'
    browser = {"Origin": "https://ops.example.com"}
    async with serving(tmp_path, public) as served:
        for cut, wanted in (("", "/messages?state=dead"), ("/sms", "/sms/messages"), ("", "/")):
            asked = await served.client.get(cut + wanted.removeprefix("/sms"))
            query = urlsplit(asked.headers["Location"]).query
            form = {"next": parse_qs(query)["next"][0], "token": served.read}
            answer = await served.client.post(f"{cut}/login", data=form, headers=browser)
            where = f"/sms{wanted.removeprefix('/sms')}"
            assert answer.headers["Location"] == where, (cut, wanted)
            served.client.cookies.clear()
