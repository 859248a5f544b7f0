"""What is said on a connection: codes, what is advertised, grouped commands, nonsense."""

from __future__ import annotations

import asyncio
import inspect
import re

import pytest

from bridge import metrics
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.sources.conftest import Connect, Start
from tests.sources.peer import MAIL, NOON, Peer, Taken, stored
from tests.sources.smtp.test_data import FALSE_ENDS


async def test_a_mail_is_taken_with_how_it_came(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """The arrival holds our Received header, the bytes as sent, the envelope and the peer."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    assert await peer.ask(MAIL + b".") == stored()
    assert await peer.ask(b"QUIT") == "221 2.0.0 Bye"
    assert await peer.rest() == b""

    (arrival,) = taken.arrivals
    header, content = arrival.raw[: -len(MAIL)], arrival.raw[-len(MAIL) :]
    assert content == MAIL
    assert re.fullmatch(
        rb"Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n"
        rb"\tby bridge\.example with ESMTP id [0-9a-f]{16};\r\n"
        rb"\tWed, 08 Apr 2026 12:30:53 \+0000\r\n",
        header,
    )
    assert b"sms@bridge.example" not in arrival.raw  # a recipient can be a secret
    assert (arrival.source, arrival.source_name) == ("smtp", "127.0.0.1:0")
    assert (arrival.origin.sender, arrival.recipients) == ("a@b.example", ("sms@bridge.example",))
    assert (arrival.peer, arrival.received_at) == ("127.0.0.1", NOON)


async def test_ehlo_says_what_is_true(start: Start, connect: Connect) -> None:
    """No AUTH, no HELP; the size is the configured one; no STARTTLS without a certificate."""
    source = await start(max_message=123456)
    peer = await connect(source)
    assert await peer.reply() == "220 bridge.example ESMTP"
    assert await peer.ask(b"EHLO x") == (
        "250-bridge.example\n250-SIZE 123456\n250-8BITMIME\n250-SMTPUTF8\n"
        "250-PIPELINING\n250 ENHANCEDSTATUSCODES"
    )


async def test_every_reply_has_an_enhanced_code(start: Start, connect: Connect) -> None:
    """As EHLO promises (RFC 2034), aiosmtpd's own replies carry one too."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    commands = (
        b"NOOP", b"RSET", b"VRFY x", b"AUTH PLAIN x", b"HELP", b"", b"MAIL", b"MAIL FROM:<",
        b"RCPT TO:<a@b>", b"DATA", b"MAIL FROM:<a@b> SIZE=x", b"MAIL FROM:<a@b> BODY=9BIT",
        b"MAIL FROM:<a@b> FOO=1", b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b>", b"RCPT TO:<a@b> X=1",
        b"RCPT TO:<", b"STARTTLS", b"DATA x", b"QUIT",
    )  # fmt: skip
    replies = [await peer.ask(each) for each in commands]
    assert [each for each in replies if not re.match(r"\d{3} [245]\.\d+\.\d+ \S", each)] == []
    assert [reply[:3] for reply in replies] == [
        "250", "250", "252", "502", "502", "500", "501", "553", "503", "503", "501", "501",
        "555", "250", "503", "555", "553", "454", "501", "221",
    ]  # fmt: skip


async def test_nothing_tells_which_addresses_exist(start: Start, connect: Connect) -> None:
    """VRFY answers alike for all, EXPN is none of our commands."""
    source = await start(recipients=("sms@bridge.example",))
    peer = await connect(source)
    await peer.greet()
    answers = {await peer.ask(b"VRFY " + each) for each in (b"sms@bridge.example", b"x@y", b"")}
    assert answers == {"252 2.5.0 Send some mail and see"}
    assert (await peer.ask(b"EXPN list")).startswith("502")


@pytest.mark.parametrize("sender", [b"<a@b.example>", b"<>"])
async def test_only_allowed_recipients_are_taken(
    start: Start, connect: Connect, taken: Taken, sender: bytes
) -> None:
    """Others get 550, whoever writes; the mail goes to those that are allowed."""
    source = await start(recipients=("sms@bridge.example", "@x.example"))
    peer = await connect(source)
    await peer.greet()
    assert (await peer.ask(b"MAIL FROM:" + sender)).startswith("250")
    refused = await peer.ask(b"RCPT TO:<other@bridge.example>")
    assert refused == "550 5.1.1 No such mailbox here"
    assert (await peer.ask(b"DATA")).startswith("503")
    assert await peer.codes(b"RCPT TO:<SMS@Bridge.Example>", b"RCPT TO:<any@X.example>") == [
        "250", "250",
    ]  # fmt: skip
    assert await peer.codes(b"DATA", MAIL + b".") == ["354", "250"]
    assert taken.arrivals[0].recipients == ("SMS@Bridge.Example", "any@X.example")


