"""Nobody gets in without a live token, whatever a browser was talked into sending."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from pathlib import Path

import pytest

from bridge.config.http import HttpSettings
from bridge.operations.tokens import revoke_token
from bridge.store import Store
from tests.store.making import START, opened, sqlite_settings
from tests.web.door.serving import READ, Answer, Served, bearer, behind_a_door, token_of

OWN_PAGE = "Sec-Fetch-Site: same-origin"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(sqlite_settings(tmp_path / "bridge.db")) as opened_store:
        yield opened_store


@pytest.fixture
async def served(store: Store) -> AsyncIterator[Served]:
    async with behind_a_door(store) as running:
        yield running


async def log_in(served: Served, token: str, *headers: str, path: str = "/login") -> Answer:
    form = "Content-Type: application/x-www-form-urlencoded"
    return await served.ask("POST", path, form, *(headers or (OWN_PAGE,)), body=f"token={token}")


async def test_all_is_closed_until_a_token_exists(store: Store, served: Served) -> None:
    """Not even a token of another bridge, nor a wrong Host, learns that something is there."""
    for method, path in (("GET", "/see"), ("POST", "/act"), ("GET", "/stream")):
        for headers in ((), (bearer("smsb_x"),), ("Cookie: smsbridge=x",)):
            answer = await served.ask(method, path, *headers)
            assert answer.status == HTTPStatus.NOT_FOUND
            assert "there is nothing here" in answer.body
    assert (await served.ask("GET", "/see", host="evil.example")).status == HTTPStatus.NOT_FOUND
    assert (await log_in(served, "smsb_x")).status == HTTPStatus.NOT_FOUND
    token = await token_of(store)
    served.time.seconds += 1
    assert (await served.ask("GET", "/see", bearer(token))).body == "ann api"


async def test_a_token_opens_what_its_scope_says_and_no_more(store: Store, served: Served) -> None:
    """A reading one sees; it neither acts nor reads texts, by whichever way it came in."""
    reading, operating = await token_of(store, "ray", READ), await token_of(store)
    assert (await served.ask("GET", "/see", bearer(reading))).status == HTTPStatus.OK
    cookie = f"Cookie: {(await log_in(served, reading)).cookie}"
    for shown in (bearer(reading), cookie):
        for method, path in (("GET", "/texts"), ("POST", "/act"), ("DELETE", "/act")):
            answer = await served.ask(method, path, shown, OWN_PAGE)
            assert answer.status == HTTPStatus.FORBIDDEN
            assert "operate" in answer.body
    assert served.acted == []
    assert (await served.ask("POST", "/act", bearer(operating))).status == HTTPStatus.OK
    assert served.acted == ["ann"]


@pytest.mark.parametrize(
    "shown",
    [
        (),
        ("Authorization: Bearer",),
        ("Authorization: Bearer ",),
        ("Authorization: {token}",),
        ("Authorization: Basic {token}",),
        ("Authorization: Bearer {token}x",),
        ("Authorization: Bearer {token} {token}",),
        ("Authorization: Bearer {half}",),
        ("Authorization: Bearer {hash}",),
        ("Authorization: Bearer \udcff\udcfe",),
        ("Authorization: Bearer {token}", "Authorization: Bearer x"),
        ("Cookie: smsbridge={token}",),
        ("Cookie: __Host-smsbridge={token}",),
        ("X-Forwarded-User: ann",),
    ],
)
async def test_what_is_no_whole_token_opens_nothing(
    store: Store, served: Served, shown: Sequence[str]
) -> None:
    """Neither a part of one, nor its hash, nor one in the wrong place; nor in the URL."""
    token = await token_of(store)
    rows = await store.read(lambda connection: connection.exec_driver_sql("SELECT * FROM tokens"))
    assert token not in str(rows)
    headers = [each.format(token=token, half=token[:-1], hash=token[5:]) for each in shown]
    for path in ("/see", f"/see?access_token={token}&token={token}"):
        answer = await served.ask("GET", path, *headers)
        assert answer.status == HTTPStatus.UNAUTHORIZED
        assert answer.all("WWW-Authenticate") == ["Bearer"]
        assert token not in answer.body


async def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(
    store: Store, served: Served
) -> None:
    """After ten wrong ones of a network each is told to wait; whoever has a right one isn't."""
    token = await token_of(store)
    wrong = [(await served.ask("GET", "/see", bearer(f"{number}"))).status for number in range(12)]
    assert wrong == [HTTPStatus.UNAUTHORIZED] * 10 + [HTTPStatus.TOO_MANY_REQUESTS] * 2
    told = await log_in(served, "smsb_wrong")
    assert told.status == HTTPStatus.TOO_MANY_REQUESTS
    assert int(told.all("Retry-After")[0]) >= 1
    assert (await served.ask("GET", "/see", bearer(token))).status == HTTPStatus.OK
    assert (await log_in(served, token)).status == HTTPStatus.SEE_OTHER


