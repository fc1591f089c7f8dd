"""What it costs to come in, to stay, and when everybody comes at once."""

from __future__ import annotations

import threading
import time
from typing import Self

from bench import peers
from bench.programs import BenchError, Program, on_core
from bench.rows.delivery import staged
from bench.rows.measuring import LOAD_CORE, SERVER_CORE, Row, Scale, Spread, watch
from bench.server import Server, cpu_seconds, stamped

BACKLOG = 40

_MEMORY_AIM_KIB = 7
_MEMORY_DEFLATED_AIM_KIB = 8
_CONNECT_AIM_MICROSECONDS = 250
_STORM_AIM_SECONDS = 4
_STORM_POSTING_AIM_MILLISECONDS = 250
_STORM_PAUSE_SECONDS = 0.1


def memory(scale: Scale) -> list[Row]:
    """What a viewer who only waits holds in the server's memory; a fresh server each round."""
    rows = []
    bare: list[float] = []
    for kind, aim, deflated in (
        ("plain", _MEMORY_AIM_KIB, 0),
        ("with deflate", _MEMORY_DEFLATED_AIM_KIB, 1),
    ):
        each: list[float] = []
        bare.clear()
        for _ in range(scale.few_rounds):
            with (
                on_core(LOAD_CORE),
                Server(core=SERVER_CORE) as server,
                Program("load", server.port) as audience,
            ):
                audience.ask(f"deflate {deflated}")
                server.publish(stamped())
                # The first ones bring in code and caches that all others share.
                audience.connect(20, watch(server))
                server.settle()
                before = server.memory_kib()
                audience.connect(scale.idle, watch(server))
                server.settle()
                each.append((server.memory_kib() - before) / scale.idle)
                bare.append(before / 1024)
        spread = Spread.of(each)
        row = spread.at_most(
            f"memory an idle viewer, {scale.idle:,} of them, {kind}", aim, "KiB", 1
        )
        if deflated:
            row = row.costing(viewer_kib=spread.middle, process_mib=Spread.of(bare).middle)
        rows.append(row)
    return [*rows, _nchans_memory(scale), _supervisors_memory(Spread.of(bare).middle)]


def _supervisors_memory(alone_mib: float) -> Row:
    with (
        on_core(LOAD_CORE),
        Server("--workers", "2", core=SERVER_CORE) as server,
        Program("load", server.port) as audience,
    ):
        audience.connect(40, watch(server))
        server.settle()
        mib = server.memory_kib() / 1024 - 2 * alone_mib
    return Row(
        "memory of a supervisor, less what its workers share",
        f"{mib:.0f} MiB",
        costs=(("supervisor_mib", mib),),
    )


def _nchans_memory(scale: Scale) -> Row:
    what = f"memory an idle viewer, {scale.idle:,} of them, nchan"
    if why_not := peers.missing("nchan"):
        return Row(what, why_not)
    each = []
    for _ in range(scale.few_rounds):
        with (
            on_core(LOAD_CORE),
            peers.Peer("nchan", core=SERVER_CORE) as peer,
            Program("load", peer.port) as audience,
        ):
            audience.connect(20, peer.path)
            before = peer.memory_kib()
            audience.connect(scale.idle, peer.path)
            time.sleep(0.5)
            each.append((peer.memory_kib() - before) / scale.idle)
    return Row(what, Spread.of(each).show("KiB"))


