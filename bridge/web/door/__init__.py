"""Who gets in, by API and page alike: hosts, origins, tokens, sessions, and every answer's headers.

Closed until a token exists. What stands behind it is given a `Visitor`.
"""

from bridge.web.door.admission import Admission
from bridge.web.door.door import Door, Refusal, Visitor
from bridge.web.door.headers import HEADERS
from bridge.web.door.sessions import Sessions

__all__ = ["HEADERS", "Admission", "Door", "Refusal", "Sessions", "Visitor"]
