"""A bad config is refused with sentences that say where it is wrong and what to write instead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.config.load import find_config, load, load_file
from bridge.errors import ConfigError, ConfigErrors

ENDPOINT = '[[endpoints]]\nname = "crm"\nurl = "https://crm.internal/sms"\nsecret = "whsec_x"\n'
PROVIDER = '[[providers]]\nname = "agile"\n[providers.trust]\nanyone = true\n'

# TOML, and the line that it must bring, after "config.toml: ".
BAD = [
    ("[smtp]\nlisen = []", "line 2: smtp.lisen: unknown key 'lisen', did you mean 'listen'?"),
    ("[smpt]\nlisten = []", "line 1: smpt: unknown key 'smpt', did you mean 'smtp'?"),
    (
        "[delivery]\nmin_free = 1",
        "line 2: delivery.min_free: unknown key 'min_free' here: it belongs to [store]",
    ),
    (
        "lisen = 1",
        (
            "line 1: lisen: unknown key 'lisen', did you mean 'listen'? "
            "It belongs to [smtp] or [posts] or [http]"
        ),
    ),
    (
        "[log]\ncolour = 1",
        "line 2: log.colour: unknown key 'colour': known here are level, format",
    ),
    (
        "_cli_parse_args = 'x'",
        (
            "line 1: _cli_parse_args: unknown key '_cli_parse_args': known here are "
            "store, smtp, imap, posts, http, log, delivery, retention, providers, endpoints"
        ),
    ),
    ("smtp = 3", "line 1: smtp: must be a table"),
    (
        "[endpoints]\nname = 'x'",
        "line 1: endpoints: must be a list of tables: write [[endpoints]] with two brackets",
    ),
    ("[smtp]\nlisten = ':25'", 'line 2: smtp.listen: must be a list, like ["…", "…"]'),
    (
        "[smtp]\nlisten = [\n  ':25',\n  'host:25',\n]",
        (
            "line 2: smtp.listen[1]: 'host:25' has no IP address: host names are not looked up, "
            "use 127.0.0.1 or [::1]"
        ),
    ),
    (
        "[http]\nlisten = '8080'",
        "line 2: http.listen: '8080' has no port: write it like \"127.0.0.1:2525\"",
    ),
    (
        "[smtp]\nmax_connections = '5'",
        "line 2: smtp.max_connections: must be a whole number, without quotes",
    ),
    (
        "[smtp]\nmax_connections = true",
        "line 2: smtp.max_connections: must be a whole number, without quotes",
    ),
    ("[smtp]\nmax_connections = 0", "line 2: smtp.max_connections: must be at least 1"),
    (
        "[smtp]\nmax_message = '10 furlongs'",
        (
            "line 2: smtp.max_message: must be a whole number of bytes, "
            'or like "64KiB", "10MiB", "1GiB"'
        ),
    ),
    ("[smtp]\nmax_message = 0", "line 2: smtp.max_message: must be more than 0"),
    ("[store]\nmin_free = -1", "line 2: store.min_free: must be at least 0"),
    (
        "[smtp]\nidle_timeout = true",
        'line 2: smtp.idle_timeout: must be a number of seconds, or like "20s", "5m", "6h", "7d"',
    ),
    ("[smtp]\nidle_timeout = 0", "line 2: smtp.idle_timeout: must be more than 0"),
    ("[delivery]\ntimeout = '367d'", "line 2: delivery.timeout: must be at most 31622400"),
    ("[delivery]\ntimeout = nan", "line 2: delivery.timeout: must be more than 0"),
    ("[delivery]\nschedule = []", "line 2: delivery.schedule: must not be empty"),
    (
        '[delivery]\nschedule = ["2s"]',
        "line 2: delivery.schedule: the first try is made at once: let it begin with 0",
    ),
    ("[smtp]\nhostname = 5", "line 2: smtp.hostname: must be a text in quotes"),
    (
        "[smtp]\ntls_key = 'k.pem'",
        "line 1: smtp: tls_certificate and tls_key belong together: set both or none",
    ),
    (
        "[smtp]\ntls_listen = [':465']",
        "line 1: smtp: tls_listen needs tls_certificate and tls_key",
    ),
    (
        "[smtp]\nrecipients = ['sms']",
        (
            'line 2: smtp.recipients[0]: must be an address ("sms@example.com") '
            'or a domain ("@example.com")'
        ),
    ),
    (
        "[log]\nlevel = 'warn'",
        "line 2: log.level: must be one of 'debug', 'info', 'warning', 'error'",
    ),
    (
        "[store]\nurl = 'mysql://u:hunter2@h/d'",
        "line 2: store.url: must begin with sqlite:/// or postgresql://",
    ),
    (
        "[store]\nurl = 'sqlite:///:memory:'",
        "line 2: store.url: must name a file after sqlite:///: nothing is kept in memory only",
    ),
    (
        "[[providers]]\nname = 'agile'",
        (
            "line 1: providers.agile.trust: is missing: write a [providers.trust] table with "
            "networks, recipients, dkim, authserv_id or anyone = true: "
            "no mail is believed without evidence"
        ),
    ),
    (
        "[[providers]]\nname = 'agile'\n[providers.trust]\nanyone = false",
        (
            "line 3: providers.agile.trust: name at least one kind of evidence: "
            "networks, recipients, dkim, authserv_id, or anyone = true"
        ),
    ),
    (
        PROVIDER + "networks = ['10.0.0.1/8']",
        (
            "line 5: providers.agile.trust.networks[0]: '10.0.0.1/8' is no network like "
            '"192.0.2.0/24": some bits after the prefix are set'
        ),
    ),
    (
        PROVIDER + "recipients = ['@example.com']",
        (
            "line 5: providers.agile.trust.recipients[0]: must be a whole address: "
            "what stands before its @ is the evidence"
        ),
    ),
    (
        PROVIDER + "recipients = ['sms-7f3a@example.com']",
        (
            "line 5: providers.agile.trust.recipients[0]: can be guessed, since what stands "
            "before its @ has at most 16 random bits, and whoever guesses it is believed: "
            "use at least 80, such as 16 random letters and digits "
            '(python3 -c "import secrets; print(secrets.token_hex(10))" makes them)'
        ),
    ),
    (
        PROVIDER + "authserv_id = { id = 'mx' }",
        (
            "line 5: providers.agile.trust.authserv_id: name what must have passed, and for whom: "
            'dkim = ["example.com"]'
        ),
    ),
    (
        PROVIDER + "authserv_id = { dkim = ['a.example'] }",
        'line 5: providers.agile.trust.authserv_id.id: is missing: write id = "mx.example.com"',
    ),
    (
        PROVIDER + "authserv_id = { id = 'mx', dkim = ['@a.example'] }",
        (
            "line 5: providers.agile.trust.authserv_id.dkim[0]: '@a.example' is no domain like "
            '"example.com" (letters beyond ASCII as xn--…, no @, no *)'
        ),
    ),
    (
        PROVIDER + "authserv_id = { id = 'mx; x', dkim = ['a.example'] }",
        (
            "line 5: providers.agile.trust.authserv_id.id: must be what the server writes first in "
            'the header, like "mx.google.com"'
        ),
    ),
    (
        PROVIDER.replace("true", "'yes'"),
        "line 4: providers.agile.trust.anyone: must be true or false, without quotes",
    ),
    (
        "[[providers]]\nname = 'agile'\ntime_zone = 'Europe/Rom'\ntrust = { anyone = true }",
        "line 3: providers.agile.time_zone: 'Europe/Rom' is no IANA time zone (like Europe/Rome)",
    ),
    (
        "[[providers]]\nname = 'agile'\nlabels = { form = ['x'] }\ntrust = { anyone = true }",
        ("line 3: providers.agile.labels.form: unknown key 'form', did you mean 'from'?"),
    ),
    (
        "[[providers]]\nname = 'agile'\nfooters = ['']\ntrust = { anyone = true }",
        (
            "line 3: providers.agile.footers[0]: must be text from the mail: one line, "
            "1 to 100 characters"
        ),
    ),
    (
        "[[providers]]\nname = 'agile'\nregion = 'it'\ntrust = { anyone = true }",
        (
            "line 3: providers.agile.region: 'it' is no region: "
            "two capital letters, like IT (ISO 3166)"
        ),
    ),
    (
        "[[providers]]\nname = 'A b'\ntrust = { anyone = true }",
        (
            "line 2: providers.A b.name: 'A b' is no name: "
            "lower-case letters, digits, - and _, at most 63 of them"
        ),
    ),
    (
        PROVIDER + PROVIDER,
        "line 1: providers: the name 'agile' is used 2 times: names must be unique",
    ),
    (
        ENDPOINT + ENDPOINT,
        "line 1: endpoints: the name 'crm' is used 2 times: names must be unique",
    ),
    (
        PROVIDER + ENDPOINT + "providers = ['agil']",
        (
            "line 5: endpoints: crm wants messages of provider 'agil', "
            "which is not in [[providers]], did you mean 'agile'?"
        ),
    ),
    (
        "[[endpoints]]\nurl = 'https://x'\nsecret = 'whsec_x'",
        'line 1: endpoints[0].name: is missing: write name = "crm"',
    ),
    (
        ENDPOINT.replace("https://crm.internal/sms", "crm.internal"),
        'line 3: endpoints.crm.url: must be a URL, like "https://crm.internal/sms"',
    ),
    (
        ENDPOINT.replace("https", "ftp"),
        "line 3: endpoints.crm.url: must begin with http:// or https://",
    ),
    (
        ENDPOINT.replace("/sms", "/sms#top"),
        "line 3: endpoints.crm.url: has a #fragment, which is never sent: leave it out",
    ),
    (
        ENDPOINT.replace("secret = ", "secert = "),
        "line 4: endpoints.crm.secert: unknown key 'secert', did you mean 'secret'?",
    ),
    (
        ENDPOINT.replace('secret = "whsec_x"', ""),
        "line 1: endpoints.crm: set secret, or secrets = [new, old] while rotating, and not both",
    ),
    (
        f'{ENDPOINT}pull_token = "{"p" * 16}"\npull_tokens = ["{"q" * 16}"]\n',
        (
            "line 1: endpoints.crm: set pull_token, or pull_tokens = [new, old] while changing it, "
            "and not both"
        ),
    ),
    (
        f'{ENDPOINT}pull_tokens = ["{"p" * 16}", "short"]\n',
        (
            "line 5: endpoints.crm.pull_tokens[1]: a token has at least 16 characters "
            "(`smsbridge secret`)"
        ),
    ),
    (
        f'http.listen = ""\n{ENDPOINT}pull_tokens = ["{"p" * 16}"]\n',
        (
            "line 2: endpoints: crm.pull_tokens has no effect without an address in [http] listen: "
            "set one"
        ),
    ),
    (
        ENDPOINT + 'behind = "pass"\n',
        'line 1: endpoints.crm: behind has no effect without order = "conversation"',
    ),
    (
        ENDPOINT.replace('"whsec_x"', '{ env = "SMSBRIDGE_TEST_UNSET" }'),
        "line 4: endpoints.crm.secret: environment variable 'SMSBRIDGE_TEST_UNSET' is not set",
    ),
    (
        ENDPOINT.replace('"whsec_x"', "5"),
        (
            'line 4: endpoints.crm.secret: must be a string, { credential = "…" }, '
            '{ file = "…" } or { env = "…" }'
        ),
    ),
    # Syntax.
    (
        "[log]\nlevel = debug",
        "line 2, column 9: is not TOML: a value is expected here; strings need quotes",
    ),
    ("[log]\n[log]", "line 2, column 5: is not TOML: the table [log] is there twice"),
    (
        "[log]\nlevel = 'info'\nlevel = 'debug'\n",
        "line 3, column 16: is not TOML: this key is there twice",
    ),
    ("[log]\nlevel = '''info", "line 2 (the end): is not TOML: expected \"'''\""),
]


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> list[str]:
    """Load a config that must be refused; give its lines without the folder."""
    with pytest.raises(ConfigErrors) as caught:
        load(write(folder, text))
    return [line.removeprefix(f"{folder}/config.toml: ") for line in caught.value.lines]


@pytest.mark.parametrize(("text", "line"), BAD)
def test_each_mistake_has_its_sentence(tmp_path: Path, text: str, line: str) -> None:
    """A mistake brings one line with file, line, key and what to write instead."""
    assert line in refusal(tmp_path, text)


def test_no_sentence_speaks_of_the_machinery(tmp_path: Path) -> None:
    """No message names the validation library, its error types or its web site."""
    for text, _ in BAD:
        for line in refusal(tmp_path, text):
            assert not any(word in line.lower() for word in ("pydantic", "input", "value error"))


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Several mistakes bring several lines, from the top of the file to its end."""
    lines = refusal(tmp_path, "[log]\nlevel = 'x'\n[smtp]\nlisen = []\nmax_recipients = 0\n")
    assert [line.split(":")[0] for line in lines] == ["line 2", "line 4", "line 5"]


