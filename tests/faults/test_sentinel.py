"""A primary under Sentinels: what was acknowledged outlives it, and nobody is told two stories."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from liveblog.store.connection import ANSWER_SECONDS
from tests.hall import Hall
from tests.oracle import all_hold, check_acknowledged
from tests.topologies import Sentinels


@asynccontextmanager
async def a_hall_under_sentinels(
    folder: Path, *, replicas: int = 1, promised: int = 1
) -> AsyncIterator[tuple[Sentinels, Hall]]:
    async with (
        Sentinels(folder / "stores", replicas=replicas) as stores,
        Hall(folder, stores.url, replicas=promised) as hall,
    ):
        yield stores, hall


async def test_a_killed_primary_is_succeeded_and_posting_goes_on_by_itself(tmp_path: Path) -> None:
    async with a_hall_under_sentinels(tmp_path, replicas=2) as (stores, hall):
        primary = await stores.primary()
        async with hall.posting("post"):
            await hall.progress()
            # The first one that the address names, too: two are enough.
            await stores.sentinels[0].kill()
            await primary.kill()
            await hall.comes_to(503)
            successor = await stores.succeeded(primary)
            await hall.progress()
            await hall.comes_to(200)
            await primary.start()
            await primary.comes_to_follow(successor)
            await hall.progress()
        await hall.check(successor.url)


async def test_what_no_replica_has_is_refused_in_time_and_gone_after_a_failover_for_everybody(
    tmp_path: Path,
) -> None:
    async with a_hall_under_sentinels(tmp_path) as (stores, hall):
        primary = await stores.primary()
        async with hall.posting("kept"):
            await hall.progress()
        await stores.replicated(primary)
        kept = await hall.check(primary.url)

        await stores.cut_replication(primary)
        async with hall.posting("doubtful"):
            began = time.monotonic()
            refused = await hall.servers[0].post("keyed", key="the key")
            took = time.monotonic() - began
            doubtful = await hall.stuck(primary.url, kept)
            await all_hold(hall.watchers, doubtful.head)
            taken = len(hall.acknowledged)
            # For a while both believe that they are the primary.
            successor = await stores.fail_over()
            await primary.comes_to_follow(successor)
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


async def test_a_failover_forced_on_a_primary_that_lives_loses_nothing_that_all_replicas_have(
    tmp_path: Path,
) -> None:
    """For a while the old primary goes on, and the replica that wasn't chosen follows it."""
    async with a_hall_under_sentinels(tmp_path, replicas=2, promised=2) as (stores, hall):
        primary = await stores.primary()
        async with hall.posting("post"):
            await hall.progress()
            successor = await stores.fail_over()
            await primary.comes_to_follow(successor)
            await hall.progress()
        await hall.check(successor.url)


async def test_where_no_replica_is_promised_the_same_failover_loses_posts_and_everybody_is_told(
    tmp_path: Path,
) -> None:
    """The control of the others: the wire was cut, and without the promise posts are lost."""
    async with a_hall_under_sentinels(tmp_path, promised=0) as (stores, hall):
        primary = await stores.primary()
        async with hall.posting("kept"):
            await hall.progress()
        await stores.replicated(primary)
        await stores.cut_replication(primary)
        async with hall.posting("lost"):
            await hall.progress()
        lost = await hall.check(primary.url)
        durability = (await hall.servers[0].get("/readyz")).json()["durability"]

        successor = await stores.fail_over()
        await primary.comes_to_follow(successor)
        async with hall.posting("instead"):
            await hall.progress()
        truth = await hall.agree(successor.url)

    assert durability == "fsync"
    with pytest.raises(AssertionError, match="acknowledged and not stored"):
        check_acknowledged(hall.acknowledged, truth.entries)
    assert truth.head.epoch == lost.head.epoch, "the cursors alone would tell"
    for watcher in hall.watchers:
        assert watcher.told_afresh >= 1, "it had seen what is gone"
