"""A ring is one unbroken piece of one log; everybody is written exactly what they lack of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from liveblog.delivery import hub as hubs
from liveblog.delivery.broker import Broker
from liveblog.delivery.frames import HEARTBEAT_SECONDS, Wire
from liveblog.delivery.hub import (
    BLOG_GONE,
    DRAIN,
    RESTART,
    RING_FRAMES,
    TOO_SLOW,
    Channel,
    Hub,
    Wheel,
)
from liveblog.delivery.socket import Viewer
from liveblog.domain.blog import Blog
from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import Entry, EntryAction
from liveblog.domain.errors import Unavailable
from liveblog.domain.post import Post
from liveblog.store.connection import Connection
from liveblog.store.keys import BlogKeys
from liveblog.store.log import BACKLOG_MOST, Announced, Backlog, Log, Operation
from liveblog.store.primary import Primary
from tests.support import eventually
from tests.worlds import a_blog, a_post, connected, meddling

BLOG = a_blog("live")
STREAM = Wire("sse", "json", "http://here")


class Ear(asyncio.Transport):
    """A transport that leads nowhere."""

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


class Listener(Viewer):
    """Writes down what it is written, and reads at most `room` bytes before it falls behind."""

    def __init__(self, wire: Wire = STREAM, room: float = float("inf")) -> None:
        super().__init__(wire)
        self.transport = Ear()
        self.room = room
        self.heard: list[dict[str, Any]] = []
        self.heard_at: list[float] = []
        self.writes = 0
        self.bytes: list[bytes] = []
        self.closed: int | None = None
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        self.on_write()
        self.writes += 1
        self.bytes.append(data)
        for event in data.decode().removesuffix("\n\n").split("\n\n"):
            self.heard.append(json.loads(event.rpartition("data: ")[2]))
        self.room -= len(data)
        if self.room < 0 and self.paused_at is None:
            self.pause_writing()

    def _say_goodbye(self, code: int, reason: str) -> None:
        self.closed = code

    @property
    def offsets(self) -> list[int]:
        return [frame["offset"] for frame in self.heard if frame["type"] == "entry"]


def entry(offset: int, *, log: str = "a", post: Post | None = None) -> Entry:
    post = post or a_post("live", f"post {offset}")
    return Entry(Cursor("e", offset, f"{log}{offset}"), EntryAction.PUBLISH, post.id, post)


def announcement(offset: int, *, log: str = "a", after: str | None = None) -> Announced:
    return Announced(entry(offset, log=log), after or f"{log}{offset - 1}")


def backlog(first: int, last: int, entries: Iterable[Entry] | None = None) -> Backlog:
    """The entries from `first` to `last`."""
    held = tuple(entry(offset) for offset in range(first, last + 1)) if entries is None else entries
    return Backlog(
        Cursor("e", last, f"a{last}"), Cursor("e", first - 1, f"a{first - 1}"), tuple(held), BLOG
    )


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A hub whose store nobody asks for anything."""
    connection = Connection("redis://127.0.0.1:1")
    made = Hub(Log(connection), lambda blog, post, origin: "")
    yield made
    await made.stop()
    await connection.close()


@pytest.fixture
async def channel(hub: Hub) -> Channel:
    """Entries 1 to 10."""
    return Channel("live", hub, backlog(1, 10))


# -- the ring


async def test_a_ring_knows_the_tags_from_its_base_to_its_head(channel: Channel) -> None:
    assert [channel.tag_at(offset) for offset in (0, 1, 10)] == ["a0", "a1", "a10"]
    assert channel.tag_at(11) is None
    assert channel.tag_at(-1) is None


async def test_a_ring_below_its_base_knows_nothing(hub: Hub) -> None:
    channel = Channel("live", hub, backlog(101, 110))

    assert channel.tag_at(100) == "a100"
    assert channel.tag_at(99) is None
    assert channel.tag_at(0) is None


@pytest.mark.parametrize(
    "cursor, held",
    [
        (Cursor("e", 0, "a0"), True),
        (Cursor("e", 10, "a10"), True),
        (Cursor("e", 11, "a11"), False),
        (Cursor("e", 5, "b5"), False),
        (Cursor("f", 5, "a5"), False),
    ],
)
async def test_a_ring_holds_the_places_of_its_own_log(
    channel: Channel, cursor: Cursor, held: bool
) -> None:
    assert channel.holds(cursor) is held


