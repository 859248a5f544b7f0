"""`smsbridge init`: a config that works at once, with modes that keep secrets."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.providers import PRESETS
from tests.cli.conftest import Ran
from tests.documents import blocks, page
from tests.patience import PATIENCE

Smsbridge = Callable[..., Ran]
URL = "http://127.0.0.1:9000/hooks/sms"
# Some formats need more: their numbers, zones and senders are the operator's own.
NEEDED = {
    "agile": ("--time-zone", "Europe/Rome"),
    "dbus_sms_forward": ("--to", "+4930123456", "--time-zone", "Asia/Shanghai"),
    "httpsms2email": ("--to", "+4930123456", "--sender", "sms@posts.example"),
    "raspisms": ("--time-zone", "Europe/Paris"),
    "routeros_scripts": ("--to", "+4930123456"),
    "routeros_sms": ("--to", "+4930123456"),
    "sms2email": ("--time-zone", "Europe/Moscow", "--to", "+4930123456"),
    "sms2email_app": ("--to", "+4930123456"),
    "sms2mail_android": ("--to", "+4930123456"),
    "sms2mail_msmtp": ("--to", "+4930123456", "--sender", "sms@msmtp.example"),
    "sms_to_email_forwarder": ("--time-zone", "Europe/London", "--to", "+4930123456"),
    "smsforwarder": (
        "--sender", "phone@example.com", "--to", "+4930123456", "--time-zone", "Asia/Shanghai",
    ),
    "smsrelay": ("--sender", "smsrelay@example.com"),
    "telnyx_demo": ("--to", "+4930123456"),
    "telnyx_sms2email": ("--to", "+4930123456"),
    "zte_sms": ("--to", "+4930123456", "--sender", "router@example.com"),
    "freepbx": ("--sender", "pbx@example.com"),
    "kalkun": ("--to", "+628110000001"),
    "lox24": ("--sender", "sms@example.com"),
    "openvbx": ("--to", "+14155550100"),
    "playsms": ("--time-zone", "Asia/Jakarta"),
    "sms_backup_plus": ("--to", "+4915112345678"),
    "twilio_mail": ("--to", "+14155550100"),
    "url_networks": ("--sender", "sms@pbx.example"),
}  # fmt: skip


def arguments(provider: str = "agile", *more: str | Path) -> tuple[str | Path, ...]:
    """Return the options of a complete command line."""
    given = ("--provider", provider, "--trust", "networks=127.0.0.0/8", "--url", URL)
    return (*given, *NEEDED.get(provider, ()), *more)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_config_and_a_secret_that_work(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """Both are written for their owner alone, and `check` ends the command."""
    folder = tmp_path / "new"
    ran = smsbridge("init", folder, *arguments(), "--json")
    assert (ran.code, ran.document["ok"]) == (0, True)
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        "config.toml": 0o600,
        "crm.secret": 0o600,
    }
    settings = load(folder / "config.toml")
    (endpoint,) = settings.endpoints
    assert endpoint.signing_secrets[0].get_secret_value().startswith("whsec_")
    assert (str(endpoint.url), settings.providers[0].time_zone) == (URL, "Europe/Rome")
    assert settings.store.url == f"sqlite:///{folder}/bridge.db"


@pytest.mark.parametrize("provider", sorted(PRESETS))
def test_every_format_is_set_up(smsbridge: Smsbridge, tmp_path: Path, provider: str) -> None:
    """What a format needs and nobody said is named by its option; with it the config is valid."""
    folder = tmp_path / "new"
    if provider in NEEDED:
        option, value, *_ = NEEDED[provider]
        given = [each for each in arguments(provider) if each not in (option, value)]
        ran = smsbridge("init", folder, *given)
        assert (ran.code, f"{option}: " in ran.err) == (2, True), ran.err
        assert not folder.exists()
    assert smsbridge("init", folder, *arguments(provider)).code == 0


def test_a_secret_address_is_made(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """A domain alone becomes an address that nobody guesses, which only the config names."""
    swapped = {"networks=127.0.0.0/8": "recipients=@in.example.com"}
    given = [swapped.get(str(each), each) for each in arguments()]
    ran = smsbridge("init", tmp_path / "new", *given)
    assert ran.code == 0, ran.err
    (address,) = load(tmp_path / "new" / "config.toml").providers[0].trust.recipients
    assert re.fullmatch(r"sms-[0-9a-f]{24}@in\.example\.com", address)
    assert address not in ran.out + ran.err
    assert "must send its mails to the secret address" in ran.out


def test_nothing_is_overwritten(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """One file that is there stops it, and the others are not written."""
    (tmp_path / "crm.secret").write_text("mine")
    ran = smsbridge("init", tmp_path, *arguments())
    assert (ran.code, "crm.secret exists already" in ran.err) == (2, True)
    assert (tmp_path / "crm.secret").read_text() == "mine"
    assert not (tmp_path / "config.toml").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--url", "ftp://x"), "endpoints.crm.url: must begin with http"),
        (("--endpoint", "C R M"), "is no name"),
        (("--listen", "localhost"), "has no port"),
        (("--trust", "networks=10.0.0.1/8"), "some bits after the prefix are set"),
        (("--trust", "hearsay=yes"), "'hearsay' is no kind of evidence"),
        (("--time-zone", "Rome"), "--time-zone: 'Rome' is no IANA"),
        (("--region", "italy"), "--region: "),
        (("--store", "mysql://x"), "store.url"),
        (("--provider", "agil"), "no built-in format"),
    ],
)
def test_an_invalid_config_is_not_written(
    smsbridge: Smsbridge, tmp_path: Path, wrong: tuple[str, str], said: str
) -> None:
    """A mistake is a sentence, and no file of it stays."""
    ran = smsbridge("init", tmp_path / "new", *arguments(), *wrong)
    assert (ran.code, said in ran.err) == (2, True), ran.err
    assert not list((tmp_path / "new").glob("*"))


def test_odd_characters_stay_text(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """A quote, a backslash or a DEL in an answer can't break out of its string."""
    url = 'http://127.0.0.1/"\\x?a="]'
    ran = smsbridge("init", tmp_path / "new", *arguments("agile", "--url", url))
    assert ran.code == 0, ran.err
    assert "127.0.0.1" in str(load(tmp_path / "new" / "config.toml").endpoints[0].url)


