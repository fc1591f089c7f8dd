"""A viewer who reads slowly costs the others nothing, and the process little."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from pathlib import Path
from typing import Any, Self

from websockets.client import ClientProtocol
from websockets.frames import Frame as ReadFrame
from websockets.frames import Opcode
from websockets.uri import parse_uri

from liveblog.delivery.hub import RING_FRAMES, TOO_SLOW
from tests.oracle import Chapter, Heard, Poster, Truth, Watcher, all_hold, check_unbroken, metric
from tests.support import Server, eventually
from tests.worlds import store_url


class Sloth:
    """A viewer on a bare socket with small buffers, who reads only when told to."""

    def __init__(self, server: Server, after: str, *, receive_buffer: int = 8192) -> None:
        self.protocol = ClientProtocol(
            parse_uri(f"{server.websocket_url}/live/live?after={after}"), max_size=None
        )
        self.socket = socket.socket()
        # Before connecting, so that the window is small from the start.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setblocking(False)
        self.address = ("127.0.0.1", server.port)
        self.heard: list[dict[str, Any]] = []
        self.code: int | None = None
        self.ended = False

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, self.address)
        self.protocol.send_request(self.protocol.connect())
        await loop.sock_sendall(self.socket, b"".join(self.protocol.data_to_send()))
        await eventually(self._read_some_and_welcomed)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    async def _read_some_and_welcomed(self) -> bool:
        await self.read(1024)
        return bool(self.heard)

    async def read(self, most: int, seconds: float = 5.0) -> None:
        data = await asyncio.wait_for(
            asyncio.get_running_loop().sock_recv(self.socket, most), seconds
        )
        if data:
            self.protocol.receive_data(data)
        else:
            self.ended = True
            self.protocol.receive_eof()
        for event in self.protocol.events_received():
            if not isinstance(event, ReadFrame):
                continue
            if event.opcode is Opcode.TEXT:
                self.heard.append(json.loads(bytes(event.data)))
            elif event.opcode is Opcode.CLOSE:
                self.code = struct.unpack("!H", bytes(event.data)[:2])[0]
        if answer := b"".join(self.protocol.data_to_send()):  # The close is answered.
            await asyncio.get_running_loop().sock_sendall(self.socket, answer)

    async def read_to_the_end(self) -> None:
        while not self.ended:
            await self.read(65536)

    @property
    def entries(self) -> list[Heard]:
        return [Heard.of(frame) for frame in self.heard if frame["type"] == "entry"]


def memory(server: Server) -> int:
    """Resident bytes of the server's process."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


WORDS = "many words " * 1500


async def test_a_viewer_who_stops_reading_is_cut_off_and_the_fast_ones_notice_nothing(
    server: Server,
) -> None:
    store = store_url(server)
    await server.post("the first")
    start = await Truth.of(store)
    async with (
        Poster(server) as poster,
        Watcher(server.url) as fast,
        Watcher(server.url) as other,
        contextlib.AsyncExitStack() as stack,
    ):
        sloths = [
            await stack.enter_async_context(Sloth(server, str(start.head))) for _ in range(20)
        ]
        await eventually(lambda: fast.is_following and other.is_following)
        before = memory(server)
        # 33 kB a frame: all of it kept for each of those who don't read would be 80 MB.
        for number in range(100):
            await poster.post(f"{number} {WORDS}")
        # And then more than the process remembers.
        await poster.storm(2 * RING_FRAMES)
        truth = await Truth.of(store)
        await all_hold([fast, other], truth.head)
        after = memory(server)
        for sloth in sloths:
            await sloth.read_to_the_end()
        slow = await metric(server, "liveblog_slow_viewers_total")

        # What was cut off comes back with its cursor, and has everything.
        last = sloths[0].entries[-1]
        async with Watcher(server.url, after=start.head) as again:
            await all_hold([again], truth.head)

    truth.check(fast, other)
    assert (fast.joins, other.joins, again.told_afresh) == (1, 1, 0)
    assert slow == len(sloths)
    for sloth in sloths:
        assert sloth.code == TOO_SLOW
        check_unbroken(Chapter(start.head, {}, sloth.entries))
        assert len(sloth.entries) < 100, "it read everything, so it wasn't slow"
    assert last.offset < truth.head.offset
    assert after - before < 50 * 1024 * 1024, f"{(after - before) / 2**20:.0f} MiB more"


async def test_a_viewer_who_reads_on_in_time_catches_up_on_the_same_connection(
    server: Server,
) -> None:
    store = store_url(server)
    await server.post("the first")
    start = await Truth.of(store)
    async with Poster(server) as poster, Sloth(server, str(start.head)) as sloth:
        for number in range(200):
            await poster.post(f"{number} {WORDS}")
        truth = await Truth.of(store)
        held = len(sloth.entries)

        async def caught_up() -> bool:
            await sloth.read(65536)
            return len(sloth.entries) == 200

        await eventually(caught_up, 20, every_seconds=0)
        await poster.post("after all")
        await eventually(caught_up_to(sloth, 201), 5, every_seconds=0)

    assert held < 50, "it was written everything while it didn't read"
    assert sloth.code is None
    check_unbroken(Chapter(start.head, {}, sloth.entries))
    assert [entry.cursor for entry in sloth.entries][:200] == [
        str(entry.cursor) for entry in truth.entries[1:]
    ]
    assert sloth.entries[-1].body == "after all"


def caught_up_to(sloth: Sloth, count: int) -> Any:
    async def read() -> bool:
        await sloth.read(65536)
        return len(sloth.entries) >= count

    return read


async def test_a_slow_viewer_who_is_far_behind_is_read_to_in_order(server: Server) -> None:
    """Older than the process remembers, and slow: read to from the store, never all at once."""
    store = store_url(server)
    start = await Truth.of(store)
    async with Poster(server) as poster:
        await poster.storm(1_300)
        await server.restart()
        truth = await Truth.of(store)
        async with Sloth(server, str(start.head)) as sloth:
            posted = asyncio.create_task(poster.storm(50, prefix="meanwhile"))
            while len(sloth.entries) < 1_300:
                await sloth.read(4096)
            await posted
            truth = await Truth.of(store)
            await eventually(caught_up_to(sloth, 1_350), 10, every_seconds=0)

    assert [entry.cursor for entry in sloth.entries] == [
        str(entry.cursor) for entry in truth.entries
    ]
    assert sloth.code is None
