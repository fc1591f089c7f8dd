"""Words that were taken back are soon in no file of the embedded store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest

from liveblog.store import disk, forgetting
from liveblog.store.connection import Connection
from liveblog.store.embedded import EmbeddedStore
from liveblog.store.forgetting import Forgetting
from liveblog.store.log import Log, Operation
from tests.support import Server, eventually
from tests.worlds import a_blog, a_post, connected, meddling, store_url


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmbeddedStore]:
    monkeypatch.setattr(forgetting, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(forgetting, "REWRITE_EVERY_SECONDS", 0.05)
    store = EmbeddedStore(tmp_path)
    await store.start()
    yield store
    await store.stop()


class Writer:
    """Somebody who publishes and takes back, and a task that sees to the file."""

    def __init__(self, store: EmbeddedStore) -> None:
        self.folder = store.folder
        self.connection = Connection(store.url, store.folder)
        self.forgetting = Forgetting(self.connection, store.folder)
        self.log = Log(self.connection, on_retracted=self.forgetting.want)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.forgetting.keep_forgetting())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self.connection.close()

    async def takes_back(self, words: str, kept: str) -> None:
        blog = a_blog()
        await self.log.create(blog)
        await self.log.publish(a_post(blog.slug, kept), Operation.once())
        post = a_post(blog.slug, words)
        await self.log.publish(post, Operation.once())
        assert self.holds(words)
        await self.log.retract(post, Operation.once())

    def holds(self, words: str) -> bool:
        return on_disk(self.folder, words)

    async def has_forgotten(self, words: str) -> None:
        await eventually(lambda: not self.holds(words))


def on_disk(folder: Path, words: str) -> bool:
    # A file may go while it is looked for; that is an OSError, and asked again.
    return any(words.encode() in path.read_bytes() for path in (folder / "appendonlydir").iterdir())


async def test_what_was_taken_back_leaves_the_disk_and_nothing_else_does(
    store: EmbeddedStore,
) -> None:
    async with Writer(store) as writer:
        for n in range(3):
            await writer.takes_back(f"a word too many {n}", f"kept {n}")
            await writer.has_forgotten(f"a word too many {n}")
        assert writer.holds("kept 2")


async def test_a_disk_without_room_for_a_second_copy_is_not_filled(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Writer(store) as writer, meddling(store.url) as hand:
        await writer.takes_back("before", "kept " * 1000)
        await writer.has_forgotten("before")
        # What is free is enough for posts, and by a little not for all of them once more.
        held = disk.size(store.folder / "appendonlydir")
        monkeypatch.setattr(disk, "has_room", lambda _, more=0: more < held)
        await asyncio.sleep(0.3)  # What is under way ends.
        rewritten = await count(hand)
        await writer.takes_back("a word too many", "kept")
        await asyncio.sleep(0.3)

        assert await count(hand) == rewritten
        assert writer.holds("a word too many")


@pytest.mark.parametrize("hindrance", ["a backup", "a full disk"])
async def test_it_waits_for_a_backup_and_for_room(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, hindrance: str
) -> None:
    async with Writer(store) as writer, meddling(store.url) as hand:
        await writer.takes_back("before", "kept")
        await writer.has_forgotten("before")
        if hindrance == "a backup":
            await hand.config_set("auto-aof-rewrite-percentage", 0)
        await writer.takes_back("a word too many", "kept")
        if hindrance == "a full disk":
            monkeypatch.setattr(disk, "ROOM_LEAST_BYTES", 2**62)
        writer.forgetting.want()
        rewritten = await count(hand)
        await asyncio.sleep(0.3)
        assert await count(hand) - rewritten <= 1
        if hindrance == "a backup":
            assert writer.holds("a word too many")

        await hand.config_set("auto-aof-rewrite-percentage", 100)
        monkeypatch.undo()
        monkeypatch.setattr(forgetting, "GATHER_SECONDS", 0.01)
        monkeypatch.setattr(forgetting, "REWRITE_EVERY_SECONDS", 0.05)
        await writer.has_forgotten("a word too many")


async def count(hand: Any) -> int:
    return int((await hand.info("persistence"))["aof_rewrites"])


async def test_a_running_server_sees_to_it_also_for_what_was_before_its_start(
    tmp_path: Path,
) -> None:
    async with Server(tmp_path) as server, connected(store_url(server)) as connection:
        folder, log = server.data / "store", Log(connection)
        post = (await server.post("a word too many")).json()
        # Past the server: it knows of this no more than of what was before its start.
        await log.retract(await log.post("live", post["id"]), Operation.once())
        assert on_disk(folder, "a word too many")

        await eventually(
            lambda: not on_disk(folder, "a word too many"), forgetting.GATHER_SECONDS + 10
        )
