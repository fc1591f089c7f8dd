"""One connection that listens to what one server announces, until it ends or falls silent."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
from redis.exceptions import MovedError, RedisError, ResponseError

from liveblog.domain.errors import Unavailable
from liveblog.store import keys
from liveblog.store.connection import Connection
from liveblog.store.primary import Primary

PROBE_AFTER_SECONDS = 3.0
SILENT_SECONDS = 6.0

_log = structlog.get_logger()


class Listener:
    """A connection to one primary, and the channels that it listens to there.

    It lives as long as its connection. A connection on which nothing is heard is probed through the
    same path that announcements take, and ended when the probe isn't heard either.
    """

    def __init__(
        self,
        connection: Connection,
        primary: Primary,
        process: str,
        *,
        on_heard: Callable[[str, bytes], None],
        on_acknowledged: Callable[[str], None],
        on_lost: Callable[[str, MovedError | None], None],
    ) -> None:
        self.stands = False
        self.has_ended = False
        self._store = connection
        self._on_heard = on_heard
        self._on_acknowledged = on_acknowledged
        self._on_lost = on_lost
        self._probe = keys.probe(primary.tag or "", process)
        self._connection: Any = primary.subscription()
        self._is_connected = False
        self._channels: set[str] = set()
        # Errors don't name their channel: they come in the order in which it was asked.
        self._asked: deque[str] = deque()
        self.heard_at = 0.0

    async def listen(self) -> None:
        """Returns when the connection has ended, for whatever reason."""
        try:
            await self._connection.connect()
            self._is_connected = True
            self._hear()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(), name="listener watch")
                for channel in (self._probe, *self._channels):
                    await self._send("SSUBSCRIBE", channel)
                while True:
                    await self._read()
        except* (RedisError, OSError) as errors:
            for error in errors.exceptions:
                _log.warning("subscription_lost", error=str(error) or type(error).__name__)
        finally:
            self.stands = self._is_connected = False
            self.has_ended = True
            await self._connection.disconnect(nowait=True)

    async def subscribe(self, channel: str) -> None:
        self._channels.add(channel)
        await self._send_if_connected("SSUBSCRIBE", channel)

    async def unsubscribe(self, channel: str) -> None:
        self._channels.discard(channel)
        await self._send_if_connected("SUNSUBSCRIBE", channel)

    async def _send_if_connected(self, command: str, channel: str) -> None:
        if self._is_connected:
            with contextlib.suppress(RedisError, OSError):  # The reader finds out by itself.
                await self._send(command, channel)

    async def _send(self, command: str, channel: str) -> None:
        self._asked.append(channel)
        await self._connection.send_command(command, channel)

    def _hear(self) -> None:
        self.heard_at = asyncio.get_running_loop().time()

    async def _read(self) -> None:
        try:
            message = await self._connection.read_response(timeout=math.inf)
        except ResponseError as error:
            channel = self._asked.popleft() if self._asked else self._probe
            if channel == self._probe:
                raise
            self._hear()
            if channel in self._channels:
                self._lose(channel, error if isinstance(error, MovedError) else None)
            return
        self._hear()
        match message:
            case [b"smessage", name, payload]:
                self._on_heard(name.decode(), payload)
            case [b"ssubscribe", name, _]:
                self._answered(name.decode())
                if name.decode() == self._probe:
                    self.stands = True
                elif name.decode() in self._channels:
                    self._on_acknowledged(name.decode())
            case [b"sunsubscribe", name, _]:
                self._ended(name.decode())

    def _answered(self, channel: str) -> bool:
        if self._asked and self._asked[0] == channel:
            self._asked.popleft()
            return True
        return False

    def _ended(self, channel: str) -> None:
        if self._answered(channel):
            return
        # Unasked for, it means that the channel's slot has moved to another server.
        if channel == self._probe:
            raise ConnectionError("the server ended a subscription")
        if channel in self._channels:
            self._lose(channel, None)

    def _lose(self, channel: str, moved: MovedError | None) -> None:
        self._channels.discard(channel)
        self._on_lost(channel, moved)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            silent = asyncio.get_running_loop().time() - self.heard_at
            if silent > SILENT_SECONDS:
                raise ConnectionError(f"nothing was heard for {silent:.1f} s")
            if silent > PROBE_AFTER_SECONDS:
                with contextlib.suppress(Unavailable, TimeoutError):
                    # No longer than there is time left for its being heard.
                    async with asyncio.timeout(SILENT_SECONDS - silent):
                        await self._store.ask("SPUBLISH", self._probe, "")
