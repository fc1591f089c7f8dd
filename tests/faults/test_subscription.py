"""A subscription that dies, or goes silent, loses nobody an entry."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from liveblog.delivery.hub import CHECK_SECONDS
from liveblog.store import log as store_log
from liveblog.store.keys import BlogKeys
from tests.oracle import Poster, Truth, Watcher, all_hold, check_acknowledged, metric
from tests.support import RedisServer, Server, TcpProxy, eventually
from tests.worlds import (
    a_post,
    connected,
    meddling,
    store_url,
    unannounced,
    valkey_program,
)


async def test_a_subscription_killed_in_mid_burst_is_taken_up_without_loss(
    server: Server,
) -> None:
    store = store_url(server)
    async with (
        meddling(store) as redis,
        Poster(server) as poster,
        Watcher(server.url) as first,
        Watcher(server.url) as second,
    ):
        await eventually(lambda: first.is_following and second.is_following)
        storm = asyncio.create_task(poster.storm(400))
        killed = 0
        while not storm.done():
            killed += await redis.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.05)
        await storm
        truth = await Truth.of(store)
        await all_hold([first, second], truth.head)
        reconnects = await metric(server, "liveblog_reconnects_total")
        repairs = await metric(server, "liveblog_repairs_total")

    truth.check(first, second)
    check_acknowledged(poster.acknowledged, truth.entries)
    assert (first.joins, second.joins) == (1, 1), "the viewers were not to notice"
    assert killed >= 2
    assert reconnects >= 2, "no subscription died, so nothing was tested"
    assert repairs >= 2


async def test_what_was_said_while_no_subscription_stood_is_looked_for_when_one_does(
    server: Server,
) -> None:
    """The last entry of a burst, so that no later one gives the hole away."""
    store = store_url(server)
    channel = BlogKeys("live").channel
    missed = 0
    async with (
        meddling(store) as redis,
        connected(store) as connection,
        Watcher(server.url) as watcher,
    ):
        log = store_log.Log(connection)
        truth = await Truth.of(store)
        await eventually(lambda: watcher.is_following)
        for number in range(5):
            await redis.client_kill_filter(_type="pubsub")
            await log.publish(a_post("live", f"post {number}"), store_log.Operation.once())
            listening = dict(await redis.pubsub_shardnumsub(channel))
            missed += listening[channel.encode()] == 0
            truth = await Truth.of(store)
            # Well before the heads are compared anyway.
            await all_hold([watcher], truth.head, CHECK_SECONDS / 4)

    truth.check(watcher)
    assert watcher.joins == 1
    assert missed >= 3, "somebody listened all the time, so nothing was tested"


async def test_what_was_announced_to_nobody_is_found(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing comes after it that would give it away."""
    store = store_url(server)
    monkeypatch.setattr(store_log, "_APPEND", unannounced(store_log._APPEND))
    async with connected(store) as connection, Watcher(server.url) as watcher:
        await eventually(lambda: watcher.is_following)
        await store_log.Log(connection).publish(a_post("live"), store_log.Operation.once())
        truth = await Truth.of(store)
        assert truth.head.offset == 1

        await all_hold([watcher], truth.head, CHECK_SECONDS + 5)
        truth.check(watcher)


@pytest.mark.parametrize("kind", ["ready bytes", "closed range"])
async def test_what_was_taken_back_unheard_is_gone_within_five_seconds(
    server: Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """As if the subscription were frozen: nobody tells this process, and it serves on."""
    store = store_url(server)
    api = "/api/blogs/live"
    start = (await server.get(f"{api}/posts")).json()["cursor"]
    post = (await server.post("the secret word")).json()
    link = (await server.get(f"{api}/entries?after={start}")).headers["link"]
    # Apart: to be asked for a range makes a process look whether it has missed something.
    paths = ["/live", f"{api}/posts", "/live/feed.atom", "/live/feed.json"]
    if kind == "closed range":
        paths = [link[1:].partition(">")[0]]

    async def saying() -> list[str]:
        answers = {path: await server.get(path) for path in paths}
        assert {answer.status_code for answer in answers.values()} == {200}
        return [path for path, answer in answers.items() if "secret" in answer.text]

    assert await saying() == paths
    monkeypatch.setattr(store_log, "_APPEND", unannounced(store_log._APPEND))
    async with connected(store) as connection:
        log = store_log.Log(connection)
        await log.retract(await log.post("live", post["id"]), store_log.Operation.once())

    async def silent() -> bool:
        return not await saying()

    # A second here, to which a cache in between adds four at most; and time for a busy machine.
    await eventually(silent, 3)


async def test_a_half_open_subscription_is_noticed_and_replaced(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path / "redis", program=valkey_program()) as redis,
        TcpProxy(redis.port) as proxy,
        Server(tmp_path, env={"REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"}) as server,
        Server(tmp_path / "other", env={"REDIS_URL": redis.url}) as other,
        Watcher(server.url) as watcher,
    ):
        await eventually(lambda: watcher.is_following)
        before = await metric(server, "liveblog_reconnects_total")
        # Nothing more comes over what is open, and nothing ever tells that it doesn't.
        proxy.bury()
        await other.post("while nothing is carried")
        truth = await Truth.of(redis.url)

        async def replaced() -> bool:
            ready = (await server.get("/readyz")).status_code == 200
            return ready and await metric(server, "liveblog_reconnects_total") > before

        await eventually(replaced, 20)
        await all_hold([watcher], truth.head, CHECK_SECONDS / 4)
        await other.post("and now at once")
        truth = await Truth.of(redis.url)
        await all_hold([watcher], truth.head, CHECK_SECONDS / 4)

    truth.check(watcher)
    assert watcher.joins == 1


async def test_a_subscription_that_hangs_while_it_is_set_up_is_given_up(tmp_path: Path) -> None:
    """Accepted and then never answered, as by a server that has no time, or a wall between."""
    async with (
        RedisServer(tmp_path / "redis", program=valkey_program()) as redis,
        TcpProxy(redis.port) as proxy,
        Server(tmp_path, env={"REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"}) as server,
        Watcher(server.url) as watcher,
    ):
        await eventually(lambda: watcher.is_following)
        before = await metric(server, "liveblog_reconnects_total")
        proxy.half_open()
        proxy.cut()  # All begin anew, and none gets an answer.
        accepted = proxy.accepted
        await eventually(lambda: proxy.accepted > accepted, 10)
        proxy.bury()

        async def posted() -> bool:
            return (await server.post("after all")).status_code == 201

        await eventually(posted, 20)
        truth = await Truth.of(redis.url)
        await all_hold([watcher], truth.head, 20)
        reconnects = await metric(server, "liveblog_reconnects_total") - before

    truth.check(watcher)
    assert reconnects >= 2, "once for the cut, once for the one that hung"
