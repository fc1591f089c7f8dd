"""uvicorn, taught to give a socket away after the handshake and to drain before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, cast

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.server import ServerProtocol

from liveblog.delivery.socket import RECEIVED_MOST_BYTES, EventStreamViewer, SocketViewer

HAND_OVER = "liveblog.hand_over"
BACKLOG = 4096
KEEP_ALIVE_SECONDS = 15
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


class UpgradeProtocol(WebSocketsSansIOProtocol):
    """Lets the application decide on the handshake, then give the socket to a viewer."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[HAND_OVER] = self._hand_over

    def _hand_over(self, made: Callable[[ServerProtocol], SocketViewer]) -> SocketViewer | None:
        """Give the socket to a viewer; None where the client has gone meanwhile."""
        if self.transport.is_closing() or self.disconnected:
            return None
        self.conn.send_response(self.response)
        viewer = made(self.conn)
        viewer.take(self.transport, b"".join(self.conn.data_to_send()))
        self.connections.discard(self)
        self.transport = _Gone()
        self.handshake_complete = self.close_sent = self.disconnected = True
        return viewer


class StreamProtocol(HttpToolsProtocol):
    """Lets the application begin an event stream, then give the socket to a viewer."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast(dict[str, Any], self.scope)["extensions"] = {HAND_OVER: self._hand_over}

    def _hand_over(
        self, made: Callable[[], EventStreamViewer], headers: Sequence[tuple[bytes, bytes]]
    ) -> EventStreamViewer | None:
        """Give the socket to a viewer; None where the client has gone meanwhile."""
        cycle = self.cycle
        if self.transport.is_closing() or cycle.disconnected:
            return None
        head = [b"HTTP/1.1 200 OK\r\n"]
        for name, value in (*self.server_state.default_headers, *headers):
            head += (name, b": ", value, b"\r\n")
        head.append(b"connection: close\r\n\r\n")
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        viewer = made()
        viewer.take(self.transport, b"".join(head))
        # For uvicorn this request is answered.
        cycle.response_started = cycle.response_complete = True
        cycle.transport = self.transport = _Gone()
        return viewer


class Server(uvicorn.Server):
    """Stops in this order: no new connections, viewers sent away in batches, posts answered."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain

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
        await self._drain()
        await super().shutdown(sockets)


def config(app: object, *, drain_seconds: float) -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        cast(Any, app),
        http=StreamProtocol,
        ws=UpgradeProtocol,
        ws_max_size=RECEIVED_MOST_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
        backlog=BACKLOG,
    )


def listening(host: str, port: int) -> socket.socket:
    """A listening socket whose connections have the options that viewers need.

    Raises: OSError.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
