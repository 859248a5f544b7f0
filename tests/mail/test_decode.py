"""decode reads what mail programs really send."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from bridge import mail
from bridge.model import Email, Reason, Unreadable

HEAD = b"From: a@example.com\r\n"
BASE64 = b"\r\nContent-Transfer-Encoding: base64"


def read(raw: bytes) -> Email:
    decoded = mail.decode(raw)
    assert isinstance(decoded, Email), decoded
    return decoded


def part(content_type: bytes, content: bytes, more: bytes = b"") -> bytes:
    return b"Content-Type: " + content_type + b"\r\n" + more + b"\r\n" + content


def multipart(kind: bytes, *parts: bytes, boundary: bytes = b"=_b") -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + each + b"\r\n" for each in parts)
    return part(
        b'multipart/%b; boundary="%b"' % (kind, boundary), body + b"--" + boundary + b"--\r\n"
    )


def test_a_plain_mail_is_read_whole():
    """Every field of an ordinary mail is found."""
    email = read(
        b"From: Someone <A.B@Example.com>\r\n"
        b"Subject: =?utf-8?q?caff=C3=A8?= e =?iso-8859-1?q?t=E8?=\r\n"
        b"Date: Wed, 08 Apr 2026 14:30:53 +0200\r\n"
        b"Message-ID:  <one@example.com> \r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"\r\n"
        b"line one\r\nline two\r\n"
    )
    assert email.sender == "a.b@example.com"
    assert email.sender_defect is None
    assert email.subject == "caffè e tè"
    assert email.date == datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
    assert email.message_id == email.fingerprint == "<one@example.com>"
    assert email.text == "line one\nline two\n"
    assert (email.charset, email.from_html, email.warnings) == ("utf-8", False, ())
    assert email.headers["from"] == ("Someone <A.B@Example.com>",)


@pytest.mark.parametrize(
    ("content_type", "data", "text", "charset", "warnings"),
    [
        (b"text/plain; charset=iso-8859-1", b"\xe8", "è", "iso-8859-1", ()),
        (b'text/plain; charset="ISO-8859-15"', b"\xa4", "€", "iso-8859-15", ()),
        (b"text/plain; charset=iso-8859-1", b"\x80", "€", "windows-1252", ("charset_wrong",)),
        (b"text/plain", "è€".encode(), "è€", "utf-8", ("charset_undeclared",)),
        (b"text/plain", b"\xe8\x80", "è€", "windows-1252", ("charset_undeclared",)),
        (b"text/plain; charset=us-ascii", b"\xe8", "è", "windows-1252", ("charset_wrong",)),
        (b"text/plain; charset=utf-8", b"\xe8", "è", "windows-1252", ("charset_wrong",)),
        (b"text/plain; charset=utf-7", b"+AOg-", "+AOg-", "utf-8", ("charset_unknown",)),
        (b"text/plain; charset=unicode_escape", rb"\x41", r"\x41", "utf-8", ("charset_unknown",)),
        (b'text/plain; charset="utf-8\0"', "è".encode(), "è", "utf-8", None),
        (b"text/plain; charset=x-nothing", b"\x81", "\x81", "iso-8859-1", ("charset_unknown",)),
        (b"text/plain; charset*=utf-8''utf-8", "è".encode(), "è", "utf-8", ()),
        (b"text/plain; charset*=utf-8''\xff", b"a", "a", "utf-8", ("charset_unknown",)),
        (b"text/plain; charset=utf-8\xff", b"a", "a", "utf-8", ("charset_unknown",)),
        (b"text/plain; charset=utf-8 (plain)", "è".encode(), "è", "utf-8", ()),
        (b"text/plain; charset=utf-16", "è😀".encode("utf-16"), "è😀", "utf-16", ()),
        (
            b"text/plain; charset=iso-2022-jp",
            "日本".encode("iso2022_jp"),
            "日本",
            "iso-2022-jp",
            (),
        ),
        (b"text", b"a", "a", "us-ascii", ("content_type_invalid",)),
        (b"text/plain; name*", b"a", "a", "us-ascii", ()),
        (b"text/plain; charset=utf-8", b"\xef\xbb\xbfa", "a", "utf-8", ("bom_removed",)),
        (b"text/plain", b"a\0b", "a\ufffdb", "us-ascii", ("nul_replaced",)),
        (b"text/plain; charset=gb2312", b"\x805 \xba\xc3", "€5 好", "gb18030", ("charset_wrong",)),
        (b"text/plain; charset=gbk", b"\x81\x80\x80", "亐€", "gb18030", ("charset_wrong",)),
        (b"text/plain; charset=x-windows-949", b"\xb0\xa1", "가", "windows-949", ()),
        (
            b"text/plain; charset=iso-8859-15",
            b"\x93\xa4\x94",
            "“€”",
            "iso-8859-15",
            ("charset_wrong",),
        ),
        (b"text/plain; charset=iso-8859-15", "“è”".encode(), "“è”", "utf-8", ("charset_wrong",)),
        (b"text/plain, charset=utf-8", "è".encode(), "è", "utf-8", ("content_type_invalid",)),
        (b"text/html", b"<meta charset=gbk>\xba\xc3", "好", "gbk", ()),
        (
            b"text/html; charset=us-ascii",
            b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">\xd4\xc1',
            "та",
            "koi8-r",
            (),
        ),
        (b"text/html; charset=utf-8", b"<meta charset=gbk>\xc3\xa8", "è", "utf-8", ()),
        (b"text/html", b"<meta charset=utf-16>\xc3\xa8", "è", "utf-8", ()),
        (b"text/html", b"<meta charset=iso-2022-jp>\x1b$BF|\x1b(B", "日", "iso-2022-jp", ()),
        (b"text/plain", b"a\rb\nc\r\nd", "a\nb\nc\nd", "us-ascii", ()),
        (b"text/plain; charset=utf-8", "a\u2028b\x0bc".encode(), "a\u2028b\x0bc", "utf-8", ()),
    ],
)
def test_charsets(
    content_type: bytes, data: bytes, text: str, charset: str, warnings: tuple[str, ...] | None
):
    """The declared charset is used if it is one of mail's, else UTF-8, else windows-1252."""
    email = read(HEAD + part(content_type, data))
    assert (email.text, email.charset) == (text, charset)
    if warnings is not None:
        assert email.warnings == warnings