async def test_an_empty_log_holds_its_beginning(hub: Hub) -> None:
    channel = Channel("live", hub, backlog(1, 0, ()))

    assert channel.holds(Cursor("e", 0, "a0"))
    assert channel.after(0) == []


async def test_a_ring_stays_bounded_contiguous_and_at_least_as_long_as_promised(
    channel: Channel,
) -> None:
    for offset in range(11, 3 * RING_FRAMES):
        channel.offer(announcement(offset))

        held = [frame.offset for frame in channel.after(channel.base.offset)]
        assert held == list(range(channel.base.offset + 1, offset + 1))
        assert min(offset, RING_FRAMES) <= len(held) <= 2 * RING_FRAMES
        assert channel.holds(channel.base)
        assert channel.holds(channel.head)


async def test_what_is_known_already_is_dropped(channel: Channel) -> None:
    viewer = Listener()
    channel.join(viewer, 10)

    for offset in (10, 3, 11, 11, 10):
        channel.offer(announcement(offset))
    await eventually(lambda: viewer.offsets == [11])

    assert channel.head.offset == 11


# -- words that were taken back


async def test_a_retraction_takes_the_words_out_of_the_ring(hub: Hub) -> None:
    post = a_post("live", "the secret word")
    published, edited = entry(1, post=post), entry(2, post=post)
    channel = Channel("live", hub, backlog(1, 2, [published, edited]))
    before = Listener()
    channel.join(before, 0)

    channel.offer(Announced(Entry(Cursor("e", 3, "a3"), EntryAction.RETRACT, post.id), "a2"))
    after = Listener()
    channel.join(after, 0)

    assert b"secret" in b"".join(before.bytes), "or this test would see nothing anyway"
    assert b"secret" not in b"".join(after.bytes)
    assert [(frame["offset"], frame["action"], frame["id"]) for frame in after.heard] == [
        (offset, "retract", post.id) for offset in (1, 2, 3)
    ]


async def test_a_retraction_leaves_other_posts_and_all_places_alone(channel: Channel) -> None:
    gone = channel.after(4)[0].entry.post_id
    tags = [channel.tag_at(offset) for offset in range(11)]

    channel.offer(Announced(Entry(Cursor("e", 11, "a11"), EntryAction.RETRACT, gone), "a10"))

    assert [channel.tag_at(offset) for offset in range(11)] == tags
    assert [frame.offset for frame in channel.after(0) if frame.entry.post is None] == [5, 11]


async def test_a_backlog_remembered_before_a_retraction_is_not_given_after_it(
    hub: Hub,
) -> None:
    post = a_post("live", "the secret word")
    channel = Channel("live", hub, backlog(1, 1, [entry(1, post=post)]))
    slow = Listener(room=0)
    slow.pause_writing()
    channel.join(slow, 0)
    channel.join(Listener(), 0)  # The bytes from 0 on are remembered now.

    channel.offer(Announced(Entry(Cursor("e", 2, "a2"), EntryAction.RETRACT, post.id), "a1"))
    slow.room = float("inf")
    slow.resume_writing()

    assert slow.offsets == [1, 2]
    assert b"secret" not in b"".join(slow.bytes)


# -- joining and fan-out


@pytest.mark.parametrize("start", [0, 4, 9, 10])
async def test_who_joins_gets_at_once_all_that_is_missing(channel: Channel, start: int) -> None:
    viewer = Listener()

    channel.join(viewer, start)

    assert viewer.offsets == list(range(start + 1, 11))
    assert viewer.writes == (start < 10)


async def test_who_joins_in_the_middle_of_a_burst_misses_nothing(channel: Channel) -> None:
    viewers: list[Listener] = []
    for offset in range(11, 111):
        channel.offer(announcement(offset))
        viewers.append(Listener())
        channel.join(viewers[-1], offset - 5)
        if offset % 10 == 0:
            await asyncio.sleep(0)
    await eventually(lambda: all(viewer.sent == 110 for viewer in viewers))

    for start, viewer in enumerate(viewers, 6):
        assert viewer.offsets == list(range(start + 1, 111))


async def test_a_storm_of_reconnects_shares_its_backlog(channel: Channel) -> None:
    viewers = [Listener() for _ in range(20)]

    for viewer in viewers:
        channel.join(viewer, 3)

    first = viewers[0].bytes[0]
    assert all(viewer.bytes[0] is first for viewer in viewers)


