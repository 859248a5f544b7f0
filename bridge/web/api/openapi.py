"""Describes the API as OpenAPI 3.1, from its routes and models; the daemon never imports it.

`make generate` writes `openapi.json` beside it, which the daemon serves.
"""

from __future__ import annotations

import inspect
import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from bridge.model import Scope
from bridge.web.api import answers, asked
from bridge.web.api.routes import ROOT, ROUTES, Route

Document = dict[str, Any]
FILE: Final = Path(__file__).with_name("openapi.json")

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_IN_PATH: Final = {
    "id": ("a message's id, the beginning of it, or an arrival's number", {"type": "string"}),
    "number": ("its number", {"type": "integer", "minimum": 0}),
    "name": ("its name", {"type": "string"}),
}
_MEANINGS: Final = {
    400: "not understood: the detail says what",
    401: "no token of this bridge",
    403: "the token's scope does not allow it, or another page sent it",
    404: "there is no such thing",
    409: "it can't be done to this thing in its present state",
    412: "somebody has changed it since it was looked at",
    413: "too large",
    415: "not application/json",
    421: "the Host is no name of this bridge",
    422: "the Idempotency-Key was sent with another request",
    429: "too many wrong tokens",
    503: "it can't be done now: ask again",
}
_ALWAYS: Final = (400, 401, 403, 413, 415, 421, 429, 503)
_WRITES: Final = (409, 412, 422)
_SCOPES: Final = {Scope.READ: "read or operate", Scope.OPERATE: "operate"}
_HEADERS: Final = (
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "the same request with the same key is done once, and answered alike for "
        "a day",
        "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
    },
)
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "description": "the ETag of the endpoint as you saw it: 412 if somebody changed it since",
    "schema": {"type": "string", "pattern": "^[!-~]+$"},
}


def describe() -> Document:
    """Return the document."""
    models = _models()
    _, schemas = models_json_schema(
        [(each, "serialization" if each.__module__ == answers.__name__ else "validation")
         for each in models.values()],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Open,
    )  # fmt: skip
    defined = schemas["$defs"]
    paths: Document = {}
    for route in ROUTES:
        paths.setdefault(ROOT + route.path, {})[route.method.lower()] = _operation(route, defined)
    used = {name: each for name, each in defined.items() if not name.endswith("Query")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "smsbridge",
            "version": "1",
            "description": "What an operator sees and does. Closed until `smsbridge token create` "
            "has made a token.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(used.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Open(GenerateJsonSchema):
    """Schemas that say nothing against fields which are added later."""

    def model_schema(self, schema: Any) -> Document:
        """Leave `additionalProperties` out of answers."""
        made = super().model_schema(schema)
        if issubclass(schema["cls"], answers.Answer):
            made.pop("additionalProperties", None)
        return made


def _models() -> dict[str, type[BaseModel]]:
    """Return the models that routes name, by those names."""
    found: dict[str, type[BaseModel]] = {"Problem": answers.Problem}
    for route in ROUTES:
        found |= {name: getattr(asked, name) for name in (route.query, route.body) if name}
        if route.given is not None:
            found[route.given] = getattr(answers, route.given)
    return found


def _operation(route: Route, defined: Document) -> Document:
    model: type[BaseModel] = getattr(asked, route.query)
    parameters = [_in_path(name) for name in re.findall(r"{(\w+)}", route.path)]
    parameters += _in_query(model, defined)
    found: Document = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Takes a token of the scope {_SCOPES[route.scope]}.",
        "parameters": parameters,
        "responses": _responses(route),
    }
    if route.body is not None:
        parameters += _HEADERS
        if route.path.endswith(("/hold", "/resume")):
            parameters.append(_IF_MATCH)
        body = getattr(asked, route.body)
        required = any(each.is_required() for each in body.model_fields.values())
        found["requestBody"] = {"required": required, "content": {_JSON: _ref(body)}}
    return found


def _in_path(name: str) -> Document:
    meaning, schema = _IN_PATH[name]
    return {"name": name, "in": "path", "required": True, "description": meaning, "schema": schema}


def _in_query(model: type[BaseModel], defined: Document) -> list[Document]:
    schema = defined[model.__name__]
    found = []
    for name, each in schema.get("properties", {}).items():
        kinds = [kind for kind in each.get("anyOf", [each]) if kind.get("type") != "null"]
        shown = {key: value for key, value in kinds[0].items() if key not in {"title", "default"}}
        about = {"description": each["description"]} if "description" in each else {}
        shown.pop("description", None)
        found.append({"name": name, "in": "query", **about, "schema": shown})
    return found


def _responses(route: Route) -> Document:
    found: Document = {"200": _success(route)}
    statuses = [*_ALWAYS, *([404] if route.finds else []), *(_WRITES if route.writes else [])]
    if route.refuses:
        statuses.append(409)
    for status in sorted(set(statuses)):
        found[str(status)] = {
            "description": f"{HTTPStatus(status).phrase}: {_MEANINGS[status]}",
            "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return found


def _success(route: Route) -> Document:
    if route.given is None:
        content: Document = {"application/octet-stream": {}}
        return {"description": "the bytes, as they came", "content": content}
    model: type[BaseModel] = getattr(answers, route.given)
    meaning = (inspect.getdoc(model) or "").partition("\n")[0].rstrip(".")
    return {"description": meaning, "content": {_JSON: _ref(model)}}


def _ref(model: type[BaseModel]) -> Document:
    name = re.sub(r"[^A-Za-z0-9_]", "_", model.__name__)
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def written() -> str:
    """Return the document as it stands in the file."""
    return json.dumps(describe(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
