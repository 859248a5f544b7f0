"""The baseline: what a good engineer writes in an hour.

One file, aiosmtpd, the standard library's e-mail package with the modern policy, one shared
httpx client. It parses, signs and posts while the sender waits, and answers 451 if that fails,
so it loses nothing while everybody is well; it stores nothing.

    plain.py URL SECRET      prints the port that it listens on
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import sys
import time
from datetime import datetime
from email import message_from_bytes, policy
from zoneinfo import ZoneInfo

import httpx
from aiosmtpd.smtp import SMTP, Envelope, Session

LABELS = re.compile(
    r"^From: (?P<sender>.+?)\s*^To: (?P<to>.+?)\s*^Date/Time: (?P<date>\d{14})\s*"
    r"^Body: (?P<body>.*)",
    re.MULTILINE | re.DOTALL,
)
ROME = ZoneInfo("Europe/Rome")


class Bridge:
    """Turns each mail into a signed POST."""

    def __init__(self, client: httpx.AsyncClient, url: str, secret: str) -> None:
        self.client = client
        self.url = url
        self.key = base64.b64decode(secret.removeprefix("whsec_"))

    async def handle_DATA(  # noqa: N802 - aiosmtpd's own name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Answer 250 once the webhook was taken."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        if mail["From"].addresses[0].addr_spec != "smsin@agiletelecom.com":
            return "550 not from a provider"
        if mail["Subject"] != "Agile Telecom -- SMS received":
            return "550 not an SMS"
        found = LABELS.search(mail.get_body(("plain", "html")).get_content())
        if found is None:
            return "550 not an SMS"
        received_at = datetime.strptime(found["date"], "%Y%m%d%H%M%S").replace(tzinfo=ROME)
        webhook_id = "msg_" + hashlib.sha256(mail["Message-ID"].encode()).hexdigest()[:26]
        data = {
            "id": webhook_id,
            "from": found["sender"],
            "to": found["to"],
            "body": found["body"].strip(),
            "received_at": received_at.isoformat(),
        }
        body = json.dumps({"type": "sms.received", "data": data}).encode()
        timestamp = str(int(time.time()))
        signed = f"{webhook_id}.{timestamp}.".encode() + body
        mac = base64.b64encode(hmac.digest(self.key, signed, "sha256")).decode()
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{mac}",
        }
        try:
            answer = await self.client.post(self.url, content=body, headers=headers)
            answer.raise_for_status()
        except httpx.HTTPError:
            return "451 try again later"
        return "250 OK"


async def main(url: str, secret: str) -> None:
    """Serve until killed."""
    async with httpx.AsyncClient(timeout=20) as client:
        bridge = Bridge(client, url, secret)
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(bridge, hostname="bridge.test", decode_data=False), "127.0.0.1", 0
        )
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