async def test_who_asks_for_every_place_fills_no_memory(hub: Hub) -> None:
    big = [entry(offset, post=a_post("live", "x" * 5_000)) for offset in range(1, 301)]
    channel = Channel("live", hub, backlog(1, 300, big))
    written = 0
    for start in range(299):
        viewer = Listener(room=0)  # Takes one write and no more.
        channel.join(viewer, start)
        written += len(viewer.bytes[0])

    assert written > 2 * hubs.JOINED_BYTES_MOST, "or there was nothing to forget"
    held = sum(len(data) for data, _ in channel._joined.values())
    assert held <= hubs.JOINED_BYTES_MOST


async def test_a_burst_goes_out_in_few_writes(channel: Channel) -> None:
    viewer = Listener()
    channel.join(viewer, 10)

    for offset in range(11, 61):
        channel.offer(announcement(offset))
    await eventually(lambda: viewer.sent == 60)

    assert viewer.writes <= 2


async def test_a_large_backlog_is_written_in_pieces(hub: Hub) -> None:
    big = [entry(offset, post=a_post("live", "x" * 20_000)) for offset in range(1, 101)]
    channel = Channel("live", hub, backlog(1, 100, big))
    viewer = Listener()

    channel.join(viewer, 0)

    assert viewer.offsets == list(range(1, 101))
    assert max(len(data) for data in viewer.bytes) <= hubs.WRITE_BYTES_MOST


async def test_one_entry_larger_than_a_write_still_goes_out(hub: Hub) -> None:
    big = [entry(1, post=a_post("live", "é" * 19_000))]
    big += [entry(2)]
    channel = Channel("live", hub, backlog(1, 2, big))
    viewer = Listener()

    channel.join(viewer, 0)

    assert viewer.offsets == [1, 2]


async def test_a_fan_out_to_many_reaches_each_once(channel: Channel) -> None:
    viewers = [Listener() for _ in range(500)]
    for viewer in viewers:
        channel.join(viewer, 10)

    for offset in range(11, 31):
        channel.offer(announcement(offset))
        await asyncio.sleep(0)
    await eventually(lambda: all(viewer.sent == 30 for viewer in viewers))

    assert Counter(tuple(viewer.offsets) for viewer in viewers) == {tuple(range(11, 31)): 500}


async def test_nobody_is_always_the_last_to_hear(channel: Channel) -> None:
    viewers = [Listener() for _ in range(10)]
    for viewer in viewers:
        channel.join(viewer, 10)
    last = set()

    for offset in range(11, 51):
        heard: list[int] = []
        for number, viewer in enumerate(viewers):
            viewer.on_write = partial(heard.append, number)
        channel.offer(announcement(offset))
        while len(heard) < 10:
            await asyncio.sleep(0.001)
        last.add(heard[-1])

    assert len(last) > 1


async def test_who_leaves_hears_no_more(channel: Channel) -> None:
    viewer, stays = Listener(), Listener()
    channel.join(viewer, 10)
    channel.join(stays, 10)
    channel.offer(announcement(11))

    viewer.connection_lost(None)
    await eventually(lambda: stays.offsets == [11])

    assert viewer.offsets == []
    assert list(channel.viewers) == [stays]


async def test_a_closed_channel_sends_who_joins_back(hub: Hub, channel: Channel) -> None:
    channel.stop()
    viewer = Listener()

    channel.join(viewer, 10)

    assert viewer.closed == RESTART
    assert not channel.viewers


async def test_who_joins_while_the_others_are_sent_away_is_sent_away_too(
    hub: Hub, channel: Channel
) -> None:
    await hub.drain(0)
    viewer = Listener()

    channel.join(viewer, 10)

    assert viewer.closed == RESTART
    assert not channel.viewers


# -- slow viewers


async def test_a_viewer_over_its_mark_is_written_no_more_and_goes_on_where_it_was(
    channel: Channel,
) -> None:
    slow, fast = Listener(room=100), Listener()
    channel.join(slow, 10)
    channel.join(fast, 10)
    for offset in range(11, 41):
        channel.offer(announcement(offset))
        await asyncio.sleep(0)
    await eventually(lambda: fast.sent == 40)
    held = slow.sent
    assert held < 40
    assert list(channel.stuck) == [slow]

    slow.room = float("inf")
    slow.resume_writing()

    assert slow.offsets == list(range(11, 41))
    assert not channel.stuck


