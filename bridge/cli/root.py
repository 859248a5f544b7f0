"""The `smsbridge` command: dispatches to subcommands, and prints every error as a sentence.

Subcommands are imported lazily: `smsbridge --help` or a typo must not wait for the database and
the web server to be imported (half a second on a small machine).
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, Final

import click

from bridge import __version__
from bridge.cli.printable import as_lines
from bridge.errors import BridgeError
from bridge.shortage import noted

# Name → the module in bridge.cli, whose command has the module's name, and its line in --help.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("init", "Write a first config, its signing secret and a unit drop-in."),
    "run": ("run", "Run the bridge until it receives SIGTERM."),
    "check": ("check", "Check the config and show what would run."),
    "reload": ("reload", "Have the running daemon take the changed config over."),
    "status": ("status", "Show whether the daemon is up and what waits."),
    "send-test": ("send_test", "Send a test mail through the running daemon."),
    "parse": ("parse", "Parse a mail file and show the result."),
    "providers": ("providers", "List provider formats, and try them on mails."),
    "trust": ("trust", "Show who could get an SMS in, and what stands in the way."),
    "demo": ("demo", "Run the whole pipeline on this machine."),
    "messages": ("messages", "List and show messages."),
    "deliveries": ("deliveries", "List, show and retry deliveries."),
    "replay": ("replay", "Deliver messages once more."),
    "retries": ("retries", "Retry many deliveries by a filter, at a rate."),
    "quarantine": ("quarantine", "List, show and reparse quarantined mail."),
    "endpoints": ("endpoints", "List, hold, resume and test endpoints."),
    "audit": ("audit", "Verify that no message is unaccounted for."),
    "damage": ("damage", "Show what was found altered or missing, and accept it."),
    "purge": ("purge", "Erase what is stored of a phone number."),
    "import": ("import_mail", "Import mails from files."),
    "reconcile": ("reconcile", "Compare a mailbox with the ledger."),
    "backup": ("backup", "Back the SQLite database up into a new file."),
    "restore": ("restore", "Restore the SQLite database from a backup."),
    "token": ("token", "Make, list and revoke the tokens that open API and page."),
    "secret": ("secret", "Generate a signing secret, or change an endpoint's."),
}

DONE: Final = 0
FOUND_WRONG: Final = 1
NOT_POSSIBLE: Final = 2
_INTERRUPTED: Final = 130  # what a shell returns after Ctrl-C
_BROKEN_PIPE: Final = 141  # what a shell returns after SIGPIPE


class _PipeClosed(Exception):
    """The reader of our output has closed the pipe; click would exit with 1."""


class Commands(click.Group):
    """The group of all commands, each imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order in which operators need them."""
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
        """Write the command list of --help without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the nearest one."""
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
        """Parse the options; --help prints at this point."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:
            raise _PipeClosed from None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _PipeClosed from None


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 success, 1 a problem was found, 2 the command could not be carried out.",
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="Config file; default: SMSBRIDGE_CONFIG, ./config.toml, /etc/smsbridge/config.toml.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def smsbridge(config: Path | None) -> None:  # read by each command's own option
    """Turn inbound SMS that arrive as e-mail into signed webhooks, and lose none."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. Never shows a traceback."""
    try:
        code = smsbridge.main(arguments, prog_name="smsbridge", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        shown = StringIO()
        error.show(shown)
        as_lines(shown.getvalue().rstrip("\n"), err=True)  # it may quote a file's name
        return NOT_POSSIBLE
    except BridgeError as error:
        _print_error(str(error))
        return NOT_POSSIBLE
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except (_PipeClosed, BrokenPipeError):
        # Flushing the buffer at interpreter exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:
        if os.environ.get("SMSBRIDGE_DEBUG") == "1":
            raise
        if (short := noted(error)) is not None:
            _print_error(short)
            return NOT_POSSIBLE
        # The exception's text may quote a mail or a number, so only its class is shown.
        _print_error(
            f"this is a bug in smsbridge ({type(error).__name__}): please report it to its "
            "authors with what SMSBRIDGE_DEBUG=1 prints, less anything private"
        )
        return NOT_POSSIBLE
    return code if isinstance(code, int) else DONE


def _print_error(sentence: str) -> None:
    as_lines(f"smsbridge: {sentence}", err=True)
