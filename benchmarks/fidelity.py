"""Our text and subject of real mails, beside those of two other parsers.

    python -m benchmarks.fidelity [FOLDER | FILE.eml | FILE.mbox ...]

The others are the standard library's `email` with `policy.default`, and `mailparser` of Nodemailer,
which npm installs at the first run. Where those two agree we must agree with them, unless a warning
says what we have mended. Without arguments our own fixtures are read. Texts of HTML mails are
compared by their words, after the same removal of tags for both others. Nothing of a mail is
printed, only where it is. The exit code is 1 if we differ.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

from bridge import mail
from bridge.model import Email
from bridge.operations.mail_files import find_files, read_mails

HERE: Final = Path(__file__).parent
FIXTURES: Final = HERE.parent / "tests/providers/fixtures"
MODULES: Final = HERE.parent / ".venv/fidelity"
MAILPARSER: Final = "mailparser@3.14.2"
LOST: Final = "\N{REPLACEMENT CHARACTER}"
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# In `?a=1&times=2` there is no reference, although HTML knows one without a semicolon.
OPEN_REFERENCE: Final = re.compile(r"&(?=[A-Za-z][A-Za-z0-9]*+(?!;))")
COLUMNS: Final = (
    "kind", "mails", "texts: others agree", "and we", "we mend", "we with one", "we alone",
    "subjects: others agree", "and we", "we mend",
)  # fmt: skip
Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a parser makes of a mail; None if it can't read it, or loses characters."""

    subject: str | None
    text: str | None


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._unseen += tag in {"script", "style", "title"}
        self.found.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in {"script", "style", "title"}
        self.found.append(" ")

    def handle_data(self, data: str) -> None:
        if self._unseen <= 0:
            self.found.append(data)


def words_of(html: str) -> str:
    """Return the words of a page."""
    words = _Words()
    words.feed(OPEN_REFERENCE.sub("&amp;", html))
    words.close()
    return "".join(words.found)


def told(subject: str, plain: str | None, html: str | None) -> Seen:
    """Compare what counts: words in a subject or page, lines without blanks at a text's end."""
    text = plain if plain and plain.strip() else words_of(html) if html else plain or ""
    return Seen(_kept(" ".join(CONTROL.sub(" ", subject).split())), _kept(text))


def _kept(text: str) -> str | None:
    if LOST in text or "\0" in text:
        return None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").rstrip()


def ours(raw: bytes) -> tuple[Seen, str, bool]:
    """Read with smsbridge; also give the kind of mail, and whether we say that we mended it."""
    decoded = mail.decode(raw)
    if not isinstance(decoded, Email):
        return Seen(None, None), "not read", True
    kind = f"{'HTML' if decoded.from_html else 'plain'}, {decoded.charset}"
    return told(decoded.subject, decoded.text, None), kind, bool(decoded.warnings)


def standard_library(raw: bytes) -> Seen:
    """Read with the standard library."""
    try:
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        found: dict[str, str | None] = {}
        for kind in ("plain", "html"):
            part = message.get_body((kind,))
            found[kind] = None if part is None else str(part.get_content())
        return told(str(message["Subject"] or ""), found["plain"], found["html"])
    except Exception:  # noqa: BLE001  its bugs are what is measured
        return Seen(None, None)


def nodemailer(mails: Sequence[bytes]) -> Iterator[Seen]:
    """Read with Nodemailer's parser."""
    if not (MODULES / "node_modules" / "mailparser").is_dir():
        MODULES.mkdir(parents=True, exist_ok=True)
        flags = ("--no-audit", "--no-fund", "--no-package-lock", "--silent")
        subprocess.run(["npm", "install", *flags, "--prefix", MODULES, MAILPARSER], check=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(number) for number in range(len(mails))]
        for path, raw in zip(paths, mails, strict=True):
            path.write_bytes(raw)
        ran = subprocess.run(
            ["node", HERE / "mailparser.mjs", MODULES],
            input="".join(f"{path}\n" for path in paths),
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    for line in ran.stdout.splitlines():
        read = json.loads(line)
        failed = "error" in read
        yield Seen(None, None) if failed else told(read["subject"], read["plain"], read["html"])


def same(one: str | None, other: str | None, *, words: bool) -> bool:
    """Return whether two parsers read the same, and lost nothing."""
    if one is None or other is None:
        return False
    return one.split() == other.split() if words else one == other


def judge(
    ours: str | None, first: str | None, second: str | None, *, words: bool, mended: bool
) -> str:
    """Say how what we read compares: "agree", "mended", "differ", "with one" or "alone"."""
    if not same(first, second, words=words):
        is_one = any(same(ours, each, words=words) for each in (first, second))
        return "with one" if is_one else "alone"
    if same(ours, first, words=words):
        return "agree"
    return "mended" if mended else "differ"


def main() -> int:
    """Print the table, and name the mails in which the others agree and we differ."""
    parser = argparse.ArgumentParser(description="Compares what three parsers read in mails.")
    parser.add_argument("paths", nargs="*", type=Path, default=[FIXTURES])
    mails = [
        (each.name, each.raw)
        for path in find_files(parser.parse_args().paths)
        for each in read_mails(path)
        if each.raw is not None
    ]
    counts: dict[str, Counter[tuple[str, str]]] = {}
    differing: list[str] = []
    for (name, raw), other in zip(mails, nodemailer([raw for _, raw in mails]), strict=True):
        mine, kind, mended = ours(raw)
        stdlib = standard_library(raw)
        words = kind.startswith("HTML")
        verdicts = {
            "text": judge(mine.text, stdlib.text, other.text, words=words, mended=mended),
            "subject": judge(
                mine.subject, stdlib.subject, other.subject, words=True, mended=mended
            ),
        }
        counts.setdefault(kind, Counter()).update(verdicts.items())
        differing += [f"{name}: {what}" for what, each in verdicts.items() if each == "differ"]
    _print([_row(kind, counted) for kind, counted in sorted(counts.items())])
    for line in differing:
        print(f"the other two agree, and we differ: {line}")
    return 1 if differing else 0


def _row(kind: str, counted: Counter[tuple[str, str]]) -> Row:
    def agreed(what: str) -> Row:
        agree, mended = counted[what, "agree"], counted[what, "mended"]
        return agree + mended + counted[what, "differ"], agree, mended

    mails = sum(number for (what, _), number in counted.items() if what == "text")
    alone = counted["text", "with one"], counted["text", "alone"]
    return (kind, mails, *agreed("text"), *alone, *agreed("subject"))


def _print(rows: Sequence[Row]) -> None:
    table = [tuple(map(str, row)) for row in (COLUMNS, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


if __name__ == "__main__":
    sys.exit(main())
