"""Two bridges in a row: what one sends in a provider's format, the other takes as that post."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.formats.bridges import SECRET, bridge
from tests.servers.ports import steady_port

TOKEN = "chain-token-0123456789"
AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
BODY = "News ON: è € 🎉 +1 & a=b"
RECEIVED = datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)
FORMATS = {
    # format: (provider of the second bridge, secret of both, has the time)
    "sms.received": ("standard_webhooks", SECRET, True),
    "agile": ("agile", None, True),
    "url_networks": ("url_networks", None, True),
    "twilio": ("twilio", AUTH_TOKEN, False),
    "mobile_api_connect": ("mobile_api_connect", SECRET, True),
}


@pytest.mark.parametrize("form", FORMATS)
async def test_a_bridge_takes_what_another_sends(tmp_path: Path, form: str) -> None:
    """Two equal SMS arrive as two, with their numbers, text and time; a repetition as none."""
    provider, secret, has_time = FORMATS[form]
    port = steady_port()
    signed = f'secret = "{secret}"' if secret else ""
    # Both bridges have the provider agile for mails, so the posts' provider has a name of its own.
    second = (
        f'[[providers]]\nname = "upstream"\npreset = "{provider}"\ntime_zone = "Europe/Rome"\n'
        f'[providers.post]\ntoken = "{TOKEN}"\n{signed}\n'
        f'[posts]\nlisten = ["127.0.0.1:{port}"]\npublic_url = "http://127.0.0.1:{port}"'
    )
    first = (
        f'[[endpoints]]\nname = "next"\nurl = "http://127.0.0.1:{port}/in/upstream/{TOKEN}"\n'
        f'format = "{form}"\n{signed}'
    )
    async with (
        bridge(tmp_path / "second", second) as theirs,
        bridge(tmp_path / "first", first) as ours,
    ):
        await ours.mail(BODY, 1)
        await ours.mail(BODY, 2, "20260408143053")
        await ours.mail(BODY, 1)
        await ours.delivered(2)
        got = sorted((each.sms for each in await theirs.messages()), key=lambda s: s.received_at)
        assert [(each.sender, each.recipient, each.body) for each in got] == [
            ("+393301234567", "+393331234333", BODY)
        ] * 2
        if has_time:
            times = [each.received_at.astimezone(UTC) for each in got]
            assert times == [RECEIVED, RECEIVED.replace(second=53)]
        (trust,) = {each.trust.by for each in await theirs.messages() if each.trust}
        assert trust == ("signature" if secret else "token")
        await ours.in_order()
        await theirs.in_order()
