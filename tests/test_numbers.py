"""Numbers become E.164 where that is no guess, and stay as they came where it would be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.numbers import normalise

IMPOSSIBLE, NO_REGION = "number_impossible", "number_without_region"


@pytest.mark.parametrize(
    ("raw", "region", "value", "warning"),
    [
        ("+393301234567", None, "+393301234567", None),
        ("+39 330 123-4567", None, "+393301234567", None),
        ("\uff0b\uff13\uff19 3301234567", None, "+393301234567", None),
        ("\u202a+39\u00a03301234567\u202c", None, "+393301234567", None),
        ("+٣٩٣٣٠١٢٣٤٥٦٧", None, "+393301234567", None),
        ("+(39) 330.123/4567", None, "+393301234567", None),
        ("00393301234567", None, "+393301234567", None),
        ("00393301234567", "IT", "+393301234567", None),
        ("00393301234567", "AU", "+393301234567", None),
        ("0011393301234567", "AU", "+393301234567", None),
        ("393301234567", None, "+393301234567", None),
        ("393301234567", "IT", "+393301234567", None),
        ("14155550123", None, "+14155550123", None),
        ("61412345678", "AU", "+61412345678", None),
        ("3301234567", "IT", "+393301234567", None),
        ("3301234567", None, "3301234567", NO_REGION),
        ("0412 345 678", "AU", "+61412345678", None),
        ("0412 345 678", None, "0412 345 678", NO_REGION),
        ("06 1234567", "IT", "+39061234567", None),
        ("13812345678", "CN", "+8613812345678", None),
        ("48383", None, "48383", None),
        ("48383", "IT", "48383", None),
        ("19 99-99", "AU", "199999", None),
        ("Vodafone", "IT", "Vodafone", None),
        (" MyBank ", None, "MyBank", None),
        ("1800FLOWERS", "US", "1800FLOWERS", None),
        ("Però", None, "Però", None),
        ("+1", None, "+1", IMPOSSIBLE),
        ("+999123456789", None, "+999123456789", IMPOSSIBLE),
        ("12345678", "US", "12345678", IMPOSSIBLE),
        ("5550123", "US", "5550123", IMPOSSIBLE),
        ("+39330*", None, "+39330*", IMPOSSIBLE),
        ("3+3", None, "3+3", IMPOSSIBLE),
        ("+", None, "+", IMPOSSIBLE),
        ("", None, "", IMPOSSIBLE),
        ("9" * 500, "IT", "9" * 500, IMPOSSIBLE),
        ("4915112345678", "DE", "+4915112345678", None),  # not a landline in Leer
        ("393301234567", "DE", "+393301234567", None),
        ("0491 5112345", "DE", "+494915112345", None),
    ],
)
def test_numbers(raw: str, region: str | None, value: str, warning: str | None):
    """E.164, sender ID and short code are told apart; what is doubtful stays, with a warning."""
    assert normalise(raw, region) == (value, warning)


@given(st.text(max_size=80), st.sampled_from([None, "IT", "AU", "US"]))
def test_nothing_raises_and_nothing_is_lost(raw: str, region: str | None):
    """Any text is a number, or stays what it was but for the blanks around it."""
    value, warning = normalise(raw, region)
    assert value == raw.strip() or (warning is None and value.lstrip("+").isdigit())


@given(st.integers(100_0000, 999_9999))
def test_reading_twice_changes_nothing(tail: int):
    """A number that was normalised once is its own normal form."""
    once = normalise(f"+39330{tail}", None)
    assert normalise(once.value, "AU") == once
