"""The HTTP server for operators: health, readiness and metrics."""

from bridge.web.gauges import Gauges
from bridge.web.health import Condition, Health
from bridge.web.server import WebServer

__all__ = ["Condition", "Gauges", "Health", "WebServer"]
