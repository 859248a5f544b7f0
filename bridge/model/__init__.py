"""The words of smsbridge as frozen values: arrival, email, trust, message, delivery, outcome.

Nothing here does I/O. Every datetime is aware; durations are seconds as float; raw bytes are
never changed after they came in.
"""

from bridge.model.access import Scope, Token
from bridge.model.arrival import (
    Arrival,
    Caller,
    Cursor,
    Email,
    Envelope,
    Ignored,
    MailboxPlace,
    MailFile,
    Origin,
    Part,
    Reason,
    SourceKind,
    Text,
    Trust,
    Unreadable,
)
from bridge.model.delivery import (
    Attempt,
    Claim,
    Dead,
    Decision,
    Delivered,
    DeliveryState,
    EndpointState,
    EndpointStatus,
    Hold,
    Order,
    Outcome,
    PlannedDelivery,
    RetryAt,
)
from bridge.model.digest import BRIDGE_DIGEST, Digest
from bridge.model.message import (
    SMS_RECEIVED,
    EmailSummary,
    Event,
    Identity,
    Message,
    RawFields,
    SmsMessage,
)
from bridge.model.post import Post
from bridge.model.receipt import ArrivalOutcome, Receipt
from bridge.model.report import Details, Report

__all__ = [
    "BRIDGE_DIGEST",
    "SMS_RECEIVED",
    "Arrival",
    "ArrivalOutcome",
    "Attempt",
    "Caller",
    "Claim",
    "Cursor",
    "Dead",
    "Decision",
    "Delivered",
    "DeliveryState",
    "Details",
    "Digest",
    "Email",
    "EmailSummary",
    "EndpointState",
    "EndpointStatus",
    "Envelope",
    "Event",
    "Hold",
    "Identity",
    "Ignored",
    "MailFile",
    "MailboxPlace",
    "Message",
    "Order",
    "Origin",
    "Outcome",
    "Part",
    "PlannedDelivery",
    "Post",
    "RawFields",
    "Reason",
    "Receipt",
    "Report",
    "RetryAt",
    "Scope",
    "SmsMessage",
    "SourceKind",
    "Text",
    "Token",
    "Trust",
    "Unreadable",
]
