"""A declared provider's mistakes are told at load, with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.load import load, load_file
from bridge.errors import ConfigError, ConfigErrors
from bridge.providers import build

PLACES = """headers = { A = 'x' }
from = { line = 1 }
to = { line = 2 }
body = { all = true }
date = { line = 3 }
"""
HEAD = """[[providers]]
name = "acme"
trust = { anyone = true }
[providers.template]
"""


def refusal(folder: Path, text: str) -> str:
    """Load and build a config that must be refused; give the one line that says why."""
    path = folder / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        load_and_build(path)
    (line,) = caught.value.lines
    return line.removeprefix(f"{path}: ")


def load_and_build(path: Path) -> None:
    file = load_file(path)
    try:
        build(file.settings.providers)
    except ConfigError as error:
        raise file.locate(error) from None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "to = { subject = '(a' }",
            "line 5: providers.acme.template.to.subject: is not a valid pattern",
        ),
        (
            "footers = ['ok', '(a']",
            "line 5: providers.acme.template.footers[1]: is not a valid pattern",
        ),
        ("footers = '(a'", "line 5: providers.acme.template.footers: is not a valid pattern"),
        ("split = 3", "line 5: providers.acme.template.split: must be a pattern in quotes"),
        ("from = { subject = '(a)(b)' }", "template.from.subject: has several groups"),
        ("headers = { X-A = '[' }", "line 5: providers.acme.template.headers"),
        ("headers = { 'a b' = 'x' }", "'a b' is no header's name"),
        ("from = { header = 'X A' }", "template.from.header: 'X A' is no header's name"),
        ("from = { lable = 'From' }", "unknown key 'lable', did you mean 'label'?"),
        ("frm = { label = 'From' }", "unknown key 'frm', did you mean 'from'?"),
        ("from = {}", "template.from: must name exactly one place"),
        ("from = { label = 'a', line = 1 }", "must name exactly one place"),
        ("from = { subject = 'a', pattern = 'b' }", "needs no pattern beside subject"),
        ("from = 'From'", "template.from: must be a place, like"),
        ("from = { line = 0 }", "lines are counted from 1"),
        ("from = { json = 'a/b' }", "template.from.json: 'a/b' is no JSON pointer"),
        ("from = { json = '/a~2' }", "is no JSON pointer"),
        ("from = { address = 'cc' }", "template.from.address: must be one of 'from', 'to'"),
        ("from = { after_blank = false }", "template.from.after_blank: must be one of True"),
        ("from = { label = '' }", "a label is what stands in front of the colon"),
        ("date_format = '%Y/%d %H:%M'", "leaves out a part: month, day, hour and minute"),
        ("date_format = '%Y-%m-%d %I:%M'", "leaves out a part"),
        ("date_format = '\u0966%d.%m.%Y %H:%M'", "can never match: no time has such a digit"),
        (
            'date_format = "%d.%m.%Y\\n%H:%M"',
            "can never match: no time has such a digit or control",
        ),
        ("date_format = 'unix'", "is none of epoch, epoch_ms, rfc2822, iso8601, gsm"),
        ("months = ['Januar']", "template.months: must be the twelve names of the months"),
        (f"months = {['x'] * 12}", "template.months: must be the twelve names of the months"),
        (
            "months = ['\u0661', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l']",
            "a month's name is one of letters",
        ),
        ("zones = { CEST = 'Europe/Berlin' }", "'Europe/Berlin' is no offset from UTC"),
        ("zones = { CEST = '+15:00' }", "'+15:00' is no offset from UTC, like \"+02:00\""),
        ("zones = { CEST = 2 }", "2 is no offset from UTC"),
        ("zones = { 'C T' = '+02:00' }", "'C T' is no name of a zone"),
        ("zones = '+02:00'", "template.zones: must be a table of names and offsets"),
        ("part = 'txt'", 'template.part: must be "plain", "html", or a file'),
        ("part = { file = '(' }", "template.part.file: is not a valid pattern"),
        ("part = {}", "template.part: must name either a version of the text, or a file"),
        ("part = { version = 'rtf' }", "template.part.version: must be one of 'plain', 'html'"),
        ("split = {}", "template.split: must name either the lines between the SMS, or the head"),
        ("split = { between = 'a', head = 'b' }", "must name either"),
        ("split = { head = '(' }", "template.split.head: is not a valid pattern"),
        ("to = { value = 'x', encoded = 'xml' }", "nothing is encoded beside value"),
        ("to = { line = 1, encoded = 'rot13' }", "template.to.encoded: must be one of 'base64'"),
        ("to = { join = [{ line = 1 }] }", "join names two places or more"),
        (
            "to = { join = [{ line = 1 }, { join = [{ line = 1 }, { line = 2 }] }] }",
            "none that joins others",
        ),
        ("date_format = '%Q'", "is no format that can be read"),
        ("ignore = [{ subject = 'x' }]", "template.ignore[0].why: is missing"),
        ("ignore = [{ why = 'x' }]", "set what identifies such a mail"),
        ("ignore = [{ why = '', subject = 'x' }]", "template.ignore[0].why: must not be empty"),
        # found when it is built
        ("body = { all = true }", "providers.acme.senders: nothing identifies"),
        ("headers = { A = 'x' }", "template.from: is missing: say who sent the SMS"),
        (
            "headers = { A = 'x' }\nfrom = { line = 1 }\nbody = { all = true }",
            'template.to: is missing: say which number it was sent to, like to = { label = "To" }',
        ),
        (PLACES, "template.date_format: is missing"),
        (
            PLACES.replace("{ all = true }", "{ join = [{ line = 3 }, { line = 4 }] }"),
            "template.body: a text is not joined",
        ),
        (
            PLACES + f"date_format = 'gsm'\nmonths = {[f'm{n}a' for n in 'abcdefghijkl']}",
            "template.months: no date_format has a month's name",
        ),
        (
            PLACES + "date_format = '%Y%m%d%H%M%S'",
            "providers.acme.time_zone: times like '%Y%m%d%H%M%S' carry no zone",
        ),
    ],
)
def test_each_mistake_has_its_sentence(tmp_path: Path, text: str, line: str) -> None:
    """What is wrong, where, and what to write instead."""
    assert line in refusal(tmp_path, HEAD + text)


def test_a_place_under_its_own_header_has_its_own_line(tmp_path: Path) -> None:
    """Tables that are written out are told by their own lines."""
    text = HEAD + "split = 'x'\n[providers.template.from]\nline = 0\n"
    assert refusal(tmp_path, text).startswith("line 7: providers.acme.template.from.line: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("labels = { form = 'From' }", "unknown key 'form', did you mean 'from'?"),
        ("labels = { from = [] }", "labels.from: must not be empty"),
        ("subject = '('", "providers.agile.subject: is not a valid pattern"),
        ("template = { split = 'x' }\npreset = 'agile'", "agile is written in Python"),
    ],
)
def test_what_cannot_be_set_of_a_built_in_one_is_told(tmp_path: Path, text: str, says: str) -> None:
    """The settings of providers that are written in Python are as strict."""
    head = '[[providers]]\nname = "agile"\ntime_zone = "Europe/Rome"\ntrust = { anyone = true }\n'
    assert says in refusal(tmp_path, head + text)


def test_a_preset_that_was_not_named_is_hinted_at(tmp_path: Path) -> None:
    """Who changes a key of a built-in format and forgets `preset` is told so."""
    text = HEAD.replace("acme", "kalkun") + "to = { value = '+391' }"
    assert 'write preset = "kalkun"' in refusal(tmp_path, text)


def test_one_and_several_may_be_written_alike(tmp_path: Path) -> None:
    """A single label, place, format or footer needs no list."""
    path = tmp_path / "config.toml"
    path.write_text(
        HEAD + "from = { label = 'F' }\nto = [{ label = ['T'] }]\nfooters = 'x'\n"
        "date_format = 'epoch'\n"
    )
    template = load(path).providers[0].template
    assert template is not None
    assert template.sender is not None
    assert template.to is not None
    assert (template.sender[0].label, template.to[0].label) == (("F",), ("T",))
    assert (template.footers[0].text, template.date_format) == ("x", ("epoch",))
