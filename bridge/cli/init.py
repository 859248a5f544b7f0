"""`smsbridge init`: writes a first config, asking for what the options don't say."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from bridge import app
from bridge.cli.check import check
from bridge.cli.options import with_json
from bridge.config.load import PLACES, load_file
from bridge.config.secret_address import random_address
from bridge.config.settings import TrustSettings
from bridge.errors import BridgeError, ConfigError, ConfigErrors
from bridge.operations.setup import Answers, Place, ProviderAnswers, provider_problem, remove, write
from bridge.providers import PRESETS

_SYSTEM_FOLDER: Final = Path("/etc/smsbridge")
_SYSTEM_STORE: Final = "sqlite:////var/lib/smsbridge/bridge.db"
# Which option answers a problem with a key of the provider's table, and what is asked for it.
_OPTIONS: Final = {
    "time_zone": ("--time-zone", "Time zone of its timestamps, as Europe/Rome"),
    "region": ("--region", "Country of numbers without +, as IT"),
    "senders": ("--sender", "Address that its mails come from"),
    "template.to": ("--to", "Your own number, as +39…"),
}
_TRUST: Final = {
    "networks": "networks that its mails come from, as 127.0.0.0/8",
    "recipients": "secret address that only the provider knows, or @sms.example.com to make one",
    "dkim": "domains that sign its mails",
}


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--provider", metavar="FORMAT", help="A format of `smsbridge providers list`.")
@click.option("--time-zone", help="The zone of the provider's timestamps, if they carry none.")
@click.option("--region", help="The country of numbers without +, as IT.")
@click.option("--sender", "senders", multiple=True, help="An address that its mails come from.")
@click.option("--to", help="Your own number, for formats whose mails don't name it.")
@click.option(
    "--trust", multiple=True, metavar="KIND=VALUE",
    help="Evidence, as networks=127.0.0.0/8 or recipients=@sms.example.com (makes an address).",
)  # fmt: skip
@click.option("--endpoint", default="crm", show_default=True, help="Your name for the receiver.")
@click.option("--url", help="Where webhooks are sent.")
@click.option("--listen", default="127.0.0.1:2525", show_default=True, help="Where SMTP listens.")
@click.option("--http", default="127.0.0.1:8080", show_default=True, help="Health and metrics.")
@click.option("--store", help="The database; default: bridge.db beside the config.")
@click.option("--systemd", is_flag=True, help="For a service: /etc, /var/lib and a unit drop-in.")
@click.option("--user", default="smsbridge", show_default=True, help="The service's account.")
@click.option(
    "--units", type=click.Path(path_type=Path), default="/etc/systemd/system", show_default=True,
    help="systemd's folder, for the drop-in.",
)  # fmt: skip
@with_json
@click.pass_context
def init(context: click.Context, /, as_json: bool, **options: Any) -> int:
    """Write a first config, its signing secret and a unit drop-in (--systemd); then check it.

    FOLDER is where they are written; default: this one, or /etc/smsbridge with --systemd. On a
    terminal, what the options don't say is asked for. Nothing is overwritten, and nothing is
    written if the config would be invalid. Exits like `check`. JSON: that of `check`.
    """
    place = _place(options)
    answers = Answers(
        provider=_ask_provider(options),
        endpoint=options["endpoint"],
        url=options["url"] or _ask("--url", "URL that webhooks are sent to"),
        listen=options["listen"],
        http=options["http"],
        store=options["store"] or (_SYSTEM_STORE if options["systemd"] else "sqlite:///bridge.db"),
    )
    written = write(answers, place)
    try:
        file = load_file(place.config)
        problems = [
            line for each in app.problems(file.settings) for line in file.locate(each).lines
        ]
        if problems:
            raise ConfigErrors(problems)
    except BridgeError:
        remove(written)
        click.echo("nothing was written, since the config would be invalid:", err=True)
        raise
    for path in written:
        click.echo(f"wrote {path}", err=True)
    code: int = context.invoke(check, look=False, config=place.config, as_json=as_json)
    if not as_json:
        _print_next(place, answers, systemd=options["systemd"])
    return code


def _place(options: dict[str, Any]) -> Place:
    if not options["systemd"]:
        return Place(options["folder"] or Path())
    folder = (options["folder"] or _SYSTEM_FOLDER).absolute()
    return Place(folder, options["user"], options["units"], _own_command())


def _own_command() -> str:
    """Return the command line that started us, as a unit's ExecStart= takes it."""
    program = Path(sys.argv[0]).absolute()
    if program.name == "smsbridge":
        return str(program)
    return f"{sys.executable} -m bridge"


