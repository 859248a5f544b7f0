"""Builds the endpoint that a command names."""

from __future__ import annotations

from bridge import app
from bridge.config.load import ConfigFile
from bridge.config.values import nearest
from bridge.delivery.endpoint import Endpoint
from bridge.errors import ConfigError, NotFound


def endpoint_named(file: ConfigFile, name: str) -> Endpoint:
    """Build an endpoint of the config; raises NotFound with the nearest name."""
    try:
        known = {each.name: each for each in app.endpoints_of(file.settings)}
    except ConfigError as error:
        raise file.locate(error) from None
    if name not in known:
        near = nearest(name, sorted(known))
        raise NotFound(f"no endpoint {name!r}" + (f", did you mean {near!r}?" if near else ""))
    return known[name]