def test_a_secret_is_never_repeated(tmp_path: Path) -> None:
    """A mistake beside, in or around a secret does not bring the secret to the screen."""
    secret = "whsec_c2VjcmV0c2VjcmV0"
    for text in (
        f"[[endpoints]]\nname = 'crm'\nsecret = '{secret}'",
        f"[[endpoints]]\nname = 'crm'\nsecret = {secret}",
        f"[[endpoints]]\nname = 'crm'\nsecret = ['{secret}']",
        f"[[endpoints]]\nname = 'crm'\nsecret = '{secret}'\nsecrets = ['{secret}']",
        f"[[endpoints]]\nname = 'crm'\nsecret = {{ plain = '{secret}' }}",
        f"[store]\nurl = 'postgres://u:{secret}@h/d'",
        f"[[providers]]\nname = 'agile'\ntrust = {{ recipients = ['{secret}'] }}",
    ):
        assert secret not in "".join(refusal(tmp_path, text))


def test_a_loaded_config_does_not_print_its_secrets(tmp_path: Path) -> None:
    """repr() of the settings shows neither an endpoint's secret nor the database's password."""
    path = write(tmp_path, ENDPOINT + "[store]\nurl = 'postgresql://u:hunter2@h/d'\n")
    shown = repr(load(path))
    assert "whsec_x" not in shown
    assert "hunter2" not in shown