def joining(scale: Scale) -> list[Row]:
    """CPU for a viewer to connect, with nothing missed and with a backlog."""
    with_backlog, without, floors, usual = [], [], [], []
    with (
        staged() as (stage, audience),
        Program("floor", core=SERVER_CORE) as floor,
        Program("load", int(floor.hear()["port"])) as floor_audience,
        peers.Peer("plain Starlette", core=SERVER_CORE) as starlette,
        Program("load", starlette.port) as starlette_audience,
    ):
        audience.ask("rest 0")
        server = stage.server
        old = watch(server)
        for _ in range(BACKLOG):
            server.publish(stamped(stage.filler))
        new = watch(server)

        def connect(path: str, entries: int) -> float:
            audience.ask("drop")
            server.settle()
            before = server.cpu_seconds()
            audience.connect(scale.viewers, path)
            audience.wait_for_entries(entries)
            return (server.cpu_seconds() - before) / scale.viewers * 1e6

        connect(new, 0)
        for _ in range(scale.rounds):
            floor_audience.ask("drop")
            before = cpu_seconds([floor.pid])
            floor_audience.connect(scale.viewers, "/live/live")
            floors.append((cpu_seconds([floor.pid]) - before) / scale.viewers * 1e6)
            starlette_audience.ask("drop")
            time.sleep(0.5)
            before = starlette.cpu_seconds()
            starlette_audience.connect(scale.viewers, starlette.path)
            usual.append((starlette.cpu_seconds() - before) / scale.viewers * 1e6)
            without.append(connect(new, 0))
            with_backlog.append(connect(old, BACKLOG))
    spread = Spread.of(with_backlog)
    row = spread.at_most(
        f"CPU to connect and get a backlog of {BACKLOG} entries", _CONNECT_AIM_MICROSECONDS, "µs", 0
    )
    return [
        Row("CPU to connect: the floor", Spread.of(floors).show("µs", 0)),
        Row("CPU to connect: plain Starlette", Spread.of(usual).show("µs", 0)),
        Row("CPU to connect, nothing missed", Spread.of(without).show("µs", 0)),
        row.costing(connect_us=spread.middle),
    ]


def storm(scale: Scale) -> list[Row]:
    """Everybody comes back at once, each with a backlog, while somebody posts."""
    seconds, commands, slow = [], [], []
    with staged() as (stage, audience):
        audience.ask("rest 0")
        server = stage.server
        old = watch(server)
        for _ in range(BACKLOG // 2):
            server.publish(stamped(stage.filler))
        quiet = _Posting(server)
        with quiet:
            time.sleep(2.0)
        for _ in range(scale.few_rounds):
            audience.ask("drop")
            server.settle()
            before, asked = server.cpu_seconds(), server.store_commands()
            with _Posting(server) as posting:
                audience.connect(scale.many, old)
                audience.wait_for_entries(BACKLOG // 2)
            # The posts' own share goes off: what they cost while nobody came.
            used = server.cpu_seconds() - before
            seconds.append(used - len(posting.took) * quiet.cpu_seconds_each)
            own = len(posting.took) * quiet.commands_each
            commands.append(server.store_commands() - asked - own)
            slow.append(sorted(posting.took)[round(0.99 * (len(posting.took) - 1))] * 1000)
            server.publish(stamped(), blog="quiet")
    what = f"{scale.many:,} viewers come back at once"
    total = Spread.of(commands)
    return [
        Spread.of(seconds).at_most(f"{what}: CPU until all are current", _STORM_AIM_SECONDS, "s"),
        Row(
            f"{what}: commands to the store, less what the posts take",
            total.show(digits=0),
            "none for a viewer",
            total.middle < scale.many / 100,
        ),
        Spread.of(slow).at_most(
            f"{what}: a post meanwhile, p99", _STORM_POSTING_AIM_MILLISECONDS, "ms", 0
        ),
    ]


class _Posting:
    """Somebody who posts into another blog, at a steady pace, within the `with` block."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.took: list[float] = []
        self.cpu_seconds_each = 0.0
        self.commands_each = 0.0
        self._failed: BenchError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._post)

    def __enter__(self) -> Self:
        self._before = self._server.cpu_seconds(), self._server.store_commands()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed
        used = self._server.cpu_seconds() - self._before[0]
        asked = self._server.store_commands() - self._before[1]
        self.cpu_seconds_each = used / max(1, len(self.took))
        self.commands_each = asked / max(1, len(self.took))

    def _post(self) -> None:
        # At least one post, however soon the storm is over.
        while not self.took or not self._stop.is_set():
            began = time.monotonic()
            try:
                self._server.publish(stamped(), blog="quiet")
            except (BenchError, OSError) as error:
                self._failed = BenchError(f"a post in the storm failed: {error}")
                return
            self.took.append(time.monotonic() - began)
            self._stop.wait(max(0.0, _STORM_PAUSE_SECONDS - self.took[-1]))