async def test_a_viewer_that_fell_out_of_the_ring_is_closed_with_4008(channel: Channel) -> None:
    slow = Listener()
    channel.join(slow, 10)
    slow.pause_writing()
    for offset in range(11, 3 * RING_FRAMES):
        channel.offer(announcement(offset))
    assert channel.base.offset > slow.sent, "or this test would see nothing"

    slow.resume_writing()

    assert slow.closed == TOO_SLOW
    assert slow.offsets == [], "nothing past a hole"
    assert not channel.viewers


async def test_who_reads_nothing_for_long_is_closed_with_4008(channel: Channel) -> None:
    slow, fast = Listener(), Listener()
    channel.join(slow, 10)
    channel.join(fast, 10)
    slow.pause_writing()
    assert slow.paused_at is not None

    channel.send_stuck_away(slow.paused_at + hubs.PAUSED_SECONDS - 0.1)
    assert slow.closed is None
    channel.send_stuck_away(slow.paused_at + hubs.PAUSED_SECONDS)

    assert [slow.closed, fast.closed] == [TOO_SLOW, None]
    assert not channel.stuck


async def test_who_was_paused_before_joining_is_watched_too(channel: Channel) -> None:
    slow = Listener()
    slow.pause_writing()

    channel.join(slow, 0)

    assert slow.writes == 0
    assert list(channel.stuck) == [slow]


async def test_a_slow_viewer_is_told_no_counts(channel: Channel) -> None:
    slow, fast = Listener(), Listener()
    channel.join(slow, 10)
    channel.join(fast, 10)
    slow.pause_writing()

    channel.say(b'{"type":"viewers","count":2}')

    assert (slow.writes, fast.writes) == (0, 1)


# -- frames that can't be made


async def test_a_frame_that_cannot_be_made_leaves_nobody_waiting_in_silence(hub: Hub) -> None:
    def breaks(blog: Blog, post: Post, origin: str) -> str:
        raise ValueError(post.id)

    hub.render = breaks
    channel = Channel("live", hub, backlog(1, 1))
    rendered = [Listener(Wire("sse", "html", "http://here")) for _ in range(3)]
    plain = Listener()
    for viewer in (*rendered, plain):
        channel.join(viewer, 1)

    channel.offer(announcement(2))
    await eventually(lambda: plain.offsets == [2])
    channel.offer(announcement(3))
    await eventually(lambda: plain.offsets == [2, 3])

    assert {viewer.closed for viewer in rendered} == {RESTART}
    assert plain.closed is None


# -- waiting without a socket


async def test_a_long_poll_ends_with_the_entry(channel: Channel) -> None:
    waiting = asyncio.ensure_future(channel.wait_beyond(10, 30))
    await asyncio.sleep(0)
    assert not channel.is_unused

    channel.offer(announcement(11))

    await asyncio.wait_for(waiting, 5)
    assert channel.is_unused


async def test_a_long_poll_ends_with_its_time(channel: Channel) -> None:
    await asyncio.wait_for(channel.wait_beyond(10, 0.01), 5)

    assert channel.is_unused


async def test_a_long_poll_behind_the_head_does_not_wait(channel: Channel) -> None:
    await asyncio.wait_for(channel.wait_beyond(9, 30), 5)


async def test_a_long_poll_ends_when_the_server_drains(hub: Hub, channel: Channel) -> None:
    waiting = asyncio.ensure_future(channel.wait_beyond(10, 30))
    await asyncio.sleep(0)

    hub.closing = True
    channel.release_waiters()

    await asyncio.wait_for(waiting, 5)


# -- the timer wheel


