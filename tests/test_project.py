"""The project around the code: its lock, its Makefile, and a README whose examples are true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bridge.config.settings import Settings
from bridge.signing import standard_webhooks

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
LOCK = (PROJECT / "requirements.lock").read_text()
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())

# "name==1.2 ; marker \" and its indented lines of hashes.
PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)[^\n]*\\\n(?P<hashes>(?:    --hash=.*\n)+)", re.MULTILINE
)


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language in the README."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def pins() -> dict[str, str]:
    """Return what the lock pins: canonical name and version."""
    return {canonicalize_name(pin["name"]): pin["version"] for pin in PIN.finditer(LOCK)}


def wanted() -> list[Requirement]:
    """Return every requirement of pyproject.toml, of extras, groups and the build as well."""
    project = PYPROJECT["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PYPROJECT["dependency-groups"].values(),
        PYPROJECT["build-system"]["requires"],
    ]
    return [Requirement(line) for lines in lists for line in lines]


class TestLock:
    """What `make` installs, on any machine and from any mirror."""

    def test_names_no_host(self) -> None:
        """The lock holds no URL, index, path or option, so that any mirror serves it."""
        lines = [line for line in LOCK.splitlines() if not line.startswith("    --hash=sha256:")]

        assert [line for line in lines if re.search(r"://|--|\s@\s|file:|/", line)] == []

    def test_every_pin_has_hashes(self) -> None:
        """No line of the lock is without a hash, as pip's --require-hashes asks."""
        named = re.findall(r"^[\w.-]+==", LOCK, re.MULTILINE)

        assert len(pins()) == len(named) > 0

    @pytest.mark.parametrize("requirement", wanted(), ids=str)
    def test_holds_each_requirement(self, requirement: Requirement) -> None:
        """Each requirement of pyproject.toml is locked at a version within its range."""
        version = pins()[canonicalize_name(requirement.name)]

        assert requirement.specifier.contains(version, prereleases=False)


def test_decisions_name_every_dependency() -> None:
    """Each package that is installed with smsbridge has its reason in docs/decisions.md."""
    project = PYPROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    told = (PROJECT / "docs" / "decisions.md").read_text().lower()

    assert [
        name
        for lines in lists
        for name in (Requirement(line).name for line in lines)
        if name not in told
    ] == []


