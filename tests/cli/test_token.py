"""`smsbridge token`: a token is printed once, and the log says who made and ended it."""

from __future__ import annotations

from collections.abc import Callable

from tests.cli.conftest import Filled, Ran

Smsbridge = Callable[..., Ran]


def test_a_token_is_printed_once(smsbridge: Smsbridge, filled: Filled) -> None:
    """And is neither in a list, nor in the log, nor in the file."""
    config = ("-c", filled.config)
    ran = smsbridge("token", "create", "ann", "--scope", "operate", *config)
    token = ran.out.strip()
    assert (ran.code, len(token), token in ran.err) == (0, 48, False)
    ran = smsbridge("token", "create", "ann", "--scope", "read", *config)
    assert (ran.code, "token revoke ann" in ran.err) == (2, True)
    (listed,) = smsbridge("token", "list", *config, "--json").document
    log = smsbridge("token", "log", *config, "--json").document
    for document, command in ((listed, "list"), (log[0], "log")):
        told = smsbridge("token", command, "--help").out
        assert [key for key in document if f'"{key}"' not in told] == []
        assert token not in str(document)
    assert [each["result"][:37] for each in log] == [
        "not done: there is a token 'ann': rev",
        "done",
    ]
    assert token.encode() not in b"".join(
        each.read_bytes() for each in filled.config.parent.glob("*.db*")
    )


def test_a_scope_is_chosen(smsbridge: Smsbridge, filled: Filled) -> None:
    """None is the default: who forgets it should not give away the right to act."""
    ran = smsbridge("token", "create", "ann", "-c", filled.config)
    assert (ran.code, "--scope" in ran.err) == (2, True)


def test_a_revoked_one_is_gone(smsbridge: Smsbridge, filled: Filled) -> None:
    """Once, and the second time it says that there is none."""
    config = ("-c", filled.config)
    made = smsbridge("token", "create", "ann", "--scope", "read", *config, "--json").document
    assert (made["name"], made["scope"]) == ("ann", "read")
    assert smsbridge("token", "revoke", "ann", *config, "--json").document == {"revoked": "ann"}
    ran = smsbridge("token", "revoke", "ann", *config)
    assert (ran.code, "there is no token 'ann'" in ran.err) == (2, True)
