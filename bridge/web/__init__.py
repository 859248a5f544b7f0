"""The HTTP server for operators: health, readiness and metrics."""

from bridge.web.health import Health
from bridge.web.server import WebServer

__all__ = ["Health", "WebServer"]
