"""A WebSocket's opening handshake: the application refuses it, or gives the socket to a viewer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

import structlog
from starlette.types import ASGIApp, Message, Scope
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol

from liveblog.delivery.socket import SocketViewer

if TYPE_CHECKING:
    from liveblog.delivery.server import StreamProtocol

HAND_OVER = "liveblog.hand_over"

# Compressed, but each message for itself: only so can all viewers share its bytes.
_DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True
)
_SCHEMES = {"http": "ws", "https": "wss"}
# One for all, since it judges and keeps nothing that the next one doesn't write over.
_judge = ServerProtocol(extensions=[_DEFLATE])

_log = structlog.get_logger()


class NotAHandshake(Exception):
    """A request to upgrade that isn't sound; `answer` is what to say to it."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


class Handshake:
    """One request to upgrade (RFC 6455, section 4.2), in the place of uvicorn's request cycle.

    The request was parsed before it was known to be one, and isn't parsed again: `websockets` only
    judges it and negotiates. Raises: NotAHandshake.
    """

    def __init__(self, stream: StreamProtocol) -> None:
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.message_event = asyncio.Event()
        self._stream = stream
        self._refusal: tuple[int, Sequence[tuple[bytes, bytes]]] = (403, ())
        headers = Headers(
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in stream.scope["headers"]
        )
        request = Request(
            stream.url.decode("ascii"),
            headers,
            method=stream.scope["method"],
            protocol=f"HTTP/{stream.scope['http_version']}",
        )
        try:
            key, extensions, _ = _judge.process_request(request)
        except InvalidHandshake:
            refusing = ServerProtocol(extensions=[_DEFLATE])
            raise NotAHandshake(refusing.accept(request).serialize()) from None
        self._extensions: Sequence[Extension] = _judge.extensions
        self._opening = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {key}\r\n"
            + (f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else "")
            + "\r\n"
        ).encode("ascii")

    async def run_asgi(self, app: ASGIApp) -> None:
        try:
            await app(self._scope(), self._receive, self._send)
        except Exception:  # noqa: BLE001 — the last to hear of it, as uvicorn's own cycle is
            _log.exception("stream_failed")
        if not self.response_complete:
            self._stream.transport.close()

    def _scope(self) -> Scope:
        asked = self._stream.scope
        path, _, query = self._stream.url.partition(b"?")
        return {
            **asked,
            "type": "websocket",
            "scheme": _SCHEMES[asked["scheme"]],
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}, HAND_OVER: self._hand_over},
        }

    async def _receive(self) -> Message:
        await self.message_event.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: Message) -> None:
        """The refusal, as an answer of HTTP (ASGI, "Websocket Denial Response")."""
        if message["type"] == "websocket.http.response.start":
            self._refusal = message["status"], [*message["headers"]]
        elif message["type"] == "websocket.http.response.body" and not self.disconnected:
            if not self.response_started:
                self.response_started = True
                self._stream.transport.write(self._stream.head(*self._refusal))
            self._stream.transport.write(message.get("body", b""))
            if not message.get("more_body"):
                self.response_complete = True
                self._stream.transport.close()

    def _hand_over(
        self, made: Callable[[Sequence[Extension]], SocketViewer], welcome: bytes
    ) -> SocketViewer | None:
        """Give the socket to a viewer; None where the client has gone meanwhile."""
        if self.disconnected or self._stream.transport.is_closing():
            return None
        viewer = made(self._extensions)
        viewer.take(self._stream.transport, self._opening + welcome)
        self.response_started = self.response_complete = True
        self._stream.let_go()
        return viewer
