"""A log that vanished, or went back, is said out loud: nobody resumes into another story."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from liveblog.delivery.hub import CHECK_SECONDS, RING_FRAMES
from liveblog.domain.blog import Blog
from liveblog.domain.cursor import Cursor
from liveblog.store import log as store_log
from liveblog.store.log import Log
from tests.oracle import Poster, Truth, Watcher, all_hold, check_equals_log, metric
from tests.support import Server, eventually
from tests.worlds import a_post, connected, meddling, store_url, unannounced


async def copied(redis: Any) -> dict[bytes, bytes]:
    """Every key, as of now."""
    keys = [key async for key in redis.scan_iter(match="lb:*", count=1000)]
    return {key: await redis.dump(key) for key in keys}


async def gone_back(redis: Any, copy: dict[bytes, bytes]) -> None:
    """The store as it was, as after a failover that lost the writes since."""
    async with redis.pipeline(transaction=True) as pipe:
        pipe.flushall()
        for key, value in copy.items():
            pipe.restore(key, 0, value)
        await pipe.execute()


async def welcome_of(server: Server, after: Cursor) -> dict[str, Any]:
    address = f"{server.websocket_url}/live/live?after={after}"
    async with connect(address, proxy=None, compression=None) as socket:
        welcome: dict[str, Any] = json.loads(await socket.recv())
        return welcome


async def test_a_flushed_store_sends_viewers_away_for_good(server: Server) -> None:
    store = store_url(server)
    async with meddling(store) as redis, Watcher(server.url) as watcher:
        await server.post("before")
        truth = await Truth.of(store)
        await all_hold([watcher], truth.head)

        await redis.flushall()
        await eventually(lambda: watcher.ended, 15)
        refused = await server.post("after")
        joining = await server.get("/live/live", Accept="text/event-stream")

    assert watcher.ended in (404, 4404)
    assert refused.status_code == 404
    assert joining.status_code == 404


async def test_a_blog_made_anew_after_a_flush_is_another_log(server: Server) -> None:
    store = store_url(server)
    async with meddling(store) as redis, connected(store) as connection:
        for number in range(5):
            await server.post(f"old {number}")
        old = await Truth.of(store)
        async with Watcher(server.url) as watcher:
            await eventually(lambda: watcher.is_following)
            blog: Blog = await Log(connection).blog("live")
            async with redis.pipeline(transaction=True) as pipe:
                pipe.flushall()
                await pipe.execute()
            await Log(connection).create(blog)
            # Its offsets run past the old ones, so that offsets alone would tell nothing.
            for number in range(7):
                assert (await server.post(f"new {number}")).status_code == 201
            truth = await Truth.of(store)
            assert truth.head.offset > old.head.offset
            await all_hold([watcher], truth.head)
        answer = await welcome_of(server, old.head)

    assert len(watcher.chapters) > 1, "it took the new log for the old one's continuation"
    truth.check(watcher)
    assert not answer["resumed"]


async def test_a_log_that_went_back_and_reused_its_offsets_is_noticed(server: Server) -> None:
    store = store_url(server)
    async with meddling(store) as redis:
        for number in range(5):
            await server.post(f"kept {number}")
        copy = await copied(redis)
        async with Watcher(server.url) as watcher, Watcher(server.url) as at_the_fork:
            for number in range(5):
                await server.post(f"lost {number}")
            before = await Truth.of(store)
            await all_hold([watcher, at_the_fork], before.head)

            await gone_back(redis, copy)
            for number in range(8):
                assert (await server.post(f"instead {number}")).status_code == 201
            truth = await Truth.of(store)
            await all_hold([watcher, at_the_fork], truth.head)
            answers = {
                entry.offset: await welcome_of(server, entry.cursor) for entry in before.entries
            }
            resets = await metric(server, "liveblog_resets_total")

    reused = {entry.offset for entry in before.entries} & {entry.offset for entry in truth.entries}
    assert truth.head.epoch == before.head.epoch
    assert before.head.offset in reused, "no offset was reused, so nothing was tested"
    assert resets >= 1
    # What is common to both is resumed from, and nothing else.
    assert {offset: answer["resumed"] for offset, answer in answers.items()} == {
        offset: offset <= 5 for offset in range(1, 11)
    }
    for each in (watcher, at_the_fork):
        assert len(each.chapters) > 1, "it resumed into another story"
        truth.check(each)


async def test_an_offset_reused_below_the_head_is_noticed_as_it_is_announced(
    server: Server,
) -> None:
    store = store_url(server)
    async with meddling(store) as redis, Watcher(server.url) as watcher:
        await server.post("kept")
        copy = await copied(redis)
        for number in range(3):
            await server.post(f"lost {number}")
        before = await Truth.of(store)
        await all_hold([watcher], before.head)

        await gone_back(redis, copy)
        await server.post("instead")
        truth = await Truth.of(store)
        # Well before the heads are compared anyway.
        await all_hold([watcher], truth.head, CHECK_SECONDS / 4)

    assert truth.head.offset < before.head.offset
    assert len(watcher.chapters) > 1, "it resumed into another story"
    truth.check(watcher)


async def test_an_entry_that_seems_to_be_the_next_one_is_known_by_the_tag_before_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log went back and came as far as it was, unheard; only then is something announced."""
    store = store_url(server)
    async with (
        meddling(store) as redis,
        connected(store) as connection,
        Watcher(server.url) as watcher,
    ):
        await server.post("kept")
        copy = await copied(redis)
        await server.post("lost")
        before = await Truth.of(store)
        await all_hold([watcher], before.head)

        await gone_back(redis, copy)
        with monkeypatch.context() as patch:
            patch.setattr(store_log, "_APPEND", unannounced(store_log._APPEND))
            await Log(connection).publish(a_post("live", "instead"), store_log.Operation.once())
        assert (await Truth.of(store)).head.offset == before.head.offset
        await server.post("the next one")
        truth = await Truth.of(store)
        # Well before the heads are compared anyway.
        await all_hold([watcher], truth.head, CHECK_SECONDS / 4)

    assert len(watcher.chapters) > 1, "it resumed into another story"
    truth.check(watcher)


