"""What a crowd asks for at once: kept as ready bytes until its blog changes, a second at most."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from liveblog.delivery.hub import Channel
from liveblog.web.site import site_of

if TYPE_CHECKING:
    from liveblog.web.site import Site

KEPT_SECONDS = 1.0
KEPT_MOST_BYTES = 32 * 1024 * 1024
GZIP_LEAST_BYTES = 1024
GZIP_LEVEL = 6
# What takes longer than others should wait for the loop is compressed beside it.
GZIP_ASIDE_BYTES = 128 * 1024

SHARED = "public, max-age=1"
PERSONAL = "private, no-cache"
VARY = "accept-encoding, cookie, authorization"

# In both of its names, with `__Host-` and without.
_SESSION = b"liveblog_session"

Headers = list[tuple[bytes, bytes]]


class Address(NamedTuple):
    """What an answer that all may share depends on."""

    origin: str
    path: str


def is_personal(scope: Scope) -> bool:
    """Whether a request brings a credential, dead or alive: its answer is nobody else's."""
    return any(
        name == b"authorization" or (name == b"cookie" and _SESSION in value)
        for name, value in scope["headers"]
    )


class Answer(Response):
    """One body, plain and compressed, with an ETag for each; it answers If-None-Match by itself."""

    def __init__(self, made: Response, cache_control: str, vary: str) -> None:
        super().__init__(bytes(made.body), headers={"content-type": made.headers["content-type"]})
        self._digest = sha256(self.body).hexdigest()[:20]
        self._rules: Headers = [
            (b"cache-control", cache_control.encode()),
            (b"vary", vary.encode()),
        ]
        self._plain = self._headed(bytes(self.body), "")
        self._gzipped: tuple[Headers, bytes] | None = None

    def _headed(self, body: bytes, encoding: str) -> tuple[Headers, bytes]:
        headers = [
            (b"content-type", self.headers["content-type"].encode("latin-1")),
            (b"content-length", b"%d" % len(body)),
            (b"etag", self._etag(encoding)),
            *self._rules,
        ]
        if encoding:
            headers.append((b"content-encoding", encoding.encode()))
        return headers, body

    def _etag(self, encoding: str) -> bytes:
        # The bytes' own: a page says what o'clock it is, and is another one a second later.
        return f'"{self._digest}-{encoding}"'.encode() if encoding else f'"{self._digest}"'.encode()

    async def compress(self) -> None:
        """Make the compressed bytes; without it they are made for the first who wants them."""
        if len(self.body) < GZIP_LEAST_BYTES:
            self._gzipped = self._plain
            return
        body = bytes(self.body)
        if len(body) < GZIP_ASIDE_BYTES:
            compressed = gzip.compress(body, GZIP_LEVEL, mtime=0)
        else:
            compressed = await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL, mtime=0)
        self._gzipped = self._headed(compressed, "gzip")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_gzip, known = False, b""
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                is_gzip = is_gzip or b"gzip" in value
            elif name == b"if-none-match":
                known = value
        is_gzip = is_gzip and len(self.body) >= GZIP_LEAST_BYTES
        if known and _names(known, etag := self._etag("gzip" if is_gzip else "")):
            headers: Headers = [(b"etag", etag), *self._rules]
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if is_gzip and self._gzipped is None:
            await self.compress()
        headers, body = (self._gzipped if is_gzip else None) or self._plain
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _names(known: bytes, etag: bytes) -> bool:
    # Compared weakly, as If-None-Match is (RFC 9110, 13.1.2).
    each = {tag.strip().removeprefix(b"W/") for tag in known.split(b",")}
    return etag in each or b"*" in each


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, how much its channel had heard when it began to be made, and how long it lasts."""

    answer: Answer
    channel: Channel
    version: int
    until: float

    @property
    def stands(self) -> bool:
        return (
            self.version == self.channel.version
            and self.channel.is_open
            and time.monotonic() < self.until
        )

    @property
    def size(self) -> int:
        return 2 * len(self.answer.body)  # At most: compressed it is smaller.


class Shelf:
    """The answers that are ready. Each is made once, however many ask for it meanwhile.

    One stands until its channel hears of a change, and never for over a second: a process whose
    subscription has gone silent must not go on saying what was taken back.
    """

    def __init__(self) -> None:
        self._kept: dict[Address, Kept] = {}
        self._making: dict[Address, asyncio.Task[Kept]] = {}
        self._bytes = 0

    async def stop(self) -> None:
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def find(self, site: Site, scope: Scope) -> Answer | None:
        """The ready answer to a request, where there is one that it may have."""
        if scope["method"] not in ("GET", "HEAD") or scope["query_string"] or is_personal(scope):
            return None
        kept = self._kept.get(Address(site.origin(HTTPConnection(scope)), scope["path"]))
        return kept.answer if kept is not None and kept.stands else None

    async def answer(
        self, request: Request, channel: Channel, make: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The answer to a request: made for whoever brings a credential, shared by all others.

        With a query nothing is kept: there is no end of queries. Nor for a made-up `Host`.
        """
        if is_personal(request.scope):
            response = await make()
            response.headers["cache-control"] = PERSONAL
            response.headers["vary"] = VARY
            return response
        origin = site_of(request).shared_origin(request)
        if request.scope["query_string"] or not origin:
            return await make()
        return await self._shared(Address(origin, request.scope["path"]), channel, make)

    async def _shared(
        self, address: Address, channel: Channel, make: Callable[[], Awaitable[Response]]
    ) -> Answer:
        kept = self._kept.get(address)
        if kept is not None and kept.stands:
            return kept.answer
        version = channel.version
        while True:
            making = self._making.get(address)
            if making is None:
                making = asyncio.get_running_loop().create_task(
                    self._make(address, channel, make), name=f"make {address.path}"
                )
                self._making[address] = making
            # Shielded: the one who asked first may leave, the others still wait for it.
            kept = await asyncio.shield(making)
            # What was begun before a change that we knew of when we came is not for us.
            if kept.channel is channel and kept.version >= version:
                return kept.answer

    async def _make(
        self, address: Address, channel: Channel, make: Callable[[], Awaitable[Response]]
    ) -> Kept:
        try:
            # Both before the store is read: a change during the read may be in it or not.
            version, until = channel.version, time.monotonic() + KEPT_SECONDS
            answer = Answer(await make(), SHARED, VARY)
            await answer.compress()
            kept = Kept(answer, channel, version, until)
            self._put(address, kept)
            return kept
        finally:
            # In one turn with the end of the task: whoever comes next begins another.
            del self._making[address]

    def _put(self, address: Address, kept: Kept) -> None:
        self._take_off(address, self._kept.get(address))
        # A second later there is room again; until then those that are over it are made anew.
        if self._bytes + kept.size <= KEPT_MOST_BYTES:
            self._kept[address] = kept
            self._bytes += kept.size
            loop = asyncio.get_running_loop()
            loop.call_later(KEPT_SECONDS, self._take_off, address, kept)

    def _take_off(self, address: Address, kept: Kept | None) -> None:
        if kept is not None and self._kept.get(address) is kept:
            del self._kept[address]
            self._bytes -= kept.size


class Ready:
    """Answers what is ready before the rest of the site looks at the request at all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self._app
        if scope["type"] == "http":
            site: Site = scope["app"].state.site
            app = site.shelf.find(site, scope) or app
        await app(scope, receive, send)
