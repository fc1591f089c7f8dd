"""The tests' own tools do what the tests rely on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scripts import licences
from tests.support import TcpProxy, eventually, free_port


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that says what it hears."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()

    port = free_port()
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    yield port
    server.close()


async def test_eventually_gives_what_the_condition_gave() -> None:
    turns = iter([0, 0, 7])

    assert await eventually(lambda: next(turns)) == 7


async def test_eventually_ends_and_says_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match="pigs fly"):
        await eventually(lambda: False, 0.05, what="pigs fly")


async def test_a_proxy_carries_both_ways_and_passes_the_end_on() -> None:
    async with echo() as port, TcpProxy(port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"hello")
        writer.write_eof()

        assert await reader.read() == b"hello"
        writer.close()
        await eventually(lambda: proxy.connections == 0)


async def test_a_cut_resets_what_is_open_and_takes_what_is_new() -> None:
    async with echo() as port, TcpProxy(port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await eventually(lambda: proxy.connections == 1)

        proxy.cut()

        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()


async def test_a_proxy_that_is_down_refuses_and_comes_back_at_the_same_address() -> None:
    async with echo() as port, TcpProxy(port) as proxy:
        await proxy.down()
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.1", proxy.port)

        await proxy.up()

        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.close()


async def test_a_half_open_connection_says_nothing_until_restored() -> None:
    async with echo() as port, TcpProxy(port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.half_open()
        writer.write(b"x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readexactly(1)

        proxy.restore()

        assert await reader.readexactly(1) == b"x"
        writer.close()


async def test_a_dropped_reply_was_still_a_request() -> None:
    heard = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        heard.set()
        writer.write(b"done")
        await reader.read()
        writer.close()

    port = free_port()
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    async with TcpProxy(port) as proxy:
        proxy.drop_replies()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x")

        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(1)
        assert heard.is_set()
        assert proxy.replies_dropped == 1
        writer.close()
    server.close()


async def test_bandwidth_is_bounded() -> None:
    async with echo() as port, TcpProxy(port) as proxy:
        proxy.bytes_per_second = 100_000
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        began = time.monotonic()
        writer.write(bytes(10_000))

        await reader.readexactly(10_000)

        assert time.monotonic() - began >= 0.19
        writer.close()


def test_a_licence_that_nobody_looked_at_is_refused() -> None:
    class Package:
        name, version = "copyleft", "1"
        metadata = type("", (), {"get_all": staticmethod(lambda _: ["GPL-3.0-only OR MIT"])})

    assert licences.terms(Package) == ["GPL-3.0-only", "MIT"]  # type: ignore[arg-type]
    assert not set(licences.terms(Package)) <= licences.KNOWN  # type: ignore[arg-type]
