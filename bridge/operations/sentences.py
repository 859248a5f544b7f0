"""Says in sentences what the documents hold: for commands and the page alike.

Commands stand between backticks. What a peer wrote is quoted as it is: whoever shows it makes it
safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.model import DeliveryState, EndpointState, Reason
from bridge.operations.documents import Document

_RESULTS: Final = {
    "delivered": "That delivered it.",
    "retry": "It is tried again.",
    "held": "It is held.",
    "dead": "It was the last of its schedule.",
}
_WHYS: Final = {
    Reason.UNDECODABLE: "It cannot be taken apart as a mail",
    Reason.NO_SENDER: "It has no sender that it could be known by",
    Reason.NO_PROVIDER: "No provider of the config knows it",
    Reason.UNTRUSTED: "Its provider's evidence is missing, so anybody may have sent it",
    Reason.UNREADABLE: "Its provider is known and believed, but the SMS was not found in it",
    Reason.INTERNAL: "A fault of smsbridge kept it from being read",
}


def why(delivery: Document) -> str | None:
    """Return why a delivery has not arrived, as far as there is something to say."""
    if delivery["behind"] is not None:
        return f"waits behind delivery {delivery['behind']}"
    if delivery["waits_for_rate"] is not None:
        return f"waits for its turn: the endpoint's rate is {delivery['waits_for_rate']}"
    reason: str | None = delivery["reason"] or delivery["last_error"]
    return reason


def about_delivery(delivery: Document) -> str:
    """Say how a delivery stands, and why."""
    because = why(delivery)
    made = delivery["attempts"]
    tries = f"{made} attempt{'' if made == 1 else 's'}"
    match DeliveryState(delivery["state"]):
        case DeliveryState.DELIVERED:
            return f"Delivered, with {tries}."
        case DeliveryState.FILTERED:
            return f"The endpoint doesn't want it: {because or 'its filter says so'}."
        case DeliveryState.DEAD:
            return (
                f"Given up after {tries}{_tail(because)}. Nothing is lost: a retry begins a new "
                "schedule."
            )
        case DeliveryState.HELD:
            return f"Held{_tail(because)}. It goes out when its endpoint is resumed."
        case DeliveryState.PENDING:
            if delivery["under_way"]:
                return f"Attempt {max(made, 1)} is under way."
            if not made:
                return f"Waits for its first attempt{_tail(because)}."
            return f"Not delivered yet, after {tries}{_tail(because)}."


def about_attempt(attempt: Document) -> str:
    """Say how an attempt ended, and what follows from that."""
    took = f"{attempt['seconds']:g} s"
    detail = attempt["detail"]
    if attempt["status"] is not None:
        ended = f"Answered {attempt['status']} after {took}{_tail(detail)}."
    elif attempt["sent"]:
        ended = f"No answer after {took}{_tail(detail or attempt['error'])}; it may have arrived."
    else:
        ended = f"Not sent, after {took}{_tail(detail or attempt['error'])}."
    notes = [ended, _RESULTS.get(attempt["result"], f"Result: {attempt['result']}.")]
    if attempt["failover"]:
        notes.append("It went to the failover URL.")
    if attempt["lease_lost"]:
        notes.append("Its lease had ended by then, so another bridge may have tried it, too.")
    return " ".join(notes)


def about_failure(failure: Document) -> str:
    """Say why the last attempt that failed did, as the rest of a sentence about its delivery."""
    because = failure["detail"] or failure["error"] or f"answered {failure['status']}"
    return f"failed: {because} ({failure['result']})."


def about_endpoint(endpoint: Document) -> str:
    """Say what an endpoint's state means for its deliveries."""
    match EndpointState(endpoint["state"]):
        case EndpointState.ACTIVE:
            return "Active: deliveries go out as they come."
        case EndpointState.PAUSED:
            return f"Paused by an operator{_tail(endpoint['held'])}. Deliveries wait; none is lost."
        case EndpointState.REFUSED:
            return (
                f"It refused{_tail(endpoint['held'])}. Deliveries wait until an operator resumes "
                "it; none is lost."
            )
        case EndpointState.FAILING:
            return (
                "Failing: too many attempts failed, so one at a time is made until one is answered "
                "well."
            )


