"""A WebSocket's opening handshake: the application refuses it, or gives the socket to a viewer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import structlog
from starlette.types import ASGIApp, Message
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from liveblog.delivery.socket import RECEIVED_MOST_BYTES, SocketViewer

if TYPE_CHECKING:
    from liveblog.delivery.server import StreamProtocol

HAND_OVER = "liveblog.hand_over"

# Compressed, but each message for itself: only so can all viewers share its bytes.
_DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True
)
_SCHEMES = {"http": "ws", "https": "wss"}

_of_websockets = logging.getLogger("websockets.server")
_log = structlog.get_logger()


class Handshake:
    """One request to upgrade (RFC 6455, section 4.2), in the place of uvicorn's request cycle.

    The request was parsed by the time it is known to be one, so it isn't parsed again: `websockets`
    judges it, negotiates, and parses what comes afterwards.
    """

    def __init__(self, stream: StreamProtocol, target: bytes) -> None:
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.keep_alive = False
        self.message_event = asyncio.Event()
        self._stream = stream
        self._connection = ServerProtocol(
            extensions=[_DEFLATE], max_size=RECEIVED_MOST_BYTES, state=OPEN, logger=_of_websockets
        )
        self._opening = b""
        self._head: tuple[int, Sequence[tuple[bytes, bytes]]] = (403, ())
        path, _, query = target.partition(b"?")
        self._scope: MutableMapping[str, Any] = {
            **stream.scope,
            "type": "websocket",
            "scheme": _SCHEMES[stream.scope["scheme"]],
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}, HAND_OVER: self._hand_over},
        }
        self._request = Request(
            target.decode("ascii"),
            Headers(
                (name.decode("ascii"), value.decode("latin-1"))
                for name, value in stream.scope["headers"]
            ),
            method=stream.scope["method"],
        )

    def refused(self) -> Response | None:
        """The answer to what is no sound handshake."""
        try:
            key, extensions, _ = self._connection.process_request(self._request)
        except InvalidHandshake:
            return self._connection.accept(self._request)
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {key}",
        ]
        if extensions is not None:
            lines.append(f"Sec-WebSocket-Extensions: {extensions}")
        self._opening = "\r\n".join((*lines, "", "")).encode("ascii")
        return None

    async def run_asgi(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except Exception:  # noqa: BLE001 — the last to hear of it, as uvicorn's own cycle is
            _log.exception("stream_failed")
        if not self.response_complete:
            self._stream.transport.close()

    async def _receive(self) -> Message:
        await self.message_event.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: Message) -> None:
        """The refusal, as an answer of HTTP (ASGI's "websocket.http.response")."""
        if message["type"] == "websocket.http.response.start":
            self._head = message["status"], [*message["headers"]]
        elif message["type"] == "websocket.http.response.body" and not self.disconnected:
            if not self.response_started:
                self.response_started = True
                self._stream.transport.write(self._stream.head(*self._head))
            self._stream.transport.write(message.get("body", b""))
            if not message.get("more_body"):
                self.response_complete = True
                self._stream.transport.close()

    def _hand_over(
        self, made: Callable[[ServerProtocol], SocketViewer], welcome: bytes
    ) -> SocketViewer | None:
        """Give the socket to a viewer; None where the client has gone meanwhile."""
        if self.disconnected or self._stream.transport.is_closing():
            return None
        viewer = made(self._connection)
        viewer.take(self._stream.transport, self._opening + welcome)
        self.response_started = self.response_complete = True
        self._stream.let_go()
        return viewer
