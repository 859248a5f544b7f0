"""`smsbridge secret rotate`: what it says at each step, asked of a receiver that verifies."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.signing import SCHEMES
from bridge.signing.standard_webhooks import generate_secret, parse_secret
from tests.cli.conftest import Ran
from tests.servers.daemon import Config
from tests.servers.receiver import Exchange, Receiver, status, taken

Smsbridge = Callable[..., Ran]
OLD, NEW = generate_secret(), generate_secret()


async def verifying(exchange: Exchange) -> None:
    """Take what the receiver's library verifies, and nothing else."""
    await (taken if exchange.webhook.verified else status(401))(exchange)


def rotating(folder: Path, url: str) -> Path:
    """Write a config that has both secrets."""
    path = Config({"crm": url}, "SECRET").write(folder)
    both = f'secrets = ["{NEW}", "{OLD}"]'
    path.write_text(path.read_text().replace('secret = "SECRET"', both))
    return path


@pytest.mark.parametrize(
    ("has", "answer", "code", "step", "takes"),
    [
        (OLD, verifying, 1, "wait", (False, True, False)),
        (NEW, verifying, 0, "finish", (True, False, False)),
        (generate_secret(), verifying, 1, "unclear", (False, False, False)),
        (NEW, taken, 1, "unclear", (True, True, True)),
        (NEW, status(500), 1, "unclear", (False, False, False)),
    ],
    ids=["old", "new", "another", "verifies nothing", "broken"],
)
def test_the_receiver_is_asked_which_secret_it_takes(
    smsbridge: Smsbridge,
    tmp_path: Path,
    has: str,
    answer: object,
    code: int,
    step: str,
    takes: object,
) -> None:
    """The old one may go when the new one is taken and what is signed with neither is not."""
    with Receiver(has, answer) as receiver:  # type: ignore[arg-type]
        path = rotating(tmp_path, receiver.url)
        ran = smsbridge("secret", "rotate", "crm", "-c", path, "--json")
        assert (ran.code, ran.document["ok"]) == (code, code == 0)
        assert ran.document["step"] == step
        assert tuple(ran.document[name]["ok"] for name in ("new", "old", "neither")) == takes
        assert len(receiver.all()) == 3
        assert {each.id.partition("_")[0] for each in receiver.all()} == {"ping"}
    for secret in (NEW, OLD):
        assert secret not in ran.out + ran.err


def test_the_words_say_what_to_do_next(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """The answers on stdout, the next step on stderr; nobody there is no permission."""
    with Receiver(NEW, verifying) as receiver:
        path = rotating(tmp_path, receiver.url)
        ran = smsbridge("secret", "rotate", "crm", "-c", path)
        assert [line.split()[-1] for line in ran.out.splitlines()] == ["204", "401", "401"]
        assert "`secret = NEW`" in ran.err
    ran = smsbridge("secret", "rotate", "crm", "-c", path)
    assert (ran.code, "leave both secrets in place" in ran.err) == (1, True)
    assert "connection" in ran.out


def test_with_one_secret_it_makes_the_new_one(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """It is printed alone and for the endpoint's scheme; the config stays as it is."""
    path = Config({"crm": "http://127.0.0.1:9/"}, OLD).write(tmp_path)
    before = path.read_text()
    ran = smsbridge("secret", "rotate", "crm", "-c", path)
    assert ran.code == 0
    assert parse_secret(ran.out.strip()) != parse_secret(OLD)
    assert "secrets = [NEW, OLD]" in ran.err
    assert path.read_text() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ed25519 = SCHEMES["standard-webhooks-ed25519"].generate_secret()
    path = Config(
        {"crm": "http://127.0.0.1:9/"},
        ed25519,
        extra={"crm": ['scheme = "standard-webhooks-ed25519"']},
    ).write(tmp_path)
    document = smsbridge("secret", "rotate", "crm", "-c", path, "--json").document
    assert document["step"] == "begin"
    assert document["secret"].startswith("whsk_")
    assert document["public_key"].startswith("whpk_")


@pytest.mark.parametrize(
    ("extra", "name", "why"),
    [
        ('scheme = "hex"', "crm", "one signature only"),
        ('scheme = "none"', "crm", "not signed"),
        ("", "crm2", "did you mean 'crm'?"),
    ],
)
def test_what_cannot_be_rotated_is_explained(
    smsbridge: Smsbridge, tmp_path: Path, extra: str, name: str, why: str
) -> None:
    """A scheme with one signature, none at all, and a name that the config doesn't know."""
    secret = SCHEMES["hex"].generate_secret() if "hex" in extra else OLD
    path = Config({"crm": "http://127.0.0.1:9/"}, secret, extra={"crm": [extra]}).write(tmp_path)
    if "none" in extra:
        path.write_text(path.read_text().replace(f'secret = "{secret}"\n', ""))
    ran = smsbridge("secret", "rotate", name, "-c", path)
    assert (ran.code, why in ran.err) == (2, True), ran