@pytest.mark.parametrize(
    ("encoding", "data", "text", "warnings"),
    [
        (b"quoted-printable", b"caff=C3=A8 =\r\nlong", "caffè long", ()),
        (b"QUOTED-PRINTABLE", b"100=25 =x =", "100% =x ", ("quoted_printable_defect",)),
        (b"base64", b"Y2Fmw6g=\r\n", "cafè", ()),
        (b"base64", b"Y2Fm\r\nw6g", "cafè", ("base64_defect",)),
        (b"base64", b"Y2Fmw6g=\r\n--\r\nfooter", "cafè", ("base64_defect",)),
        (b"Base64 (comment)", b"Y2Fmw6g=", "cafè", ()),
        (b'"base64"', b"Y2Fmw6g=", "cafè", ()),
        (b"(comment) base64,", b"Y2Fmw6g=", "cafè", ()),
        (b"x-strange", b"a", "a", ("encoding_unknown",)),
        (b"8bit", "è".encode(), "è", ()),
    ],
)
def test_transfer_encodings(encoding: bytes, data: bytes, text: str, warnings: tuple[str, ...]):
    """Transfer encodings are undone, and what was broken in them is said."""
    header = b"Content-Transfer-Encoding: " + encoding + b"\r\n"
    email = read(HEAD + part(b"text/plain; charset=utf-8", data, header))
    assert (email.text, email.warnings) == (text, warnings)


def test_plain_is_preferred_to_html():
    """Of the versions of one text the plain one is read, wherever it stands."""
    html = part(b"text/html", b"<p>html</p>")
    email = read(HEAD + multipart(b"alternative", html, part(b"text/plain", b"plain")))
    assert (email.text, email.from_html) == ("plain", False)


