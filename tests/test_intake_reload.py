"""A config that is reloaded between the reading of a mail and the planning of its deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bridge.intake import Intake
from bridge.model import Claim, DeliveryState, Message, PlannedDelivery
from bridge.reader import Reader, Reading, ReadMessage
from tests.store.making import Clock, arrival, audited, opened, sms, sqlite_settings


class _Reloaded:
    """Endpoints that want a format which nobody wanted when the mail was read."""

    def plan(self, message: Message) -> tuple[PlannedDelivery, ...]:
        return (PlannedDelivery("crm", DeliveryState.PENDING, format="cloudevents"),)

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        """Nothing was reserved."""

    def start(self, claims: Sequence[Claim]) -> None:
        """Nothing was claimed."""


async def test_the_event_of_a_new_format_is_made_when_it_is_planned(tmp_path: Path) -> None:
    """The mail is delivered in the new format; before, it ended in quarantine as a bug."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    clock = Clock()
    (read,) = sms().messages
    reading = Reading((ReadMessage(read.message, read.identity, read.events),))
    async with opened(settings, clock=clock) as store:
        intake = Intake(Reader([], None, clock), store, _Reloaded())
        receipt = await intake.store(arrival(), reading)
        assert receipt.message_id == read.message.id
        (claim,) = await store.claim("crm", 10)
        assert claim.event.format == "cloudevents"
    assert audited(settings).ok