@pytest.mark.parametrize("first_post_second", [None, 3, 14, 16, 24])
async def test_everybody_hears_something_in_every_period(
    channel: Channel, first_post_second: int | None
) -> None:
    wheel = Wheel()
    viewers = [Listener() for _ in range(200)]
    started = asyncio.get_running_loop().time()
    for viewer in viewers:
        channel.viewers[viewer] = None
        viewer.beat_at = started
        wheel.put(viewer, channel)

    heard: dict[Viewer, list[int]] = {viewer: [0] for viewer in viewers}
    for second in range(1, 201):
        if second == first_post_second:
            channel.sent_at = started + second
            for times in heard.values():
                times.append(second)
        before = {viewer: viewer.writes for viewer in viewers}
        wheel.turn(started + second)
        for viewer in viewers:
            if viewer.writes > before[viewer]:
                heard[viewer].append(second)

    gaps = [later - earlier for times in heard.values() for earlier, later in pairwise(times)]
    assert max(gaps) <= HEARTBEAT_SECONDS
    beats = [second for times in heard.values() for second in times[1:] if second != 3]
    assert max(Counter(beats).values()) < len(viewers) / 3 or first_post_second is not None
    assert all(viewer.heard[0] == {"type": "heartbeat", "offset": 10} for viewer in viewers)
    rate = sum(len(viewer.heard) for viewer in viewers) / len(viewers) / 200
    assert 1 / HEARTBEAT_SECONDS < rate < 2 / HEARTBEAT_SECONDS


async def test_a_wheel_forgets_who_left(channel: Channel) -> None:
    wheel, viewer, gone = Wheel(), Listener(), Listener()
    for each in (viewer, gone):
        channel.viewers[each] = None
        wheel.put(each, channel)

    wheel.take_out(gone)
    del channel.viewers[gone]
    for second in range(1, 60):
        wheel.turn(viewer.beat_at + second)

    assert viewer.writes > 1
    assert gone.writes == 0


async def test_a_viewer_over_its_mark_gets_no_heartbeat(channel: Channel) -> None:
    wheel, slow = Wheel(), Listener()
    channel.viewers[slow] = None
    wheel.put(slow, channel)
    slow.pause_writing()

    for second in range(1, 60):
        wheel.turn(slow.beat_at + second)
    assert slow.writes == 0
    slow.resume_writing()
    for second in range(60, 90):
        wheel.turn(slow.beat_at + second)

    assert slow.writes >= 1


# -- with the real store: repair, reset, positions


@asynccontextmanager
async def running(connection: Connection, log: Log | None = None) -> AsyncIterator[Hub]:
    hub = Hub(log or Log(connection), lambda blog, post, origin: "")
    broker = Broker(connection, on_entry=hub.offer, on_subscribed=hub.subscribed)
    broker.start()
    hub.start(broker)
    try:
        yield hub
    finally:
        await broker.stop()
        await hub.stop()


@pytest.fixture
async def connection(valkey: str) -> AsyncIterator[Connection]:
    async with connected(valkey) as made:
        await made.look()
        yield made


@pytest.fixture
async def log(connection: Connection) -> Log:
    return Log(connection)


async def published(log: Log, slug: str, count: int, *, body: str = "") -> list[Entry]:
    appended = [
        await log.publish(a_post(slug, body or f"post {number}"), Operation.once())
        for number in range(count)
    ]
    return [each.entry for each in appended]


@pytest.fixture
async def slug(log: Log) -> str:
    blog = a_blog()
    await log.create(blog)
    return blog.slug


async def test_what_is_published_reaches_the_ring_and_its_viewers(
    connection: Connection, log: Log, slug: str
) -> None:
    async with running(connection) as hub:
        channel = await hub.channel(slug)
        viewer = Listener()
        channel.join(viewer, 0)

        entries = await published(log, slug, 20)
        await eventually(lambda: viewer.sent == 20)

        assert viewer.offsets == list(range(1, 21))
        assert channel.head == entries[-1].cursor


async def test_a_hole_is_filled_from_the_store_by_one_repair(
    connection: Connection, log: Log, slug: str
) -> None:
    async with running(connection) as hub:
        channel = await hub.channel(slug)
        await eventually(lambda: channel._repairing is None)
        viewers = [Listener() for _ in range(10)]
        for viewer in viewers:
            channel.join(viewer, 0)
        await hub.broker.unsubscribe(slug)
        lost = await published(log, slug, 3)
        await published(log, slug, 1)
        repairs = hub.repairs
        backlog_of_four = await log.backlog(slug, 0)
        last = backlog_of_four.entries[-1]

        channel.offer(Announced(last, lost[-1].cursor.tag))
        assert channel.head.offset == 0, "nothing is delivered past a hole"
        await eventually(lambda: all(viewer.sent == 4 for viewer in viewers))

        assert {tuple(viewer.offsets) for viewer in viewers} == {(1, 2, 3, 4)}
        assert hub.repairs == repairs + 1


