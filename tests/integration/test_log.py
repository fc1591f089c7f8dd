"""The log keeps its promises on real servers: the embedded Valkey, and Redis 7."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from liveblog.domain.blog import Blog, BlogState
from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import EntryAction
from liveblog.domain.errors import (
    Conflict,
    Gone,
    Invalid,
    KeyReused,
    NotFound,
    Stale,
    Unavailable,
)
from liveblog.domain.post import Author, Post, drafted, edited
from liveblog.store import log as store_log
from liveblog.store.connection import Connection, Durability, Script, StoreRefused
from liveblog.store.keys import BlogKeys
from liveblog.store.log import (
    KEY_REMEMBERED_SECONDS,
    VIEWERS_LEASE_SECONDS,
    Log,
    Operation,
    announced,
    checked_key,
)
from tests.support import RedisServer, free_port
from tests.worlds import (
    ANA,
    NOON,
    STORES,
    a_blog,
    a_post,
    a_store,
    connected,
    meddling,
    valkey_program,
    whole_log,
)

BEN = Author("ben", "Ben")


@dataclass
class World:
    """A blog of one's own in a real store."""

    log: Log
    connection: Connection
    blog: Blog
    redis: Any

    @property
    def slug(self) -> str:
        return self.blog.slug

    @property
    def keys(self) -> BlogKeys:
        return BlogKeys(self.slug)

    async def publish(self, body: str = "words", **fields: Any) -> Post:
        post = a_post(self.slug, body, **fields)
        await self.log.publish(post, Operation.once())
        return post

    async def edit(self, post: Post, body: str, *, key: bool = False) -> Post:
        after = edited(post, drafted(body=body, key=key), NOON)
        await self.log.edit(after, Operation.once())
        return after

    async def retract(self, post: Post) -> None:
        await self.log.retract(post, Operation.once())

    async def everything(self) -> str:
        """All that the store holds of this blog, for words that must be nowhere."""
        parts: list[str] = []
        async for key in self.redis.scan_iter(match=f"lb:{{{self.slug}}}:*", count=1000):
            kind = await self.redis.type(key)
            if kind == b"hash":
                parts.append(repr(await self.redis.hgetall(key)))
            elif kind == b"zset":
                parts.append(repr(await self.redis.zrange(key, 0, -1, withscores=True)))
            else:
                assert kind == b"string"
                parts.append(repr(await self.redis.get(key)))
        return "\n".join(parts)


@pytest.fixture(scope="module", params=STORES)
async def url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    async with a_store(request.param, tmp_path_factory.mktemp("store")) as address:
        yield address


@pytest.fixture
async def world(url: str) -> AsyncIterator[World]:
    async with connected(url) as connection, meddling(url) as redis:
        await connection.look()
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        yield World(log, connection, blog, redis)


def keyed(content: str, key: str = "k1", person: str = "ana") -> Operation:
    return Operation.keyed(person, key, content.encode())


# -- blogs


async def test_a_blog_is_as_it_was_made(world: World) -> None:
    assert await world.log.blog(world.slug) == world.blog
    assert world.blog in await world.log.blogs()


async def test_a_slug_is_taken_once(world: World) -> None:
    await world.publish("stands")

    with pytest.raises(Conflict, match=world.slug):
        await world.log.create(replace(world.blog, title="Another"))

    assert (await world.log.blog(world.slug)).title == world.blog.title
    assert (await world.log.backlog(world.slug, 0)).head.offset == 1


async def test_a_blog_that_is_made_twice_by_the_client_library_is_made_once(world: World) -> None:
    blog = a_blog()
    keys = BlogKeys(blog.slug)
    names = [keys.head, keys.blog, keys.tags]
    words: list[str | bytes | int] = ["an epoch", b"{}"]

    first = await world.connection.run(store_log._CREATE, names, words)
    again = await world.connection.run(store_log._CREATE, names, words)
    another = await world.connection.run(store_log._CREATE, names, ["another", b"{}"])

    assert (first, again, another) == (1, 1, 0)


async def test_a_new_log_begins_with_nothing(world: World) -> None:
    backlog = await world.log.backlog(world.slug, 0)

    assert (backlog.head.offset, backlog.after, backlog.entries) == (0, backlog.head, ())


