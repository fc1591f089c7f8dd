"""Stores of many processes, out of the embedded binary: a cluster, a primary under Sentinels."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from liveblog.store.keys import BlogKeys
from liveblog.store.valkey import GUARD
from tests.support import eventually
from tests.worlds import valkey_program

SETTLE_SECONDS = 30.0
ELECTION_MILLISECONDS = 1_500
DOWN_AFTER_MILLISECONDS = 1_000
FAILOVER_MILLISECONDS = 6_000
SLOTS = 16_384
PRIMARY = "liveblog"

# What a replica signs in as, so that it alone can be shut out.
REPLICATION_USER = "replication"
_SETTINGS = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "save": '""',
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "repl-diskless-sync": "yes",
    "repl-diskless-sync-delay": "0",
    "repl-ping-replica-period": "1",
    "repl-timeout": "10",
    "user": f"{REPLICATION_USER} on nopass ~* &* +@all",
    "primaryuser": REPLICATION_USER,
    "primaryauth": "any",
}


def reserved() -> socket.socket:
    """A port that nobody else is given as long as this is open, also while nobody listens there.

    Whoever listens may share it with what is bound and doesn't listen, as both say so.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class Node:
    """A Valkey, or a Sentinel, as a process of its own on a free port.

    It runs under the guard of the embedded store, and so ends with the test, however that ends.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str], *, sentinel: bool = False
    ) -> None:
        self._reserved = [reserved(), reserved()]
        self.port, self.bus = (each.getsockname()[1] for each in self._reserved)
        self.folder = folder
        # Once more, since a Sentinel cuts off all clients of what it gives another part.
        self.redis: Any = Redis(
            port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 1), decode_responses=True
        )
        self._arguments = ["--sentinel"] if sentinel else []
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid = 0
        folder.mkdir(parents=True)
        own = {"port": self.port, "cluster-port": self.bus, "dir": f'"{folder}"'}
        lines = [f"{name} {value}\n" for name, value in {**own, **settings}.items()]
        self._file.write_text("".join(lines))

    @property
    def _file(self) -> Path:
        return self.folder / "valkey.conf"

    @property
    def _log(self) -> Path:
        return self.folder / "valkey.log"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start the process, also again on what it left; returns when it answers."""
        command = [valkey_program(), str(self._file), *self._arguments]
        with self._log.open("ab") as log:
            # The guard keeps one file open for its child: the log serves as well as a lock.
            guard = [sys.executable, "-I", "-S", str(GUARD), str(log.fileno()), "1"]
            self._guard = subprocess.Popen(
                guard + command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(log.fileno(),),
            )
        assert self._guard.stdout
        self._pid = int(await asyncio.to_thread(self._guard.stdout.readline))
        try:
            await eventually(self._answers, SETTLE_SECONDS)
        except AssertionError as error:
            error.add_note(self._log.read_text(errors="replace")[-2000:])
            raise

    async def _answers(self) -> bool:
        with contextlib.suppress(RedisConnectionError, RedisTimeoutError):
            return bool(await self.redis.ping())
        return False

    @property
    def runs(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    async def kill(self) -> None:
        """SIGKILL, as by the machine's own hand."""
        if self._guard is None:
            return
        if self.runs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        await asyncio.to_thread(self._guard.communicate)
        await self.redis.connection_pool.disconnect()
        self._guard = None

    def freeze(self) -> None:
        """It keeps its sockets and answers nothing, until `thaw`."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    async def close(self) -> None:
        await self.kill()
        await self.redis.aclose()
        for each in self._reserved:
            each.close()

    async def ask(self, *command: str | int) -> Any:
        return await self.redis.execute_command(*command)

    async def replication(self) -> dict[str, Any]:
        """What it says of its part."""
        told: dict[str, Any] = await self.redis.info("replication")
        return told

    async def is_primary(self) -> bool:
        return bool((await self.replication())["role"] == "master")

    async def comes_to_follow(self, primary: Node) -> None:
        """Returns once it is a replica of `primary`."""
        await eventually(partial(self.follows, primary), SETTLE_SECONDS, what="it follows")

    async def follows(self, primary: Node) -> bool:
        """Whether it is a replica of `primary`, with the link up."""
        told = await self.replication()
        part = (told["role"], told.get("master_port"), told.get("master_link_status"))
        return part == ("slave", primary.port, "up")


class Topology:
    """What a cluster and a Sentinel set-up have in common: processes, and wires between them."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        await asyncio.gather(*(node.close() for node in self.nodes))

    async def cut_replication(self, primary: Node) -> None:
        """Nothing more goes from `primary` to its replicas; its clients notice nothing.

        In one step: whatever it answers after this, no replica has.
        """
        async with primary.redis.pipeline(transaction=True) as pipe:
            pipe.execute_command("ACL", "SETUSER", REPLICATION_USER, "off")
            pipe.execute_command("CLIENT", "KILL", "TYPE", "replica")
            await pipe.execute()

    async def heal_replication(self, primary: Node) -> None:
        await primary.ask("ACL", "SETUSER", REPLICATION_USER, "on")

    async def replicated(self, primary: Node) -> None:
        """Returns once its replicas have all that it has."""

        async def have_all() -> bool:
            told = await primary.replication()
            replicas = [value for name, value in told.items() if re.fullmatch(r"slave\d+", name)]
            return bool(replicas) and all(
                replica["offset"] == told["master_repl_offset"] for replica in replicas
            )

        await eventually(have_all, SETTLE_SECONDS)

    async def replica_of(self, primary: Node) -> Node:
        """A replica that runs, whether or not the link to its primary is up."""
        for node in self.nodes:
            if node.runs:
                told = await node.replication()
                if told["role"] == "slave" and told["master_port"] == primary.port:
                    return node
        raise AssertionError("it has no replica")


@dataclass(frozen=True, slots=True)
class Move:
    """A slot on its way from one primary to another."""

    slot: int
    source: Node
    to: Node

    async def keys(self, most: int = 100) -> list[str]:
        """Some of those that haven't gone yet."""
        found: list[str] = await self.source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, most)
        return found

    async def send(self, *keys: str) -> None:
        await self.source.ask("MIGRATE", "127.0.0.1", self.to.port, "", 0, 5_000, "KEYS", *keys)


