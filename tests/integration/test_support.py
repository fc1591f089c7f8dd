"""The server that tests start is the real one, keeps its data, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import RedisServer, Server, processes_of


async def test_a_restart_keeps_address_and_posts(tmp_path: Path) -> None:
    async with Server(tmp_path) as server:
        assert (await server.post("Doors open", key="one")).status_code == 201

        await server.restart()

        page = (await server.get("/api/blogs/live/posts")).json()
        assert [post["body"] for post in page["posts"]] == ["Doors open"]


async def test_a_stop_is_graceful(tmp_path: Path) -> None:
    async with Server(tmp_path) as server:
        assert await server.terminate() == 0


async def test_a_killed_server_comes_back_on_its_data(tmp_path: Path) -> None:
    async with Server(tmp_path) as server:
        assert (await server.post("Doors open")).status_code == 201

        server.kill()
        await server.start()

        page = (await server.get("/api/blogs/live/posts")).json()
        assert [post["body"] for post in page["posts"]] == ["Doors open"]


async def test_no_process_is_left_behind(tmp_path: Path) -> None:
    async with Server(tmp_path) as server:
        assert processes_of(server.data)
        server.kill()

    assert processes_of(server.data) == []


async def test_a_server_that_ends_at_once_shows_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="LIVEBLOG_LOG_LEVEL"):
        async with Server(tmp_path, env={"LIVEBLOG_LOG_LEVEL": "loud"}):
            pass


async def test_a_redis_server_can_be_the_store(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path / "redis") as redis,
        Server(tmp_path, env={"REDIS_URL": redis.url}) as server,
    ):
        ready = (await server.get("/readyz")).json()

        assert (ready["durability"], ready["store"].split()[0]) == ("fsync", "Redis")
