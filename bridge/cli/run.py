"""`smsbridge run`: the daemon."""

from __future__ import annotations

from pathlib import Path

import click

from bridge import app, logs
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
    file = require_config(config)
    try:
        return app.run(file.settings)
    except ConfigError as error:
        raise file.explain(error) from None
    except BridgeError:
        raise
    except Exception:
        # The supervisor lets a bug through on purpose: systemd starts the daemon again.
        log.exception("crashed")
        raise
