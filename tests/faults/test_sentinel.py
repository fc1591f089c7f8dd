"""A primary under Sentinels: what was acknowledged outlives it, and nobody is told two stories.

What it loses where replication was cut: test_failover.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.hall import Hall
from tests.topologies import Sentinels


@asynccontextmanager
async def a_hall_under_sentinels(
    folder: Path, *, replicas: int, promised: int = 1
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