async def test_two_logs_never_share_an_epoch(world: World) -> None:
    other = a_blog()
    await world.log.create(other)

    heads = await world.log.heads([world.slug, other.slug])
    first, second = heads[world.slug], heads[other.slug]

    assert first is not None
    assert second is not None
    assert first.epoch != second.epoch


async def test_a_blog_that_is_half_listed_is_left_out(world: World) -> None:
    await world.redis.sadd("lb:blogs", "half-made")

    assert "half-made" not in [blog.slug for blog in await world.log.blogs()]


# -- appending


async def test_entries_are_numbered_from_one_and_chained_by_tags(world: World) -> None:
    keys = world.keys
    before = "0"
    for number in range(1, 6):
        appended = await world.log.publish(a_post(world.slug), Operation.once())
        stored = await world.redis.hget(keys.log, number)
        tag = sha1(f"{before} {number} ".encode() + stored, usedforsecurity=False).hexdigest()[:12]

        assert appended.entry.cursor.offset == number
        assert appended.entry.cursor.tag == tag
        assert not appended.replayed
        before = tag


async def test_an_entry_comes_back_as_it_went_in(world: World) -> None:
    post = a_post(world.slug, "Ünïcödé \U0001f389 “quotes” \\ \x7f\nline two", key=True)

    appended = await world.log.publish(post, Operation.once())

    assert (await world.log.backlog(world.slug, 0)).entries == (appended.entry,)
    assert await world.log.post(world.slug, post.id) == post


async def test_an_edit_stands_and_both_entries_remain(world: World) -> None:
    post = await world.publish("before")
    after = await world.edit(post, "after")

    entries = (await world.log.backlog(world.slug, 0)).entries

    assert [(entry.action, entry.post) for entry in entries] == [
        (EntryAction.PUBLISH, post),
        (EntryAction.EDIT, after),
    ]
    assert await world.log.post(world.slug, post.id) == after


async def test_a_stale_edit_changes_nothing(world: World) -> None:
    post = await world.publish("before")
    first = await world.edit(post, "the first edit")

    with pytest.raises(Stale, match="Revision 2"):
        await world.edit(post, "the second edit")

    assert await world.log.post(world.slug, post.id) == first
    assert (await world.log.backlog(world.slug, 0)).head.offset == 2


async def test_of_two_edits_at_once_one_stands(world: World) -> None:
    post = await world.publish("before")

    results = await asyncio.gather(
        *(world.edit(post, f"edit {number}") for number in range(8)), return_exceptions=True
    )

    won = [result for result in results if isinstance(result, Post)]
    assert len(won) == 1
    assert sum(isinstance(result, Stale) for result in results) == 7
    assert await world.log.post(world.slug, post.id) == won[0]


async def test_what_is_gone_can_be_neither_edited_nor_retracted(world: World) -> None:
    post = await world.publish()
    await world.retract(post)

    with pytest.raises(NotFound):
        await world.edit(post, "after all")
    with pytest.raises(NotFound):
        await world.retract(post)
    with pytest.raises(NotFound):
        await world.log.post(world.slug, post.id)
    assert (await world.log.backlog(world.slug, 0)).head.offset == 2


async def test_a_changed_blog_stands_and_is_in_the_log(world: World) -> None:
    after = replace(world.blog, revision=2, state=BlogState.PAUSED)

    appended = await world.log.change(after, Operation.once())

    assert appended.entry.blog == after
    backlog = await world.log.backlog(world.slug, 0)
    assert backlog.blog == after
    assert [(entry.action, entry.blog) for entry in backlog.entries] == [(EntryAction.BLOG, after)]


async def test_two_changes_of_a_blog_do_not_swallow_each_other(world: World) -> None:
    await world.log.change(replace(world.blog, revision=2, title="First"), Operation.once())

    with pytest.raises(Stale):
        await world.log.change(replace(world.blog, revision=2, venue="Hall"), Operation.once())

    assert (await world.log.blog(world.slug)).title == "First"


async def test_fifty_writers_leave_no_hole_and_no_double(world: World) -> None:
    posts = [a_post(world.slug, f"post {number}") for number in range(250)]
    waiting = list(posts)
    given: dict[str, Cursor] = {}

    async def write() -> None:
        while waiting:
            post = waiting.pop()
            appended = await world.log.publish(post, Operation.once())
            given[post.id] = appended.entry.cursor

    await asyncio.gather(*(write() for _ in range(50)))

    head, entries = await whole_log(world.log, world.slug)
    assert [entry.offset for entry in entries] == list(range(1, 251))
    assert {entry.post_id: entry.cursor for entry in entries} == given
    assert head == entries[-1].cursor
    assert {entry.post_id: entry.post for entry in entries} == {post.id: post for post in posts}