def test_relative_paths_start_from_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database, certificate and secret files are found whatever the working directory is."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "s").write_text("whsec_y\n")
    (tmp_path / "s").chmod(0o600)
    path = write(
        tmp_path,
        "[smtp]\ntls_certificate = 'c.pem'\ntls_key = '/k.pem'\n"
        + ENDPOINT.replace('"whsec_x"', '{ file = "s" }'),
    )
    monkeypatch.chdir(elsewhere)
    settings = load(Path("..") / path.name)
    assert settings.store.url == f"sqlite:///{elsewhere}/../bridge.db"
    assert settings.smtp.tls_certificate == elsewhere / ".." / "c.pem"
    assert settings.smtp.tls_key == Path("/k.pem")
    assert settings.endpoints[0].signing_secrets[0].get_secret_value() == "whsec_y"


def test_an_absolute_database_stays_where_it_is(tmp_path: Path) -> None:
    """Four slashes name an absolute path, and options behind ? are kept."""
    path = write(tmp_path, "[store]\nurl = 'sqlite:////var/lib/x.db?timeout=3'\n")
    assert load(path).store.url == "sqlite:////var/lib/x.db?timeout=3"


def test_durations_and_sizes_are_read(tmp_path: Path) -> None:
    """Durations and sizes may be numbers or texts with a unit."""
    path = write(
        tmp_path,
        "[smtp]\nidle_timeout = '1.5m'\nmax_message = '2MiB'\nmax_line = 2000\n"
        "[delivery]\nschedule = [0, '2s', '1h']\n",
    )
    settings = load(path)
    assert settings.smtp.idle_timeout == 90.0
    assert (settings.smtp.max_message, settings.smtp.max_line) == (2 * 1024**2, 2000)
    assert settings.delivery.schedule == (0.0, 2.0, 3600.0)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a folder, and a file that is not text each have their sentence."""
    with pytest.raises(ConfigErrors, match=r"nowhere\.toml: no such file or directory"):
        load(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigErrors, match="is a directory"):
        load(tmp_path)
    binary = tmp_path / "b.toml"
    binary.write_bytes(b"[log]\nlevel = '\xff'\n")
    with pytest.raises(ConfigErrors, match=r"b\.toml: line 2: is not UTF-8 text"):
        load(binary)
    binary.write_bytes(b"#" * (1024**2 + 1))
    with pytest.raises(ConfigErrors, match="over 1 MiB"):
        load(binary)


def test_number_of_thousands_of_digits_is_one_sentence(tmp_path: Path) -> None:
    """Python refuses to convert it, and a reload would end the daemon."""
    path = tmp_path / "b.toml"
    path.write_text("a = " + "9" * 5000)
    with pytest.raises(ConfigErrors, match=r"b\.toml: a number has thousands of digits$"):
        load(path)


def test_a_config_in_a_closed_folder_names_the_user_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the daemon's group may look into /etc/smsbridge; others can't know what is there."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("bridge.config.load.PLACES", (closed / "config.toml",))
    monkeypatch.delenv("SMSBRIDGE_CONFIG", raising=False)
    with ordinary_user(closed):
        assert find_config(None) == closed / "config.toml"
        with pytest.raises(ConfigErrors, match=r"permission denied: .* `sudo -u smsbridge "):
            load(closed / "config.toml")
    assert find_config(None) is None


@contextmanager
def ordinary_user(closed: Path) -> Iterator[None]:
    """Be somebody whom the folder's mode keeps out, as it doesn't keep out root."""
    if os.geteuid():
        closed.chmod(0)
        yield
        closed.chmod(0o700)
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    """A config that was saved on Windows loads, and its lines are counted right."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[log]\r\nlevel = 'debug'\r\n")
    assert load(path).log.level == "debug"
    path.write_bytes(b"\xef\xbb\xbf[log]\r\nlevel = 'x'\r\n")
    with pytest.raises(ConfigErrors, match=r"line 2: log\.level"):
        load(path)


def test_an_error_found_later_is_explained_with_its_line(tmp_path: Path) -> None:
    """A ConfigError of another room gets the file and the line of its key."""
    path = write(tmp_path, PROVIDER + ENDPOINT)
    file = load_file(path)
    told = file.locate(ConfigError("providers.0.time_zone", "is missing"))
    assert str(told) == f"{path}: line 1: providers.agile.time_zone: is missing"
    told = file.locate(ConfigError("endpoints.0.secret", "is too short"))
    assert str(told) == f"{path}: line 8: endpoints.crm.secret: is too short"


def test_the_first_config_that_is_meant_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-c comes first, then the environment, then the working directory, then nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMSBRIDGE_CONFIG", raising=False)
    monkeypatch.setattr("bridge.config.load.PLACES", (Path("config.toml"),))
    assert find_config(None) is None
    write(tmp_path, "")
    assert find_config(None) == Path("config.toml")
    monkeypatch.setenv("SMSBRIDGE_CONFIG", "/from/env.toml")
    assert find_config(None) == Path("/from/env.toml")
    assert find_config(Path("named.toml")) == Path("named.toml")
