"""Writes the files that follow from others: completions, the man page, and the alert rules.

`make generate` after a change to a command or to the rules in docs/monitoring.md; a test compares.
`python packaging/generate.py FOLDER` writes them somewhere else.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from bridge.cli.root import smsbridge

FILES = Path(__file__).parent / "files"

_COMPLETIONS: dict[str, type[ShellComplete]] = {
    "share/bash-completion/completions/smsbridge": BashComplete,
    "share/zsh/vendor-completions/_smsbridge": ZshComplete,
    "share/fish/vendor_completions.d/smsbridge.fish": FishComplete,
}
_MAN = "share/man/man1/smsbridge.1"
_RULES = "share/smsbridge/prometheus-rules.yml"

_BEFORE = r""".\" Written by packaging/generate.py from the commands' own help.
.TH SMSBRIDGE 1 "" smsbridge "User Commands"
.SH NAME
smsbridge \- inbound SMS from e-mail to webhook
.SH SYNOPSIS
.B smsbridge
.RI [ OPTIONS ]
.I COMMAND
.RI [ ARGUMENTS ]
.SH DESCRIPTION
smsbridge receives inbound SMS that a provider sends as e-mails, by SMTP or from an IMAP mailbox,
stores them, and delivers them as signed webhooks. A mail is acknowledged only after it was
committed, and a webhook is retried until it was accepted.
.PP
The daemon is
.BR "smsbridge run" ;
systemd starts it as
.IR smsbridge.service .
All other commands can be used while it runs. Run them as its user, so that the database files keep
one owner:
.BR "sudo \-u smsbridge smsbridge " \fI...\fR
"""

_AFTER = r""".SH FILES
.TP
.I /etc/smsbridge/config.toml
The config;
.I config.example.toml
in
.I share/smsbridge
explains every setting.
.TP
.I /var/lib/smsbridge
The database, if the config says so, and the service's working directory.
.SH ENVIRONMENT
.TP
.B SMSBRIDGE_CONFIG
The config file, if
.B \-c
is not given.
.TP
.B CREDENTIALS_DIRECTORY
Where secrets given as { credential = "NAME" } are found; set by systemd.
.SH EXIT STATUS
0: done. 1: found something wrong. 2: cannot be done as asked.
.SH SIGNALS
.TP
.B SIGTERM
Finish the mails and webhooks in progress, then exit. A second one exits at once.
.TP
.B SIGHUP
Load renewed TLS certificates.
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1),
.BR systemd.exec (5)
"""


def generated() -> dict[str, str]:
    """Return path, relative to packaging/files, and text of each generated file."""
    found = {
        path: ShellComplete.source(shell(smsbridge, {}, "smsbridge", "_SMSBRIDGE_COMPLETE"))
        for path, shell in _COMPLETIONS.items()
    }
    return {**found, _MAN: _man(), _RULES: _rules()}


def _rules() -> str:
    page = (FILES.parents[1] / "docs/monitoring.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (rules,) = (block for block in blocks if "alert:" in block)
    return f"# Alerts to start from; docs/monitoring.md explains the metrics.\n{rules}"


def _man() -> str:
    context = click.Context(smsbridge, info_name="smsbridge")
    options = "".join(_options(smsbridge, context))
    commands = "".join(_commands(smsbridge, context))
    return f"{_BEFORE}.SH OPTIONS\n{options}.SH COMMANDS\n{commands}{_AFTER}"


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, inner)
        else:
            usage = " ".join([inner.command_path, *command.collect_usage_pieces(inner)])
            yield f".SS {_roff(usage)}\n"
            yield from _paragraphs(command.help or "")
            yield from _options(command, inner)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1] and (command is smsbridge or parameter.name != "help"):
            yield f".TP\n.B {_roff(record[0])}\n{_roff(_filled(record[1]))}\n"


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in textwrap.dedent(text).strip().split("\n\n"):
        if paragraph.startswith("\b"):  # click's mark of text that keeps its lines
            yield f".PP\n.nf\n{_roff(paragraph.lstrip(chr(8)).strip(chr(10)))}\n.fi\n"
        else:
            yield f".PP\n{_roff(_filled(paragraph))}\n"


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False)


def _roff(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    escaped = re.sub(r"[^\x00-\x7f]", lambda each: rf"\[u{ord(each[0]):04X}]", escaped)
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FILES
    for path, text in generated().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
