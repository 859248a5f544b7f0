"""The Exim recipe of docs/deployment.md with a real mail: `make package-test`, as root.

Not part of `make test`: Debian has Exim or Postfix, never both, and this fetches a system from a
mirror.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.signing.standard_webhooks import generate_secret
from tests.chaos.mails import sms_mail
from tests.documents import blocks, page
from tests.packaging.machine import make_root, run_here
from tests.patience import PATIENCE
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.receiver import Receiver

pytestmark = pytest.mark.processes

DOMAIN = MAILBOX.partition("@")[2]
ROUTER = Path("etc/exim4/conf.d/router/150_smsbridge")
TEMPLATE = Path("etc/exim4/exim4.conf.template")
ANSWERS = Path("etc/exim4/update-exim4.conf.conf")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Fetch a bare Debian with Exim."""
    made = make_root(tmp_path_factory.mktemp("exim") / "root", "exim4-daemon-light")
    try:
        yield made
    finally:
        run_here("rm", "-rf", "--one-file-system", str(made))


@pytest.mark.parametrize("split", [True, False])
def test_exim_hands_a_mail_over(split: bool, root: Path, tmp_path: Path) -> None:
    """With the recipe's router, split config or not, the mail becomes a webhook."""
    secret = generate_secret()
    mail = sms_mail("through Exim")
    with Receiver(secret) as receiver:
        with Daemon(Config({"crm": receiver.url}, secret).write(tmp_path)) as daemon:
            daemon.start()
            configure(root, daemon.smtp[1], split=split)
            sent = ["chroot", root, "exim4", "-odf", "-f", mail.sender, MAILBOX]
            subprocess.run(sent, input=mail.raw, check=True, timeout=PATIENCE)
            assert receiver.wait_for_ids(1)
        receiver.assert_honest()
        assert receiver.all()[0].text == "through Exim"


def configure(root: Path, port: int, *, split: bool) -> None:
    """Set up Exim as the page says, for our domain and port."""
    text = page("docs/deployment.md")
    (router,) = (each for each in blocks(text, "ini") if f"/{ROUTER}" in each)
    assert "127.0.0.1::2525" in router
    router = router.replace("sms.example.com", DOMAIN).replace("::2525", f"::{port}")
    template = root / TEMPLATE
    pristine = template.with_suffix(".pristine")
    if not pristine.exists():
        pristine.write_bytes(template.read_bytes())
    if split:
        (root / ROUTER).write_text(router)
    else:
        (root / ROUTER).unlink(missing_ok=True)
        before, line, after = pristine.read_text().partition("\nbegin routers\n")
        assert line.strip() in text  # the page names the line
        template.write_text(f"{before}{line}{router}\n{after}")
    answers = (root / ANSWERS).read_text()
    for name, value in (
        ("dc_relay_domains", DOMAIN), ("dc_use_split_config", str(split).lower()),
    ):  # fmt: skip
        answers = re.sub(rf"^{name}=.*$", f"{name}='{value}'", answers, flags=re.MULTILINE)
    (root / ANSWERS).write_text(answers)
    (command,) = re.findall(r"^    (update-exim4.conf) && systemctl", text, re.MULTILINE)
    run_here("chroot", str(root), command)