def test_an_empty_plain_part_gives_way_to_html():
    """A blank plain version does not hide the HTML one."""
    email = read(
        HEAD
        + multipart(
            b"alternative",
            part(b"text/plain", b" \r\n\r\n"),
            multipart(b"related", part(b"text/html", b"<p>html</p>"), boundary=b"inner"),
        )
    )
    assert (email.text, email.from_html) == ("html", True)


def test_attachments_are_left_out():
    """An attached text is not the mail's text, even if it comes first."""
    attached = part(b"text/plain", b"attached", b"Content-Disposition: attachment\r\n")
    image = part(b"image/png", b"\x89PNG")
    email = read(HEAD + multipart(b"mixed", attached, image, part(b"text/plain", b"text")))
    assert (email.text, email.warnings) == ("text", ())


def test_a_second_text_is_not_silently_lost():
    """Where a mail has two texts, the first is read and a warning tells of the other."""
    email = read(
        HEAD + multipart(b"mixed", part(b"text/html", b"one"), part(b"text/plain", b"two"))
    )
    assert (email.text, email.warnings) == ("one", ("text_parts_skipped",))


def test_html_that_is_not_needed_is_not_bounded():
    """A mail with a plain version is read however long its HTML version is."""
    html = part(b"text/html", b"x" * 100_000)
    assert read(HEAD + multipart(b"alternative", html, part(b"text/plain", b"p"))).text == "p"


def test_a_multipart_without_its_parts_is_read_as_text():
    """A program that says multipart and sends plain text is understood."""
    email = read(HEAD + part(b"multipart/mixed; boundary=b", b"plain"))
    assert (email.text, email.warnings) == ("plain", ("multipart_broken",))


def test_a_multipart_that_does_not_end_is_read_to_its_end():
    """A missing last boundary loses nothing."""
    email = read(HEAD + part(b"multipart/mixed; boundary=b", b"--b\r\n\r\ntext"))
    assert (email.text, email.warnings) == ("text", ("multipart_unclosed",))


def test_a_boundary_that_begins_like_another_is_told_apart():
    """The line `--b1` does not end a part whose boundary is `b`."""
    inner = multipart(b"alternative", part(b"text/plain", b"in\r\n--b-x\r\nside"), boundary=b"b1")
    assert read(HEAD + multipart(b"mixed", inner, boundary=b"b")).text == "in\n--b-x\nside"


