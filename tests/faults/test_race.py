"""Who joins while posts arrive gets each of them, in order and once, whatever cursor they bring."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from liveblog.domain.cursor import Cursor
from tests.oracle import Poster, Truth, Watcher, all_hold, check_acknowledged
from tests.support import Server
from tests.worlds import store_url


async def test_viewers_who_join_in_a_posting_storm_hold_exactly_the_log(server: Server) -> None:
    store = store_url(server)
    async with Poster(server) as poster, contextlib.AsyncExitStack() as stack:
        await poster.storm(20, prefix="before")
        start = await Truth.of(store)
        storm = asyncio.create_task(poster.storm(300))
        watchers: list[Watcher] = []
        # Old cursors, the newest ones, and none: each kind all through the storm.
        while not storm.done() and len(watchers) < 120:
            now = await Truth.of(store)
            begun: list[Cursor | None] = [
                Cursor(now.head.epoch, 0, "0"),
                start.head,
                now.head,
                None,
            ]
            watchers += [
                await stack.enter_async_context(Watcher(server.url, after=after)) for after in begun
            ]
        in_the_storm = len(watchers)
        await storm
        truth = await Truth.of(store)
        await all_hold(watchers, truth.head)

    check_acknowledged(poster.acknowledged, truth.entries)
    assert len(truth.entries) == 320
    assert in_the_storm > 20, "the storm was over before anybody came"
    for number, watcher in enumerate(watchers):
        if number % 4 in (0, 3):
            truth.check(watcher)
        assert [entry.cursor for entry in watcher.chapter.entries] == [
            str(entry.cursor)
            for entry in truth.entries
            if entry.offset > watcher.chapter.base.offset
        ]
        assert (watcher.joins, watcher.told_afresh) == (1, 0)
    # It happened in the storm only if they came in at many different places.
    assert len({watcher.chapter.base.offset for watcher in watchers}) > 10


async def test_two_processes_on_one_store_tell_the_same_story(
    server: Server, tmp_path: Path
) -> None:
    store = store_url(server)
    other = Server(tmp_path / "other", env={"REDIS_URL": store})
    async with (
        other,
        Poster(server) as here,
        Poster(other) as there,
        Watcher(server.url) as first,
        Watcher(other.url) as second,
    ):
        await asyncio.gather(here.storm(60, prefix="here"), there.storm(60, prefix="there"))
        truth = await Truth.of(store)
        # A cursor from one process is at home in the other, at once.
        async with Watcher(other.url, after=truth.head) as third:
            await there.post("the last")
            truth = await Truth.of(store)
            await all_hold([first, second, third], truth.head)

    truth.check(first, second)
    check_acknowledged({**here.acknowledged, **there.acknowledged}, truth.entries)
    assert len(truth.entries) == 121
    assert third.told_afresh == 0
