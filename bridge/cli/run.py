"""`smsbridge run`: the daemon."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

import click

from bridge import logs
from bridge.cli.options import require_config, with_config
from bridge.errors import BridgeError, ConfigError

log = logs.logger("app")


@click.command()
@with_config
def run(config: Path | None) -> int:
    """Run the bridge until it is told to stop.

    SIGTERM or Ctrl-C ends it after what is under way; a second one ends it at once. SIGHUP reads
    the TLS certificates again.
    """
    # Until the supervisor listens to it: a certificate that is renewed while the database is
    # migrated must not end the daemon. What is read later is the new one anyhow.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    file = require_config(config)
    _without_colours()
    from bridge import app

    try:
        return app.run(file.settings)
    except ConfigError as error:
        raise file.locate(error) from None
    except BridgeError:
        raise
    except Exception:
        # The supervisor lets a bug through on purpose: systemd starts the daemon again.
        log.exception("crashed")
        raise


def _without_colours() -> None:
    """Keep what colours terminals out of the daemon: 10 MB of memory that it has no use for.

    httpx (for a command of its own) and Alembic's Mako (for error pages) load these where they
    find them, and do without where they don't.
    """
    for name in ("rich", "pygments"):
        sys.modules.setdefault(name, cast("ModuleType", None))
