"""Fuzz subject: mutations of the posts' fixtures, judged and read as the listener's are.

Half of them are signed after they were mutated, so that they reach the reader. If a signature still
vouches for one of the others, the message in it must be one that the provider signed.
"""

from __future__ import annotations

import random
import re
from dataclasses import astuple
from functools import cache
from typing import Final, NamedTuple

from benchmarks.mutations import NASTY, mutate
from bridge import posts
from bridge.model import Ignored, Post, SmsMessage, Trust, Unreadable
from bridge.providers.posts import Client, Posts
from bridge.providers.posts.base import Read
from tests.providers.posts.everyone import CASES, for_case, provider_of
from tests.providers.posts.everyone import fixture as fixture_of
from tests.providers.posts.signers import NOW, SIGNERS, Keys

_CLIENT: Final = Client("192.0.2.1")
_OTHERS: Final = 0.1  # of all cases: judged and read by another provider
_WHOLE: Final = 0.3  # of all cases: the head is mutated too
_MOST: Final = 3  # mutations; JSON is spoilt by nearly every one
_PIECES: Final = (
    *NASTY,
    b"{", b"}", b"[", b"]", b'"', b"\\", b",", b'":"', b"null", b"true", b"-1", b"1e999", b"NaN",
    b"[" * 5_000, b'{"a":' * 1_000, b"9" * 5_000, b'"\\ud800"', b"\\u0000", b"\\" * 1_000,
    b"&", b"&text=", b"&" * 300, b"&a=1" * 300, b"%00", b"%", b"%ff%fe", b"%F0%9F%98%80", b"+",
    b";", b"?", b"a=b&" * 5_000, b"<" * 1_000, b".", b"." * 1_000, b"e30.e30.", b"||", b" " * 5_000,
    b"\r\nx-signature: ", b"\r\nauthorization: Basic ", b"\r\nauthorization: Bearer ",
    b"\r\ncontent-type: application/json", b"\r\ncontent-type: application/x-www-form-urlencoded",
)  # fmt: skip


# What they sign does not say where a parameter's name ends and its value, or the next one, begins.
_CONCATENATED: Final = ("twilio", "plivo", "vonage_sms")


class Case(NamedTuple):
    """A fixture's name, whose provider judges it, the request, and whether it was signed last."""

    name: str
    provider: str
    raw: bytes
    signed: bool


def make(rng: random.Random) -> Case:
    """Make one case."""
    name = rng.choice(CASES)
    provider = rng.choice(CASES) if rng.random() < _OTHERS else name
    if rng.random() < 0.5:
        changed = posts.decode(_mutated(rng, posts.encode(fixture_of(name))))
        if isinstance(changed, Post) and (again := _signed(name, changed)) is not None:
            return Case(name, provider, posts.encode(again), signed=True)
    return Case(name, provider, _mutated(rng, posts.encode(_original(name))), signed=False)


def run(case: Case) -> str:
    """Judge and read a post; raises AssertionError if what was not signed is believed."""
    post = posts.decode(case.raw)
    if isinstance(post, Unreadable):
        return post.reason.value
    provider = _provider(case.provider)
    refused = provider.admit(post, _CLIENT, NOW)
    stored = posts.decode(posts.encode(provider.stored(post)))
    assert isinstance(stored, Post), "what is stored is no post"
    verdict = provider.verify(stored, NOW)
    read = provider.read(stored, NOW)  # whatever the verdict: it may never raise
    provider.answer(post)
    if refused is not None or not isinstance(verdict, Trust):
        return "refused"
    if verdict.by != "token" and not case.signed:
        if isinstance(read, Unreadable | Ignored):
            return "spoilt"
        if read in _genuine(provider.name):
            return "as signed"
        # The provider's own weakness: its verifiers, too, take both for the same.
        moved = provider.name in _CONCATENATED and _joined(stored) in _genuinely_joined(
            provider.name
        )
        assert moved, "it was changed, and is believed"
        return "moved"
    return _outcome(read)


def _outcome(read: Read) -> str:
    """Name what became of a post; raises if the store could not keep it."""
    if isinstance(read, Unreadable | Ignored):
        assert _is_stored(read.detail), "its detail cannot be stored"
        return type(read).__name__.lower()
    for sms in (read,) if isinstance(read, SmsMessage) else read:
        texts = (sms.sender, sms.recipient, sms.body, sms.provider_message_id, *astuple(sms.raw))
        assert all(_is_stored(text or "") for text in texts), "a value cannot be stored"
    return "message"


def _is_stored(text: str) -> bool:
    """Return whether databases keep a text; raises for half a surrogate pair."""
    return b"\0" not in text.encode()


def _mutated(rng: random.Random, raw: bytes) -> bytes:
    """Mutate the body, or the query of a post without one; of some posts, the head too."""
    start, blank, rest = raw.partition(b" HTTP/1.1\r\n")
    head, end, body = rest.partition(b"\r\n\r\n")
    if rng.random() < _WHOLE:
        return mutate(rng, raw, _all(), _PIECES, _MOST)
    if body:
        return start + blank + head + end + mutate(rng, body, _all(), _PIECES, _MOST)
    path, mark, query = start.partition(b"?")
    return path + mark + mutate(rng, query, _all(), _PIECES, _MOST) + blank + rest


def _signed(name: str, post: Post) -> Post | None:
    """Sign a post as its provider does; None if no provider could have written it."""
    sign, _ = SIGNERS[provider_of(name)]
    try:
        return sign(post, Keys(), NOW)
    except (ValueError, KeyError):
        return None


@cache
def _provider(name: str) -> Posts:
    return for_case(name)


@cache
def _original(name: str) -> Post:
    signed = _signed(name, fixture_of(name))
    assert signed is not None
    return signed


@cache
def _genuine(provider: str) -> tuple[Read, ...]:
    """Return what this provider has signed: a mutation may splice one into another."""
    judges = [(name, _provider(name)) for name in CASES if provider_of(name) == provider]
    return tuple(each.read(each.stored(_original(name)), NOW) for name, each in judges)


def _joined(post: Post) -> str:
    """Return the parameters as they are signed, less what parts them."""
    pairs = posts.parameters(post)
    assert not isinstance(pairs, str)
    return "".join(name + re.sub("[&=]", "_", value) for name, value in sorted(set(pairs)))


@cache
def _genuinely_joined(provider: str) -> frozenset[str]:
    return frozenset(_joined(_original(name)) for name in CASES if provider_of(name) == provider)


@cache
def _all() -> tuple[bytes, ...]:
    return tuple(posts.encode(_original(name)) for name in CASES)
