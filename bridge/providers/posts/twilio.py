"""Twilio's webhook: a form signed over the URL and its parameters.

Every answer is TwiML, since Twilio sends a text answer to the person as an SMS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

from bridge import posts
from bridge.errors import ConfigError
from bridge.model import Ignored, Post, Reason, Trust, Unreadable
from bridge.providers.posts.agile import form
from bridge.providers.posts.base import Answer, Context, Fields, Posts, Read, matches, message
from bridge.signing.twilio import signature

_TWIML: Final = b"<Response></Response>"
_FIELDS: Final = Fields("From", "To", "Body", None, "MessageSid", body_optional=True)
_PORTS: Final = {"https": 443, "http": 80}
SIGNED: Final = Trust("signature", "X-Twilio-Signature: the URL and all parameters")


def build(context: Context) -> Posts:
    """Build it; the signature covers the public URL."""
    keys = [secret.encode() for secret in context.secrets()]
    if not context.urls:
        raise ConfigError("posts.public_url", "twilio signs the URL it calls: name the public one")
    urls = context.urls

    def verify(post: Post, _at: datetime) -> Trust | str:
        given = post.headers.get("x-twilio-signature", "")
        pairs = _signed_parameters(post)
        if isinstance(pairs, str):
            return pairs
        # As it came: `urlsplit` would drop line ends and tabs, which are then read but not signed.
        query = f"?{post.query}" if post.query else ""
        computed = (
            signature(key, url + query, pairs)
            for key in keys
            for base in urls
            for url in _spellings(base)
        )
        return SIGNED if matches(computed, given) else "X-Twilio-Signature is missing or wrong"

    def read(post: Post, at: datetime) -> Read:
        values = form(post)
        if isinstance(values, str):
            return Unreadable(Reason.UNREADABLE, values, context.name)
        if "MessageStatus" in values and "Body" not in values:
            return Ignored("a delivery status", context.name)
        return message(context, values, _FIELDS, at)

    twiml = Answer(200, _TWIML, "text/xml")
    return Posts(
        context.name, verify, read, twiml, twiml, frozenset({"POST", "GET"}), fields=_FIELDS.named
    )


def _signed_parameters(post: Post) -> Sequence[tuple[str, str]] | str:
    """Return what is signed with the URL: a form's parameters; of other bodies it has the hash."""
    if posts.content_type(post) == posts.FORM:
        return posts.form(post)
    if post.body:
        stated = parse_qs(post.query).get("bodySHA256", [""])[0]
        if not matches([hashlib.sha256(post.body).hexdigest()], stated.lower()):
            return "bodySHA256 is not the body's"
    return ()


def _spellings(url: str) -> Iterator[str]:
    """Give the URL as it is, without and with its port: Twilio's own checks accept all."""
    yield url
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = parts.port or _PORTS.get(parts.scheme)
    yield urlunsplit(parts._replace(netloc=host))
    yield urlunsplit(parts._replace(netloc=f"{host}:{port}"))
