"""Posts that are declared in TOML: by an operator, or by a preset in `presets/`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from bridge import posts
from bridge.config.post_template import Places, PostTemplateSettings
from bridge.config.signed_text import URL
from bridge.config.times import without_year
from bridge.errors import ConfigError
from bridge.model import Ignored, Post, Reason, SmsMessage, Trust, Unreadable
from bridge.providers.base import own_id
from bridge.providers.formats import read_formats
from bridge.providers.posts import presets
from bridge.providers.posts.base import (
    Answer,
    Client,
    Context,
    Fields,
    Posts,
    Read,
    by_token,
    message,
)
from bridge.providers.posts.login import Login
from bridge.providers.posts.signature import Signature, parse_keys
from bridge.providers.posts.values import Sheet, open_post
from bridge.providers.template import require_readable_times

# Places in play × characters, of all that a post's patterns are tried on; at most 16 ns each.
_STEPS: Final = 2_000_000
_MAX_COPIES: Final = 8 * 1024**2  # messages × bytes: the raw post is stored with each message
_NOT_SIGNED: Final = "the body is not signed"
_NEEDED: Final = {
    "from": 'who sent the SMS, like from = { parameter = "from" }',
    "body": "where the text is, like body = { json = '$.data.text' }",
    "to": 'which number it was sent to, like to = { parameter = "to" }; where the post does not '
    "have it, set to in [providers.post] to your number",
}


def build(context: Context, base: presets.Preset | None = None) -> Posts:
    """Build declared posts; their settings override those of the preset. Raises ConfigError."""
    template = _merged(context.post.template, base.template if base else None)
    if template.conflict is not None:
        raise ConfigError(f"{context.key}.post.template", template.conflict)
    zone = context.settings.time_zone or (base.time_zone if base else None)
    settings = context.settings.model_copy(update={"time_zone": zone})
    context = replace(context, settings=settings)
    for name, places in (("from", template.sender), ("body", template.body)):
        if not places:
            raise ConfigError(
                f"{context.key}.post.template.{name}", f"is missing: set {_NEEDED[name]}"
            )
    if not template.to and context.post.to is None:
        raise ConfigError(f"{context.key}.post.to", f"is missing: set {_NEEDED['to']}")
    require_readable_times(template, zone, context.key, "post.template")
    if any(map(without_year, template.date_format)):
        raise ConfigError(
            f"{context.key}.post.template.date_format",
            "a time without a year needs a mail's Date, and posts have none",
        )
    read = partial(_read, context, template, ZoneInfo(zone) if zone else None)
    proof = _proof(context, template)
    answer = template.answer
    return Posts(
        context.name,
        proof.verify,
        read,
        success=Answer(answer.status, answer.body.encode(), answer.type),
        methods=frozenset(template.methods),
        admit=proof.admit,
        stored=partial(posts.stored, more=_headers(template), secret=proof.secret_names),
        echo=partial(_own_id, template) if "{id}" in answer.body else None,
        challenge=proof.challenge,
        fields={
            name: " or ".join(place.shown for place in places)
            for name, places in _fields(template)
            if places
        },
    )


def _merged(
    own: PostTemplateSettings | None, base: PostTemplateSettings | None
) -> PostTemplateSettings:
    """Override a preset's template key by key."""
    if own is None or base is None:
        return own or base or PostTemplateSettings()
    return base.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


@dataclass(frozen=True, slots=True)
class _Proof:
    """What is checked when a post comes in, what may be checked again, and what is not stored."""

    verify: Callable[[Post, datetime], Trust | str]
    admit: Callable[[Post, Client, datetime], str | None]
    secret_names: frozenset[str]
    challenge: str | None