def test_no_text_at_all_is_an_empty_text():
    """A mail that holds only a picture is a mail with an empty text and a warning."""
    email = read(HEAD + part(b"image/png", b"\x89PNG"))
    assert (email.text, email.warnings) == ("", ("no_text",))


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (b"From: 1<br>To: 2<br/>Body: a&amp;lt;b", "From: 1\nTo: 2\nBody: a&lt;b"),
        (b"<p>one</p>\n<p>two\n  words</p>", "one\ntwo words"),
        (b"<table><tr><td>From</td>\n<td>1</td></tr><tr><td>To</td><td>2</td></table>",
         "From\t1\nTo\t2"),
        (b"<head><title>no</title><style>p{}</style></head><script>x()</script>yes", "yes"),
        (b"a <b>bold</b> word<br><br>c", "a bold word\n\nc"),
        (b"<pre>a  b\r\n c</pre>d", "a  b\n c\nd"),
        (b"<div>a<div>b</div></div>c", "a\nb\nc"),
        (b"a&nbsp; b", "a\xa0 b"),
        (b"<tr><td></td><td>x</td>", "\tx"),
        (b"?a=1&timestamp=1&copy=2&reg=3&copy;", "?a=1&timestamp=1&copy=2&reg=3\xa9"),
        (b"&amp;amp;&#8364;&#x80;&nothing;", "&amp;\u20ac\u20ac&nothing;"),
        (b"&#0;&#xD800;<pre>a&#13;b", "\ufffd\ufffd\na\nb"),
        (b"<td><p>From</p></td> <td>\n<p>1</p>\n</td></tr><tr><td>To<td>2", "From\t1\nTo\t2"),
        (b"<tr><td>From</td><td></td></tr><tr><td>To</td><td>2</td></tr>", "From\t\nTo\t2"),
        (b"<table><tr><td>a<table><tr><td>b<td>c</table></td><td>d</td></table>e",
         "a\nb\tc\td\ne"),
        (b"<pre>\na\n\n</pre>", "a\n\n"),
        (b"a<br><br></p>", "a"),
        (b"From: 1\nTo: 2\n<b>x</b>", "From: 1\nTo: 2\nx"),
        (b"<head><meta><style>a>b</style><body>x", "x"),
        (b"<head><title>t</title>x", "x"),
        (b"<a title='>' b=\">\" c=d>x</a>", "x"),
        (b'<p><a href=http://h/?q=">link</a> code 4711 said "x">', 'link code 4711 said "x">'),
        (b'<p><a href="a>b" x=\'>\' y=z>link</a> &#8364 5 &#x20AC, &#128;', "link € 5 €, €"),
        (b"<p>&#12345678 &#xFFFFFFF", "&#12345678 &#xFFFFFFF"),
        (b"<p>&#00008364; &#x00000020AC; &#0;", "€ € \ufffd"),
        (b"<!-- <br> --><!doctype html><?xml x?></ >i <3 u < 4 <", "i <3 u < 4 <"),
        (b"a <b c", "a <b c"),
        (b"a <!-- c", "a <!-- c"),
    ],
)  # fmt: skip
def test_html(html: bytes, text: str):
    """HTML becomes the lines that a reader would see, its entities un-escaped once."""
    email = read(HEAD + part(b"text/html; charset=utf-8", html))
    assert (email.text, email.from_html) == (text, True)


def test_entities_in_plain_text_stay():
    """Plain text is never un-escaped: `&timestamp=` would turn into a multiplication sign."""
    assert read(HEAD + b"\r\na&timestamp=1&amp;\r\n").text == "a&timestamp=1&amp;\n"


@pytest.mark.parametrize(
    ("parameters", "flowed", "text"),
    [
        (b"format=flowed", b"one \r\ntwo\r\n three\r\n", "one two\nthree\n"),
        (b"format=Flowed; DelSp=Yes", b"one \r\ntwo\r\n", "onetwo\n"),
        (b"format=flowed", b"> one \r\n> two\r\n-- \r\nsig\r\n", "> one \n> two\n-- \nsig\n"),
        (b"format=flowed", b"one \r\n> two\r\n", "one \n> two\n"),
        (b"format=fixed", b"one \r\ntwo\r\n", "one \ntwo\n"),
    ],
)
def test_flowed_text(parameters: bytes, flowed: bytes, text: str):
    """Flowed lines are joined, stuffed blanks are taken out, and quotes and signatures stay."""
    assert read(HEAD + part(b"text/plain; " + parameters, flowed)).text == text


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"=?utf-8?q?a=0D=0ABcc:_x?=", "a Bcc: x"),
        (b"=?utf-8?b?4oKs?= =?utf-8?b?4oKs?=", "€€"),
        (b"=?utf-8?b?4oI=?= =?utf-8?b?rA==?=", "€"),
        (b"=?utf-8*it?q?=E8?= x", "è x"),
        (b"=?unicode_escape?q?=5Cx41?=", r"\x41"),
        (b"=?x?z?y?= =?utf-8?b?a?=", "=?x?z?y?= =?utf-8?b?a?="),
        (b"=?utf-8?q?what??= =?utf-8?q?_=3F?=", "what? ?"),
        (b"=?utf-8?q?no end =?utf-8?q?=C3=A8?=", "=?utf-8?q?no end è"),
        (b"a\r\n\tfolded", "a folded"),
        ("è".encode(), "è"),
        (b"\xe8", "è"),
    ],
)
def test_subjects(raw: bytes, subject: str):
    """Subjects are decoded and never hold a line end or another control character."""
    assert read(HEAD + b"Subject: " + raw + b"\r\n\r\n").subject == subject


