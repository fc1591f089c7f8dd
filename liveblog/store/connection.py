"""The connection to Redis: what server it must be, how scripts run, when a write is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from liveblog.domain.errors import Unavailable

OLDEST = (7, 0)
CONNECTIONS_MOST = 64
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 2.0
# Whoever asks whether the store is well wants to know soon, above all if it isn't.
LOOK_SECONDS = 2.5
DURABLE_MILLISECONDS = 3_000

Durability = Literal["fsync", "replicated", "best-effort"]
_T = TypeVar("_T")


class StoreRefused(Exception):
    """A server that can't be the store; the message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server said of itself at the last look."""

    name: str
    version: str
    durability: Durability
    waits: bool


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the SHA-1 by which the server knows it.

    What a "write" changed is durable when it returns; a "lease" changes what may be lost.
    """

    name: str
    text: str
    sha: str
    mode: Literal["read", "write", "lease"]

    @classmethod
    def load(cls, name: str, mode: Literal["read", "write", "lease"]) -> Script:
        text = (files("liveblog.store") / "scripts" / f"{name}.lua").read_text("utf-8")
        return cls(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest(), mode)


def shown(url: str) -> str:
    """`url` without its password, for messages."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


class Connection:
    """A pool of connections to one Redis, and the rules for using it.

    Every error of the client becomes `Unavailable`: to whoever sent a request, the store can't
    take it now, and the same request may be sent again.
    """

    def __init__(self, url: str) -> None:
        scheme = urlsplit(url).scheme
        if scheme not in ("redis", "rediss", "unix"):
            raise StoreRefused(
                f"REDIS_URL begins with {scheme}://, which this version can't use. "
                "Use redis://, rediss:// or unix://."
            )
        self.url = url
        try:
            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS_MOST,
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
        except ValueError as error:
            raise StoreRefused(f"REDIS_URL can't be read: {error}.") from error
        # redis-py types its commands for both worlds at once, sync and async; its answers are
        # checked where they are read.
        self.redis: Any = Redis(connection_pool=self._pool)
        self._waits = False

    async def close(self) -> None:
        await self.redis.aclose()
        await self._pool.aclose()

    def subscription(self) -> AbstractConnection:
        """A connection of its own for pub/sub, not yet connected; it never reconnects by itself.

        RESP2, so that a message is an answer like any other and nothing resubscribes in secret.
        """
        pool: Any = ConnectionPool.from_url(
            self.url,
            protocol=2,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(ExponentialWithJitterBackoff(), 0),
        )
        connection: AbstractConnection = pool.make_connection()
        return connection

    async def look(self) -> ServerFacts:
        """Ask the server what it is.

        Raises: StoreRefused where it can't be the store; Unavailable where it doesn't answer.
        """
        where = shown(self.url)
        info = await self.guarded(self._info)
        is_valkey = "valkey_version" in info
        name = "Valkey" if is_valkey else "Redis"
        version = str(info.get("valkey_version") or info.get("redis_version") or "0")
        numbers = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        if numbers < OLDEST:
            raise StoreRefused(
                f"{name} {version} at {where} is too old: sharded pub/sub needs Redis 7.0 or "
                "any Valkey. Upgrade it, or unset REDIS_URL to use the embedded store."
            )
        if info.get("cluster_enabled"):
            raise StoreRefused(
                f"{name} {version} at {where} is a node of a cluster, which this version can't "
                "use. Name a single server in REDIS_URL."
            )
        if info.get("role") != "master":
            raise StoreRefused(
                f"{name} {version} at {where} is a replica and takes no writes. "
                "Name its primary in REDIS_URL."
            )
        policy = str(info.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            raise StoreRefused(
                f"{name} {version} at {where} evicts keys (maxmemory-policy {policy}): posts "
                "would vanish. Set maxmemory-policy to noeviction."
            )
        durability, waits = await self._durability(info, is_valkey, numbers)
        self._waits = waits
        return ServerFacts(name, version, durability, waits)

    async def _info(self) -> dict[str, Any]:
        async with asyncio.timeout(LOOK_SECONDS):
            info: dict[str, Any] = await self.redis.info("everything")
        return info

    async def _durability(
        self, info: dict[str, Any], is_valkey: bool, numbers: tuple[int, ...]
    ) -> tuple[Durability, bool]:
        if not info.get("aof_enabled"):
            return "best-effort", False
        if is_valkey or numbers >= (7, 2):
            return "fsync", not await self._fsyncs_always()
        return ("fsync", False) if await self._fsyncs_always() else ("best-effort", False)

    async def _fsyncs_always(self) -> bool:
        try:
            setting = await self.redis.config_get("appendfsync")
        except RedisError:
            return False  # Hosted servers often forbid CONFIG; then WAITAOF has to tell.
        return setting.get("appendfsync", setting.get(b"appendfsync")) in ("always", b"always")

    async def run(
        self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> Any:
        """Run a script; a writing one has returned only when its write is durable.

        Sending it twice is harmless, since the client library may do so by itself: every script
        that writes recognises its operation.

        Raises: Unavailable.
        """

        async def sent() -> Any:
            if script.mode == "write" and self._waits:
                return await self._run_and_wait(script, keys, args)
            command = "EVALSHA_RO" if script.mode == "read" else "EVALSHA"
            try:
                return await self.redis.execute_command(
                    command, script.sha, len(keys), *keys, *args
                )
            except NoScriptError:
                # EVAL_RO doesn't always leave the script in the cache: load it, then ask again.
                await self.redis.script_load(script.text)
                return await self.redis.execute_command(
                    command, script.sha, len(keys), *keys, *args
                )

        return await self.guarded(sent)

    async def _run_and_wait(
        self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> Any:
        # WAITAOF speaks of the writes of its own connection: both go through one pipeline.
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
            pipe.execute_command("WAITAOF", 1, 0, DURABLE_MILLISECONDS)
            result, waited = await pipe.execute(raise_on_error=False)
            if isinstance(result, NoScriptError):
                await self.redis.script_load(script.text)
                pipe.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
                pipe.execute_command("WAITAOF", 1, 0, DURABLE_MILLISECONDS)
                result, waited = await pipe.execute(raise_on_error=False)
        if isinstance(result, Exception):
            raise result
        if isinstance(waited, Exception):
            raise waited
        if waited[0] < 1:
            raise Unavailable("The store didn't confirm in time that the change is on disk.")
        return result

    async def guarded(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """What `call` returns. Raises: Unavailable for whatever Redis or the network did."""
        try:
            return await call()
        except ResponseError as error:
            raise Unavailable(f"The store refused: {error}") from error
        except (TimeoutError, RedisError, OSError) as error:
            raise Unavailable("The store can't be reached at the moment.") from error