async def test_a_ring_is_refilled_whole_after_the_log_was_replaced(
    connection: Connection, log: Log, slug: str, valkey: str
) -> None:
    keys = BlogKeys(slug)
    await published(log, slug, RING_FRAMES + 20)
    async with running(connection) as hub, meddling(valkey) as redis:
        channel = await hub.channel(slug)
        viewer = Listener()
        channel.join(viewer, channel.head.offset)
        await hub.broker.unsubscribe(slug)
        await redis.hset(keys.head, "epoch", "another")

        channel.check((await log.heads([slug]))[slug], channel.head)
        await eventually(lambda: channel._repairing is None)

        assert viewer.closed == RESTART
        assert hub.resets == 1
        head = (await log.heads([slug]))[slug]
        assert channel.head == head
        assert channel.head.epoch == "another"
        assert len(channel.after(channel.base.offset)) >= RING_FRAMES


async def test_what_is_announced_during_a_reset_is_not_lost(
    connection: Connection, log: Log, slug: str, valkey: str
) -> None:
    await published(log, slug, 5)
    async with running(connection) as hub, meddling(valkey) as redis:
        channel = await hub.channel(slug)
        await redis.hset(BlogKeys(slug).head, "epoch", "another")

        repair = channel.repair()
        entries = await published(log, slug, 30)
        await repair
        await eventually(lambda: channel.head == entries[-1].cursor, 3)


async def test_a_cursor_ahead_of_this_process_is_repaired_first(
    connection: Connection, log: Log, slug: str
) -> None:
    async with running(connection) as hub:
        channel = await hub.channel(slug)
        await hub.broker.unsubscribe(slug)
        [last] = await published(log, slug, 1)
        assert channel.head.offset == 0, "it must not know of the entry yet"

        assert await hub.position(channel, last.cursor) == last.cursor
        assert channel.head == last.cursor


class LateLog(Log):
    """The real log, whose answers take a while to come back, or bring news with them."""

    on_answer: Callable[[], Awaitable[None]] | None = None

    async def backlog(self, slug: str, after: int, most: int = BACKLOG_MOST) -> Backlog:
        answer = await super().backlog(slug, after, most)
        if self.on_answer is not None:
            await self.on_answer()
        return answer


async def test_a_cursor_ahead_is_honoured_though_a_repair_began_before_it(
    connection: Connection, slug: str
) -> None:
    log = LateLog(connection)
    async with running(connection, log) as hub:
        channel = await hub.channel(slug)
        await hub.broker.unsubscribe(slug)
        entries: list[Entry] = []
        asked = asyncio.Event()

        async def once() -> None:
            log.on_answer = None
            entries.extend(await published(log, slug, 1))
            await asked.wait()

        log.on_answer = once
        channel.repair()
        await eventually(lambda: entries)
        asking = asyncio.ensure_future(hub.position(channel, entries[0].cursor))
        asyncio.get_running_loop().call_soon(asked.set)

        assert await asking == entries[0].cursor


async def test_what_is_announced_as_a_repair_ends_is_not_lost(
    connection: Connection, slug: str
) -> None:
    log = LateLog(connection)
    async with running(connection, log) as hub:
        channel = await hub.channel(slug)
        await eventually(lambda: channel._repairing is None)
        await hub.broker.unsubscribe(slug)
        repairs = hub.repairs

        async def once() -> None:
            log.on_answer = None
            [last] = await published(log, slug, 1)
            # Runs after the repair's last look, and before anybody hears that it has ended.
            asyncio.get_running_loop().call_soon(channel.offer, Announced(last, "0"))

        log.on_answer = once
        await channel.repair()
        await eventually(lambda: channel.head.offset == 1, 2)

        assert hub.repairs == repairs + 1, "or it was found by a second repair"


def heard_at(hub: Hub) -> float:
    return max(listener.heard_at for listener in hub.broker._listeners.values())


async def published_and_heard(log: Log, slug: str, hub: Hub) -> None:
    """Publish, and return when its announcement has come, whatever became of it."""
    before = heard_at(hub)
    await published(log, slug, 1)
    await eventually(lambda: heard_at(hub) > before)