async def test_a_log_that_went_back_and_got_no_post_since_is_noticed(server: Server) -> None:
    store = store_url(server)
    async with meddling(store) as redis:
        await server.post("kept")
        copy = await copied(redis)
        async with Watcher(server.url) as watcher:
            await server.post("lost")
            await all_hold([watcher], (await Truth.of(store)).head)

            await gone_back(redis, copy)
            truth = await Truth.of(store)
            await all_hold([watcher], truth.head, 15)

    assert list(watcher.chapter.shown.values()) == ["kept"]
    truth.check(watcher)


async def test_a_server_started_on_a_log_that_went_back_honours_no_cursor_past_the_fork(
    tmp_path: Path,
) -> None:
    """No process remembers the old log: the tag in the cursor has to tell."""
    async with Server(tmp_path) as server:
        store = store_url(server)
        async with meddling(store) as redis:
            await server.post("kept")
            copy = await copied(redis)
            await server.post("lost")
            before = await Truth.of(store)
            await gone_back(redis, copy)
        server.kill()
        await server.start()
        await server.post("instead")
        await server.post("and more")
        lost = await welcome_of(server, before.head)
        kept = await welcome_of(server, before.entries[0].cursor)

    assert (lost["resumed"], kept["resumed"]) == (False, True)


async def test_a_resumed_viewer_gets_no_words_that_were_taken_back_meanwhile(
    server: Server,
) -> None:
    store = store_url(server)
    await server.post("before")
    start = await Truth.of(store)
    posted = (await server.post("xyzzy is the secret")).json()
    after_it = await Truth.of(store)
    await server.post("in between")
    async with Watcher(server.url, after=start.head) as control:
        await all_hold([control], (await Truth.of(store)).head)
    assert "xyzzy" in "".join(control.raw), "or this test would see nothing anyway"

    async with Poster(server) as poster:
        await poster.retract(posted["id"])
    truth = await Truth.of(store)
    for format in ("json", "html"):
        await _resumed_without_words(server, start.head, truth, format, posted["id"])
    # After a restart nothing is remembered, and the store has to keep the promise alone.
    await server.restart()
    await _resumed_without_words(server, start.head, truth, "json", posted["id"])

    # Older than a process remembers, the places are read from the store itself.
    async with Poster(server) as poster:
        await poster.storm(RING_FRAMES + 20, prefix="later")
    await server.restart()
    truth = await Truth.of(store)
    async with Watcher(server.url, after=start.head) as far_behind:
        await all_hold([far_behind], truth.head)
    assert "xyzzy" not in "".join(far_behind.raw)
    assert [entry.action for entry in far_behind.chapter.entries[:3]] == [
        "retract",
        "publish",
        "retract",
    ]

    # Who has the words already is told to drop them.
    async with Watcher(server.url, after=after_it.head) as holder:
        await all_hold([holder], truth.head)
    told = holder.chapter.entries[1]
    assert (told.action, told.id) == ("retract", posted["id"])


async def _resumed_without_words(
    server: Server, after: Cursor, truth: Truth, format: str, id: str
) -> None:
    address = f"{server.websocket_url}/live/live?after={after}&format={format}"
    async with connect(address, proxy=None, compression=None) as socket:
        received = [str(await asyncio.wait_for(socket.recv(), 5)) for _ in range(4)]
    polled = await server.get(f"/api/blogs/live/entries?after={after}&format={format}")
    streamed = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"GET /live/live?format={format} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        f"Last-Event-ID: {after}\r\n\r\n".encode()
    )
    while str(truth.head).encode() not in streamed or streamed.count(b"id: ") < 3:
        streamed += await asyncio.wait_for(reader.read(65536), 5)
    writer.close()

    assert "xyzzy" not in "".join(received)
    assert "xyzzy" not in polled.text
    assert b"xyzzy" not in streamed
    places = [json.loads(frame) for frame in received][1:]
    assert [place["offset"] for place in places] == [2, 3, 4], "its places remain"
    assert [place["id"] for place in places if place["action"] == "retract"] == [id, id]
    assert [place["cursor"] for place in polled.json()["entries"]] == [
        place["cursor"] for place in places
    ]


async def test_a_page_taken_while_the_log_went_back_is_never_mixed_with_the_old_one(
    server: Server,
) -> None:
    """Again and again, under posts: whatever a viewer holds in the end is one log's, whole."""
    store = store_url(server)
    async with meddling(store) as redis, Poster(server) as poster:
        await poster.storm(10, prefix="kept")
        copy = await copied(redis)
        async with Watcher(server.url) as first, Watcher(server.url) as second:
            for turn in range(4):
                await poster.storm(10 + turn, prefix=f"turn {turn}")
                await gone_back(redis, copy)
            await poster.storm(10, prefix="last")
            truth = await Truth.of(store)
            await all_hold([first, second], truth.head)

    truth.check(first, second)
    for watcher in (first, second):
        for chapter in watcher.chapters[:-1]:
            offsets = [entry.offset for entry in chapter.entries]
            assert offsets == sorted(set(offsets)), "each once and in order, in every chapter"
    check_equals_log(first.chapter, truth.entries)
