"""A primary: what server it must be, how commands run on it, when a write to it is durable."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AskError, NoScriptError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from liveblog.domain.errors import Unavailable
from liveblog.store import disk, keys
from liveblog.store.address import shown
from liveblog.store.pool import Pool
from liveblog.store.script import Mode, Script
from liveblog.store.shared import Shared
from liveblog.store.trouble import CANT_TAKE, NO_ROOM, StoreRefused, unavailable

OLDEST = (7, 0)
CONNECTIONS_MOST = 64
# To each of many: they come out of the same number of open files.
CLUSTERED_CONNECTIONS_MOST = 16
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 2.0
# Whoever asks whether the store is well wants to know soon, above all if it isn't.
LOOK_SECONDS = 2.5
LOOK_KEPT_SECONDS = 60
# Each of two waits, one after the other: together shorter than an answer may take.
DURABLE_MILLISECONDS = 2_000
LOOK_DURABLE_MILLISECONDS = 1_000

Durability = Literal["fsync", "replicated", "best-effort"]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server said of itself at the last look; of several, the weakest of each."""

    name: str
    version: str
    durability: Durability
    waits: bool
    has_room: bool
    replicas: int = 0
    primaries: int = 1

    def __str__(self) -> str:
        several = f", {self.primaries} primaries" if self.primaries > 1 else ""
        return f"{self.name} {self.version}{several}"


@dataclass(frozen=True, slots=True)
class Call:
    """One command, or a script, on keys that lie together; `key` is one of them."""

    mode: Mode
    key: str
    words: tuple[str | bytes | int, ...]
    script: Script | None = None

    @classmethod
    def of(cls, script: Script, names: Sequence[str], args: Sequence[str | bytes | int]) -> Call:
        command = "EVALSHA_RO" if script.mode == "read" else "EVALSHA"
        words = (command, script.sha, len(names), *names, *args)
        return cls(script.mode, names[0], words, script)


_LOOK = Script.load("look", "write")