def _ask(option: str, question: str, problem: str = "") -> str:
    """Ask on a terminal; without one, name the option that answers."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"{option}: {problem}" if problem else f"{option} is needed")
    if problem:
        click.echo(problem, err=True)
    return str(click.prompt(question, err=True))


def _ask_provider(options: dict[str, Any]) -> ProviderAnswers:
    """Complete the provider's table, asking for just what its format needs."""
    wanted = options["provider"]
    if not wanted:
        wanted = _ask("--provider", f"Whose mails? ({', '.join(sorted(PRESETS))})")
    answers = ProviderAnswers(
        wanted,
        time_zone=options["time_zone"],
        region=options["region"],
        senders=options["senders"] or None,
        to=options["to"],
        trust=_trust(options["trust"]) or _ask_trust(),
    )
    while (problem := provider_problem(answers)) is not None:
        if problem.key not in _OPTIONS:
            raise ConfigError(f"providers.{wanted}.{problem.key}", problem.problem)
        option, question = _OPTIONS[problem.key]
        answer = _ask(option, question, problem.problem)
        if problem.key == "senders":
            answers = replace(answers, senders=[answer])
        else:
            field = problem.key.removeprefix("template.")
            answers = replace(answers, **{field: answer})  # type: ignore[arg-type]
    return answers


def _trust(given: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in given:
        kind, equals, value = each.partition("=")
        if kind not in TrustSettings.model_fields:
            known = ", ".join(TrustSettings.model_fields)
            raise click.UsageError(f"--trust {each}: {kind!r} is no kind of evidence: {known}")
        if kind != "anyone" and not (equals and value):
            raise click.UsageError(f"--trust {each}: needs a value, as in networks=127.0.0.0/8")
        found.setdefault(kind, []).append(_completed(kind, value))
    return found


def _completed(kind: str, value: str) -> str:
    """Return a domain alone, where a secret address belongs, as an address that nobody guesses."""
    return random_address(value) if kind == "recipients" and value.startswith("@") else value


def _ask_trust() -> dict[str, list[str]]:
    if not sys.stdin.isatty():
        raise click.UsageError(
            "--trust is needed: anyone can forge a From header; for example "
            "--trust networks=127.0.0.0/8 (docs/evidence.md)"
        )
    click.echo("Why is its mail to be trusted?", err=True)
    for kind, meaning in _TRUST.items():
        click.echo(f"  {kind}: {meaning}", err=True)
    kind = click.prompt("Kind of evidence", type=click.Choice(list(_TRUST)), err=True)
    values = str(click.prompt(_TRUST[kind], err=True)).split()
    return {kind: [_completed(kind, value) for value in values]}


def _print_next(place: Place, answers: Answers, *, systemd: bool) -> None:
    command = _typed()
    named = "" if place.config in PLACES else f" -c {shlex.quote(str(place.config))}"
    start = f"{command} run{named}"
    if systemd:
        socket = "smsbridge.socket " if answers.listen.startswith("systemd:") else ""
        start = f"systemctl enable --now {socket}smsbridge.service"
        command = f"sudo -u {shlex.quote(place.user or '')} {command}"
    click.echo(f"\nThe receiver needs the secret in {place.secret(answers.endpoint)}.")
    if "recipients" in answers.provider.trust:
        click.echo("The provider must send its mails to the secret address, which stands in")
        click.echo(f"{place.config} below [providers.trust].")
    click.echo("Next:")
    click.echo(f"    {start}")
    click.echo(f"    {command} send-test{named}")


def _typed() -> str:
    """Return our command as it was typed: that of a checkout isn't found by its name alone."""
    here = Path(sys.argv[0])
    given = here.name == "smsbridge" and len(here.parts) > 1 and not here.is_absolute()
    return shlex.quote(str(here)) if given else "smsbridge"
