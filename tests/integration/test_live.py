"""The live stream in its three forms, against a real server: what is promised in the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.frames import Frame, Opcode

from liveblog.delivery.frames import HEARTBEAT_SECONDS
from liveblog.delivery.gate import PER_TOKEN
from liveblog.delivery.hub import COUNT_SECONDS, DRAIN, RING_FRAMES
from liveblog.domain.cursor import Cursor
from liveblog.store.log import Log, Operation
from tests.support import Server, eventually, within
from tests.worlds import a_blog, a_post, connected, store_url

Transport = Literal["ws", "sse", "poll"]
TRANSPORTS: tuple[Transport, ...] = ("ws", "sse", "poll")


@dataclass
class Story:
    """One blog on the running server, and a hand in its log."""

    server: Server
    slug: str
    log: Log
    cursors: list[Cursor] = field(default_factory=list)

    async def publish(self, *bodies: str) -> None:
        for body in bodies:
            appended = await self.log.publish(a_post(self.slug, body), Operation.once())
            self.cursors.append(appended.entry.cursor)

    async def publish_many(self, count: int) -> None:
        for start in range(0, count, 100):
            bodies = [f"post {number}" for number in range(start, min(start + 100, count))]
            done = await asyncio.gather(
                *(self.log.publish(a_post(self.slug, body), Operation.once()) for body in bodies)
            )
            self.cursors += sorted((each.entry.cursor for each in done), key=lambda at: at.offset)

    @property
    def start(self) -> Cursor:
        return Cursor(self.cursors[0].epoch, 0, "0")

    def address(self, after: object = None, *, format: str = "json") -> str:
        after = "" if after is None else f"&after={after}"
        return f"/{self.slug}/live?format={format}{after}"

    @asynccontextmanager
    async def socket(self, after: object = None, **more: Any) -> AsyncIterator[ClientConnection]:
        address = self.server.websocket_url + self.address(after, **more)
        async with connect(
            address, proxy=None, ping_interval=None, close_timeout=1, max_size=None
        ) as socket:
            yield socket

    async def frames(
        self, transport: Transport, count: int, after: object = None, **more: Any
    ) -> list[dict[str, Any]]:
        """The first `count` frames that aren't about viewers; of a poll, all there are."""
        if transport == "ws":
            async with self.socket(after, **more) as socket:
                return [await heard(socket) for _ in range(count)]
        if transport == "sse":
            async with events(self.server, self.address(after, **more)) as stream:
                return [(await anext(stream)).data for _ in range(count)]
        format = more.get("format", "json")
        query = f"&after={after}" if after is not None else ""
        answer = await self.server.get(f"/api/blogs/{self.slug}/entries?format={format}{query}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return [{"type": "poll", **found}, *found["entries"]]


async def heard(socket: ClientConnection) -> dict[str, Any]:
    """The next frame that isn't about viewers."""
    while True:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 5))
        if frame["type"] != "viewers":
            return frame


@dataclass(frozen=True)
class Event:
    id: str | None
    data: dict[str, Any]


