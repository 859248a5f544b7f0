"""Times as companies write them: a modem's, in other languages, in two places, without a year."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bridge.model import SmsMessage, Unreadable
from bridge.providers.formats import read_formats
from tests.providers.declaring import declared, mail_of

PLACES = "from = { value = 'A' }\nto = { value = '1' }\nbody = { after_blank = true }\n"
GERMAN = (
    "months = ['Januar', 'Februar', 'März', 'April', 'Mai', 'Juni', 'Juli', 'August', 'September', "
    "'Oktober', 'November', 'Dezember']\n"
)
GREEK = (
    "months = ['Ιανουαρίου', 'Φεβρουαρίου', 'Μαρτίου', 'Απριλίου', 'Μαΐου', 'Ιουνίου', 'Ιουλίου', "
    "'Αυγούστου', 'Σεπτεμβρίου', 'Οκτωβρίου', 'Νοεμβρίου', 'Δεκεμβρίου']\n"
)
FRENCH = (
    "months = ['janv.', 'févr.', 'mars', 'avr.', 'mai', 'juin', 'juil.', 'août', 'sept.', 'oct.', "
    "'nov.', 'déc.']\n"
)
ZONES = "zones = { CEST = '+02:00', EST = '-0500' }\n"
ROME = {"time_zone": "Europe/Rome"}


def read(date: str, text: str, **more: str) -> SmsMessage | Unreadable:
    provider = declared(f"{PLACES}{date}", **more)
    result = provider.read_email(mail_of(f"{text}\n\nhi"))
    assert isinstance(result, SmsMessage | Unreadable)
    return result


@pytest.mark.parametrize(
    ("template", "written", "instant"),
    [
        ("date_format = 'gsm'", "26/04/08,14:30:52+08", "2026-04-08T14:30:52+02:00"),
        ("date_format = 'gsm'", "26/04/08,14:30:52-22", "2026-04-08T14:30:52-05:30"),
        ("date_format = 'gsm'", "26/04/08 14:30:52 +00", "2026-04-08T14:30:52+00:00"),
        ("date_format = 'gsm'", "26/04/08,14:30:52", "2026-04-08T14:30:52+02:00"),
        (f"{GERMAN}date_format = '%d. %B %Y %H:%M'", "8. MÄRZ 2026 14:30", "2026-03-08T14:30"),
        (f"{GERMAN}date_format = '%d. %B %Y %H:%M'", "8. Mai 2026 14:30", "2026-05-08T14:30"),
        # An umlaut as two characters, as one kind of file system and its programs write it.
        (f"{GERMAN}date_format = '%d. %B %Y %H:%M'", "8. Ma\u0308rz 2026 14:30", "2026-03-08T14"),
        (f"{GREEK}date_format = '%d %B %Y, %H:%M'", "8 ΑΠΡΙΛΊΟΥ 2026, 14:30", "2026-04-08T14"),
        (f"{FRENCH}date_format = '%d %b %Y à %Hh%M'", "8 févr. 2026 à 14h30", "2026-02-08T14:30"),
        ("date_format = '%Y年%m月%d日 %H:%M'", "2026年04月08日 14:30", "2026-04-08T14:30"),
        # A narrow no-break space in front of PM.
        ("date_format = '%b %d, %Y, %I:%M %p'", "Apr 8, 2026, 2:30\u202fPM", "2026-04-08T14:30"),
        (
            f"{ZONES}date_format = '%d.%m.%Y %H:%M %Z'",
            "08.04.2026 14:30 cest",
            "2026-04-08T14:30:00+02:00",
        ),
        (
            f"{ZONES}date_format = '%d.%m.%Y %H:%M %Z'",
            "08.04.2026 14:30 EST",
            "2026-04-08T14:30:00-05:00",
        ),
        (
            "date_format = '%Y-%m-%dT%H:%M:%S%Z'",
            "2026-04-08T14:30:00Z",
            "2026-04-08T14:30:00+00:00",
        ),
        ("date_format = '%d/%m %H:%M'", "08/04 12:30", "2026-04-08T12:30:00+02:00"),
        (
            f"{GERMAN}date_format = '%d. %B, %H:%M Uhr'",
            "8. April, 12:30 Uhr",
            "2026-04-08T12:30:00+02:00",
        ),
    ],
)
def test_each_way_to_write_a_time(template: str, written: str, instant: str) -> None:
    """Each gives the one instant; a zone that the time has beats the config's."""
    found = read(f"date = {{ line = 1 }}\n{template}", written, **ROME)
    assert isinstance(found, SmsMessage), found
    assert found.received_at.isoformat().startswith(instant)
    assert found.has_own_time
    assert found.raw.date == written


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("date_format = 'gsm'", "26/13/08,14:30:52+08"),
        ("date_format = 'gsm'", "26/04/08,14:30:52+99"),  # nearly 25 hours
        ("date_format = 'gsm'", "26/04/08"),
        (f"{GERMAN}date_format = '%d. %B %Y %H:%M'", "8. Brumaire 2026 14:30"),
        (f"{GERMAN}date_format = '%d. %B %Y %H:%M'", "8. Maiandacht 2026 14:30"),
        ("date_format = '%d.%m.%Y %H:%M %Z'", "08.04.2026 14:30 CST"),  # America's, or China's?
        ("date_format = '%d/%m %H:%M'", "31/02 12:30"),
        ("date_format = '%d.%m.%Y %H:%M'", "०८.04.2026 14:30"),
    ],
)
def test_what_is_not_such_a_time_is_never_guessed(template: str, written: str) -> None:
    """The mail waits in quarantine."""
    found = read(f"date = {{ line = 1 }}\n{template}", written, **ROME)
    assert isinstance(found, Unreadable)
    assert "in none of the formats" in found.detail


