"""No evidence at all: the operator has chosen to believe everyone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.model import Arrival, Email, Trust
from bridge.trust.base import Kind, Names


async def _weigh(_arrival: Arrival, _email: Email, _anyone: bool, _names: Names | None) -> Trust:
    return Trust("anyone", "the config believes everybody")


def _describe(_anyone: bool) -> Iterator[str]:
    yield "anyone"


def _who(_anyone: bool) -> str:
    return "whoever reaches smsbridge by any of the ways in"


def _guards(_anyone: bool) -> tuple[str, ...]:
    return ()


def _warnings(_anyone: bool) -> Iterator[str]:
    yield "anyone = true: whoever reaches us can make messages up"


KIND: Final[Kind[bool]] = Kind(
    name="anyone",
    proves="nothing: everyone who can reach smsbridge, by whatever route, is trusted",
    weigh=_weigh,
    describe=_describe,
    who=_who,
    guards=_guards,
    warnings=_warnings,
)
