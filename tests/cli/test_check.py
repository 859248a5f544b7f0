"""`smsbridge check` refuses what `run` would, and says what would run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.signing import SCHEMES, standard_webhooks_ed25519
from tests.cli.conftest import SECRET, Ran
from tests.patience import PATIENCE

Smsbridge = Callable[..., Ran]


def test_a_right_config_says_what_would_run(smsbridge: Smsbridge, config: Path) -> None:
    """Listeners, providers with evidence, endpoints and the store, without any secret."""
    ran = smsbridge("check", "-c", config, "--json")
    assert ran.code == 0
    plan = ran.document
    assert plan["ok"] is True
    assert plan["store"] == f"sqlite:///{config.parent}/bridge.db"
    assert plan["smtp"]["listen"] == ["127.0.0.1:2525"]
    (agile,) = plan["providers"]
    assert (agile["time_zone"], agile["trust"]) == ("Europe/Rome", ["anyone"])
    crm, other = plan["endpoints"]
    assert (crm["url"], crm["secrets"]) == ("https://crm.internal/…", 1)
    assert (crm["digest"], crm["pull_tokens"]) == (None, 0)
    assert other["concurrency"] == 10
    text = smsbridge("check", "-c", config).out
    for hidden in (SECRET, "pass", "t0ken"):
        assert hidden not in ran.out
        assert hidden not in text
    assert "agile" in text


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (SECRET, "hunter2", "line 12: endpoints.crm.secret: a signing secret begins with whsec_"),
        ('time_zone = "Europe/Rome"', "", "line 4: providers.agile.time_zone: "),
        ('name = "agile"', 'name = "agil"', "line 5: providers.agil.name: 'agil' is no built-in"),
        (
            "[[endpoints]]",
            '[[endpoints]]\nscheme = "hmac"',
            "line 10: endpoints.crm.scheme: 'hmac' is not a signing scheme",
        ),
        ("min_free = 0", "min_fre = 0", "line 3: store.min_fre: unknown key"),
        (
            "[store]",
            '[smtp]\ntls_certificate = "c.pem"\ntls_key = "k.pem"\n[store]',
            "line 3: smtp.tls_certificate: ",
        ),
        ("min_free = 0", 'url = "postgresql://u:hunter2@h:port/d"', "line 3: store.url: "),
    ],
)
def test_what_run_would_refuse_is_refused(
    smsbridge: Smsbridge, config: Path, old: str, new: str, sentence: str
) -> None:
    """Secrets, presets, certificates and the store's URL are tried, and the exit code is 1."""
    config.write_text(config.read_text().replace(old, new))
    ran = smsbridge("check", "-c", config)
    assert ran.code == 1
    assert f"{config}: {sentence}" in ran.err
    assert "hunter2" not in ran.err
    ran = smsbridge("check", "-c", config, "--json")
    assert (ran.code, ran.document["ok"]) == (1, False)
    assert any(sentence in problem for problem in ran.document["problems"])


def test_several_wrong_secrets_are_told_at_once(smsbridge: Smsbridge, config: Path) -> None:
    """Each endpoint's secret is tried, also after one failed."""
    config.write_text(config.read_text().replace(SECRET, "hunter2"))
    err = smsbridge("check", "-c", config).err
    assert "endpoints.crm.secret" in err
    assert "endpoints.other.secret" in err


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("", "no [[providers]]"),
        ("", "no [[endpoints]]"),
        ("[smtp]\nlisten = []", "no mail can come in"),
        ("[smtp]\nlisten = [':2525']", "smtp.recipients is empty"),
        ("[http]\nlisten = '0.0.0.0:8080'", "open to the network"),
        (
            "[[providers]]\nname = 'agile'\ntime_zone = 'Europe/Rome'\ntrust = { anyone = true }",
            "anyone = true",
        ),
        (
            (
                "[[providers]]\nname = 'agile'\ntime_zone = 'Europe/Rome'\n"
                "trust = { authserv_id = { id = 'mx', dkim = ['a.example'] } }"
            ),
            "mailbox-only evidence (authserv_id) isn't available for SMTP",
        ),
        (
            (
                "[[providers]]\nname = 'agile'\ntime_zone = 'Europe/Rome'\n"
                "senders = ['@a.example']\n"
                "trust = { authserv_id = { id = 'mx', dkim = ['mails.a.example', 'esp.example'] } }"
            ),
            "whoever sends through esp.example can make messages up",
        ),
        (
            f"[[endpoints]]\nname = 'crm'\nurl = 'http://crm.internal'\nsecret = '{SECRET}'",
            "http:// sends numbers and texts readable",
        ),
        (
            f"[[endpoints]]\nname='crm'\nurl='https://a.b'\nsecret='{SECRET}'\nto=['333 1234333']",
            "333****4333 has no country code",
        ),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(
    smsbridge: Smsbridge, config: Path, text: str, warning: str
) -> None:
    """A doubtful config is right, exit 0, with a warning."""
    config.write_text(text)
    ran = smsbridge("check", "-c", config, "--json")
    assert ran.code == 0
    assert any(warning in each for each in ran.document["warnings"])
    assert warning in smsbridge("check", "-c", config).out


