"""The part of a mail that a template reads, and the encodings that it undoes there."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import mail
from bridge.model import Email, SmsMessage, Unreadable
from bridge.providers import read_signed
from bridge.providers.encodings import undo
from bridge.providers.template_provider import TemplateProvider
from tests.providers.declaring import SENDER, declared, mail_of

FIELDS = "from = { label = 'From' }\nto = { label = 'To' }\nbody = { label = 'Text' }\n"


def part(kind: str, text: str, *more: str) -> str:
    return "\n".join((f"Content-Type: {kind}; charset=utf-8", *more, "", text))


PLAIN = part("text/plain", "You have a new message. Please use a modern mail program.")
HTML = part("text/html", "<p>From: +491511234567<br>To: 123<br>Text: €5 &amp; more</p>")
ATTACHED = part(
    "text/plain", "From: +491511234567\nTo: 123\nText: in the file\n",
    'Content-Disposition: attachment; filename="sms-77.TXT"',
)  # fmt: skip
PACKED = "\n".join((
    "Content-Type: application/octet-stream",
    "Content-Transfer-Encoding: base64",
    "Content-Disposition: attachment; filename*=utf-8''sms%2D77.txt",
    "",
    base64.b64encode("From: +491511234567\nTo: 123\nText: Grüße".encode()).decode(),
))  # fmt: skip
FILE = "{ file = '^sms-.*txt$' }"
LOGO = part("image/png", "xxxx", 'Content-Disposition: attachment; filename="logo.png"')


def of_parts(kind: str, *parts: str) -> Email:
    raw = "\n".join((
        f"From: {SENDER}", "Date: Wed, 08 Apr 2026 12:30:52 +0000",
        f'Content-Type: multipart/{kind}; boundary="="', "",
        *(f"--=\n{each}" for each in parts), "--=--", "",
    ))  # fmt: skip
    email = mail.decode(raw.encode())
    assert isinstance(email, Email)
    return email


def read(template: str, email: Email) -> str:
    """Return the SMS's text, or the sentence that says why there is none."""
    result = declared(f"{FIELDS}{template}").read_email(email)
    if isinstance(result, Unreadable):
        return result.detail
    assert isinstance(result, SmsMessage)
    assert (result.sender, result.recipient) == ("+491511234567", "123")
    return result.body


@pytest.mark.parametrize(
    ("template", "email", "body"),
    [
        ("part = 'html'", of_parts("alternative", PLAIN, HTML), "€5 & more"),
        (f"part = {FILE}", of_parts("mixed", PLAIN, LOGO, ATTACHED), "in the file"),
        (f"part = {FILE}", of_parts("mixed", PLAIN, PACKED), "Grüße"),
        ("part = 'plain'", of_parts("mixed", HTML, ATTACHED.partition("\nContent-D")[0] +
                                    "\n\nFrom: +491511234567\nTo: 123\nText: plain"), "plain"),
        ("part = 'html'", of_parts("mixed", PLAIN), "the mail has no html text, or a longer one"),
        ("part = { file = 'x' }", of_parts("mixed", PLAIN, LOGO), "the mail has no file with such"),
    ],
)  # fmt: skip
def test_the_part_that_is_named_is_read(template: str, email: Email, body: str) -> None:
    """Not the boilerplate in front of it; a mail without that part waits in quarantine."""
    found = read(template, email)
    assert found == body or (body.startswith("the mail") and found.startswith(body))


def test_the_part_is_read_as_a_signed_mail_too() -> None:
    """A relaxed signature sees no blanks: the part's text is folded as the mail's is."""
    provider = declared(f"{FIELDS}part = 'html'")
    found = read_signed(provider, of_parts("alternative", PLAIN, HTML))
    assert isinstance(found, SmsMessage)
    assert found.body == "€5 & more"


@pytest.mark.parametrize("template", ["", "part = 'plain'", "part = { file = 'txt$' }"])
def test_tabs_that_become_spaces_forge_nothing(template: str) -> None:
    """Whoever has a mail with tabs behind its labels could let the SMS's own labels count."""
    sms = "hello\nFrom: +391119999999\nTo: 123\nText: pay me"
    text = f"From\t+491511234567\nTo\t123\nText\t{sms}\n"
    file = 'Content-Disposition: attachment; filename="sms.txt"'
    moved = part("text/plain", text.replace("\t", " "), *([file] if "file" in template else []))
    found = read_signed(declared(f"{FIELDS}{template}"), of_parts("mixed", moved))
    assert isinstance(found, Unreadable), found
    # If it isn't signed, nobody but the provider could have changed it.
    assert template == "" or isinstance(
        declared(f"{FIELDS}{template}").read_email(of_parts("mixed", moved)), SmsMessage
    )


@pytest.mark.parametrize("blanks", [" ", "  "])
def test_blanks_in_a_files_name_choose_no_other_file(blanks: str) -> None:
    """The pattern must find the same file however many there are."""
    name = 'Content-Disposition: attachment; filename="{}.txt"'
    files = [
        part("text/plain", f"From: +491511234567\nTo: 123\nText: {text}\n", name.format(text))
        for text in (f"a{blanks}b", "old")
    ]
    provider = declared(f"{FIELDS}part = {{ file = '^...\\.txt$' }}")
    found = read_signed(provider, of_parts("mixed", PLAIN, *files))
    assert (isinstance(found, SmsMessage) and found.body) == (blanks == " " and "a b")


