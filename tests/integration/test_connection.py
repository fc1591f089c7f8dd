"""Whether the store takes writes is found out by writing, again and again, and said as it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from liveblog.domain.errors import Unavailable
from liveblog.domain.person import Person
from liveblog.store import connection as connections
from liveblog.store import disk
from liveblog.store.connection import Connection, StoreRefused
from liveblog.store.embedded import EmbeddedStore
from liveblog.store.keys import LOOK
from liveblog.store.log import Log, Operation
from liveblog.store.people import People, Session
from tests.integration.cast import assert_problem
from tests.support import RedisServer, Server, eventually
from tests.worlds import a_blog, a_post, connected, meddling, valkey_program

REFUSALS = [
    ("maxmemory", "1", "0", "takes no writes: its memory is full"),
    ("min-replicas-to-write", "1", "0", "takes no writes: too few replicas are connected"),
    ("maxmemory-policy", "allkeys-lru", "noeviction", "evicts keys (maxmemory-policy allkeys-lru)"),
]


@pytest.fixture(params=["valkey", "redis-server"])
async def redis(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RedisServer]:
    program = valkey_program() if request.param == "valkey" else request.param
    async with RedisServer(tmp_path / "redis", program=program) as server:
        yield server


@asynccontextmanager
async def looking(connection: Connection) -> AsyncIterator[None]:
    """The connection looks again and again, as it does in a running server."""
    task = asyncio.create_task(connection.keep_looking())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def state_of(connection: Connection) -> str:
    try:
        await connection.look()
    except (Unavailable, StoreRefused) as error:
        return error.state
    return "good"


async def publishes(log: Log, slug: str) -> bool:
    try:
        await log.publish(a_post(slug), Operation.once())
    except Unavailable:
        return False
    return True


@pytest.mark.parametrize("setting, bad, good, state", REFUSALS)
async def test_a_look_finds_out_that_writes_are_not_taken(
    redis: RedisServer, setting: str, bad: str, good: str, state: str
) -> None:
    async with connected(redis.url) as connection, meddling(redis.url) as hand:
        assert await state_of(connection) == "good"

        await hand.config_set(setting, bad)
        refused = await state_of(connection)
        await hand.config_set(setting, good)

        assert state in refused
        assert "127.0.0.1" not in refused
        assert await state_of(connection) == "good"


async def test_what_a_look_wrote_goes_by_itself(redis: RedisServer) -> None:
    async with connected(redis.url) as connection, meddling(redis.url) as hand:
        await connection.look()

        assert await hand.keys("*") == [LOOK.encode()]
        assert 0 < await hand.ttl(LOOK) <= connections.LOOK_KEPT_SECONDS


@pytest.mark.parametrize("setting, bad, good, state", REFUSALS)
async def test_a_running_server_says_so_and_takes_no_posts_until_it_is_mended(
    tmp_path: Path, setting: str, bad: str, good: str, state: str
) -> None:
    async with (
        RedisServer(tmp_path / "redis") as redis,
        Server(tmp_path, env={"REDIS_URL": redis.url}) as server,
        meddling(redis.url) as hand,
    ):
        await hand.config_set(setting, bad)

        ready = await server.get("/readyz")
        if server.workers > 1:
            # Each looks for itself, and so often one is reached by chance.
            for _ in range(30):
                await server.get("/readyz")
        refused = await server.post("Doors open")
        read = await server.get("/api/blogs/live/posts")
        await hand.config_set(setting, good)

        # Nobody asks whether it is ready: it finds out by itself.
        async def taken() -> bool:
            return (await server.post("Doors open")).status_code == 201

        await eventually(taken, connections.LOOK_EVERY_SECONDS + 5, every_seconds=0.2)
        again = await server.get("/readyz")

    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert state in ready.json()["store"]
    problem = assert_problem(refused, 503)
    assert refused.headers["retry-after"]
    for secret in ("script", "127.0.0.1", str(redis.port), setting):
        assert secret not in problem["detail"]
    assert str(redis.port) not in ready.text
    assert (read.status_code, read.json()["posts"]) == (200, [])
    assert again.status_code == 200
    assert '"state":"' in server.log


async def test_a_server_that_begins_to_evict_is_noticed_by_itself(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LOOK_EVERY_SECONDS", 0.05)
    async with (
        connected(redis.url) as connection,
        meddling(redis.url) as hand,
        looking(connection),
    ):
        await connection.look()
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        await hand.config_set("maxmemory-policy", "allkeys-lru")

        async def refused() -> bool:
            return not await publishes(log, blog.slug)

        await eventually(refused)
        with pytest.raises(Unavailable) as why:
            await log.publish(a_post(blog.slug), Operation.once())
        await hand.config_set("maxmemory-policy", "noeviction")
        await eventually(lambda: publishes(log, blog.slug))

    assert "evicts keys" in why.value.state
    assert "Set maxmemory-policy to noeviction" in why.value.reason


async def test_a_server_started_anew_with_other_settings_is_met_by_the_first_write(
    tmp_path: Path,
) -> None:
    async with (
        RedisServer(tmp_path, program=valkey_program()) as redis,
        connected(redis.url) as connection,
    ):
        facts = await connection.look()
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        assert not facts.waits
        redis.kill()
        redis.arguments = ("--appendfsync", "everysec")
        await redis.start()

        await eventually(lambda: publishes(log, blog.slug))

        async with meddling(redis.url) as hand:
            stats = await hand.info("commandstats")
            # Started anew once more, it isn't what the store may be.
            redis.kill()
            redis.arguments = ("--maxmemory-policy", "allkeys-lru")
            await redis.start()
        with pytest.raises(Unavailable) as refused:
            await log.publish(a_post(blog.slug), Operation.once())

    assert stats["cmdstat_waitaof"]["calls"] >= 1
    assert "evicts keys" in refused.value.state


async def test_after_a_change_of_durability_the_same_request_is_taken_as_what_it_is(
    tmp_path: Path,
) -> None:
    async with (
        RedisServer(tmp_path, "--appendfsync", "everysec", program=valkey_program()) as redis,
        connected(redis.url) as connection,
        meddling(redis.url) as hand,
    ):
        await connection.look()
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        post, operation = a_post(blog.slug), Operation.keyed("ana", "k", b"words")
        await hand.config_set("appendonly", "no")
        with pytest.raises(Unavailable):
            await log.publish(post, operation)

        again = await log.publish(post, operation)

        assert again.replayed
        assert (await connection.look()).durability == "best-effort"
        await hand.config_set("appendonly", "yes")
        assert (await connection.look()).waits


@pytest.mark.parametrize("rights", [("+@read", "+info"), ("+@all", "-hset"), ("+@all", "-@pubsub")])
async def test_a_user_who_may_too_little_is_told_so(
    redis: RedisServer, rights: tuple[str, ...]
) -> None:
    async with meddling(redis.url) as hand:
        await hand.execute_command(
            "ACL", "SETUSER", "ana", "on", ">hush", "~lb:*", "&lb:*", *rights
        )
    async with connected(redis.url.replace("//", "//ana:hush@")) as connection:
        assert await state_of(connection) == "allows this user too little"


async def test_who_asks_at_once_shares_a_look(redis: RedisServer) -> None:
    async with connected(redis.url) as connection, meddling(redis.url) as hand:
        await connection.look()
        await hand.config_resetstat()

        await asyncio.gather(*(connection.look() for _ in range(40)))

        assert (await hand.info("commandstats"))["cmdstat_info"]["calls"] <= 3


async def test_without_room_on_the_disk_nothing_is_written_and_all_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddedStore(tmp_path)
    await store.start()
    try:
        connection = Connection(store.url, store.folder)
        log, blog = Log(connection), a_blog()
        await connection.look()
        await log.create(blog)
        before = await log.publish(a_post(blog.slug), Operation.once())
        room = disk.ROOM_LEAST_BYTES
        monkeypatch.setattr(disk, "ROOM_LEAST_BYTES", 2**62)
        file = next((store.folder / "appendonlydir").glob("*.incr.aof"))
        size = file.stat().st_size

        facts = await connection.look()
        with pytest.raises(Unavailable) as refused:
            await log.publish(a_post(blog.slug), Operation.once())
        with pytest.raises(Unavailable):
            await log.count_viewers(blog.slug, "p", 1)
        with pytest.raises(Unavailable):
            await log.create(a_blog())
        with pytest.raises(Unavailable):
            await People(connection).begin_session(
                "token", Session(Person("ana", "Ana"), owner=True)
            )
        head = (await log.backlog(blog.slug, 0)).head

        assert not facts.has_room
        assert refused.value.state == connections.NO_ROOM
        assert head == before.entry.cursor
        assert file.stat().st_size == size
        monkeypatch.setattr(disk, "ROOM_LEAST_BYTES", room)
        assert await publishes(log, blog.slug)
        await connection.close()
    finally:
        await store.stop()


def test_a_disk_that_does_not_tell_has_room(tmp_path: Path) -> None:
    assert disk.has_room(tmp_path / "missing")


async def test_a_server_that_hangs_up_at_once_is_unavailable_and_no_mistake_of_ours() -> None:
    """On the real server's event loop, which has a word of its own for it."""

    def hang_up(listener: socket.socket) -> None:
        linger = struct.pack("ii", 1, 0)  # So that it ends by a reset.
        with contextlib.suppress(OSError):
            while True:
                taken, _ = listener.accept()
                with taken:
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def ask(port: int) -> list[str]:
        async with connected(f"redis://127.0.0.1:{port}/0") as connection:
            asked = [Log(connection).blog("live") for _ in range(200)]
            errors = await asyncio.gather(*asked, return_exceptions=True)
            return [type(error).__name__ for error in errors]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        hanging_up = asyncio.create_task(asyncio.to_thread(hang_up, listener))
        said = await asyncio.to_thread(uvloop.run, ask(listener.getsockname()[1]))
        listener.shutdown(socket.SHUT_RDWR)  # It accepts no more, and ends.
        await hanging_up

    assert set(said) == {"Unavailable"}