class Cluster(Topology):
    """Three primaries, each with a third of the slots and a replica."""

    def __init__(self, folder: Path, *, appendonly: bool = True) -> None:
        super().__init__()
        for number in range(6):
            settings = {
                **_SETTINGS,
                "appendonly": "yes" if appendonly else "no",
                "cluster-enabled": "yes",
                "cluster-node-timeout": str(ELECTION_MILLISECONDS),
                "cluster-replica-no-failover": "yes",
                # However long the wire was cut, a replica takes over: that is what is tested.
                "cluster-replica-validity-factor": "0",
                "cluster-allow-replica-migration": "no",
            }
            self.nodes.append(Node(folder / f"node-{number}", settings))

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])

    async def start(self) -> None:
        await asyncio.gather(*(node.start() for node in self.nodes))
        first, *others = self.nodes
        pairs = list(zip(self.nodes[:3], self.nodes[3:], strict=True))
        for number, node in enumerate(self.nodes):
            # Each its own epoch, or they would first have to settle who is to have which.
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, (primary, _) in enumerate(pairs):
            start, end = SLOTS * number // 3, SLOTS * (number + 1) // 3
            await primary.ask("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
        for node in others:
            await node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus)
        await self._all(self._knows_all)
        for primary, replica in pairs:
            await replica.ask("CLUSTER", "REPLICATE", await self._id(primary))
        await self.whole()
        # A busy machine is silent for as long, and nobody is to be taken for dead who isn't.
        await self._set("cluster-node-timeout", 15_000)

    async def whole(self) -> None:
        """Returns once it has all its slots, and every replica that runs follows its primary."""
        await self._all(self._finds_all_well)

    async def primary_of(self, slug: str) -> Node:
        """Who has a blog's slot, by its own word."""
        slot = slot_of(slug)
        for node in self.nodes:
            if node.runs and await self._has(node, slot):
                return node
        raise AssertionError(f"nobody has slot {slot}")

    async def another_than(self, primary: Node) -> Node:
        """Another primary."""
        for node in self.nodes:
            if node is not primary and node.runs and await node.is_primary():
                return node
        raise AssertionError("there is no other primary")

    async def take_over(self, replica: Node) -> None:
        """`replica` becomes the primary without asking anybody, whatever it lacks.

        Returns once the others follow it.
        """
        await replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
        await eventually(replica.is_primary, SETTLE_SECONDS)
        await self.whole()

    async def allow_elections(self) -> None:
        """From now on a replica takes over by itself from a primary that isn't heard of."""
        await self._set("cluster-node-timeout", ELECTION_MILLISECONDS)
        await self._set("cluster-replica-no-failover", "no")

    async def elected(self, replica: Node) -> None:
        """Returns once `replica` has the place of its primary that was killed."""
        await eventually(replica.is_primary, SETTLE_SECONDS)
        await self.whole()

    async def listeners(self, primary: Node, slug: str) -> int:
        """How many are subscribed there to what is announced of a blog."""
        channel = BlogKeys(slug).channel
        told = await primary.redis.pubsub_shardnumsub(channel, target_nodes=None)
        return int(dict(told)[channel])

    async def move_slot(
        self, slug: str, to: Node, *, keys_at_once: int = 10, pause_seconds: float = 0.0
    ) -> None:
        """A blog's slot goes to another primary key by key, as by `valkey-cli --cluster reshard`.

        While it goes, whatever needs keys of both ends is told to try again.
        """
        async with self.moving_slot(slug, to) as move:
            while keys := await move.keys(keys_at_once):
                await move.send(*keys)
                await asyncio.sleep(pause_seconds)
        assert await self.primary_of(slug) is to

    @asynccontextmanager
    async def moving_slot(self, slug: str, to: Node) -> AsyncIterator[Move]:
        """Within the block a blog's slot is on its way; leaving it sends what is left."""
        slot, source = slot_of(slug), await self.primary_of(slug)
        await to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", await self._id(source))
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", await self._id(to))
        move = Move(slot, source, to)
        yield move
        while keys := await move.keys():
            await move.send(*keys)
        for node in (to, source, *self.nodes):
            if node.runs and await node.is_primary():
                await node.ask("CLUSTER", "SETSLOT", slot, "NODE", await self._id(to))

    async def move_slot_at_once(self, slug: str, to: Node) -> None:
        """A blog's slot goes to another primary in one step, as Valkey 9 can."""
        slot, source = slot_of(slug), await self.primary_of(slug)
        await source.ask(
            "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", await self._id(to)
        )
        await eventually(lambda: self._has(to, slot), SETTLE_SECONDS, what="the slot has moved")

    async def _set(self, name: str, value: str | int) -> None:
        for node in self.nodes:
            await node.redis.config_set(name, value)

    async def _all(self, holds: Callable[[Node], Awaitable[bool]]) -> None:
        async def all_do() -> bool:
            return all([await holds(node) for node in self.nodes if node.runs])

        await eventually(all_do, SETTLE_SECONDS, what=holds.__name__)

    async def _knows_all(self, node: Node) -> bool:
        told: str = await node.ask("CLUSTER", "INFO")
        return f"cluster_known_nodes:{len(self.nodes)}\r\n" in told

    async def _finds_all_well(self, node: Node) -> bool:
        told: str = await node.ask("CLUSTER", "INFO")
        if "cluster_state:ok\r\n" not in told:
            return False
        part = await node.replication()
        return bool(part.get("master_link_status", "up") == "up")

    async def _has(self, node: Node, slot: int) -> bool:
        for line in (await node.ask("CLUSTER", "NODES")).splitlines():
            fields = line.split()
            if "myself" in fields[2]:
                shares = [share.split("-") for share in fields[8:] if not share.startswith("[")]
                return any(int(share[0]) <= slot <= int(share[-1]) for share in shares)
        return False

    async def _id(self, node: Node) -> str:
        return str(await node.ask("CLUSTER", "MYID"))


