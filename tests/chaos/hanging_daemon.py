"""Runs the real daemon with a bug in it: while a file exists, a mailbox's source waits for ever.

    python -m tests.chaos.hanging_daemon FILE run -c config.toml

The bug is wrapped around the source from outside, here; and silence counts after five seconds.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bridge.__main__ import main
from bridge.sources.imap import liveness
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.sync import ImapSync


def _hang_while(file: Path) -> None:
    run = ImapSync.run

    async def hanging(self: ImapSync, client: ImapClient) -> int:
        if file.exists():
            await asyncio.Event().wait()
        return await run(self, client)

    ImapSync.run = hanging  # type: ignore[method-assign]


if __name__ == "__main__":
    _hang_while(Path(sys.argv.pop(1)))
    liveness.SLACK = 5.0  # type: ignore[misc]
    sys.exit(main())
