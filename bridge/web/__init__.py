"""What is served on `[http]`: health, readiness, metrics and the API."""

from bridge.web.api import Api, Bridge, EventsApi
from bridge.web.gauges import Gauges
from bridge.web.health import Condition, Health
from bridge.web.server import WebServer

__all__ = ["Api", "Bridge", "Condition", "EventsApi", "Gauges", "Health", "WebServer"]