@pytest.mark.parametrize("action", ["publish", "edit", "retract", "change", "backlog", "snapshot"])
async def test_an_unknown_blog_is_not_found_and_nothing_is_made(world: World, action: str) -> None:
    nowhere = replace(world.blog, slug="no-such-blog")
    post = a_post("no-such-blog")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "publish": lambda: world.log.publish(post, Operation.once()),
        "edit": lambda: world.log.edit(replace(post, revision=2), Operation.once()),
        "retract": lambda: world.log.retract(post, Operation.once()),
        "change": lambda: world.log.change(replace(nowhere, revision=2), Operation.once()),
        "backlog": lambda: world.log.backlog("no-such-blog", 0),
        "snapshot": lambda: world.log.snapshot("no-such-blog", limit=5),
    }

    with pytest.raises(NotFound, match="no-such-blog"):
        await calls[action]()

    assert not await world.redis.keys("lb:{no-such-blog}:*")


# -- idempotency


async def test_the_same_key_and_content_is_answered_as_the_first_time(world: World) -> None:
    post = a_post(world.slug, "once")
    first = await world.log.publish(post, keyed("once"))

    again = await world.log.publish(a_post(world.slug, "once"), keyed("once"))

    assert again.replayed
    assert again.entry == first.entry
    assert (await world.log.backlog(world.slug, 0)).head.offset == 1


async def test_the_same_key_at_the_same_moment_is_one_post(world: World) -> None:
    results = await asyncio.gather(
        *(world.log.publish(a_post(world.slug, "once"), keyed("once")) for _ in range(20))
    )

    assert Counter(result.replayed for result in results) == {False: 1, True: 19}
    assert len({result.entry for result in results}) == 1
    assert (await world.log.backlog(world.slug, 0)).head.offset == 1


async def test_the_same_key_with_other_content_is_refused_and_the_first_stands(
    world: World,
) -> None:
    first = await world.log.publish(a_post(world.slug, "first"), keyed("first"))

    with pytest.raises(KeyReused):
        await world.log.publish(a_post(world.slug, "second"), keyed("second"))

    assert (await world.log.backlog(world.slug, 0)).entries == (first.entry,)
    assert (await world.log.publish(a_post(world.slug), keyed("first"))).entry == first.entry


async def test_another_person_or_another_blog_may_use_the_same_key(world: World) -> None:
    other = a_blog()
    await world.log.create(other)
    await world.log.publish(a_post(world.slug, "a"), keyed("a"))

    by_ben = await world.log.publish(a_post(world.slug, "a", author=BEN), keyed("a", person="ben"))
    elsewhere = await world.log.publish(a_post(other.slug, "a"), keyed("a"))

    assert not by_ben.replayed
    assert not elsewhere.replayed


async def test_a_key_is_not_taken_apart_wrongly(world: World) -> None:
    operations = {
        Operation.keyed("a b", "c", b"x").name,
        Operation.keyed("a", "b c", b"x").name,
    }

    # A person's id has no space, so these two never meet; the key may have any.
    assert len(operations) == 1
    assert " " not in ANA.id


async def test_a_replay_after_an_edit_is_the_first_answer(world: World) -> None:
    post = a_post(world.slug, "first words")
    first = await world.log.publish(post, keyed("x"))
    await world.edit(post, "second words")

    again = await world.log.publish(a_post(world.slug, "first words"), keyed("x"))

    assert again.replayed
    assert again.entry == first.entry


async def test_a_replay_after_a_retraction_is_gone_and_has_no_words(world: World) -> None:
    post = a_post(world.slug, "the secret word")
    await world.log.publish(post, keyed("x"))
    await world.retract(post)

    with pytest.raises(Gone) as refusal:
        await world.log.publish(a_post(world.slug, "the secret word"), keyed("x"))

    assert refusal.value.id == post.id
    assert "secret" not in str(refusal.value)
    assert (await world.log.backlog(world.slug, 0)).head.offset == 2