def test_a_service_gets_its_group_and_a_drop_in(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """With --systemd the daemon's group may read, the store has a folder, the unit a drop-in."""
    user = pwd.getpwuid(os.getuid())
    folder, units, state = tmp_path / "etc", tmp_path / "units", tmp_path / "state"
    ran = smsbridge(
        "init", folder, *arguments(), "--systemd", "--user", user.pw_name, "--units", units,
        "--store", f"sqlite:///{state}/bridge.db", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    secret = folder / "secrets" / "crm"
    assert [mode(each) for each in (folder / "config.toml", secret)] == [0o640, 0o640]
    assert [mode(each) & 0o007 for each in (folder, folder / "secrets")] == [0, 0]
    assert (mode(state), secret.stat().st_gid) == (0o700, user.pw_gid)
    drop_in = units / "smsbridge.service.d" / "init.conf"
    assert (mode(drop_in.parent), mode(drop_in)) == (0o755, 0o644)
    (start,) = [line for line in drop_in.read_text().splitlines() if line.startswith("ExecStart=/")]
    assert start.endswith(f" run -c {folder / 'config.toml'}")
    command = start.removeprefix("ExecStart=").split(" run ")[0]
    reload = f"{command} reload --pid ${{MAINPID}} -c {folder / 'config.toml'}"
    assert f"ExecReload=\nExecReload=/bin/true\nExecReload={reload}\n" in drop_in.read_text()


def test_a_missing_account_is_a_sentence(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """Nothing is written for an account that does not exist."""
    ran = smsbridge(
        "init", tmp_path / "etc", *arguments(), "--systemd", "--user", "nobody-here",
        "--units", tmp_path / "units",
    )  # fmt: skip
    assert (ran.code, "no account 'nobody-here'" in ran.err) == (2, True)
    assert not (tmp_path / "etc").exists()


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (".venv/bin/smsbridge", ".venv/bin/smsbridge"),
        ("/usr/local/bin/smsbridge", "smsbridge"),
        ("/somewhere/bridge/__main__.py", "smsbridge"),
    ],
)
def test_the_next_commands_can_be_copied(
    smsbridge: Smsbridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, shown: str
) -> None:
    """In a checkout, smsbridge isn't on the PATH."""
    monkeypatch.setattr("sys.argv", [typed, "init"])
    lines = smsbridge("init", tmp_path / "new", *arguments()).out.splitlines()
    start = lines.index("Next:") + 1
    assert [line.split()[:2] for line in lines[start:]] == [[shown, "run"], [shown, "send-test"]]


def test_a_service_is_started_and_tested_as_its_user(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """Enabled, or it is gone after the next boot; its socket, too, if that holds the port."""
    user = pwd.getpwuid(os.getuid()).pw_name
    ran = smsbridge(
        "init", tmp_path / "etc", *arguments(), "--systemd", "--user", user, "--units", tmp_path,
        "--store", f"sqlite:///{tmp_path}/bridge.db", "--listen", "systemd:smtp",
    )  # fmt: skip
    start, test = ran.out.splitlines()[-2:]
    assert start.strip() == "systemctl enable --now smsbridge.socket smsbridge.service"
    assert test.strip() == f"sudo -u {user} smsbridge send-test -c {tmp_path}/etc/config.toml"


def test_the_readme_shows_what_it_writes(
    smsbridge: Smsbridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's first command, as written, gives the config that the README shows."""
    text = page("README.md")
    (line,) = re.findall(r"^    \.venv/bin/smsbridge (init .*)$", text, re.MULTILINE)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert smsbridge(*shlex.split(line)).code == 0
    written = load(Path("config.toml"))
    Path("shown.toml").write_text(blocks(text, "toml")[0])
    assert written == load(Path("shown.toml"))


@pytest.mark.processes
def test_it_asks_on_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    """On a real terminal the answers replace the options; a wrong zone is asked for again."""
    answers = ["agile", "networks", "127.0.0.0/8", "Rome", "Europe/Rome", URL]
    ours, theirs = os.openpty()
    with os.fdopen(ours, "wb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "init", "."],
            stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=tmp_path, env=environment,
        )  # fmt: skip
        os.close(theirs)
        # The terminal keeps the lines until they are read.
        terminal.write("".join(f"{each}\n" for each in answers).encode())
        shown, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, shown.decode()
    assert b"'Rome' is no IANA time zone" in shown
    assert load(tmp_path / "config.toml").providers[0].time_zone == "Europe/Rome"
