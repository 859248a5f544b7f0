"""Every exception that smsbridge raises on purpose.

The class carries the decision (how the other side is answered), the text carries the sentence for
the operator; nobody parses strings. A text never holds a secret, a number or a message's words.
"""

from __future__ import annotations

from collections.abc import Sequence


class BridgeError(Exception):
    """Any fault that smsbridge foresees; its text is a sentence that an operator can act on."""


class ConfigError(BridgeError):
    """A setting that cannot be used.

    `key` is the dotted path as in TOML (`endpoints.0.secret`), `problem` the sentence without
    file and key, which the loader puts in front.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


class ConfigErrors(BridgeError):
    """All that is wrong with a config file, one line each: `config.toml: line 12: key: problem`."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class StoreError(BridgeError):
    """The store could not do what was asked; nothing of it was committed."""


class StoreUnavailable(StoreError):
    """The store cannot commit right now (locked, read-only, I/O error, server away): try again."""


class StoreFull(StoreUnavailable):
    """Free space is under the low-water mark, or the disk is full: take nothing more in."""


class ResourcesShort(StoreUnavailable):
    """The process is out of descriptors, threads or memory: nothing was taken, try again."""


class QuarantineFull(StoreFull):
    """Quarantine has no room for a stranger's mail; believed mail is still taken."""


class StoreUnusable(StoreError):
    """The database is newer than this program, damaged, or not ours: do not start on it."""


class NotFound(BridgeError):
    """What the operator named is not in the store."""


class NotPossible(BridgeError):
    """What the operator asked cannot be done to this thing in its present state."""


class Changed(NotPossible):
    """Somebody else has changed what the operator looked at before acting."""


class ListenError(BridgeError):
    """An address cannot be listened on."""


class ImapError(BridgeError):
    """A mailbox could not be read or changed; the mails in it are as they were."""


class ImapRefused(ImapError):
    """The mail server refuses (login, permission, certificate): only an operator can fix that."""


class ImapLoginRefused(ImapRefused):
    """The mail server does not let us in; it may lock out who asks often."""


class ImapUnavailable(ImapError):
    """The mail server did not answer, or not now: connect anew, try again."""


class ImapTooBig(ImapUnavailable):
    """The mail server began to send more than the limit; the connection was cut at once."""


class SigningError(BridgeError):
    """A secret is malformed, or the self-test of the signature failed."""


class TokenUnavailable(BridgeError):
    """No access token can be had now (the issuer is away, a command failed): try again."""


class TokenRefused(BridgeError):
    """The issuer refuses us a token, and will until an operator mends the login."""


class TrustUnavailable(BridgeError):
    """Evidence cannot be looked for now (the DNS does not answer): nothing was taken, try again."""


def first_bridge_error(error: BaseException) -> BridgeError | None:
    """Return the first BridgeError in a group of exceptions, however deep; None without one."""
    if isinstance(error, BaseExceptionGroup):
        found = (first_bridge_error(inner) for inner in error.exceptions)
        return next((each for each in found if each is not None), None)
    return error if isinstance(error, BridgeError) else None