async def test_a_replay_of_an_entry_trimmed_since_is_the_post_as_it_stands(world: World) -> None:
    log = Log(world.connection, keep=3)
    post = a_post(world.slug, "first")
    await log.publish(post, keyed("x"))
    for _ in range(6):
        await log.publish(a_post(world.slug), Operation.once())

    again = await log.publish(a_post(world.slug, "first"), keyed("x"))

    assert again.replayed
    assert again.entry.post == post
    assert again.entry.offset == 1

    await log.retract(post, Operation.once())
    with pytest.raises(Gone):
        await log.publish(a_post(world.slug, "first"), keyed("x"))


async def test_every_kind_of_change_recognises_its_repetition(world: World) -> None:
    post = await world.publish("one")
    edit, change, retract = Operation.once(), Operation.once(), Operation.once()
    after = edited(post, drafted(body="two"), NOON)
    blog = replace(world.blog, revision=2, title="Two")

    edits = [await world.log.edit(after, edit) for _ in range(2)]
    changes = [await world.log.change(blog, change) for _ in range(2)]
    retractions = [await world.log.retract(post, retract) for _ in range(2)]

    for first, again in (edits, changes, retractions):
        assert [first.replayed, again.replayed] == [False, True]
        assert first.entry == again.entry
    entries = (await world.log.backlog(world.slug, 0)).entries
    assert [(entry.offset, entry.action) for entry in entries] == [
        (1, EntryAction.RETRACT),
        (2, EntryAction.RETRACT),
        (3, EntryAction.BLOG),
        (4, EntryAction.RETRACT),
    ]


async def test_a_key_is_remembered_for_more_than_seven_days(world: World) -> None:
    operation = keyed("x")
    await world.log.publish(a_post(world.slug), operation)

    left = await world.redis.ttl(world.keys.done(operation.name))

    assert timedelta(days=7).total_seconds() < left <= KEY_REMEMBERED_SECONDS


@pytest.mark.parametrize("key", ["", "x" * 129, "é", "a\nb", "\x7f", "\x00"])
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    with pytest.raises(Invalid):
        checked_key(key)


@pytest.mark.parametrize("key", ["x", "x" * 128, " ", '"quoted, with ~!"'])
def test_what_can_be_a_key_is_taken(key: str) -> None:
    assert checked_key(key) == key


# -- retractions


async def test_a_retraction_leaves_the_words_nowhere_in_the_store(world: World) -> None:
    post = await world.publish("xyzzy", key=True)
    await world.edit(post, "xyzzy again", key=True)
    assert "xyzzy" in await world.everything(), "or this test would see nothing anyway"

    await world.retract(post)

    assert "xyzzy" not in await world.everything()


async def test_a_retraction_leaves_tombstones_in_place(world: World) -> None:
    first = await world.publish("one")
    await world.publish("two")
    await world.edit(first, "one more")
    before = [entry.cursor for entry in (await world.log.backlog(world.slug, 0)).entries]

    await world.retract(first)

    entries = (await world.log.backlog(world.slug, 0)).entries
    assert [entry.cursor for entry in entries][:3] == before, "its place and tag outlive the words"
    assert [(entry.action, entry.post is None) for entry in entries] == [
        (EntryAction.RETRACT, True),
        (EntryAction.PUBLISH, False),
        (EntryAction.RETRACT, True),
        (EntryAction.RETRACT, True),
    ]
    assert {entry.post_id for entry in entries if entry.post is None} == {first.id}


async def test_a_retraction_takes_the_post_out_of_page_moments_and_counts(world: World) -> None:
    gone = await world.publish("gone", key=True)
    stays = await world.publish("stays", key=True, author=BEN)
    await world.publish("too", author=BEN)

    await world.retract(gone)
    snapshot = await world.log.snapshot(world.slug, limit=10)

    assert [placed.post.body for placed in snapshot.posts] == ["too", "stays"]
    assert [placed.post for placed in snapshot.moments] == [stays]
    assert (snapshot.posts_count, snapshot.people_count) == (2, 1)


