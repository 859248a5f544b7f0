"""An Authentication-Results header is read as RFC 8601 says, or not at all."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.trust.results import MAX_RESULTS_HEADER, MalformedError, Result, authserv_id, read


def properties(value: str) -> list[tuple[str, str]]:
    (result,) = read(value.encode()).results
    return list(result.properties)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("mx.example.com; dkim=pass", "mx.example.com"),
        ("MX.Example.COM; dkim=pass", "mx.example.com"),
        ("mx.example.com 1; dkim=pass", "mx.example.com"),
        ("mx.example.com(v1) ; dkim=pass", "mx.example.com"),
        ("(mx.evil.example) mx.example.com; dkim=pass", None),
        ("()mx.example.com; dkim=pass", None),
        ('"mx.example.com"; dkim=pass', None),
        ('mx."example".com; dkim=pass', None),
        ("mx.\\example.com; dkim=pass", None),
        ("\\mx.example.com; dkim=pass", None),
        ('""mx.example.com; dkim=pass', None),
        ("mx.\N{KELVIN SIGN}elvin.example; dkim=pass", None),
        ("\x0bmx.example.com; dkim=pass", None),
        ("(comment) spf=pass smtp.mailfrom=a.example", ""),
        ("mx.example.com; none", "mx.example.com"),
        ("mx.example.com.evil.example; dkim=pass", "mx.example.com.evil.example"),
        ("=?utf-8?Q?mx.example.com?=; dkim=pass", ""),
        ("spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=a.example; dkim=pass", ""),
        ("spf = pass", ""),
        ("(mx.example.com", None),
        ("; dkim=pass", None),
        ("", None),
    ],
)
def test_whose_header_it_is(value: str, name: str | None):
    """The id is a plain ASCII word at the very start; in any other spelling it is nobody's."""
    assert authserv_id(value.encode()) == name


def test_what_real_servers_write():
    """The layouts of Google, Microsoft 365, opendkim, opendmarc and rspamd are read."""
    google = read(
        b"mx.google.com;       dkim=pass header.i=@a.example header.s=s1 header.b=Ab+/c=;"
        b"       spf=pass (google.com: domain of x@a.example designates 192.0.2.1 as permitted "
        b"sender) smtp.mailfrom=x@a.example;"
        b"       dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=a.example"
    )
    assert [(each.method, each.result) for each in google.results] == [
        ("dkim", "pass"),
        ("spf", "pass"),
        ("dmarc", "pass"),
    ]
    assert google.results[0].values("header.i") == ("@a.example",)
    microsoft = read(
        b"spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=a.example; dkim=pass (signature was "
        b"verified) header.d=a.example;dmarc=pass action=none header.from=a.example;"
        b"compauth=pass reason=100"
    )
    assert microsoft.authserv_id == ""
    assert microsoft.results[1] == Result("dkim", "pass", [("header.d", "a.example")])
    opendkim = read(
        b"mx.example.com;\tdkim=pass (2048-bit key; unprotected) header.d=a.example "
        b"header.i=@a.example header.a=rsa-sha256 header.s=s1 header.b=AbC;\tdkim-atps=neutral"
    )
    assert opendkim.results[0].values("header.d") == ("a.example",)
    assert read(b"mx.example.com; dmarc=pass (policy=none) header.from=a.example;").results
    assert read(b"mx.example.com; none").results == []


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ('"a) dmarc=pass (b"@evil.example', '"a) dmarc=pass (b"@evil.example'),
        ('"x;dkim=pass header.d=a"@evil.example', '"x;dkim=pass header.d=a"@evil.example'),
        (r'"a\"b@a.example"@evil.example', r'"a\"b@a.example"@evil.example'),
        ('"x@a.example"', '"x@a.example"'),
        (r'"a \"plain\" text"', 'a "plain" text'),
        ("bounce+x=a.example@evil.example", "bounce+x=a.example@evil.example"),
        ("(a.example) evil.example (a.example)", "evil.example"),
        (r"(\) a.example (nested (deep))) evil.example", "evil.example"),
    ],
)  # fmt: skip
def test_a_strangers_address_is_one_value(value: str, read_as: str):
    """Quotes and comments in an address open no way out of it."""
    assert properties(f"mx.example.com; spf=pass smtp.mailfrom={value}") == [
        ("smtp.mailfrom", read_as)
    ]


@pytest.mark.parametrize(
    "value",
    [
        "mx.example.com",
        "mx.example.com dkim=pass",
        "mx.example.com 2; dkim=pass",
        "mx.example.com; dkim/2=pass",
        "mx.example.com; dkim",
        "mx.example.com; dkim=",
        "mx.example.com; dkim=pass; (never ended",
        'mx.example.com; spf=pass smtp.mailfrom="never ended',
        'mx.example.com; spf=pass smtp.mailfrom=a"b@a.example"',
        'mx.example.com; spf=pass smtp.mailfrom="a"b@a.example',
        "mx.example.com; spf=pass smtp.mailfrom=a\\@a.example",
        "mx.example.com; dkim=pass header.d",
        "mx.example.com; dkim=pass header.=a",
        "mx.example.com; none dkim=pass",
        "mx.example.com; dkim=pass header.d=a.example \x01",
        "mx.example.com; dkim=pass " + "(" * 1000,
        "mx.example.com; dkim=pass " + "(" * 50 + ")" * 50,
        "mx.example.com; dkim=pass " + "x" * MAX_RESULTS_HEADER,
    ],
)
def test_what_does_not_fit_is_not_read_by_half(value: str):
    """One odd place makes the whole header unreadable."""
    with pytest.raises(MalformedError):
        read(value.encode())


@given(st.text(alphabet='a.=;() "\\@/1\t', max_size=200))
def test_nothing_else_is_raised(value: str):
    """Whatever stands there, it is read or it is malformed."""
    with contextlib.suppress(MalformedError):
        read(b"mx.example.com; " + value.encode())


@pytest.mark.parametrize("piece", ["(", "(a)", '"', "\\", '"\\', "(\\", "a=b ", ";", " ", "a=b;"])
def test_the_worst_header_is_read_quickly(piece: str):
    """The time grows with the header's length, not with its square."""
    value = ("mx.example.com; dkim=pass " + piece * MAX_RESULTS_HEADER)[:MAX_RESULTS_HEADER]
    began = time.thread_time()  # processor time: the machine may be busy with other work
    with contextlib.suppress(MalformedError):
        read(value.encode())
    assert time.thread_time() - began < 0.5