def test_a_date_that_is_none_is_said():
    """A Date header that cannot be read is no date, with a warning."""
    email = read(HEAD + b"Date: yesterday\r\n\r\n")
    assert (email.date, email.warnings) == (None, ("date_unreadable",))


def test_a_date_without_a_zone_is_utc():
    """The zone -0000 means UTC, and the date is still aware."""
    email = read(HEAD + b"Date: Wed, 08 Apr 2026 14:30:53 -0000\r\n\r\n")
    assert email.date == datetime(2026, 4, 8, 14, 30, 53, tzinfo=UTC)


def test_the_same_mail_sent_again_has_the_same_fingerprint():
    """Without a Message-ID the hash forgets what the machines on the way wrote."""
    mail_ = HEAD + b"Subject: a\r\n\tb\r\n\r\ntext\r\n"
    again = (
        b"Received: from x\r\n\tby y\r\nDKIM-Signature: v=1; b=zz\r\nARC-Seal: i=1\r\n"
        b"X-Spam-Status: No\r\n" + HEAD + b"Subject: a b\r\nReturn-Path: <x@y>\r\n\r\ntext\r\n\r\n"
    ).replace(b"\r\n", b"\n")
    assert read(mail_).fingerprint == read(again).fingerprint
    assert read(mail_).fingerprint != read(mail_.replace(b"text", b"texd")).fingerprint
    assert read(mail_).fingerprint != read(mail_.replace(b"a@ex", b"b@ex")).fingerprint


def test_two_message_ids_are_none():
    """Nobody can say which of two Message-IDs is the mail's, so the content decides."""
    email = read(HEAD + b"Message-ID: <a@x>\r\nMessage-ID: <b@x>\r\n\r\n")
    assert email.message_id is None
    assert len(email.fingerprint) == 64
    assert email.warnings == ("header_repeated",)


def test_headers_are_told_without_their_values():
    """A log line that holds an Email's headers by mistake holds no number and no word."""
    assert "a@example.com" not in repr(read(HEAD + b"\r\n").headers)


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"\r\nhello", b"hello", b"\0" * 100, b"\xff\xfe"])
def test_what_is_no_mail_is_undecodable(raw: bytes):
    """Bytes that begin with no header are quarantined with a sentence."""
    decoded = mail.decode(raw)
    assert isinstance(decoded, Unreadable)
    assert decoded.reason is Reason.UNDECODABLE
    assert "begins with no header" in decoded.detail


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("gb2312", "gbk", "验证码123456\N{FULLWIDTH COMMA}朱镕基"),
        ("GB2312", "gb18030", "代码 4711 \N{CJK UNIFIED IDEOGRAPH-20BB7}"),
        ("x-gbk", "gbk", "镕"),
        ("shift_jis", "cp932", "①番 ﾃｽﾄ 髙"),
        ("x-sjis", "cp932", "①"),
        ("windows-31j", "cp932", "①"),
        ("cp932", "cp932", "①"),
        ("euc-jp", "euc_jis_2004", "①番"),
        ("euc-kr", "cp949", "똠방각하 인증번호 4711"),
        ("ks_c_5601-1987", "cp949", "똠"),
        ("cp949", "cp949", "똠"),
        ("uhc", "cp949", "똠"),
        ("windows-949", "cp949", "똠"),
        ("big5", "big5hkscs", "嘅 驗證碼"),
        ("big5-hkscs", "big5hkscs", "嘅"),
        ("big5", "cp950", "€ 碁"),
        ("tis-620", "cp874", "รหัส 4711"),
        ("iso-8859-8-i", "iso8859_8", "קוד"),
        ("latin-9", "iso8859_15", "5 €"),
        ("iso-8859-9", "cp1254", "“şifre” 5 €"),
        ("iso-8859-2", "cp1250", "„Žluťoučký“ š"),
        ("iso-8859-5", "cp1251", "«Код» — 4711"),
        ("iso-8859-7", "cp1253", "«Κωδικός» – 5 €"),
    ],
)
def test_a_text_is_read_in_the_script_it_was_written_in(label: str, codec: str, text: str):
    """Programs use a charset's superset under its name; subjects as well as texts."""
    data = text.encode(codec)
    word = f"=?{label}?B?{base64.b64encode(data).decode()}?=".encode()
    email = read(
        HEAD + b"Subject: " + word + b"\r\n" + part(b"text/plain; charset=" + label.encode(), data)
    )
    assert (email.text, email.subject) == (text, text)


