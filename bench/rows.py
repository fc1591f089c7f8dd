"""What is measured, one function a subject, each against servers of its own."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

import orjson

from bench.page import first_paints, weigh
from bench.programs import BenchError, Program, on_core
from bench.server import HOST, Server, cpu_seconds, stamped

PAYLOAD = 1000
BACKLOG = 40
WRITERS = 16
POSTS_ON_THE_PAGE = 30
REST_MICROSECONDS = 1000

RATIO_AIM = 1.3
DEFLATE_AIM = 1.1
DEFLATE_BYTES_AIM = 0.55
MEMORY_AIM_KIB = 12
PAGE_AIM_KB = 50
JS_AIM_KB = 12

_HEAD = 4  # of a frame between 126 and 65,535 bytes
_SERVER_CORE, _LOAD_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; all of it bounded, so that a run ends by itself."""

    rounds: int
    viewers: int
    many: int
    idle: int
    frames: int
    pause_seconds: float
    many_frames: int
    many_pause_seconds: float
    posting_seconds: float
    paints: int


FULL = Scale(
    rounds=5,
    viewers=2_000,
    many=10_000,
    idle=5_000,
    frames=60,
    pause_seconds=0.05,
    many_frames=15,
    many_pause_seconds=0.4,
    posting_seconds=4,
    paints=5,
)
QUICK = Scale(
    rounds=1,
    viewers=200,
    many=1_000,
    idle=500,
    frames=10,
    pause_seconds=0.05,
    many_frames=5,
    many_pause_seconds=0.1,
    posting_seconds=1,
    paints=1,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `reached` is None where there is nothing to reach."""

    what: str
    value: str
    aim: str = ""
    reached: bool | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and how far the rounds lay apart."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        rounds = list(values)
        return cls(median(rounds), min(rounds), max(rounds))

    def show(self, unit: str = "", digits: int = 1) -> str:
        middle, least, most = (
            f"{value:,.{digits}f}" for value in (self.middle, self.least, self.most)
        )
        return f"{middle}{unit and ' '}{unit} ({least} to {most})"


def _steadily(times: int, pause_seconds: float, do: Callable[[], object]) -> None:
    """At a fixed pace, so that two servers get the same work in the same time."""
    start = time.monotonic()
    for number in range(times):
        time.sleep(max(0.0, start + number * pause_seconds - time.monotonic()))
        do()


def _watch(server: Server, blog: str = "live") -> str:
    return f"/{blog}/live?after={server.head(blog)[0]}"


def _filler(server: Server, load: Program) -> int:
    """How many characters bring an entry's frame to `PAYLOAD` bytes; `load` watches one blog."""
    sizes = []
    for filler in (100, 200):
        load.ask("reset")
        server.publish(stamped(filler))
        load.wait_for_entries(1)
        sizes.append(load.ask("stats")["entry_bytes"] - _HEAD)
    # The text is in the frame more than once: as it was written, and as HTML.
    a_character = (sizes[1] - sizes[0]) / 100
    return max(0, round(100 + (PAYLOAD - sizes[0]) / a_character))


def delivery(scale: Scale) -> list[Row]:
    """CPU for each delivered frame, as a ratio to the floor's in the same round."""
    whole, alone, floors, sizes = [], [], [], []
    with (
        on_core(_LOAD_CORE),
        Server(core=_SERVER_CORE) as server,
        Program("floor", core=_SERVER_CORE) as floor,
        Program("load", server.port) as audience,
        Program("load", server.port) as quiet,
        Program("load", int(floor.hear()["port"])) as floor_audience,
    ):
        server.make_blog("quiet")
        quiet.connect(1, _watch(server, "quiet"))
        audience.connect(1, _watch(server))
        filler = _filler(server, audience)
        audience.ask("drop")
        audience.connect(scale.viewers, _watch(server))
        floor_audience.connect(scale.viewers, "/live/live")
        for listening in (audience, floor_audience):
            listening.ask(f"rest {REST_MICROSECONDS}")
        deliveries = scale.viewers * scale.frames

        def post(blog: str, load: Program) -> float:
            load.ask("reset")
            server.settle()
            before = server.cpu_seconds()
            _steadily(
                scale.frames,
                scale.pause_seconds,
                lambda: server.publish(stamped(filler), blog=blog),
            )
            load.wait_for_entries(scale.frames)
            return server.cpu_seconds() - before

        for _ in range(scale.rounds):
            posting = post("quiet", quiet)
            watched = post("live", audience)
            stats = audience.ask("stats")
            size = round(stats["entry_bytes"] / stats["entries"])

            floor_audience.ask("reset")
            before = cpu_seconds([floor.pid])
            blocked = 0.0

            def send(size: int = size) -> None:
                nonlocal blocked
                blocked += floor.ask(f"send {size - _HEAD}")["blocked"]

            _steadily(scale.frames, scale.pause_seconds, send)
            floor_audience.wait_for_entries(scale.frames)
            bare = cpu_seconds([floor.pid]) - before
            got = floor_audience.ask("stats")
            if blocked or got["entry_bytes"] != size * deliveries:
                raise BenchError(f"the floor sent something else: {got}, {blocked} blocked")

            whole.append(watched / bare)
            alone.append((watched - posting) / bare)
            floors.append(bare / deliveries * 1e6)
            sizes.append(size)

    ratio, own = Spread.of(whole), Spread.of(alone)
    what = f"CPU a delivered frame of {median(sizes):,.0f} bytes, {scale.viewers:,} viewers"
    return [
        Row(f"{what}: the floor", Spread.of(floors).show("µs", 2)),
        Row(
            f"{what}: ratio to the floor",
            own.show(digits=2),
            f"{RATIO_AIM} or less",
            own.middle <= RATIO_AIM,
        ),
        # No aim: the floor is handed its frame, nobody has to check, store and render one for it.
        Row("the same, with taking, storing and rendering the posts", ratio.show(digits=2)),
    ]


def deflate(scale: Scale) -> list[Row]:
    """What compressing each frame once costs and saves, against plain frames in the same round."""
    costs, sizes = [], []
    with (
        on_core(_LOAD_CORE),
        Server(core=_SERVER_CORE) as server,
        Program("load", server.port) as plain,
        Program("load", server.port) as squeezed,
    ):
        if "error" in squeezed.ask("deflate 1"):
            raise BenchError("no zlib for the audience: install its headers (zlib1g-dev)")
        for blog, audience in (("plain", plain), ("squeezed", squeezed)):
            server.make_blog(blog)
            audience.connect(scale.viewers, _watch(server, blog))
            audience.ask(f"rest {REST_MICROSECONDS}")

        def post(blog: str, audience: Program) -> tuple[float, float]:
            audience.ask("reset")
            server.settle()
            before = server.cpu_seconds()
            _steadily(
                scale.frames,
                scale.pause_seconds,
                lambda: server.publish(f"{stamped()} {_WORDS}", blog=blog),
            )
            audience.wait_for_entries(scale.frames)
            used = server.cpu_seconds() - before
            return used, audience.ask("stats")["entry_bytes"]

        for _ in range(scale.rounds):
            as_is, small = post("plain", plain), post("squeezed", squeezed)
            costs.append(small[0] / as_is[0])
            sizes.append(small[1] / as_is[1])
    cost, size = Spread.of(costs), Spread.of(sizes)
    what = "with shared deflate, against plain frames"
    return [
        Row(
            f"CPU {what}",
            cost.show(digits=2),
            f"{DEFLATE_AIM} or less",
            cost.middle <= DEFLATE_AIM,
        ),
        Row(
            f"bytes {what}",
            size.show(digits=2),
            f"{DEFLATE_BYTES_AIM} or less",
            size.middle <= DEFLATE_BYTES_AIM,
        ),
    ]


def memory(scale: Scale) -> list[Row]:
    """What a viewer who only waits holds in the server's memory; a fresh server each round."""
    each = []
    for _ in range(min(3, scale.rounds)):
        with (
            Server(core=_SERVER_CORE) as server,
            Program("load", server.port) as audience,
        ):
            server.publish(stamped())
            # The first ones bring in code and caches that all others share.
            audience.connect(20, _watch(server))
            server.settle()
            before = server.memory_kib()
            audience.connect(scale.idle, _watch(server))
            server.settle()
            each.append((server.memory_kib() - before) / scale.idle)
    spread = Spread.of(each)
    return [
        Row(
            f"memory an idle viewer, {scale.idle:,} of them",
            spread.show("KiB"),
            f"{MEMORY_AIM_KIB} KiB or less",
            spread.middle <= MEMORY_AIM_KIB,
        )
    ]


def joining(scale: Scale) -> list[Row]:
    """CPU for a viewer to connect, with nothing missed and with a backlog."""
    with_backlog, without, floors = [], [], []
    with (
        on_core(_LOAD_CORE),
        Server(core=_SERVER_CORE) as server,
        Program("floor", core=_SERVER_CORE) as floor,
        Program("load", server.port) as audience,
        Program("load", int(floor.hear()["port"])) as floor_audience,
    ):
        audience.connect(1, _watch(server))
        filler = _filler(server, audience)
        old = _watch(server)
        for _ in range(BACKLOG):
            server.publish(stamped(filler))
        new = _watch(server)

        def connect(path: str, entries: int) -> float:
            audience.ask("drop")
            server.settle()
            before = server.cpu_seconds()
            audience.connect(scale.viewers, path)
            audience.wait_for_entries(entries)
            return (server.cpu_seconds() - before) / scale.viewers * 1e6

        for _ in range(scale.rounds):
            floor_audience.ask("drop")
            before = cpu_seconds([floor.pid])
            floor_audience.connect(scale.viewers, "/live/live")
            floors.append((cpu_seconds([floor.pid]) - before) / scale.viewers * 1e6)
            without.append(connect(new, 0))
            with_backlog.append(connect(old, BACKLOG))
    return [
        Row("CPU to connect: the floor", Spread.of(floors).show("µs", 0)),
        Row("CPU to connect, nothing missed", Spread.of(without).show("µs", 0)),
        Row(
            f"CPU to connect, with a backlog of {BACKLOG} entries",
            Spread.of(with_backlog).show("µs", 0),
        ),
    ]


def _latency(viewers: int, frames: int, pause_seconds: float, rounds: int) -> list[Row]:
    half, most, floor_half, floor_most = [], [], [], []
    with (
        on_core(_LOAD_CORE),
        Server(core=_SERVER_CORE) as server,
        Program("floor", core=_SERVER_CORE) as floor,
        Program("load", server.port) as audience,
        Program("load", int(floor.hear()["port"]), 2) as floor_audience,
    ):
        audience.connect(1, _watch(server))
        filler = _filler(server, audience)
        audience.ask("drop")
        audience.connect(viewers, _watch(server))
        floor_audience.connect(viewers, "/live/live")
        for _ in range(rounds):
            audience.ask("reset")
            server.settle()
            _steadily(frames, pause_seconds, lambda: server.publish(stamped(filler)))
            audience.wait_for_entries(frames)
            stats = audience.ask("stats")
            half.append(stats["p50_us"] / 1000)
            most.append(stats["p99_us"] / 1000)
            floor_audience.ask("reset")
            _steadily(frames, pause_seconds, lambda: floor.ask(f"send {PAYLOAD}"))
            floor_audience.wait_for_entries(frames)
            stats = floor_audience.ask("stats")
            floor_half.append(stats["p50_us"] / 1000)
            floor_most.append(stats["p99_us"] / 1000)
    return [
        Row(
            f"publish to screen, {viewers:,} viewers, {quantile}",
            f"{Spread.of(values).show('ms')}; floor {Spread.of(bare).show('ms')}",
        )
        for quantile, values, bare in (("p50", half, floor_half), ("p99", most, floor_most))
    ]


def latency(scale: Scale) -> list[Row]:
    """From the moment before the post is sent to the moment when a viewer's socket was read."""
    return [
        *_latency(scale.viewers, scale.frames, scale.pause_seconds * 2, scale.rounds),
        *_latency(scale.many, scale.many_frames, scale.many_pause_seconds, scale.rounds),
    ]


async def _post_for(server: Server, seconds: float) -> list[float]:
    """Post from many connections, each waiting for its answer; how long each post took."""
    took: list[float] = []
    stop_at = time.monotonic() + seconds

    async def write() -> None:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        try:
            while time.monotonic() < stop_at:
                began = time.monotonic()
                body = orjson.dumps({"body": stamped(300)})
                writer.write(
                    b"POST /api/blogs/live/posts HTTP/1.1\r\n"
                    b"Host: %b:%d\r\nAuthorization: Bearer %b\r\n"
                    b"Content-Type: application/json\r\nIdempotency-Key: %b\r\n"
                    b"Content-Length: %d\r\n\r\n%b"
                    % (
                        HOST.encode(),
                        server.port,
                        server.token.encode(),
                        secrets.token_hex(8).encode(),
                        len(body),
                        body,
                    )
                )
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                if not head.startswith(b"HTTP/1.1 201"):
                    raise BenchError(f"a post was refused: {head.decode(errors='replace')}")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await asyncio.wait_for(reader.readexactly(length), 10)
                took.append(time.monotonic() - began)
        finally:
            writer.close()

    async with asyncio.TaskGroup() as writers:
        for _ in range(WRITERS):
            writers.create_task(write())
    return took


def posting(scale: Scale) -> list[Row]:
    """Posts that were acknowledged, and so are on the disk, for each second."""
    rates, slow = [], []
    with on_core(_LOAD_CORE), Server(core=_SERVER_CORE) as server:
        durability = server.durability()
        asyncio.run(_post_for(server, 0.5))
        for _ in range(scale.rounds):
            before = server.head()[1]
            began = time.monotonic()
            took = asyncio.run(_post_for(server, scale.posting_seconds))
            rates.append(len(took) / (time.monotonic() - began))
            slow.append(sorted(took)[round(0.99 * (len(took) - 1))] * 1000)
            stored = server.head()[1] - before
            if stored != len(took):
                raise BenchError(f"{len(took)} posts were acknowledged, {stored} stand in the log")
    what = f"durable posts a second through HTTP, {WRITERS} writers ({durability})"
    return [
        Row(what, Spread.of(rates).show(digits=0)),
        Row("a post, from its sending to its acknowledgement, p99", Spread.of(slow).show("ms")),
    ]


_WORDS = (
    "The panel on open data has begun: three cities showed what they publish and who uses it. "
    "Slides are at https://example.org/slides, questions are collected on paper. "
    "**Next** at 14:30: the workshop in room B, with _lunch_ left over in the foyer."
)


def _fill_the_page(server: Server) -> None:
    for number in range(POSTS_ON_THE_PAGE):
        # No two posts alike, or gzip would make thirty weigh as much as one.
        start = number * 37 % len(_WORDS)
        extra = secrets.token_urlsafe(24)
        server.publish(f"{_WORDS[start:]} {_WORDS[:start]} Seat {number}, ticket {extra}.")


def weight(scale: Scale) -> list[Row]:
    """What a first visit to the feed brings over the network, without pictures."""
    del scale
    with Server() as server:
        _fill_the_page(server)
        weighed = weigh(server.port, "/live")
    by = "" if weighed.server_compresses else ", as gzip (the smallest go out plain)"
    total, scripts = weighed.total / 1000, weighed.js / 1000
    return [
        Row(
            f"page weight, {POSTS_ON_THE_PAGE} posts, {weighed.files + 1} files{by}",
            f"{total:.1f} kB (HTML {weighed.html / 1000:.1f}, CSS {weighed.css / 1000:.1f},"
            f" JS {scripts:.1f})",
            f"under {PAGE_AIM_KB} kB",
            total < PAGE_AIM_KB,
        ),
        Row("of this, JS", f"{scripts:.1f} kB", f"under {JS_AIM_KB} kB", scripts < JS_AIM_KB),
    ]


def painting(scale: Scale) -> list[Row]:
    """How soon a phone on a slow network shows words."""
    with Server() as server:
        _fill_the_page(server)
        paints = first_paints(server.port, "/live", scale.paints)
    return [
        Row(
            "first contentful paint in Chromium, 1.6 Mbit/s and 150 ms",
            Spread.of(paints).show("ms", 0),
        )
    ]


ROWS: dict[str, Callable[[Scale], list[Row]]] = {
    "delivery": delivery,
    "deflate": deflate,
    "memory": memory,
    "joining": joining,
    "latency": latency,
    "posting": posting,
    "weight": weight,
    "paint": painting,
}
