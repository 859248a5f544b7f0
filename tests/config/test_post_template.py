"""A wrong declaration of posts is refused with its key, its line and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import app
from bridge.config.json_path import parse_path
from bridge.config.load import load, load_file
from bridge.errors import ConfigError, ConfigErrors

HEAD = """
[store]
min_free = 0
[[providers]]
name = "acme"
[providers.post]
token = "0123456789abcdef-token"
[providers.post.template]
from = { parameter = "from" }
to = { parameter = "to" }
body = { parameter = "text" }
"""
SIGNED = HEAD.replace("[providers.post.template]", 'secret = "hunter2"\n[providers.post.template]')
SIGNED += '[providers.post.template.signature]\nplace = { header = "X-Sig" }\n'


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ('id = { json = "data.id" }', "id.json", "no JSON path like $.data.text"),
        ('id = { json = "$.a[*].id" }', "id", "names several values"),
        ('id = { json = "@.id" }', "template", "name the items with each"),
        ('each = "$.items"', "template", "hold [*]"),
        ('id = { json = "$.a", header = "X-Id" }', "id", "exactly one place"),
        ('id = { inner = "$.a", parameter = "x" }', "id", "inner belongs beside json"),
        ('id = { jsn = "$.a" }', "id.jsn", "did you mean 'json'"),
        ('id = "x"', "id", "must be a place"),
        ('id = { parameter = "x", pattern = "(" }', "id.pattern", "not a valid pattern"),
        ('methods = "PUT"', "methods", "must be POST or GET"),
        ('events = "x"', "template", "event and events belong together"),
        ('answer = { body = "OK" }', "answer", "a body needs a type"),
        ('answer = { body = "{nr}", type = "text/plain" }', "answer", "only placeholder"),
        ("answer = { status = 500 }", "answer.status", "at most 299"),
        ('answer = { type = "text" }', "answer", "media type"),
        ("login = {}", "login.kind", "is missing"),
        ('login = { kind = "digest" }', "login.kind", "must be one of 'basic'"),
        ('login = { kind = "basic", name = "x" }', "login", "has no name"),
        ('login = { kind = "parameter" }', "login", "needs a name"),
        ('login = { kind = "header", name = "a b" }', "login", "no header's name"),
        ('ignore = [{ why = "" , place = { value = "x" } }]', "ignore[0].why", "empty"),
    ],
)
def test_the_template(tmp_path: Path, text: str, key: str, says: str) -> None:
    """The last line of the file is the wrong one, except where the table is."""
    (problem,) = problems(tmp_path, HEAD + text)
    assert f".{key}: " in problem.replace("providers.acme.post.", "."), problem
    assert says in problem
    assert "line 12: " in problem or "line 8: " in problem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('algorithm = "md5"\nsigned = "{body}"', "must be one of 'hmac-sha1'"),
        ('algorithm = "hmac-sha256"', "set signed"),
        ('algorithm = "jwt-hs256"\nsigned = "{body}"', "claims instead"),
        ('algorithm = "hmac-sha256"\nsigned = "{bdy}"', "did you mean {body}"),
        ('algorithm = "hmac-sha256"\nsigned = "{body"', "unpaired brace"),
        ('algorithm = "hmac-sha256"\nsigned = "{body:x}"', "unknown placeholder"),
        ('algorithm = "hmac-sha256"\nsigned = "constant"', "differs from post to post"),
        ('algorithm = "hmac-sha256"\nsigned = "{timestamp}{body}"', "timestamp must be signed"),
        ('algorithm = "hmac-sha256"\nsigned = "{body}"\nnonce = { header = "N" }', "nonce must"),
        ('algorithm = "hmac-sha256"\nsigned = "{body}"\nclaims = { a = "b" }', "only a JWT"),
        ('algorithm = "jwt-hs256"\nseparator = ","', "drop timestamp, separator"),
        ('algorithm = "hmac-sha1"\nsigned = "{parameters}"\neach_parameter = "{name}"', "once"),
        ('algorithm = "hmac-sha1"\nsigned = "{body}"\ntolerance = 0', "must be more than 0"),
    ],
)
def test_the_signature(tmp_path: Path, text: str, says: str) -> None:
    """What is signed must have its place, and the other way around."""
    (problem,) = problems(tmp_path, SIGNED + text)
    assert says in problem
    assert "providers.acme.post.template.signature" in problem
    assert "line 1" in problem
    assert "hunter2" not in problem


def test_what_building_refuses_has_its_line(tmp_path: Path) -> None:
    """As `check` shows it."""
    path = written(tmp_path, HEAD.replace('body = { parameter = "text" }\n', ""))
    with pytest.raises(ConfigError) as caught:
        app.posts_of(load(path))
    located = str(load_file(path).locate(caught.value))
    assert "line 8: providers.acme.post.template.body: is missing" in located


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [{"a": [1, {"b": 2}], "c d": 3}]),
        ("$.a[0]", [1]),
        ("$.a[-1].b", [2]),
        ("$.a[*].b", [2]),
        ("$['c d']", [3]),
        ("$.a.b", []),
        ("$.a[2]", []),
        ("$.a[-3]", []),
        ("$.x[*]", []),
    ],
)
def test_json_paths(path: str, found: list[object]) -> None:
    """They find what RFC 9535 says."""
    assert list(parse_path(path).find({"a": [1, {"b": 2}], "c d": 3})) == found


@pytest.mark.parametrize(
    "path", ["", "a", "$a", "$.", "$..a", "$[01]", "$[a]", "$.a[", "$['']", "$.a ", "$.a\n", "$.1"]
)
def test_other_paths_are_refused(path: str) -> None:
    """Also the parts of JSONPath that may be slow, or select by a condition."""
    with pytest.raises(ValueError, match="no JSON path"):
        parse_path(path)


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def problems(folder: Path, text: str) -> list[str]:
    """Return the lines that `check` shows."""
    try:
        file = load_file(written(folder, text))
        app.posts_of(file.settings)
    except ConfigErrors as errors:
        return str(errors).splitlines()
    except ConfigError as error:
        return str(file.locate(error)).splitlines()
    return []