@pytest.mark.parametrize(
    ("near", "written", "year"),
    [
        ("2026-01-01T00:05", "31/12 23:58", 2025),
        ("2025-12-31T23:58", "01/01 00:05", 2026),
        ("2026-07-01T00:00", "30/06 12:00", 2026),
        ("2025-03-01T00:00", "29/02 12:00", 2024),  # of the years beside it, the one that has it
        ("2026-03-01T00:00", "29/02 12:00", None),
        (None, "08/04 12:30", None),
    ],
)
def test_a_time_without_a_year_is_the_one_nearest_to_the_mail(
    near: str | None, written: str, year: int | None
) -> None:
    """Also around New Year; without a Date it is not read."""
    reads = read_formats(["%d/%m %H:%M"], ZoneInfo("Europe/Rome"))
    date = None if near is None else datetime.fromisoformat(near).replace(tzinfo=UTC)
    moment = reads(written, date)
    assert (None if moment is None else moment.at.year) == year


@pytest.mark.parametrize("year", [1, 9999])
def test_a_mail_from_no_real_year_gives_no_time(year: int) -> None:
    """A Date of the year 1 or 9999 raises nothing."""
    reads = read_formats(["%d/%m %H:%M"], ZoneInfo("Asia/Tokyo"))
    assert reads("01/01 00:00", datetime(year, 1, 1, tzinfo=UTC)) is None


def test_a_time_from_two_places() -> None:
    """The day here and the hour there; with one missing there is no time of its own."""
    template = (
        "date = { join = [{ label = 'Day' }, { header = 'X-Hour', pattern = '[0-9:]+' }] }\n"
        "date_format = '%d.%m.%Y %H:%M'\n"
    )
    provider = declared(f"{PLACES}{template}", **ROME)
    text = "Day: 08.04.2026\nWhat: x\n\nDay: 09.09.2026"
    found = provider.read_email(mail_of(text, headers=("X-Hour: at 14:30",)))
    assert isinstance(found, SmsMessage)
    assert found.received_at.isoformat() == "2026-04-08T14:30:00+02:00"
    assert found.raw.date == "08.04.2026 14:30"
    found = provider.read_email(mail_of(text))
    assert isinstance(found, SmsMessage)
    assert found.warnings == ("time_from_mail",)
    assert {"x-hour"} <= provider.headers_read  # type: ignore[attr-defined]


def test_two_labels_are_joined_in_the_order_of_the_config() -> None:
    """Each label keeps its own value, and one in the SMS is none."""
    template = (
        "date = [{ join = [{ label = 'Date' }, { label = ['Time', 'Hour'] }] }, { label = 'At' }]\n"
        "date_format = ['%d.%m.%Y %H:%M', 'iso8601']\n"
    )
    for text in ("Time: 14:30\nDate: 08.04.2026", "Date: 08.04.2026\nHour: 14:30\nAt: x"):
        found = read(template, text, **ROME)
        assert isinstance(found, SmsMessage), found
        assert found.received_at.isoformat() == "2026-04-08T14:30:00+02:00"
    found = read(template, "Time: 14:30\nAt: 2026-04-08T12:30:00Z", **ROME)
    assert isinstance(found, SmsMessage), found
    assert found.received_at == datetime(2026, 4, 8, 12, 30, tzinfo=UTC)