async def test_the_store_is_asked_once_a_second_whatever_is_guessed(
    store: Store, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with the same work for each guess: how near it is to a token costs nothing more."""
    token = await token_of(store)
    reads = 0
    original = store.read

    async def counted(query: object) -> object:
        nonlocal reads
        reads += 1
        return await original(query)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "read", counted)
    for cut in range(len(token)):
        assert (await served.ask("GET", "/see", bearer(token[:cut]))).status in {401, 429}
    assert reads == 1
    served.time.seconds += 1
    await served.ask("GET", "/see", bearer("x"))
    assert reads == 2


HOSTILE_HOSTS = [
    "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example",
    "localhost@evil.example", "evil.example@localhost", "[::1].evil.example", "127.0.0.2",
    "localhost:x", "localhost:999999", "localhost/", "localhost/../", "localhost\\", "",
    "169.254.169.254", "0.0.0.0", "l\u043ecalhost", "localhost,evil.example", "2130706433", None,
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
async def test_a_name_that_somebody_points_at_us_is_answered_with_421(
    store: Store, served: Served, host: str | None
) -> None:
    """DNS rebinding: all else is as from our own page. Neither a token nor a login helps."""
    token = await token_of(store)
    origin = f"Origin: http://{host}"
    headers = (bearer(token), OWN_PAGE, origin)
    for method, path in (("GET", "/see"), ("POST", "/act"), ("GET", "/stream"), ("POST", "/login")):
        answer = await served.ask(method, path, *headers, host=host)
        assert answer.status in {HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.BAD_REQUEST}, answer
    assert served.acted == []
    assert len(served.sessions) == 0


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1", "127.0.0.1:1", "[::1]:80",
     "ops.example.com", "OPS.example.com:443", "bridge.internal:8080"],
)  # fmt: skip
async def test_our_own_names_are_answered(store: Store, host: str) -> None:
    """Those of the machine itself, and those that the config says."""
    token = await token_of(store)
    settings = HttpSettings(hosts=("bridge.internal",), public_url="https://ops.example.com/sms")
    async with behind_a_door(store, settings) as served:
        assert (await served.ask("GET", "/see", bearer(token), host=host)).status == HTTPStatus.OK


async def test_two_hosts_are_none(store: Store, served: Served) -> None:
    """A proxy may have looked at the other one."""
    token = await token_of(store)
    for one, other in (("localhost", "evil.example"), ("evil.example", "localhost")):
        answer = await served.ask("GET", "/see", bearer(token), f"Host: {other}", host=one)
        assert answer.status in {HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.BAD_REQUEST}


async def test_a_host_in_the_first_line_is_one_too(store: Store, served: Served) -> None:
    """As it is written to a proxy: what lies between us may go by that one."""
    shown = bearer(await token_of(store))
    answers = [
        await served.ask("GET", f"http://{host}/see", shown)
        for host in ("evil.example", "evil.example:80", "127.0.0.1", "localhost", "localhost:8080")
    ]
    assert [each.status for each in answers] == [421, 421, 421, 200, 200]


FOREIGN = [
    ("Sec-Fetch-Site: cross-site",),
    ("Sec-Fetch-Site: same-site",),  # another port or subdomain
    ("Sec-Fetch-Site: none",),
    ("Sec-Fetch-Site: SAME-ORIGIN",),
    ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"),
    ("Origin: https://evil.example",),
    ("Origin: null",),
    ("Origin: http://localhost:1",),
    ("Origin: localhost",),
    ("Origin: http://localhost.evil.example",),
    ("Origin: ftp://localhost",),
    ("Origin: http://localhost", "Origin: https://evil.example"),
    ("Origin: http://localhost", "Sec-Fetch-Site: cross-site"),
    ("Referer: http://localhost/",),
    (),
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda each: " ".join(each) or "nothing said")
async def test_nothing_is_done_for_another_page(
    store: Store, served: Served, headers: Sequence[str]
) -> None:
    """A browser's cookie acts, streams and logs in and out for our own page only."""
    token = await token_of(store)
    cookie = f"Cookie: {(await log_in(served, token)).cookie}"
    forms = ("Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded")
    for form in forms:
        for method, path in (("POST", "/act"), ("DELETE", "/act"), ("POST", "/logout")):
            answer = await served.ask(method, path, cookie, form, *headers, body="{}")
            assert answer.status == HTTPStatus.FORBIDDEN
        answer = await served.ask("GET", "/stream", cookie, *headers)
        assert answer.status == HTTPStatus.FORBIDDEN
        answer = await served.ask("POST", "/login", form, *headers, body=f"token={token}")
        assert answer.status == HTTPStatus.FORBIDDEN
    assert served.acted == []
    assert (await served.ask("GET", "/see", cookie)).body == "ann page"
    if headers and not headers[0].startswith("Referer"):  # a program sends none of these
        answer = await served.ask("POST", "/act", bearer(token), *headers)
        assert answer.status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    "headers",
    [(OWN_PAGE,), ("Origin: http://localhost",), (OWN_PAGE, "Origin: http://other.internal")],
)
async def test_our_own_page_acts(store: Store, served: Served, headers: Sequence[str]) -> None:
    """With either header; a proxy that changes the Host doesn't keep it from acting."""
    cookie = f"Cookie: {(await log_in(served, await token_of(store))).cookie}"
    for path in ("/act", "/logout"):
        assert (await served.ask("POST", path, cookie, *headers)).status == HTTPStatus.OK
    assert served.acted == ["ann"]


