"""`smsbridge run`: the daemon."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final, cast

import click

from bridge import logs
from bridge.cli.options import require_config, with_config
from bridge.config.load import load_file
from bridge.errors import BridgeError, ConfigError

log = logs.logger("app")

_LAST_WORDS: Final = 1.0  # seconds for the log's last lines, if its reader stalls


@click.command()
@with_config
def run(config: Path | None) -> int:
    """Run the bridge until it receives SIGTERM.

    SIGTERM or Ctrl-C shuts it down gracefully: in-flight mails and deliveries are finished. A
    second one exits at once. SIGHUP reloads the TLS certificates and, from the config, providers,
    endpoints, secrets and the log level.
    """
    # Until the supervisor handles it: a certificate renewed during a database migration must not
    # kill the daemon. The new certificate is loaded later anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    file = require_config(config)
    without_unused()
    from bridge import app

    try:
        return app.run(file.settings, partial(load_file, file.path.absolute()))
    except ConfigError as error:
        raise file.locate(error) from None
    except BridgeError:
        raise
    except Exception:
        # The supervisor doesn't catch bugs on purpose: systemd restarts the daemon.
        log.exception("crashed")
        raise
    finally:
        logs.flush(_LAST_WORDS)


def without_unused() -> None:
    """Keep out of the daemon what libraries import if it is there, and do without: 12 MB of memory.

    httpx (for its own command) and Alembic's Mako (for error pages) want terminal colours. aiohttp
    wants compiled lists, which need the C++ runtime and which we read a few times a second, and
    compiled WebSockets, which nobody speaks here.
    """
    for name in ("rich", "pygments", "frozenlist._frozenlist", "aiohttp._websocket.reader_c"):
        sys.modules.setdefault(name, cast("ModuleType", None))