def test_the_part_has_its_own_warnings_and_places() -> None:
    """What had to be mended in the other parts is not this SMS's; spans are in this part's text."""
    broken = (
        "Content-Type: text/html; charset=utf-8\n\n<p>From: +491511234567<br>To: 1<br>Text: \udce9"
    )
    raw = (
        f"From: {SENDER}\nDate: Wed, 08 Apr 2026 12:30:52 +0000\n"
        'Content-Type: multipart/alternative; boundary="="\n\n'
        f"--=\n{PLAIN}\n--=\n{broken}\n--=--\n"
    )
    email = mail.decode(raw.encode("utf-8", "surrogateescape"))
    assert isinstance(email, Email)
    assert email.warnings == ()
    provider = declared(f"{FIELDS}part = 'html'")
    assert isinstance(provider, TemplateProvider)
    found = provider.read_email(email)
    assert isinstance(found, SmsMessage)
    assert found.warnings == ("charset_wrong", "time_from_mail")
    told = provider.explain(email)
    assert told.text is not None
    spans = {each.field: (each.start, each.end) for each in told.found}
    start, end = spans["from"]
    assert told.text[start:end] == "+491511234567"


def test_an_ignored_mail_is_known_by_the_part_too() -> None:
    """`ignore` reads the text that the template reads."""
    rule = "ignore = [{ why = 'a report', text = '€5' }]\n"
    provider = declared(f"{rule}{FIELDS}part = 'html'")
    assert "Ignored" in type(provider.read_email(of_parts("alternative", PLAIN, HTML))).__name__


@pytest.mark.parametrize(
    ("encoding", "written", "body"),
    [
        ("base64", "R3LDvMOfZSDigqw1", "Grüße €5"),
        ("base64", "R3LD\n vMOf ZSDigqw1", "Grüße €5"),
        ("base64", "SGk", "Hi"),
        ("percent", "1%2B1%3D2+%E2%82%AC%0Aend", "1+1=2+€\nend"),
        ("form", "1%2B1%3D2+%E2%82%AC%0D%0Aend", "1+1=2 €\nend"),
        ("xml", "a &lt;b&gt; &amp; &#8364; &#x1F600; &quot;", 'a <b> & € 😀 "'),
        ("percent", "100% %zz", "100% %zz"),
        ("form", "%00", "\ufffd"),
    ],
)
def test_encodings_are_undone(encoding: str, written: str, body: str) -> None:
    """The SMS's text is what the encoding says."""
    text = f"From: +491511234567\nTo: 123\n\n{written}\n"
    template = f"body = {{ after_blank = true, encoded = '{encoding}' }}\n"
    assert read_with(template, mail_of(text)) == body


def read_with(body: str, email: Email) -> str:
    fields = FIELDS.partition("body")[0]
    result = declared(f"{fields}{body}").read_email(email)
    if isinstance(result, Unreadable):
        return result.detail
    assert isinstance(result, SmsMessage)
    return result.body


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("base64", "no base64!"), ("base64", "/w=="), ("base64", "A"), ("percent", "%FF")],
)
def test_what_is_not_so_encoded_is_not_there(encoding: str, written: str) -> None:
    """It is never delivered as it stands: a key of the layout is then missing."""
    text = f"From: +491511234567\nTo: 123\n\n{written}\n"
    detail = read_with(f"body = {{ after_blank = true, encoded = '{encoding}' }}\n", mail_of(text))
    assert detail.startswith("nothing for 'body' was found")
    assert f"(as {encoding})" in detail


def test_a_sender_with_a_line_break_in_its_encoding_is_refused() -> None:
    """What encodings bring in is held to the same bounds as what stands in the mail."""
    template = "from = { header = 'X-F', encoded = 'percent' }\nto = { value = '1' }\n"
    provider = declared(f"{template}body = {{ all = true }}")
    found = provider.read_email(mail_of("hi", headers=("X-F: 1%0A2",)))
    assert isinstance(found, Unreadable)
    assert found.detail == "the value for 'from' holds a control character"


def test_an_encoded_text_hides_whole_from_the_other_fields() -> None:
    """Also what a footer cuts off: a label typed behind it gives no recipient."""
    template = (
        "from = { value = 'A' }\nto = { label = 'To' }\nfooters = '^-- $'\n"
        "body = { after_blank = true, encoded = 'percent' }\n"
    )
    provider = declared(template)
    found = provider.read_email(mail_of("x\n\nhi%20%20%20%20%0A-- \nTo: 666\n"))
    assert isinstance(found, Unreadable), found
    assert found.detail.startswith("nothing for 'to' was found")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=60))
def test_any_text_comes_back_from_base64(text: str) -> None:
    """Whatever the SMS says."""
    assert undo("base64", base64.b64encode(text.encode()).decode()) == text


@given(st.sampled_from(["base64", "percent", "form", "xml"]), st.text(max_size=60))
def test_nothing_that_is_written_makes_it_raise(encoding: str, written: str) -> None:
    """A text, or None."""
    found = undo(encoding, written)  # type: ignore[arg-type]
    assert found is None or ("\0" not in found and "\r" not in found)
