"""The API does what its OpenAPI document says, whatever Schemathesis sends it."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Final

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from tests.drawing import drawn
from tests.web.api.bridges import Served, numbers_and_texts, serving

# Of each operation; with more, and another seed: API_EXAMPLES=200 API_SEED=2
EXAMPLES: Final = int(os.environ.get("API_EXAMPLES", "5"))
SEED: Final = os.environ.get("API_SEED", "1")
CHECKS: Final = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
REFUSED: Final = {400, 401, 404, 405}  # 400: no HTTP that a server could read
THERE: Final = {"number": 1, "name": "crm", "id": "1"}
Seen = Counter[tuple[str, int]]


def fuzz(api: Served) -> dict[str, Seen]:
    """Send what Schemathesis makes of the document, with each token, a wrong one, and none."""
    tokens = {"read": api.read, "operate": api.operate, "wrong": "smsb_wrong", "none": None}
    seen = {name: Seen() for name in tokens}
    with requests.Session() as session:
        session.trust_env = False
        described = session.get(
            f"{api.url}/api/v1/openapi.json", headers={"Authorization": f"Bearer {api.read}"}
        ).json()
        schema = schemathesis.openapi.from_dict(described)
        for operation in (each.ok() for each in schema.get_all_operations()):
            name = f"{operation.method.upper()} {operation.path}"
            cases = st.one_of([operation.as_strategy(mode) for mode in GenerationMode])
            for number, case in enumerate(drawn(f"{name} {SEED}", cases, EXAMPLES)):
                there = bool(number % 2 and case.path_parameters)  # then it may be right by that
                if there:
                    case.path_parameters |= {
                        key: THERE[key] for key in case.path_parameters if key in THERE
                    }
                for who, token in tokens.items():
                    shown = {} if token is None else {"Authorization": f"Bearer {token}"}
                    if token in {api.read, api.operate}:
                        answer = case.call_and_validate(
                            api.url,
                            session=session,
                            headers=shown,
                            checks=CHECKS[:-1] if there else CHECKS,
                        )
                    else:
                        answer = case.call(api.url, session=session, headers=shown)
                    if who == "read":
                        assert numbers_and_texts(answer.text) == [], name
                    seen[who][name, answer.status_code] += 1
    return seen


async def test_the_document_is_kept_to(tmp_path: Path) -> None:
    """No 5xx, no answer that isn't described, and nothing at all without a token."""
    async with serving(tmp_path) as api:
        seen = await asyncio.to_thread(fuzz, api)
        assert json.dumps(await api.get("/openapi.json"))
    operations = {name for name, _ in seen["operate"]}
    assert len(operations) >= 20
    for who in ("wrong", "none"):
        assert {status for _, status in seen[who]} <= REFUSED | {429}, who
    worked = {name for (name, status), _ in seen["operate"].items() if status == 200}
    assert {"GET /api/v1/messages", "GET /api/v1/endpoints"} <= worked
    acted = {name for (name, status) in seen["read"] if status == 200 and name.startswith("POST")}
    assert acted == set()
