"""The connection to Redis: what server it must be, how scripts run, when a write is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from liveblog.domain.errors import Unavailable
from liveblog.store import disk
from liveblog.store.address import AddressError, checked, shown
from liveblog.store.keys import LOOK

OLDEST = (7, 0)
CONNECTIONS_MOST = 64
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 2.0
# Whoever asks whether the store is well wants to know soon, above all if it isn't.
LOOK_SECONDS = 2.5
LOOK_EVERY_SECONDS = 10.0
LOOK_KEPT_SECONDS = 60
DURABLE_MILLISECONDS = 3_000

CANT_REACH = "The store can't be reached at the moment. Please try again."
CANT_TAKE = "The store can't take this at the moment. Please try again."
NO_ROOM = "has no room left on its disk"
_STATES: dict[type[Exception], str] = {
    AuthenticationError: "doesn't know this user or password",
    BusyLoadingError: "still loads its data",
    NoPermissionError: "allows this user too little",
    OutOfMemoryError: "takes no writes: its memory is full",
    ReadOnlyError: "takes no writes: it is a replica",
}
_STATES_BY_CODE = {
    "MISCONF": "takes no writes: it can't save to its disk",
    "NOREPLICAS": "takes no writes: too few replicas are connected",
}

Durability = Literal["fsync", "replicated", "best-effort"]
_T = TypeVar("_T")
_log = structlog.get_logger()


class StoreRefused(Exception):
    """A server that can't be the store; the message says which, why, and what to do.

    `state` says which and why, and not where.
    """

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server said of itself at the last look."""

    name: str
    version: str
    durability: Durability
    waits: bool
    has_room: bool


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


_LOOK = Script.load("look", "write")


class _Pool(BlockingConnectionPool):
    """Counts how often one of its connections began, also anew."""

    begun = 0

    def make_connection(self) -> AbstractConnection:
        connection: Any = super().make_connection()  # type: ignore[no-untyped-call]
        connection.register_connect_callback(self._count)
        made: AbstractConnection = connection
        return made

    async def _count(self, _: AbstractConnection) -> None:
        self.begun += 1


