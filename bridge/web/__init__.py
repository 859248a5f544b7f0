"""What is served on `[http]`: health, readiness, metrics and the API."""

from bridge.web.api import EventsApi
from bridge.web.gauges import Gauges
from bridge.web.health import Condition, Health
from bridge.web.server import WebServer

__all__ = ["Condition", "EventsApi", "Gauges", "Health", "WebServer"]
