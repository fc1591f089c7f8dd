"""The viewer's end of a connection: it owns the transport once the handshake is over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from zlib import MAX_WBITS

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from liveblog.delivery.frames import Wire

if TYPE_CHECKING:
    from liveblog.delivery.gate import Seat
    from liveblog.delivery.hub import Channel

# What the kernel doesn't take at once is the last that we write until it is gone: a transport holds
# nothing of ours, or it has paused us. Both marks are named: uvloop's own low mark is 16 bytes.
HIGH_WATER_BYTES = LOW_WATER_BYTES = 0
CLOSING_SECONDS = 5.0
RECEIVED_MOST_BYTES = 4 * 1024
# Between two heartbeats: the largest frame, and some pings. Small frames cost more to parse than to
# send, and all are parsed on the one thread that everybody is served by.
HEARD_MOST_BYTES = RECEIVED_MOST_BYTES + 256

_NOT_TEXT = 1003
_BAD_TEXT = 1007
_NOT_UNDERSTOOD = 1008


class Viewer(asyncio.Protocol):
    """Somebody who reads along. Costs no task and no waiting coroutine.

    `sent` is the offset of the last entry written. While `paused_at` is set the transport still
    holds bytes and nothing more is written; from `sent` it goes on once drained. While it isn't,
    the hub may write to the socket's `descriptor` as well, which is nobody else's for as long as
    the viewer is in its channel. `received` counts bytes from it since its last turn of the
    wheel.
    """

    __slots__ = (
        "_closed",
        "beat_at",
        "channel",
        "descriptor",
        "paused_at",
        "received",
        "seat",
        "sent",
        "transport",
        "wire",
    )

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.sent = 0
        self.paused_at: float | None = None
        self.beat_at = asyncio.get_running_loop().time()
        self.channel: Channel | None = None
        self.seat: Seat | None = None
        self.transport: asyncio.Transport
        self.descriptor = -1
        self.received = 0
        self._closed = False

    def take(self, transport: asyncio.Transport, opening: bytes) -> None:
        """Own `transport` from now on and write the first bytes: the answer's head, the welcome."""
        self.transport = transport
        self.descriptor = transport.get_extra_info("socket").fileno()
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        if transport.get_write_buffer_size() and self.paused_at is None:
            # An answer from before is still in it. It has told uvicorn so, and tells nobody twice.
            self.pause_writing()
        transport.write(opening)
        if not transport.is_reading():
            transport.resume_reading()

    @property
    def is_open(self) -> bool:
        return not self._closed and not self.transport.is_closing()

    def has_room(self) -> bool:
        """Whether more may be written now, and there is somebody to read it."""
        return self.paused_at is None and self.is_open

    def write(self, data: bytes) -> None:
        if not self._closed:
            self.transport.write(data)

    def close(self, code: int, reason: str) -> None:
        """Say why, then end the connection; at the latest after `CLOSING_SECONDS`."""
        if self._closed:
            return
        self._closed = True
        self._leave()
        self._say_goodbye(code, reason)
        asyncio.get_running_loop().call_later(CLOSING_SECONDS, self.transport.abort)

    def _say_goodbye(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def _leave(self) -> None:
        if self.channel is not None:
            self.channel.leave(self)
            self.channel = None

    def pause_writing(self) -> None:
        self.paused_at = asyncio.get_running_loop().time()
        if self.channel is not None:
            self.channel.stuck[self] = None

    def resume_writing(self) -> None:
        self.paused_at = None
        if self.channel is not None:
            self.channel.stuck.pop(self, None)
            self.channel.deliver(self)

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._leave()
        if self.seat is not None:
            self.seat.leave()
            self.seat = None


class SocketViewer(Viewer):
    """A viewer on a WebSocket (RFC 6455); parsing and closing are done by `websockets`.

    By an object of a dozen others, which most viewers never need: it is made when they first send
    something, or are sent away.
    """

    __slots__ = ("_extensions", "_fragments", "_made")

    def __init__(self, wire: Wire, extensions: Sequence[Extension]) -> None:
        super().__init__(wire)
        self._extensions = extensions
        self._fragments: list[bytes] = []
        self._made: ServerProtocol | None = None

    @property
    def _connection(self) -> ServerProtocol:
        if self._made is None:
            self._made = ServerProtocol(state=OPEN, max_size=RECEIVED_MOST_BYTES)
            self._made.extensions = [*self._extensions]
        return self._made

    def data_received(self, data: bytes) -> None:
        connection = self._connection
        room = HEARD_MOST_BYTES - self.received
        if room <= 0:
            return
        self.received += len(data)
        connection.receive_data(data[:room])
        for event in connection.events_received():
            opcode = event.opcode  # type: ignore[union-attr]
            if opcode in (Opcode.TEXT, Opcode.CONT):
                self._heard(bytes(event.data), event.fin)  # type: ignore[union-attr]
            elif opcode is Opcode.BINARY:
                self.close(_NOT_TEXT, "Viewers need to send nothing.")
        if len(data) > room:
            self.close(_NOT_UNDERSTOOD, "Viewers need to send nothing.")
        self._flush()

    def _heard(self, data: bytes, fin: bool) -> None:
        self._fragments.append(data)
        if not fin:
            return
        text = b"".join(self._fragments)
        self._fragments.clear()
        try:
            text.decode()
        except UnicodeDecodeError:
            self.close(_BAD_TEXT, "A text frame must be UTF-8.")
        else:
            self.close(_NOT_UNDERSTOOD, "Viewers need to send nothing.")

    def _say_goodbye(self, code: int, reason: str) -> None:
        if self._connection.state is OPEN:
            self._connection.send_close(code, reason)
        self._flush()

    def _flush(self) -> None:
        for data in self._connection.data_to_send():
            if data:
                self.transport.write(data)
            else:  # `websockets` asks for the end of the TCP connection with an empty piece.
                self._closed = True
                self._leave()
                self.transport.close()


def shares_deflate(extensions: Sequence[Extension]) -> bool:
    """Whether a viewer can read messages that were compressed for all, whatever it was sent before.

    One that wants a smaller window can't: it gets plain ones, which may always be mixed in.
    """
    return any(
        isinstance(each, PerMessageDeflate)
        and each.local_no_context_takeover
        and each.local_max_window_bits == MAX_WBITS
        for each in extensions
    )


class EventStreamViewer(Viewer):
    """A viewer on an event stream (WHATWG HTML, "Server-sent events")."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        pass  # A second request on this connection can't be answered: the stream is its last.

    def _say_goodbye(self, code: int, reason: str) -> None:
        self.transport.close()
