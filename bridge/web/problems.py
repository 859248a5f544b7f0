"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from aiohttp import web


def problem(
    status: HTTPStatus, detail: str, headers: Mapping[str, str] = MappingProxyType({})
) -> web.Response:
    """Return an answer that says what was wrong, and nothing of what was asked."""
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
    }
    return web.Response(
        status=status,
        body=json.dumps(document).encode(),
        content_type="application/problem+json",
        headers=headers,
    )