@pytest.mark.parametrize(
    ("data", "text", "warnings"),
    [
        (b"a ~{<:Ky2;~} 47~~11", "a 己所不 47~11", ()),
        (b"a ~{<:Ky2;~} 4711 ~!", "a 己所不 4711 \ufffd!", ("charset_wrong",)),
    ],
)
def test_hz_is_read(data: bytes, text: str, warnings: tuple[str, ...]):
    """As what it says it is, never as the letters that it is written with."""
    for label in (b"hz-gb-2312", b"HZ"):
        email = read(HEAD + part(b"text/plain; charset=" + label, data))
        assert (email.text, email.charset, email.warnings) == (text, "hz-gb-2312", warnings)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b$B-!HV\x1b(B 4711", "①番 4711"),
        (b"\x1b(I63D\x1b(J-A", "ｶｳﾄ-A"),
        (b"\x1b$BF|K\\\x1b(B \x1b(I1\x1b(B", "日本 ｱ"),
        (b"\x1b$BF|K\x1b(B.\xff", "日\ufffd.\ufffd"),
        (b"a\x0e63D\x0f-A", "aｶｳﾄ-A"),
        (b"\x1b$BF|\x0e1\x0fK\\\x1b(B1\x0e1\n1", "日ｱ本1ｱ\n1"),
    ],
)
def test_iso_2022_jp_as_it_is_sent(data: bytes, text: str):
    """Circled digits and half-width kana are read; what is broken is U+FFFD in its place."""
    email = read(HEAD + part(b"text/plain; charset=iso-2022-jp", data))
    assert (email.text, email.warnings) == (text, ("charset_wrong",))


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        (b"gb2312", "验证码 ".encode("gbk") + b"\xff 4711", "验证码 \ufffd 4711"),
        (b"euc-kr", "인증 ".encode("cp949") + b"\xff 4711", "인증 \ufffd 4711"),
        (b"utf-8", "код ".encode() + b"\xff 4711", "код \ufffd 4711"),
        (b"windows-1253", "Κωδικός ".encode("cp1253") + b"\xd2", "Κωδικός \ufffd"),
        (b"utf-16le", "ab".encode("utf-16le") + b"c", "ab\ufffd"),
    ],
)
def test_a_broken_byte_changes_no_other_character(label: bytes, data: bytes, text: str):
    """One byte that fits no charset becomes U+FFFD and says so; the text keeps its script."""
    email = read(HEAD + part(b"text/plain; charset=" + label, data))
    assert (email.text, email.warnings) == (text, ("charset_wrong",))


@pytest.mark.parametrize(
    ("subject", "text", "warnings"),
    [
        (b"=?iso-8859-1?Q?Fr\xf6sche?=", "Frösche", ()),
        (b"=?utf-8?Q?Fr\xc3\xb6sche?=", "Frösche", ()),
        (b"=?x-none?Q?a?= b", "a b", ("charset_unknown",)),
        (b"caff\xe8", "caffè", ("charset_undeclared",)),
        ("caffè".encode(), "caffè", ()),
    ],
)
def test_subjects_say_what_was_wrong(subject: bytes, text: str, warnings: tuple[str, ...]):
    """Bytes inside an encoded word are in its charset; what had to be guessed is a warning."""
    email = read(HEAD + b"Subject: " + subject + b"\r\n\r\nx")
    assert (email.subject, email.warnings) == (text, warnings)


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/mixed; boundary=b (a comment)",
        b"multipart/mixed; boundary=(a comment)b",
        b'multipart/mixed (a (nested) comment); boundary="b"',
        b'multipart/mixed; boundary*0=""; boundary*1=b',
        b"multipart/mixed; boundary*=us-ascii''b",
        b"multipart/mixed; boundary*1*=%62; boundary*0*=us-ascii'en'",
        b"multipart/*; boundary=b",
    ],
)
def test_a_boundary_is_found_however_it_is_written(content_type: bytes):
    """Comments, and the continuations and encodings of RFC 2231, are read."""
    content = b"--b\r\n\r\nhello\r\n--b--\r\n"
    email = read(HEAD + part(content_type, content))
    assert (email.text, email.warnings) == ("hello", ())


