"""A handshake is judged, refused or handed over, and nothing goes out that wasn't asked for."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState
from websockets.extensions import Extension

from liveblog.delivery.frames import Wire, heartbeat, wrapped
from liveblog.delivery.handshake import HAND_OVER
from liveblog.delivery.socket import SocketViewer
from tests.support import eventually
from tests.unit.test_server import connected

WELCOME = wrapped("ws", heartbeat(1))
SOUND = {
    "Host": "h",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def asking(path: str = "/", method: str = "GET", **changed: str | None) -> bytes:
    """A request to upgrade, with some header fields changed or left out."""
    fields = {**SOUND, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join((f"{method} {path} HTTP/1.1", *lines, "", "")).encode()


class Door:
    """An application that lets in, refuses, breaks, or takes its time."""

    def __init__(self) -> None:
        self.viewers: list[SocketViewer | None] = []
        self.asked = 0
        self.opens = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        match scope["path"]:
            case "/refused":
                await PlainTextResponse("not you", 403)(scope, receive, send)
                return
            case "/broken":
                raise RuntimeError
            case "/gone":
                assert (await receive())["type"] == "websocket.disconnect"
            case "/late":
                await self.opens.wait()
        if scope["type"] == "http":
            await PlainTextResponse("here")(scope, receive, send)
            return

        def made(extensions: list[Extension]) -> SocketViewer:
            return SocketViewer(Wire("ws", "json", ""), extensions)

        self.viewers.append(scope["extensions"][HAND_OVER](made, WELCOME))


async def all_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return await reader.read()


async def test_who_is_let_in_gets_the_answer_of_the_standard_and_the_welcome() -> None:
    door, state = Door(), ServerState()
    async with connected(state, door) as (reader, writer):
        writer.write(asking())
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            welcome = await reader.readexactly(len(WELCOME))
        assert not state.connections

    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    # The example of RFC 6455, section 1.3.
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert welcome == WELCOME


async def test_what_one_negotiated_is_not_the_next_ones() -> None:
    door = Door()
    for offered in ("permessage-deflate", None):
        async with connected(app=door) as (reader, writer):
            writer.write(asking(Sec_WebSocket_Extensions=offered))
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
            assert (b"Sec-WebSocket-Extensions: permessage-deflate" in head) is bool(offered)


@pytest.mark.parametrize(
    "request_, status",
    [
        (asking(Sec_WebSocket_Key=None), 400),
        (asking(Sec_WebSocket_Key="short"), 400),
        (asking(Sec_WebSocket_Version="8"), 400),
        (asking(Sec_WebSocket_Extensions="permessage-deflate;;"), 400),
        (asking(method="POST"), 405),
        (asking().replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
    ],
)
async def test_what_is_no_sound_handshake_is_told_so(request_: bytes, status: int) -> None:
    door = Door()
    async with connected(app=door) as (reader, writer):
        writer.write(request_)
        answer = await all_of(reader)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert door.asked == 0


async def test_a_refusal_is_an_answer_of_http_and_the_end() -> None:
    async with connected(app=Door()) as (reader, writer):
        writer.write(asking("/refused"))
        answer = await all_of(reader)

    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert answer.endswith(b"\r\n\r\nnot you")


async def test_an_application_that_breaks_keeps_no_connection() -> None:
    async with connected(app=Door()) as (reader, writer):
        writer.write(asking("/broken"))
        assert await all_of(reader) == b""


async def test_frames_before_the_answer_end_the_connection() -> None:
    door = Door()
    async with connected(app=door) as (reader, writer):
        writer.write(asking("/late"))
        await eventually(lambda: door.asked == 1)
        writer.write(b"\x81\x80xxxx")
        assert await all_of(reader) == b""
    door.opens.set()
    await eventually(lambda: door.viewers == [None])


async def test_who_has_left_gets_no_viewer() -> None:
    door = Door()
    async with connected(app=door) as (_, writer):
        writer.write(asking("/gone"))
        await eventually(lambda: door.asked == 1)
        writer.transport.abort()
        await eventually(lambda: door.viewers == [None])


async def test_a_handshake_behind_an_unanswered_request_is_not_answered_before_it() -> None:
    door = Door()
    async with connected(app=door) as (reader, writer):
        writer.write(b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n")
        await eventually(lambda: door.asked == 1)
        writer.write(asking())
        assert await all_of(reader) == b""
    assert door.asked == 1
    door.opens.set()


async def test_after_an_answered_request_the_same_connection_may_upgrade() -> None:
    async with connected(app=Door()) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        async with asyncio.timeout(5):
            await reader.readuntil(b"here")
            writer.write(asking())
            head = await reader.readuntil(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 101 ")
