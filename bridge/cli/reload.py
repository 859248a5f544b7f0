"""`smsbridge reload`: has the running daemon take a changed config over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from bridge.cli.check import problems_of, refuse
from bridge.cli.options import require_config, with_config, with_json
from bridge.cli.output import as_document
from bridge.cli.root import DONE, FOUND_WRONG
from bridge.operations.reloading import reload_daemon


@click.command()
@click.option(
    "--wait", type=click.FloatRange(0.1), default=30.0, show_default=True,
    help="For how many seconds the daemon's answer is waited for.",
)  # fmt: skip
@click.option(
    "--pid", type=int,
    help="The daemon's process id, for a unit, in whose sandbox no other process can be seen.",
)  # fmt: skip
@with_config
@with_json
def reload(wait: float, pid: int | None, config: Path | None, as_json: bool) -> int:
    """Have the running daemon take the changed config over.

    The config is checked first; with a mistake in it, the daemon is left alone. It is asked at
    [http] listen and gets SIGHUP, so run this as its user, on its machine. Exits 1 if there are
    problems, or the daemon refuses. JSON: {"ok", "problems", "changed", "needs_restart"}: names of
    tables.
    """
    file = require_config(config)
    if problems := problems_of(file):
        return refuse(problems, as_json)
    answer = asyncio.run(reload_daemon(file.settings.http.listen, wait, pid))
    refused = [] if answer["ok"] else ["the daemon refused it: its log says why (reload.refused)"]
    if as_json:
        as_document({"ok": answer["ok"], "problems": refused, **answer})
    elif refused:
        refuse(refused, as_json)
    else:
        click.echo(f"reloaded; changed: {', '.join(answer['changed']) or 'nothing'}")
        for table in answer["needs_restart"]:
            click.echo(f"note: [{table}] changes at a restart", err=True)
    return DONE if answer["ok"] else FOUND_WRONG
