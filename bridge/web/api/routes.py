"""The routes of the API, as data: the daemon serves them, and the OpenAPI document is made of them.

Functions and models are names here. What they name is imported when somebody who has a token asks
for it: a bridge whose API is closed has none of it in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bridge.model import Scope

READ: Final = Scope.READ
OPERATE: Final = Scope.OPERATE
ROOT: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: `answer` is "module:function" of this folder, the models are of `asked`.

    `given` is the model of its answer in `answers`; None: it gives bytes, a mail as it came.
    """

    method: str
    path: str
    scope: Scope
    answer: str
    summary: str
    given: str | None
    query: str = "NoQuery"
    body: str | None = None
    finds: bool = False  # what it names may not be there
    refuses: bool = False  # what it names may be in a state in which it can't be done

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.answer.partition(":")[2]

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.body is not None


def _get(path: str, answer: str, summary: str, given: str | None, query: str = "NoQuery",
         scope: Scope = READ, *, refuses: bool = False) -> Route:  # fmt: skip
    return Route("GET", path, scope, f"seeing:{answer}", summary, given, query,
                 finds="{" in path, refuses=refuses)  # fmt: skip


def _post(path: str, answer: str, summary: str, given: str, body: str = "MayGiveReason") -> Route:
    return Route("POST", path, OPERATE, f"acting:{answer}", summary, given, body=body,
                 finds="{" in path, refuses=True)  # fmt: skip


ROUTES: Final = (
    _get("/messages", "messages", "List messages", "MessageList", "MessageQuery"),
    _get("/messages/{id}", "message", "Show a message with its arrivals and deliveries",
         "MessageStory", "OneMessageQuery", refuses=True),
    _get("/arrivals", "arrivals", "List arrivals", "ArrivalList", "ArrivalQuery"),
    _get("/arrivals/{number}", "arrival", "Show an arrival", "Arrival"),
    _get("/arrivals/{number}/raw", "raw", "Give an arrival's bytes as they came", None,
         scope=OPERATE, refuses=True),
    _get("/quarantine", "quarantine", "List arrivals in quarantine", "ArrivalList",
         "QuarantineQuery"),
    _post("/quarantine/{number}/reparse", "reparse", "Read an arrival again", "Reparsed"),
    _post("/quarantine/{number}/release", "release",
          "Read an arrival again, and believe it: evidence is not asked for", "Reparsed",
          "Reasoned"),
    _post("/quarantine/{number}/discard", "discard", "End an arrival that nobody wants",
          "Discarded", "Reasoned"),
    _get("/deliveries", "deliveries", "List deliveries", "DeliveryList", "DeliveryQuery"),
    _get("/deliveries/{number}", "delivery", "Show a delivery with its attempts", "DeliveryStory"),
    _post("/deliveries/{number}/retry", "retry", "Retry a delivery now", "Retried"),
    _get("/retries", "retries", "List retries by filter", "RetryList"),
    _get("/retries/{number}", "one_retry", "Show a retry by filter and how far it is", "Retry"),
    _post("/retries/preview", "preview_retry", "Count what a filter would retry", "Previewed",
          "RetryPreview"),
    _post("/retries", "order_retry", "Retry deliveries by filter, at a rate", "Ordered",
          "RetryOrder"),
    _post("/retries/{number}/cancel", "cancel_retry", "Cancel a retry by filter", "Cancelled"),
    _get("/endpoints", "endpoints", "List endpoints", "EndpointList"),
    _get("/endpoints/{name}", "endpoint", "Show an endpoint; its ETag is its state", "Endpoint"),
    _post("/endpoints/{name}/hold", "hold", "Hold an endpoint's deliveries", "Held", "Reasoned"),
    _post("/endpoints/{name}/resume", "resume", "Release an endpoint's deliveries", "Resumed"),
    _post("/endpoints/{name}/test", "test", "Send a signed ping to an endpoint", "Pinged"),
    _get("/sources", "sources", "Show how the sources are", "Sources"),
    _get("/log", "log", "List what was done by API, page and with tokens", "ActList",
         "ListQuery"),
    _get("/config", "config", "Show the config that is in use, without secrets", "Config"),
    _get("/openapi.json", "openapi", "Give this document", "Description"),
)  # fmt: skip