@asynccontextmanager
async def events(
    server: Server, address: str, **headers: str
) -> AsyncIterator[AsyncIterator[Event]]:
    """An event stream, parsed as the standard says."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        sent = {"Accept": "text/event-stream", **headers}
        async with client.stream("GET", server.url + address, headers=sent) as answer:
            if answer.status_code != 200:
                await answer.aread()
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield parsed(answer.aiter_lines())


async def parsed(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    id: str | None = None
    data: list[str] = []
    async for line in lines:
        name, _, value = line.partition(": ")
        if not line and data:
            event = Event(id, json.loads("\n".join(data)))
            id, data = None, []
            if event.data["type"] != "viewers":
                yield event
        elif name == "id":
            id = value
        elif name == "data":
            data.append(value)


@pytest.fixture(scope="module", params=["1", "2"], ids=["one worker", "two workers"])
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """What one process promises, several promise together."""
    async with Server(tmp_path_factory.mktemp("live"), "--workers", request.param) as server:
        yield server


@asynccontextmanager
async def told_on(server: Server) -> AsyncIterator[Story]:
    async with connected(store_url(server)) as connection:
        await connection.look()
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        yield Story(server, blog.slug, log)


@pytest.fixture
async def story(running: Server) -> AsyncIterator[Story]:
    """An empty blog."""
    async with told_on(running) as made:
        yield made


@pytest.fixture
async def three(story: Story) -> Story:
    """A blog with three posts."""
    await story.publish("one", "two", "three")
    return story


# -- joining


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_the_welcome_tells_where_the_blog_stands(three: Story, transport: Transport) -> None:
    [welcome] = await three.frames(transport, 1)

    viewers = welcome.pop("viewers")
    assert viewers >= 1
    assert welcome == {
        "type": "welcome",
        "cursor": str(three.cursors[-1]),
        "offset": 3,
        "resumed": True,
        "state": "live",
        "heartbeat_seconds": HEARTBEAT_SECONDS,
    }


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("held", [0, 1, 2])
async def test_the_entries_after_the_cursor_follow_at_once(
    three: Story, transport: Transport, held: int
) -> None:
    after = three.cursors[held - 1] if held else three.start

    first, *entries = await three.frames(transport, 4 - held, after)

    assert first["resumed"]
    assert [entry["post"]["body"] for entry in entries] == ["one", "two", "three"][held:]
    assert [entry["cursor"] for entry in entries] == [str(each) for each in three.cursors[held:]]
    assert [entry["offset"] for entry in entries] == list(range(held + 1, 4))


@pytest.mark.parametrize("transport", ["ws", "sse"])
@pytest.mark.parametrize("with_cursor", [False, True])
async def test_at_the_head_only_what_is_new_follows(
    three: Story, transport: Transport, with_cursor: bool
) -> None:
    after = three.cursors[-1] if with_cursor else None
    listening = asyncio.ensure_future(three.frames(transport, 3, after))
    await joined(three)

    await three.publish("four", "five")

    welcome, *entries = await listening
    assert welcome["resumed"]
    assert [entry["post"]["body"] for entry in entries] == ["four", "five"]


async def joined(story: Story) -> None:
    """Wait until somebody follows this blog: each has a blog of its own, so it is they."""
    address = f"/api/blogs/{story.slug}"

    async def is_read() -> bool:
        async with story.socket() as socket:
            welcome = json.loads(await socket.recv())
        return bool(welcome["viewers"] > 1)

    assert (await story.server.get(address)).status_code == 200
    await eventually(is_read)


async def test_every_action_is_told_in_its_own_form(story: Story) -> None:
    async with story.socket() as socket, httpx2.AsyncClient(trust_env=False) as client:
        await heard(socket)
        api = f"{story.server.url}/api/blogs/{story.slug}"
        headers = story.server.headers()
        post = (await client.post(f"{api}/posts", json={"body": "a"}, headers=headers)).json()
        frames = [await heard(socket)]
        address = f"{api}/posts/{post['id']}"
        edit = await client.patch(
            address, json={"body": "b"}, headers={**headers, "If-Match": '"1"'}
        )
        frames.append(await heard(socket))
        paused = await client.patch(api, json={"state": "paused"}, headers=headers)
        frames.append(await heard(socket))
        gone = await client.delete(address, headers=headers)
        frames.append(await heard(socket))

    assert [edit.status_code, paused.status_code, gone.status_code] == [200, 200, 204]
    assert [frame["action"] for frame in frames] == ["publish", "edit", "blog", "retract"]
    assert frames[0]["post"] == post
    assert frames[1]["post"] == edit.json()
    assert frames[2]["blog"] == paused.json()
    assert frames[3] == {
        "type": "entry",
        "offset": 4,
        "cursor": frames[3]["cursor"],
        "action": "retract",
        "id": post["id"],
    }
    [welcome] = await story.frames("ws", 1)
    assert welcome["state"] == "paused"


# -- cursors that can't be honoured


DEAD: dict[str, Callable[[Story], str]] = {
    "another epoch": lambda story: str(replace(story.cursors[1], epoch="0123456789")),
    "another tag": lambda story: str(replace(story.cursors[1], tag="0123456789ab")),
    "another place": lambda story: str(replace(story.cursors[1], offset=1)),
    "past the head": lambda story: str(replace(story.cursors[1], offset=4)),
    "far past the head": lambda story: str(replace(story.cursors[1], offset=2**53 - 1)),
    "no cursor": lambda story: "garbage",
    "empty": lambda story: "",
    "a number": lambda story: "3",
    "much too long": lambda story: "x" * 4000,
    "not ASCII": lambda story: "%C3%A9.1.%00",
    "bad UTF-8": lambda story: "%FF%FE",
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", DEAD)
async def test_a_dead_cursor_is_said_out_loud_and_at_once(
    three: Story, transport: Transport, kind: str
) -> None:
    # A live one is taken: or everything might be refused.
    [alive, *_] = await three.frames(transport, 1, three.cursors[1])
    with within(1.0, "a dead cursor's answer"):
        [first, *entries] = await three.frames(transport, 1, DEAD[kind](three))

    assert alive["resumed"]
    assert not first["resumed"]
    assert not entries
    assert (first["cursor"], first["offset"]) == (str(three.cursors[-1]), 3)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_another_blogs_cursor_is_dead(
    three: Story, running: Server, transport: Transport
) -> None:
    async with told_on(running) as other:
        await other.publish("one", "two", "three")

        [first, *_] = await three.frames(transport, 1, other.cursors[1])

    assert not first["resumed"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_trimmed_cursor_is_dead_and_the_oldest_held_is_not(
    story: Story, transport: Transport
) -> None:
    story.log = Log(story.log._connection, keep=5)
    await story.publish(*(f"post {number}" for number in range(1, 13)))

    [dead, *_] = await story.frames(transport, 1, story.cursors[5])
    [alive, *entries] = await story.frames(transport, 6, story.cursors[6])

    assert not dead["resumed"]
    assert alive["resumed"]
    assert [entry["offset"] for entry in entries] == [8, 9, 10, 11, 12]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_dead_cursor_older_than_is_remembered_is_said_at_once_too(
    story: Story, transport: Transport
) -> None:
    await story.publish_many(RING_FRAMES + 10)
    old = story.cursors[4]
    wrong = (replace(old, tag="0123456789ab"), replace(old, epoch="0123456789"))

    [alive, *_] = await story.frames(transport, 1, old)
    dead = [(await story.frames(transport, 1, cursor))[0] for cursor in wrong]

    assert alive["resumed"]
    assert [first["resumed"] for first in dead] == [False, False]


async def test_after_a_dead_cursor_the_stream_goes_on_with_what_is_new(three: Story) -> None:
    async with three.socket("garbage") as socket:
        assert not (await heard(socket))["resumed"]

        await three.publish("four")

        assert (await heard(socket))["post"]["body"] == "four"


# -- the event stream


async def test_only_entries_have_an_id(three: Story) -> None:
    async with events(three.server, three.address(three.start)) as stream:
        first, *entries = [await anext(stream) for _ in range(4)]

    assert (first.id, first.data["type"]) == (None, "welcome")
    assert [event.id for event in entries] == [str(each) for each in three.cursors]
    assert [event.id for event in entries] == [event.data["cursor"] for event in entries]


async def test_the_last_event_id_wins_over_the_address(three: Story) -> None:
    headers = {"Last-Event-ID": str(three.cursors[1])}
    async with events(three.server, three.address(three.start), **headers) as stream:
        frames = [(await anext(stream)).data for _ in range(2)]

    assert frames[0]["resumed"]
    assert frames[1]["post"]["body"] == "three"


async def test_an_empty_last_event_id_is_none(three: Story) -> None:
    headers = {"Last-Event-ID": ""}
    async with events(three.server, three.address(three.cursors[1]), **headers) as stream:
        frames = [(await anext(stream)).data for _ in range(2)]

    assert frames[1]["post"]["body"] == "three"


async def test_a_dead_last_event_id_is_not_replaced_by_the_address(three: Story) -> None:
    headers = {"Last-Event-ID": "dead"}
    async with events(three.server, three.address(three.cursors[1]), **headers) as stream:
        assert not (await anext(stream)).data["resumed"]


async def test_an_event_stream_is_open_to_other_sites_and_kept_by_no_cache(three: Story) -> None:
    async with (
        httpx2.AsyncClient(trust_env=False) as client,
        client.stream(
            "GET",
            three.server.url + three.address(),
            headers={"Accept": "text/event-stream", "Origin": "https://elsewhere.example"},
        ) as answer,
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cache-control"] == "no-store"


async def test_an_event_stream_follows_a_page_on_one_connection(three: Story) -> None:
    """The socket has answered other requests before the hub takes it over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", three.server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in await reader.readuntil(b"alive\n")
    writer.write(
        f"GET {three.address(three.start)} HTTP/1.1\r\nHost: x\r\n"
        "Accept: text/event-stream\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    body = b""
    while body.count(b"id: ") < 3:
        body += await asyncio.wait_for(reader.read(65536), 5)
    writer.close()
    await writer.wait_closed()

    assert b"200 OK" in head
    assert b"connection: close" in head.lower()


# -- the long poll


async def test_a_poll_without_a_cursor_begins_at_the_head(three: Story) -> None:
    [answer] = await three.frames("poll", 1)

    assert answer == {
        "type": "poll",
        "entries": [],
        "cursor": str(three.cursors[-1]),
        "offset": 3,
        "resumed": True,
    }


async def test_a_poll_gives_at_most_500_and_the_cursor_of_the_last(story: Story) -> None:
    await story.publish_many(1_203)
    after, seen = story.start, []
    for _ in range(3):
        answer, *entries = await story.frames("poll", 0, after)
        assert answer["cursor"] == entries[-1]["cursor"]
        assert answer["offset"] == entries[-1]["offset"]
        seen.append([entry["cursor"] for entry in entries])
        after = answer["cursor"]

    assert [len(page) for page in seen] == [500, 500, 203]
    assert [cursor for page in seen for cursor in page] == [str(each) for each in story.cursors]


async def test_a_waiting_poll_is_answered_by_the_next_entry(three: Story) -> None:
    address = f"/api/blogs/{three.slug}/entries?wait=20&after={three.cursors[-1]}"
    waiting = asyncio.ensure_future(three.server.get(address))
    # It waits as soon as the hub knows this blog; an entry before that is given as well.
    with within(10.0, "the poll"):
        await three.publish("four")
        answer = (await waiting).json()

    assert [entry["post"]["body"] for entry in answer["entries"]] == ["four"]
    assert answer["cursor"] == str(three.cursors[-1])


async def test_a_poll_that_waited_in_vain_has_the_same_cursor(three: Story) -> None:
    address = f"/api/blogs/{three.slug}/entries?wait=0.05&after={three.cursors[-1]}"

    answer = (await three.server.get(address)).json()

    assert answer == {
        "entries": [],
        "cursor": str(three.cursors[-1]),
        "offset": 3,
        "resumed": True,
    }


async def test_who_polls_amid_writers_reads_the_log(story: Story) -> None:
    await story.publish("first")
    seen: list[str] = []
    writing = asyncio.create_task(story.publish_many(300))
    after = str(story.start)
    while len(seen) < 301:
        address = f"/api/blogs/{story.slug}/entries?wait=5&after={after}"
        answer = (await story.server.get(address)).json()
        assert answer["resumed"]
        assert answer["entries"], "it waited in vain though entries were to come"
        seen += [entry["cursor"] for entry in answer["entries"]]
        after = answer["cursor"]
    await writing

    assert seen == [str(each) for each in story.cursors]


@pytest.mark.parametrize("wait", ["-1", "x", "nan", "1e", "", "%00"])
async def test_a_wait_that_is_no_time_is_refused(three: Story, wait: str) -> None:
    answer = await three.server.get(f"/api/blogs/{three.slug}/entries?wait={wait}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "wait"


# -- rendered frames


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_html_frames_carry_the_rendered_post(story: Story, transport: Transport) -> None:
    await story.publish("Doors **open**")

    _, entry = await story.frames(transport, 2, story.start, format="html")

    assert set(entry) == {"type", "offset", "cursor", "action", "id", "html"}
    assert "<strong>open</strong>" in entry["html"]
    assert entry["html"].lstrip().startswith("<article")
    assert f'id="p-{entry["id"]}"' in entry["html"]


# -- how many read along


async def test_viewers_are_counted_over_transports_and_processes(
    running: Server, tmp_path: Path
) -> None:
    async with (
        told_on(running) as here,
        Server(tmp_path, env={"REDIS_URL": store_url(running)}) as other,
    ):
        there = replace(here, server=other)
        async with (
            here.socket() as one,
            there.socket() as two,
            events(other, here.address()) as stream,
        ):
            await anext(stream)
            for socket in (one, two):
                # Every process renews its lease in its own time.
                await told_count(socket, 3)
        async with here.socket() as one:
            await told_count(one, 1)


async def told_count(socket: ClientConnection, count: int) -> None:
    async with asyncio.timeout(4 * COUNT_SECONDS):
        while True:
            frame = json.loads(await socket.recv())
            if frame == {"type": "viewers", "count": count}:
                return


# -- what viewers send


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


SENT: dict[str, tuple[int, bytes]] = {
    "text": (1008, masked(Opcode.TEXT, b"hello")),
    "4 KiB of text": (1008, masked(Opcode.TEXT, b"x" * 4096)),
    "more than 4 KiB": (1009, masked(Opcode.TEXT, b"x" * 4097)),
    "a length of 2^62": (1009, b"\x81\xff" + (2**62).to_bytes(8, "big") + b"mask"),
    "bad UTF-8": (1007, masked(Opcode.TEXT, b"\xc3\x28")),
    "binary": (1003, masked(Opcode.BINARY, b"\x00\x01")),
    "a reserved opcode": (1002, b"\x83\x80mask"),
    "a reserved bit": (1002, b"\xa1\x80mask"),
    "no mask": (1002, b"\x81\x05hello"),
    "a continuation of nothing": (1002, masked(Opcode.CONT, b"x")),
    "a ping in fragments": (1002, b"\x09\x80mask"),
    "a ping of 126 bytes": (1002, b"\x89\xfe\x00\x7emask" + b"x" * 126),
    "text in fragments": (
        1008,
        masked(Opcode.TEXT, b"caf\xc3", fin=False) + masked(Opcode.CONT, b"\xa9"),
    ),
    "bad UTF-8 in fragments": (
        1007,
        masked(Opcode.TEXT, b"caf\xc3", fin=False) + masked(Opcode.CONT, b"x"),
    ),
    "too much in fragments": (
        1009,
        masked(Opcode.TEXT, b"x" * 4000, fin=False) + masked(Opcode.CONT, b"x" * 200),
    ),
    "binary in fragments": (
        1003,
        masked(Opcode.BINARY, b"x", fin=False) + masked(Opcode.CONT, b"x"),
    ),
}


@pytest.mark.parametrize("kind", SENT)
async def test_what_viewers_should_not_send_closes_with_its_code(three: Story, kind: str) -> None:
    code, data = SENT[kind]
    async with three.socket() as socket, three.socket() as other:
        await heard(socket)
        await heard(other)
        socket.transport.write(data)
        with within(1.0, "the close"), pytest.raises(ConnectionClosed) as closed:
            await heard(socket)
        # Nobody else notices.
        await three.publish("four")
        assert (await heard(other))["post"]["body"] == "four"

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


class Counted(ClientConnection):
    """Counts what comes in."""

    came = 0

    def data_received(self, data: bytes) -> None:
        self.came += len(data)
        super().data_received(data)


OFFERS: dict[str, ClientPerMessageDeflateFactory] = {
    "as browsers do": ClientPerMessageDeflateFactory(client_max_window_bits=True),
    "nothing in particular": ClientPerMessageDeflateFactory(),
    "no takeover": ClientPerMessageDeflateFactory(
        server_no_context_takeover=True, client_no_context_takeover=True
    ),
    "a small window of its own": ClientPerMessageDeflateFactory(client_max_window_bits=9),
    "a small window of ours": ClientPerMessageDeflateFactory(server_max_window_bits=9),
}


@pytest.mark.parametrize("offer", OFFERS)
async def test_compressed_or_not_everybody_reads_the_same(three: Story, offer: str) -> None:
    address = three.server.websocket_url + three.address()
    # What is there twice, too far apart for a small window.
    words = secrets.token_urlsafe(3000)
    async with (
        three.socket() as one,
        connect(address, proxy=None, compression=None, extensions=[OFFERS[offer]]) as other,
    ):
        for body in (f"{words} {words}", "short", f"{words} {words}"):
            await three.publish(body)
        frames = [[await heard(socket) for _ in range(4)] for socket in (one, other)]
        (extension,) = other.protocol.extensions

    assert [frame["post"]["body"] for frame in frames[1][1:]] == [
        f"{words} {words}", "short", f"{words} {words}",
    ]  # fmt: skip
    assert frames[0][1:] == frames[1][1:]
    assert isinstance(extension, PerMessageDeflate)
    assert extension.remote_no_context_takeover, "what is shared refers to nothing before it"


async def test_compressed_is_smaller_on_the_wire(three: Story) -> None:
    sizes = []
    for compression in ("deflate", None):
        async with connect(
            three.server.websocket_url + three.address(three.start), proxy=None,
            compression=compression, create_connection=Counted,
        ) as socket:  # fmt: skip
            assert isinstance(socket, Counted)
            await three.publish("word " * 2000)
            while (await heard(socket)).get("post", {}).get("body") != ("word " * 2000).strip():
                pass
            sizes.append(socket.came)

    assert sizes[0] < sizes[1] / 3


async def test_one_viewer_too_many_is_refused_before_it_is_let_in(tmp_path: Path) -> None:
    bound = {"LIVEBLOG_VIEWERS_PER_ADDRESS": "2"}
    async with Server(tmp_path, "--workers", "1", env=bound) as server:
        address = f"{server.websocket_url}/live/live"
        poll = "/api/blogs/live/entries?wait=20"
        async with connect(address, proxy=None) as one:
            async with connect(address, proxy=None):
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(address, proxy=None):
                        pass
                stream = await server.get("/live/live", Accept="text/event-stream")
                waiting = await server.get(poll)
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["retry-after"] == "10"
            assert (stream.status_code, waiting.status_code) == (429, 429)
            assert (await server.get("/api/blogs/live/entries")).status_code == 200

            # The second one's place is free again, for whatever form comes next.
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                await eventually(lambda: taken(server, 1))
                asked = group.create_task(server.get(poll))
                await eventually(lambda: taken(server, 2))
                await server.post("hello")
            assert asked.result().status_code == 200
            assert json.loads(await one.recv())["type"] == "welcome"
        await eventually(lambda: taken(server, 0))
        assert "liveblog_turned_away_total 3.0" in (await server.get("/metrics")).text


async def test_one_token_has_only_so_many_places(three: Story) -> None:
    address = three.server.websocket_url + three.address(three.start)
    bearer = {"authorization": "Bearer of-nobody"}
    async with contextlib.AsyncExitStack() as opened:
        most = PER_TOKEN * three.server.workers
        let_in, refused = 0, None
        while refused is None and let_in <= most:
            try:
                await opened.enter_async_context(
                    connect(address, proxy=None, additional_headers=bearer)
                )
                let_in += 1
            except InvalidStatus as error:
                refused = error.response.status_code
        async with three.socket() as without:
            assert (await heard(without))["type"] == "welcome"

    assert refused == 429
    assert PER_TOKEN <= let_in <= most


async def test_a_rush_is_put_off_before_anything_is_done_for_it(tmp_path: Path) -> None:
    asked = b"GET /live/live HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
    async with Server(tmp_path, env={"LIVEBLOG_VIEWERS_MOST": "1"}) as server:
        await server.get("/live/live")
        streams = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(300)]
        for _, writer in streams:
            writer.write(asked)
        heads = [await reader.readuntil(b"\r\n\r\n") for reader, _ in streams]
        for _, writer in streams:
            writer.close()
        metrics = (await server.get("/metrics")).text

    put_off = [head for head in heads if head.startswith(b"HTTP/1.1 503")]
    assert all(b"retry-after: 2\r\n" in head for head in put_off)
    assert f"liveblog_put_off_total {len(put_off)}.0" in metrics
    assert len(put_off) > 20


async def taken(server: Server, count: int) -> bool:
    return f"liveblog_places_taken {count}.0" in (await server.get("/metrics")).text


FLOODS = {
    "empty pings": masked(Opcode.PING, b""),
    "pings": masked(Opcode.PING, b"x" * 125),
    "empty fragments": masked(Opcode.CONT, b"", fin=False),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_of_small_frames_is_cut_off_and_holds_up_nobody(
    three: Story, kind: str
) -> None:
    async with three.socket() as socket, three.socket() as other:
        await heard(socket)
        await heard(other)
        if kind == "empty fragments":
            socket.transport.write(masked(Opcode.TEXT, b"", fin=False))
        socket.transport.write(FLOODS[kind] * (4_000_000 // len(FLOODS[kind])))
        with within(1.0, "what another one gets"):
            await three.publish("four")
            assert (await heard(other))["post"]["body"] == "four"
        with within(6.0, "the close"):
            async with asyncio.timeout(6):
                await socket.wait_closed()


async def test_pings_within_reason_are_answered_for_as_long_as_they_come(three: Story) -> None:
    async with three.socket() as socket:
        await heard(socket)
        for _ in range(30):
            async with asyncio.timeout(5):
                await (await socket.ping(b"x" * 100))
        await three.publish("four")

        assert (await heard(socket))["post"]["body"] == "four"


async def test_a_ping_is_answered_and_a_close_too(three: Story) -> None:
    async with three.socket() as socket:
        await heard(socket)
        async with asyncio.timeout(5):
            await (await socket.ping())
            await socket.close(1000)

    assert socket.close_code == 1000


async def test_frames_sent_byte_by_byte_are_understood(three: Story) -> None:
    async with three.socket() as socket:
        await heard(socket)
        ping = masked(Opcode.PING, b"slow")
        waiter = await socket.ping(b"first")
        for place in range(len(ping)):
            socket.transport.write(ping[place : place + 1])
            await asyncio.sleep(0)
        await asyncio.wait_for(waiter, 5)
        await three.publish("four")

        assert (await heard(socket))["post"]["body"] == "four"


# -- refusals


@pytest.mark.parametrize("slug", ["no-such-blog", "No-Such", "x", "api", "a%20b", "a%00b", "%FF"])
async def test_no_blog_is_refused_before_the_upgrade(running: Server, slug: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{running.websocket_url}/{slug}/live", proxy=None):
            pass
    answer = await running.get(f"/{slug}/live", Accept="text/event-stream")
    poll = await running.get(f"/api/blogs/{slug}/entries")

    assert refused.value.response.status_code == 404
    assert answer.status_code == poll.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_socket_to_any_other_address_is_404(running: Server) -> None:
    for path in ("/live", "/api/blogs", "/", "/live/live/more"):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{running.websocket_url}{path}", proxy=None):
                pass
        assert refused.value.response.status_code == 404
        assert refused.value.response.headers["content-type"] == "application/problem+json"
    assert "handshake" not in running.log


async def test_a_mistyped_blog_is_404_also_to_who_asks_for_no_stream(running: Server) -> None:
    assert (await running.get("/no-such-blog/live", Accept="text/html")).status_code == 404


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json", "text/plain"])
async def test_who_asks_for_no_stream_is_told_what_this_is(three: Story, accept: str) -> None:
    answer = await three.server.get(f"/{three.slug}/live", Accept=accept)

    assert answer.status_code == 406
    assert "text/event-stream" in answer.json()["detail"]


@pytest.mark.parametrize(
    "method, status", [("HEAD", 406), ("POST", 405), ("PUT", 405), ("DELETE", 405)]
)
async def test_a_stream_is_only_read(three: Story, method: str, status: int) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.request(
            method,
            f"{three.server.url}/{three.slug}/live",
            headers={"Accept": "text/event-stream"},
        )

    assert answer.status_code == status
    assert method != "HEAD" or answer.content == b""
    assert status != 405 or answer.headers["allow"] == "GET"


async def test_while_draining_viewers_are_sent_away_and_nobody_is_let_in(tmp_path: Path) -> None:
    async with (
        Server(tmp_path, env={"LIVEBLOG_DRAIN_SECONDS": "3"}) as server,
        told_on(server) as story,
        contextlib.AsyncExitStack() as stack,
    ):
        await story.publish("one")
        sockets = [await stack.enter_async_context(story.socket()) for _ in range(40)]
        streams = [
            await stack.enter_async_context(events(server, story.address())) for _ in range(3)
        ]
        for socket in sockets:
            await heard(socket)
        for stream in streams:
            await anext(stream)
        # A connection from before: new ones aren't taken any more.
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"alive\n")

        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        closes = [asyncio.ensure_future(closing(socket)) for socket in sockets]
        await asyncio.wait(closes, return_when=asyncio.FIRST_COMPLETED)
        await eventually(server.is_draining)
        writer.write(
            f"GET {story.address()} HTTP/1.1\r\nHost: x\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        still_there = sum(not close.done() for close in closes)
        codes = await asyncio.gather(*closes)
        for stream in streams:
            with contextlib.suppress(httpx2.TransportError):
                assert [event async for event in stream] == []
        writer.close()
        code = await server.wait_ended()

    assert b" 503 " in head
    assert b"retry-after" in head.lower()
    assert set(codes) == {DRAIN}
    assert still_there, "all were sent away at once, and would all come back at once"
    assert code == 0


async def closing(socket: ClientConnection) -> int:
    async with asyncio.timeout(10):
        while True:
            try:
                await socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006


# -- far behind, and in a crowd


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_who_was_away_for_longer_than_is_remembered_gets_everything_in_order(
    story: Story, transport: Transport
) -> None:
    count = 3 * RING_FRAMES + 7
    await story.publish_many(count)
    reading = asyncio.ensure_future(story.frames(transport, 1 + count + 50, story.start))
    await story.publish_many(50)

    welcome, *entries = await reading

    assert welcome["resumed"]
    assert [entry["cursor"] for entry in entries] == [str(each) for each in story.cursors]


async def test_each_of_many_who_join_amid_posts_reads_the_log_once_and_in_order(
    story: Story,
) -> None:
    await story.publish("first")
    writing = asyncio.create_task(story.publish_many(400))
    held = asyncio.Semaphore(20)

    async def follow(transport: Transport) -> list[str]:
        async with held:
            frames = await story.frames(transport, 402, story.start)
            assert frames[0]["resumed"]
            return [frame["cursor"] for frame in frames[1:]]

    read: list[Awaitable[list[str]]] = [follow(("ws", "sse")[turn % 2]) for turn in range(40)]
    sequences = await asyncio.gather(*read)
    await writing

    expected = [str(each) for each in story.cursors]
    assert all(sequence == expected for sequence in sequences)