class Primary:
    """One server that takes writes, and a pool of connections to it.

    `replicas` of it must confirm each write. `tag` is a hash tag that lies here; None where it
    isn't known, of a node that a cluster is only about to give something to. `folder` is where the
    embedded store keeps its file: without room there nothing is written.
    """

    def __init__(
        self,
        url: str,
        *,
        replicas: int = 0,
        folder: Path | None = None,
        is_clustered: bool = False,
        tag: str | None = "",
    ) -> None:
        self.url = url
        self.tag = tag
        self._pool = Pool.from_url(
            url,
            max_connections=CLUSTERED_CONNECTIONS_MOST if is_clustered else CONNECTIONS_MOST,
            timeout=ANSWER_SECONDS,
            protocol=3,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            # Not after a timeout: whoever waits has waited long enough, and asks again anyway.
            retry=Retry(
                ExponentialWithJitterBackoff(cap=0.5, base=0.05),
                2,
                supported_errors=(RedisConnectionError,),
            ),
        )
        # redis-py types its commands for both worlds at once, sync and async; its answers are
        # checked where they are read.
        self.redis: Any = Redis(connection_pool=self._pool)
        self.look: Shared[ServerFacts] = Shared(self._look_in_time)
        self._replicas = replicas
        self._folder = folder
        self._is_clustered = is_clustered
        self._waits = False
        self._refusal: StoreRefused | None = None
        self._vouched = 0

    async def close(self) -> None:
        await self.redis.aclose()
        await self._pool.aclose()

    def subscription(self) -> AbstractConnection:
        """A connection of its own for pub/sub, not yet connected; it never reconnects by itself.

        RESP2, so that a message is an answer like any other and nothing resubscribes in secret.
        """
        pool = Pool.from_url(
            self.url,
            protocol=2,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(ExponentialWithJitterBackoff(), 0),
        )
        return pool.make_connection()

    # -- what it is

    async def _look_in_time(self) -> ServerFacts:
        """Ask the server what it is, and whether it takes writes: by one that expires."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._look()
        except (TimeoutError, RedisError, OSError) as error:
            raise unavailable(error) from error

    async def _look(self) -> ServerFacts:
        begun = self._pool.begun
        info = await self.redis.info("everything")
        try:
            facts = await self._judged(info)
        except StoreRefused as refusal:
            self._refusal, self._vouched = refusal, begun
            raise
        self._refusal, self._waits = None, facts.waits
        if facts.has_room and self.tag is not None:
            call = Call.of(_LOOK, [keys.look(self.tag)], [LOOK_KEPT_SECONDS])
            await self._exchange_or_load(call, milliseconds=LOOK_DURABLE_MILLISECONDS)
        self._vouched = begun
        return facts

    async def _judged(self, info: dict[str, Any]) -> ServerFacts:
        is_valkey = "valkey_version" in info
        name = "Valkey" if is_valkey else "Redis"
        version = str(info.get("valkey_version") or info.get("redis_version") or "0")
        numbers = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        refusal = self._unfit(info, numbers)
        if refusal is not None:
            state, remedy = refusal
            server = f"{name} {version}"
            raise StoreRefused(
                f"{server} at {shown(self.url)} {state}. {remedy}", f"{server} {state}"
            )
        durability, waits = await self._durability(info, is_valkey, numbers)
        replicas = int(info.get("connected_slaves", 0))
        return ServerFacts(name, version, durability, waits, self._has_room(), replicas)

    def _unfit(self, info: dict[str, Any], numbers: tuple[int, ...]) -> tuple[str, str] | None:
        """Why a server can't be the store, and what to do."""
        if numbers < OLDEST:
            return (
                "is too old: sharded pub/sub needs Redis 7.0 or any Valkey",
                "Upgrade it, or unset REDIS_URL to use the embedded store.",
            )
        if info.get("cluster_enabled") and not self._is_clustered:
            return (
                "is a node of a cluster",
                "Name the cluster in REDIS_URL: redis+cluster://HOST:PORT,HOST:PORT.",
            )
        if info.get("role") != "master":
            return "is a replica and takes no writes", "Name its primary in REDIS_URL."
        policy = str(info.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            return (
                f"evicts keys (maxmemory-policy {policy}): posts would vanish",
                "Set maxmemory-policy to noeviction.",
            )
        return None

    async def _durability(
        self, info: dict[str, Any], is_valkey: bool, numbers: tuple[int, ...]
    ) -> tuple[Durability, bool]:
        durability: Durability = "best-effort"
        waits = False
        if info.get("aof_enabled"):
            always = await self._fsyncs_always()
            waits = not always and (is_valkey or numbers >= (7, 2))
            durability = "fsync" if always or waits else "best-effort"
        return "replicated" if self._replicas else durability, waits

    async def _fsyncs_always(self) -> bool:
        try:
            setting = await self.redis.config_get("appendfsync")
        except RedisError:
            return False  # Hosted servers often forbid CONFIG; then WAITAOF has to tell.
        return setting.get("appendfsync", setting.get(b"appendfsync")) in ("always", b"always")

    def _has_room(self) -> bool:
        return self._folder is None or disk.has_room(self._folder)

    # -- what runs on it

    async def run(self, call: Call, *, asking: bool = False) -> Any:
        """What `call` comes to; if it writes, its write is durable then.

        `asking`: a cluster sent us here for this once. Raises: Unavailable, and whatever the
        client raises.
        """
        if call.mode == "write" and self._vouched < 0:
            await self._vouch()
        if call.mode != "read":
            self._check_writable()
        answer = await self._exchange_or_load(call, asking=asking)
        if call.mode == "write":
            await self._vouch()
        return answer

    async def run_together(self, calls: Sequence[Call]) -> list[Any]:
        """What each of several reading calls comes to, or its error, in one round trip."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.execute_command(*call.words)
            found: list[Any] = await pipe.execute(raise_on_error=False)
            return found

    def _check_writable(self) -> None:
        if self._refusal is not None:
            raise unavailable(self._refusal)
        if not self._has_room():
            raise Unavailable(
                CANT_TAKE, state=NO_ROOM, reason=f"The disk under {self._folder} is full."
            )

    async def _vouch(self) -> None:
        """A new connection may lead to a server that was started anew, with other settings.

        What it acknowledged counts once it has been looked at: the look's own write came after, and
        isn't durable unless that one is.
        """
        begun = self._pool.begun
        while self._vouched < begun:
            try:
                await self.look()
            except StoreRefused as refusal:
                raise unavailable(refusal) from refusal

    async def _exchange_or_load(
        self, call: Call, *, asking: bool = False, milliseconds: int = DURABLE_MILLISECONDS
    ) -> Any:
        try:
            return await self._exchange(call, asking, milliseconds)
        except NoScriptError:
            # EVAL_RO doesn't always leave the script in the cache: load it, then ask again.
            assert call.script is not None
            await self.redis.script_load(call.script.text)
            return await self._exchange(call, asking, milliseconds)

    async def _exchange(self, call: Call, asking: bool, milliseconds: int) -> Any:
        waits = self._waits_for(milliseconds) if call.mode == "write" else []
        if not waits and not asking:
            return await self.redis.execute_command(*call.words)
        # The waits speak of the writes of their own connection: all goes through one pipeline.
        async with self.redis.pipeline(transaction=False) as pipe:
            keyed = [call.words, *([_mark(call.key, asking)] if waits else [])]
            for words in keyed:
                if asking:
                    pipe.execute_command("ASKING")
                pipe.execute_command(*words)
            for wait in waits:
                pipe.execute_command(*wait)
            answers = await pipe.execute(raise_on_error=False)
        if asking:
            answers = [*answers[1 : 2 * len(keyed) : 2], *answers[2 * len(keyed) :]]
        _check_done(*answers[: len(keyed)])
        for wait, answer in zip(waits, answers[len(keyed) :], strict=True):
            self._check_waited(wait, answer)
        return answers[0]

    def _waits_for(self, milliseconds: int) -> list[tuple[str | int, ...]]:
        waits: list[tuple[str | int, ...]] = []
        if self._waits:
            waits.append(("WAITAOF", 1, 0, milliseconds))
        if self._replicas:
            waits.append(("WAIT", self._replicas, milliseconds))
        return waits

    def _check_waited(self, wait: tuple[str | int, ...], answer: Any) -> None:
        if isinstance(answer, Exception):
            # Its settings aren't what they were: the same request, sent again, meets the new ones.
            self._vouched = -1
            raise answer
        if wait[0] == "WAITAOF" and answer[0] < 1:
            raise Unavailable(
                CANT_TAKE,
                state="is slow to write to its disk",
                reason="The store didn't confirm in time that the change is on disk.",
            )
        if wait[0] == "WAIT" and answer < self._replicas:
            raise Unavailable(
                CANT_TAKE,
                state="takes no writes: too few replicas confirm them",
                reason=f"{answer} of {self._replicas} replicas confirmed the change in time.",
            )


def _mark(key: str, asking: bool) -> tuple[str | bytes | int, ...]:
    """What is written behind a change, to be waited for.

    A wait is for its connection's last write. A call that found its work done already wrote
    nothing, and whoever did it may not have waited to the end: so here is a later write.
    """
    name = keys.touched(key)
    if asking:
        # One of that name may be on its way here, and wouldn't be let in where this one lies.
        name += f":{secrets.token_hex(6)}"
    return "SET", name, "", "EX", LOOK_KEPT_SECONDS


def _check_done(answer: Any, marked: Any = None) -> None:
    if isinstance(answer, Exception):
        raise answer
    if isinstance(marked, AskError):
        # The mark has gone ahead, and the work was done here: it must not be done there as well.
        raise TryAgainError(str(marked))
    if isinstance(marked, Exception):
        raise marked