class Connection:
    """A pool of connections to one Redis, and the rules for using it.

    Every error of the client becomes `Unavailable`: to whoever sent a request, the store can't
    take it now, and the same request may be sent again. `folder` is where the embedded store keeps
    its file: without room there nothing is written.
    """

    def __init__(self, url: str, folder: Path | None = None) -> None:
        try:
            self.url = checked(url)
            self._pool = _Pool.from_url(
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
        except AddressError as error:
            raise StoreRefused(f"REDIS_URL {error}", "can't be used") from None
        except ValueError:
            raise StoreRefused("REDIS_URL can't be read.", "can't be used") from None
        # redis-py types its commands for both worlds at once, sync and async; its answers are
        # checked where they are read.
        self.redis: Any = Redis(connection_pool=self._pool)
        self._folder = folder
        self._waits = False
        self._refusal: StoreRefused | None = None
        self._vouched = 0
        self._looks = 0
        self._looking = asyncio.Lock()
        self._seen: ServerFacts | StoreRefused | Unavailable | None = None

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
        """Ask the server what it is, and whether it takes writes: by one that expires.

        Who asks at the same time shares a look that began after they asked.

        Raises: StoreRefused where it can't be the store; Unavailable where it doesn't answer, or
        takes no writes.
        """
        asked = self._looks
        async with self._looking:
            if self._looks == asked:
                self._looks += 1
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        self._seen = await self._look()
                except TimeoutError as error:
                    self._seen = _unavailable(error)
                except (StoreRefused, Unavailable) as error:
                    self._seen = error
                except BaseException:
                    self._looks -= 1
                    raise
            seen = self._seen
        if isinstance(seen, ServerFacts):
            return seen
        assert seen is not None
        raise seen

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
        begun = self._pool.begun
        info = await self.guarded(lambda: self.redis.info("everything"))
        try:
            facts = await self._judged(info)
        except StoreRefused as refusal:
            self._refusal, self._vouched = refusal, begun
            raise
        self._refusal, self._waits = None, facts.waits
        if facts.has_room:
            await self.guarded(lambda: self._send(_LOOK, [LOOK], [LOOK_KEPT_SECONDS]))
        self._vouched = begun
        return facts

    async def _judged(self, info: dict[str, Any]) -> ServerFacts:
        is_valkey = "valkey_version" in info
        name = "Valkey" if is_valkey else "Redis"
        version = str(info.get("valkey_version") or info.get("redis_version") or "0")
        numbers = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        refusal = _refusal(info, numbers)
        if refusal is not None:
            state, remedy = refusal
            server = f"{name} {version}"
            raise StoreRefused(
                f"{server} at {shown(self.url)} {state}. {remedy}", f"{server} {state}"
            )
        durability, waits = await self._durability(info, is_valkey, numbers)
        return ServerFacts(name, version, durability, waits, self._has_room())

    def _has_room(self) -> bool:
        return self._folder is None or disk.has_room(self._folder)

    def _check_writable(self) -> None:
        if self._refusal is not None:
            raise Unavailable(CANT_TAKE, state=self._refusal.state, reason=str(self._refusal))
        if not self._has_room():
            raise Unavailable(
                CANT_TAKE, state=NO_ROOM, reason=f"The disk under {self._folder} is full."
            )

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
        if script.mode == "write" and self._vouched < 0:
            await self._vouch()
        if script.mode != "read":
            self._check_writable()
        answer = await self.guarded(lambda: self._send(script, keys, args))
        if script.mode == "write":
            await self._vouch()
        return answer

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
                raise Unavailable(CANT_TAKE, state=refusal.state, reason=str(refusal)) from refusal

    async def _send(
        self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> Any:
        if script.mode == "write" and self._waits:
            return await self._run_and_wait(script, keys, args)
        command = "EVALSHA_RO" if script.mode == "read" else "EVALSHA"
        try:
            return await self.redis.execute_command(command, script.sha, len(keys), *keys, *args)
        except NoScriptError:
            # EVAL_RO doesn't always leave the script in the cache: load it, then ask again.
            await self.redis.script_load(script.text)
            return await self.redis.execute_command(command, script.sha, len(keys), *keys, *args)

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
            # Its settings aren't what they were: the same request, sent again, meets the new ones.
            self._vouched = -1
            raise waited
        if waited[0] < 1:
            raise Unavailable(
                CANT_TAKE,
                state="is slow to write to its disk",
                reason="The store didn't confirm in time that the change is on disk.",
            )
        return result

    async def written(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """As `guarded`, for a call that writes; not where nothing may be written now."""
        self._check_writable()
        return await self.guarded(call)

    async def guarded(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """What `call` returns. Raises: Unavailable for whatever Redis or the network did."""
        try:
            return await call()
        except (TimeoutError, RedisError, OSError) as error:
            raise _unavailable(error) from error


def _refusal(info: dict[str, Any], numbers: tuple[int, ...]) -> tuple[str, str] | None:
    """Why a server can't be the store, and what to do."""
    if numbers < OLDEST:
        return (
            "is too old: sharded pub/sub needs Redis 7.0 or any Valkey",
            "Upgrade it, or unset REDIS_URL to use the embedded store.",
        )
    if info.get("cluster_enabled"):
        return (
            "is a node of a cluster, which this version can't use",
            "Name a single server in REDIS_URL.",
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


def _unavailable(error: Exception) -> Unavailable:
    """What the client's error means, in words that show nothing of where the store is."""
    reason = str(error) or type(error).__name__
    for kind, state in _STATES.items():
        if isinstance(error, kind):
            return Unavailable(CANT_TAKE, state=state, reason=reason)
    if isinstance(error, ResponseError):
        if "ACL failure in script" in reason or "The user executing the script" in reason:
            return Unavailable(CANT_TAKE, state=_STATES[NoPermissionError], reason=reason)
        code = reason.split(" ", 1)[0]
        state = _STATES_BY_CODE.get(code, "refuses what it is asked")
        return Unavailable(CANT_TAKE, state=state, reason=reason)
    return Unavailable(CANT_REACH, reason=reason)
