"""Tokens are kept as hashes, and every act with them is in the log, whatever came of it."""

from __future__ import annotations

import asyncio

import pytest

from bridge.config.settings import StoreSettings
from bridge.errors import NotFound, NotPossible
from bridge.model import Scope
from bridge.operations.acts import list_acts, logged
from bridge.operations.tokens import create_token, list_tokens, revoke_token
from bridge.store import acts, tokens
from bridge.store.acts import Act
from bridge.web.door import Admission
from tests.store.making import Clock, opened
from tests.web.door.serving import Time

ACT = Act("ann", "api", "endpoints hold", "crm", "they asked")


async def test_a_token_lives_until_it_is_revoked(settings: StoreSettings) -> None:
    """Its name is free again then; the former one stays in the list."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        made = await create_token(store, clock, "ann", Scope.READ, "root")
        token = made["token"]
        assert (token[:5], len(token)) == ("smsb_", 48)
        with pytest.raises(NotPossible, match="revoke"):
            await create_token(store, clock, "ann", Scope.OPERATE, "root")
        live = await store.read(tokens.live_tokens)
        assert [(each.name, each.scope) for each in live.values()] == [("ann", Scope.READ)]
        assert list(live) == [tokens.hash_of(token)]
        clock.forward(60)
        assert await revoke_token(store, clock, "ann", "root") == {"revoked": "ann"}
        assert await store.read(tokens.live_tokens) == {}
        with pytest.raises(NotFound):
            await revoke_token(store, clock, "ann", "root")
        again = await create_token(store, clock, "ann", Scope.OPERATE, "root")
        assert again["token"] != token
        now, former = await list_tokens(store)
        assert (now["scope"], now["revoked_at"]) == ("operate", None)
        assert former["revoked_at"] is not None
        done = [
            (each["what"], each["target"], each["who"]) for each in await list_acts(store, limit=9)
        ]
        assert done[::-1] == [
            ("token create", "ann (read)", "root"),
            ("token create", "ann (operate)", "root"),
            ("token revoke", "ann", "root"),
            ("token revoke", "ann", "root"),
            ("token create", "ann (operate)", "root"),
        ]
        assert token not in str(await list_acts(store, limit=9))


@pytest.mark.parametrize("name", ["", "Ann", "a b", "../x", "ann\n", "a" * 64, "ann'", "-c"])
async def test_what_is_no_name_is_refused(settings: StoreSettings, name: str) -> None:
    """It stands in logs and pages."""
    async with opened(settings) as store:
        with pytest.raises(NotPossible, match="no name"):
            await create_token(store, Clock(), name, Scope.READ, "root")
        assert await list_tokens(store) == []


async def test_there_are_only_so_many_tokens(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each daemon keeps them all at hand."""
    monkeypatch.setattr(tokens, "MAX_LIVE", 2)
    async with opened(settings) as store:
        for name in ("a", "b"):
            await create_token(store, Clock(), name, Scope.READ, "root")
        with pytest.raises(NotPossible, match="revoke one"):
            await create_token(store, Clock(), "c", Scope.READ, "root")
        await revoke_token(store, Clock(), "a", "root")
        await create_token(store, Clock(), "c", Scope.READ, "root")


async def test_its_use_is_noted_once_an_hour(settings: StoreSettings) -> None:
    """However often it is used: a request costs no write."""
    clock, time = Clock(), Time()
    async with opened(settings, clock=clock) as store:
        token = (await create_token(store, clock, "ann", Scope.READ, "root"))["token"]
        admission = Admission(store, clock, time)
        noted = []
        for _ in range(5):
            for _ in range(20):
                assert await admission.find(token) is not None
            while admission._notes:
                await asyncio.wait(admission._notes)
            noted.append((await list_tokens(store))[0]["used_at"])
            time.seconds += 1200
            clock.forward(1200)
        assert noted[0] is not None
        assert noted[0] == noted[1] == noted[2] != noted[3] == noted[4]
        assert await admission.find("smsb_x") is None
        await admission.close()


async def test_an_act_is_logged_before_it_is_done(settings: StoreSettings) -> None:
    """With how it went after: done, refused, or nothing, if it was cut off."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        seen = []

        async def look() -> str:
            seen.extend(await list_acts(store, limit=9))
            return "looked"

        async def refuse() -> None:
            raise NotFound("no endpoint 'crm'")

        async def break_off() -> None:
            raise asyncio.CancelledError

        assert await logged(store, clock, ACT, look) == "looked"
        assert [each["result"] for each in seen] == [None]
        with pytest.raises(NotFound):
            await logged(store, clock, ACT, refuse)
        with pytest.raises(asyncio.CancelledError):
            await logged(store, clock, ACT, break_off)
        found = await list_acts(store, limit=9)
        assert [each["result"] for each in found] == [None, "not done: no endpoint 'crm'", "done"]
        assert {key: found[0][key] for key in ("who", "way", "what", "target", "why")} == {
            "who": "ann", "way": "api", "what": "endpoints hold", "target": "crm",
            "why": "they asked",
        }  # fmt: skip
        assert await list_acts(store, limit=1, before=found[0]["id"]) == found[1:2]


async def test_the_log_keeps_the_newest(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that whoever acts in a loop fills no disk."""
    monkeypatch.setattr(acts, "KEPT", 3)
    clock = Clock()
    async with opened(settings, clock=clock) as store:

        async def nothing() -> None:
            """Do nothing."""

        for _ in range(7):
            await logged(store, clock, ACT, nothing)
        kept = [each["id"] for each in await list_acts(store, limit=9)]
        assert kept == sorted(kept, reverse=True)[:3]
        assert len(kept) == 3
