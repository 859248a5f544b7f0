"""A real name server on loopback: it answers TXT questions as a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from enum import Enum, auto
from typing import Final, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.TXT import TXT

from tests.servers.ports import steady_port


class Trouble(Enum):
    """What a name may have instead of records."""

    NXDOMAIN = auto()
    SERVFAIL = auto()
    SILENCE = auto()
    GARBAGE = auto()


_CODES: Final = {Trouble.NXDOMAIN: dns.rcode.NXDOMAIN, Trouble.SERVFAIL: dns.rcode.SERVFAIL}
_PIECE: Final = 255  # bytes of one string of a TXT record


class NameServer(asyncio.DatagramProtocol):
    """Answers from `zone`: name → the TXT records (none: NODATA), or a trouble.

    A name that is not there does not exist; `asked` counts the questions.
    """

    def __init__(self) -> None:
        self.zone: dict[str, Sequence[bytes] | Trouble] = {}
        self.asked: Counter[str] = Counter()
        self.ttl = 300
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own transport is none by its class.
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        query = dns.message.from_wire(data)
        answer = self._answer(query)
        if answer is Trouble.SILENCE:
            return
        if isinstance(answer, Trouble):
            self._transport.sendto(data[:2] + b"garbage", addr)
            return
        try:
            wire = answer.to_wire(max_size=query.payload or 512)
        except dns.exception.TooBig:
            answer.answer.clear()
            answer.flags |= dns.flags.TC
            wire = answer.to_wire()
        self._transport.sendto(wire, addr)

    async def by_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question whose answer is too long for UDP."""
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = self._answer(dns.message.from_wire(await reader.readexactly(length)))
        assert isinstance(answer, dns.message.Message)
        wire = answer.to_wire(max_size=65535)
        writer.write(len(wire).to_bytes(2, "big") + wire)
        await writer.drain()
        writer.close()

    def _answer(self, query: dns.message.Message) -> dns.message.Message | Trouble:
        name = query.question[0].name
        self.asked[name.to_text(omit_final_dot=True)] += 1
        found = self.zone.get(name.to_text(omit_final_dot=True), Trouble.NXDOMAIN)
        if found is Trouble.SILENCE or found is Trouble.GARBAGE:
            return found
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if isinstance(found, Trouble):
            answer.set_rcode(_CODES[found])
        elif found:
            answer.answer.append(self._records(name, found))
        return answer

    def _records(self, name: dns.name.Name, found: Sequence[bytes]) -> dns.rrset.RRset:
        records = [
            TXT(
                dns.rdataclass.IN,
                dns.rdatatype.TXT,
                [each[at : at + _PIECE] for at in range(0, max(len(each), 1), _PIECE)],
            )
            for each in found
        ]
        return dns.rrset.from_rdata_list(name, self.ttl, records)


@contextlib.asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Run a name server on a port of 127.0.0.1 that is free for UDP and for TCP."""
    loop = asyncio.get_running_loop()
    server = NameServer()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            at = ("127.0.0.1", steady_port())
            with contextlib.suppress(OSError):  # somebody was faster, or has it for UDP
                tcp = await asyncio.start_server(server.by_tcp, *at)
                stack.push_async_callback(_closed, tcp)
                transport, _ = await loop.create_datagram_endpoint(lambda: server, at)
                stack.callback(transport.close)
                break
        yield server


async def _closed(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()
