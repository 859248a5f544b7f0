"""Whatever an SMS says arrives unchanged, whichever way the mail carries it."""

from __future__ import annotations

import base64
import html
import quopri
import re
from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bridge.model import SmsMessage
from tests.providers.reading import read

# All that mail can carry: every character but NUL and lone surrogates. A CR is a line end.
BODIES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)
CHARSETS = ("utf-8", "utf-16", "iso-8859-1", "iso-8859-15", "windows-1252", "koi8-r", "gb18030",
            "shift_jis")  # fmt: skip
AGILE = {
    "From": "+393301234567",
    "To": "+393331234333",
    "Date/Time": "20260408143052",
}
URL_NETWORKS = {
    "service_id": "8123",
    "from": "+61412345678",
    "sms_number": "+61480001122",
    "message_id": "3f2b8c1e",
    "timestamp": "1775651452",
    "webhook_url": "https://crm.example/?a=1&timestamp=2",
}


def as_lines(between: str) -> Callable[[dict[str, str], str, str], str]:
    """Give a layout in which this parts each label from its value."""

    def layout(fields: dict[str, str], label: str, body: str) -> str:
        return "".join(f"{k}{between}{v}\n" for k, v in {**fields, label: body}.items())

    return layout


def with_intro(fields: dict[str, str], label: str, body: str) -> str:
    return "New SMS\n\n" + as_lines(": ")(fields, label, body)


def as_bold(fields: dict[str, str], label: str, body: str) -> str:
    return as_lines(" ")({f"*{k}:*": v for k, v in fields.items()}, f"*{label}:*", body)


def as_capitals(fields: dict[str, str], label: str, body: str) -> str:
    return as_lines(" = ")({k.upper(): v for k, v in fields.items()}, label.upper(), body)


LAYOUTS: dict[str, Callable[[dict[str, str], str, str], str]] = {
    "colon": as_lines(": "),
    "tab": as_lines("\t"),
    "tabs and a colon": as_lines("\t\t: "),
    "below": as_lines("\n"),
    "colon and below": as_lines(":\n"),
    "two lines below": as_lines("\n\n"),
    "bold": as_bold,
    "capitals": as_capitals,
    "intro": with_intro,
}


def as_8bit(text: bytes) -> bytes:
    return text


def as_quoted_printable(text: bytes) -> bytes:
    return quopri.encodestring(text.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "8bit": as_8bit,
    "quoted-printable": as_quoted_printable,
    "base64": base64.encodebytes,
}


