"""The page in Debian's Chromium by keyboard alone: an SMS found, followed, a mail mended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, async_playwright

from tests.patience import PATIENCE
from tests.servers.programs import need
from tests.web.page.house import NUMBER, TEXT, House, agile_mail

pytestmark = pytest.mark.processes

_TABS: Final = 150  # more than any screen has to be tabbed through
_SERIOUS: Final = {"serious", "critical"}
# What the focused element is called: by its label, else by its text.
_NAME: Final = """() => {
  const at = document.activeElement;
  if (at === document.body) return "";
  const label = at.labels && at.labels.length ? at.labels[0].firstChild.textContent : "";
  return (label || at.textContent || "").replace(/\\s+/g, " ").trim();
}"""
_SEEN: Final = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
}"""


@asynccontextmanager
async def chromium(house: House, width: int, scheme: str) -> AsyncIterator[Page]:
    """Open a window; fails if anything is fetched from elsewhere, or goes wrong."""
    strange: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=need("chromium"), args=["--no-sandbox"]
        )
        context = await browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if scheme == "dark" else "light",
            timezone_id="Asia/Kathmandu",
        )
        context.set_default_timeout(PATIENCE * 1000)
        page = await context.new_page()
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(house.url) else strange.append(request.url)
            ),
        )
        page.on("pageerror", lambda error: strange.append(str(error)))
        page.on(
            "console",
            lambda said: strange.append(said.text) if said.type in {"error", "warning"} else None,
        )
        yield page
        await browser.close()
    assert not strange


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus is called this, and shows that it has it."""
    for _ in range(_TABS):
        await page.keyboard.press("Tab")
        if name in await page.evaluate(_NAME):
            assert await page.evaluate(_SEEN), f"{name} doesn't show the focus"
            return
    raise AssertionError(f"no way to {name!r} by keyboard on {page.url}")


async def press(page: Page, name: str) -> None:
    """Press what is called this, and wait for where it leads."""
    await tab_to(page, name)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")


async def check(page: Page, width: int) -> None:
    """Fail if axe finds something serious, or if one must scroll sideways."""
    found = await Axe().run(page)
    serious = [
        f"{each['id']}: {[node['html'] for node in each['nodes']]}"
        for each in found.response["violations"]
        if each["impact"] in _SERIOUS
    ]
    assert not serious, page.url
    assert await page.evaluate("document.documentElement.scrollWidth") <= width, page.url


async def said(page: Page) -> str:
    return await page.inner_text("main")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
async def test_an_operator_finds_follows_pauses_and_mends(
    house: House, width: int, scheme: str
) -> None:
    """Log in, find an SMS by its number, follow it, mend a mail, hold and resume: by keyboard."""
    mended = house.take_in_unknown()
    async with chromium(house, width, scheme) as page:
        await page.goto(f"{house.url}/")
        await check(page, width)
        await page.keyboard.type(house.operate)  # the field has the focus
        async with page.expect_navigation():
            await page.keyboard.press("Enter")
        assert "Overview" in await said(page)
        await check(page, width)

        await press(page, "Messages")
        await check(page, width)
        # Times are in the reader's zone, +05:45, and in UTC on hover.
        time = page.locator("time").first
        assert (await time.inner_text())[:16] != (await time.get_attribute("title") or "")[:16]
        await tab_to(page, "Number or id")
        await page.keyboard.type(NUMBER)
        async with page.expect_navigation():
            await page.keyboard.press("Enter")
        await press(page, await page.locator("tbody th a").first.inner_text())
        assert TEXT in await said(page)
        assert "Answered 503" in await said(page)
        await check(page, width)
        await press(page, "delivery")
        await check(page, width)
        await press(page, "Deliveries")
        await check(page, width)

        await press(page, "Endpoints")
        await check(page, width)
        await press(page, "crm")
        await tab_to(page, "Reason, for the record")
        await page.keyboard.type("moving house")
        async with page.expect_navigation():
            await page.keyboard.press("Enter")
        assert "Paused by an operator: moving house" in await said(page)
        await check(page, width)
        await press(page, "Resume")
        assert "Active: deliveries go out" in await said(page)

        await press(page, "Quarantine")
        await check(page, width)
        await press(page, await page.locator("tbody th a").first.inner_text())
        with house.mended_config():
            await press(page, "Try the config file as it is now")
            assert "It would become a message." in await said(page)
            await check(page, width)
            house.reload()
            await press(page, "Read it again and store the result")
            assert mended in await said(page)

        await press(page, "Live")
        await page.get_by_text("Live: what comes is shown").wait_for()
        await check(page, width)
        house.take_in(agile_mail("+393305550001", f"seen live {width}", 40 + width % 7))
        await page.get_by_text(f"seen live {width}").wait_for()
        await tab_to(page, "Pause")
        await page.keyboard.press("Enter")
        house.take_in(agile_mail("+393305550002", f"while paused {width}", 50 + width % 7))
        await page.get_by_text("Paused: nothing is fetched.").wait_for()
        assert f"while paused {width}" not in await said(page)
        await page.keyboard.press("Enter")  # Go on
        await page.get_by_text(f"while paused {width}").wait_for()
        await press(page, "Log out")
        assert page.url == f"{house.url}/login"
