"""One process's viewers, by blog: a ring of the newest frames, and who has which of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import structlog

from liveblog.delivery import frames
from liveblog.delivery.broker import Broker
from liveblog.delivery.frames import Frame, Render, Transport, Wire
from liveblog.delivery.socket import Viewer
from liveblog.domain.cursor import Cursor, Verdict, judge
from liveblog.domain.entry import Entry, EntryAction
from liveblog.domain.errors import NotFound, Unavailable
from liveblog.store.log import Announced, Backlog, Log
from liveblog.store.trouble import CANT_REACH

RING_FRAMES = 512
WRITE_BYTES_MOST = 64 * 1024
# What a storm of reconnects shares is a few values; who asks for every place gets no memory of it.
JOINED_BYTES_MOST = 4 * 1024 * 1024
GATHER_SECONDS = 0.015
SLICE_SECONDS = 0.004
PAUSED_SECONDS = 30.0
AHEAD_SECONDS = 2.0
IDLE_SECONDS = 60.0
COUNT_SECONDS = 5.0
CHECK_SECONDS = 10.0
CONFIRMED_SECONDS = 1.0
REPAIR_PAUSE_SECONDS = (0.1, 2.0)

DRAIN = 4001
TOO_SLOW = 4008
BLOG_GONE = 4404
RESTART = 1012

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since the start, for the metrics."""

    viewers: int
    channels: int
    frames: int
    slow: int
    repairs: int
    resets: int


