"""Local times get the offset that their zone had, and clock changes are said."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.providers.times import epoch, local_time, place

ROME = ZoneInfo("Europe/Rome")


@pytest.mark.parametrize(
    ("written", "instant", "warning"),
    [
        ("20260408143052", "2026-04-08T14:30:52+02:00", None),
        ("2026-04-08 14:30:52", "2026-04-08T14:30:52+02:00", None),
        ("2026-01-08T14:30:52", "2026-01-08T14:30:52+01:00", None),
        ("20261025015959", "2026-10-25T01:59:59+02:00", None),
        ("20261025020000", "2026-10-25T02:00:00+02:00", "time_ambiguous"),
        ("20261025025959", "2026-10-25T02:59:59+02:00", "time_ambiguous"),
        ("20261025030000", "2026-10-25T03:00:00+01:00", None),
        ("20260329020000", "2026-03-29T03:00:00+02:00", "time_missing_in_zone"),
        ("20260329025959", "2026-03-29T03:59:59+02:00", "time_missing_in_zone"),
        ("20260329030000", "2026-03-29T03:00:00+02:00", None),
        ("20260408T143052Z", "2026-04-08T14:30:52+00:00", None),
        ("20260408143052+0530", "2026-04-08T14:30:52+05:30", None),
        ("2026/4/8 14:30", "2026-04-08T14:30:00+02:00", None),
        ("2026.04.08 14.30.52", "2026-04-08T14:30:52+02:00", None),
        ("2026-04-08T14:30:52.999-0230", "2026-04-08T14:30:52-02:30", None),
        ("2026-04-08T12:30:52,5Z", "2026-04-08T12:30:52+00:00", None),
        ("2026-04-08 02:30:52 PM", "2026-04-08T14:30:52+02:00", None),
        ("2026-04-08 12:30 am", "2026-04-08T00:30:00+02:00", None),
        ("Wed, 08 Apr 2026 14:30:52 +0200", "2026-04-08T14:30:52+02:00", None),
        ("Wednesday, April 8, 2026 at 2:30:52 p.m.", "2026-04-08T14:30:52+02:00", None),
        ("8-Sept-2026 14:30:52 GMT", "2026-09-08T14:30:52+00:00", None),
        ("1775651452", "2026-04-08T14:30:52+02:00", None),
    ],
)
def test_local_times(written: str, instant: str, warning: str | None):
    """Twice-shown times are the first, skipped ones move on, each with its warning."""
    moment = local_time(ROME)(written)
    assert moment is not None
    assert (moment.at.isoformat(), moment.warning, moment.own) == (instant, warning, True)


@pytest.mark.parametrize(
    "written",
    ["", "2026040814305", "202604081430522", "20260231120000", "20260408250000", "00010101000000",
     "99991231235959", "08/04/2026 14:30:52", "25/04/2026 14:30:52", "04-08-26 14:30",
     "202604081430", "1775651452000", "٢٠٢٦٠٤٠٨١٤٣٠٥٢",
     "2026\n0408143052", "2026-04-08", "14:30:52", "2026-04-08 14:30:52 PM", "2026-04/08 14:30",
     "2026-04-08 14:30:52 CET", "8 Avril 2026 14:30", "2026-04-08T14:30:52+99:00",
     "2026-04-08 0:30 am", "8 Aprilis 2026 14:30"],
)  # fmt: skip
def test_what_is_no_time_is_none(written: str):
    """Nothing is guessed: not the order of day and month, not a missing digit."""
    assert local_time(ROME)(written) is None


def test_epoch_seconds_are_utcs_and_shown_in_the_zone():
    """The zone changes the offset that is shown and never the instant."""
    shown = epoch(ZoneInfo("Australia/Sydney"))("1775651452")
    assert shown is not None
    assert shown.at == datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)
    assert shown.at.isoformat() == "2026-04-08T22:30:52+10:00"


@pytest.mark.parametrize(
    "written",
    ["", "-1", "177565145200", "1775651452.5", "12345", "1e9", "١٧٧٥٦٥١٤٥٢", "20260408143052"],
)
def test_what_is_no_epoch_is_none(written: str):
    """Fractions and other scripts' digits are no unix time, and no zone is guessed."""
    assert epoch(None)(written) is None


def test_milliseconds_and_offsets_are_read_without_a_zone():
    """What says its own instant needs no setting."""
    read = epoch(None)
    for written in ("1775651452000", "2026-04-08T14:30:52+02:00", "20260408123052Z"):
        moment = read(written)
        assert moment is not None
        assert moment.at == datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2199, 12, 31)),  # noqa: DTZ001  naive on purpose
    st.sampled_from(["Europe/Rome", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"]),
)
def test_any_local_time_gets_an_instant(naive: datetime, zone: str):
    """Where there is no warning, the instant read back in the zone is what was written."""
    moment = place(naive, ZoneInfo(zone))
    back = moment.at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert (back == naive) is (moment.warning != "time_missing_in_zone")
    assert place(naive, ZoneInfo(zone)) == moment
