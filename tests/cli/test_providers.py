"""`smsbridge providers` prints what can be read, ready for a config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import SECRET, Ran

Smsbridge = Callable[..., Ran]


def test_the_list_names_every_format(smsbridge: Smsbridge) -> None:
    """Built in as TOML or as Python, each with a line that says what it reads."""
    ran = smsbridge("providers", "list", "--json")
    assert ran.code == 0
    kinds = {each["name"]: each["kind"] for each in ran.document}
    assert (kinds["didww"], kinds["agile"]) == ("toml", "python")
    assert all(each["reads"] for each in ran.document)
    assert "didww" in smsbridge("providers", "list").out


def test_a_shown_format_can_be_copied_into_a_config(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """What is printed goes beside an endpoint, and the config is right."""
    shown = smsbridge("providers", "show", "didww")
    path = tmp_path / "copied.toml"
    path.write_text(
        f'{shown.out}\n[[endpoints]]\nname = "crm"\nurl = "https://crm.internal/x"\n'
        f'secret = "{SECRET}"\n'
    )
    path.chmod(0o600)
    ran = smsbridge("check", "-c", path, "--json")
    assert ran.code == 0, ran.err
    (provider,) = ran.document["providers"]
    assert (provider["name"], provider["preset"]) == ("didww", "template")
    assert smsbridge("providers", "show", "didww", "--json").document["toml"] == shown.out


def test_formats_of_posts_are_listed_and_shown(smsbridge: Smsbridge) -> None:
    """Beside those of mails."""
    listed = {each["name"]: each for each in smsbridge("providers", "list", "--json").document}
    assert listed["telnyx"]["kind"] == "toml"
    assert listed["telnyx"]["reads"].startswith("posts: Telnyx")
    shown = smsbridge("providers", "show", "telnyx")
    assert "[providers.post.template.signature]" in shown.out
    assert smsbridge("providers", "show", "telnyx", "--json").document["toml"] == shown.out
    assert "did you mean 'telnyx'" in smsbridge("providers", "show", "telnix").err


def test_a_format_that_is_not_known_is_told(smsbridge: Smsbridge) -> None:
    """With the nearest one that is."""
    ran = smsbridge("providers", "show", "diddww")
    assert ran.code == 2
    assert "did you mean 'didww'" in ran.err
