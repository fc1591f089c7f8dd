"""Posts that are acknowledged, and so are on the disk."""

from __future__ import annotations

import asyncio
import secrets
import time

import orjson

from bench.programs import BenchError, on_core
from bench.rows.measuring import LOAD_CORE, SERVER_CORE, Row, Scale, Spread
from bench.server import HOST, Server, stamped

WRITERS = 50

_STORED_AIM = 0.5


async def _post_for(server: Server, seconds: float) -> list[float]:
    """Post from many connections, each waiting for its answer; how long each post took."""
    took: list[float] = []
    stop_at = time.monotonic() + seconds

    async def write() -> None:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        try:
            while time.monotonic() < stop_at:
                began = time.monotonic()
                body = orjson.dumps({"body": stamped(300)})
                writer.write(
                    b"POST /api/blogs/live/posts HTTP/1.1\r\n"
                    b"Host: %b:%d\r\nAuthorization: Bearer %b\r\n"
                    b"Content-Type: application/json\r\nIdempotency-Key: %b\r\n"
                    b"Content-Length: %d\r\n\r\n%b"
                    % (
                        HOST.encode(),
                        server.port,
                        server.token.encode(),
                        secrets.token_hex(8).encode(),
                        len(body),
                        body,
                    )
                )
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                if not head.startswith(b"HTTP/1.1 201"):
                    raise BenchError(f"a post was refused: {head.decode(errors='replace')}")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await asyncio.wait_for(reader.readexactly(length), 10)
                took.append(time.monotonic() - began)
        finally:
            writer.close()

    async with asyncio.TaskGroup() as writers:
        for _ in range(WRITERS):
            writers.create_task(write())
    return took


def posting(scale: Scale) -> list[Row]:
    """Posts for each second, against the same route with the store left out."""
    rates, slow, ratios, costs = [], [], [], []
    with (
        on_core(LOAD_CORE),
        Server(core=SERVER_CORE) as server,
        Server(core=SERVER_CORE, module="bench.storeless") as storeless,
    ):
        durability = server.durability()
        for each in (server, storeless):
            asyncio.run(_post_for(each, 0.5))

        def rate(server: Server) -> tuple[float, list[float], float]:
            began, before = time.monotonic(), server.cpu_seconds()
            took = asyncio.run(_post_for(server, scale.posting_seconds))
            used = (server.cpu_seconds() - before) / len(took)
            return len(took) / (time.monotonic() - began), took, used

        for _ in range(scale.few_rounds):
            before = server.head()[1]
            stored, took, used = rate(server)
            if server.head()[1] - before != len(took):
                raise BenchError("not each acknowledged post stands in the log, once")
            rates.append(stored)
            costs.append(used * 1e6)
            slow.append(sorted(took)[round(0.99 * (len(took) - 1))] * 1000)
            ratios.append(stored / rate(storeless)[0])
    what = f"durable posts a second through HTTP, {WRITERS} writers ({durability})"
    return [
        Row(what, Spread.of(rates).show(digits=0)),
        Spread.of(ratios).at_least(f"{what}: against the store left out", _STORED_AIM),
        Row("a post, from its sending to its acknowledgement, p99", Spread.of(slow).show("ms")),
        Row(
            "CPU of the server a post",
            Spread.of(costs).show("µs", 0),
            costs=(("post_us", Spread.of(costs).middle),),
        ),
    ]