async def test_what_is_announced_while_a_repair_reads_is_read_too(
    connection: Connection, slug: str
) -> None:
    log = LateLog(connection)
    async with running(connection, log) as hub:
        channel = await hub.channel(slug)
        await eventually(lambda: channel._repairing is None)

        async def once() -> None:
            log.on_answer = None
            await published_and_heard(log, slug, hub)

        log.on_answer = once
        await channel.repair()

        assert channel.head.offset == 1


async def test_what_is_announced_while_a_channel_opens_is_not_lost(
    connection: Connection, slug: str
) -> None:
    log = LateLog(connection)
    async with running(connection, log) as hub:

        async def once() -> None:
            log.on_answer = None
            await published_and_heard(log, slug, hub)

        log.on_answer = once
        channel = await hub.channel(slug)

        assert channel.head.offset == 1


async def test_a_repair_goes_on_until_the_store_answers(connection: Connection, slug: str) -> None:
    log = LateLog(connection)
    async with running(connection, log) as hub:
        channel = await hub.channel(slug)
        await eventually(lambda: channel._repairing is None)
        await hub.broker.unsubscribe(slug)
        await published(log, slug, 1)
        failures = 0

        async def away() -> None:
            nonlocal failures
            failures += 1
            if failures == 3:
                log.on_answer = None
            raise Unavailable("away")

        log.on_answer = away
        await channel.repair()

        assert failures == 3
        assert channel.head.offset == 1


async def test_a_channel_that_cannot_be_filled_is_not_kept(
    connection: Connection, slug: str
) -> None:
    log = LateLog(connection)
    async with running(connection, log) as hub:

        async def away() -> None:
            log.on_answer = None
            raise Unavailable("away")

        log.on_answer = away
        with pytest.raises(Unavailable):
            await hub.channel(slug)

        assert hub.counts.channels == 0
        assert not hub.broker._wanted
        assert (await hub.channel(slug)).head.offset == 0


async def test_a_channel_nobody_reads_is_closed_after_a_while_and_opened_again(
    connection: Connection, log: Log, slug: str
) -> None:
    async with running(connection) as hub:
        channel = await hub.channel(slug)
        viewer = Listener()
        channel.join(viewer, 0)
        channel.idle_since -= hubs.IDLE_SECONDS + 1
        await hub._beat()
        open_after = {"with a reader": channel.is_open}

        viewer.connection_lost(None)
        await hub._beat()
        open_after["just left"] = channel.is_open

        channel.idle_since -= hubs.IDLE_SECONDS + 1
        await hub._beat()
        open_after["long gone"] = channel.is_open
        assert open_after == {"with a reader": True, "just left": True, "long gone": False}
        assert not hub.broker._wanted

        await published(log, slug, 1)
        again = await hub.channel(slug)
        late = Listener()
        again.join(late, 0)
        await published(log, slug, 1)
        await eventually(lambda: late.offsets == [1, 2])


async def test_somebody_elses_word_on_the_channel_harms_nobody(
    connection: Connection, log: Log, slug: str, valkey: str
) -> None:
    async with running(connection) as hub, meddling(valkey) as redis:
        channel = await hub.channel(slug)
        viewer = Listener()
        channel.join(viewer, 0)
        heard = heard_at(hub)
        for word in (b"", b"hello", b"e 1 t\n{}", b"e x t p\n{}", b"e 9 t p\n{}", b"\xff\n\xff"):
            await redis.execute_command("SPUBLISH", BlogKeys(slug).channel, word)
        await eventually(lambda: heard_at(hub) > heard)

        await published(log, slug, 2)
        await eventually(lambda: viewer.offsets == [1, 2])

        assert hub.broker.stands
        assert hub.broker.reconnects == 0
        assert viewer.closed is None