class Channel:
    """One blog's ring and viewers in this process.

    The ring is contiguous and of one epoch. `base` is the cursor before its first frame, so every
    place from `base` to `head` can be told from a place in another log. `version` changes with all
    that this process hears of the blog: what was made of it before is out of date.
    """

    def __init__(self, slug: str, hub: Hub, backlog: Backlog) -> None:
        self.slug = slug
        self.viewers: dict[Viewer, None] = {}
        self.stuck: dict[Viewer, None] = {}
        self.counted = 0
        self.idle_since = asyncio.get_running_loop().time()
        self.sent_at = 0.0
        self.version = 0
        self.is_open = True
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[None]] = set()
        self._gathering: asyncio.TimerHandle | None = None
        self._pumped_at = 0.0
        self._repairing: asyncio.Task[None] | None = None
        self._missed = False
        self._confirmed_at = float("-inf")
        self._confirming: asyncio.Task[None] | None = None
        self._joined: dict[tuple[int, Wire], tuple[bytes, int]] = {}
        self._joined_bytes = 0
        self._take(backlog)

    # -- the ring

    def _take(self, backlog: Backlog) -> None:
        if backlog.after is None:
            raise Unavailable("The log changed while it was read.")
        self.blog = backlog.blog
        self.base = backlog.after
        self.head = backlog.after
        self._ring: list[Frame] = []
        self._forget_joined()
        self._extend(backlog.entries)

    def _extend(self, entries: Iterable[Entry]) -> None:
        self.version += 1
        for entry in entries:
            if entry.blog is not None:
                self.blog = entry.blog
            self._ring.append(Frame(entry, self.blog, self._hub.render))
            self.head = entry.cursor
            if entry.action is EntryAction.RETRACT:
                self._forget_words(entry)
        if len(self._ring) > 2 * RING_FRAMES:
            self.base = self._ring[-RING_FRAMES - 1].entry.cursor
            del self._ring[:-RING_FRAMES]
        self._forget_joined()

    def _forget_joined(self) -> None:
        self._joined.clear()
        self._joined_bytes = 0

    def _forget_words(self, retraction: Entry) -> None:
        # As in the store: whoever reads this place from now on gets no words.
        for place, frame in enumerate(self._ring):
            entry = frame.entry
            if entry.post_id == retraction.post_id and entry.post is not None:
                bare = Entry(entry.cursor, EntryAction.RETRACT, entry.post_id)
                self._ring[place] = Frame(bare, self.blog, self._hub.render)

    def tag_at(self, offset: int) -> str | None:
        """The tag at an offset that the ring knows of."""
        if offset == self.base.offset:
            return self.base.tag
        place = offset - self.base.offset - 1
        return self._ring[place].entry.cursor.tag if 0 <= place < len(self._ring) else None

    def holds(self, cursor: Cursor) -> bool:
        """Whether the entries after `cursor` are all in the ring, and it is of this very log."""
        return cursor.epoch == self.head.epoch and self.tag_at(cursor.offset) == cursor.tag

    def is_past(self, cursor: Cursor) -> bool:
        """Whether only the store can tell: it is older than the ring."""
        return cursor.epoch == self.head.epoch and cursor.offset < self.base.offset

    def after(self, offset: int, most: int | None = None) -> Sequence[Frame]:
        """The frames after an offset, which the ring must hold."""
        start = offset - self.base.offset
        return self._ring[start : start + most if most is not None else None]

    # -- what is announced

    def offer(self, announced: Announced) -> None:
        """Take an announced entry, or find that something is missing and have it repaired."""
        if self._repairing is not None:
            self._missed = True
            self.version += 1
            return
        cursor = announced.entry.cursor
        verdict = judge(self.head, cursor, announced.previous, self.tag_at(cursor.offset))
        if verdict is Verdict.NEXT:
            self._extend([announced.entry])
            self._arrived()
        elif verdict is not Verdict.SEEN:
            self.version += 1
            self.repair()

    def check(self, head: Cursor | None, held: Cursor) -> None:
        """Compare with the store's head, which was asked for when the ring stood at `held`."""
        if (
            head is None
            or head.epoch != self.head.epoch
            or head.offset < held.offset
            or head.offset > self.head.offset
            or self.tag_at(head.offset) not in (None, head.tag)
        ):
            self.repair()

    async def confirm(self) -> None:
        """Return once the ring is known to have been all of the log, at most a second ago.

        Also where nobody would tell, because the subscription has gone silent. One question to the
        store in that second, however many ask. Raises: NotFound; Unavailable.
        """
        if self._loop.time() - self._confirmed_at < CONFIRMED_SECONDS:
            return
        if self._confirming is None:
            self._confirming = self._loop.create_task(self._confirm(), name=f"confirm {self.slug}")
        await asyncio.shield(self._confirming)

    async def _confirm(self) -> None:
        try:
            asked_at, held = self._loop.time(), self.head
            heads = await self._hub.log.heads([self.slug])
            if self.slug not in heads:
                raise Unavailable(CANT_REACH)
            self.check(heads[self.slug], held)
            if self._repairing is not None:
                async with asyncio.timeout(AHEAD_SECONDS):
                    await asyncio.shield(self._repairing)
            self._confirmed_at = asked_at
        except TimeoutError:
            raise Unavailable("The store is slow to answer; try again in a moment.") from None
        finally:
            self._confirming = None

    def repair(self) -> asyncio.Task[None]:
        """Refill from the store, by a read that begins after this call. One for the process."""
        if self._repairing is None:
            self._hub.repairs += 1
            self._repairing = self._loop.create_task(self._repair(), name=f"repair {self.slug}")
            self._repairing.add_done_callback(self._repaired)
        else:
            # What it is reading may be from before whatever made somebody ask: one look more.
            self._missed = True
        return self._repairing

    async def _repair(self) -> None:
        try:
            await self._refill()
        finally:
            # In one turn with the last look: an announcement that came after it is offered to the
            # ring again, and not put off to a repair that has ended.
            self._repairing = None

    async def _refill(self) -> None:
        pause, longest = REPAIR_PAUSE_SECONDS
        while True:
            self._missed = False
            try:
                backlog = await self._hub.log.backlog(self.slug, self.head.offset)
                if backlog.after != self.head or backlog.head.offset < self.head.offset:
                    self._reset(await self._hub.log.backlog(self.slug, -RING_FRAMES))
                    continue  # That was one answer's worth, and more may have come meanwhile.
            except NotFound:
                self._hub.drop(self, BLOG_GONE, "This blog is gone.")
                return
            except Unavailable:
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, longest)
                continue
            self._extend(backlog.entries)
            self._arrived()
            # Announcements that came during the read are not in it for certain: look once more.
            if self.head.offset >= backlog.head.offset and not self._missed:
                return

    def _repaired(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("repair_failed", blog=self.slug, error=repr(task.exception()))
        self._arrived()

    def _reset(self, backlog: Backlog) -> None:
        # Another log stands here now. Whoever holds the old one comes back with its cursor, and
        # is told so by the welcome: the one way to recover there is.
        self._hub.resets += 1
        _log.warning("log_replaced", blog=self.slug, held=str(self.head), now=str(backlog.head))
        self._take(backlog)
        for viewer in list(self.viewers):
            viewer.close(RESTART, "The log was replaced.")

    # -- viewers

    def join(self, viewer: Viewer, offset: int) -> None:
        """From now on `viewer` gets every frame after `offset`, which the ring must hold.

        Registration and backlog in one turn of the loop: no entry can fall between them.
        """
        # Whoever comes out of the handshake while the others are sent away would be overlooked.
        if not self.is_open or self._hub.closing:
            viewer.close(RESTART, "Come back with your cursor.")
            return
        viewer.sent = offset
        viewer.channel = self
        self.viewers[viewer] = None
        if viewer.paused_at is not None:
            self.stuck[viewer] = None
        self._hub.schedule(viewer, self)
        self.deliver(viewer)

    def leave(self, viewer: Viewer) -> None:
        if viewer in self.viewers:
            del self.viewers[viewer]
            self.stuck.pop(viewer, None)
            self._hub.unschedule(viewer)
            self.idle_since = self._loop.time()

    def deliver(self, viewer: Viewer) -> None:
        """Write what `viewer` lacks, as far as its buffer takes it. The one way frames go out."""
        while viewer.sent < self.head.offset and viewer.paused_at is None:
            if viewer.sent < self.base.offset:
                self._hub.slow += 1
                viewer.close(TOO_SLOW, "You read too slowly; come back with your cursor.")
                return
            before = viewer.sent
            try:
                data, viewer.sent = self._bytes_after(before, viewer.wire)
            except Exception:  # noqa: BLE001 — and costs nobody else theirs
                # A frame that can't be made is neither left out nor waited for in silence.
                _log.exception("frame_failed", blog=self.slug, after=before)
                viewer.close(RESTART, "Come back with your cursor.")
                return
            self._hub.frames += viewer.sent - before
            viewer.write(data)

    def _deliver_to(self, viewers: Sequence[Viewer]) -> None:
        """`deliver` to many, most of whom lack the same: it is looked up once, not for each.

        And written past the transport, which would cost a seventh of the kernel's charge
        more (docs/decisions/0009); what the kernel doesn't take is left to it.
        """
        write = os.write
        place, wire, data, size = -1, None, b"", 0
        head, written = self.head.offset, 0
        for viewer in viewers:
            # Who left since the fan-out began isn't in the channel any more.
            if viewer.channel is not self:
                continue
            if viewer.wire is wire and viewer.sent == place and viewer.paused_at is None:
                viewer.sent = head
                written += head - place
                try:
                    taken = write(viewer.descriptor, data)
                except OSError:
                    taken = 0  # Full, or gone: the transport will find out which.
                if taken < size:
                    viewer.write(data[taken:])
                continue
            place, wire = viewer.sent, viewer.wire
            self.deliver(viewer)
            data, reached = self._joined.get((place, wire), (b"", -1))
            size = len(data)
            if reached != head:
                wire = None  # More than one write, or none at all: each in its own way.
        self._hub.frames += written

    def _bytes_after(self, offset: int, wire: Wire) -> tuple[bytes, int]:
        found = self._joined.get((offset, wire))
        if found is None:
            parts: list[bytes] = []
            size = 0
            for frame in self.after(offset):
                data = frame.encoded(wire)
                if parts and size + len(data) > WRITE_BYTES_MOST:
                    break
                parts.append(data)
                size += len(data)
            self._joined_bytes += size
            if self._joined_bytes > JOINED_BYTES_MOST:
                self._forget_joined()
            found = self._joined[offset, wire] = (b"".join(parts), offset + len(parts))
        return found

    def send_stuck_away(self, now: float) -> None:
        """Close whoever has read nothing for too long."""
        for viewer in list(self.stuck):
            if viewer.paused_at is not None and now - viewer.paused_at >= PAUSED_SECONDS:
                self._hub.slow += 1
                viewer.close(TOO_SLOW, "You read too slowly; come back with your cursor.")

    def _arrived(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        if self._gathering is None and self.viewers:
            # The first of a burst goes out at once, the rest together: the system call dominates.
            wait = max(0.0, self._pumped_at + GATHER_SECONDS - self._loop.time())
            self._gathering = self._loop.call_later(wait, self._pump)

    def _pump(self, rest: list[Viewer] | None = None, reached: int = 0) -> None:
        started = self._loop.time()
        if rest is None:
            everybody, reached = list(self.viewers), self.head.offset
            # From another one each time, so that nobody is the last to know for ever.
            turn = random.randrange(len(everybody) or 1)
            rest = everybody[turn:] + everybody[:turn]
            self.sent_at = started
        while rest:
            self._deliver_to(rest[-64:])
            del rest[-64:]
            if rest and self._loop.time() - started > SLICE_SECONDS:
                # Others want the loop as well: readers that join, posts that are taken.
                self._gathering = self._loop.call_later(0, self._pump, rest, reached)
                return
        self._gathering = None
        self._pumped_at = self._loop.time()
        if self.head.offset > reached:
            self._arrived()

    def say(self, payload: bytes) -> None:
        """Write something that isn't an entry to everybody who isn't behind."""
        data = {kind: frames.wrapped(kind, payload) for kind in get_args(Transport)}
        self.sent_at = self._loop.time()
        for viewer in list(self.viewers):
            if viewer.paused_at is None:
                viewer.write(data[viewer.wire.transport])

    async def wait_beyond(self, offset: int, seconds: float) -> None:
        """Return when there is an entry after `offset`, or after `seconds`."""
        deadline = self._loop.time() + seconds
        while self.head.offset <= offset and self.is_open and not self._hub.closing:
            left = deadline - self._loop.time()
            if left <= 0:
                return
            waiter = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait_for(waiter, left)
            except TimeoutError:
                return
            finally:
                self._waiters.discard(waiter)

    def release_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def reading(self) -> int:
        """How many read along on all processes, as far as is known here."""
        return max(self.counted, len(self.viewers))

    @property
    def is_unused(self) -> bool:
        return not self.viewers and not self._waiters

    def stop(self) -> None:
        """Nobody joins any more: whoever found this channel a moment ago comes back."""
        self.is_open = False
        if self._gathering is not None:
            self._gathering.cancel()
        for task in (self._repairing, self._confirming):
            if task is not None:
                task.cancel()


class Hub:
    """All channels of this process."""

    def __init__(self, log: Log, render: Render) -> None:
        self.log = log
        self.render = render
        self.process = secrets.token_hex(6)
        self.closing = False
        self.frames = self.slow = self.repairs = self.resets = 0
        self.broker: Broker
        self._channels: dict[str, Channel] = {}
        self._opening: dict[str, asyncio.Task[Channel]] = {}
        self._wheel = Wheel()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, broker: Broker) -> None:
        self.broker = broker
        for every, work in (
            (1.0, self._beat),
            (COUNT_SECONDS, self._count),
            (CHECK_SECONDS, self.check_heads),
        ):
            self._own(_repeat(every, work))

    async def stop(self) -> None:
        self.closing = True
        # Whoever was sent away is counted where they come back; not here as well until the lease
        # runs out. A store that doesn't answer is not waited for, blog by blog.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COUNT_SECONDS):
                await self._count()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in self._channels.values():
            channel.stop()

    @property
    def counts(self) -> Counts:
        return Counts(
            sum(len(channel.viewers) for channel in self._channels.values()),
            len(self._channels),
            self.frames,
            self.slow,
            self.repairs,
            self.resets,
        )

    async def channel(self, slug: str) -> Channel:
        """The channel of a blog, subscribed and with its ring filled.

        Raises: NotFound; Unavailable.
        """
        found = self._channels.get(slug)
        if found is not None:
            # Whoever asks is about to join: it must not be closed as idle before they do.
            found.idle_since = asyncio.get_running_loop().time()
            return found
        opening = self._opening.get(slug)
        if opening is None:
            opening = asyncio.get_running_loop().create_task(self._open(slug), name=f"open {slug}")
            self._opening[slug] = opening
            opening.add_done_callback(lambda _: self._opening.pop(slug, None))
        # Shielded: the one who asked first may leave, the others still wait for it.
        return await asyncio.shield(opening)

    async def _open(self, slug: str) -> Channel:
        await self.log.blog(slug)
        # Subscribed before the log is read: what is published between the two comes announced,
        # and the acknowledgement has the head checked.
        await self.broker.subscribe(slug)
        try:
            backlog = await self.log.backlog(slug, -RING_FRAMES, RING_FRAMES)
            channel = Channel(slug, self, backlog)
        except (NotFound, Unavailable):
            await self.broker.unsubscribe(slug)
            raise
        self._channels[slug] = channel
        # An announcement that came while the log was read found no channel: look again.
        await channel.repair()
        return channel

    def offer(self, slug: str, announced: Announced) -> None:
        """Take an entry that was announced to this process."""
        channel = self._channels.get(slug)
        if channel is not None:
            channel.offer(announced)

    def appended(self, slug: str) -> None:
        """This process itself changed a blog, and may not have heard the announcement yet."""
        channel = self._channels.get(slug)
        if channel is not None:
            channel.version += 1

    def subscribed(self, slug: str) -> None:
        """A subscription stands, the first time or again: look for what was missed."""
        channel = self._channels.get(slug)
        if channel is not None:
            channel.repair()

    async def position(self, channel: Channel, cursor: Cursor | None) -> Cursor | None:
        """`cursor`, where this log can go on from it; None where it can't be honoured.

        Raises: NotFound; Unavailable.
        """
        if cursor is None:
            return None
        if not (channel.holds(cursor) or channel.is_past(cursor)):
            # Another process may be ahead of this one, or the log was replaced and it is our ring
            # that is wrong: look before judging.
            try:
                await asyncio.wait_for(asyncio.shield(channel.repair()), AHEAD_SECONDS)
            except TimeoutError:
                return None
        if channel.is_past(cursor):
            backlog = await self.log.backlog(channel.slug, cursor.offset, 1)
            return cursor if backlog.after == cursor else None
        return cursor if channel.holds(cursor) else None

    async def frames_after(
        self, channel: Channel, cursor: Cursor, most: int
    ) -> Sequence[Frame] | None:
        """At most `most` frames after a cursor, from the ring or, where it is too old, the store.

        None where the cursor can't be honoured any more. Raises: NotFound; Unavailable.
        """
        if channel.holds(cursor):
            return channel.after(cursor.offset, most)
        backlog = await self.log.backlog(channel.slug, cursor.offset, most)
        if backlog.after != cursor:
            return None
        return [Frame(entry, backlog.blog, self.render) for entry in backlog.entries]

    async def frames_between(
        self, channel: Channel, first: int, last: Cursor
    ) -> Sequence[Frame] | None:
        """The frames from an offset to a cursor, from the ring or, where it is too old, the store.

        None where this log doesn't hold them all. Raises: NotFound; Unavailable.
        """
        await channel.confirm()
        count = last.offset - first + 1
        if channel.is_open and channel.base.offset < first and channel.holds(last):
            return channel.after(first - 1, count)
        backlog = await self.log.backlog(channel.slug, first - 1, count)
        if not backlog.entries or backlog.entries[-1].cursor != last:
            return None
        return [Frame(entry, backlog.blog, self.render) for entry in backlog.entries]

    def drop(self, channel: Channel, code: int, reason: str) -> None:
        """Close a channel and everybody in it."""
        self._channels.pop(channel.slug, None)
        channel.is_open = False
        channel.release_waiters()
        for viewer in list(channel.viewers):
            viewer.close(code, reason)
        self._own(self.broker.unsubscribe(channel.slug))

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def schedule(self, viewer: Viewer, channel: Channel) -> None:
        self._wheel.put(viewer, channel)

    def unschedule(self, viewer: Viewer) -> None:
        self._wheel.take_out(viewer)

    async def _beat(self) -> None:
        now = asyncio.get_running_loop().time()
        self._wheel.turn(now)
        for channel in list(self._channels.values()):
            channel.send_stuck_away(now)
            # Another may have come into its place while the one before was let go.
            is_here = self._channels.get(channel.slug) is channel
            if is_here and channel.is_unused and now - channel.idle_since > IDLE_SECONDS:
                del self._channels[channel.slug]
                channel.stop()
                await self.broker.unsubscribe(channel.slug)

    async def _count(self) -> None:
        for channel in list(self._channels.values()):
            try:
                total = await self.log.count_viewers(
                    channel.slug, self.process, len(channel.viewers)
                )
            except Unavailable:
                continue  # The other blogs may lie elsewhere.
            if total != channel.counted:
                channel.counted = total
                channel.say(frames.viewers(total))

    async def check_heads(self) -> None:
        """Compare every channel with the store: an announcement may have been lost unnoticed."""
        channels = list(self._channels.values())
        held = [channel.head for channel in channels]
        try:
            heads = await self.log.heads([channel.slug for channel in channels])
        except Unavailable:
            return
        for channel, before in zip(channels, held, strict=True):
            if channel.slug in heads:
                channel.check(heads[channel.slug], before)

    async def drain(self, seconds: float) -> None:
        """Send everybody away over `seconds`, so that they don't all come back at once."""
        self.closing = True
        for channel in self._channels.values():
            channel.release_waiters()
        everybody = [viewer for channel in self._channels.values() for viewer in channel.viewers]
        random.shuffle(everybody)
        steps = max(1, min(len(everybody), int(seconds / 0.1)))
        size = -(-len(everybody) // steps) if everybody else 0
        for start in range(0, len(everybody), size or 1):
            for viewer in everybody[start : start + size]:
                viewer.close(DRAIN, "The server restarts; come back.")
            if start + size < len(everybody):
                await asyncio.sleep(0.1)


class Wheel:
    """A timer wheel of one-second slots: everybody hears something at least once in a period."""

    _SLOTS = 64

    def __init__(self) -> None:
        self._slots: list[dict[Viewer, Channel]] = [{} for _ in range(self._SLOTS)]
        self._place: dict[Viewer, int] = {}
        self._now = 0

    def put(self, viewer: Viewer, channel: Channel) -> None:
        self._insert(viewer, channel, random.uniform(1, frames.HEARTBEAT_SECONDS))

    def take_out(self, viewer: Viewer) -> None:
        place = self._place.pop(viewer, None)
        if place is not None:
            self._slots[place].pop(viewer, None)

    def turn(self, now: float) -> None:
        """One second has passed: see to the viewers in the next slot."""
        self._now = (self._now + 1) % self._SLOTS
        due = self._slots[self._now]
        self._slots[self._now] = {}
        heartbeats: dict[tuple[str, int], bytes] = {}
        for viewer, channel in due.items():
            viewer.received = 0
            if viewer.paused_at is not None:
                self._insert(viewer, channel, frames.HEARTBEAT_SECONDS / 2)
                continue
            quiet = now - max(viewer.beat_at, channel.sent_at)
            if quiet >= frames.HEARTBEAT_SECONDS * 0.6:
                key = (viewer.wire.transport, channel.head.offset)
                if key not in heartbeats:
                    heartbeats[key] = frames.wrapped(
                        viewer.wire.transport, frames.heartbeat(channel.head.offset)
                    )
                viewer.beat_at = now
                viewer.write(heartbeats[key])
                quiet = 0.0
            # Never later than the period, and spread, so that one post doesn't line all of them up.
            soonest, latest = frames.HEARTBEAT_SECONDS * 0.65, frames.HEARTBEAT_SECONDS - 1.5
            self._insert(viewer, channel, max(1.0, random.uniform(soonest, latest) - quiet))

    def _insert(self, viewer: Viewer, channel: Channel, seconds: float) -> None:
        if viewer not in channel.viewers:
            self._place.pop(viewer, None)
            return
        place = (self._now + max(1, round(seconds))) % self._SLOTS
        self._place[viewer] = place
        self._slots[place][viewer] = channel


async def _repeat(every: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(every)
        try:
            await work()
        except Exception:  # noqa: BLE001 — one failed round must not end all later heartbeats
            _log.exception("round_failed", work=work.__name__)
