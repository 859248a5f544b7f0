"""The one door of this room: raw bytes in, an `Email` or the reason why not out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

from bridge.mail import bodies
from bridge.mail.fingerprint import of_content
from bridge.mail.headers import HeaderBlock, Headers, decode_value, decode_with_repairs, split
from bridge.mail.limits import MAX_STRUCTURED, MAX_SUBJECT, NotReadError
from bridge.mail.mime import Leaf, Splitter
from bridge.mail.repairs import Repair
from bridge.mail.sender import read_sender
from bridge.mail.twelve_hours import in_24_hours
from bridge.model import Email, Part, Reason, Text, Unreadable

_BOUNDS: Final = {
    "from": MAX_STRUCTURED,
    "date": MAX_STRUCTURED,
    "message-id": MAX_STRUCTURED,
    "subject": MAX_SUBJECT,
}
_ONCE: Final = ("subject", "date", "message-id", "content-type", "content-transfer-encoding")
# A date as nearly all programs write it; the standard library reads every other.
_USUAL_DATE: Final = re.compile(
    rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?([0-9]{1,2}) ([A-Z][a-z]{2}) ([12][0-9]{3})"
    rb" ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-5][0-9])"
)
_COMMENT: Final = re.compile(r"\([^()]*\)")
# The standard library takes "+02" for two minutes, and "+02:00" and "GMT+2" for UTC.
_OFFSET: Final = re.compile(
    r"(?<=[0-9][:.][0-9]{2})\s*+(?:UTC|GMT|UT)?\s*+([+-])([0-9]++)(?::([0-9]++))?\Z", re.IGNORECASE
)
_DAY: Final = timedelta(days=1)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}


def decode(raw: bytes) -> Email | Unreadable:
    """Decode a mail within the bounds of `limits`; what is over one is Unreadable.

    Never raises. A mail without one clean From is still an Email, without a sender.
    """
    try:
        return _decode(raw)
    except NotReadError as over:
        return Unreadable(Reason.UNDECODABLE, str(over))
    except Exception as error:  # noqa: BLE001  a mail that finds a bug must wait, not be lost
        return Unreadable(Reason.UNDECODABLE, f"reading the mail failed: {type(error).__name__}")


def _decode(raw: bytes) -> Email | Unreadable:
    block, content = split(raw, 0, len(raw))
    if not block.count:
        return Unreadable(Reason.UNDECODABLE, "this is no mail: it begins with no header")
    fields = block.fields
    for name, bound in _BOUNDS.items():
        for value in fields.get(name, ()):
            if len(value) > bound:
                raise NotReadError(f"a {name} header is longer than {bound} bytes")
    repairs = []
    if block.defect is not None:
        repairs.append(Repair.HEADER_MALFORMED)
    if any(len(fields.get(name, ())) > 1 for name in _ONCE):
        repairs.append(Repair.HEADER_REPEATED)
    splitter = Splitter(raw)
    text = bodies.choose(raw, splitter.groups(block, content, len(raw)))
    sender, sender_defect = read_sender(block)
    message_id = _message_id(block)
    date, date_repairs = _date(block)
    subject, subject_repairs = decode_with_repairs(block.first("subject"))
    repairs += splitter.repairs
    repairs += (*subject_repairs, *date_repairs)
    warnings = tuple(repairs)
    return Email(
        sender=sender,
        sender_defect=sender_defect,
        subject=subject,
        message_id=message_id,
        date=date,
        text=text.text,
        charset=text.charset,
        from_html=text.from_html,
        fingerprint=message_id or of_content(block, raw, content),
        headers=Headers(block.fields),
        declared_charset=text.declared_charset,
        cells=text.cells,
        fixed=text.fixed,
        warnings=_told(*warnings, *text.warnings),
        parts=tuple(
            Part(
                leaf.is_html,
                bodies.is_flowed(leaf),
                leaf.file,
                partial(_read_part, raw, leaf, warnings),
            )
            for leaf in splitter.leaves
        ),
    )


def _read_part(raw: bytes, leaf: Leaf, warnings: Sequence[str]) -> Text | None:
    try:
        text = bodies.read(raw, leaf)
    except NotReadError:
        return None
    return replace(text, warnings=_told(*warnings, *text.warnings))


def _told(*repairs: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, repairs)))


def _message_id(block: HeaderBlock) -> str | None:
    values = block.fields.get("message-id", ())
    return (decode_value(values[0]) or None) if len(values) == 1 else None


def _date(block: HeaderBlock) -> tuple[datetime | None, Sequence[Repair]]:
    raw = block.first("date")
    if not raw:
        return None, ()
    try:
        if usual := _USUAL_DATE.fullmatch(raw):
            return _usual_date(*usual.groups()), ()
        written = _COMMENT.sub(" ", decode_value(raw)).strip()
        written = _OFFSET.sub(_four_digits, in_24_hours(written))
        date = parsedate_to_datetime(written)
        if date.tzinfo is not None:
            return date.astimezone(UTC), ()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None, (Repair.DATE_UNREADABLE,)
    # "-0000" says that the zone is unknown and the time is UTC's (RFC 5322, 3.3).
    known = written.endswith("-0000")
    return date.replace(tzinfo=UTC), () if known else (Repair.DATE_WITHOUT_ZONE,)


def _four_digits(offset: re.Match[str]) -> str:
    """Write an offset as RFC 5322 wants it; raises ValueError for one that is none."""
    sign, hours, minutes = offset.groups("")
    if not minutes and len(hours) > 2:
        hours, minutes = hours[:-2], hours[-2:]
    if len(hours) > 2 or len(minutes) not in (0, 2) or minutes > "59":
        raise ValueError("this is no offset from UTC")
    return f" {sign}{hours:0>2}{minutes:0>2}"


def _usual_date(
    day: bytes, month: bytes, year: bytes, hour: bytes, minute: bytes, second: bytes,
    sign: bytes, hours: bytes, minutes: bytes,
) -> datetime:  # fmt: skip
    """Read the parts of a date; raises ValueError for one that does not exist."""
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    if offset >= _DAY:
        raise ValueError("no zone is a day from UTC")
    local = datetime(
        int(year), _MONTHS.get(month, 0), int(day), int(hour), int(minute), int(second), tzinfo=UTC
    )
    return local + offset if sign == b"-" else local - offset