class TestMake:
    """`make` says what is wrong in a sentence, and lists what it can do."""

    @pytest.mark.parametrize("version", ["3.10", "nothing that runs"])
    @pytest.mark.processes
    def test_refuses_an_old_python(self, version: str, tmp_path: Path) -> None:
        """A Python that is too old, or none at all, is refused by its version."""
        python = tmp_path / "python"
        if version == "3.10":
            # This Python, made to believe that it is an older one.
            python.write_text(
                '#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.10.9" && exit\n'
                f'exec {sys.executable} -c "import sys; sys.version_info = (3, 10, 9); $2"\n'
            )
            python.chmod(0o755)
        asked = subprocess.run(
            [PROJECT / "scripts" / "python"],
            env={**os.environ, "PYTHON": str(python)},
            capture_output=True,
            text=True,
            check=False,
        )

        assert asked.returncode == 1
        assert asked.stdout == ""
        assert version in asked.stderr
        assert "needs Python 3.11 or newer" in asked.stderr

    @pytest.mark.processes
    def test_takes_the_python_it_is_told(self) -> None:
        """PYTHON chooses the interpreter."""
        asked = subprocess.run(
            [PROJECT / "scripts" / "python"],
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=True,
        )

        assert asked.stdout.strip() == sys.executable

    @pytest.mark.processes
    def test_help_lists_the_targets_of_the_readme(self) -> None:
        """Each `make TARGET` that the README names is in `make help`."""
        listed = subprocess.run(
            ["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout
        named = set(re.findall(r"\bmake (?:-C \S+ )?([a-z]+)\b", "\n".join(commands(README))))

        assert {"demo", "run", "setup"} <= named
        assert sorted(named) == [
            target for target in sorted(named) if f"make {target} " in listed or target == "help"
        ]


def commands(text: str) -> list[str]:
    """Return what the README shows as typed: indented lines and what stands in backquotes."""
    return re.findall(r"^    (.*)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)


class TestReadme:
    """What the README shows works as it stands there."""

    @pytest.mark.parametrize(
        "config",
        blocks("toml"),
        ids=["first", "declared", "relay", "mailbox", "systemd", "labels"],
    )
    def test_its_configs_are_valid(
        self, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each config of the README is one that smsbridge takes."""
        monkeypatch.chdir(tmp_path)
        for name in ("crm.secret", "imap.password"):
            secret = tmp_path / name
            secret.touch(0o600)
            secret.write_text(standard_webhooks.generate_secret())

        Settings(**tomllib.loads(config))

    def test_its_webhook_has_the_fields_of_the_schema(self) -> None:
        """The example of a webhook shows exactly the fields that the schema has."""
        (shown,) = (json.loads(block) for block in blocks("json"))
        schema = json.loads(
            (PROJECT / "bridge" / "formats" / "sms.received.schema.json").read_text()
        )

        assert sorted(shown) == sorted(schema["properties"])
        data = schema["properties"]["data"]
        assert sorted(shown["data"]) == sorted(data["properties"])

    def test_its_files_exist(self) -> None:
        """Each file of the project that the README links to is there."""
        links = re.findall(r"\]\((?!https?:)([^)]+)\)", README)

        assert links
        assert [link for link in links if not (PROJECT / link).exists()] == []


class TestReceiver:
    """The receiver of the README, against signatures that smsbridge makes."""

    SECRET = standard_webhooks.generate_secret()
    BODY = json.dumps(
        {"type": "sms.received", "data": {"from": "+39330", "to": "+39333", "body": "è 1"}}
    ).encode()

    @pytest.fixture
    def receiver(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Run the Python of the README, and note what it takes."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SMSBRIDGE_SECRET", self.SECRET)
        (source,) = blocks("python")
        module: Any = ModuleType("receiver")
        exec(compile(source, "README.md", "exec"), module.__dict__)
        module.taken = []
        module.take = module.taken.append
        yield module
        module.seen.close()

    def headers(self, *, webhook_id: str = "msg_1", secrets: tuple[str, ...] = (SECRET,)) -> Any:
        """Sign the body as smsbridge does, now."""
        now = int(time.time())
        keys = [standard_webhooks.parse_secret(secret) for secret in secrets]
        return {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(now),
            "webhook-signature": standard_webhooks.sign(keys, webhook_id, now, self.BODY),
        }

    def test_takes_a_message_once(self, receiver: Any) -> None:
        """The same id is answered with success again, and its work is done once."""
        answers = [receiver.receive(self.headers(), self.BODY) for _ in range(2)]
        answers.append(receiver.receive(self.headers(webhook_id="msg_2"), self.BODY))

        assert answers == [204, 204, 204]
        assert [sms["body"] for sms in receiver.taken] == ["è 1", "è 1"]

    def test_forgets_an_id_whose_work_failed(self, receiver: Any) -> None:
        """An id is not remembered when the work on it fails, so that the next try does it."""

        def fail(_: object) -> None:
            raise OSError

        noted, receiver.take = receiver.take, fail
        with pytest.raises(OSError):  # noqa: PT011 - it is ours, from just above
            receiver.receive(self.headers(), self.BODY)
        receiver.take = noted

        assert receiver.receive(self.headers(), self.BODY) == 204
        assert len(receiver.taken) == 1

    def test_accepts_either_secret_while_they_change(self, receiver: Any) -> None:
        """A webhook signed with a new and the old secret is taken by one who knows the old."""
        new = standard_webhooks.generate_secret()

        assert receiver.receive(self.headers(secrets=(new, self.SECRET)), self.BODY) == 204

    @pytest.mark.parametrize("wrong", ["secret", "body", "id", "missing", "nonsense"])
    def test_refuses_what_is_not_signed(self, receiver: Any, wrong: str) -> None:
        """Another secret, a changed body or id, or no signature at all: 401, and nothing taken."""
        headers, body = self.headers(), self.BODY
        match wrong:
            case "secret":
                headers = self.headers(secrets=(standard_webhooks.generate_secret(),))
            case "body":
                body += b" "
            case "id":
                headers["webhook-id"] = "msg_2"
            case "missing":
                del headers["webhook-signature"]
            case _:
                headers["webhook-signature"] = "v1"

        assert receiver.receive(headers, body) == 401
        assert receiver.taken == []