async def test_a_subscription_confirmed_during_a_repair_has_the_store_read_again(
    connection: Connection, slug: str
) -> None:
    log = LateLog(connection)
    async with running(connection, log) as hub:
        channel = await hub.channel(slug)
        await eventually(lambda: channel._repairing is None)
        await hub.broker.unsubscribe(slug)

        async def once() -> None:
            log.on_answer = None
            await published(log, slug, 1)
            hub.subscribed(slug)

        log.on_answer = once
        await channel.repair()

        assert channel.head.offset == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda cursor: None,
        lambda cursor: Cursor("other", cursor.offset, cursor.tag),
        lambda cursor: Cursor(cursor.epoch, cursor.offset, "othertag"),
        lambda cursor: Cursor(cursor.epoch, cursor.offset + 1, cursor.tag),
        lambda cursor: Cursor(cursor.epoch, 2**53 - 1, cursor.tag),
        lambda cursor: Cursor(cursor.epoch, 1, cursor.tag),
    ],
)
async def test_a_cursor_of_no_place_in_this_log_is_not_honoured(
    connection: Connection,
    log: Log,
    slug: str,
    wrong: Callable[[Cursor], Cursor | None],
) -> None:
    entries = await published(log, slug, 3)
    async with running(connection) as hub:
        channel = await hub.channel(slug)

        assert await hub.position(channel, entries[-1].cursor) == entries[-1].cursor
        assert await hub.position(channel, wrong(entries[-1].cursor)) is None


async def test_a_page_read_from_a_replaced_log_is_honoured_before_anybody_noticed(
    connection: Connection, log: Log, slug: str, valkey: str
) -> None:
    await published(log, slug, 3)
    async with running(connection) as hub, meddling(valkey) as redis:
        channel = await hub.channel(slug)
        await redis.hset(BlogKeys(slug).head, "epoch", "another")
        snapshot = await log.snapshot(slug, limit=10)

        assert await hub.position(channel, snapshot.cursor) == snapshot.cursor


async def test_a_blog_that_is_gone_sends_its_viewers_away_for_good(
    connection: Connection, log: Log, slug: str, valkey: str
) -> None:
    async with running(connection) as hub, meddling(valkey) as redis:
        channel = await hub.channel(slug)
        viewer, late = Listener(), Listener()
        channel.join(viewer, 0)
        await redis.delete(BlogKeys(slug).head, BlogKeys(slug).blog)

        await hub.check_heads()
        await eventually(lambda: viewer.closed is not None)
        channel.join(late, 0)

        assert viewer.closed == BLOG_GONE
        assert late.closed == RESTART
        assert hub.counts.channels == 0


async def test_a_long_poll_ends_when_the_blog_is_gone(
    connection: Connection, log: Log, slug: str, valkey: str
) -> None:
    async with running(connection) as hub, meddling(valkey) as redis:
        channel = await hub.channel(slug)
        waiting = asyncio.ensure_future(channel.wait_beyond(channel.head.offset, 30))
        await asyncio.sleep(0)
        await redis.delete(BlogKeys(slug).head, BlogKeys(slug).blog)

        await hub.check_heads()

        await asyncio.wait_for(waiting, 5)


async def test_many_that_open_a_blog_at_once_share_one_channel(
    connection: Connection, slug: str
) -> None:
    async with running(connection) as hub:
        channels = await asyncio.gather(*(hub.channel(slug) for _ in range(20)))

        assert len(set(map(id, channels))) == 1


async def test_a_store_that_is_silent_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "COUNT_SECONDS", 0.1)
    # What the kernel has taken for a listener that nobody accepts from is never answered.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with connected(f"redis://127.0.0.1:{silent.getsockname()[1]}") as connection:
            hub = Hub(Log(connection), lambda blog, post, origin: "")
            hub._channels["live"] = Channel("live", hub, backlog(1, 10))
            async with asyncio.timeout(2):
                await hub.stop()


class Stumbling(Connection):
    """Breaks once, in a way that nobody foresaw."""

    has_broken = False

    async def primaries(self) -> list[Primary]:
        if not self.has_broken:
            self.has_broken = True
            raise RuntimeError
        return await super().primaries()


async def test_a_subscription_comes_to_stand_whatever_broke_before(valkey: str) -> None:
    connection = Stumbling(valkey)
    broker = Broker(connection, on_entry=lambda *_: None, on_subscribed=lambda _: None)
    broker.start()
    try:
        async with asyncio.timeout(5):
            await broker.comes_to_stand()
    finally:
        await broker.stop()
        await connection.close()

    assert connection.has_broken


async def test_a_drain_sends_everybody_away_with_4001(connection: Connection, slug: str) -> None:
    async with running(connection) as hub:
        channel = await hub.channel(slug)
        viewers = [Listener() for _ in range(25)]
        for viewer in viewers:
            channel.join(viewer, 0)

        await hub.drain(0.3)

        assert {viewer.closed for viewer in viewers} == {DRAIN}
        assert not channel.viewers
