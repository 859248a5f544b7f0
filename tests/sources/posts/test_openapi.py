"""The listener does what its OpenAPI description says, whatever Schemathesis sends it."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from bridge import app
from bridge.model import Post
from bridge.providers.posts import FORMATS
from bridge.providers.posts.openapi import Document, describe
from tests.drawing import drawn
from tests.providers.posts.everyone import CASES, PROVEN, provider_of, signed, table
from tests.providers.posts.signers import SIGNERS, TOKEN, Keys
from tests.sources.posts import lines

# Of each operation; `make posts-test` asks for more, with another seed each time.
EXAMPLES: Final = int(os.environ.get("POSTS_EXAMPLES", "6"))
SEED: Final = os.environ.get("POSTS_SEED", "1")
Answers = Counter[tuple[str, int]]  # of each provider, by status
RIGHT: Final = st.sampled_from([True, True, True, False])
CHECKS: Final = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
OTHERS: Final = ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")


def written(name: str) -> str:
    """Return the table of a provider as TOML; JSON's texts and lists are the same there."""
    secrets = [Keys().configured(name)] * (name in PROVEN)
    settings = table(name, *secrets)
    post = settings.pop("post")
    assert isinstance(post, dict)
    keys = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    keys += [f"post.{key} = {json.dumps(value)}" for key, value in post.items()]
    return "\n".join(["[[providers]]", *keys, ""])


class Proof(requests.auth.AuthBase):
    """Signs a request as its provider does, if that can be done to what it says."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign."""
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else bytes(body)
        query = (request.url or "").partition("?")[2]
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        post = Post(request.method or "", f"/in/{self.name}", query, headers, raw)
        sign, _ = SIGNERS[self.name]
        try:
            signed = sign(post, Keys(), app.now())
        except (KeyError, ValueError):  # no UTF-8, or no time that could be signed
            return request
        request.headers.update(signed.headers)
        request.prepare_body(signed.body, None)
        request.url = f"{(request.url or '').partition('?')[0]}?{signed.query}".rstrip("?")
        return request


def fuzz(document: Document, url: str) -> Answers:
    """Send what Schemathesis makes of a description; count the answers of each provider."""
    schema = schemathesis.openapi.from_dict(document)
    seen: Answers = Counter()
    with requests.Session() as session:
        session.trust_env = False
        for operation in (each.ok() for each in schema.get_all_operations()):
            name = operation.path.split("/")[2]
            cases = st.one_of([operation.as_strategy(mode) for mode in GenerationMode])
            for case, right, proof in drawn(
                f"{name} {SEED}", st.tuples(cases, RIGHT, st.booleans()), EXAMPLES
            ):
                if right:
                    case.path_parameters["token"] = TOKEN
                auth = Proof(name) if proof else None
                answer = case.call_and_validate(url, session, checks=CHECKS, auth=auth)
                seen[name, answer.status_code] += 1
    return seen


def listening(folder: Path, ask: Callable[[Document, str], Answers]) -> Answers:
    """Run a listener for every provider and ask it; return what `ask` returns."""
    config = lines.settings(folder, "".join(written(name) for name in FORMATS))

    async def run() -> Answers:
        async with lines.running(config) as line:
            document = describe(app.posts_of(config).values(), config.posts.public_url)
            return await asyncio.to_thread(ask, document, line.url)

    return asyncio.run(run())


def assert_described(document: Document, name: str, answer: requests.Response) -> None:
    """Fail unless a provider's answer is exactly one of those that are described."""
    operations = document["paths"][f"/in/{name}/{{token}}"]
    operation = operations.get(str(answer.request.method).lower(), operations["post"])
    said = operation["responses"][str(answer.status_code)]
    if answer.status_code == 405:
        methods = {method.upper() for method in operations if method != "parameters"}
        assert set(answer.headers["allow"].split(", ")) == methods
    if answer.status_code == 401 and name in {"46elks", "bandwidth"}:
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
    for header, value in said.get("headers", {}).items():
        assert answer.headers[header] == value["schema"]["const"]
    bodies = {kind: each["schema"]["const"] for kind, each in said.get("content", {}).items()}
    if bodies:
        assert bodies == {answer.headers["content-type"]: answer.text}
    else:
        assert answer.content == b""


@pytest.mark.timeout(3600)  # for the long form
def test_schemathesis_finds_no_undescribed_answer(tmp_path: Path) -> None:
    """No 5xx, and no status, type, header or body of an answer that is not described."""
    seen = listening(tmp_path, fuzz)
    found: Counter[int] = Counter()
    for (_, status), times in seen.items():
        found[status] += times
    # Refusing everything would prove nothing.
    assert min(found[200], found[401], found[404]) >= EXAMPLES, found
    assert set(found) == {200, 204, 401, 404}


def test_each_provider_gets_its_answers(tmp_path: Path) -> None:
    """The genuine post, another method and type, too much, no token: as it is described."""

    def ask(document: Document, url: str) -> Answers:
        seen: Answers = Counter()
        session = requests.Session()
        session.trust_env = False
        for name in FORMATS:

            def call(
                method: str, body: bytes = b"", *, to: str = f"/in/{name}/{TOKEN}", **headers: str
            ) -> requests.Response:
                names = {key.replace("_", "-"): value for key, value in headers.items()}
                return session.request(method, url + to, data=body, headers=names)

            answers = [
                call("POST", b"x" * 20_000),
                call("POST", b"x", content_type="image/png"),
                call("POST", b"x", content_type="application/json"),
                call("POST", b"x", to=f"/in/{name}/{TOKEN}0"),
                *(call(method) for method in OTHERS),
            ]
            for case in (each for each in CASES if provider_of(each) == name):
                post = signed(case, at=app.now())
                query = f"?{post.query}" if post.query else ""
                answer = call(
                    post.method, post.body, to=f"/in/{name}/{TOKEN}{query}", **post.headers
                )
                assert answer.ok, (case, answer.status_code)
                answers.append(answer)
            for answer in answers:
                assert_described(document, name, answer)
                seen[name, answer.status_code] += 1
        return seen

    seen = listening(tmp_path, ask)
    for name in FORMATS:
        counts = [seen[name, status] for status in (401, 404, 405, 413, 415)]
        assert counts == [int(name in PROVEN), 1, len(OTHERS), 1, 1]
