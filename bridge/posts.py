r"""Posts as bytes: an HTTP/1.1 request message (RFC 9112), and the form or JSON in one. Pure.

A post is stored as the request that it was, so that it can be read, judged and shown again by
itself: `POST /in/agile?x=1 HTTP/1.1\r\nContent-Type: …\r\n\r\nbody`. The path's token is left out,
and so are headers that no provider signs, above all credentials.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from bridge.model import Post, Reason, Unreadable

PREFIX: Final = "/in/"
FORM: Final = "application/x-www-form-urlencoded"
MAX_PARAMETERS: Final = 200
MAX_JSON_DEPTH: Final = 20
_START: Final = re.compile(rb"(GET|POST) (/in/[^ ?]*)(?:\?([^ ]*))? HTTP/1\.1\r\n")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([^\r\n]*)\r\n")
_LONGEST_HEAD: Final = 64 * 1024
# What is signed, or says how the body is to be read. Proxies' headers and credentials are neither.
_KEPT: Final = re.compile(r"content-type|webhook-.*|i-twilio-.*|x-.*|ce-.*")
_NOT_KEPT: Final = re.compile(r"x-(?:forwarded|real|client|original|envoy|amzn|request|api-key).*")
_JSON_MARK: Final = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def lower_case(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by lower-case name; the values of a repeated one are joined by ", "."""
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


def stored(post: Post, more: Collection[str] = (), secret: Collection[str] = ()) -> Post:
    """Return what is stored of a request: its body, and the headers that belong to a post.

    `more` names further headers, in lower case. `secret` names headers and parameters that hold
    the caller's secret: they are left out.
    """
    headers = {
        name: value
        for name, value in post.headers.items()
        if name not in secret
        and (name in more or (_KEPT.fullmatch(name) and not _NOT_KEPT.fullmatch(name)))
    }
    query, body = post.query, post.body
    if secret:
        query = _without(query, secret)
        if content_type(post) == FORM:
            text = body.decode("utf-8", "surrogateescape")
            body = _without(text, secret).encode("utf-8", "surrogateescape")
    return replace(post, query=query, headers=headers, body=body)


def _without(form: str, names: Collection[str]) -> str:
    """Drop parameters from a form or query, and leave the others as they were written."""
    pairs = form.split("&")
    return "&".join(each for each in pairs if unquote_plus(each.partition("=")[0]) not in names)


def encode(post: Post) -> bytes:
    """Write a post as the bytes that are stored."""
    target = f"{post.path}?{post.query}" if post.query else post.path
    lines = [f"{post.method} {target} HTTP/1.1\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in post.headers.items()]
    return "".join([*lines, "\r\n"]).encode("utf-8", "surrogateescape") + post.body


def is_post(raw: bytes) -> bool:
    """Return whether these bytes are a stored post; a mail never begins so."""
    return _START.match(raw) is not None


def decode(raw: bytes) -> Post | Unreadable:
    """Read the stored bytes; what is no post is Unreadable."""
    start = _START.match(raw)
    end = raw.find(b"\r\n\r\n", 0, _LONGEST_HEAD)
    if start is None or end < 0:
        return Unreadable(Reason.UNDECODABLE, "this is no stored post")
    headers: dict[str, str] = {}
    at = start.end()
    while at < end + 2:
        header = _HEADER.match(raw, at, end + 2)
        if header is None:
            return Unreadable(Reason.UNDECODABLE, "a header of the post is malformed")
        headers[header[1].decode("ascii").lower()] = header[2].decode("utf-8", "surrogateescape")
        at = header.end()
    return Post(
        method=start[1].decode("ascii"),
        path=start[2].decode("utf-8", "surrogateescape"),
        query=(start[3] or b"").decode("utf-8", "surrogateescape"),
        headers=headers,
        body=raw[end + 4 :],
    )


def provider_of(post: Post) -> str:
    """Return the name of the provider whose address was called."""
    return post.path.removeprefix(PREFIX).partition("/")[0]


def content_type(post: Post) -> str:
    """Return the media type of the body, in lower case and without parameters."""
    return post.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_form(post: Post) -> bool:
    """Return whether the body is a form, and not empty."""
    return bool(post.body) and content_type(post) == FORM


def parameters(post: Post) -> list[tuple[str, str]] | str:
    """Return the parameters of the query, then of a form in the body; or why they can't be read.

    Bytes that are not UTF-8 become U+FFFD.
    """
    in_query, in_form = query(post), form(post)
    if isinstance(in_query, str) or isinstance(in_form, str):
        return f"the post has more than {MAX_PARAMETERS} parameters"
    return [*in_query, *in_form]


def query(post: Post) -> list[tuple[str, str]] | str:
    """Return the parameters of the query, in order; or why they can't be read."""
    return _pairs(post.query)


def form(post: Post) -> list[tuple[str, str]] | str:
    """Return the parameters of a form in the body, in order; or why they can't be read."""
    return _pairs(post.body.decode("utf-8", "replace")) if content_type(post) == FORM else []


def _pairs(text: str) -> list[tuple[str, str]] | str:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return f"the post has more than {MAX_PARAMETERS} parameters"


def once(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str] | str:
    """Return parameters by name; or a sentence if one stands there twice with different values."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            return f"the parameter {name[:40]!r} stands there twice with different values"
    return found


def document(post: Post) -> object:
    """Return the JSON in the body, or None if it is none, or nested too deep to be read safely."""
    try:
        return json_of(post.body.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def json_of(text: str) -> object:
    """Return what a JSON text holds, or None if it is none, or nested too deep."""
    try:
        return json.loads(text) if _depth(text) <= MAX_JSON_DEPTH else None
    except (ValueError, RecursionError):
        return None


def _depth(text: str) -> int:
    depth = deepest = 0
    in_string = False
    for found in _JSON_MARK.finditer(text):
        mark = found[0]
        if mark == '"':
            in_string = not in_string
        elif in_string or mark[0] == "\\":
            continue
        elif mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest
