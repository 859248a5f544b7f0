"""The mail server recipes of docs/deployment.md, run as they stand there."""

from __future__ import annotations

import re
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.signing.standard_webhooks import generate_secret
from tests.chaos.mails import sms_mail
from tests.documents import blocks, page
from tests.patience import PATIENCE
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.dovecot import running_dovecot
from tests.servers.postfix import DOMAIN, Postfix
from tests.servers.programs import need
from tests.servers.receiver import Receiver

pytestmark = pytest.mark.processes

SECRET = generate_secret()
# A stranger on the network, as the provider's server is, and Debian's own rule for relaying.
DEBIAN = """
mynetworks = 192.0.2.0/24
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
transport_maps =
"""


def recipe(file: str) -> str:
    """Return what the page puts into a file of /etc/postfix, for our domain."""
    (text,) = (
        each
        for each in blocks(page("docs/deployment.md"), "ini")
        if each.startswith(f"# /etc/postfix/{file}\n")
    )
    return text.replace("sms.example.com", DOMAIN)


@contextmanager
def relaying(daemon: Daemon, without: str = "$^") -> Iterator[Postfix]:
    """Set up Postfix by the recipe, less the lines of main.cf that match a pattern."""
    _, port = daemon.smtp
    lines = recipe("main.cf").splitlines()
    main = "\n".join(line for line in lines if not re.match(without, line))
    postfix = Postfix(port, DEBIAN)
    etc = postfix.folder / "etc"
    transport = recipe("transport").replace("2525", str(port))
    assert str(port) in transport
    (etc / "transport").write_text(transport)
    with (etc / "main.cf").open("a") as file:
        file.write(main.replace("/etc/postfix", str(etc)) + "\n")
    (command,) = re.findall(r"postmap (/etc/postfix/\w+)", page("docs/deployment.md"))
    subprocess.run(
        ["postmap", "-c", etc, command.replace("/etc/postfix", str(etc))],
        check=True,
        stderr=subprocess.DEVNULL,  # each line that overrides one of our Postfix's own
        timeout=PATIENCE,
    )
    with postfix:
        yield postfix


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Take webhooks."""
    with Receiver(SECRET) as taking:
        yield taking


@pytest.fixture
def daemon(receiver: Receiver, tmp_path: Path) -> Iterator[Daemon]:
    """Run the bridge behind the relay."""
    config = Config({"crm": receiver.url}, SECRET)
    with Daemon(config.write(tmp_path)) as running:
        yield running.start()


def smuggle(port: int) -> list[str]:
    """Send one mail in which a second one hides behind a bare line feed; return the replies."""
    one, two = sms_mail("the first"), sms_mail("smuggled")
    hidden = f"MAIL FROM:<{two.sender}>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\n".encode()
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.ehlo()
        client.mail(one.sender)
        client.rcpt(MAILBOX)
        assert client.docmd("DATA")[0] == 354
        client.send(one.raw + b"\n.\n" + hidden + two.raw + b"\r\n.\r\nQUIT\r\n")
        assert client.file is not None
        return [line[:3].decode() for line in client.file]


def test_postfix_relays_a_strangers_mail(daemon: Daemon, receiver: Receiver) -> None:
    """With the recipe, a provider's mail to our domain is relayed and becomes a webhook."""
    with relaying(daemon) as postfix:
        mail = sms_mail("through Postfix")
        postfix.inject([mail.envelope])
        assert receiver.wait_for_ids(1)
        receiver.assert_honest()
        assert receiver.all()[0].text == "through Postfix"


def test_without_relay_domains_the_mail_is_deferred(daemon: Daemon) -> None:
    """The line is needed: without it, Debian's Postfix defers a stranger's mail again and again."""
    with (
        relaying(daemon, without="relay_domains") as postfix,
        pytest.raises(smtplib.SMTPRecipientsRefused) as refused,
    ):
        postfix.inject([sms_mail("not relayed").envelope])
    assert [code for code, _ in refused.value.recipients.values()] == [454]


def test_no_mail_is_smuggled_through_postfix(daemon: Daemon, receiver: Receiver) -> None:
    """With the recipe, a bare line feed doesn't end a mail, and what follows is its text."""
    with relaying(daemon) as postfix:
        assert smuggle(postfix.port) == ["250", "221"]
        # A second mail would be in the queue before this one.
        postfix.inject([sms_mail("after it", 2).envelope])
        assert receiver.wait_for_ids(2)
        assert receiver.wait(lambda _: postfix.waiting() == 0)
    assert len(receiver.by_id()) == 2
    assert "smuggled" not in {each.text.strip() for each in receiver.all()}


def test_debians_default_lets_a_mail_be_smuggled(daemon: Daemon, receiver: Receiver) -> None:
    """The lines are needed: by default, Debian 12's Postfix takes two mails for that one."""
    with relaying(daemon, without="smtpd_forbid") as postfix:
        assert smuggle(postfix.port) == ["250", "250", "250", "354", "250", "221"]
        assert receiver.wait_for_ids(2)
    assert {each.text.strip() for each in receiver.all()} == {"the first", "smuggled"}


def test_the_command_against_smuggling_sets_both_settings(tmp_path: Path) -> None:
    """docs/evidence.md's `postconf`, run as it stands there, says what the recipe says."""
    (tmp_path / "main.cf").touch()
    (words,) = re.findall(r"^    postconf (-e .*)$", page("docs/evidence.md"), re.MULTILINE)
    postconf = need("postfix").with_name("postconf")
    subprocess.run([postconf, "-c", tmp_path, *words.split()], check=True, timeout=PATIENCE)
    written = {
        name.strip(): value.strip()
        for name, _, value in (
            line.partition("=") for line in (tmp_path / "main.cf").read_text().splitlines()
        )
    }
    asked = [line for line in recipe("main.cf").splitlines() if line.startswith("smtpd_forbid")]
    assert written == {
        name.strip(): value.strip() for name, _, value in (line.partition("=") for line in asked)
    }


def test_dovecot_makes_the_folder_by_itself() -> None:
    """With the recipe, a new account has the folder that mails are moved to."""
    (text,) = (
        each
        for each in blocks(page("docs/deployment.md"), "ini")
        if each.startswith("# /etc/dovecot/")
    )
    with running_dovecot(text) as dovecot:
        user = dovecot.new_user()
        assert "Done" in dovecot.doveadm("mailbox", "list", "-u", user).split()
