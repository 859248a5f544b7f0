"""The baseline for posts: what a good engineer writes in an hour.

One aiohttp handler and one shared client. It checks Twilio's signature, signs a webhook and posts
it on while Twilio waits, and answers 503 if that fails, so it loses nothing while everybody is
well; it stores nothing.

    plain_posts.py URL SECRET httpx|aiohttp      prints the port that it listens on

The last argument is the client: httpx, as in the baseline for mails, or aiohttp's own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import aiohttp
import httpx
from aiohttp import web
from twilio_post import AUTH_TOKEN, PATH, PUBLIC_URL

Send = Callable[[bytes, Mapping[str, str]], Awaitable[int]]
TWIML = "<Response></Response>"


class Bridge:
    """Turns each post into a signed POST; `send` returns the status of its answer."""

    def __init__(self, send: Send, secret: str) -> None:
        self.send = send
        self.key = base64.b64decode(secret.removeprefix("whsec_"))

    async def post(self, request: web.Request) -> web.Response:
        """Answer Twilio once the webhook was taken."""
        form = await request.post()
        signed = PUBLIC_URL + "".join(f"{name}{form[name]}" for name in sorted(form))
        made = base64.b64encode(hmac.digest(AUTH_TOKEN.encode(), signed.encode(), "sha1")).decode()
        if not hmac.compare_digest(made, request.headers.get("X-Twilio-Signature", "")):
            return web.Response(status=401)
        sid = str(form["MessageSid"])
        webhook_id = "msg_" + hashlib.sha256(sid.encode()).hexdigest()[:26]
        now = datetime.now(UTC)
        data = {
            "id": webhook_id,
            "from": str(form["From"]),
            "to": str(form["To"]),
            "body": str(form["Body"]),
            "received_at": now.isoformat(),
        }
        body = json.dumps({"type": "sms.received", "data": data}).encode()
        timestamp = str(int(time.time()))
        mac = hmac.digest(self.key, f"{webhook_id}.{timestamp}.".encode() + body, "sha256")
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
        }
        if not 200 <= await self.send(body, headers) < 300:
            return web.Response(status=503)
        return web.Response(text=TWIML, content_type="text/xml")


async def sender(url: str, client: str, stack: AsyncExitStack) -> Send:
    """Open the shared client."""
    if client == "httpx":
        shared = await stack.enter_async_context(httpx.AsyncClient(timeout=20))

        async def by_httpx(body: bytes, headers: Mapping[str, str]) -> int:
            try:
                return (await shared.post(url, content=body, headers=headers)).status_code
            except httpx.HTTPError:
                return 0

        return by_httpx
    session = await stack.enter_async_context(
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20))
    )

    async def by_aiohttp(body: bytes, headers: Mapping[str, str]) -> int:
        try:
            async with session.post(url, data=body, headers=headers) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    return by_aiohttp


async def main(url: str, secret: str, client: str) -> None:
    """Serve until killed."""
    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_post(PATH, Bridge(await sender(url, client, stack), secret).post)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
