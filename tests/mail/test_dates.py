"""A usual Date is read as the standard library reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import mail
from bridge.mail import decoding
from bridge.model import Email

NAMES = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Foo"]
DATES = st.builds(
    "{}{} {} {} {:02}:{:02}:{:02} {}{:02}{:02}".format,
    st.sampled_from(["", "Mon, ", "Sun, "]),
    st.integers(0, 32),
    st.sampled_from(NAMES),
    st.integers(1000, 2999),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61),
    st.sampled_from("+-"),
    st.integers(0, 25),
    st.integers(0, 59),
)


def _read(written: str) -> datetime | None:
    email = mail.decode(f"From: a@b.c\r\nDate: {written}\r\n\r\nx\r\n".encode())
    assert isinstance(email, Email)
    assert ("date_unreadable" in email.warnings) is (email.date is None)
    return email.date


def _as_library(written: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(written)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


@given(DATES)
@example("Wed, 8 Apr 2026 14:30:52 -0000")
@example("29 Feb 2023 00:00:00 +0000")
@example("29 Feb 2024 23:59:59 -2359")
def test_a_usual_date_is_read_as_the_standard_library_does(written: str) -> None:
    """Of the same instant, in UTC; what is no date is none in both."""
    assert decoding._USUAL_DATE.fullmatch(written.encode()) is not None
    found = _read(written)
    assert found == _as_library(written)
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    "written",
    [
        "Wed, 8 Apr 26 14:30:52 +0200",
        "Wed,8 Apr 2026 14:30 +0200",
        "Wednesday, 8 April 2026 14:30:52 GMT",
        "Wed, 8 Apr 2026 14:30:52 +0200 (CEST)",
        "Wed, 8 Apr 2026 14:30:52 CET",
        "Wed, 8 Apr 2026 14:30:52",
        "Wed, 8 Apr 2026 14:30:52 EST",
        "8 Apr 2026 14:30:52 Z",
        "0050-04-08",
    ],
)
def test_every_other_date_is_left_to_the_standard_library(written: str) -> None:
    """Only the usual form is read here."""
    assert decoding._USUAL_DATE.fullmatch(written.encode()) is None
    assert _read(written) == _as_library(written)


@pytest.mark.parametrize(
    ("zone", "hour"),
    [
        ("+02", 12), ("+2", 12), ("-02", 16), ("+02:00", 12), ("+0200 (CEST)", 12), ("+200", 12),
        ("(CEST) +0200", 12), ("GMT+2", 12), ("UTC+02:00", 12), ("gmt -0200", 16), ("+02 (a)", 12),
    ],
)  # fmt: skip
def test_an_offset_is_read_as_it_is_meant(zone: str, hour: int) -> None:
    """The standard library takes some for minutes, and others for UTC."""
    assert _read(f"Wed, 8 Apr 2026 14:30:52 {zone}") == datetime(
        2026, 4, 8, hour, 30, 52, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("2:05:00 PM +0200", 12), ("02:05 pm GMT", 14), ("12:05:00 AM +0000", 0),
        ("12.05.00PM GMT", 12), ("2:05:00 p.m. -0200", 16), ("14:05:00 PM UTC", 14),
        ("1:05 am +0000", 1),
    ],
)  # fmt: skip
def test_am_and_pm_are_read(written: str, hour: int) -> None:
    """The standard library leaves them out, and with them the zone behind them."""
    email = mail.decode(f"From: a@b.c\r\nDate: Wed, 8 Apr 2026 {written}\r\n\r\nx".encode())
    assert isinstance(email, Email)
    assert email.date == datetime(2026, 4, 8, hour, 5, tzinfo=UTC)
    assert "date_without_zone" not in email.warnings


def test_a_morning_hour_over_twelve_is_none() -> None:
    """Nobody knows what such a time means."""
    assert _read("Wed, 8 Apr 2026 14:05:00 AM +0000") is None


@pytest.mark.parametrize("zone", ["+0260", "+02000", "+2:0", "+123:00", "+99:00", "+9999"])
def test_what_is_no_offset_makes_no_date(zone: str) -> None:
    """A date that is read wrongly would be worse than none."""
    assert _read(f"Wed, 8 Apr 2026 14:30:52 {zone}") is None


@pytest.mark.parametrize(
    ("zone", "told"),
    [("CEST", True), ("", True), ("-0000", False), ("-00:00", False), ("GMT", False)],
)
def test_a_zone_that_is_not_known_is_told(zone: str, told: bool) -> None:
    """The time is read as UTC's, which it may not be."""
    email = mail.decode(f"From: a@b.c\r\nDate: Wed, 8 Apr 2026 14:30:52 {zone}\r\n\r\nx".encode())
    assert isinstance(email, Email)
    assert email.date == datetime(2026, 4, 8, 14, 30, 52, tzinfo=UTC)
    assert ("date_without_zone" in email.warnings) is told
