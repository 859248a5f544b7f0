"""Describes the posts listener as OpenAPI 3.1, from the posts that are configured. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from bridge import __version__, posts
from bridge.providers.posts.base import CONTENT_TYPES, NOT_FOUND, Answer, Posts

Document = dict[str, Any]

_TOKEN: Final = {
    "name": "token",
    "in": "path",
    "required": True,
    "description": "the secret of this provider's address",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._~-]{16,}$"},
}
_NOT_UNDERSTOOD: Final = Answer(400)  # by the server, whoever sends it
_REFUSALS: Final = {
    401: "the signature, password, certificate or address of the caller is not right",
    405: "another method",
    413: "larger than max_body",
    415: "another type of body",
    503: "not stored: to be tried again",
}
_SUCCESS: Final = (
    "stored, which includes repeated posts, those that are no SMS, and those that can't be read"
)


def describe(described: Iterable[Posts], public_url: str | None) -> Document:
    """Return the description of a listener that takes these providers' posts."""
    document: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": "smsbridge: providers' posts",
            "version": __version__,
            "description": "Inbound SMS, as their providers post them. An answer of success is "
            "given after the post is stored and synced to disk.",
        },
        "paths": {f"{posts.PREFIX}{each.name}/{{token}}": _path(each) for each in described},
    }
    if public_url is not None:
        document["servers"] = [{"url": public_url}]
    return document


def _path(each: Posts) -> Document:
    found: Document = {"parameters": [_TOKEN]}
    for method in sorted(each.methods):
        operation: Document = {
            "summary": f"An SMS of {each.name}",
            "operationId": f"{each.name}-{method.lower()}",
            "responses": _responses(each),
        }
        if each.fields:
            where = "; ".join(f"{name}: {place}" for name, place in each.fields.items())
            operation["description"] = f"Read are {where}."
        if method == "POST":
            content = {kind: {"schema": _body(kind)} for kind in CONTENT_TYPES}
            operation["requestBody"] = {"content": content}
        found[method.lower()] = operation
    return found


def _body(kind: str) -> Document:
    """Return the schema of a body: whatever an authentic one holds, it is stored."""
    if kind == posts.FORM:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    return {"type": "string"} if kind == "text/plain" else {}


def _responses(each: Posts) -> Document:
    success = each.success
    found = {
        str(success.status): _response(success, _SUCCESS, constant=each.echo is None),
        "400": _response(_NOT_UNDERSTOOD, "no HTTP request, or one over a limit"),
        "404": _response(NOT_FOUND, "no address of a provider"),
    }
    for status, meaning in _REFUSALS.items():
        found[str(status)] = _response(each.refusal(status), meaning)
    return found


def _response(answer: Answer, meaning: str, *, constant: bool = True) -> Document:
    found: Document = {"description": f"{HTTPStatus(answer.status).phrase}: {meaning}"}
    if answer.headers:
        found["headers"] = {
            name: {"required": True, "schema": {"const": value}} for name, value in answer.headers
        }
    if answer.body:
        kind = answer.content_type or "text/plain"
        text = answer.body.decode()
        said = posts.json_of(text) if kind.startswith("application/json") else text
        schema = {"const": said} if constant and said is not None else {}
        found["content"] = {kind: {"schema": schema}}
    return found
