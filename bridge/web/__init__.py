"""The HTTP server for operators: health, readiness and metrics."""

from bridge.web.health import Condition, Health
from bridge.web.server import WebServer

__all__ = ["Condition", "Health", "WebServer"]