@pytest.mark.parametrize(
    ("content_type", "warnings"),
    [
        (b"multipart/mixed; boundary='b'", ()),
        (b'multipart/mixed; boundary="b', ()),
        (b"multipart/mixed boundary=b", ("content_type_invalid",)),
        (b"multipart/mixed, boundary=b", ("content_type_invalid",)),
        (b'"multipart/mixed"; boundary=b', ("content_type_invalid",)),
        (b"multipart; boundary=b", ("content_type_invalid",)),
    ],
)
def test_a_boundary_is_found_against_the_rules(content_type: bytes, warnings: tuple[str, ...]):
    """No SMS is delivered as the source of a multipart, because of a quote or a semicolon."""
    content = b"--b\r\n\r\nhello\r\n--b--\r\n"
    email = read(HEAD + part(content_type, content))
    assert (email.text, email.warnings) == ("hello", warnings)


def test_a_boundary_with_its_quotes_is_taken_as_it_is():
    """Where it stands in the text as in the header, its quotes are its own."""
    content = b"--'b'\r\n\r\n--b\r\nhello\r\n--'b'--\r\n"
    assert read(HEAD + part(b"multipart/mixed; boundary='b'", content)).text == "--b\nhello"


def test_a_boundary_in_pieces_is_put_together_in_their_order():
    """RFC 2231, 3."""
    kind = b"multipart/mixed;\r\n boundary*1=two;\r\n boundary*0=one-"
    assert read(HEAD + part(kind, b"--one-two\r\n\r\nhello\r\n--one-two--")).text == "hello"


def test_a_transfer_encoding_ends_at_its_semicolon():
    """Some programs write parameters behind it."""
    header = b"Content-Transfer-Encoding: base64; x=y\r\n"
    assert read(HEAD + part(b"text/plain", b"aGVsbG8=", header)).text == "hello"


def test_the_mails_of_a_digest_are_not_its_text():
    """A part of a digest is a mail, if it says nothing else (RFC 2046, 5.1.5)."""
    inner = b"--b\r\n\r\nFrom: x@y\r\nSubject: s\r\n\r\ninner\r\n"
    content = inner + b"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--"
    assert read(HEAD + part(b"multipart/digest; boundary=b", content)).text == "hello"


@pytest.mark.parametrize(
    ("kind", "content", "flowed", "fixed"),
    [
        (b"text/plain; format=flowed", b"one \r\n  two \r\nthree", True, "one \ntwo \nthree"),
        (b"text/plain", b"one \r\n two", False, None),
        (b"text/html; format=flowed", b"one \r\ntwo", False, None),
        (b"text/plain; charset=utf-16le", "one".encode("utf-16-le"), False, ""),
        (b"text/plain; format=flowed" + BASE64, base64.b64encode(b"one \r\ntwo"), False, None),
        (b"text/plain; charset=utf-16le" + BASE64, base64.b64encode(b"o\0n\0"), False, None),
    ],
)
def test_what_a_relaxed_signature_leaves_of_a_text(
    kind: bytes, content: bytes, flowed: bool, fixed: str | None
):
    """Blanks join flowed lines and are halves of UTF-16; base64 has none that count."""
    email = read(HEAD + part(kind, content))
    assert (email.is_flowed, email.fixed) == (flowed, fixed)
