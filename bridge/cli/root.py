"""The `smsbridge` command: finds the subcommand, and turns every fault into a sentence.

Subcommands are imported only when they are called: `smsbridge --help` or a typo must not wait
for the database and the web server to be imported (half a second on a small machine).
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from bridge import __version__
from bridge.errors import BridgeError

# Name → the module in bridge.cli, whose command has the module's name, and its line in --help.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("run", "Run the bridge until it is told to stop."),
    "check": ("check", "Check the config and say what would run."),
    "parse": ("parse", "Read a mail from a file and show what it would become."),
    "providers": ("providers", "Look at the formats that can be read, and try mails with them."),
    "demo": ("demo", "Run the whole way on this machine."),
    "messages": ("messages", "Look at messages."),
    "deliveries": ("deliveries", "Look at deliveries and try them again."),
    "quarantine": ("quarantine", "Look at what became no message, and parse it again."),
    "endpoints": ("endpoints", "Look at endpoints, hold and resume them."),
    "audit": ("audit", "Prove that the ledger adds up."),
    "import": ("import_mail", "Take in mails from files."),
    "reconcile": ("reconcile", "Compare a mailbox with the ledger."),
    "secret": ("secret", "Generate a signing secret."),
}

DONE: Final = 0
FOUND_WRONG: Final = 1
NOT_POSSIBLE: Final = 2
_INTERRUPTED: Final = 130  # what a shell gives after Ctrl-C
_READER_GONE: Final = 141  # what a shell gives after SIGPIPE


class _ReaderGone(Exception):
    """Whoever read our output has closed the pipe; click would make exit code 1 of it."""


class Commands(click.Group):
    """The group of all commands, each imported when it is called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order in which they are needed."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        name, _ = COMMANDS[cmd_name]
        command = getattr(import_module(f"bridge.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list in --help without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was named, or name the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f", did you mean {near[0]!r}?" if near else f": known are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the options; --help prints already here."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:
            raise _ReaderGone from None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 found something wrong, 2 cannot be done as asked.",
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="The config file; else SMSBRIDGE_CONFIG, ./config.toml, /etc/smsbridge/config.toml.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def smsbridge(config: Path | None) -> None:  # read by the options of each command
    """Turn inbound SMS that arrive as e-mail into signed webhooks, and lose none."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. No traceback reaches a user's terminal."""
    try:
        code = smsbridge.main(arguments, prog_name="smsbridge", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return NOT_POSSIBLE
    except BridgeError as error:
        _say(str(error))
        return NOT_POSSIBLE
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except (_ReaderGone, BrokenPipeError):
        # What is still buffered would fail once more when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
    except Exception as error:
        if os.environ.get("SMSBRIDGE_DEBUG") == "1":
            raise
        # The text may quote a mail or a number, so only the class is told.
        _say(
            f"this is a bug in smsbridge ({type(error).__name__}): please report it to its "
            "authors with what SMSBRIDGE_DEBUG=1 prints, less anything private"
        )
        return NOT_POSSIBLE
    return code if isinstance(code, int) else DONE


def _say(sentence: str) -> None:
    click.echo(f"smsbridge: {sentence}", err=True)
