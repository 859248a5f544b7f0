"""The container's files fit each other; `make package-test` builds the image and runs it."""

from __future__ import annotations

import re
import tomllib

import pytest

from bridge.config.settings import Settings
from bridge.signing.standard_webhooks import generate_secret
from tests.documents import blocks, page
from tests.packaging.building import PACKAGING

CONTAINER = PACKAGING / "container"
BUILD = (CONTAINER / "Containerfile").read_text()
COMPOSE = (CONTAINER / "compose.yaml").read_text()
MADE = {"smsbridge.deb", "crm.secret"}  # by hand, as compose.yaml says


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Load the config as the container does, with a secret from the engine."""
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "crm").write_text(generate_secret())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets))
    return Settings(**tomllib.loads((CONTAINER / "config.toml").read_text()))


def instructions() -> dict[str, list[str]]:
    """Return the build's instructions: name and arguments, continued lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", BUILD, flags=re.MULTILINE))
    found: dict[str, list[str]] = {}
    for line in filter(None, joined.splitlines()):
        name, _, arguments = line.partition(" ")
        found.setdefault(name, []).append(" ".join(arguments.split()))
    return found


def test_the_ports_are_those_of_the_config(settings: Settings) -> None:
    """What the image exposes and compose publishes is what the config listens on."""
    ports = {str(each).rpartition(":")[2] for each in [*settings.smtp.listen, settings.http.listen]}
    assert set(instructions()["EXPOSE"][0].split()) == ports
    assert set(re.findall(r'"127\.0\.0\.1:(\d+):\d+"', COMPOSE)) == ports
    assert set(re.findall(r'"127\.0\.0\.1:\d+:(\d+)"', COMPOSE)) == ports


def test_it_does_not_run_as_root() -> None:
    """The image's user is the package's account, and every folder that is written is named."""
    assert instructions()["USER"] == ["smsbridge"]
    assert instructions()["VOLUME"] == ["/var/lib/smsbridge"]
    assert "store:/var/lib/smsbridge" in COMPOSE
    assert "read_only: true" in COMPOSE


def test_signals_and_arguments_reach_the_daemon() -> None:
    """Command and arguments are lists: with a shell in between, SIGTERM would not arrive."""
    for name in ("ENTRYPOINT", "CMD"):
        (arguments,) = instructions()[name]
        assert arguments.startswith('["')


def test_every_file_it_names_exists() -> None:
    """Each file that compose.yaml mounts, and the build takes, is there or made by hand."""
    named = set(re.findall(r"\./([\w.]+):", COMPOSE)) | {"crm.secret"}
    named |= set(re.findall(r"source=([\w.]+)", BUILD))
    assert named - MADE == {"config.toml", "receiver.py"}
    assert all((CONTAINER / each).is_file() for each in named - MADE)


def test_the_receiver_is_the_readmes() -> None:
    """The example service is the one that the README prints and its tests run."""
    (printed,) = (each for each in blocks(page("README.md"), "python") if "ThreadingHTTP" in each)
    assert (CONTAINER / "receiver.py").read_text() == printed
