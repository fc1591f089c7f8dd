"""Killed or frozen in mid-burst, the server and its store lose nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx2
import pytest

from liveblog.store import holder
from liveblog.store.connection import ANSWER_SECONDS, LOOK_SECONDS
from tests.oracle import Poster, Truth, all_hold, check_acknowledged, followed
from tests.support import RedisServer, Server, eventually, within
from tests.worlds import store_url, valkey_program


def store_pid(server: Server) -> int:
    noted = holder.read(server.data / "store")
    assert noted is not None
    assert noted.valkey is not None
    return noted.valkey.pid


async def started_again(server: Server, before: int) -> None:
    await eventually(lambda: store_pid(server) != before, 15)


async def acknowledged(poster: Poster, count: int) -> None:
    await eventually(lambda: len(poster.acknowledged) > count, 20)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_killed_in_mid_burst_loses_and_doubles_nothing(
    tmp_path: Path, workers: str
) -> None:
    async with (
        Server(tmp_path, "--workers", workers) as server,
        followed(server) as watchers,
        Poster(server) as poster,
    ):
        # A burst for each kill: everybody is back before the next, so that it cuts them off again.
        for prefix, share in (("first", 60), ("second", 210)):
            storm = asyncio.create_task(poster.storm(150, prefix=prefix))
            await acknowledged(poster, share)
            server.kill()
            await server.start()
            await asyncio.wait_for(storm, 30)
            await all_hold(watchers, (await Truth.of(store_url(server))).head)
        truth = await Truth.of(store_url(server))

    assert poster.lost, "no request was cut off, so it wasn't in mid-burst"
    check_acknowledged(poster.acknowledged, truth.entries)
    assert len(truth.entries) == 300
    truth.check(*watchers)
    for watcher in watchers:
        assert watcher.joins >= 3
        assert watcher.told_afresh == 0, "its cursor was good all the time"


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_store_killed_in_mid_burst_loses_and_doubles_nothing(
    tmp_path: Path, workers: str
) -> None:
    async with (
        Server(tmp_path, "--workers", workers) as server,
        followed(server) as watchers,
        Poster(server) as poster,
    ):
        storm = asyncio.create_task(poster.storm(300))
        pids = set()
        for share in (60, 160):
            await acknowledged(poster, share)
            before = store_pid(server)
            pids.add(before)
            os.kill(before, signal.SIGKILL)
            await started_again(server, before)
        await asyncio.wait_for(storm, 30)
        truth = await Truth.of(store_url(server))
        await all_hold(watchers, truth.head)
        ready = await server.get("/readyz")

    assert len(pids) == 2
    check_acknowledged(poster.acknowledged, truth.entries)
    assert len(truth.entries) == 300
    truth.check(*watchers)
    assert ready.status_code == 200
    for watcher in watchers:
        assert (watcher.joins, watcher.told_afresh) == (1, 0), "viewers were not to notice"


async def test_both_killed_at_once_in_mid_burst_lose_and_double_nothing(tmp_path: Path) -> None:
    async with Server(tmp_path) as server, followed(server) as watchers, Poster(server) as poster:
        storm = asyncio.create_task(poster.storm(200))
        await acknowledged(poster, 60)
        os.kill(store_pid(server), signal.SIGKILL)
        server.kill()
        await server.start()
        await asyncio.wait_for(storm, 30)
        truth = await Truth.of(store_url(server))
        await all_hold(watchers, truth.head)

    check_acknowledged(poster.acknowledged, truth.entries)
    assert len(truth.entries) == 200
    truth.check(*watchers)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_graceful_stop_in_mid_burst_answers_what_was_taken(
    tmp_path: Path, workers: str
) -> None:
    async with (
        Server(tmp_path, "--workers", workers) as server,
        followed(server) as watchers,
        Poster(server) as poster,
    ):
        storm = asyncio.create_task(poster.storm(300))
        await acknowledged(poster, 60)
        await server.restart()
        await asyncio.wait_for(storm, 30)
        truth = await Truth.of(store_url(server))
        await all_hold(watchers, truth.head)

    check_acknowledged(poster.acknowledged, truth.entries)
    truth.check(*watchers)
    for watcher in watchers:
        assert watcher.closes[:1] == [4001]
        assert (watcher.joins, watcher.told_afresh) == (2, 0)


@pytest.mark.parametrize("program", ["valkey-server", "redis-server"])
async def test_a_frozen_store_is_503_and_nothing_is_lost(tmp_path: Path, program: str) -> None:
    path = valkey_program() if program == "valkey-server" else program
    async with (
        RedisServer(tmp_path / "redis", program=path) as redis,
        Server(tmp_path, env={"REDIS_URL": redis.url}) as server,
        followed(server) as watchers,
        Poster(server) as poster,
    ):
        storm = asyncio.create_task(poster.storm(200, writers=4))
        await acknowledged(poster, 40)
        try:
            redis.freeze()
            frozen = len(poster.acknowledged)
            began = time.monotonic()
            answer = await server.post("into the cold", key="cold")
            waited = time.monotonic() - began
            with within(1.0, "/healthz"):
                alive = await server.get("/healthz")
            with within(LOOK_SECONDS + 1, "/readyz"):
                ready = await server.get("/readyz")
            # Who it is by has to be asked there, too; and nothing more once that isn't answered.
            with within(ANSWER_SECONDS + 2, "a reporter's post"):
                async with httpx2.AsyncClient(trust_env=False, timeout=30.0) as client:
                    asked = await client.post(
                        f"{server.url}/api/blogs/live/posts",
                        json={"body": "into the cold"},
                        headers={"Authorization": "Bearer somebody"},
                    )
            during = len(poster.acknowledged)
        finally:
            redis.thaw()
        await asyncio.wait_for(storm, 40)
        await poster.post("into the cold", key="cold")
        truth = await Truth.of(redis.url)
        await all_hold(watchers, truth.head)

    assert answer.status_code == 503, answer.text
    assert "retry-after" in answer.headers
    assert asked.status_code == 503, asked.text
    assert waited < ANSWER_SECONDS + 2
    assert (alive.status_code, ready.status_code) == (200, 503)
    assert during <= frozen + 4, "the store wasn't frozen"
    check_acknowledged(poster.acknowledged, truth.entries)
    assert len(truth.entries) == 201
    truth.check(*watchers)
    for watcher in watchers:
        assert watcher.told_afresh == 0
