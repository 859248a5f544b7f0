"""The commands that the documents show, run as they stand there, page by page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Filled, Ran, mail
from tests.documents import PAGES, PROJECT, blocks, indented, page

Smsbridge = Callable[..., Ran]
# Need a daemon, a server, a receiver or a terminal; tests/test_receivers.py and others run them.
ELSEWHERE = (
    "run", "demo", "init", "send-test", "status", "reload", "endpoints test", "damage accept",
)  # fmt: skip
# Config and mail of a page that needs those that it shows itself.
SHOWN = {
    "docs/posts.md": ("toml", 0, "config.toml"),
    "docs/adding-a-provider.md": ("toml", 1, "config.toml"),
}
COMMAND = re.compile(r"^(?:sudo -u smsbridge |\.venv/bin/)?smsbridge ([^#;|&>]*)")


def commands(name: str) -> Iterator[list[str]]:
    """Yield the words of each command of a page that stands on a line of its own."""
    for line in indented(page(name)):
        found = COMMAND.match(line)
        if found and not found[1].startswith(ELSEWHERE) and "--mailboxes" not in found[1]:
            yield shlex.split(found[1])


NAMES = [str(each.relative_to(PROJECT)) for each in PAGES]
SHOWING = [name for name in NAMES if name != "CHANGELOG.md" and any(commands(name))]


def test_no_page_hides() -> None:
    """Each page with commands is run below, and those are most of them."""
    assert {"docs/operating.md", "docs/deployment.md", "docs/posts.md"} <= set(SHOWING)
    assert sum(len(list(commands(name))) for name in SHOWING) >= 18


@pytest.mark.parametrize("name", SHOWING)
def test_the_commands_of_a_page_run(
    name: str, smsbridge: Smsbridge, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the page's order, on a store with a message and a mail in quarantine: none is refused."""
    folder = filled.config.parent
    monkeypatch.chdir(folder)
    lay_out(folder)
    if name in SHOWN:
        language, number, file = SHOWN[name]
        (folder / file).write_text(blocks(page(name), language)[number])
    for (text,) in [blocks(page(name), "eml")] if blocks(page(name), "eml") else []:
        (folder / "mail.eml").write_text(text)
    for words in commands(name):
        here = [each for word in words for each in expanded(placed(word, folder))]
        ran = smsbridge(*here)
        # What is no SMS stays in quarantine, and what is undelivered is not erased; that is told.
        left = int("reparse" in words or words == ["purge", "--number", "+393301234567"])
        assert ran.code == left, (words, ran.err, ran.out)


def lay_out(folder: Path) -> None:
    """Write the mail files that the pages name."""
    (folder / "more").mkdir()
    (folder / "more" / "one.eml").write_bytes(mail("10"))
    for name in ("old.mbox", "mails.mbox"):
        (folder / name).write_bytes(b"From x Thu Apr  9 10:00:00 2026\n" + mail(name))
    for each in ("cur", "new", "tmp"):
        (folder / "Maildir" / each).mkdir(parents=True)
    (folder / "Maildir" / "new" / "1").write_bytes(mail("11"))


def placed(word: str, folder: Path) -> str:
    """Put what a page has in a system's folders into ours."""
    return re.sub(r"^/(etc|var/lib)/smsbridge/", f"{folder}/", word)


def expanded(word: str) -> list[str]:
    """Do the shell's part."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]
