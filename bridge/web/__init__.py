"""The operators' side: health, readiness, metrics, and the server of their pages."""

from bridge.web.gauges import Gauges
from bridge.web.health import Condition, Health
from bridge.web.server import WebServer

__all__ = ["Condition", "Gauges", "Health", "WebServer"]
