"""The command as a shell sees it: exit codes, pipes, sentences instead of tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from bridge.cli import root
from bridge.signing import standard_webhooks_ed25519
from bridge.signing.standard_webhooks import parse_secret
from tests.cli.conftest import Filled, Ran, mail
from tests.patience import PATIENCE

Smsbridge = Callable[..., Ran]
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path) -> Shell:
    """Run `python -m bridge …` in a shell of its own."""

    def run(line: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line.replace("smsbridge", f"{sys.executable} -m bridge", 1)],
            capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=tmp_path,
            env={**environment, **more},
        )  # fmt: skip

    return run


@pytest.mark.parametrize("name", list(root.COMMANDS))
def test_the_list_of_commands_is_true(name: str) -> None:
    """Each name leads to a command of that name, whose own help begins with the listed line."""
    module, line = root.COMMANDS[name]
    command = getattr(import_module(f"bridge.cli.{module}"), module)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert (command.help or "").startswith(line.rstrip("."))


@pytest.mark.processes
def test_the_daemon_imports_no_library_s_command(environment: dict[str, str]) -> None:
    """The HTTP client does without its command, which would take 4 MB of every daemon."""
    script = (
        "import sys\nimport bridge.app, bridge.cli.run, bridge.supervisor\n"
        "import httpx\nhttpx.Client()\n"
        "print(sorted({'rich', 'pygments', 'httpx'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, timeout=PATIENCE, env=environment,
    )  # fmt: skip
    assert ran.stdout.splitlines()[-1] == "['httpx']"


@pytest.mark.processes
def test_help_imports_nothing_heavy(environment: dict[str, str]) -> None:
    """`smsbridge --help` must not wait for the database and the web server."""
    script = (
        "import sys\nfrom bridge.cli import root\nroot.main(['--help'])\n"
        "print(sorted({'sqlalchemy', 'aiohttp', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, timeout=PATIENCE, env=environment,
    )  # fmt: skip
    assert ran.stdout.splitlines()[-1] == "[]"


def test_each_command_explains_itself(smsbridge: Smsbridge) -> None:
    """--help of every command and subcommand is exit 0, and says what its JSON holds."""
    for name in root.COMMANDS:
        ran = smsbridge(name, "--help")
        assert ran.code == 0, name
        assert "--config" in ran.out or "COMMAND" in ran.out or name in ("demo", "init", "secret")
        assert "--json" not in ran.out or "JSON:" in ran.out, name


def test_help_fits_a_terminal() -> None:
    """Of 80 columns, whatever the names of formats and schemes."""
    assert [line for line in _help(root.smsbridge, ["smsbridge"]) if len(line) > 80] == []


def _help(command: click.Command, words: list[str]) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(words), terminal_width=80)
    yield from command.get_help(context).splitlines()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _help(inner, [*words, name])


def test_a_typo_names_the_nearest(smsbridge: Smsbridge) -> None:
    """A wrong command or option is a usage error with a suggestion."""
    ran = smsbridge("mesages")
    assert (ran.code, "did you mean 'messages'?" in ran.err) == (2, True)
    ran = smsbridge("check", "--jsno")
    assert (ran.code, "--json" in ran.err) == (2, True)
    ran = smsbridge("messages", "lst")
    assert (ran.code, "list" in ran.err) == (2, True)


def test_the_config_may_stand_in_front(smsbridge: Smsbridge, config: Path) -> None:
    """-c works before and after the command."""
    assert smsbridge("-c", config, "check").code == 0
    assert smsbridge("check", "-c", config).code == 0


def test_a_new_secret_is_one_that_works(smsbridge: Smsbridge) -> None:
    """The secret is printed alone, is new each time, and can be parsed."""
    first, second = smsbridge("secret").out, smsbridge("secret", "--json").document["secret"]
    assert len(parse_secret(first.removesuffix("\n"))) >= 24
    assert len(parse_secret(second)) >= 24
    assert first.strip() != second
    ran = smsbridge("secret", "--scheme", "standard-webhooks")
    assert len(parse_secret(ran.out.strip())) >= 24
    assert smsbridge("secret", "--scheme", "hmac").code == 2


def test_a_private_key_comes_with_its_public_key(smsbridge: Smsbridge) -> None:
    """The private key is printed alone, so that it can go to a file; the public one beside it."""
    ran = smsbridge("secret", "--scheme", "standard-webhooks-ed25519")
    assert ran.out.startswith("whsk_")
    key = standard_webhooks_ed25519.parse_secret(ran.out.removesuffix("\n"))
    assert f"public key {standard_webhooks_ed25519.public_key(key)}" in ran.err
    made = smsbridge("secret", "--scheme", "standard-webhooks-ed25519", "--json").document
    key = standard_webhooks_ed25519.parse_secret(made["secret"])
    assert made["public_key"] == standard_webhooks_ed25519.public_key(key)
    assert smsbridge("secret", "--scheme", "none").code == 2


def test_a_bug_is_a_sentence(
    smsbridge: Smsbridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An unforeseen exception names its class alone; SMSBRIDGE_DEBUG=1 lets it through."""

    def broken() -> str:
        raise KeyError("+393301234567")

    monkeypatch.setattr("bridge.signing.standard_webhooks.generate_secret", broken)
    ran = smsbridge("secret")
    assert ran.code == 2
    assert "this is a bug in smsbridge (KeyError)" in ran.err
    assert "393301234567" not in ran.err
    assert "Traceback" not in ran.err
    monkeypatch.setenv("SMSBRIDGE_DEBUG", "1")
    with pytest.raises(KeyError):
        smsbridge("secret")