def test_a_config_that_is_well_meant_has_no_warning(smsbridge: Smsbridge, config: Path) -> None:
    """Loopback, evidence, https and a private file are nothing to warn of."""
    good = config.read_text().replace("anyone = true", 'networks = ["127.0.0.1/32"]')
    config.write_text(good)
    assert smsbridge("check", "-c", config, "--json").document["warnings"] == []


def test_the_stream_of_an_endpoint_is_in_the_plan(smsbridge: Smsbridge, config: Path) -> None:
    """How often a digest comes, and how many tokens open the events: never which."""
    tokens = 'digest = "30m"\npull_tokens = ["0123456789abcdef", "fedcba9876543210"]\nsecret ='
    config.write_text(config.read_text().replace("secret =", tokens, 1))
    plan = smsbridge("check", "-c", config, "--json")
    assert (
        plan.document["endpoints"][0]["digest"],
        plan.document["endpoints"][0]["pull_tokens"],
    ) == (
        1800.0,
        2,
    )
    text = smsbridge("check", "-c", config).out
    assert re.search(r"rate +digest +pull_tokens\n", text)
    assert re.search(r"crm .* 1800\.0 +2\n", text)
    assert "0123456789abcdef" not in plan.out + text


def test_secrets_in_a_file_that_everybody_reads_are_warned_of(
    smsbridge: Smsbridge, config: Path
) -> None:
    """A world-readable config with plain secrets names them, and not their values."""
    token = 'pull_token = "0123456789abcdef"\nsecret ='
    config.write_text(config.read_text().replace("secret =", token))
    config.chmod(0o644)
    ran = smsbridge("check", "-c", config, "--json")
    assert any(
        "chmod 640" in each and "the secret of endpoints.crm" in each
        for each in ran.document["warnings"]
    )
    assert SECRET not in ran.out
    assert any("the pull_token of endpoints.crm" in each for each in ran.document["warnings"])
    assert "0123456789abcdef" not in ran.out


def test_secrets_of_posts_and_of_a_failover_are_warned_of(
    smsbridge: Smsbridge, config: Path
) -> None:
    """Who reads the token makes SMS up; the failover's URL may hold a password."""
    config.write_text(
        "[posts]\nlisten = ['127.0.0.1:0']\n"
        "[[providers]]\nname = 'url_networks'\n"
        "[providers.post]\ntoken = 'hunter2-hunter2-hunter2'\n"
        f"[[endpoints]]\nname = 'crm'\nurl = 'https://crm.internal'\nsecret = '{SECRET}'\n"
        "failover = { url = 'https://us:hunter2@standby.internal' }\n"
    )
    config.chmod(0o644)
    ran = smsbridge("check", "-c", config, "--json")
    warnings = " ".join(ran.document["warnings"])
    assert "the token of providers.url_networks.post" in warnings
    assert "a password in the failover's URL of endpoints.crm" in warnings
    assert "hunter2" not in ran.out