async def test_a_retraction_of_a_trimmed_post_does_not_bring_its_place_back(world: World) -> None:
    log = Log(world.connection, keep=3)
    post = a_post(world.slug)
    await log.publish(post, Operation.once())
    after = edited(post, drafted(body="later"), NOON)
    for _ in range(2):
        await log.publish(a_post(world.slug), Operation.once())
    await log.edit(after, Operation.once())
    held = sorted(int(place) for place in await world.redis.hkeys(world.keys.log))
    assert held == [2, 3, 4]

    await log.retract(post, Operation.once())

    assert sorted(int(place) for place in await world.redis.hkeys(world.keys.log)) == [3, 4, 5]
    entries = (await log.backlog(world.slug, -10)).entries
    assert [(entry.offset, entry.action) for entry in entries] == [
        (3, EntryAction.PUBLISH),
        (4, EntryAction.RETRACT),
        (5, EntryAction.RETRACT),
    ]


# -- backlog


@pytest.mark.parametrize(
    "after, most, expected",
    [
        (0, 500, range(1, 11)),
        (0, 3, range(1, 4)),
        (7, 3, range(8, 11)),
        (7, 100, range(8, 11)),
        (9, 1, range(10, 11)),
        (10, 500, range(0)),
        (-4, 500, range(7, 11)),
        (-4, 2, range(7, 9)),
        (-10, 500, range(1, 11)),
        (-512, 500, range(1, 11)),
    ],
)
async def test_a_backlog_is_what_comes_after(
    world: World, after: int, most: int, expected: range
) -> None:
    for number in range(10):
        await world.publish(f"post {number + 1}")

    backlog = await world.log.backlog(world.slug, after, most)

    assert [entry.offset for entry in backlog.entries] == list(expected)
    assert [entry.post and entry.post.body for entry in backlog.entries] == [
        f"post {offset}" for offset in expected
    ]
    assert backlog.head.offset == 10
    assert backlog.after is not None
    assert backlog.after.offset == (after if after >= 0 else expected[0] - 1)


@pytest.mark.parametrize("after", [11, 2**53 - 1])
async def test_a_place_the_log_has_not_reached_is_none(world: World, after: int) -> None:
    for _ in range(10):
        await world.publish()

    backlog = await world.log.backlog(world.slug, after)

    assert (backlog.after, backlog.entries, backlog.head.offset) == (None, (), 10)


async def test_a_long_log_is_read_in_pieces(world: World) -> None:
    posts = [a_post(world.slug, f"post {number}") for number in range(1, 1051)]
    for start in range(0, len(posts), 50):
        await asyncio.gather(
            *(world.log.publish(post, Operation.once()) for post in posts[start : start + 50])
        )

    first = await world.log.backlog(world.slug, 0)
    _, entries = await whole_log(world.log, world.slug)

    assert len(first.entries) == 500
    assert [entry.offset for entry in entries] == list(range(1, 1051))
    assert {entry.post for entry in entries} == set(posts)


async def test_a_trimmed_log_holds_its_newest_entries_and_the_place_before_them(
    world: World,
) -> None:
    log = Log(world.connection, keep=5)
    cursors = [
        (await log.publish(a_post(world.slug), Operation.once())).entry.cursor for _ in range(12)
    ]

    newest = await log.backlog(world.slug, -512)
    assert [entry.offset for entry in newest.entries] == [8, 9, 10, 11, 12]
    assert newest.after == cursors[6], "who has read up to there misses nothing"
    assert (await log.backlog(world.slug, 7)).entries == newest.entries
    assert (await log.backlog(world.slug, 6)).after is None
    assert (await log.backlog(world.slug, 0)).after is None
    assert await world.redis.hlen(world.keys.log) == 5
    assert await world.redis.hlen(world.keys.tags) == 6


async def test_a_trimmed_log_keeps_its_posts(world: World) -> None:
    log = Log(world.connection, keep=5)
    for number in range(12):
        await log.publish(a_post(world.slug, f"post {number}"), Operation.once())

    snapshot = await log.snapshot(world.slug, limit=100)

    assert len(snapshot.posts) == snapshot.posts_count == 12


# -- snapshot


async def test_a_snapshot_is_newest_first_and_pages_to_the_end(world: World) -> None:
    for number in range(1, 8):
        await world.publish(f"post {number}")

    pages: list[list[str]] = []
    before: int | None = None
    while True:
        snapshot = await world.log.snapshot(world.slug, limit=3, before=before)
        pages.append([placed.post.body for placed in snapshot.posts])
        before = snapshot.older
        if before is None:
            break

    assert pages == [
        ["post 7", "post 6", "post 5"],
        ["post 4", "post 3", "post 2"],
        ["post 1"],
    ]