async def test_a_preflight_is_not_answered(store: Store, served: Served) -> None:
    """No page elsewhere is told that it may send a token."""
    await token_of(store)
    asked = ("Origin: https://evil.example", "Access-Control-Request-Method: POST")
    answer = await served.ask("OPTIONS", "/act", *asked)
    assert answer.status == HTTPStatus.METHOD_NOT_ALLOWED
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


async def test_a_session_has_a_new_name_at_each_login(store: Store, served: Served) -> None:
    """One that somebody planted in the browser is worth nothing, before and after (fixation)."""
    token = await token_of(store)
    planted = "Cookie: smsbridge=planted-planted-planted-planted"
    first = await log_in(served, token, OWN_PAGE, planted)
    second = await log_in(served, token, OWN_PAGE, f"Cookie: {first.cookie}")
    assert len({planted, f"Cookie: {first.cookie}", f"Cookie: {second.cookie}"}) == 3
    for gone in (planted, f"Cookie: {first.cookie}"):
        assert (await served.ask("GET", "/see", gone)).status == HTTPStatus.UNAUTHORIZED
    assert (await served.ask("GET", "/see", f"Cookie: {second.cookie}")).status == HTTPStatus.OK


async def test_a_stolen_cookie_is_worth_nothing_after_the_logout(
    store: Store, served: Served
) -> None:
    """The session ends here, not only in the browser."""
    cookie = f"Cookie: {(await log_in(served, await token_of(store))).cookie}"
    answer = await served.ask("POST", "/logout", cookie, OWN_PAGE)
    (forgotten,) = answer.all("Set-Cookie")
    assert forgotten.startswith('smsbridge="";')
    assert "Max-Age=0" in forgotten
    assert (await served.ask("GET", "/see", cookie)).status == HTTPStatus.UNAUTHORIZED


