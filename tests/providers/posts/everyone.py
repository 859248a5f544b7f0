"""Every provider whose posts are read: its fixtures, signed, and how they are judged."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from bridge import posts
from bridge.config.posts import PostsSettings
from bridge.config.settings import ProviderSettings
from bridge.model import Post, Trust
from bridge.providers.posts import Client, Posts, build_one
from tests.providers.posts.signers import HOST, NOW, SIGNERS, TOKEN, Keys

FIXTURES = Path(__file__).parent / "fixtures"
CASES = sorted(each.stem for each in FIXTURES.glob("*.http"))
PROVEN = [name for name, (sign, _) in SIGNERS.items() if sign.__name__ != "unsigned"]
# Only the operator knows it.
ZONES = {"agile": "Europe/Rome", "smseagle": "Europe/Warsaw"}
LOGINS = ("46elks", "bandwidth", "smseagle")


def table(name: str, *secrets: str, **more: object) -> dict[str, object]:
    """Return the `[[providers]]` table of a provider with these secrets."""
    post: dict[str, object] = {"token": TOKEN, "to": "+393331234333", **more}
    if name in LOGINS:
        post |= {"passwords": secrets, **({} if name == "smseagle" else {"username": "smsbridge"})}
    elif secrets:
        post["secrets"] = secrets
    zone = {"time_zone": ZONES[name]} if name in ZONES else {}
    return {"name": name, "post": post, **zone}


def built(name: str, *secrets: str, **more: object) -> Posts:
    settings = ProviderSettings.model_validate(table(name, *secrets, **more))
    return build_one(settings, "providers.0", PostsSettings(public_url=HOST))


def provider_of(case: str) -> str:
    return case.partition(".")[0]


def for_case(case: str) -> Posts:
    name = provider_of(case)
    return built(name, Keys().configured(name)) if name in PROVEN else built(name)


def fixture(case: str) -> Post:
    head, _, body = (FIXTURES / f"{case}.http").read_bytes().partition(b"\n\n")
    post = posts.decode(head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body)
    assert isinstance(post, Post)
    return post


def signed(case: str, keys: Keys | None = None, at: datetime = NOW) -> Post:
    return SIGNERS[provider_of(case)][0](fixture(case), keys or Keys(), at)


def judge(provider: Posts, post: Post, at: datetime = NOW) -> Trust | str:
    """Judge a request as the listener does, and then as a reparse does."""
    refused = provider.admit(post, Client("192.0.2.1"), at)
    if refused is not None:
        return refused
    stored = posts.decode(posts.encode(provider.stored(post)))
    assert isinstance(stored, Post)
    return provider.verify(stored, at)
