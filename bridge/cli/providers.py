"""`smsbridge providers`: lists and shows provider formats, and tries them on mails."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from bridge import app
from bridge.cli.options import require_config, with_config, with_json
from bridge.cli.output import as_document, as_list
from bridge.cli.providers_try import try_
from bridge.errors import NotPossible
from bridge.operations.documents import Document
from bridge.providers import PRESETS, plugins, presets
from bridge.providers.posts import presets as post_presets
from bridge.providers.posts import url_of
from bridge.providers.posts.openapi import describe


@click.group()
def providers() -> None:
    """List provider formats, and try them on mails."""


providers.add_command(try_)


@providers.command("list")
@with_json
def list_(as_json: bool) -> None:
    """List the built-in formats and those of installed packages.

    A config selects one by name: preset = "didww". What reads HTTP posts is marked "posts:". JSON:
    a list of {"name", "kind", "reads", "package"}; kind is "toml", "python" or "package".
    """
    documents = [_built_in(name) for name in sorted(PRESETS)]
    documents += [_posts_of(name) for name in post_presets.DECLARED]
    documents += [_from_package(each) for each in plugins.installed()]
    if as_json:
        as_document(documents)
    else:
        as_list(("name", "kind", "reads"), documents, "none")


@providers.command()
@click.argument("name")
@with_json
def show(name: str, as_json: bool) -> None:
    """Print a format as TOML, to be copied into a config.

    JSON: {"name", "kind", "reads", "package", "toml"}.
    """
    if name in PRESETS or name in post_presets.DECLARED:
        mails = name in PRESETS
        text = presets.text(name) if mails else post_presets.text(name)
        if as_json:
            as_document({**(_built_in(name) if mails else _posts_of(name)), "toml": text})
        else:
            click.echo(text, nl=False)
        return
    others = plugins.installed()
    if any(each.name == name for each in others):
        raise NotPossible(
            f"{name} comes from a package: its documentation shows how to configure it"
        )
    near = difflib.get_close_matches(name, [*PRESETS, *post_presets.DECLARED], n=1)
    meant = f"did you mean {near[0]!r}?" if near else "`smsbridge providers list` names them"
    raise NotPossible(f"no provider {name!r} is known, {meant}")


@providers.command()
@click.argument("name")
@with_config
@with_json
def url(name: str, config: Path | None, as_json: bool) -> None:
    """Print the URL to enter in a provider's console, for the posts of a configured provider.

    It holds the token, which is a secret. JSON: {"provider", "urls"}; of several tokens the newest
    first.
    """
    settings = require_config(config).settings
    found = {each.name: each.post for each in settings.providers if each.post is not None}
    post = found.get(name)
    if post is None:
        near = difflib.get_close_matches(name, found, n=1)
        meant = f"did you mean {near[0]!r}?" if near else "add one to its [[providers]]"
        raise NotPossible(f"no provider {name!r} has a [providers.post], {meant}")
    if settings.posts.public_url is None:
        raise NotPossible(
            "[posts] public_url is not set: name the address that the provider calls, such as "
            "https://sms.example.com"
        )
    urls = [url_of(settings.posts, name, token) for token in post.all_tokens]
    if as_json:
        as_document({"provider": name, "urls": urls})
    else:
        click.echo(urls[0])


@providers.command()
@with_config
def openapi(config: Path | None) -> None:
    """Describe the listener for posts as OpenAPI 3.1, in JSON.

    It has an address for each provider of the config with a [providers.post], and every answer that
    the provider can get. Tokens are not in it.
    """
    settings = require_config(config).settings
    found = app.posts_of(settings)
    if not found:
        raise NotPossible("no provider has a [providers.post]: add one to its [[providers]]")
    as_document(describe(found.values(), settings.posts.public_url))


def _built_in(name: str) -> Document:
    kind = "toml" if name in presets.DECLARED else "python"
    return {"name": name, "kind": kind, "reads": presets.summary(name), "package": None}


def _posts_of(name: str) -> Document:
    reads = f"posts: {post_presets.summary(name)}"
    return {"name": name, "kind": "toml", "reads": reads, "package": None}


def _from_package(plugin: plugins.Plugin) -> Document:
    summary = f"(from {plugin.package})"
    if plugin.name in PRESETS:
        summary += ", unused: the built-in format of the same name has precedence"
    return {"name": plugin.name, "kind": "package", "reads": summary, "package": plugin.package}
