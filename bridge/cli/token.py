"""`smsbridge token`: makes, lists and revokes the tokens that open API and page."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.opened import run
from bridge.cli.options import now, with_config, with_json, with_limit
from bridge.cli.output import as_document, as_list, as_page
from bridge.model import Scope
from bridge.operations import acts
from bridge.operations import tokens as operations
from bridge.process import user_name

_SCOPES = click.Choice([scope.value for scope in Scope])


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that open API and page, which are closed without one."""


@token.command()
@click.argument("name")
@click.option(
    "--scope", type=_SCOPES, required=True,
    help="read: see all but whole numbers, texts and raw mails. operate: see those, and act.",
)  # fmt: skip
@with_config
@with_json
def create(name: str, scope: str, config: Path | None, as_json: bool) -> None:
    """Make a token and print it once: the store keeps a hash of it.

    NAME is whose it is; the log of what was done names it. JSON: {"name", "scope", "token"}.
    """
    document = run(
        config,
        lambda store, _: operations.create_token(store, now, name, Scope(scope), user_name()),
    )
    if as_json:
        as_document(document)
        return
    click.echo(document["token"])
    click.echo("nobody can be shown it again: keep it where its user's secrets are", err=True)


@token.command("list")
@with_config
@with_json
def list_(config: Path | None, as_json: bool) -> None:
    """List tokens, newest first, with when each was last used, to the hour.

    JSON: a list of {"name", "scope", "created_at", "used_at", "revoked_at"}.
    """
    documents = run(config, lambda store, _: operations.list_tokens(store))
    if as_json:
        as_document(documents)
        return
    as_list(("name", "scope", "created_at", "used_at", "revoked_at"), documents, "no tokens")


@token.command()
@click.argument("name")
@with_config
@with_json
def revoke(name: str, config: Path | None, as_json: bool) -> None:
    """Revoke a token: within a second it opens nothing, nor do sessions begun with it.

    JSON: {"revoked"}.
    """
    document = run(config, lambda store, _: operations.revoke_token(store, now, name, user_name()))
    if as_json:
        as_document(document)
    else:
        click.echo(f"token {name} is revoked")


@token.command()
@with_config
@with_limit
@click.option("--before", type=int, help="Only those with a lower id: the next page.")
@with_json
def log(config: Path | None, limit: int, before: int | None, as_json: bool) -> None:
    """List what was done by API and page, and with tokens, newest first; the last 10,000 are kept.

    An act without a result was cut off by the end of the process. JSON: a list of {"id", "at",
    "who", "way", "what", "target", "why", "result"}.
    """
    documents = run(config, lambda store, _: acts.list_acts(store, limit=limit + 1, before=before))
    if as_json:
        as_document(documents[:limit])
        return
    columns = ("id", "at", "who", "way", "what", "target", "why", "result")
    as_page(columns, documents, "nothing was done", limit=limit)
