"""A request is bounded in size and time before any application hears of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from liveblog.delivery import server as servers
from liveblog.delivery.server import HEAD_MOST_BYTES, LAST_SECONDS, StreamProtocol, config
from tests.support import eventually

SHORT = 0.2


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how long the body was; `/early` before it came, `/slow` after a while."""
    if scope["path"] == "/early":
        await PlainTextResponse("no")(scope, receive, send)
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(4 * SHORT)
    try:
        body = await Request(scope, receive).body()
    except ClientDisconnect:
        return
    await PlainTextResponse(f"{len(body)}")(scope, receive, send)


@asynccontextmanager
async def connected(
    state: ServerState | None = None, app: ASGIApp = echo
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to uvicorn's protocol with an application behind it."""
    shared = state or ServerState()
    settings = config(app, drain_seconds=1)
    settings.load()
    listening = await asyncio.get_running_loop().create_server(
        lambda: StreamProtocol(settings, shared, {}), "127.0.0.1", 0
    )
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the answer, after which the connection must end."""
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "HEAD_SECONDS", SHORT)
    monkeypatch.setattr(servers, "BODY_SECONDS", SHORT)


@pytest.mark.parametrize("line", [b"aa: bb\r\n", b"x" * 8], ids=["many fields", "one field"])
async def test_a_head_without_end_is_431(line: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nname: ")
        for _ in range(0, HEAD_MOST_BYTES, 8192):
            writer.write(line * 1024)
            await asyncio.sleep(0.01)
        status, body = await answered(reader)

    assert status == 431
    assert json.loads(body)["status"] == 431


async def test_who_was_taken_just_before_the_stop_is_answered_and_then_let_go() -> None:
    state = ServerState()
    async with connected(state) as (reader, writer):
        await eventually(lambda: state.connections)
        for connection in list(state.connections):
            connection.shutdown()
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        status, body = await answered(reader)

    assert (status, body) == (200, b"3")


async def test_who_was_taken_just_before_the_stop_and_wants_nothing_holds_nothing_up() -> None:
    state = ServerState()
    async with connected(state) as (reader, _):
        await eventually(lambda: state.connections)
        for connection in list(state.connections):
            connection.shutdown()
        async with asyncio.timeout(LAST_SECONDS + 4):
            assert await reader.read() == b""


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "start",
    [
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: h\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
    ],
)
async def test_a_request_that_does_not_arrive_is_408(start: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(start)
        status, body = await answered(reader)

    assert status == 408
    assert json.loads(body)["detail"]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("start", [b"", b"\r\n"])
async def test_a_connection_that_wants_nothing_is_closed_without_a_word(start: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(start)
        async with asyncio.timeout(5):
            assert await reader.read() == b""


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "request_, then",
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"\r\n"),
        (b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab", b"cd"),
    ],
    ids=["an empty line", "the rest of a body that nobody waits for"],
)
async def test_what_begins_no_request_keeps_no_connection(request_: bytes, then: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(request_)
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.05)
            writer.write(then)
            while await reader.read(1000):
                pass


@pytest.mark.usefixtures("hurried")
async def test_an_answer_that_takes_long_is_not_cut_by_the_next_request_being_late() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\nGET / HT")
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == b"0"
        status, _ = await answered(reader)

    assert status == 408


@pytest.mark.parametrize("start", [b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx"])
async def test_a_stop_does_not_wait_for_half_a_request(start: bytes) -> None:
    state = ServerState()
    async with connected(state) as (reader, writer):
        writer.write(start)
        await eventually(lambda: state.tasks)
        for connection in list(state.connections):
            connection.shutdown()
        status, body = await answered(reader)
        await eventually(lambda: not state.tasks)

    assert status == 503
    assert "again" in json.loads(body)["detail"]


@pytest.mark.usefixtures("hurried")
async def test_drops_do_not_put_the_end_off() -> None:
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n")
        ended = asyncio.create_task(answered(reader))
        for _ in range(100):
            if ended.done():
                break
            writer.write(b"x")
            await asyncio.sleep(SHORT / 10)
        status, _ = await ended

    assert status == 408


@pytest.mark.usefixtures("hurried")
async def test_who_is_in_time_is_answered_and_may_rest_between_two_requests() -> None:
    async with connected() as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
            await asyncio.sleep(SHORT / 2)
            writer.write(b"llo")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == b"5"
            await asyncio.sleep(1.5 * SHORT)  # Kept alive: nothing is due.
        writer.write(b"GET / HT")
        status, _ = await answered(reader)

    assert status == 408


async def test_a_large_body_and_a_request_behind_it_are_no_large_head() -> None:
    body = b"x" * (3 * HEAD_MOST_BYTES)
    async with connected() as (reader, writer):
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
            + b"GET / HTTP/1.1\r\nHost: h\r\n"
        )
        await asyncio.sleep(0.1)
        writer.write(b"Connection: close\r\n\r\n")
        async with asyncio.timeout(5):
            answers = await reader.read()

    assert answers.count(b"HTTP/1.1 200") == 2
