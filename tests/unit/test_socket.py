"""A fan-out writes past the transport: in order, nothing twice, and never to somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
from collections.abc import Callable, Coroutine
from functools import partial

import pytest
import uvloop

from liveblog.delivery import hub as hubs
from liveblog.delivery.frames import Wire
from liveblog.delivery.hub import Channel, Hub
from liveblog.delivery.socket import EventStreamViewer, Viewer
from liveblog.store.connection import Connection
from liveblog.store.log import Log
from tests.support import eventually
from tests.unit.test_hub import Listener, announcement, backlog

WIRE = Wire("sse", "json", "http://here")
HEAD = b"head\n\n"

Play = Callable[[Channel], Coroutine[None, None, None]]


class Pair:
    """A viewer on a real socket with a small buffer, and the end that reads from it."""

    def __init__(self) -> None:
        ours, self.far = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self._ours = ours
        self.viewer = EventStreamViewer(WIRE)
        self.read = b""

    async def open(self, answer: bytes = b"") -> EventStreamViewer:
        """The viewer, behind an `answer` that nobody has read yet."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, self._ours)
        transport.write(answer)
        await asyncio.sleep(0)
        self.viewer.take(transport, HEAD)
        self.far.setblocking(False)
        return self.viewer

    def hear(self, most: int = 1 << 20) -> None:
        """Read some of what has come."""
        with contextlib.suppress(BlockingIOError):
            self.read += self.far.recv(most)

    async def hear_to(self, last: int) -> None:
        """Read until the entry `last` is there, whole."""

        def heard() -> bool:
            self.hear()
            return self.read.endswith(b"\n\n") and self.offsets[-1:] == [last]

        await eventually(heard, every_seconds=0)

    @property
    def offsets(self) -> list[int]:
        events = self.read.removeprefix(HEAD).split(b"\n\n")
        shown = [json.loads(event.rpartition(b"data: ")[2]) for event in events if event]
        return [frame["offset"] for frame in shown if frame["type"] == "entry"]

    async def close(self) -> None:
        self.viewer.transport.abort()
        await eventually(self.viewer.transport.is_closing)
        self.far.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Play], None]:
    """Plays with a channel at offset 10, on each of the two loops."""

    async def played(play: Play) -> None:
        connection = Connection("redis://127.0.0.1:1")
        hub = Hub(Log(connection), lambda blog, post, origin: "")
        try:
            await play(Channel("live", hub, backlog(1, 10)))
        finally:
            await hub.stop()
            await connection.close()

    def runs(play: Play) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(played(play))

    return runs


async def three_at(channel: Channel) -> list[Pair]:
    """Three viewers that have everything up to entry 10."""
    pairs = [Pair() for _ in range(3)]
    for pair in pairs:
        channel.join(await pair.open(), 10)
    return pairs


async def publish(channel: Channel, first: int, last: int) -> None:
    """Announce the entries, a few to each fan-out."""
    witness = Listener(WIRE)
    channel.join(witness, first - 1)
    for start in range(first, last + 1, 10):
        reached = min(start + 9, last)
        for offset in range(start, reached + 1):
            channel.offer(announcement(offset))
        await eventually(partial(_is_told, witness, reached), every_seconds=0)
    channel.leave(witness)


def _is_told(viewer: Viewer, offset: int) -> bool:
    return viewer.sent == offset


def test_what_the_kernel_does_not_take_comes_later_and_in_order(
    run: Callable[[Play], None],
) -> None:
    async def play(channel: Channel) -> None:
        pairs = await three_at(channel)

        await publish(channel, 11, 200)
        for pair in pairs:
            assert pair.viewer.paused_at is not None, "or nothing was held back"
            assert pair.viewer.sent < 200
        pairs[0].hear(700)  # A part of what waits, while more is published.
        await publish(channel, 201, 400)

        for pair in pairs:
            await pair.hear_to(400)
            assert pair.offsets == list(range(11, 401))
            await pair.close()

    run(play)


def test_a_transport_that_holds_something_has_paused_its_viewer(
    run: Callable[[Play], None],
) -> None:
    async def play(channel: Channel) -> None:
        pair = Pair()
        viewer = await pair.open()
        for _ in range(100):
            viewer.write(b"x" * 1000)
            held = viewer.transport.get_write_buffer_size()
            assert (held > 0) is (viewer.paused_at is not None)
        assert viewer.paused_at is not None, "or the other half was not seen"
        await pair.close()

    run(play)


@pytest.mark.parametrize("size", [20_000, 200_000], ids=["not paused before", "paused before"])
def test_what_a_viewer_was_still_to_be_answered_comes_before_its_stream(
    run: Callable[[Play], None], size: int
) -> None:
    answer = b"x" * size

    async def play(channel: Channel) -> None:
        pair, other = Pair(), Pair()
        channel.join(await other.open(), 10)
        viewer = await pair.open(answer)
        assert viewer.paused_at is not None, "or nothing was left of the answer"
        channel.join(viewer, 10)

        await publish(channel, 11, 200)
        held = viewer.transport.get_write_buffer_size()
        assert held <= size + len(HEAD), "it was written to without end"
        while len(pair.read) < size:
            pair.hear()
            await asyncio.sleep(0)
        assert pair.read[:size] == answer
        pair.read = pair.read[size:]
        await pair.hear_to(200)
        await other.hear_to(200)

        assert pair.offsets == other.offsets == list(range(11, 201))
        await pair.close()
        await other.close()

    run(play)


def test_a_descriptor_that_was_given_away_gets_nothing(
    run: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "SLICE_SECONDS", 0)  # A turn of the loop after each slice,
    monkeypatch.setattr(random, "randrange", lambda _: 0)  # and who came first comes last.

    async def play(channel: Channel) -> None:
        gone, stays = Pair(), Pair()
        crowd = [Listener(WIRE) for _ in range(1000)]
        for viewer in (await stays.open(), await gone.open(), *crowd):
            channel.join(viewer, 10)
        descriptor = gone.viewer.descriptor
        channel.offer(announcement(11))
        await eventually(lambda: crowd[-1].sent == 11, every_seconds=0)
        assert crowd[0].sent == 10, "or it is over already"

        gone.viewer.transport.abort()
        await eventually(lambda: gone.viewer not in channel.viewers, every_seconds=0)
        await asyncio.sleep(0)
        heir, far = socket.socketpair()
        if heir.fileno() == descriptor:  # The system has done already what the test is about.
            heir.detach()
        else:
            os.dup2(heir.fileno(), descriptor)
            heir.close()
        assert crowd[0].sent == 10, "or it came too late"
        await stays.hear_to(11)

        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(1)
        os.close(descriptor)
        far.close()
        await stays.close()
        gone.far.close()

    run(play)


def test_a_viewer_whose_end_is_gone_leaves_and_costs_nobody_else(
    run: Callable[[Play], None],
) -> None:
    async def play(channel: Channel) -> None:
        pairs = await three_at(channel)
        pairs[1].far.close()

        await publish(channel, 11, 20)
        await eventually(lambda: pairs[1].viewer not in channel.viewers)

        for pair in (pairs[0], pairs[2]):
            await pair.hear_to(20)
            assert pair.offsets == list(range(11, 21))
            await pair.close()

    run(play)