def test_a_shortage_is_no_bug(smsbridge: Smsbridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reports that their machine has too little memory to us."""

    def short() -> str:
        raise MemoryError

    monkeypatch.setattr("bridge.signing.standard_webhooks.generate_secret", short)
    ran = smsbridge("secret")
    assert ran.code == 2
    assert ran.err.startswith("smsbridge: out of memory")


def test_ctrl_c_is_quiet(smsbridge: Smsbridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command without a word."""

    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("bridge.signing.standard_webhooks.generate_secret", interrupted)
    ran = smsbridge("secret")
    assert (ran.code, ran.err.strip()) == (130, "")


@pytest.mark.processes
def test_exit_codes_reach_the_shell(shell: Shell, tmp_path: Path) -> None:
    """0 for done, 1 for found wrong, 2 for cannot be done."""
    (tmp_path / "mail.eml").write_bytes(mail())
    assert shell("smsbridge parse mail.eml").returncode == 0
    assert shell("smsbridge parse - < /dev/null").returncode == 1
    ran = shell("smsbridge run -c none.toml")
    assert (ran.returncode, ran.stderr) == (2, "smsbridge: none.toml: no such file or directory\n")


@pytest.mark.parametrize("arguments", [["--help"], ["secret"], ["check", "-c", "config.toml"]])
@pytest.mark.processes
def test_a_reader_that_is_gone_is_no_fault(
    environment: dict[str, str], config: Path, arguments: list[str]
) -> None:
    """Output into a pipe that nobody reads any more ends as for other programs: 141, quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "bridge", *arguments],
            stdout=writing, stderr=subprocess.PIPE, check=False, timeout=PATIENCE,
            cwd=config.parent, env=environment,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.processes
def test_a_pipe_gets_plain_aligned_text(shell: Shell, filled: Filled) -> None:
    """Into a pipe a table has aligned columns, no frames, no colours, and no cut lines."""
    ran = shell(f"smsbridge deliveries list -c {filled.config} | cat", COLUMNS="20")
    first, *rest = ran.stdout.splitlines()
    assert first.split() == [
        "id", "message_id", "endpoint", "state", "attempts", "next_at", "reason",
    ]  # fmt: skip
    column = first.index("endpoint")
    assert {line[column:].split()[0] for line in rest} == {"crm", "other"}
    assert ran.stdout.isascii()