async def test_a_full_last_page_names_no_older_one(world: World) -> None:
    for _ in range(3):
        await world.publish()

    assert (await world.log.snapshot(world.slug, limit=3)).older is None
    assert (await world.log.snapshot(world.slug, limit=2)).older is not None


async def test_an_empty_blog_has_an_empty_page(world: World) -> None:
    snapshot = await world.log.snapshot(world.slug, limit=30)

    assert (snapshot.posts, snapshot.moments, snapshot.older) == ((), (), None)
    assert (snapshot.posts_count, snapshot.people_count, snapshot.cursor.offset) == (0, 0, 0)


async def test_an_edited_post_keeps_its_place_on_the_page(world: World) -> None:
    first = await world.publish("first")
    await world.publish("second")
    await world.edit(first, "first, edited")

    snapshot = await world.log.snapshot(world.slug, limit=30)

    assert [placed.post.body for placed in snapshot.posts] == ["second", "first, edited"]
    assert [placed.offset for placed in snapshot.posts] == [2, 1]


async def test_moments_come_and_go_with_the_mark(world: World) -> None:
    first = await world.publish("first")
    second = await world.publish("second", key=True)

    async def moments() -> list[str]:
        snapshot = await world.log.snapshot(world.slug, limit=1)
        return [placed.post.body for placed in snapshot.moments]

    assert await moments() == ["second"]
    await world.edit(first, "first!", key=True)
    assert await moments() == ["second", "first!"]
    await world.edit(second, "second", key=False)
    assert await moments() == ["first!"]


async def test_people_are_counted_who_have_a_post_standing(world: World) -> None:
    one = await world.publish(author=ANA)
    await world.publish(author=ANA)
    other = await world.publish(author=BEN)
    steps = [(await world.log.snapshot(world.slug, limit=1)).people_count]
    for post in (other, one):
        await world.retract(post)
        steps.append((await world.log.snapshot(world.slug, limit=1)).people_count)

    assert steps == [2, 1, 1]


async def test_a_snapshot_and_its_cursor_are_of_one_moment(world: World) -> None:
    """Whoever reads a page amid writers and goes on from its cursor holds exactly the log."""
    checked = 0

    async def write(number: int) -> None:
        for _ in range(15):
            post = await world.publish(f"writer {number}")
            await world.edit(post, "edited")
            if number % 2:
                await world.retract(post)

    async def read() -> None:
        nonlocal checked
        for _ in range(15):
            snapshot = await world.log.snapshot(world.slug, limit=1000)
            held = {placed.post.id: placed.post.revision for placed in snapshot.posts}
            _, entries = await whole_log(world.log, world.slug)
            # What was retracted since has no words in the log any more.
            gone = {entry.post_id for entry in entries if entry.action is EntryAction.RETRACT}
            rebuilt = {
                entry.post.id: entry.post.revision
                for entry in entries[: snapshot.cursor.offset]
                if entry.post is not None
            }
            assert {id: held[id] for id in held if id not in gone} == rebuilt
            assert snapshot.posts_count == len(held)
            checked += len(rebuilt)

    await asyncio.gather(read(), *(write(number) for number in range(4)))
    assert checked


# -- announcements, heads, viewers


async def test_each_entry_is_announced_once_with_the_tag_before_it(world: World) -> None:
    ear: Any = (await world.connection.primary_of(world.keys.channel)).subscription()
    await ear.connect()
    await ear.send_command("SSUBSCRIBE", world.keys.channel)
    assert (await ear.read_response(timeout=5))[0] == b"ssubscribe"

    post = a_post(world.slug, "line one\nline two")
    await world.log.publish(post, keyed("x"))
    await world.log.publish(post, keyed("x"))  # A replay is no news.
    after = await world.edit(post, "edited")
    with pytest.raises(Stale):
        await world.edit(post, "stale")
    await world.log.change(replace(world.blog, revision=2), Operation.once())
    await world.retract(after)
    await world.publish("last")
    heard = [announced((await ear.read_response(timeout=5))[2]) for _ in range(5)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ear.read_response(), 0.05)
    await ear.disconnect()

    assert [(each.entry.offset, each.entry.action.value) for each in heard] == [
        (1, "publish"),
        (2, "edit"),
        (3, "blog"),
        (4, "retract"),
        (5, "publish"),
    ]
    assert heard[0].entry.post == post
    tags = [each.entry.cursor.tag for each in heard]
    assert [each.previous for each in heard] == ["0", *tags[:-1]]


