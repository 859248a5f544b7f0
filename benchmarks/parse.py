"""What it costs to decode and read one plain Agile mail, against the standard library's parser.

    python -m benchmarks.parse [--rounds 2000]

Both read the same bytes: we to a canonical message, `email` with `policy.default` to From, To,
Subject, Date, Message-ID and the text. They take turns, so that a busy machine slows both alike.
The ratio of the medians must be at most 0.5.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import statistics
import sys
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from bridge import mail, providers
from bridge.model import Email, SmsMessage, Unreadable
from tests.providers.reading import PROVIDERS

MAIL: Final = Path(__file__).parents[1] / "tests/providers/fixtures/agile/plain.eml"
MOST: Final = 0.5


def ours(raw: bytes) -> SmsMessage:
    """Decode a mail, find its provider, and read the SMS."""
    decoded = mail.decode(raw)
    assert isinstance(decoded, Email)
    provider = providers.choose(PROVIDERS, decoded)
    assert not isinstance(provider, Unreadable)
    message = provider.read_email(decoded)
    assert isinstance(message, SmsMessage)
    return message


def theirs(raw: bytes) -> tuple[str, ...]:
    """Read five headers and the text with the standard library."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("plain",))
    assert body is not None
    names = ("From", "To", "Subject", "Date", "Message-ID")
    return (*(str(message[name]) for name in names), body.get_content())


def measure(rounds: int) -> tuple[float, float]:
    """Give the median seconds of ours and theirs."""
    raw = MAIL.read_bytes()
    assert ours(raw).body in theirs(raw)[-1]
    times: dict[Callable[[bytes], object], list[float]] = {ours: [], theirs: []}
    for _ in range(rounds):
        for work, taken in times.items():
            began = time.process_time()
            work(raw)
            taken.append(time.process_time() - began)
    return statistics.median(times[ours]), statistics.median(times[theirs])


def main() -> int:
    """Print both medians and their ratio; return 1 if it is over the bound."""
    parser = argparse.ArgumentParser(description="Measures reading one plain mail.")
    parser.add_argument("--rounds", type=int, default=2000)
    mine, stdlib = measure(parser.parse_args().rounds)
    ratio = mine / stdlib
    print(f"decode and read {mine * 1e6:.0f} µs, email with policy.default {stdlib * 1e6:.0f} µs")
    print(f"ratio {ratio:.3f} (at most {MOST})")
    return 0 if ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
