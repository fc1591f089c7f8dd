"""Who the primaries are and which has what: one server, what Sentinels say, or a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from liveblog.domain.errors import Unavailable
from liveblog.store.address import Address, shown
from liveblog.store.keys import hash_tag
from liveblog.store.pool import Pool
from liveblog.store.primary import Primary
from liveblog.store.shared import Shared
from liveblog.store.trouble import CANT_REACH, StoreRefused, unavailable

SLOTS = 16_384
ASK_SECONDS = 1.0
# So many of a cluster's nodes are asked at once; the first that knows is believed.
ASKED_MOST = 5
FIND_PAUSE_SECONDS = 0.2

_T = TypeVar("_T")
_log = structlog.get_logger()

# A primary at an address, of a tag that lies there.
Make = Callable[[str, str | None], Primary]


class Topology(ABC):
    """The primaries that were found last, by address."""

    def __init__(self, address: Address, make: Make) -> None:
        self._address = address
        self._make = make
        self._known: dict[str, Primary] = {}
        self._is_lost = False
        self._found_at = -FIND_PAUSE_SECONDS
        self._doubting: asyncio.Task[None] | None = None
        self.find: Shared[None] = Shared(self._find_or_go_on)

    @property
    def primaries(self) -> list[Primary]:
        return list(self._known.values())

    def doubt(self) -> None:
        """What was found may be out of date: it is looked for again, and nobody waits for that.

        One primary that is away must not hold up what is asked of the others.
        """
        if self._doubting is None or self._doubting.done():
            self._doubting = asyncio.get_running_loop().create_task(self._find_lately())

    async def found_lately(self) -> None:
        """Returns once the primaries have been looked for again, found or not."""
        self.doubt()
        assert self._doubting is not None
        await asyncio.shield(self._doubting)

    async def found(self) -> None:
        """Returns once it is known who the primaries are, or were.

        Raises: Unavailable, StoreRefused where they never were.
        """
        if not self._known:
            await self.find()

    async def close(self) -> None:
        if self._doubting is not None:
            self._doubting.cancel()
            await asyncio.gather(self._doubting, return_exceptions=True)
        await self._keep(set())

    async def _find_lately(self) -> None:
        since = asyncio.get_running_loop().time() - self._found_at
        await asyncio.sleep(max(0.0, FIND_PAUSE_SECONDS - since))
        with contextlib.suppress(Unavailable, StoreRefused):
            await self.find()

    @abstractmethod
    def primary_of(self, key: str) -> Primary:
        """Who has `key`. Raises: Unavailable where nobody has."""

    @abstractmethod
    async def _find(self) -> None:
        """Ask who the primaries are. Raises: Unavailable, StoreRefused."""

    def moved(self, key: str, host: str, port: int) -> None:  # noqa: B027 - only in a cluster
        """A node says that another has `key` now."""

    def at(self, host: str, port: int) -> Primary:
        """Whoever answers there."""
        return self._primary(self._address.server(host, port), None)

    def _primary(self, url: str, tag: str | None) -> Primary:
        if url not in self._known:
            self._known[url] = self._make(url, tag)
        return self._known[url]

    async def _keep(self, urls: set[str]) -> None:
        gone = [self._known.pop(url) for url in self._known.keys() - urls]
        for primary in gone:
            await primary.close()

    async def _find_or_go_on(self) -> None:
        try:
            await self._find()
        except (Unavailable, StoreRefused) as error:
            # Who only tells where the primary is may be gone for a while, and the primary be well.
            if not self._known:
                raise
            if not self._is_lost:
                _log.warning("primaries_not_found", reason=getattr(error, "reason", str(error)))
            self._is_lost = True
        else:
            self._is_lost = False
        finally:
            self._found_at = asyncio.get_running_loop().time()


class Single(Topology):
    """One server, which is where it is."""

    def __init__(self, address: Address, make: Make) -> None:
        super().__init__(address, make)
        self._primary(address.url, "")

    def doubt(self) -> None:
        """It is where it is."""

    async def found_lately(self) -> None:
        """It is where it was."""

    def primary_of(self, key: str) -> Primary:
        return self.primaries[0]

    async def _find(self) -> None:
        pass


class Sentinels(Topology):
    """One primary at a time, and Sentinels that know which it is."""

    def primary_of(self, key: str) -> Primary:
        return self.primaries[0]

    async def _find(self) -> None:
        hosts = self._address.hosts
        told, errors = await _first(
            [self._ask(self._address.sentinel(*host)) for host in hosts], len(hosts) // 2 + 1
        )
        if not told:
            raise self._nobody_knows(errors)
        # A Sentinel that was cut off tells of what it saw before: the latest failover is the truth.
        _, host, port = max(told, key=lambda each: (each[0], told.count(each)))
        url = self._address.server(host, port)
        self._primary(url, "")
        await self._keep({url})

    async def _ask(self, sentinel: str) -> tuple[int, str, int]:
        [words] = await _asked(sentinel, ("SENTINEL", "MASTER", self._address.service))
        told = dict(zip(words[::2], words[1::2], strict=True))
        return int(told[b"config-epoch"]), told[b"ip"].decode(), int(told[b"port"])

    def _nobody_knows(self, errors: list[Exception]) -> Exception:
        where = shown(self._address.url)
        refused = [str(error) for error in errors if _is_refusal(error)]
        if any("No such master" in each for each in refused):
            return StoreRefused(
                f"The Sentinels at {where} watch no service of that name. "
                "Name one that they do in REDIS_URL.",
                "isn't watched by its Sentinels",
            )
        if any("unknown command" in each for each in refused):
            return StoreRefused(
                f"At {where} there is a server and no Sentinel. "
                "Name the Sentinels in REDIS_URL, or the server as redis://HOST:PORT.",
                "has no Sentinel where one should be",
            )
        return _silent("No Sentinel answers", errors)


class Cluster(Topology):
    """Primaries that have a part of the slots each (Redis Cluster specification)."""

    def __init__(self, address: Address, make: Make) -> None:
        super().__init__(address, make)
        self._owners: list[str | None] = [None] * SLOTS
        self._nodes: set[str] = set()

    @property
    def primaries(self) -> list[Primary]:
        return [primary for primary in self._known.values() if primary.tag is not None]

    def primary_of(self, key: str) -> Primary:
        url = self._owners[key_slot(key.encode())]
        if url is None:
            self.doubt()
            raise Unavailable(
                CANT_REACH,
                state="is a cluster that has lost some of its nodes",
                reason=f"No node has the slot of {key}.",
            )
        return self._primary(url, None)

    def moved(self, key: str, host: str, port: int) -> None:
        if not host:
            self.doubt()  # It doesn't know under which name we reach the other.
            return
        url = self._owners[key_slot(key.encode())] = self._address.server(host, port)
        primary = self._primary(url, None)
        primary.tag = primary.tag or hash_tag(key)

    async def _find(self) -> None:
        seeds = {self._address.server(*host) for host in self._address.hosts}
        nodes = sorted(self._nodes or seeds)
        random.shuffle(nodes)
        told, errors = await _first([self._ask(node) for node in nodes[:ASKED_MOST]], 1)
        if not told:
            # Who was known may all have been replaced; what the operator named is tried again.
            self._nodes = set()
            raise self._nobody_knows(errors)
        await self._take(told[0])

    async def _ask(self, node: str) -> tuple[str, list[Any]]:
        info, slots = await _asked(node, ("CLUSTER", "INFO"), ("CLUSTER", "SLOTS"))
        if b"cluster_state:ok" not in info:
            raise Unavailable(
                CANT_REACH,
                state="is a cluster that has lost some of its nodes",
                reason=f"{shown(node)} says that the cluster is down.",
            )
        return node, slots

    async def _take(self, told: tuple[str, list[Any]]) -> None:
        node, slots = told
        own_host = urlsplit(node).hostname or ""
        parts: dict[str, list[range]] = {}
        owners: list[str | None] = [None] * SLOTS
        self._nodes = set()
        for first, last, *servers in slots:
            # The primary stands first; a host that is left out is that of whoever was asked.
            urls = [
                self._address.server((server[0] or b"").decode() or own_host, server[1])
                for server in servers
            ]
            self._nodes.update(urls)
            parts.setdefault(urls[0], []).append(range(first, last + 1))
            owners[first : last + 1] = [urls[0]] * (last + 1 - first)
        self._owners = owners
        for url, slots_of in parts.items():
            primary = self._primary(url, None)
            if primary.tag is None or not _lies_in(primary.tag, slots_of):
                primary.tag = next(tag for tag in _tags() if _lies_in(tag, slots_of))
        await self._keep(set(parts))

    def _nobody_knows(self, errors: list[Exception]) -> Exception:
        if any("cluster support disabled" in str(error) for error in errors):
            return StoreRefused(
                f"At {shown(self._address.url)} there is no cluster, but a server of its own. "
                "Name it in REDIS_URL as redis://HOST:PORT.",
                "is no cluster",
            )
        return _silent("No node of the cluster answers", errors)


def topology(address: Address, make: Make) -> Topology:
    """What an address names, to be found."""
    match address.kind:
        case "single":
            return Single(address, make)
        case "sentinel":
            return Sentinels(address, make)
        case "cluster":
            return Cluster(address, make)


def _tags() -> Iterator[str]:
    return (f"{{{number}}}" for number in count())


def _lies_in(tag: str, slots: list[range]) -> bool:
    slot = key_slot(tag.encode())
    return any(slot in part for part in slots)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, ResponseError)


def _silent(what: str, errors: list[Exception]) -> Unavailable:
    """Nobody tells; in the words of whoever said most about why."""
    told = [error for error in errors if isinstance(error, (Unavailable, AuthenticationError))]
    found = unavailable((told or errors)[0])
    return Unavailable(str(found), state=found.state, reason=f"{what}: {found.reason}")


async def _asked(url: str, *commands: tuple[str, ...]) -> list[Any]:
    """What a server answers on a connection of this one question."""
    pool = Pool.from_url(
        url,
        protocol=2,
        socket_timeout=ASK_SECONDS,
        socket_connect_timeout=ASK_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    connection: Any = pool.make_connection()
    try:
        await connection.connect()
        for command in commands:
            await connection.send_command(*command)
        return [await connection.read_response() for _ in commands]
    finally:
        await connection.disconnect(nowait=True)


async def _first(asking: Sequence[Awaitable[_T]], enough: int) -> tuple[list[_T], list[Exception]]:
    """The first answers, until there are enough, and the errors before them."""
    tasks = [asyncio.ensure_future(each) for each in asking]
    told: list[_T] = []
    errors: list[Exception] = []
    try:
        for task in asyncio.as_completed(tasks, timeout=ASK_SECONDS):
            try:
                told.append(await task)
            except (Unavailable, RedisError, OSError) as error:
                errors.append(error)
            if len(told) == enough:
                break
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return told, errors