def about_ping(answer: Document) -> str:
    """Say how a ping was answered."""
    if answer["ok"]:
        return f"It was taken: answered {answer['status']} after {answer['seconds']:g} s."
    if answer["status"] is None:
        return f"It did not arrive{_tail(answer['detail'] or answer['error'])}."
    return (
        f"It was not taken: answered {answer['status']}. Receivers answer 2xx to types that they "
        "don't know."
    )


def about_way(arrival: Document) -> str:
    """Say by which way an arrival came in, and what it became."""
    ways = {
        "smtp": "A mail by SMTP", "imap": "A mail from a mailbox",
        "file": "A mail from a file", "http": "A provider's post",
    }  # fmt: skip
    peer = f", from {arrival['peer']}" if arrival["peer"] else ""
    became = {
        "message": "It brought this message.",
        "duplicate": "It repeats a message that was here, so nothing was sent again.",
        "ignored": f"Its provider says that it is no SMS{_tail(arrival['detail'])}.",
        "discarded": f"An operator discarded it{_tail(arrival['discarded_because'])}.",
    }.get(arrival["outcome"], "")
    way = ways.get(arrival["source"], arrival["source"])
    return f"{way} ({arrival['source_name']}){peer}. {became}".strip()


def about_trust(arrival: Document) -> str | None:
    """Say why an arrival was believed; None where nothing was asked for."""
    trust = arrival["trust"]
    return None if trust is None else f"Believed for its {trust['by']}: {trust['detail']}."


def about_quarantine(arrival: Document) -> str:
    """Say why an arrival became no message."""
    reason = arrival["reason"]
    known = _WHYS.get(Reason(reason)) if reason else None
    return f"{known or 'It became no message'}{_tail(arrival['detail'])}."


def advice(arrival: Document, explained: Document | None) -> Iterator[str]:
    """Say what would make a quarantined arrival readable; `explained` as `explain_mail` has it."""
    provider = arrival["provider"]
    named = f"`[[providers]]` {provider!r}" if provider else "a provider"
    match arrival["reason"]:
        case Reason.UNDECODABLE:
            yield (
                "No config makes it readable. If mail programs show it as a mail, keep the raw "
                "mail and report it."
            )
        case Reason.NO_SENDER:
            yield (
                "Declare a provider that knows its mails by another mark than the sender: a "
                "header, a subject, an address that the mail was sent to."
            )
        case Reason.NO_PROVIDER:
            yield "If it is one of your providers under a new address, add that to its `senders`."
            yield (
                "If it is a company that is not in the config yet, add a `[[providers]]` table: "
                "`smsbridge providers list` names the formats that are known."
            )
            yield (
                "If it is no SMS at all, discard it: `smsbridge quarantine discard "
                f"{arrival['id']} --because TEXT`."
            )
        case Reason.UNTRUSTED:
            yield (
                "If it did come from the company, add the evidence that its mails bring to "
                f"`[providers.trust]` of {named}: `smsbridge trust show` says who could get in "
                "by each kind."
            )
            yield "If not, somebody pretends to be your provider: leave it here, or discard it."
        case Reason.UNREADABLE:
            yield from _missing(explained)
            yield f"Change the declaration of {named} until it is found."
        case _:
            yield (
                "The log has the place of the fault: report it. Read the mail again after an "
                "upgrade."
            )


def _missing(explained: Document | None) -> Iterator[str]:
    if explained is None or explained["matched"] is None:
        return
    absent = explained["missing"]
    fields = dict.fromkeys(each["field"] for each in explained["found"])
    there = ", ".join(each for each in fields if each not in absent) or "nothing"
    missing = ", ".join(absent)
    yield f"Its provider knows it by this: {explained['matched']}."
    yield f"Found in it: {there}" + (f"; missing: {missing}." if missing else ".")


def _tail(because: str | None) -> str:
    return f": {because.rstrip('.')}" if because else ""