def _proof(context: Context, template: PostTemplateSettings) -> _Proof:
    login, signature = _login(context, template), _signature(context, template)
    covers = signature is not None and signature.settings.signs_body
    challenge = login.challenge if login is not None else None
    # What the caller alone shows; a signature of the body is checked by `verify`.
    shown: list[str] = []
    names: frozenset[str] = frozenset()
    if login is not None:
        shown.append(login.shown)
        names |= login.secret_names
    if signature is not None and not covers:
        place = signature.settings.place
        shown.append(f"the signature ({place.shown})")
        names |= {place.header or place.parameter or ""}

    def admit(post: Post, _client: Client, at: datetime) -> str | None:
        refused = login.refusal(post) if login is not None else None
        if refused is None and signature is not None and not covers:
            return signature.refusal(post, at)
        return refused

    if signature is not None and covers:
        return _Proof(partial(_verify, template, signature), admit, names, challenge)
    trust = Trust("token", ", ".join(["the address that was called", *shown, _NOT_SIGNED]))
    verify = (lambda _post, _at: trust) if shown else by_token
    return _Proof(verify, admit, names, challenge)


def _login(context: Context, template: PostTemplateSettings) -> Login | None:
    if template.login is None:
        context.without_password()
        return None
    username = context.post.username
    if template.login.kind == "basic" and username is None:
        raise ConfigError(
            f"{context.key}.post.username",
            f"{context.name} sends a user name and a password: set username and password",
        )
    return Login(template.login, context.passwords(), username or "")


def _signature(context: Context, template: PostTemplateSettings) -> Signature | None:
    wanted = template.signature
    if wanted is None:
        context.without_secret()
        return None
    if wanted.optional and not context.post.signing_secrets:
        return None
    secrets = context.secrets()
    try:
        keys = parse_keys(wanted, secrets)
    except ValueError as error:
        raise ConfigError(f"{context.key}.post.secret", str(error)) from None
    if wanted.names & URL and not context.urls:
        raise ConfigError(
            "posts.public_url", f"{context.name} signs the URL it calls: name the public one"
        )
    unsigned = [place.header for place in template.places if place.header is not None]
    if wanted.signs_body and unsigned:
        raise ConfigError(
            f"{context.key}.post.template",
            f"the header {unsigned[0]} is not signed, so it can't be read: name another place",
        )
    if wanted.signs_body and template.login and template.login.kind == "parameter":
        raise ConfigError(
            f"{context.key}.post.template.login.kind",
            "a signed post is stored as it is, so a password in it would be too: use a header",
        )
    return Signature(wanted, secrets, keys, context.urls)


def _verify(
    template: PostTemplateSettings, signature: Signature, post: Post, at: datetime
) -> Trust | str:
    refusal = signature.refusal(post, at)
    if refusal is not None:
        return refusal
    signed = signature.settings
    reads_query = any(place.parameter is not None for place in template.places)
    if post.query and reads_query and not signed.signs_query and not posts.is_form(post):
        return "the signature doesn't cover the query"
    covered = [f"{name}={each.text}" for name, each in signed.claims.items()]
    covered += [signed.signed.text] if signed.signed else []
    return Trust("signature", f"{signed.place.shown}: {', '.join(covered)!r}")


def _headers(template: PostTemplateSettings) -> frozenset[str]:
    """Return the headers that are needed to read a post, and to check its signature again."""
    places = list(template.places)
    signature = template.signature
    if signature is not None and signature.signs_body:
        extra = (signature.place, signature.timestamp, signature.nonce)
        places += [place for place in extra if place is not None]
    return frozenset(place.header for place in places if place.header is not None)