async def test_a_refused_recipient_is_masked_in_the_log(
    start: Start, connect: Connect, lines: list[Line]
) -> None:
    """A near miss of a secret address must not be in the log."""
    source = await start(recipients=("sms@bridge.example",))
    peer = await connect(source)
    await peer.greet()
    await peer.codes(b"MAIL FROM:<a@b>", b"RCPT TO:<sms-4f1c9a7e@bridge.example>")
    assert "4f1c9a7e" not in str(lines)
    assert [line["event"] for line in lines] == ["smtp.recipient_refused"]


async def test_the_null_sender_is_empty(start: Start, connect: Connect, taken: Taken) -> None:
    """MAIL FROM:<> becomes the empty envelope sender."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.codes(b"MAIL FROM:<>", b"RCPT TO:<a@b>", b"DATA", b".")
    assert taken.arrivals[0].origin.sender == ""
    assert taken.contents == [b""]


async def test_grouped_commands_are_answered_in_order(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """Two mails sent with RFC 2920's groups, a refused recipient among them, all in order."""
    source = await start(recipients=("@bridge.example",))
    peer = await connect(source)
    await peer.greet()
    group = (
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<1@bridge.example>\r\nRCPT TO:<2@evil.example>\r\n"
        b"RCPT TO:<3@bridge.example>\r\nDATA\r\n"
    )
    await peer.send(group)
    assert [(await peer.reply())[:3] for _ in range(5)] == ["250", "250", "550", "250", "354"]
    await peer.send(b"one\r\n.\r\nRSET\r\n" + group)
    assert [(await peer.reply())[:3] for _ in range(7)] == [
        "250", "250", "250", "250", "550", "250", "354",
    ]  # fmt: skip
    await peer.send(b"two\r\n.\r\nQUIT\r\n")
    assert [(await peer.reply())[:3] for _ in range(2)] == ["250", "221"]
    assert taken.contents == [b"one\r\n", b"two\r\n"]


async def test_a_group_in_single_bytes_is_the_same(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """However TCP cuts what is sent, replies come and none is kept back."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    said = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
    for place in range(len(said)):
        await peer.send(said[place : place + 1])
        await asyncio.sleep(0)
    assert [(await peer.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
    content = b"x\r\n..\r\n\r\n.\r\n"
    for place in range(len(content)):
        await peer.send(content[place : place + 1])
        await asyncio.sleep(0)
    assert (await peer.reply()).startswith("250")
    assert taken.contents == [b"x\r\n.\r\n\r\n"]


async def test_a_half_line_does_not_keep_replies_back(start: Start, connect: Connect) -> None:
    """A reply waits only for commands that are there whole."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@")
    assert (await peer.reply()).startswith("250")
    assert (await peer.ask(b"d>")).startswith("250")


