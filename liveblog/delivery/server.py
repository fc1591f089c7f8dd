"""uvicorn, taught to give a socket away after the handshake and to drain before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, cast

import orjson
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from liveblog.delivery.handshake import HAND_OVER, Handshake, NotAHandshake
from liveblog.delivery.socket import EventStreamViewer

BACKLOG = 4096
KEEP_ALIVE_SECONDS = 15
# A request's head comes in one packet or two, its body over whatever a full hall leaves of a Wi-Fi;
# who drips would hold a socket for ever.
HEAD_MOST_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
BODY_SECONDS = 60.0
LAST_SECONDS = 1.0
# Unacknowledged bytes end a connection after this; neither pings nor timeouts free a reader that
# has stopped, for the kernel goes on holding its buffer.
USER_TIMEOUT_MILLISECONDS = 20_000
# What the kernel may hide from us of a viewer who reads slowly.
NOT_SENT_BYTES = 32 * 1024

_log = structlog.get_logger()


class _Gone(asyncio.Transport):
    """Stands where the transport was, once the socket has been given away."""

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def write(self, data: object) -> None:
        pass


class StreamProtocol(HttpToolsProtocol):
    """Bounds how large and how late a request may be; gives the socket of a stream to a viewer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head = True
        self._has_begun = False
        self._head_bytes = 0
        self._stopping = False
        self._handshake: Handshake | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._expect(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._expect(None)

    def data_received(self, data: bytes) -> None:
        if self._handshake is not None:
            self.transport.close()  # A client waits for the answer before it sends a frame.
            return
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MOST_BYTES:
                self._refuse(431, "The request's head is too large: at most 64 KiB are taken.")
        # Whatever comes ends uvicorn's wait for the next request, also what doesn't begin one.
        is_idle = self._clock is None and self.timeout_keep_alive_task is None
        if is_idle and self._answered() and not self.transport.is_closing():
            self._expect(HEAD_SECONDS)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast(dict[str, Any], self.scope)["extensions"] = {HAND_OVER: self._hand_over}
        self._in_head = self._has_begun = True
        self._head_bytes = 0
        if self._clock is None:
            self._expect(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._expect(BODY_SECONDS)
        super().on_headers_complete()
        if self._stopping and self._last is not None:
            self._last.keep_alive = False

    def on_message_complete(self) -> None:
        self._expect(None)
        self._has_begun = False
        super().on_message_complete()

    def _should_upgrade_to_ws(self) -> bool:
        return True

    def handle_websocket_upgrade(self) -> None:
        self._expect(None)
        if not self._answered():
            self.transport.close()  # Nothing may go out before the answer to what was asked first.
            return
        try:
            self._handshake = Handshake(self)
        except NotAHandshake as refused:
            self.transport.write(refused.answer)
            self.transport.close()
            return
        self.cycle = cast(Any, self._handshake)
        self._start_asgi_task(self.cycle, self.app)

    def let_go(self) -> None:
        """The socket is somebody else's now."""
        self._expect(None)
        self.connections.discard(self)
        # Rings of references, which would wait for the garbage collector, each of them.
        self.parser = self.cycle = self.scope = cast(Any, None)
        self._handshake = None

    def shutdown(self) -> None:
        self._stopping = True
        if self._has_begun:
            self._refuse(503, "The server stops before your request has arrived. Send it again.")
        elif self._last is None:
            self._expect(LAST_SECONDS)  # Taken a moment ago: its request is on the way.
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "This is not a request of HTTP.")

    def _expect(self, seconds: float | None) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if seconds is not None:
            self._clock = self.loop.call_later(seconds, self._is_late)

    @property
    def _last(self) -> RequestResponseCycle | None:
        """The last request here, if there was one."""
        return cast("RequestResponseCycle | None", self.cycle)

    def _answered(self) -> bool:
        return self._last is None or self._last.response_complete

    def _is_late(self) -> None:
        self._clock = None
        if self.pipeline or (self._in_head and not self._answered()):
            self._expect(HEAD_SECONDS)  # The one before it is still being answered.
        elif self._has_begun:
            self._refuse(408, "The request took too long to arrive.")
        else:
            self.transport.close()  # Browsers connect ahead, and then want nothing.

    def _refuse(self, status: int, detail: str) -> None:
        """Answer what never became a request, and close."""
        if self.transport.is_closing():
            return
        client = self.client[0] if self.client else None
        _log.info("not_a_request", status=status, client=client)
        # Not in the middle of another answer, of which it would become a part.
        if not self.pipeline and (self._answered() or not self.cycle.response_started):
            title = HTTPStatus(status).phrase
            problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
            body = orjson.dumps(problem)
            headers = [
                (b"content-type", b"application/problem+json"),
                (b"content-length", b"%d" % len(body)),
            ]
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                headers.append((b"retry-after", b"2"))
            self.transport.write(self.head(status, headers) + body)
        self.transport.close()

    def head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """The head of an answer after which the connection ends."""
        lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        lines += [
            name + b": " + value for name, value in (*self.server_state.default_headers, *headers)
        ]
        lines += (b"connection: close", b"", b"")
        return b"\r\n".join(lines)

    def _hand_over(
        self,
        made: Callable[[], EventStreamViewer],
        welcome: bytes,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> EventStreamViewer | None:
        """Give the socket to a viewer; None where the client has gone meanwhile."""
        cycle = self.cycle
        if self.transport.is_closing() or cycle.disconnected:
            return None
        if self.pipeline:  # The stream is the last answer here; what was asked behind it gets none.
            self.transport.close()
            return None
        self._unset_keepalive_if_required()
        viewer = made()
        viewer.take(self.transport, self.head(HTTPStatus.OK, headers) + welcome)
        self.let_go()
        # For uvicorn this request is answered.
        cycle.response_started = cycle.response_complete = True
        cycle.transport = self.transport = _Gone()
        return viewer


class Server(uvicorn.Server):
    """Stops in this order: no new connections, viewers sent away in batches, posts answered."""

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        on_started: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_started is not None:
            self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again when it has stopped, which would end the process before
        # the store is closed; a stop that was asked for is no failure.
        loop = asyncio.get_running_loop()
        asked = (signal.SIGINT, signal.SIGTERM)
        for number in asked:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in asked:
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        _log.info("draining")
        for server in self.servers:
            server.close()
        began = asyncio.get_running_loop().time()
        await self._drain()
        spent = asyncio.get_running_loop().time() - began
        # One time for both: who runs the process counts from its signal.
        whole = self.config.timeout_graceful_shutdown or 0
        self.config.timeout_graceful_shutdown = max(1, round(whole - spent))
        await super().shutdown(sockets)


def config(app: object, *, drain_seconds: float) -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        cast(Any, app),
        http=StreamProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
        backlog=BACKLOG,
    )


def listening_apart(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one address, of which each takes its share of connections.

    Raises: OSError.
    """
    # Alone first: sockets that share would share with another server's, too, without a word.
    first = listening(host, port)
    if not sys.platform.startswith("linux"):
        # Elsewhere one of them gets all: so it is one, and whoever is free takes from it.
        return [first, *(first.dup() for _ in range(count - 1))]
    port = first.getsockname()[1]
    first.close()
    return [listening(host, port, shares=True) for _ in range(count)]


def listening(host: str, port: int, *, shares: bool = False) -> socket.socket:
    """A listening socket whose connections have the options that viewers need.

    Raises: OSError.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Linux hands these on to every accepted connection; elsewhere they don't exist.
        for name, value in (
            ("TCP_USER_TIMEOUT", USER_TIMEOUT_MILLISECONDS),
            ("TCP_NOTSENT_LOWAT", NOT_SENT_BYTES),
        ):
            if hasattr(socket, name):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
