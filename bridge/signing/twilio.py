"""`twilio`: HMAC-SHA1 over the URL and a form's parameters, as `X-Twilio-Signature`."""

from __future__ import annotations

import base64
import hmac
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self
from urllib.parse import parse_qsl

from bridge.errors import SigningError
from bridge.signing.text_secret import TextSecret, require_equal

# Published in the tests of Twilio's libraries.
_KNOWN_URL: Final = "https://mycompany.com/myapp.php?foo=1&bar=2"
_KNOWN_FORM: Final = (
    b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212"
    b"&Caller=%2B14158675309"
)
_KNOWN_ANSWER: Final = "RSOYDt4T1cUTdK1PDd93/VVr8B8="


@dataclass(frozen=True, slots=True)
class Twilio(TextSecret):
    """The scheme, with the URL that requests are sent to."""

    url: str = field(default="", repr=False)  # its query may be secret

    def with_url(self, url: str) -> Self:
        """Return the scheme for another URL."""
        return replace(self, url=url)

    def headers(
        self, keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
    ) -> list[tuple[str, str]]:
        """Return the headers of one attempt; the signature doesn't cover id and timestamp.

        Raises SigningError unless there is exactly one key: receivers expect one signature.
        """
        if len(keys) != 1:
            raise SigningError("the scheme twilio sends one signature: set secret, not secrets")
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        made = signature(keys[0], self.url, pairs)
        return [("webhook-id", webhook_id), ("X-Twilio-Signature", made)]

    def self_test(self) -> None:
        """Sign a request whose signature is known; raises SigningError on any difference."""
        made = self.with_url(_KNOWN_URL).headers([b"12345"], "", 0, _KNOWN_FORM)
        require_equal(made[1][1], _KNOWN_ANSWER, "twilio")


def signature(key: bytes, url: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return X-Twilio-Signature: HMAC-SHA1 over the URL and the sorted parameters, in base64."""
    values: defaultdict[str, set[str]] = defaultdict(set)
    for name, value in pairs:
        values[name].add(value)
    written = "".join(name + value for name in sorted(values) for value in sorted(values[name]))
    # SHA-1 is Twilio's choice; as an HMAC it is still secure.
    digest = hmac.digest(key, (url + written).encode("utf-8", "surrogateescape"), "sha1")
    return base64.b64encode(digest).decode("ascii")
