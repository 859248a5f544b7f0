"""Every part of every post that proves itself is wrong once: none of these is believed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from urllib.parse import quote, urlsplit

import pytest

from bridge import posts
from bridge.config.posts import PostsSettings
from bridge.config.settings import ProviderSettings
from bridge.model import Ignored, Post, Trust, Unreadable
from bridge.providers.posts import Posts, build_one
from tests.providers.posts.everyone import (
    CASES,
    PROVEN,
    built,
    fixture,
    for_case,
    judge,
    provider_of,
    signed,
    table,
)
from tests.providers.posts.signers import HOST, NOW, OTHER, SIGNERS, TOKEN, Keys, with_headers

# Twilio and Plivo sign names and values without anything between them.
RUN_TOGETHER = ("a parameter without name", "a letter moved")
# What a provider's signature can't tell from the genuine post: it is no other SMS then.
SAYS_THE_SAME: Mapping[str, frozenset[str]] = MappingProxyType({
    # Parameters are sorted before they are signed, and Twilio signs equal ones once.
    "twilio": frozenset({"parameters reordered", "a parameter repeated", *RUN_TOGETHER}),
    "plivo": frozenset({"parameters reordered", *RUN_TOGETHER}),
    # The form and the query are signed alike, and the signature's hex is of either case.
    "vonage_sms": frozenset({"parameters reordered", "sig in the other case", "the form as query"}),
})  # fmt: skip
# Not signed by anybody: what the body is, and what the caller's HTTP library adds.
NO_PROOF = frozenset({"content-type", "x-sinch-webhook-signature-algorithm"})
# Seconds: how old a genuine post may be, and how far in the future.
TOLERANCE = {"bird": (25 * 3600, 25 * 3600), "httpsms": (900, 300)}
UNTIMED = frozenset({
    "46elks", "bandwidth", "mobile_api_connect", "plivo", "signalwire", "smseagle", "textbee",
    "twilio",
})  # fmt: skip
SIGNS_URL = frozenset({"bird", "httpsms", "plivo", "signalwire", "twilio"})

FORGEABLE = [case for case in CASES if provider_of(case) in PROVEN]
WHOLE = [case for case in CASES if SIGNERS[provider_of(case)][1]]


def proof(case: str) -> Iterator[tuple[str, Post]]:
    """Give the post with each thing that proves it missing or wrong."""
    genuine = signed(case)
    yield "no proof", fixture(case)
    yield "another key", signed(case, Keys(OTHER))
    for name, value in genuine.headers.items():
        if name in NO_PROOF:
            continue
        without = {key: each for key, each in genuine.headers.items() if key != name}
        yield f"without {name}", replace(genuine, headers=without)
        for how, wrong in wrong_values(value):
            yield f"{name} {how}", with_headers(genuine, {name: wrong})
    given = parameter_with_proof(genuine)
    if given is not None:
        name, value = given.split("=")
        others = [each for each in parameters(genuine) if each != given]
        yield f"without {name}", changed(genuine, others)
        for how, wrong in wrong_values(value):
            written = f"{name}={quote(wrong, errors='surrogateescape')}"
            yield f"{name} {how}", changed(genuine, [*others, written])


def wrong_values(value: str) -> Iterator[tuple[str, str]]:
    """Give a value changed in each way."""
    yield "empty", ""
    yield "cut", value[:-2]
    yield "longer", f"{value}0"
    yield "turned", value[::-1]
    yield "with a space", f"{value[:-3]} {value[-3:]}"
    yield "not UTF-8", "\udcff"
    yield "of another", value[:-8] + ("0" * 8 if value[-8:] != "0" * 8 else "1" * 8)
    if value.swapcase() != value:
        yield "in the other case", value.swapcase()
    if value.isdecimal():
        yield "one higher", str(int(value) + 1)
        yield "with a fraction", f"{value}.0"


def parameter_with_proof(post: Post) -> str | None:
    """Return the parameter that holds a signature or password, as it is written."""
    pairs = parameters(post)
    return next((each for each in pairs if each.startswith(("sig=", "apikey="))), None)


def parameters(post: Post) -> list[str]:
    """Return the parameters as they are written."""
    written = post.query if post.method == "GET" else post.body.decode()
    return written.split("&") if posts.is_form(post) or post.method == "GET" else []


def changed(post: Post, pairs: list[str]) -> Post:
    """Return a post with other parameters."""
    written = "&".join(pairs)
    if post.method == "GET":
        return replace(post, query=written)
    return replace(post, body=written.encode())


def words(case: str) -> Iterator[tuple[str, Post]]:
    """Give the post with something else said."""
    genuine = signed(case)
    yield "a byte more in the body", replace(genuine, body=genuine.body + b" ")
    if genuine.body:
        yield "no body", replace(genuine, body=b"")
        middle = len(genuine.body) // 2
        flipped = bytes([genuine.body[middle] ^ 1])
        other = genuine.body[:middle] + flipped + genuine.body[middle + 1 :]
        yield "another byte in the body", replace(genuine, body=other)
        yield "the body twice", replace(genuine, body=genuine.body * 2)
    if parameters(genuine):
        yield from said_by_parameters(genuine)
    elif genuine.body:
        spaced = json.dumps(json.loads(genuine.body), indent=3).encode()
        yield "the same JSON, written otherwise", replace(genuine, body=spaced)


def said_by_parameters(genuine: Post) -> Iterator[tuple[str, Post]]:
    """Give the post with other parameters."""
    pairs = parameters(genuine)
    first, *others = pairs
    name, _, value = first.partition("=")
    for how, other in {
        "a parameter added": [*pairs, "added=1"],
        "a parameter removed": others,
        "parameters reordered": pairs[::-1],
        "a parameter repeated": [*pairs, first],
        "a parameter repeated otherwise": [*pairs, f"{first}0"],
        "another value": [f"{first}0", *others],
        "a parameter without name": [*pairs, "="],
        "another name": [f"{name}x={value}", *others],
        # Names and values are parted in another place.
        "a letter moved": [f"{name[:-1]}={name[-1]}{value}", *others],
    }.items():
        yield how, changed(genuine, other)
    if genuine.method == "POST":
        yield "a query added", replace(genuine, query="added=1")
        form = genuine.body.decode()
        yield "the form as query", replace(genuine, method="GET", query=form, body=b"")
    else:
        kind = {**genuine.headers, "content-type": posts.FORM}
        yield "a form added", replace(genuine, body=genuine.query.encode() + b"0", headers=kind)


def refused_or_the_same(case: str, part: str, post: Post) -> None:
    """Fail if a changed post is believed, unless it is known to say the very same."""
    provider = for_case(case)
    verdict = judge(provider, post)
    # A GET has its parameters in the URL, which Twilio signs as it is written.
    as_written = provider_of(case) == "twilio" and post.method == "GET"
    if part in SAYS_THE_SAME.get(provider_of(case), ()) and not as_written:
        assert isinstance(verdict, Trust), f"{part} is refused, which was said to be accepted"
        found = provider.read(post, NOW)
        nothing = part in RUN_TOGETHER and isinstance(found, Unreadable)
        assert nothing or found == provider.read(signed(case), NOW)
        return
    assert isinstance(verdict, str), (part, post.headers, post.query, post.body)


@pytest.mark.parametrize("case", FORGEABLE)
def test_a_wrong_proof(case: str) -> None:
    """Each header and parameter that proves a post, missing and wrong in each way."""
    genuine = signed(case)
    assert isinstance(judge(for_case(case), genuine), Trust)
    tried = [(part, post) for part, post in proof(case) if post != genuine]
    assert len(tried) >= 9
    for part, post in tried:
        refused_or_the_same(case, part, post)


@pytest.mark.parametrize("case", WHOLE)
def test_other_words(case: str) -> None:
    """Each change of what a signed post says."""
    genuine = signed(case)
    tried = [(part, post) for part, post in words(case) if post != genuine]
    assert len(tried) >= 5
    for part, post in tried:
        refused_or_the_same(case, part, post)


@pytest.mark.parametrize("case", WHOLE)
def test_another_type_of_body(case: str) -> None:
    """The content type is not signed: read otherwise, a signed body says the same or nothing."""
    provider, genuine = for_case(case), signed(case)
    said = provider.read(genuine, NOW)
    for kind in (posts.FORM, "application/json", "text/plain", ""):
        headers = {**genuine.headers, "content-type": kind}
        for query in {genuine.query, "from=%2B1&body=evil"}:
            other = replace(genuine, headers=headers, query=query)
            if isinstance(judge(provider, other), Trust):
                found = provider.read(other, NOW)
                assert found == said or isinstance(found, Unreadable | Ignored), (kind, query)


@pytest.mark.parametrize("name", sorted(SIGNS_URL))
def test_another_url(name: str) -> None:
    """What was signed for another host, path, token or query is not for us."""
    genuine = signed(name)
    for other in (f"{TOKEN}2", TOKEN.upper(), TOKEN[:-1]):
        assert isinstance(judge(elsewhere(name, other, HOST), genuine), str), other
    host = urlsplit(HOST).hostname
    for wrong in (f"http://{host}", f"https://{host}.evil.example", f"{HOST}/x"):
        assert isinstance(judge(elsewhere(name, TOKEN, wrong), genuine), str), wrong
    for query in ("x=1", "Body=another"):
        assert isinstance(judge(for_case(name), replace(genuine, query=query)), str)
    assert isinstance(judge(for_case(name), replace(genuine, path="/in/other")), Trust)


def elsewhere(name: str, token: str, host: str) -> Posts:
    settings = table(name, Keys().configured(name))
    settings["post"] = {**settings["post"], "token": token}  # type: ignore[dict-item]
    provider = ProviderSettings.model_validate(settings)
    return build_one(provider, "providers.0", PostsSettings(public_url=host))


@pytest.mark.parametrize("name", PROVEN)
def test_a_recorded_post(name: str) -> None:
    """Where a time is signed, a post is refused later, and one from the future too."""
    provider = for_case(name)
    age, ahead = TOLERANCE.get(name, (300, 300))
    for seconds in (-age - 1, ahead + 1):
        verdict = judge(provider, signed(name, at=NOW + timedelta(seconds=seconds)))
        assert isinstance(verdict, Trust) is (name in UNTIMED), (seconds, verdict)
    for seconds in (10 - age, ahead - 10):
        almost = signed(name, at=NOW + timedelta(seconds=seconds))
        assert isinstance(judge(provider, almost), Trust), seconds


@pytest.mark.parametrize("case", FORGEABLE)
def test_while_keys_are_rotated(case: str) -> None:
    """What the new or the old key signed is believed, and nothing else; the trust says what is."""
    name = provider_of(case)
    old, new, other = Keys(), Keys(OTHER), Keys("a third key")
    rotating = built(name, new.configured(name), old.configured(name))
    for keys in (old, new):
        verdict = judge(rotating, signed(case, keys))
        assert isinstance(verdict, Trust), verdict
        assert verdict.by == ("signature" if SIGNERS[name][1] else "token")
        assert SIGNERS[name][1] or "the body is not signed" in verdict.detail
    assert isinstance(judge(rotating, signed(case, other)), str)
    after = built(name, new.configured(name))
    assert isinstance(judge(after, signed(case, old)), str)


@pytest.mark.parametrize("name", [name for name in SIGNERS if name not in PROVEN])
def test_without_a_proof_the_trust_says_so(name: str) -> None:
    """The token alone decided, and the body is not signed."""
    verdict = judge(for_case(name), signed(name))
    assert isinstance(verdict, Trust)
    assert (verdict.by, "the body is not signed" in verdict.detail) == ("token", True)


@pytest.mark.parametrize("char", ["\t", "\r", "\n"])
@pytest.mark.parametrize("at", ["Body=he", "To=%2B1800", "MessageSid=S"])
def test_a_character_that_urls_lose_is_no_part_of_a_signed_one(char: str, at: str) -> None:
    """Python's `urlsplit` drops it, and the signature was compared with what was left."""
    post = signed("twilio.get")
    provider = for_case("twilio.get")
    assert at in post.query
    assert isinstance(provider.verify(post, NOW), Trust)
    changed = replace(post, query=post.query.replace(at, at + char))
    assert provider.verify(changed, NOW) == "X-Twilio-Signature is missing or wrong"
