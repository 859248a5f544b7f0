"""Takes providers' posts: token, signature, store, and only then the provider's own success."""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from aiohttp import web

from bridge import logs, metrics, posts
from bridge.config.posts import PostsSettings
from bridge.errors import StoreUnavailable, TrustUnavailable
from bridge.model import Arrival, Caller, Post, Receipt, Report
from bridge.net.http_server import HttpServer
from bridge.net.limits import Budget, HttpLimits, network_of
from bridge.net.listening import peer_address
from bridge.net.tls import server_context
from bridge.providers.posts import CONTENT_TYPES, NOT_FOUND, Answer, Client, Posts
from bridge.sources.throttled_log import ThrottledLog

log = logs.logger("posts")

_MEMORY: Final = 32 * 1024**2  # bytes of posts that are being read and stored
# Of a request line: some providers send GET, where a letter of an SMS takes up to nine characters.
_LINE: Final = 32 * 1024
# Compared with where there is no provider of that name, so that it takes as long.
_NO_TOKENS: Final = ("-" * 32,)
_CONTENT_TYPES: Final = frozenset({*CONTENT_TYPES, ""})


class PostSource:
    """The listener of `[posts]`: `POST /in/<provider>/<token>`.

    `accept` stores an arrival and returns the receipt, or raises StoreUnavailable or
    TrustUnavailable. A post is stored only if its token and its signature are right; what cannot
    be read is stored too, and acknowledged. Any fault of ours is a 503: providers try again after
    a 5xx, and some never after a 4xx.
    """

    def __init__(
        self,
        settings: PostsSettings,
        providers: Mapping[str, Posts],
        tokens: Mapping[str, Sequence[str]],
        accept: Callable[[Arrival], Awaitable[Receipt]],
        sockets: Mapping[str, Sequence[socket.socket]],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self.name = "posts"
        self.listening = asyncio.Event()
        self._settings = settings
        self._providers = providers
        self._tokens = tokens
        self._accept = accept
        self._clock = clock
        self._budget = Budget(_MEMORY, _MEMORY // 4)
        self._stopping = asyncio.Event()
        self._commits: set[asyncio.Task[Receipt]] = set()
        self._throttled = ThrottledLog(log)
        limits = HttpLimits(
            connections=settings.max_connections,
            connections_per_peer=settings.max_connections_per_peer,
            body_bytes=int(settings.max_body),
            line_bytes=_LINE,
        )
        routes = [
            web.route("*", posts.PREFIX + "{provider}/{token}", self._answer),
            web.route("*", "/{anything:.*}", _not_found),
        ]

        def server(key: str, addresses: Sequence[str]) -> HttpServer:
            return HttpServer("posts", f"posts.{key}", addresses, routes, limits, sockets=sockets)

        self._plain = server("listen", settings.listen)
        self._tls = server("tls_listen", settings.tls_listen)
        self.reload_tls()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """The (host, port) pairs that are bound, the plain ones first."""
        return (*self._plain.addresses, *self._tls.addresses)

    async def run(self) -> None:
        """Listen until `stop`, then answer what is here and wait for its commits."""
        try:
            await self._plain.start()
            await self._tls.start()
            self.listening.set()
            await self._stopping.wait()
        finally:
            await asyncio.gather(self._plain.stop(), self._tls.stop())
            if self._commits:
                await asyncio.wait(self._commits)

    def stop(self) -> None:
        """Make `run` end."""
        self._stopping.set()

    def use(self, providers: Mapping[str, Posts], tokens: Mapping[str, Sequence[str]]) -> None:
        """Take the posts of these providers from now on."""
        self._providers, self._tokens = providers, tokens

    def reload_tls(self) -> None:
        """Read the certificate again; ConfigError if it cannot be used."""
        certificate, key = self._settings.tls_certificate, self._settings.tls_key
        if self._settings.tls_listen and certificate is not None and key is not None:
            self._tls.tls = server_context(certificate, key, "posts", self._settings.tls_client_ca)

    def report(self) -> Report:
        """Return whether it listens."""
        return Report("listening" if self.listening.is_set() else "starting")

    async def _answer(self, request: web.Request) -> web.Response:
        name = request.match_info["provider"]
        provider = self._providers.get(name)
        token = request.match_info["token"]
        right = _same(token, self._tokens.get(name, _NO_TOKENS))
        peer = self._peer(request)
        if provider is None or not right:
            self._throttled.warning("posts.wrong_token", peer=peer)
            if provider is not None:  # a name that somebody made up would be a series for ever
                metrics.POSTS_REFUSED.labels(name, "404").inc()
            return _response(NOT_FOUND)
        try:
            return _response(await self._take(provider, request, peer))
        except (web.RequestPayloadError, ConnectionError):
            raise  # the server's: what came is no request, or nobody is there to answer
        except Exception as error:  # noqa: BLE001 - in the provider's words, and to be tried again
            self._throttled.bug("posts.bug", error, peer=peer)
            return _response(_refused(provider, 503))

    async def _take(self, provider: Posts, request: web.Request, peer: str | None) -> Answer:
        """Return the provider's success if and only if the post is stored."""
        refuse = partial(_refused, provider)
        if request.method not in provider.methods:
            return refuse(405)
        size = request.content_length
        if size is not None and size > self._settings.max_body:
            return refuse(413)
        share = self._budget.share(network_of(peer))
        if not share.grow(size if size is not None else int(self._settings.max_body)):
            self._throttled.warning("posts.memory", peer=peer)
            return refuse(503)
        try:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                return refuse(413)
            whole = _post(request, provider.name, body)
            if not _is_read(posts.content_type(whole)):
                return refuse(415)
            now = self._clock()
            post = provider.stored(whole)
            verdict = provider.admit(whole, _client(request, peer), now) or provider.verify(
                post, now
            )
            if isinstance(verdict, str):
                self._throttled.warning(
                    "posts.refused", provider=provider.name, peer=peer, detail=verdict
                )
                return refuse(401)
            arrival = Arrival(Caller(peer, verdict), "posts", posts.encode(post), now)
            return provider.answer(post) if await self._store(arrival) else refuse(503)
        finally:
            share.close()

    async def _store(self, arrival: Arrival) -> bool:
        """Store an arrival; a client that goes away cancels nothing."""
        task = asyncio.ensure_future(self._accept(arrival))
        self._commits.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._commits.discard)
        try:
            await asyncio.shield(task)
        except (StoreUnavailable, TrustUnavailable) as error:
            self._throttled.warning("posts.not_stored", peer=arrival.peer, error=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - a bug must not become a lost post
            self._throttled.bug("posts.bug", error, peer=arrival.peer)
            return False
        return True

    def _peer(self, request: web.Request) -> str | None:
        """Return the client's address, behind the proxies that the config names."""
        transport = request.transport
        peer = peer_address(transport.get_extra_info("peername")) if transport else None
        # Each proxy adds at the end: to the header, or a header of its own.
        hops = ",".join(request.headers.getall("X-Forwarded-For", [""])).split(",")
        while peer is not None and _within(peer, self._settings.proxies) and hops:
            found = _address(hops.pop().strip())
            if found is None:
                break
            peer = found
        return peer


async def _not_found(_request: web.Request) -> web.Response:
    return _response(NOT_FOUND)


def _refused(provider: Posts, status: int) -> Answer:
    metrics.POSTS_REFUSED.labels(provider.name, str(status)).inc()
    return provider.refusal(status)


def _post(request: web.Request, provider: str, body: bytes) -> Post:
    query = request.rel_url.raw_query_string
    headers = posts.lower_case(request.headers.items())
    return Post(request.method, posts.PREFIX + provider, query, headers, body)


def _is_read(content_type: str) -> bool:
    return content_type in _CONTENT_TYPES or content_type.endswith("+json")


def _client(request: web.Request, peer: str | None) -> Client:
    transport = request.transport
    return Client(peer, transport.get_extra_info("peercert") if transport else None)


def _same(token: str, right: Sequence[str]) -> bool:
    given = token.encode("utf-8", "surrogateescape")
    return sum(hmac.compare_digest(given, each.encode()) for each in right) > 0


def _within(peer: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    address = ip_address(peer)
    return any(address in network for network in networks)


def _address(written: str) -> str | None:
    try:
        return str(ip_address(written))
    except ValueError:
        return None


def _response(answer: Answer) -> web.Response:
    headers = dict(answer.headers)
    if answer.content_type:
        headers["Content-Type"] = answer.content_type
    return web.Response(status=answer.status, body=answer.body, headers=headers)
