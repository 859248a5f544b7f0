"""What programs ask under `/api/v1`, with a bearer token; one file a subject.

Whatever goes wrong is told as a problem document (RFC 9457).
"""

from bridge.web.api.admin import Bridge
from bridge.web.api.api import Api
from bridge.web.api.events import EventsApi

__all__ = ["Api", "Bridge", "EventsApi"]
