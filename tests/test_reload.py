"""SIGHUP takes a changed config over, whole or not at all, while mails and webhooks go on."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.app import endpoints_of
from bridge.config.load import load_file
from bridge.config.settings import Settings
from bridge.model import Order
from bridge.reload import Built, Reloader, lease_seconds
from bridge.signing.standard_webhooks import generate_secret
from bridge.web import Health
from tests.cli.conftest import mail
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.receiver import Receiver

OTHER = "x-0123456789abcdef0123@bridge.test"  # a secret address that no mail goes to

pytestmark = pytest.mark.processes


@dataclass
class Parts:
    """Notes what a reload asks of the daemon's parts."""

    lease_seconds: float
    names: list[str]
    settled: asyncio.Queue[tuple[float, Mapping[str, Order]]]

    @property
    def store(self) -> Parts:
        return self

    @property
    def health(self) -> Health:
        return Health()

    async def use(self, _settings: Settings, built: Built) -> None:
        self.names[:] = [each.name for each in built.endpoints]

    async def match(self, names: Sequence[str], orders: Mapping[str, Order]) -> None:
        assert names == self.names
        await self.settled.put((asyncio.get_running_loop().time(), orders))


@pytest.mark.unhurried
async def test_what_replaced_lanes_left_is_settled_when_their_leases_have_ended(
    tmp_path: Path,
) -> None:
    """Also of an endpoint whose timeout was longer than that of all that remain."""
    both = {"crm": "http://127.0.0.1:9/", "erp": "http://127.0.0.1:9/"}
    ordered = {"erp": ('order = "conversation"',)}
    path = Config(both, generate_secret(), extra=ordered).write(tmp_path)
    file = load_file(path)
    built = Built(None, endpoints_of(file.settings), {})  # type: ignore[arg-type]
    longest = 3 * lease_seconds(built.endpoints)
    parts = Parts(longest, ["gone"], asyncio.Queue())
    reloader = Reloader(file.settings, built, lambda: file, lambda _: built, parts)  # type: ignore[arg-type]
    running = asyncio.create_task(reloader.run())
    began = asyncio.get_running_loop().time()
    reloader.request()
    at, orders = await parts.settled.get()
    assert at - began >= longest
    assert orders == {"crm": Order.NONE, "erp": Order.BLOCK}
    running.cancel()


def hang_up(daemon: Daemon, event: str = "reload.config") -> None:
    """Send SIGHUP and wait until the daemon has logged one more of the event."""
    before = len(daemon.log(event))
    daemon.signal(signal.SIGHUP)
    daemon.wait_until(lambda: len(daemon.log(event)) > before)


def send(daemon: Daemon, *names: str) -> None:
    for name in names:
        assert daemon.send("a@example.com", [MAILBOX], mail(name, f"text {name}"))[0] == 250


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def test_endpoints_and_secrets_change(tmp_path: Path) -> None:
    """A new URL with a new secret, one more endpoint, one less; the ledger holds what is left."""
    first, second = generate_secret(), generate_secret()
    with Receiver(first) as old, Receiver(second) as new, Receiver(second) as more:
        path = Config({"crm": old.url}, first).write(tmp_path)
        with Daemon(path) as daemon:
            daemon.start()
            send(daemon, "1")
            assert old.wait_for_ids(1)
            Config({"crm": new.url, "more": more.url}, second).write(tmp_path)
            hang_up(daemon)
            send(daemon, "2", "3")
            assert new.wait_for_ids(2)
            assert more.wait_for_ids(2)
            Config({"more": more.url}, second).write(tmp_path)
            hang_up(daemon)
            send(daemon, "4")
            assert more.wait_for_ids(3)
            Config({"crm": new.url, "more": more.url}, second).write(tmp_path)
            hang_up(daemon)
            send(daemon, "5")
            assert new.wait_for_ids(3)
            assert more.wait_for_ids(4)
            assert (old.count(), new.count(), more.count()) == (1, 3, 4)
            for receiver in (old, new, more):
                receiver.assert_honest()
            assert daemon.command("audit").returncode == 0
            assert daemon.stop() == 0


def test_what_waits_for_an_endpoint_that_left_is_held_until_it_is_back(tmp_path: Path) -> None:
    """Its deliveries are neither lost nor sent to the old address."""
    secret = generate_secret()
    with Receiver(secret) as crm, Receiver(secret) as other:
        crm.down()
        path = Config({"crm": crm.url, "other": other.url}, secret).write(tmp_path)
        with Daemon(path) as daemon:
            daemon.start()
            send(daemon, "1", "2")
            assert other.wait_for_ids(2)
            daemon.wait_until(lambda: len(daemon.log("delivery.attempt")) >= 4)
            Config({"other": other.url}, secret).write(tmp_path)
            hang_up(daemon)
            # One that was in flight just then is held when its attempt has ended.
            daemon.wait_until(lambda: _states(daemon, "crm") == ["held", "held"])
            crm.up()
            Config({"crm": crm.url, "other": other.url}, secret).write(tmp_path)
            hang_up(daemon)
            assert crm.wait_for_ids(2)
            assert daemon.stop() == 0


def _states(daemon: Daemon, endpoint: str) -> list[str]:
    listed = daemon.command("deliveries", "list", "--endpoint", endpoint, "--json").stdout
    return [each["state"] for each in json.loads(listed)]