def test_no_config_at_all_is_exit_2(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """Nothing to check is not the same as something wrong."""
    ran = smsbridge("check")
    assert (ran.code, "name it with -c or SMSBRIDGE_CONFIG" in ran.err) == (2, True)
    assert smsbridge("check", "-c", tmp_path / "none.toml").code == 2


def test_credentials_are_named_and_not_shown(smsbridge: Smsbridge, config: Path) -> None:
    """The plan says how an endpoint is authenticated to, without any value."""
    key = SCHEMES["standard-webhooks-ed25519"].generate_secret()
    config.write_text(
        "[[endpoints]]\nname = 'crm'\nurl = 'https://crm.internal'\nbearer = 'hunter2'\n"
        f"secret = '{key}'\nscheme = 'standard-webhooks-ed25519'\n"
        "headers = { X-Key = 'hunter2' }\nproxy = 'http://u:hunter2@proxy.internal:3128'\n"
        "[[endpoints]]\nname = 'open'\nurl = 'https://open.internal'\nscheme = 'none'\n"
    )
    config.chmod(0o644)
    ran = smsbridge("check", "-c", config, "--json")
    crm, _ = ran.document["endpoints"]
    assert (crm["login"], crm["headers"]) == ("bearer", ["X-Key"])
    assert crm["proxy"] == "http://proxy.internal:3128"
    public = standard_webhooks_ed25519.public_key(standard_webhooks_ed25519.parse_secret(key))
    assert crm["public_keys"] == [public]
    warnings = " ".join(ran.document["warnings"])
    for named in ("the secret of", "the bearer of", "a password in a URL of"):
        assert f"{named} endpoints.crm" in warnings
    assert "endpoints.open: requests are not signed" in warnings
    assert "endpoints.crm: requests are not signed" not in warnings
    text = smsbridge("check", "-c", config).out
    for hidden in ("hunter2", key):
        assert hidden not in ran.out + text


MAILBOXES = """
[[imap]]
name = "inbox"
host = "imap.example.com"
username = "sms@example.com"
password = "hunter2"
start = 2026-04-08
on_message = "move:Done"
[[imap]]
name = "google"
host = "imap.gmail.com"
username = "sms@example.com"
start = "new"
[imap.oauth]
issuer = "google"
client_id = "us"
client_secret = "hunter2-client"
refresh_token = "hunter2-refresh"
"""


def test_mailboxes_are_told_with_their_first_start(smsbridge: Smsbridge, config: Path) -> None:
    """Each mailbox is named with its login and what the first start takes, without secrets."""
    config.write_text(config.read_text() + MAILBOXES)
    ran = smsbridge("check", "-c", config, "--json")
    inbox, google = ran.document["imap"]
    assert (inbox["server"], inbox["folder"], inbox["login"], inbox["on_message"]) == (
        "imap.example.com:993", "INBOX", "password", "move:Done",
    )  # fmt: skip
    assert inbox["first_start"] == "takes the mails that are there since 2026-04-08"
    assert google["login"] == "token of oauth2.googleapis.com by refresh token"
    assert "only what comes" in google["first_start"]
    text = smsbridge("check", "-c", config).out
    assert "since 2026-04-08" in text
    assert "hunter2" not in ran.out + text


def test_mailboxes_are_a_way_in(smsbridge: Smsbridge, config: Path) -> None:
    """With a mailbox SMTP may be off; its plain secrets in an open file are warned of."""
    config.write_text("[smtp]\nlisten = []" + MAILBOXES)
    config.chmod(0o644)
    warnings = " ".join(smsbridge("check", "-c", config, "--json").document["warnings"])
    assert "no mail can come in" not in warnings
    for secret in ("password of imap.inbox", "client_secret of imap.google.oauth", "refresh_token"):
        assert secret in warnings
    assert "hunter2" not in warnings


def test_evidence_that_a_mailbox_never_has_is_warned_of(smsbridge: Smsbridge, config: Path) -> None:
    """A provider that is believed by its peer alone gets a warning beside [[imap]]."""
    text = config.read_text() + MAILBOXES
    wanted = "SMTP-only evidence (networks) isn't available for mailboxes"
    config.write_text(text)
    assert wanted not in " ".join(smsbridge("check", "-c", config, "--json").document["warnings"])
    config.write_text(text.replace("anyone = true", 'networks = ["127.0.0.1/32"]'))
    assert wanted in " ".join(smsbridge("check", "-c", config, "--json").document["warnings"])


def test_what_the_server_says_is_told(smsbridge: Smsbridge, config: Path) -> None:
    """The plan names whose word is believed, and about which domains."""
    config.write_text(
        "[[providers]]\nname = 'agile'\ntime_zone = 'Europe/Rome'\n"
        "[providers.trust]\ndkim = ['a.example']\n"
        "[providers.trust.authserv_id]\nid = 'MX.example.com'\n"
        "dkim = ['a.example']\nspf = ['B.example']\n"
    )
    ran = smsbridge("check", "-c", config, "--json")
    assert ran.document["providers"][0]["trust"] == [
        "a signature of a.example",
        "mx.example.com says dkim=pass of a.example",
        "mx.example.com says spf=pass of b.example",
    ]
    assert not any("mailbox" in each for each in ran.document["warnings"])


def test_a_pinned_ca_that_is_none_is_refused(
    smsbridge: Smsbridge, config: Path, tmp_path: Path
) -> None:
    """A CA file that is missing or holds no certificate is wrong, as `run` would find."""
    config.write_text(
        config.read_text() + MAILBOXES.replace("start =", "tls_ca = 'ca.pem'\nstart =", 1)
    )
    assert "imap.inbox.tls_ca: " in smsbridge("check", "-c", config).err
    (tmp_path / "ca.pem").write_text("no certificate")
    assert "holds no PEM certificate" in smsbridge("check", "-c", config).err


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('[smtp]\nhostname = "bad host!"\n', "smtp.hostname"),
        ('[http]\nlisten = "localhost"\n', "http.listen"),
        ('[http]\nlisten = "crm.internal:8080"\n', "http.listen"),
        ('[smtp]\ntls_certificate = "no.pem"\ntls_key = "no.key"\n', "smtp.tls_certificate"),
        (MAILBOXES.replace("start =", "tls_ca = 'ca.pem'\nstart =", 1), "imap.inbox.tls_ca"),
        (
            MAILBOXES.replace("start =", "tls_ca = 'config.toml'\nstart =", 1),
            "imap.inbox.tls_ca",
        ),
        ('[[providers]]\nname = "nobody"\ntrust = { anyone = true }\n', "providers.nobody.name"),
        (
            '[[endpoints]]\nname = "third"\nurl = "https://x.example"\nsecret = "whsec_x"\n',
            "endpoints.third.secret",
        ),
    ],
)
@pytest.mark.processes
def test_check_refuses_what_run_refuses_in_the_same_words(
    smsbridge: Smsbridge, config: Path, table: str, key: str, environment: dict[str, str]
) -> None:
    """Both build by the same code, so the sentence, the file and the line are the same."""
    config.write_text(config.read_text() + table)
    checked = smsbridge("check", "-c", config)
    ran = subprocess.run(
        [sys.executable, "-m", "bridge", "run", "-c", config],
        env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (checked.code, ran.returncode) == (1, 2)
    assert key in checked.err
    assert checked.err.strip() == ran.stderr.strip().removeprefix("smsbridge: ")


def test_check_shows_the_format(smsbridge: Smsbridge, config: Path) -> None:
    """The format, and the scheme and timeout that come with it."""
    text = config.read_text()
    config.write_text(
        text + '\n[[endpoints]]\nname = "old"\nurl = "https://old.internal"\nformat = "agile"\n'
    )
    ran = smsbridge("check", "-c", config, "--json")
    assert ran.code == 0
    crm, *_, old = ran.document["endpoints"]
    assert (crm["format"], crm["scheme"], crm["timeout"]) == (
        "sms.received",
        "standard-webhooks",
        20,
    )
    assert (old["format"], old["scheme"], old["timeout"]) == ("agile", "none", 30)
    assert any("old: requests are not signed" in each for each in ran.document["warnings"])
    assert "agile" in smsbridge("check", "-c", config).out
    config.write_text(config.read_text().replace('format = "agile"', 'format = "agil"'))
    ran = smsbridge("check", "-c", config)
    assert ran.code == 1
    assert "endpoints.old.format: 'agil' is not a format, did you mean 'agile'?" in ran.err


def test_check_shows_the_posts(smsbridge: Smsbridge, config: Path) -> None:
    """Where they come in, and of which providers; tokens beyond this machine in clear are told."""
    posts = (
        '[posts]\nlisten = ["0.0.0.0:8081"]\npublic_url = "https://sms.example.com"\n'
        "[[providers]]\nname = 'url_networks'\npost = { token = '0123456789abcdef' }\n"
    )
    config.write_text(f"{config.read_text()}\n{posts}")
    shown = smsbridge("check", "-c", config).out
    assert re.search(r"^posts.listen +0\.0\.0\.0:8081$", shown, re.MULTILINE)
    assert re.search(r"^posts.public_url +https://sms.example.com$", shown, re.MULTILINE)
    (row,) = (line for line in shown.splitlines() if line.startswith("url_networks"))
    assert row.split()[-1] == "yes"
    warned = "posts.listen is beyond this machine: tokens and texts can be read on the way"
    assert warned in shown
    config.write_text(config.read_text().replace("0.0.0.0", "127.0.0.1"))
    assert warned not in smsbridge("check", "-c", config).out
