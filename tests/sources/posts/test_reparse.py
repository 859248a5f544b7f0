"""A post in quarantine becomes, after the fix, the message that it would have been."""

from __future__ import annotations

from pathlib import Path

from bridge import app
from bridge.model import Post
from bridge.operations import quarantine
from bridge.store import queries
from tests.providers.posts.everyone import fixture
from tests.providers.posts.signers import TOKEN, Keys, capcom6
from tests.sources.posts.lines import Line, running, settings

BEFORE = f"""
[[providers]]
name = "capcom6"
post = {{ token = "{TOKEN}", secret = "{Keys().signing}" }}
"""
FIXED = BEFORE.replace("secret =", 'to = "+393331234333", secret =')
ROTATED = FIXED.replace(Keys().signing, "a third key")


async def reparse(line: Line, number: int) -> dict[str, object]:
    (found,) = await quarantine.reparse(line.store, line.intake, [number], lambda _: None)
    return found


async def test_a_post_is_read_again_after_the_fix(tmp_path: Path) -> None:
    """With the signature judged anew, under the id that the same post gets as it comes in."""
    post = fixture("capcom6")
    post = capcom6(
        Post("POST", post.path, "", post.headers, post.body.replace(b'"recipient"', b'"to"')),
        Keys(), app.now(),
    )  # fmt: skip
    async with running(settings(tmp_path, BEFORE)) as line:
        path = f"/in/capcom6/{TOKEN}"
        answer = await line.client.post(path, content=post.body, headers=dict(post.headers))
        assert answer.status_code == 200
        assert await line.arrivals() == [("http", "quarantine")]
        assert (await reparse(line, 1))["outcome"] == "quarantine"
    async with running(settings(tmp_path, ROTATED)) as line:
        refused = await reparse(line, 1)
        assert (refused["outcome"], refused["reason"]) == ("quarantine", "untrusted")
    async with running(settings(tmp_path, FIXED)) as line:
        found = await reparse(line, 1)
        assert found["outcome"] == "message", found
        (row,) = await line.store.read(queries.list_messages)
        assert row.message.id == found["message_id"]
        assert row.message.trust is not None
        assert (row.message.trust.by, row.message.sms.recipient) == ("signature", "+393331234333")
        again = await line.client.post(path, content=post.body, headers=dict(post.headers))
        assert again.status_code == 200
        assert len(await line.store.read(queries.list_messages)) == 1