async def test_heads_are_told_for_all_blogs_at_once(world: World) -> None:
    await world.publish()
    head = (await world.log.backlog(world.slug, 0)).head

    heads = await world.log.heads([world.slug, "no-such-blog", world.slug])

    assert heads == {world.slug: head, "no-such-blog": None}
    assert await world.log.heads([]) == {}


async def test_viewers_are_the_sum_of_living_leases(world: World) -> None:
    assert await world.log.count_viewers(world.slug, "p1", 3) == 3
    assert await world.log.count_viewers(world.slug, "p2", 4) == 7
    assert await world.log.count_viewers(world.slug, "p1", 1) == 5
    lease = (await world.redis.hget(world.keys.viewers, "p1")).decode().split()
    server_time = (await world.redis.time())[0]
    assert 0 < int(lease[1]) - server_time <= VIEWERS_LEASE_SECONDS

    # A process that died renews nothing.
    await world.redis.hset(world.keys.viewers, "p1", f"1 {server_time}")
    assert await world.log.count_viewers(world.slug, "p2", 4) == 4
    assert await world.redis.hkeys(world.keys.viewers) == [b"p2"]

    assert await world.log.count_viewers(world.slug, "p2", 0) == 0


# -- the connection


async def test_scripts_survive_a_server_that_forgot_them(world: World) -> None:
    await world.redis.script_flush()
    await world.publish()

    await world.redis.script_flush()
    assert (await world.log.backlog(world.slug, 0)).head.offset == 1


async def test_what_a_script_rejects_is_unavailable_and_names_no_secret(world: World) -> None:
    await world.redis.delete(world.keys.order)
    await world.redis.set(world.keys.order, "of the wrong type")

    with pytest.raises(Unavailable) as refused:
        await world.publish()

    assert refused.value.state == "refuses what it is asked"
    assert "WRONGTYPE" in refused.value.reason
    for word in ("WRONGTYPE", "script"):
        assert word not in refused.value.detail


async def test_a_reading_script_cannot_write(world: World) -> None:
    text = "return redis.call('SET', KEYS[1], '1')"
    sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    with pytest.raises(Unavailable) as refused:
        await world.connection.run(Script("forged", text, sha, "read"), [world.keys.blog], [])

    assert "write" in refused.value.reason.lower()


@pytest.mark.parametrize(
    "program, arguments, durability",
    [
        ("valkey", ("--appendonly", "no"), "best-effort"),
        ("valkey", ("--appendfsync", "everysec"), "fsync"),
        ("valkey", (), "fsync"),
        ("redis-server", ("--appendonly", "no"), "best-effort"),
        ("redis-server", ("--appendfsync", "always"), "fsync"),
    ],
)
async def test_durability_is_said_as_it_is(
    tmp_path: Path, program: str, arguments: tuple[str, ...], durability: Durability
) -> None:
    path = valkey_program() if program == "valkey" else program
    async with (
        RedisServer(tmp_path, *arguments, program=path) as server,
        connected(server.url) as connection,
    ):
        facts = await connection.look()

    assert facts.durability == durability


async def test_durability_of_a_redis_without_waitaof_is_not_claimed(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path, "--appendfsync", "everysec") as server,
        connected(server.url) as connection,
    ):
        facts = await connection.look()
        version = tuple(int(part) for part in facts.version.split(".")[:2])

    assert facts.durability == ("fsync" if version >= (7, 2) else "best-effort")


async def test_where_the_server_syncs_later_a_write_waits_for_it(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path, "--appendfsync", "everysec", program=valkey_program()) as server,
        connected(server.url) as connection,
        meddling(server.url) as redis,
    ):
        facts = await connection.look()
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        await redis.config_resetstat()
        posts = [a_post(blog.slug, f"post {number}") for number in range(20)]
        await asyncio.gather(*(log.publish(post, keyed(post.id, post.id)) for post in posts))
        # A replay waits as well: the first attempt may not have.
        again = await log.publish(posts[0], keyed(posts[0].id, posts[0].id))
        stats = await redis.info("commandstats")
        await redis.script_flush()
        await log.publish(a_post(blog.slug), Operation.once())

    assert facts.waits
    assert again.replayed
    assert stats["cmdstat_waitaof"]["calls"] >= 21


