"""The connection to the store: which of its servers is asked, and what becomes of a failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisError,
    TryAgainError,
)

from liveblog.domain.errors import Unavailable
from liveblog.store.address import AddressError, read
from liveblog.store.primary import (
    ANSWER_SECONDS,
    LOOK_KEPT_SECONDS,
    LOOK_SECONDS,
    Call,
    Durability,
    Primary,
    ServerFacts,
)
from liveblog.store.script import Script
from liveblog.store.shared import Shared
from liveblog.store.topology import topology
from liveblog.store.trouble import CANT_TAKE, NO_ROOM, StoreRefused, unavailable

# What the floors above need to know of the store's servers.
__all__ = [
    "ANSWER_SECONDS",
    "CANT_TAKE",
    "LOOK_KEPT_SECONDS",
    "LOOK_SECONDS",
    "NO_ROOM",
    "Connection",
    "Durability",
    "Script",
    "ServerFacts",
    "StoreRefused",
]

LOOK_EVERY_SECONDS = 10.0
# A slot that moves refuses what needs several keys until all of them have arrived.
MOVING_SECONDS = 2.0
MOVING_PAUSE_SECONDS = 0.05

_WORST_FIRST: Sequence[Durability] = ("best-effort", "fsync", "replicated")
_T = TypeVar("_T")
_log = structlog.get_logger()


class Connection:
    """The servers of one store, and the rules for using them.

    Every error of the client becomes `Unavailable`: to whoever sent a request, the store can't
    take it now, and the same request may be sent again. `folder` is where the embedded store keeps
    its file. `replicas` must confirm each write; without a number, one where there is a failover.
    """

    def __init__(self, url: str, folder: Path | None = None, replicas: int | None = None) -> None:
        try:
            address = read(url)
            self.url = address.url
            if replicas is None:
                replicas = 0 if address.kind == "single" else 1
            self.replicas = replicas

            def make(server: str, tag: str | None) -> Primary:
                return Primary(
                    server,
                    replicas=self.replicas,
                    folder=folder,
                    is_clustered=address.kind == "cluster",
                    tag=tag,
                )

            self._topology = topology(address, make)
        except AddressError as error:
            raise StoreRefused(f"REDIS_URL {error}", "can't be used") from None
        except ValueError:
            raise StoreRefused("REDIS_URL can't be read.", "can't be used") from None
        self._looked: Shared[ServerFacts] = Shared(self._look)

    async def close(self) -> None:
        await self._topology.close()

    # -- what it is

    async def look(self) -> ServerFacts:
        """Ask the servers what they are, and whether they take writes: by one that expires.

        Who asks at the same time shares a look that began after they asked.

        Raises: StoreRefused where one can't be the store; Unavailable where one doesn't answer, or
        takes no writes.
        """
        return await self._looked()

    async def keep_looking(self) -> None:
        """Looks again and again, as settings may change while a server runs; until cancelled."""
        before = ""
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            try:
                facts = await self.look()
            except (StoreRefused, Unavailable) as error:
                now, reason = error.state, getattr(error, "reason", str(error))
            else:
                now = facts.durability if facts.has_room else NO_ROOM
                reason = ""
            if before not in ("", now):
                _log.warning("store_changed", before=before, now=now, reason=reason)
            before = now

    async def _look(self) -> ServerFacts:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                seen = await self._look_at_each()
        except TimeoutError as error:
            self._topology.doubt()
            raise unavailable(error) from error
        facts = [each for each in seen if isinstance(each, ServerFacts)]
        failures = [each for each in seen if isinstance(each, BaseException)]
        if failures:
            self._topology.doubt()
            # What nobody mends by waiting first.
            raise min(failures, key=lambda each: not isinstance(each, StoreRefused))
        weakest = min(facts, key=lambda each: _WORST_FIRST.index(each.durability))
        return replace(
            weakest,
            has_room=all(each.has_room for each in facts),
            replicas=min(each.replicas for each in facts),
            primaries=len(facts),
        )

    async def _look_at_each(self) -> list[ServerFacts | BaseException]:
        while True:
            await self._topology.find()
            seen = await asyncio.gather(
                *(primary.look() for primary in self._topology.primaries), return_exceptions=True
            )
            # What a look writes may have moved elsewhere, to be found there.
            if not any(isinstance(each, Exception) and _has_moved(each) for each in seen):
                return seen
            await asyncio.sleep(MOVING_PAUSE_SECONDS)

    # -- what runs on it

    async def run(
        self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> Any:
        """Run a script; a writing one has returned only when its write is durable.

        Sending it twice is harmless, since the client library may do so by itself: every script
        that writes recognises its operation.

        Raises: Unavailable.
        """
        return await self._run(Call.of(script, keys, args))

    async def ask(self, command: str, key: str, *args: str | bytes | int) -> Any:
        """What a command that only reads comes to. Raises: Unavailable."""
        return await self._run(Call("read", key, (command, key, *args)))

    async def tell(self, command: str, key: str, *args: str | bytes | int) -> Any:
        """A command that may be sent twice and writes; durable as a script. Raises: Unavailable."""
        return await self._run(Call("write", key, (command, key, *args)))

    async def ask_all(
        self, command: str, keys: Sequence[str], *args: str | bytes | int
    ) -> list[Any]:
        """What `ask` gives of each key, in one round trip to each server.

        An `Unavailable` stands for what a server didn't tell. Raises: Unavailable where none can
        be asked.
        """
        await self._guarded(self._topology.found)
        calls = [Call("read", key, (command, key, *args)) for key in keys]
        answers: list[Any] = [None] * len(calls)
        parts: dict[Primary, list[int]] = {}
        for place, call in enumerate(calls):
            try:
                parts.setdefault(self._topology.primary_of(call.key), []).append(place)
            except Unavailable as error:
                answers[place] = error

        async def take(primary: Primary, places: list[int]) -> None:
            found: Sequence[Any]
            try:
                found = await self._guarded(
                    lambda: primary.run_together([calls[place] for place in places])
                )
            except Unavailable as error:
                self._topology.doubt()
                found = [error] * len(places)
            for place, answer in zip(places, found, strict=True):
                answers[place] = await self._found(calls[place], answer)

        await asyncio.gather(*(take(*part) for part in parts.items()))
        return answers

    async def _found(self, call: Call, answer: Any) -> Any:
        if isinstance(answer, (AskError, TryAgainError)):
            # It has moved: that is followed for each by itself.
            try:
                return await self._run(call)
            except Unavailable as error:
                return error
        return unavailable(answer) if isinstance(answer, Exception) else answer

    async def _run(self, call: Call) -> Any:
        async def follow() -> Any:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._follow(call)
            except TimeoutError:
                self._topology.doubt()
                raise

        return await self._guarded(follow)

    async def _follow(self, call: Call) -> Any:
        """Run a call where its key is, wherever that has moved meanwhile."""
        until = asyncio.get_running_loop().time() + MOVING_SECONDS
        await self._topology.found()
        primary, asking = self._topology.primary_of(call.key), False
        pause = 0.0
        while True:
            try:
                return await primary.run(call, asking=asking)
            except (RedisError, OSError, Unavailable) as error:
                primary, asking = await self._elsewhere(call, error, primary)
                if asyncio.get_running_loop().time() > until:
                    raise
            # Only from the second time on: two nodes may each believe that the other has it.
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = MOVING_PAUSE_SECONDS

    async def _elsewhere(self, call: Call, error: Exception, was: Primary) -> tuple[Primary, bool]:
        """Where to try next, and whether to ask there by way of exception. Raises: `error`."""
        match error:
            case MovedError():
                self._topology.moved(call.key, error.host, error.port)
            case AskError():
                return self._topology.at(error.host, error.port), True
            case TryAgainError():
                pass
            case ClusterDownError():
                await self._topology.found_lately()
            case _:
                await self._topology.found_lately()
                if self._topology.primary_of(call.key) is was:
                    raise error
        return self._topology.primary_of(call.key), False

    async def each(self, call: Callable[[Any], Awaitable[_T]]) -> list[_T]:
        """What `call` gives at each server. Raises: Unavailable."""

        async def give() -> list[_T]:
            await self._topology.found()
            return list(
                await asyncio.gather(*(call(primary.redis) for primary in self._topology.primaries))
            )

        return await self._guarded(give)

    async def _guarded(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """What `call` returns. Raises: Unavailable for whatever Redis or the network did."""
        try:
            return await call()
        except (TimeoutError, RedisError, OSError, StoreRefused) as error:
            raise unavailable(error) from error

    # -- what a subscription needs

    async def primaries(self) -> list[Primary]:
        """Every server that something is announced on. Raises: Unavailable."""
        await self._guarded(self._topology.found)
        return self._topology.primaries

    async def primary_of(self, key: str) -> Primary:
        """The server that has `key`, or announces on the channel of that name.

        Raises: Unavailable.
        """
        await self._guarded(self._topology.found)
        return self._topology.primary_of(key)

    def doubt(self) -> None:
        """Something isn't where it was looked for: find the servers again before the next use."""
        self._topology.doubt()

    def moved(self, key: str, error: MovedError) -> None:
        """A server says that another has `key` now."""
        self._topology.moved(key, error.host, error.port)


def _has_moved(error: Exception) -> bool:
    return isinstance(error.__cause__, (AskError, TryAgainError))
