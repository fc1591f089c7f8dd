"""A reply that is lost after the append makes nobody's post two, and loses none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from liveblog.store.connection import Script
from liveblog.store.log import Log, Operation
from tests.oracle import Poster, Truth, Watcher, all_hold, check_acknowledged
from tests.support import RedisServer, Server, TcpProxy, eventually
from tests.worlds import a_blog, a_post, connected, valkey_program, whole_log

PROGRAMS = ["valkey-server", "redis-server"]
# By which the script is named on the wire: only what answers an append is cut.
APPEND = Script.load("append", "write").sha.encode()


@asynccontextmanager
async def behind_a_wire(
    directory: Path, program: str
) -> AsyncIterator[tuple[RedisServer, TcpProxy, Server]]:
    path = valkey_program() if program == "valkey-server" else program
    async with (
        RedisServer(directory / "redis", program=path) as redis,
        TcpProxy(redis.port) as proxy,
        Server(directory, env={"REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"}) as server,
    ):
        yield redis, proxy, server


def has_dropped(proxy: TcpProxy, before: int) -> bool:
    return proxy.replies_dropped > before


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_post_whose_reply_was_cut_is_stored_once_and_its_retry_is_a_replay(
    tmp_path: Path, program: str
) -> None:
    async with (
        behind_a_wire(tmp_path, program) as (redis, proxy, server),
        Poster(server) as poster,
        Watcher(server.url) as watcher,
    ):
        await eventually(lambda: watcher.is_following)
        await server.post("before")
        proxy.drop_replies(to=APPEND)
        cut = await server.post("cut off", key="the key")
        dropped = proxy.replies_dropped
        proxy.restore()
        await poster.post("cut off", key="the key")
        truth = await Truth.of(redis.url)
        await all_hold([watcher], truth.head)

    assert cut.status_code == 503
    assert "retry-after" in cut.headers
    assert dropped, "no reply was lost, so nothing was tested"
    assert poster.replayed == 1, "the append hadn't been done"
    assert list(truth.posts.values()) == ["cut off", "before"]
    truth.check(watcher)


async def test_without_a_key_the_repetition_by_the_client_library_is_recognised(
    tmp_path: Path,
) -> None:
    """It repeats by itself what got no reply: the operation's name makes that harmless."""
    async with (
        RedisServer(tmp_path, program=valkey_program()) as redis,
        TcpProxy(redis.port) as proxy,
        connected(f"redis://127.0.0.1:{proxy.port}/0") as connection,
        connected(redis.url) as direct,
    ):
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        await log.publish(a_post(blog.slug, "post 0"), Operation.once())  # The script is known now.
        for number in range(1, 10):
            dropped = proxy.replies_dropped
            proxy.drop_replies(to=APPEND)
            posting = asyncio.ensure_future(
                log.publish(a_post(blog.slug, f"post {number}"), Operation.once())
            )
            await eventually(partial(has_dropped, proxy, dropped), every_seconds=0.001)
            proxy.restore()
            appended = await posting

            assert appended.replayed, "the first attempt had not been taken"
            assert appended.entry.offset == number + 1
        _, entries = await whole_log(Log(direct), blog.slug)

    assert [entry.post and entry.post.body for entry in entries] == [
        f"post {number}" for number in range(10)
    ]


async def test_a_wire_cut_again_and_again_in_a_burst_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    async with (
        behind_a_wire(tmp_path, "valkey-server") as (redis, proxy, server),
        Poster(server) as poster,
        Watcher(server.url) as watcher,
    ):
        await eventually(lambda: watcher.is_following)
        storm = asyncio.create_task(poster.storm(200))
        cuts = 0
        while not storm.done():
            dropped = proxy.replies_dropped
            proxy.drop_replies(to=APPEND)
            await asyncio.sleep(0.03)
            proxy.restore()
            await asyncio.sleep(0.03)
            cuts += proxy.replies_dropped > dropped
        await storm
        truth = await Truth.of(redis.url)
        await all_hold([watcher], truth.head)

    check_acknowledged(poster.acknowledged, truth.entries)
    truth.check(watcher)
    assert len(truth.entries) == 200
    assert cuts >= 3
