"""What a real Postfix with opendkim stamps is believed, and what a stranger stamped is not."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import mail, trust
from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, Receipt, Trust, Unreadable
from tests.patience import PATIENCE
from tests.servers.opendkim import opendkim
from tests.servers.postfix import Postfix
from tests.sources.conftest import Start
from tests.sources.peer import Taken
from tests.trust.signing import NAME, Signer, record
from tests.trust.test_dkim import MAIL

pytestmark = pytest.mark.processes


MILTER = "smtpd_milters = inet:127.0.0.1:{}\nmilter_default_action = tempfail\n"
FORGED = b"Authentication-Results: mx.bridge.test; dkim=pass header.d=agiletelecom.com\r\n"
STAMP = b"\r\nAuthentication-Results: mx.bridge.test;"
SIGNED = Signer().sign(MAIL)
BROKEN = SIGNED.replace(b"+391", b"+392")
POLICY = TrustSettings.model_validate(
    {
        "authserv_id": {
            "id": "mx.bridge.test",
            "dkim": ["agiletelecom.com"],
            "networks": ["127.0.0.1/32"],
        }
    }
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="smsbridge-opendkim-") as folder:
        yield Path(folder)


async def weigh(arrival: Arrival) -> Trust | Unreadable:
    email = mail.decode(arrival.raw)
    assert isinstance(email, Email)
    return await trust.weigh(arrival, email, POLICY)


@pytest.mark.parametrize("more", ["", "KeepAuthResults yes\n"], ids=["removes", "keeps"])
async def test_the_place_tells_who_stamped(
    start: Start, taken: Taken, folder: Path, more: str
) -> None:
    """Whether the server removes a forged header or not, only its own is believed."""
    arrived = threading.Event()

    async def accept(arrival: Arrival) -> Receipt:
        receipt = await taken(arrival)
        if len(taken.arrivals) == len(mails):
            arrived.set()
        return receipt

    source = await start(accept)
    port = int(source.addresses[0].rpartition(":")[2])
    mails = {
        "signed": SIGNED,
        "signed_and_forged": FORGED + SIGNED,
        "forged": FORGED + MAIL,  # opendkim stamps no mail without a signature
        "forged_and_broken": FORGED + BROKEN,
    }

    def work() -> None:
        with (
            opendkim(folder, {NAME: record()}, more) as milter,
            Postfix(port, MILTER.format(milter)) as postfix,
        ):
            postfix.inject(("x@y.example", [f"{to}@bridge.test"], mails[to]) for to in mails)
            assert arrived.wait(30), postfix.lines()[-10:]

    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(work)
    found = {each.recipients[0].partition("@")[0]: each for each in taken.arrivals}
    stamps = {name: each.raw.count(STAMP) for name, each in found.items()}
    kept = bool(more)
    assert stamps == {
        "signed": 1,
        "signed_and_forged": 1 + kept,
        "forged": kept,
        "forged_and_broken": 1 + kept,
    }
    believed = {name for name, each in found.items() if isinstance(await weigh(each), Trust)}
    assert believed == {"signed", "signed_and_forged"}
