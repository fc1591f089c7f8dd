"""The subscription: what other processes announce reaches this one, or the silence is noticed."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError

from liveblog.domain.errors import Unavailable
from liveblog.store.connection import Connection
from liveblog.store.keys import BlogKeys
from liveblog.store.log import Announced, announced

PROBE_AFTER_SECONDS = 3.0
SILENT_SECONDS = 6.0
SUBSCRIBE_SECONDS = 5.0
RECONNECT_SECONDS = (0.05, 3.0)

_log = structlog.get_logger()


class Broker:
    """One connection that listens to the channels of this process's blogs.

    The client library's own pub/sub resubscribes in secret and loses what was said meanwhile. Here
    every acknowledgement of a subscription, the first or a repeated one, is passed on, so that what
    was missed is looked for; and a connection on which nothing is heard is probed through the same
    path that announcements take.
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
        self._wanted: dict[str, str] = {}
        self._acknowledged: dict[str, asyncio.Future[None]] = {}
        self._probe = f"lb:probe:{secrets.token_hex(6)}"
        self._listening: Any = None
        self._heard_at = 0.0
        self._standing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.reconnects = 0

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._run(), name="broker"),
            loop.create_task(self._watch(), name="broker watch"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def stands(self) -> bool:
        """Whether the subscription is up, as far as anybody can tell."""
        return self._standing.is_set()

    async def comes_to_stand(self) -> None:
        await self._standing.wait()

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
                await self._standing.wait()
                await self._send("SSUBSCRIBE", channel)
                await confirmed
        except TimeoutError:
            await self.unsubscribe(slug)
            raise Unavailable("The store doesn't answer; the live stream can't begin.") from None

    async def unsubscribe(self, slug: str) -> None:
        channel = BlogKeys(slug).channel
        self._wanted.pop(channel, None)
        self._acknowledged.pop(channel, None)
        await self._send("SUNSUBSCRIBE", channel)

    async def _send(self, command: str, channel: str) -> None:
        if self._listening is None:
            return
        try:
            await self._listening.send_command(command, channel)
        except (RedisError, OSError):
            self._standing.clear()  # The listener finds out by itself and begins again.

    async def _run(self) -> None:
        shortest, longest = RECONNECT_SECONDS
        pause = shortest
        while True:
            connection: Any = self._connection.subscription()
            try:
                await connection.connect()
                self._listening = connection
                self._hear()
                await connection.send_command("SSUBSCRIBE", self._probe)
                for channel in list(self._wanted):
                    await connection.send_command("SSUBSCRIBE", channel)
                while True:
                    message = await connection.read_response(timeout=math.inf)
                    self._hear()
                    self._take(message)
                    pause = shortest
            except (RedisError, OSError) as error:
                _log.warning("subscription_lost", error=str(error) or type(error).__name__)
            finally:
                self._standing.clear()
                self._listening = None
                await connection.disconnect(nowait=True)
            self.reconnects += 1
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, longest)

    def _hear(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()

    def _take(self, message: list[Any]) -> None:
        match message:
            case [b"smessage", channel, payload]:
                slug = self._wanted.get(channel.decode())
                if slug is not None:
                    self._announce(slug, payload)
            case [b"ssubscribe", channel, _]:
                name = channel.decode()
                if name == self._probe:
                    self._standing.set()
                    return
                waiting = self._acknowledged.get(name)
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
                if name in self._wanted:
                    self._on_subscribed(self._wanted[name])
            case [b"sunsubscribe", channel, _]:
                # Unasked for, it means that the channel's slot has moved to another server.
                if channel.decode() in self._wanted:
                    raise ConnectionError("the server ended a subscription")

    def _announce(self, slug: str, payload: bytes) -> None:
        try:
            entry = announced(payload)
        except (ValueError, msgspec.MsgspecError):
            # Somebody else's word on our channel; the log itself tells what is true.
            _log.warning("announcement_unreadable", blog=slug)
            self._on_subscribed(slug)
        else:
            self._on_entry(slug, entry)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            silent = asyncio.get_running_loop().time() - self._heard_at
            listening = self._listening
            if listening is None:
                continue
            if silent > SILENT_SECONDS:
                _log.warning("subscription_silent", seconds=round(silent, 1))
                self._standing.clear()
                # Closing it under the reader makes the read fail, and the listener begins again.
                await listening.disconnect(nowait=True)
            elif silent > PROBE_AFTER_SECONDS:
                try:
                    await self._connection.guarded(
                        lambda: self._connection.redis.execute_command("SPUBLISH", self._probe, "")
                    )
                except Unavailable:
                    continue