def mail(text: str, charset: str, encoding: str, kind: str = "plain", sender: str = "") -> bytes:
    head = (
        f"From: {sender or 'smsin@agiletelecom.com'}\r\n"
        "Subject: Agile Telecom -- SMS received\r\n"
        f"Content-Type: text/{kind}; charset={charset}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + ENCODINGS[encoding](text.replace("\n", "\r\n").encode(charset))


def carried(body: str, charset: str) -> str:
    """Give what is left of a body after the normal handling of line ends, in this charset."""
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    body = body.encode(charset, "ignore").decode(charset)
    if charset in {"iso-8859-1", "iso-8859-15"}:
        body = re.sub("[\x80-\x9f]", "", body)  # under this name they are windows-1252's
    return body


def ended(body: str) -> str:
    """Give a body without what a mail's end may have added or lost."""
    return body.rstrip(" \t\n\xa0")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
@given(body=BODIES, charset=st.sampled_from(CHARSETS))
@example(body="", charset="utf-8")
@example(body="\n\n leading and trailing \n\n", charset="utf-8")
@example(body="\tTo: 1\nBody: 2\nDate/Time: 3\nFrom\n4", charset="utf-8")
@example(body="--\n-- \n.\n..\nFrom x\n>From y", charset="utf-8")
@example(body="=3D =\n=E8 &amp; &timestamp=1", charset="iso-8859-1")
@example(body="\ufeff\u2028\x85\x0b\x1c\u202e\u200f", charset="utf-16")
@example(body="* starred * and: colons = more:\t\n", charset="koi8-r")
def test_a_body_survives(encoding: str, layout: str, body: str, charset: str):
    """Character for character, in each layout, transfer encoding and charset."""
    if charset == "utf-16":
        assume(encoding == "base64")  # the only way in which mail carries it
    body = carried(body, charset)
    _, message = read(mail(LAYOUTS[layout](AGILE, "Body", body), charset, encoding))
    assert isinstance(message, SmsMessage), message
    assert message.body == ended(body)
    assert (message.sender, message.recipient) == ("+393301234567", "+393331234333")
    assert message.received_at.isoformat() == "2026-04-08T14:30:52+02:00"
    assert message.warnings == ()


@given(order=st.permutations(tuple(URL_NETWORKS)), layout=st.sampled_from(list(LAYOUTS)),
       body=BODIES, label=st.sampled_from(["body", "Body", "TEXT", "message"]))  # fmt: skip
def test_any_order_of_labels_that_ends_with_the_body(
    order: list[str], layout: str, body: str, label: str
):
    """The order of the fields does not matter, and a body that follows them all is theirs alone."""
    body = carried(body, "utf-8")
    fields = {name: URL_NETWORKS[name] for name in order}
    text = LAYOUTS[layout](fields, label, body)
    _, message = read(mail(text, "utf-8", "8bit", sender="sms@pbx.example.com.au"))
    assert isinstance(message, SmsMessage), message
    assert message.body == ended(body)
    assert (message.sender, message.recipient) == ("+61412345678", "+61480001122")
    assert message.provider_message_id == "3f2b8c1e"
    assert message.received_at.isoformat() == "2026-04-08T22:30:52+10:00"


@given(body=BODIES)
@example(body="\n\n a  b\t<br>&amp;&timestamp=1\n\n")
def test_a_body_survives_preformatted_html(body: str):
    """Escaped in `pre`, nothing of it is lost, blanks and line ends included."""
    body = carried(body, "utf-8")
    page = f"<html><pre>{html.escape(as_lines(': ')(AGILE, 'Body', body))}</pre></html>"
    _, message = read(mail(page, "utf-8", "8bit", "html"))
    assert isinstance(message, SmsMessage), message
    assert message.body == ended(body)


def as_breaks(fields: dict[str, str], body: str) -> str:
    return "<p>" + "<br>".join(f"{k}: {v}" for k, v in fields.items()) + f"<br>Body: {body}</p>"


def as_blocks(fields: dict[str, str], body: str) -> str:
    return "".join(f"<div>{k}: {v}</div>\n" for k, v in {**fields, "Body": body}.items())


def as_table(fields: dict[str, str], body: str) -> str:
    cells = {**fields, "Body": body}.items()
    rows = "".join(f"<tr>\n<td>{k}</td>\n<td>{v}</td>\n</tr>\n" for k, v in cells)
    return f"<table>{rows}</table><hr><p>From: us<br>a footer</p>"


@pytest.mark.parametrize("layout", [as_breaks, as_blocks, as_table])
@given(body=BODIES)
@example(body="From: 1\n\nTo\n2 &lt; &#38; &timestamp=3 <b>")
@example(body="a\xa0")
def test_a_body_survives_html(layout: Callable[[dict[str, str], str], str], body: str):
    """Entities are un-escaped once, and a `br` is a line end; blanks are HTML's to fold."""
    # HTML's own white space, folded as any page folds it; all other blanks are text.
    lines = re.split("[\r\n]", re.sub("[ \t\f]+", " ", carried(body, "utf-8")))
    body = "\n".join(line.strip(" ") for line in lines).strip("\n")
    page = layout(AGILE, html.escape(body).replace("\n", "<br>"))
    _, message = read(mail(page, "utf-8", "quoted-printable", "html"))
    assert isinstance(message, SmsMessage), message
    # A cell has an end, so the blanks in it are the SMS's.
    assert message.body == (body if layout is as_table else ended(body))


@given(body=BODIES, delsp=st.booleans(), width=st.integers(5, 40))
def test_a_body_survives_flowed_lines(body: str, delsp: bool, width: int):
    """Lines that a mail program broke are joined again; what it takes away, it takes away."""
    body = carried(body, "utf-8")
    assume(not body.startswith("\n"))  # the blank between label and text goes, see below
    lines = []
    for line in as_lines(": ")(AGILE, "Body", body).removesuffix("\n").split("\n"):
        # A sender of flowed text cuts the blanks at a line's end (RFC 3676, 4.2).
        whole = line.rstrip(" ")
        if delsp:
            pieces = [whole[at : at + width] for at in range(0, len(whole), width)] or [""]
            broken = [piece + " " for piece in pieces[:-1]] + pieces[-1:]
        else:
            broken = re.findall(r".*? (?! )|.+\Z", whole, re.DOTALL) or [""]
        lines += [f" {piece}" if piece.startswith((" ", ">", "From ")) else piece
                  for piece in broken]  # fmt: skip
    assume("-- " not in lines and " -- " not in lines)  # the line above a signature is never joined
    body = "\n".join(line.rstrip(" ") for line in body.split("\n"))
    text = "\n".join(lines) + "\n"
    kind = f"plain; format=flowed; delsp={'yes' if delsp else 'no'}"
    _, message = read(mail(text, "utf-8", "8bit", kind))
    assert isinstance(message, SmsMessage), message
    assert message.body == ended(body)