class Sentinels(Topology):
    """A primary with replicas, watched by three Sentinels, two of which must agree."""

    def __init__(self, folder: Path, *, replicas: int = 1, appendonly: bool = True) -> None:
        super().__init__()
        settings = {**_SETTINGS, "appendonly": "yes" if appendonly else "no"}
        first = Node(folder / "node-0", settings)
        following = {**settings, "replicaof": f"127.0.0.1 {first.port}"}
        others = [Node(folder / f"node-{number + 1}", following) for number in range(replicas)]
        self.stores = [first, *others]
        watching = {
            "bind": "127.0.0.1",
            "sentinel monitor": f"{PRIMARY} 127.0.0.1 {first.port} 2",
            "sentinel down-after-milliseconds": f"{PRIMARY} {DOWN_AFTER_MILLISECONDS}",
            "sentinel failover-timeout": f"{PRIMARY} {FAILOVER_MILLISECONDS}",
        }
        self.sentinels = [
            Node(folder / f"sentinel-{number}", watching, sentinel=True) for number in range(3)
        ]
        self.nodes = [*self.stores, *self.sentinels]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{PRIMARY}"

    async def start(self) -> None:
        await asyncio.gather(*(store.start() for store in self.stores))
        for replica in self.stores[1:]:
            await replica.comes_to_follow(self.stores[0])
        await asyncio.gather(*(sentinel.start() for sentinel in self.sentinels))
        for sentinel in self.sentinels:
            # Or an old primary is left in its belief for ten seconds more.
            await sentinel.ask("SENTINEL", "DEBUG", "INFO-PERIOD", 500, "PUBLISH-PERIOD", 500)
        await eventually(self._all_know_all, SETTLE_SECONDS)

    async def primary(self) -> Node:
        """Who the Sentinels say it is."""
        ports = {await self._told_by(sentinel) for sentinel in self.sentinels if sentinel.runs}
        assert len(ports) == 1, "they don't agree"
        return next(store for store in self.stores if store.port in ports)

    async def fail_over(self) -> Node:
        """The Sentinels make a replica the primary, whether or not the old one is well.

        Returns the new one, once it is; the old one is told in its own time.
        """
        before = await self.primary()
        leader = next(sentinel for sentinel in self.sentinels if sentinel.runs)
        await leader.ask("SENTINEL", "FAILOVER", PRIMARY)
        return await self.succeeded(before)

    async def succeeded(self, primary: Node) -> Node:
        """Who was made the primary in place of another, once all Sentinels say so."""

        async def all_name_another() -> bool:
            return await self.primary() is not primary

        await eventually(all_name_another, SETTLE_SECONDS)
        found = await self.primary()
        await eventually(found.is_primary, SETTLE_SECONDS)
        return found

    async def _told_by(self, sentinel: Node) -> int:
        address = await sentinel.redis.sentinel_get_master_addr_by_name(PRIMARY)
        return int(address[1])

    async def _all_know_all(self) -> bool:
        for sentinel in self.sentinels:
            told = await sentinel.redis.sentinel_master(PRIMARY)
            if (told["num-slaves"], told["num-other-sentinels"]) != (
                len(self.stores) - 1,
                len(self.sentinels) - 1,
            ):
                return False
        return True


def slot_of(slug: str) -> int:
    """The hash slot in which all of a blog lies."""
    return int(key_slot(BlogKeys(slug).head.encode()))
