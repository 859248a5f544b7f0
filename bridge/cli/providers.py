"""`smsbridge providers`: the formats that are known, and what they make of mails."""

from __future__ import annotations

import click

from bridge.cli.providers_try import try_


@click.group()
def providers() -> None:
    """Look at providers, and try mails with them."""


providers.add_command(try_)