async def test_a_whole_session_in_one_packet_is_served(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """Even a peer that waits for nothing and closes its side at once gets its mail stored."""
    source = await start()
    peer = await connect(source)
    await peer.send(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n")
    peer.writer.write_eof()
    said = (await peer.rest()).decode().splitlines()
    assert [line[:3] for line in said if line[3:4] == " "] == [
        "220", "250", "250", "250", "354", "250", "221",
    ]  # fmt: skip
    assert taken.contents == [b"hi\r\n"]


@pytest.mark.parametrize("false_end", FALSE_ENDS)
async def test_no_false_end_splits_a_mail(
    start: Start, connect: Connect, taken: Taken, false_end: bytes
) -> None:
    """What other servers take for the end of a mail smuggles no second one in."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    content = (
        b"Subject: one\r\n\r\nx" + false_end
        + b"MAIL FROM:<evil@x>\r\nRCPT TO:<sms@bridge.example>\r\nDATA\r\n"
        + b"Subject: two\r\n\r\n"
    )  # fmt: skip
    assert (await peer.ask(content + b".")).startswith("250")
    await peer.ask(b"QUIT")
    assert len(taken.arrivals) == 1
    assert b"Subject: two" in taken.contents[0]


@pytest.mark.parametrize("declared", [b"", b" BODY=8BITMIME", b" SMTPUTF8"])
async def test_bytes_arrive_as_they_were_sent(
    start: Start, connect: Connect, taken: Taken, declared: bytes
) -> None:
    """8-bit text, bare CR and LF, NUL: declared or not, none of it is changed."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    content = bytes(range(256)) * 3 + b"\r\n"
    await peer.codes(b"MAIL FROM:<a@b>" + declared, b"RCPT TO:<c@d>", b"DATA")
    assert (await peer.ask(content + b".")).startswith("250")
    assert taken.contents == [content]


@pytest.mark.parametrize(
    "path", [b"<\xff@b>", b"<a@\xed\xa0\x80>", b"<a\x00@b>", b"<\xc3@b> SMTPUTF8"]
)
async def test_addresses_that_no_store_can_hold_are_refused(
    start: Start, connect: Connect, path: bytes
) -> None:
    """Bytes that are not UTF-8, surrogates and NUL get 553 as sender and as recipient."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    assert await peer.codes(b"MAIL FROM:" + path, b"MAIL FROM:<a@b>") == ["553", "250"]
    assert (await peer.ask(b"RCPT TO:" + path.split()[0])).startswith("553")


async def test_utf8_addresses_are_kept(start: Start, connect: Connect, taken: Taken) -> None:
    """SMTPUTF8 works, and the Received header says so."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.codes("MAIL FROM:<è@b> SMTPUTF8".encode(), "RCPT TO:<ü@d>".encode(), b"DATA", b".")
    assert taken.arrivals[0].origin.sender == "è@b"
    assert taken.arrivals[0].recipients == ("ü@d",)
    assert b"with UTF8SMTP id" in taken.arrivals[0].raw


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"MAIL FROM:<a@b> SIZE=\xc2\xb2", "501"),
        (b"MAIL FROM:<a@b> SIZE=" + b"9" * 1000, "552"),
        (b"MAIL FROM:<" + b"(" * 1900 + b"a@b>", "553"),
        (b"MAIL FROM:" + b"<" * 1900, "553"),
        (b"NOOP " + b"x" * 3000, "500"),
        (b"\xff\xfe\x00\x01", "502"),
        (b" ", "502"),
        (b"EHLO", "501"),
        (b"HELO", "501"),
        (b"EHLO \xff\xfe", "250"),
    ],
)
async def test_odd_commands_get_their_code_and_the_session_goes_on(
    start: Start, connect: Connect, taken: Taken, command: bytes, code: str
) -> None:
    """No command makes us raise, and a mail can be sent after it."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    assert await peer.codes(command) == [code]
    await peer.codes(b"EHLO x")
    await peer.begin_mail()
    assert (await peer.ask(b".")).startswith("250")
    assert len(taken.arrivals) == 1


async def test_a_command_without_end_is_cut_off(start: Start, connect: Connect) -> None:
    """A line that goes on beyond the buffer ends the session."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.send(b"NOOP " + b"x" * 200_000)
    assert (await peer.rest()).startswith((b"500 5.5.2", b""))
    await _all_gone(source)


async def test_a_web_request_is_cut_off(
    start: Start, connect: Connect, taken: Taken, lines: list[Line]
) -> None:
    """A browser cannot be made to send a mail in the body of a POST."""
    source = await start()
    peer = await connect(source)
    await peer.send(
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
        b"DATA\r\nhi\r\n.\r\n"
    )
    assert b"354" not in await peer.rest()
    assert taken.arrivals == []
    assert [line["event"] for line in lines] == ["smtp.http"]


