"""The subscription: what other processes announce reaches this one, or the silence is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Callable, Coroutine

import msgspec
import structlog
from redis.exceptions import MovedError

from liveblog.delivery.listener import Listener
from liveblog.domain.errors import Unavailable
from liveblog.store.connection import Connection
from liveblog.store.keys import BlogKeys
from liveblog.store.log import Announced, announced
from liveblog.store.primary import Primary

SUBSCRIBE_SECONDS = 5.0
RECONNECT_SECONDS = (0.05, 3.0)
STAND_POLL_SECONDS = 0.02

_log = structlog.get_logger()


class Broker:
    """What this process hears: a listener at each of the store's servers.

    The client library's own pub/sub resubscribes in secret and loses what was said meanwhile. Here
    every acknowledgement of a subscription, the first or a repeated one, is passed on, so that what
    was missed is looked for. Whatever was lost, with its server or because it moved to another,
    is placed again, for ever.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        on_entry: Callable[[str, Announced], None],
        on_subscribed: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._on_entry = on_entry
        self._on_subscribed = on_subscribed
        self._process = secrets.token_hex(6)
        self._wanted: dict[str, str] = {}
        self._acknowledged: dict[str, asyncio.Future[None]] = {}
        self._placed: dict[str, Listener] = {}
        self._listeners: dict[str, Listener] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsettled = asyncio.Event()
        self.reconnects = 0

    def start(self) -> None:
        self._own(self._keep_settled(), "broker")

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def stands(self) -> bool:
        """Whether the subscription is up at every server, as far as anybody can tell."""
        return (
            bool(self._listeners)
            and all(listener.stands for listener in self._listeners.values())
            and self._wanted.keys() <= self._placed.keys()
        )

    async def comes_to_stand(self) -> None:
        while not self.stands:
            await asyncio.sleep(STAND_POLL_SECONDS)

    async def subscribe(self, slug: str) -> None:
        """Listen to a blog's announcements; returns once the server has confirmed it.

        Raises: Unavailable.
        """
        channel = BlogKeys(slug).channel
        self._wanted[channel] = slug
        confirmed = self._acknowledged.setdefault(
            channel, asyncio.get_running_loop().create_future()
        )
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                with contextlib.suppress(Unavailable):  # Then it is tried again with all others.
                    await self._place(channel)
                await confirmed
        except TimeoutError:
            await self.unsubscribe(slug)
            raise Unavailable("The store doesn't answer; the live stream can't begin.") from None

    async def unsubscribe(self, slug: str) -> None:
        channel = BlogKeys(slug).channel
        self._wanted.pop(channel, None)
        self._acknowledged.pop(channel, None)
        listener = self._placed.pop(channel, None)
        if listener is not None:
            await listener.unsubscribe(channel)

    # -- where each channel is listened to

    async def _keep_settled(self) -> None:
        shortest, longest = RECONNECT_SECONDS
        pause = shortest
        clock = asyncio.get_running_loop().time
        while True:
            self._unsettled.clear()
            try:
                await self._settle()
            except Exception:  # noqa: BLE001 — nobody else would ever place a channel again
                _log.exception("subscription_not_settled")
                self._unsettled.set()
            settled_at = clock()
            await self._unsettled.wait()
            if clock() - settled_at > longest:
                pause = shortest
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, longest)

    async def _settle(self) -> None:
        try:
            primaries = await self._connection.primaries()
        except Unavailable as error:
            self._unplaced(error)
            return
        here = {primary.url for primary in primaries}
        for url in [url for url, each in self._listeners.items() if each.has_ended]:
            if url not in here:
                del self._listeners[url]
        for primary in primaries:
            self._listener_at(primary)
        for channel in self._wanted.keys() - self._placed.keys():
            try:
                await self._place(channel)
            except Unavailable as error:
                self._unplaced(error)

    def _unplaced(self, error: Unavailable) -> None:
        _log.warning("subscription_not_placed", reason=error.reason)
        self._connection.doubt()
        self._unsettled.set()

    async def _place(self, channel: str) -> None:
        primary = await self._connection.primary_of(channel)
        if channel in self._wanted:
            listener = self._placed[channel] = self._listener_at(primary)
            await listener.subscribe(channel)

    def _listener_at(self, primary: Primary) -> Listener:
        listener = self._listeners.get(primary.url)
        if listener is None or listener.has_ended:
            listener = self._listeners[primary.url] = Listener(
                self._connection,
                primary,
                self._process,
                on_heard=self._heard,
                on_acknowledged=self._confirm,
                on_lost=self._lost,
            )
            self._own(self._listen(listener), "listener")
        return listener

    async def _listen(self, listener: Listener) -> None:
        try:
            await listener.listen()
        finally:
            self.reconnects += 1
            for channel in [each for each, at in self._placed.items() if at is listener]:
                del self._placed[channel]
            self._connection.doubt()
            self._unsettled.set()

    def _own(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what a listener tells

    def _confirm(self, channel: str) -> None:
        waiting = self._acknowledged.get(channel)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if channel in self._wanted:
            self._on_subscribed(self._wanted[channel])

    def _lost(self, channel: str, moved: MovedError | None) -> None:
        self._placed.pop(channel, None)
        if moved is not None:
            self._connection.moved(channel, moved)
        else:
            self._connection.doubt()
        self._unsettled.set()

    def _heard(self, channel: str, payload: bytes) -> None:
        slug = self._wanted.get(channel)
        if slug is None:
            return
        try:
            entry = announced(payload)
        except (ValueError, msgspec.MsgspecError):
            # Somebody else's word on our channel; the log itself tells what is true.
            _log.warning("announcement_unreadable", blog=slug)
            self._on_subscribed(slug)
        else:
            self._on_entry(slug, entry)
