"""`smsbridge trust`: shows who could get an SMS in, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from bridge.cli.options import require_config, with_config, with_json
from bridge.cli.output import as_document, heading
from bridge.cli.printable import printable
from bridge.operations.documents import Document
from bridge.operations.trust import ways_in, who_gets_in


@click.group()
def trust() -> None:
    """Show who could get an SMS in, and what stands in the way."""


@trust.command()
@click.argument("provider", required=False)
@with_config
@with_json
def show(provider: str | None, config: Path | None, as_json: bool) -> None:
    """Show who could get an SMS of PROVIDER in, and what stands in the way.

    Without PROVIDER, of all. Any one kind of evidence is enough, so a provider is as safe as its
    weakest. Reads the config only; `check` prints the same warnings.
    JSON: {"ways_in": [{"source", "place", "who", "guards"}], "providers": [{"provider", "senders",
    "evidence": [{"kind", "accepts", "who", "guards", "sources"}], "warnings"}]}.
    """
    settings = require_config(config).settings
    providers = who_gets_in(settings, provider)
    ways = ways_in(settings)
    if as_json:
        as_document({"ways_in": ways, "providers": providers})
        return
    click.echo("ways in (evidence decides what is believed)")
    for way in ways:
        click.echo(printable(f"- {way['source']} {way['place']}: {way['who']}"))
        _guards(way["guards"])
    for each in providers:
        _print(each)


def _print(provider: Document) -> None:
    heading(provider["provider"])
    senders = printable(provider["senders"]) or "what its format expects"
    click.echo(f"- From is {senders}, which anyone can write")
    for each in provider["evidence"]:
        click.echo(f"- by {each['kind']}: {printable(each['accepts'])}")
        click.echo(f"    who: {printable(each['who'])}")
        _guards(each["guards"])
        if not each["sources"]:
            click.echo("    but: no way in of this config can carry it")
    for warning in provider["warnings"]:
        click.echo(f"- WARNING: {printable(warning)}")


def _guards(guards: Iterable[str]) -> None:
    for guard in guards:
        click.echo(f"    but: {printable(guard)}")