def test_providers_and_the_log_level_change(tmp_path: Path) -> None:
    """A provider that is removed reads nothing more, one that is back reads again."""
    secret = generate_secret()
    with Receiver(secret) as crm:
        path = Config({"crm": crm.url}, secret).write(tmp_path)
        with Daemon(path) as daemon:
            daemon.start()
            send(daemon, "1")
            assert crm.wait_for_ids(1)
            edit(path, lambda text: text.replace('name = "agile"', 'name = "agile"\nregion = "DE"'))
            edit(path, lambda text: text.replace('region = "DE"\n', "").replace(MAILBOX, OTHER))
            hang_up(daemon)
            assert daemon.log("reload.config")[-1]["changed"] == "providers"
            send(daemon, "2")
            daemon.wait_until(
                lambda: daemon.log("arrival.stored")[-1].get("outcome") == "quarantine"
            )
            edit(path, lambda text: text.replace(OTHER, MAILBOX))
            edit(path, lambda text: text.replace("[log]", '[log]\nlevel = "error"'))
            stored = len(daemon.log("arrival.stored"))
            daemon.signal(signal.SIGHUP)
            daemon.wait_until(lambda: _quiet(daemon, crm))
            assert len(daemon.log("arrival.stored")) < stored + crm.count()
            assert daemon.stop() == 0


def _quiet(daemon: Daemon, crm: Receiver) -> bool:
    """Send one more mail; return whether it was delivered and not logged."""
    stored, count = len(daemon.log("arrival.stored")), crm.count()
    send(daemon, f"quiet {count} {stored}")
    delivered = crm.wait(lambda got: len(got) > count, 5)
    return delivered and len(daemon.log("arrival.stored")) == stored


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda text: text + "\nnonsense", "is not TOML"),
        (lambda text: text.replace("secret =", "secrte ="), "unknown key 'secrte'"),
        (lambda text: text.replace("whsec_", "wrong_"), "secret"),
    ],
    ids=["toml", "key", "secret"],
)
def test_a_bad_file_changes_nothing(
    tmp_path: Path, spoil: Callable[[str], str], complaint: str
) -> None:
    """It is named with file and line, the daemon goes on as it was, and a good one is taken."""
    secret = generate_secret()
    with Receiver(secret) as crm:
        path = Config({"crm": crm.url}, secret).write(tmp_path)
        good = path.read_text()
        with Daemon(path) as daemon:
            daemon.start()
            edit(path, lambda text: spoil(text).replace('level = "info"', 'level = "error"'))
            hang_up(daemon, "reload.refused")
            assert any(complaint in line["detail"] for line in daemon.log("reload.refused"))
            assert str(path) in daemon.log("reload.refused")[0]["detail"]
            send(daemon, "1")
            assert crm.wait_for_ids(1)
            path.write_text(good)
            hang_up(daemon)
            assert daemon.log("reload.config")[-1]["changed"] == "nothing"
            send(daemon, "2")
            assert crm.wait_for_ids(2)
            assert daemon.stop() == 0


def test_what_cannot_change_is_named(tmp_path: Path) -> None:
    """The rest of the file is taken over all the same."""
    secret = generate_secret()
    with Receiver(secret) as crm, Receiver(secret) as more:
        path = Config({"crm": crm.url}, secret).write(tmp_path)
        with Daemon(path) as daemon:
            daemon.start()
            changed = Config(
                {"crm": crm.url, "more": more.url}, secret,
                extra={"smtp": ["max_recipients = 7"], "delivery": ['grace = "1s"']},
            )  # fmt: skip
            changed.write(tmp_path)
            hang_up(daemon)
            daemon.wait_until(lambda: len(daemon.log("reload.needs_restart")) == 2)
            tables = [each["table"] for each in daemon.log("reload.needs_restart")]
            assert tables == ["smtp", "delivery"]
            send(daemon, "1")
            assert more.wait_for_ids(1)
            assert daemon.stop() == 0


def test_nothing_is_lost_or_doubled_under_load(tmp_path: Path) -> None:
    """The address changes back and forth while mails come in; each is delivered once."""
    secret = generate_secret()
    with Receiver(secret) as left, Receiver(secret) as right:
        path = Config({"crm": left.url}, secret).write(tmp_path)
        with Daemon(path) as daemon:
            daemon.start()
            for turn in range(6):
                Config({"crm": (right, left)[turn % 2].url}, secret).write(tmp_path)
                before = len(daemon.log("reload.config"))
                daemon.signal(signal.SIGHUP)
                send(daemon, *(f"{turn}-{number}" for number in range(20)))
                daemon.wait_until(lambda at=before: len(daemon.log("reload.config")) > at)
            left.wait(lambda got: len(got) + right.count() >= 120)
            daemon.wait_until(lambda: len(daemon.log("delivery.attempt")) >= 120)
            assert left.by_id().keys() | right.by_id().keys() == {
                each["webhook_id"] for each in daemon.log("delivery.attempt")
            }
            assert left.count() + right.count() == 120
            assert left.count() > 0
            assert right.count() > 0
            assert daemon.command("audit").returncode == 0
            assert daemon.stop() == 0