async def test_a_write_that_never_reached_the_disk_is_not_acknowledged(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path, "--appendfsync", "everysec", program=valkey_program()) as server,
        connected(server.url) as connection,
        meddling(server.url) as redis,
    ):
        await connection.look()
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        # Without an append-only file nothing can be confirmed.
        await redis.config_set("appendonly", "no")

        with pytest.raises(Unavailable):
            await log.publish(a_post(blog.slug), Operation.once())


async def test_a_server_without_room_refuses_whole_and_goes_on_later(bare: RedisServer) -> None:
    async with connected(bare.url) as connection, meddling(bare.url) as redis:
        await connection.look()
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        post = a_post(blog.slug)
        await redis.config_set("maxmemory", 1)

        with pytest.raises(Unavailable) as refused:
            await log.publish(post, keyed("x"))
        assert refused.value.state == "takes no writes: its memory is full"
        assert (await log.backlog(blog.slug, 0)).head.offset == 0, "nothing is half done"
        assert not await redis.hgetall(BlogKeys(blog.slug).posts)

        await redis.config_set("maxmemory", 0)
        assert not (await log.publish(post, keyed("x"))).replayed


# -- servers that are refused


async def refusal_of(url: str) -> str:
    async with connected(url) as connection:
        with pytest.raises(StoreRefused) as refused:
            await connection.look()
    return str(refused.value)


@pytest.fixture(params=["valkey", "redis-server"])
async def bare(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server of this test's own."""
    program = valkey_program() if request.param == "valkey" else request.param
    async with RedisServer(tmp_path / "bare", program=program) as server:
        yield server


async def test_a_server_that_evicts_is_refused(bare: RedisServer) -> None:
    async with meddling(bare.url) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        said = await refusal_of(bare.url)
        await redis.config_set("maxmemory-policy", "noeviction")

    assert "allkeys-lru" in said
    assert "Set maxmemory-policy to noeviction" in said
    assert f"127.0.0.1:{bare.port}" in said
    async with connected(bare.url) as connection:
        await connection.look()


async def test_a_replica_is_refused(bare: RedisServer) -> None:
    async with meddling(bare.url) as redis:
        await redis.replicaof("127.0.0.1", free_port())

        assert "Name its primary" in await refusal_of(bare.url)


async def test_a_node_of_a_cluster_is_refused(tmp_path: Path) -> None:
    async with RedisServer(
        tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port())
    ) as server:
        assert "a node of a cluster" in await refusal_of(server.url)


async def test_a_wrong_password_is_unavailable_and_shown_nowhere(tmp_path: Path) -> None:
    async with RedisServer(tmp_path, "--requirepass", "the-right-one") as server:
        for given in (":the-wrong-one@", ""):
            url = f"redis://{given}127.0.0.1:{server.port}/0"
            async with connected(url) as connection:
                with pytest.raises(Unavailable) as refused:
                    await connection.look()
            assert "wrong-one" not in str(refused.value)
        async with connected(f"redis://:the-right-one@127.0.0.1:{server.port}/0") as connection:
            await connection.look()


async def test_heads_that_nobody_tells_are_left_out() -> None:
    async with connected(f"redis://127.0.0.1:{free_port()}/0") as connection:
        assert await Log(connection).heads(["live"]) == {}


async def test_nobody_there_is_unavailable() -> None:
    async with connected(f"redis://127.0.0.1:{free_port()}/0") as connection:
        with pytest.raises(Unavailable):
            await connection.look()
        with pytest.raises(Unavailable):
            await Log(connection).blogs()
        with pytest.raises(Unavailable):
            await Log(connection).publish(a_post("live"), Operation.once())


@pytest.mark.parametrize(
    "url", ["redis+sentinels://h/0", "redis+clusters://h", "http://h", "", "localhost:6379"]
)
def test_an_address_of_a_wrong_scheme_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused, match="Use redis://"):
        Connection(url)


@pytest.mark.parametrize("url", ["redis://h:port/0", "redis://h:99999999/0", "redis://h/x?db=y"])
def test_an_address_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused, match="can't be read"):
        Connection(url)
