"""Turns pydantic's validation errors into messages for operators, in the config's terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from bridge.config.settings import Settings, TrustSettings
from bridge.config.values import nearest

Path = tuple[str | int, ...]

# Examples for missing required keys.
_MISSING: Final[Mapping[tuple[str, ...], str]] = {
    ("providers", "name"): 'name = "agile"',
    ("providers", "trust"): (
        "a [providers.trust] table with "
        f"{', '.join(name for name in TrustSettings.model_fields if name != 'anyone')} or "
        "anyone = true: no mail is believed without evidence"
    ),
    ("providers", "trust", "authserv_id", "id"): 'id = "mx.example.com"',
    ("imap", "name"): 'name = "inbox"',
    ("imap", "host"): 'host = "imap.example.com"',
    ("imap", "username"): 'username = "sms@example.com"',
    ("endpoints", "name"): 'name = "crm"',
    ("endpoints", "url"): 'url = "https://…"',
}
_WANTED: Final[Mapping[str, str]] = {
    "string_type": "must be a text in quotes",
    "path_type": "must be a path in quotes",
    "int_type": "must be a whole number, without quotes",
    "int_parsing_size": "must be a smaller number",
    "bool_type": "must be true or false, without quotes",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "tuple_type": 'must be a list, like ["…", "…"]',
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "url_type": 'must be a URL in quotes, like "https://crm.internal/sms"',
    "url_parsing": 'must be a URL, like "https://crm.internal/sms"',
    "url_syntax_violation": 'must be a URL, like "https://crm.internal/sms"',
    "url_scheme": "must begin with http:// or https://",
    "url_too_long": "is too long for a URL",
}
_LIMITS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("gt", "must be more than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}


def path_of(error: ErrorDetails) -> Path:
    """Return the path of the key that an error is about."""
    return tuple(error["loc"])


def problem_of(error: ErrorDetails) -> str:
    """Describe an error and what to write instead; never quotes a secret."""
    kind, path, context = error["type"], path_of(error), error.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return unknown_key(path)
        case "missing":
            names = tuple(part for part in path if isinstance(part, str))
            return f"is missing: write {_MISSING.get(names, f'{names[-1]} = …')}"
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return _one_of(path)
        case _ if kind in _LIMITS:
            name, wanted = _LIMITS[kind]
            return f"{wanted} {context[name]:.15g}"
        case "tuple_type" if _table_at(path) is not None:
            return f"must be a list of tables: write [[{path[-1]}]] with two brackets"
        case _:
            return _WANTED.get(kind, "cannot be read: config.example.toml shows how it is written")


def unknown_key(path: Path) -> str:
    """Describe an unknown key: the nearest known one, or the table where it belongs."""
    word = str(path[-1])
    here = _table_at(path[:-1])
    known = tuple(keys(here)) if here else ()
    problem = f"unknown key {word!r}"
    if near := nearest(word, known):
        return f"{problem}, did you mean {near!r}?"
    if owners := _owners(word):
        return f"{problem} here: it belongs to {owners}"
    elsewhere = [name for _, model in tables() for name in keys(model)]
    if near := nearest(word, elsewhere):
        return f"{problem}, did you mean {near!r}? It belongs to {_owners(near)}"
    return f"{problem}: known here are {', '.join(known)}"


def _one_of(path: Path) -> str:
    here = _table_at(path[:-1])
    choices: Sequence[str] = ()
    if here is not None and (field := keys(here).get(str(path[-1]))):
        choices = _choices(field.annotation)
    return f"must be one of {', '.join(repr(choice) for choice in choices)}"


def _choices(annotation: Any) -> Sequence[str]:
    """Return the values of `Literal[…]` or `Literal[…] | None`."""
    inner = [each for each in get_args(annotation) if each is not type(None)]
    return _choices(inner[0]) if len(inner) == 1 and get_args(inner[0]) else inner


def _table_at(path: Path) -> type[BaseModel] | None:
    """Return the model of the table at a path."""
    here: type[BaseModel] = Settings
    for part in path:
        if isinstance(part, int):
            continue
        field = keys(here).get(part)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return None
        here = inner
    return here


def _owners(word: str) -> str:
    """Name the tables that have a key of this name, as their headers are written."""
    top = ["the top of the file"] if word in Settings.model_fields else []
    return " or ".join(top + [header for header, model in tables() if word in keys(model)])


def keys(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return a table's fields by their name in TOML."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def tables() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every table of the config: its header as written in TOML, and its model.

    A table that several keys can hold (a template's places) is yielded once, for the first.
    """
    seen: set[type[BaseModel]] = set()
    for header, model in _tables(Settings, ()):
        if model not in seen:
            seen.add(model)
            yield header, model


def _tables(
    model: type[BaseModel], above: tuple[str, ...]
) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in keys(model).items():
        inner = _model_in(field.annotation)
        if inner is not None:
            path = (*above, name)
            dotted = ".".join(path)
            is_list = _is_list(field.annotation)
            yield f"[[{dotted}]]" if is_list else f"[{dotted}]", inner
            if inner is not model:  # a place can join places
                yield from _tables(inner, path)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(map(_is_list, get_args(annotation)))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the table's model in `Model`, `tuple[Model, ...]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if (found := _model_in(inner)) is not None:
            return found
    return None
