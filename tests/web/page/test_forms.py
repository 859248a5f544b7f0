"""What is posted to the page is a form of ours, whatever else somebody without a token sends."""

from __future__ import annotations

from pathlib import Path

from tests.web.api.bridges import serving

FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=a"
PART = b"--a\r\nContent-Disposition: form-data; name=token\r\n%b\r\n\r\nx\r\n--a--\r\n"
BROWSER = {"Sec-Fetch-Site": "same-origin"}


FORGED = (
    ("multipart/form-data", b"token=x"),
    (PARTS, b"token=x"),
    (PARTS, PART % b"Content-Transfer-Encoding: x"),
    (f"{FORM}; charset=nothing", b"token=x"),
    (f"{FORM}; charset=unicode_escape", b"token=\\ud800"),
    (f"{FORM}; charset=utf-16", b"token=x"),
    (FORM, b"token=\xff"),
    (FORM, b"token=%ed%a0%80"),
    (FORM, b"&".join(b"token=x" for _ in range(5000))),
)


async def test_no_form_of_a_stranger_raises(tmp_path: Path) -> None:
    """It opens nothing, and that is said as to anybody else: a bug would be logged."""
    async with serving(tmp_path) as served:
        for kind, body in FORGED:
            answer = await served.client.post(
                "/login", content=body, headers={**BROWSER, "Content-Type": kind}
            )
            found = answer.status_code, "opens nothing" in answer.text
            assert found == (401, True), (kind, body[:20])


async def test_a_form_of_ours_is_read(tmp_path: Path) -> None:
    """Also one whose browser names the charset that it is in anyhow."""
    async with serving(tmp_path) as served:
        for kind in (FORM, f"{FORM};charset=UTF-8"):
            answer = await served.client.post(
                "/login", content=f"token={served.read}&next=%2Flive",
                headers={**BROWSER, "Content-Type": kind},
            )  # fmt: skip
            assert (answer.status_code, answer.headers["Location"]) == (303, "/live")
