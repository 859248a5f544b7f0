"""The documents: links lead somewhere, paths and commands exist, and the configs are valid."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bridge import app, providers
from bridge.cli.root import smsbridge
from bridge.config.settings import Settings
from bridge.signing import standard_webhooks
from tests.documents import PAGES, PROJECT, blocks

NAMES = [str(each.relative_to(PROJECT)) for each in PAGES]
TEXTS = {name: (PROJECT / name).read_text(encoding="utf-8") for name in NAMES}
# Decisions and changes tell of what was, so they may name what is gone.
CURRENT = [name for name in NAMES if name not in ("docs/decisions.md", "CHANGELOG.md")]


def prose(text: str) -> str:
    """Return a page without its fenced code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(text), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken_links(name: str, text: str) -> list[str]:
    """Return the relative links and #anchors of a page that lead nowhere."""
    links = re.findall(r"\]\(([^)\s]+)\)", prose(text))
    return [link for link in links if not re.match("[a-z]+:", link) and dead(name, text, link)]


def dead(name: str, text: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = ((PROJECT / name).parent / path).resolve()
    if path and not (target.exists() and target.is_relative_to(PROJECT)):
        return True
    return bool(anchor) and anchor not in anchors(target.read_text() if path else text)


def missing_paths(text: str) -> list[str]:
    """Return the paths of the project that a page names in backquotes and that don't exist."""
    roots = "|".join(
        each.name for each in PROJECT.iterdir() if each.is_dir() and each.name[0] != "."
    )
    found = re.findall(rf"`((?:{roots})/[\w./<>-]*)`", text)
    return [path for path in found if not re.search(r"[<>]|\b[A-Z]{3,}\b", path) and gone(path)]


def gone(path: str) -> bool:
    return not (PROJECT / path).exists()


class TestLinks:
    """Whoever follows a link or a path arrives."""

    @pytest.mark.parametrize("name", NAMES)
    def test_every_link_resolves(self, name: str) -> None:
        """Each relative link names a file of the project, and each #anchor a heading in it."""
        assert broken_links(name, TEXTS[name]) == []

    def test_a_broken_link_is_found(self) -> None:
        """The check above sees a missing file, a missing heading and a heading that is code."""
        text = (
            "# One\n[a](docs/none.md) [b](#two) [c](#one) [d](docs/evidence.md#nothing)\n"
            "[e](docs/evidence.md#dkim) [f](https://example.com/none)\n```\n# two\n```\n"
        )
        assert broken_links("README.md", text) == [
            "docs/none.md", "#two", "docs/evidence.md#nothing",
        ]  # fmt: skip

    @pytest.mark.parametrize("name", NAMES)
    def test_every_path_exists(self, name: str) -> None:
        """Each path that stands in backquotes is there."""
        assert missing_paths(TEXTS[name]) == []

    def test_a_missing_path_is_found(self) -> None:
        """The check above sees one; a path with a placeholder is none."""
        text = "`bridge/none.py` `bridge/app.py` `bridge/providers/<name>.py` `docs/` `x/y`"
        assert missing_paths(text) == ["bridge/none.py"]

    def test_every_page_is_linked_from_the_readme(self) -> None:
        """No document is left where nobody finds it."""
        linked = set(re.findall(r"\]\(([^)#\s]+)", TEXTS["README.md"]))
        assert set(NAMES) - linked == {"README.md"}


def test_a_wheel_is_named_as_a_file() -> None:
    """Debian 12's pipx takes a bare file name for a package on the internet."""
    named = re.findall(r"(\S*)smsbridge-[\d.]+-py3-none-any\.whl", TEXTS["docs/deployment.md"])
    assert len(named) >= 2
    assert set(named) == {"./"}


class TestArchitecture:
    """docs/architecture.md names what the code has."""

    def test_every_method_exists(self) -> None:
        """Each `Class.method` of the page is one of bridge."""
        named = re.findall(r"`([A-Z]\w+)\.(\w+)", TEXTS["docs/architecture.md"])
        assert len(named) >= 8
        known = set(methods())
        assert [pair for pair in named if pair not in known] == []

    def test_every_layer_exists(self) -> None:
        """Each module and folder of the drawing is there, and each one of bridge is in it."""
        (drawing,) = re.findall(
            r"^```\n(.*?)^```$", TEXTS["docs/architecture.md"], re.MULTILINE | re.DOTALL
        )
        drawn = set(re.findall(r"\b([a-z_]+(?:/[a-z]+)*/|[a-z_]+\.py)(?=\s|$)", drawing))
        assert [each for each in drawn if gone(f"bridge/{each}")] == []
        there = {
            each.name + "/" * each.is_dir()
            for each in (PROJECT / "bridge").iterdir()
            if not each.name.startswith("_")
        }
        assert {each.partition("/")[0] for each in there} == {
            each.partition("/")[0] for each in drawn
        }


def methods() -> Iterator[tuple[str, str]]:
    """Yield every class of bridge with each of its methods."""
    for path in (PROJECT / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                        yield node.name, inner.name


def typed(text: str) -> list[str]:
    """Return what a page shows as typed: indented lines and what stands in backquotes."""
    text = prose(text)
    return re.findall(r"^    (.*)$", text, re.MULTILINE) + re.findall(r"`([^`]+)`", text)


def invocations(text: str) -> list[list[str]]:
    """Return the words that follow `smsbridge` in each command of a page."""
    called = re.compile(r"(?:^|; |&& |sudo -u \w+ |\.venv/bin/)smsbridge ([a-z-][^;|&>)#']*)")
    lines = (" ".join(line.split()) for line in typed(text))
    return [part.split() for line in lines for part in called.findall(line)]


CONTEXT = click.Context(smsbridge)


def unknown(words: list[str]) -> str | None:
    """Return what is wrong with a command line: its command or an option is unknown."""
    command: click.Command = smsbridge
    is_value = False
    for word in words:
        if is_value:
            is_value = False
        elif isinstance(command, click.Group) and not word.startswith("-"):
            inner = command.get_command(CONTEXT, word)
            if inner is None:
                return f"no command {word}"
            command = inner
        elif word.startswith("-") and word != "-":
            options = {option: each for each in command.params for option in each.opts}
            if word not in options:
                return f"{command.name} has no option {word}"
            option = options[word]
            is_value = isinstance(option, click.Option) and not option.is_flag
    return None


def leaves(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every command that does something, with the group it is in."""
    for name in group.list_commands(CONTEXT):
        command = group.get_command(CONTEXT, name)
        if isinstance(command, click.Group):
            yield from leaves(command, (*above, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join((*above, name))


class TestCommands:
    """What the documents show as typed is what the programs take."""

    @pytest.mark.parametrize("name", CURRENT)
    def test_every_command_exists(self, name: str) -> None:
        """Each `smsbridge …` names a command and options that are there."""
        wrong = [unknown(words) for words in invocations(TEXTS[name])]
        assert [each for each in wrong if each] == []

    def test_an_unknown_command_is_found(self) -> None:
        """The check above sees a wrong command and a wrong option."""
        text = (
            "`smsbridge quarantine reread`\n\n    sudo -u x smsbridge check --all -c config.toml\n"
        )
        assert sorted(map(str, map(unknown, invocations(text)))) == [
            "check has no option --all",
            "no command reread",
        ]

    def test_every_command_is_documented(self) -> None:
        """docs/operating.md names every command but those of the first steps."""
        page = TEXTS["docs/operating.md"]
        rows = [line for line in page.splitlines() if line.startswith("| `smsbridge ")]
        named = set()
        for row in rows:
            cell = re.findall(r"`([^`]+)`", row.split("|")[1])
            group = cell[0].split()[1]
            for each in cell:
                words = [word for word in each.split() if re.fullmatch("[a-z][a-z-]*", word)]
                words = words[1:] if words[0] == "smsbridge" else words
                named.add(" ".join(words if words[0] == group else [group, *words]))
        assert set(leaves(smsbridge)) - named == {"run", "demo"}
        assert named <= set(leaves(smsbridge))

    @pytest.mark.processes
    def test_make_help_lists_every_target(self) -> None:
        """Each `make TARGET` that a page names is in `make help`."""
        listed = subprocess.run(
            ["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout
        shown = [line for name in CURRENT for line in typed(TEXTS[name])]
        named = set(re.findall(r"\bmake (?:-C \S+ )?([a-z][a-z-]*)\b", "\n".join(shown)))

        assert {"demo", "run", "setup", "test", "bench"} <= named
        assert sorted(named) == [
            target
            for target in sorted(named)
            if f"make {target} " in listed or target in ("help", "servers")
        ]


def configs(name: str) -> list[str]:
    """Return the configs of a page; in docs/providers.md each block goes on with the first one."""
    found = blocks(TEXTS[name], "toml")
    return ["".join(found)] if name == "docs/providers.md" else found


CONFIGS = [
    pytest.param(config, id=f"{name}-{number}")
    for name in CURRENT
    for number, config in enumerate(configs(name))
]


class TestExamples:
    """The examples in the documents are true."""

    def test_there_are_as_many_configs_as_ever(self) -> None:
        """No config hides from the test below behind another kind of fence."""
        assert len(CONFIGS) >= 10

    @pytest.mark.parametrize("config", CONFIGS)
    def test_its_configs_are_valid(
        self, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each config is one that smsbridge takes, and from which its providers are built."""
        monkeypatch.chdir(tmp_path)
        for name in (
            "crm.secret",
            "new.secret",
            "imap.password",
            "api.key",
            "crm.token",
            "crm-pull.token",
        ):
            secret = tmp_path / name
            secret.touch(0o600)
            secret.write_text(standard_webhooks.generate_secret())

        settings = Settings(**tomllib.loads(config))
        mails = [each for each in settings.providers if each.reads_mails]
        assert len(providers.build(mails)) == len(mails)
        read = app.posts_of(settings)
        assert all(each.reads_mails or each.name in read for each in settings.providers)

    def test_the_webhook_has_the_fields_of_the_schema(self) -> None:
        """The README's webhook shows exactly the fields that the schema has."""
        (shown,) = (json.loads(block) for block in blocks(TEXTS["README.md"], "json"))
        schema = json.loads(
            (PROJECT / "bridge" / "formats" / "sms.received.schema.json").read_text()
        )

        assert sorted(shown) == sorted(schema["properties"])
        data = schema["properties"]["data"]
        assert sorted(shown["data"]) == sorted(data["properties"])
