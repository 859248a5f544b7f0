"""An address of the page leads to a screen, also one that nobody would write."""

from __future__ import annotations

from pathlib import Path

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
