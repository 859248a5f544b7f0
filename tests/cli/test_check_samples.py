"""`smsbridge check` reads the sample mails that the config names, so a wrong template is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, mail

Smsbridge = Callable[..., Ran]
ACME = (
    "From: sms@acme.example\r\nDate: Wed, 08 Apr 2026 12:30:52 +0000\r\nSubject: {}\r\n\r\n"
    "From: +4915112345678\r\nTo: 30099\r\nAt: {}\r\n\r\nhi\r\n"
)
PROVIDER = """
[[providers]]
name = "acme"
senders = ["sms@acme.example"]
samples = ["sms/*.eml"]
trust = { networks = ["192.0.2.1/32"] }
[providers.template]
from = { label = "From" }
to = { label = "To" }
body = { after_blank = true }
date = { label = "At" }
date_format = "iso8601"
ignore = [{ why = "a report", subject = "^Report" }]
"""


@pytest.fixture
def samples(tmp_path: Path, config: Path) -> Path:
    """Put samples beside a config: one is an SMS, and one is ignored."""
    config.write_text(config.read_text() + PROVIDER)
    folder = tmp_path / "sms"
    folder.mkdir()
    (folder / "a.eml").write_text(ACME.format("SMS", "2026-04-08T12:30:52Z"))
    (folder / "b.eml").write_text(ACME.format("Report", ""))
    return folder


def test_samples_that_are_read_are_right(smsbridge: Smsbridge, config: Path, samples: Path) -> None:
    """No evidence is asked for: the operator vouches for them."""
    ran = smsbridge("check", "-c", config, "--json")
    assert (ran.code, ran.document["problems"]) == (0, [])


def test_a_sample_that_cannot_be_read_is_a_problem(
    smsbridge: Smsbridge, config: Path, samples: Path
) -> None:
    """With the file, the line of the config and why; a valid template is not yet a right one."""
    (samples / "c.eml").write_text(ACME.format("SMS", "8.4.2026 14:30"))
    (samples / "d.eml").write_bytes(mail())
    (samples / "e.eml").write_text("From: who@ever.example\r\n\r\nhi\r\n")
    ran = smsbridge("check", "-c", config)
    assert ran.code == 1
    first, second, third = ran.err.strip().splitlines()
    for line in (first, second, third):
        assert f"{config}: line 22: providers.acme.samples: {samples}" in line
    assert "c.eml: the time at the label At is in none of the formats" in first
    assert second.endswith("d.eml is read by the provider agile")
    assert "e.eml: " in third
    assert smsbridge("check", "-c", config, "--json").document["problems"] == [
        first.strip(), second.strip(), third.strip()
    ]  # fmt: skip


def test_a_sample_that_is_not_there_is_a_problem(
    smsbridge: Smsbridge, config: Path, samples: Path
) -> None:
    """A test that looks at nothing would always be right."""
    for sample in samples.iterdir():
        sample.unlink()
    ran = smsbridge("check", "-c", config)
    assert (ran.code, f"there is no file {samples}/*.eml" in ran.err) == (1, True)
    config.write_text(config.read_text().replace("sms/*.eml", "sms"))
    assert "there is no .eml or .mbox in it" in smsbridge("check", "-c", config).err
