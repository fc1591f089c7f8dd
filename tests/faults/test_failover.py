"""Replication is cut, then a replica takes over: on a cluster as under Sentinels, one story.

What is promised to replicas is refused in time where none has it. The control promises nothing, and
loses posts by the same failover.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from liveblog.store.connection import ANSWER_SECONDS
from tests.hall import Hall
from tests.oracle import Truth, all_hold, check_acknowledged
from tests.topologies import Cluster, Node, Sentinels, Topology


@dataclass
class Scene:
    """A hall, and the primary it stands on, which is about to lose its place.

    `fail_over` has a replica take over, and returns it once the old primary follows it.
    """

    hall: Hall
    stores: Topology
    primary: Node
    fail_over: Callable[[], Awaitable[Node]]

    async def part(self) -> Truth:
        """Cut replication once the replica has all that was posted, which is returned."""
        async with self.hall.posting("kept"):
            await self.hall.progress()
        await self.stores.replicated(self.primary)
        kept = await self.hall.check(self.primary.url)
        await self.stores.cut_replication(self.primary)
        return kept


@asynccontextmanager
async def on_a_cluster(folder: Path, appendonly: bool, promised: int) -> AsyncIterator[Scene]:
    async with (
        Cluster(folder / "stores", appendonly=appendonly) as cluster,
        Hall(folder, cluster.url, replicas=promised) as hall,
    ):
        primary = await cluster.primary_of("live")
        replica = await cluster.replica_of(primary)

        async def fail_over() -> Node:
            await cluster.take_over(replica)
            await cluster.heal_replication(primary)
            await primary.comes_to_follow(replica)
            return replica

        yield Scene(hall, cluster, primary, fail_over)


@asynccontextmanager
async def under_sentinels(folder: Path, appendonly: bool, promised: int) -> AsyncIterator[Scene]:
    async with (
        Sentinels(folder / "stores", appendonly=appendonly) as sentinels,
        Hall(folder, sentinels.url, replicas=promised) as hall,
    ):
        primary = await sentinels.primary()

        async def fail_over() -> Node:
            # For a while both believe that they are the primary.
            successor = await sentinels.fail_over()
            await primary.comes_to_follow(successor)
            return successor

        yield Scene(hall, sentinels, primary, fail_over)


Set = Callable[[Path, bool, int], AbstractAsyncContextManager[Scene]]


@pytest.mark.parametrize("scene", [on_a_cluster, under_sentinels])
async def test_what_no_replica_has_is_refused_in_time_and_gone_after_a_failover_for_everybody(
    tmp_path: Path, scene: Set
) -> None:
    async with scene(tmp_path, True, 1) as at:
        hall = at.hall
        kept = await at.part()
        async with hall.posting("doubtful"):
            began = time.monotonic()
            refused = await hall.servers[0].post("keyed", key="the key")
            took = time.monotonic() - began
            doubtful = await hall.stuck(at.primary.url, kept)
            await all_hold(hall.watchers, doubtful.head)
            taken = len(hall.acknowledged)
            successor = await at.fail_over()
        id = await hall.posters[1].post("keyed", key="the key")
        truth = await hall.check(successor.url)
        ready = await hall.servers[0].get("/readyz")

    assert refused.status_code == 503, refused.text
    assert "retry-after" in refused.headers
    assert took < ANSWER_SECONDS + 2
    assert taken == len(kept.posts), "something was taken while no replica could have it"
    assert doubtful.head.offset > kept.head.offset
    assert truth.posts[id] == "keyed"
    for watcher in hall.watchers:
        assert watcher.told_afresh >= 1, "it had seen what is gone"
    assert (ready.status_code, ready.json()["durability"]) == (200, "replicated")


@pytest.mark.parametrize(
    "scene, appendonly, promise",
    [(on_a_cluster, False, "best-effort"), (under_sentinels, True, "fsync")],
)
async def test_where_no_replica_is_promised_the_same_failover_loses_posts_and_everybody_is_told(
    tmp_path: Path, scene: Set, appendonly: bool, promise: str
) -> None:
    """The control of the other: the wire was cut, and without the promise posts are lost."""
    async with scene(tmp_path, appendonly, 0) as at:
        hall = at.hall
        await at.part()
        async with hall.posting("lost"):
            await hall.progress()
        lost = await hall.check(at.primary.url)
        durability = (await hall.servers[0].get("/readyz")).json()["durability"]

        successor = await at.fail_over()
        async with hall.posting("instead"):
            await hall.progress()
        truth = await hall.agree(successor.url)

    assert durability == promise
    with pytest.raises(AssertionError, match="acknowledged and not stored"):
        check_acknowledged(hall.acknowledged, truth.entries)
    assert truth.head.epoch == lost.head.epoch, "the cursors alone would tell"
    for watcher in hall.watchers:
        assert watcher.told_afresh >= 1, "it had seen what is gone"