async def test_junk_is_bounded(start: Start, connect: Connect, taken: Taken) -> None:
    """Twenty things that are no command, and the session is over."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    junk = bytes(range(32, 256)) + b"\n"
    await peer.send(junk * 100)
    said = await peer.rest()
    assert said.count(b"\r\n") <= 22
    assert taken.arrivals == []


async def test_commands_are_counted_until_a_mail_is_stored(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """A thousand commands without a mail are too many; a mail begins the count anew."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    for _ in range(2):
        await peer.send(b"NOOP\r\n" * 900)
        assert {(await peer.reply())[:3] for _ in range(900)} == {"250"}
        await peer.begin_mail()
        assert (await peer.ask(b".")).startswith("250")
    await peer.send(b"NOOP\r\n" * 1001)
    said = (await peer.rest()).decode().splitlines()
    assert len(said) == 1001
    assert said[-1] == "421 4.7.0 Too many commands without a mail"
    assert len(taken.arrivals) == 2


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"EHLO x\r\n",
        b"EHLO x",
        b"EHLO x\r\nMAIL FROM:<a@b>\r\n",
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n",
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhi\r\n.\r",
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhi\n.\n",
    ],
)
@pytest.mark.parametrize("how", ["close", "half", "reset"])
async def test_a_peer_may_leave_at_any_point(
    start: Start, connect: Connect, taken: Taken, said: bytes, how: str
) -> None:
    """Nothing is accepted of a mail that did not end, and nothing is left of the session."""
    source = await start()
    peer = await connect(source)
    await peer.reply()
    await peer.send(said)
    if said.count(b"\r\n"):
        await peer.reply()
    match how:
        case "close":
            peer.close()
        case "half":
            peer.writer.write_eof()
        case _:
            peer.reset()
    await _all_gone(source)
    assert taken.arrivals == []


async def test_every_kind_of_address_is_listened_on(start: Start, taken: Taken) -> None:
    """IPv4 and IPv6 take mail side by side, each under its own name."""
    source = await start(listen=("127.0.0.1:0", "[::1]:0"))
    assert [address.rpartition(":")[0] for address in source.addresses] == ["127.0.0.1", "[::1]"]
    for address in source.addresses:
        peer = await Peer.connect(address)
        await peer.greet()
        await peer.begin_mail()
        await peer.codes(b".", b"QUIT")
        peer.reset()
    assert [each.source_name for each in taken.arrivals] == ["127.0.0.1:0", "[::1]:0"]
    assert [each.peer for each in taken.arrivals] == ["127.0.0.1", "::1"]


async def test_rejections_are_counted(start: Start, connect: Connect) -> None:
    """The metric counts what turned a sender away, by code."""
    source = await start(recipients=("@bridge.example",))
    peer = await connect(source)
    await peer.greet()
    before = _count("550")
    await peer.codes(b"MAIL FROM:<a@b>", b"RCPT TO:<x@evil>", b"RCPT TO:<y@evil>")
    assert _count("550") == before + 2


def _count(code: str) -> float:
    return metrics.REGISTRY.get_sample_value("smsbridge_smtp_rejected_total", {"code": code}) or 0


async def _all_gone(source: object) -> None:
    async with asyncio.timeout(PATIENCE):
        await source._shared.empty.wait()  # type: ignore[attr-defined]


async def test_aiosmtpd_sees_only_what_it_may_call(start: Start) -> None:
    """It reads every attribute that it sees, for each connection; on one Python that raises."""
    source = await start()
    assert [name for name, _ in inspect.getmembers(source._shared)] == ["handle_RCPT"]


async def test_a_chunk_ends_the_session(start: Start, connect: Connect, taken: Taken) -> None:
    """CHUNKING is not offered; a mail's text behind BDAT is no command, whatever it says."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    chunk = b"MAIL FROM:<x@y.example>\r\nRCPT TO:<sms@bridge.example>\r\nDATA\r\n" + MAIL + b".\r\n"
    await peer.send(b"BDAT %d LAST\r\n" % len(chunk) + chunk)
    assert await peer.reply() == "502 5.5.1 CHUNKING is not offered: use DATA"
    assert await peer.rest() == b""
    assert taken.arrivals == []


async def test_reports_are_not_promised(start: Start, connect: Connect, taken: Taken) -> None:
    """DSN is not offered, so the relay in front says itself what became of the mail."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    assert (await peer.ask(b"MAIL FROM:<a@b.example> RET=HDRS ENVID=1"))[:3] == "555"
    assert await peer.codes(b"MAIL FROM:<a@b.example>") == ["250"]
    assert (await peer.ask(b"RCPT TO:<sms@bridge.example> NOTIFY=SUCCESS"))[:3] == "555"
