"""A cluster whose slots move and whose servers die: each post once, and one story for everybody.

What it loses where replication was cut: test_failover.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from liveblog.delivery.hub import CHECK_SECONDS
from liveblog.domain.errors import Unavailable
from liveblog.store import keys
from liveblog.store.keys import BlogKeys
from liveblog.store.log import Log, Operation
from tests.hall import Hall
from tests.oracle import Truth, all_hold
from tests.support import eventually
from tests.topologies import Cluster, Node
from tests.worlds import a_blog, a_post, connected, whole_log


@asynccontextmanager
async def a_hall_on_a_cluster(folder: Path) -> AsyncIterator[tuple[Cluster, Hall]]:
    async with Cluster(folder / "stores") as cluster, Hall(folder, cluster.url) as hall:
        yield cluster, hall


async def test_a_blog_that_moves_to_other_servers_under_load_goes_on_as_before(
    tmp_path: Path,
) -> None:
    async with a_hall_on_a_cluster(tmp_path) as (cluster, hall):
        home = await cluster.primary_of("live")
        away = await cluster.another_than(home)
        async with hall.posting("post"):
            await hall.progress()
            for _ in range(2):
                # So slowly that posts come while its keys lie on both.
                await cluster.move_slot("live", away, keys_at_once=10, pause_seconds=0.02)
                await hall.progress()
                await cluster.move_slot_at_once("live", home)
                await hall.progress()
        await hall.check(home.url)

    for watcher in hall.watchers:
        assert (watcher.joins, watcher.told_afresh) == (1, 0), "viewers were not to notice"


async def test_what_is_written_while_a_slot_is_on_its_way_lies_at_one_end_alone(
    tmp_path: Path,
) -> None:
    """What lies at both can't be sent on; that goes for what only marks a write, too."""
    async with Cluster(tmp_path) as cluster, connected(cluster.url) as connection:
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        names = BlogKeys(blog.slug)
        touched = keys.touched(names.head)
        home = await cluster.primary_of(blog.slug)
        away = await cluster.another_than(home)
        async with cluster.moving_slot(blog.slug, away) as move:
            # All has gone but the mark: whoever writes is sent after it, and doesn't find it.
            await move.send(*(key for key in await move.keys() if key != touched))
            await connection.tell("HSET", names.removed, "before", "1")
            publish = partial(log.publish, a_post(blog.slug), Operation.once())
            publishing = asyncio.create_task(insisting(publish))
            await eventually(partial(is_marked, away, touched))
        await publishing
        async with cluster.moving_slot(blog.slug, home) as move:
            # The mark alone has gone: what is written is here, and is not to be done there as well.
            await move.send(touched)
            tell = partial(connection.tell, "HSET", names.removed, "after", "1")
            telling = asyncio.create_task(insisting(tell))
            await eventually(partial(away.redis.hexists, names.removed, "after"))
        await telling
        _, entries = await whole_log(log, blog.slug)
        told = await home.redis.hgetall(names.removed)

    assert len(entries) == 1
    assert told == {"before": "1", "after": "1"}


async def insisting(change: Callable[[], Awaitable[object]]) -> None:
    """Sent again for as long as it is refused."""

    async def taken() -> bool:
        with contextlib.suppress(Unavailable):
            await change()
            return True
        return False

    await eventually(taken, 20)


async def is_marked(node: Node, touched: str) -> bool:
    keys_there: list[str] = await node.ask("KEYS", f"{touched}*")
    return bool(keys_there)


async def test_a_subscription_follows_its_blog_to_another_server(tmp_path: Path) -> None:
    async with a_hall_on_a_cluster(tmp_path) as (cluster, hall):
        home = await cluster.primary_of("live")
        away = await cluster.another_than(home)
        processes = await cluster.listeners(home, "live")
        assert processes >= len(hall.servers)
        for number, (source, target) in enumerate([(home, away), (away, home), (home, away)]):

            async def all_listen(to: Node = source) -> bool:
                return await cluster.listeners(to, "live") == processes

            await eventually(all_listen, 10)
            await cluster.move_slot("live", target)
            assert await cluster.listeners(source, "live") == 0, "or it wouldn't have gone silent"
            await hall.posters[0].post(f"after move {number}")
            truth = await Truth.of(target.url)
            # Well before the heads are compared anyway.
            await all_hold(hall.watchers, truth.head, CHECK_SECONDS / 4)
        await hall.check(away.url)


async def test_a_killed_primary_is_succeeded_and_posting_goes_on_by_itself(tmp_path: Path) -> None:
    async with a_hall_on_a_cluster(tmp_path) as (cluster, hall):
        await cluster.allow_elections()
        primary = await cluster.primary_of("live")
        replica = await cluster.replica_of(primary)
        async with hall.posting("post"):
            await hall.progress()
            await primary.kill()
            await hall.comes_to(503)
            await cluster.elected(replica)
            # Nobody confirms its writes yet, so none is taken.
            assert await hall.readiness() == {503}
            await primary.start()
            await primary.comes_to_follow(replica)
            await hall.progress()
            await hall.comes_to(200)
        await hall.check(replica.url)


async def test_a_replica_that_is_frozen_for_a_while_costs_a_repetition_and_no_second_post(
    tmp_path: Path,
) -> None:
    async with a_hall_on_a_cluster(tmp_path) as (cluster, hall):
        primary = await cluster.primary_of("live")
        replica = await cluster.replica_of(primary)
        await hall.posters[0].post("before")
        replica.freeze()
        try:
            refused = await hall.servers[0].post("keyed", key="the key")
        finally:
            replica.thaw()
        await cluster.whole()
        await hall.posters[1].post("keyed", key="the key")
        truth = await hall.check(primary.url)

    assert refused.status_code == 503, refused.text
    assert hall.posters[1].replayed == 1
    assert list(truth.posts.values()) == ["keyed", "before"]