def _read(
    context: Context,
    template: PostTemplateSettings,
    zone: ZoneInfo | None,
    post: Post,
    at: datetime,
) -> Read:
    sheets = _sheets(template, post)
    if isinstance(sheets, str):
        return Unreadable(Reason.UNREADABLE, sheets, context.name)
    if not sheets:
        return Ignored("a post without messages", context.name)
    if len(sheets) > 1 and len(sheets) * len(post.body) > _MAX_COPIES:
        return Unreadable(
            Reason.UNREADABLE,
            f"{len(sheets)} SMS in a post of {len(post.body)} bytes are too many: the raw post is "
            f"stored with each, at most {_MAX_COPIES} bytes in total",
            context.name,
        )
    if _steps(template, post, len(sheets)) > _STEPS:
        return Unreadable(
            Reason.UNREADABLE,
            f"{len(sheets)} SMS in a post of {len(post.body)} bytes are more than this provider's "
            "patterns are tried on (more, with lower counts in them, or with paths in each item)",
            context.name,
        )
    read = [_read_one(context, template, zone, sheet, at) for sheet in sheets]
    if sheets[0].looks.over:
        return Unreadable(Reason.UNREADABLE, sheets[0].looks.why(), context.name)
    found = [each for each in read if isinstance(each, SmsMessage)]
    # One that can't be read keeps all of the post in quarantine: a reparse reads them all.
    wrong = next((each for each in read if isinstance(each, Unreadable)), None)
    if wrong is not None or not found:
        return wrong or read[0]
    return found[0] if len(found) == 1 else tuple(found)


def _steps(template: PostTemplateSettings, post: Post, items: int) -> int:
    """Return at most how much patterns search; what `ignore` matches is searched for each item."""
    size = len(post.body) + len(post.query) + sum(map(len, post.headers.values()))
    once = [place.pattern for place in template.places if place.pattern is not None]
    each = [rule.matches for rule in template.ignore if rule.matches is not None]
    weights = sum(max(1, pattern.weight) for pattern in [*once, *each * items])
    return weights * size


def _sheets(template: PostTemplateSettings, post: Post) -> Sequence[Sheet] | str:
    """Open a post: one sheet an item; or return what is wrong with it."""
    sheet = open_post(post)
    if isinstance(sheet, str) or template.each is None:
        return sheet if isinstance(sheet, str) else [sheet]
    items = sheet.at(template.each)
    if items:
        return [replace(sheet, item=item) for item in items]
    return [] if sheet.has_list(template.each) else f"there is no list at {template.each.text}"


def _read_one(
    context: Context,
    template: PostTemplateSettings,
    zone: ZoneInfo | None,
    sheet: Sheet,
    at: datetime,
) -> SmsMessage | Unreadable | Ignored:
    for rule in template.ignore:
        value = sheet.find([rule.place])
        if value is not None and (rule.matches is None or value in rule.matches):
            return Ignored(rule.why, context.name)
    if template.event:
        event = sheet.find(template.event)
        if event is None:
            detail = f"{template.event[0].shown}, the kind of event, is missing"
            return Unreadable(Reason.UNREADABLE, detail, context.name)
        if event not in template.events:
            return Ignored(f"another event than {', '.join(template.events)}", context.name)
    names: dict[str, str | None] = {}
    values: dict[str, str] = {}
    for name, places in _fields(template):
        value = sheet.find(places or ())
        # What a message to the operator calls it.
        names[name] = shown = f"{name} ({places[0].shown})" if places else None
        if shown is not None and value is not None:
            values[shown] = value
    fields = Fields(
        sender=names["from"] or "",
        recipient=names["to"],
        body=names["body"] or "",
        time=names["date"],
        message_id=names["id"],
        read_time=read_formats(template.date_format, zone),
    )
    return message(context, values, fields, at)


def _fields(template: PostTemplateSettings) -> Sequence[tuple[str, Places | None]]:
    return (
        ("from", template.sender), ("to", template.to), ("body", template.body),
        ("date", template.date), ("id", template.id),
    )  # fmt: skip


def _own_id(template: PostTemplateSettings, post: Post) -> str:
    """Return the provider's id of the first SMS in a post, or an empty text."""
    sheets = _sheets(template, post)
    if isinstance(sheets, str) or not sheets or _steps(template, post, 1) > _STEPS:
        return ""
    return own_id(sheets[0].find(template.id or ()) or "") or ""