async def test_a_revoked_token_opens_nothing_nor_do_its_sessions(
    store: Store, served: Served
) -> None:
    """Within a second, and whoever else has a token is still in."""
    token, other = await token_of(store), await token_of(store, "bob")
    cookie = f"Cookie: {(await log_in(served, token)).cookie}"
    assert (await served.ask("GET", "/see", cookie)).status == HTTPStatus.OK
    await revoke_token(store, lambda: START, "ann", "test")
    served.time.seconds += 1
    for shown in (cookie, bearer(token)):
        assert (await served.ask("GET", "/see", shown)).status == HTTPStatus.UNAUTHORIZED
    assert (await served.ask("GET", "/see", bearer(other))).status == HTTPStatus.OK
    await revoke_token(store, lambda: START, "bob", "test")
    served.time.seconds += 1
    assert (await served.ask("GET", "/see", bearer(other))).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("public_url", "name", "secure"),
    [(None, "smsbridge", False), ("http://ops.example.com", "smsbridge", False),
     ("https://ops.example.com", "__Host-smsbridge", True)],
)  # fmt: skip
async def test_no_script_and_no_other_site_gets_the_cookie(
    store: Store, public_url: str | None, name: str, secure: bool
) -> None:
    """Behind TLS it is for TLS alone, and no other host of the domain can set it."""
    token = await token_of(store)
    async with behind_a_door(store, HttpSettings(public_url=public_url)) as served:
        (cookie,) = (await log_in(served, token)).all("Set-Cookie")
    named, *attributes = cookie.split("; ")
    assert named.startswith(f"{name}=")
    assert len(named) > len(name) + 40
    assert set(attributes) == {"HttpOnly", "Path=/", "SameSite=Strict"} | (
        {"Secure"} if secure else set()
    )


async def test_behind_a_proxy_it_is_found_with_and_without_the_prefix(store: Store) -> None:
    """Whether the proxy takes it away or not; and the public origin is ours even if Host is not."""
    token = await token_of(store)
    settings = HttpSettings(public_url="https://ops.example.com/sms")
    async with behind_a_door(store, settings) as served:
        for prefix in ("", "/sms"):
            answer = await log_in(
                served, token, "Origin: https://ops.example.com", path=f"{prefix}/login"
            )
            assert answer.all("Location") == ["/sms/"]
            shown = f"Cookie: {answer.cookie}"
            assert (await served.ask("GET", f"{prefix}/see", shown)).body == "ann page"
        assert (await served.ask("GET", "/other/see", shown)).status == HTTPStatus.NOT_FOUND


async def test_every_answer_has_the_headers(store: Store, served: Served) -> None:
    """Pages, refusals, what is not there, and what is not even HTTP."""
    await token_of(store)
    answers = [
        await served.ask("GET", "/healthz"),
        await served.ask("GET", "/see"),
        await served.ask("GET", "/nowhere"),
        await served.ask("PUT", "/act"),
        await served.ask("GET", "/see", "X: " + "x" * 20_000),
        await served.ask("GET", "/see", host="evil.example"),
    ]
    assert [each.status for each in answers] == [200, 401, 404, 405, 400, 421]
    for each in answers:
        (policy,) = each.all("Content-Security-Policy")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert each.all("X-Content-Type-Options") == ["nosniff"]
        assert each.all("Referrer-Policy") == ["no-referrer"]
        assert each.all("Cache-Control") == ["no-store"]
        assert each.all("Server") == ["smsbridge"]


@pytest.mark.parametrize("part", ["health", "metrics"])
async def test_health_and_metrics_need_a_token_if_the_config_says_so(
    store: Store, part: str
) -> None:
    """They are closed like the rest then; what the config leaves open has no door at all."""
    settings = HttpSettings(open=tuple({"health", "metrics"} - {part}))
    paths = {"health": ["/healthz", "/readyz"], "metrics": ["/metrics"]}
    async with behind_a_door(store, settings) as served:
        for name, found in paths.items():
            for path in found:
                closed = (await served.ask("GET", path, host="x")).status == HTTPStatus.NOT_FOUND
                assert closed == (name == part)
        token = await token_of(store, scope=READ)
        served.time.seconds += 1
        for path in paths[part]:
            assert (await served.ask("GET", path)).status == HTTPStatus.UNAUTHORIZED
            answer = await served.ask("GET", path, bearer(token))
            assert answer.status in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}
            assert answer.body


async def test_a_store_that_is_away_lets_nobody_in(store: Store, served: Served) -> None:
    """Neither by token nor by session; it says to ask again."""
    token = await token_of(store)
    cookie = f"Cookie: {(await log_in(served, token)).cookie}"
    await store.close()
    served.time.seconds += 1
    for shown in (bearer(token), cookie, ""):
        answer = await served.ask("GET", "/see", *([shown] if shown else []))
        assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert answer.all("Retry-After") == ["5"]
