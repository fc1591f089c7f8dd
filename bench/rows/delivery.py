"""What it costs to write an entry to those who read along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from bench import peers
from bench.programs import BenchError, Program, on_core
from bench.rows.measuring import (
    HEAD,
    LOAD_CORE,
    PAYLOAD,
    REST_MICROSECONDS,
    SERVER_CORE,
    Row,
    Scale,
    Spread,
    Stage,
    apart,
    watch,
)
from bench.rows.words import WORDS
from bench.server import Server, cpu_seconds, stamped

SINGLE_SECONDS = 0.15
BURST_SECONDS = 0.02
# Twice what the hub gathers for.
_FEWEST_SECONDS = 0.03

_FLOOR_AIM = 1.15
_PEER_AIMS = {"nchan": 1.0, "plain Starlette": 0.55}


@contextmanager
def staged(*, workers: int = 1) -> Iterator[tuple[Stage, Program]]:
    """A server and an audience for its blog `live`."""
    with (
        on_core(LOAD_CORE),
        Server("--workers", str(workers), core=SERVER_CORE) as server,
        Program("load", server.port) as quiet,
        Program("load", server.port) as audience,
    ):
        audience.ask(f"rest {REST_MICROSECONDS}")
        yield Stage(server, quiet), audience


@dataclass
class _Other:
    """The floor, or a peer, with an audience of its own."""

    name: str
    source: Program | peers.Peer
    audience: Program

    def cpu_seconds(self) -> float:
        if isinstance(self.source, Program):
            return cpu_seconds([self.source.pid])
        return self.source.cpu_seconds()

    def send(self, size: int) -> None:
        if not isinstance(self.source, Program):
            self.source.send(size)
        elif self.source.ask(f"send {size}")["blocked"]:
            raise BenchError("the floor's viewers read too slowly")

    def frames(self, count: int, pause_seconds: float, size: int = PAYLOAD) -> float:
        """CPU seconds for so many frames of `size` bytes of text to everybody."""
        self.audience.ask("reset")
        before = self.cpu_seconds()
        apart(count, pause_seconds, lambda: self.send(size))
        self.audience.wait_for_entries(count)
        return self.cpu_seconds() - before


def _others(stack: ExitStack, scale: Scale, rows: list[Row]) -> list[_Other]:
    floor = stack.enter_context(Program("floor", core=SERVER_CORE))
    audience = stack.enter_context(Program("load", int(floor.hear()["port"])))
    audience.connect(scale.viewers, "/live/live")
    others = [_Other("the floor", floor, audience)]
    for name in peers.NAMES:
        if why_not := peers.missing(name):
            rows.append(Row(f"CPU a delivered frame, {name}", why_not))
            continue
        peer = stack.enter_context(peers.Peer(name, core=SERVER_CORE))
        audience = stack.enter_context(Program("load", peer.port))
        audience.connect(scale.viewers, peer.path)
        others.append(_Other(name, peer, audience))
    for other in others:
        other.audience.ask(f"rest {REST_MICROSECONDS}")
    return others


def delivery(scale: Scale) -> list[Row]:
    """CPU for each delivered frame, as a ratio to the floor's and to peers' in the same round."""
    rows: list[Row] = []
    with staged() as (stage, audience), ExitStack() as stack:
        audience.connect(scale.viewers, watch(stage.server))
        others = _others(stack, scale, rows)
        deliveries = scale.viewers * scale.frames
        ours, whole, sizes = [], [], []
        theirs: dict[str, list[float]] = {other.name: [] for other in others}
        for _ in range(scale.rounds):
            used = stage.delivery([audience], scale.viewers, scale.frames, scale.pause_seconds)
            stats = audience.ask("stats")
            size = round(stats["entry_bytes"] / stats["entries"])
            sizes.append(size)
            ours.append(used.alone)
            whole.append(used.whole)
            for other in others:
                theirs[other.name].append(
                    other.frames(scale.frames, scale.pause_seconds, size - HEAD)
                )

    def ratio(mine: list[float], name: str) -> Spread:
        return Spread.of(a / b for a, b in zip(mine, theirs[name], strict=True))

    what = f"CPU a delivered frame of {median(sizes):,.0f} bytes, {scale.viewers:,} viewers"
    each = {
        name: Spread.of(value / deliveries * 1e6 for value in values)
        for name, values in {"here": ours, **theirs}.items()
    }
    rows = [
        Row(f"{what}: the floor", each["the floor"].show("µs", 2)),
        Row(
            f"{what}: here",
            each["here"].show("µs", 2),
            costs=(("frame_us", each["here"].middle), ("frame_bytes", median(sizes))),
        ),
        ratio(ours, "the floor").at_most(f"{what}: ratio to the floor", _FLOOR_AIM),
        # No aim: the floor is handed its frame, nobody has to check, store and render one for it.
        Row(
            "the same, with taking, storing and rendering the posts",
            ratio(whole, "the floor").show(digits=2),
        ),
        *rows,
    ]
    for name in theirs:
        if name in _PEER_AIMS:
            rows.append(ratio(ours, name).at_most(f"{what}: ratio to {name}", _PEER_AIMS[name]))
        elif name != "the floor":
            rows.append(Row(f"{what}: ratio to {name}", ratio(ours, name).show(digits=2)))
        if name != "the floor":
            rows.append(Row(f"{what}: {name}", each[name].show("µs", 2)))
    return rows


def deflate(scale: Scale) -> list[Row]:
    """What compressing each frame once costs and saves, against plain frames in the same round."""
    costs, sizes = [], []
    with (
        on_core(LOAD_CORE),
        Server(core=SERVER_CORE) as server,
        Program("load", server.port) as plain,
        Program("load", server.port) as squeezed,
    ):
        if "error" in squeezed.ask("deflate 1"):
            raise BenchError("no zlib for the audience: install its headers (zlib1g-dev)")
        for blog, audience in (("plain", plain), ("squeezed", squeezed)):
            server.make_blog(blog)
            audience.connect(scale.viewers, watch(server, blog))
            audience.ask(f"rest {REST_MICROSECONDS}")

        def post(blog: str, audience: Program) -> tuple[float, float]:
            audience.ask("reset")
            server.settle()
            before = server.cpu_seconds()
            apart(
                scale.frames,
                scale.pause_seconds,
                lambda: server.publish(f"{stamped()} {WORDS}", blog=blog),
            )
            audience.wait_for_entries(scale.frames)
            used = server.cpu_seconds() - before
            return used, audience.ask("stats")["entry_bytes"]

        for _ in range(scale.few_rounds):
            as_is, small = post("plain", plain), post("squeezed", squeezed)
            costs.append(small[0] / as_is[0])
            sizes.append(small[1] / as_is[1])
    size = Spread.of(sizes)
    what = "with shared deflate, against plain frames"
    share = size.at_most(f"bytes {what}", 0.55)
    return [
        Spread.of(costs).at_most(f"CPU {what}", 1.1),
        share.costing(deflated_share=size.middle),
    ]


def bursts(scale: Scale) -> list[Row]:
    """CPU an entry when many come close together, against entries that come alone."""
    ratios = []
    with staged() as (stage, audience):
        audience.connect(scale.viewers, watch(stage.server))
        for _ in range(scale.few_rounds):
            few, many = scale.frames // 2, 3 * scale.frames
            alone = stage.delivery([audience], scale.viewers, few, SINGLE_SECONDS).alone
            together = stage.burst(audience, many, BURST_SECONDS)
            ratios.append(together / many / (alone / few))
    what = "CPU an entry to deliver, 50 a second, against entries that come alone"
    return [Spread.of(ratios).at_most(what, 0.5)]


def sizes(scale: Scale) -> list[Row]:
    """CPU a frame with few viewers and with as many as a process takes."""
    ratios: list[float] = []
    few = max(20, scale.many // 100)
    counts = (few, scale.many // 10, scale.idle, scale.most)
    with (
        staged() as (stage, first),
        Program("load", stage.server.port, 3) as second,
        Program("floor", core=SERVER_CORE) as floor,
        Program("load", int(floor.hear()["port"]), 5) as floor_audience,
    ):
        for audience in (second, floor_audience):
            audience.ask(f"rest {REST_MICROSECONDS}")
        bare = _Other("the floor", floor, floor_audience)
        floors: list[float] = []
        each: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(scale.few_rounds):
            for audience in (first, second, floor_audience):
                audience.ask("drop")
            here = floor_here = 0
            bottoms = []
            for count in counts:
                half = (count - here) // 2
                address = watch(stage.server)
                first.connect(count - here - half, address)
                second.connect(half, address)
                here = count
                # The fewer, the more frames: what they cost must stand out from the posting.
                frames = min(
                    20 * scale.many_frames, max(8, 30_000 * scale.many_frames // (15 * count))
                )
                pause = max(_FEWEST_SECONDS, count * 25e-6)
                used = stage.delivery([first, second], count, frames, pause).alone
                each[count].append(used / frames / count * 1e6)
                floor_audience.connect(count - floor_here, "/live/live")
                floor_here = count
                bottoms.append(bare.frames(frames, pause) / frames / count)
            newest = [each[count][-1] for count in counts]
            ratios.append(max(newest) / min(newest))
            floors.append(max(bottoms) / min(bottoms))
    what = f"CPU a frame, dearest to cheapest of {counts[0]:,} to {counts[-1]:,} viewers"
    return [
        *(
            Row(f"CPU a delivered frame, {count:,} viewers", Spread.of(used).show("µs", 2))
            for count, used in each.items()
        ),
        Spread.of(ratios).at_most(what, 1.15),
        Row(f"{what}: the floor's own", Spread.of(floors).show(digits=2)),
    ]


def event_stream(scale: Scale) -> list[Row]:
    """CPU of delivering to event streams, against WebSockets in the same round."""
    ratios = []
    with staged() as (stage, sockets), Program("load", stage.server.port) as streams:
        streams.ask("events 1")
        streams.ask(f"rest {REST_MICROSECONDS}")
        for _ in range(scale.few_rounds):
            used = []
            for audience in (sockets, streams):
                audience.connect(scale.viewers, watch(stage.server))
                used.append(
                    stage.delivery(
                        [audience], scale.viewers, scale.frames, scale.pause_seconds
                    ).alone
                )
                audience.ask("drop")
            ratios.append(used[1] / used[0])
    what = f"CPU to deliver to event streams, against WebSockets, {scale.viewers:,} viewers"
    return [Spread.of(ratios).at_most(what, 1.15)]


def workers(scale: Scale) -> list[Row]:
    """Frames for each CPU-second of two workers, against one with the same audience."""
    used: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(scale.few_rounds):
        for count in (1, 2):
            with staged(workers=count) as (stage, audience):
                viewers, frames = 2 * scale.viewers, scale.frames // 2
                audience.connect(viewers, watch(stage.server))
                used[count].append(
                    stage.delivery([audience], viewers, frames, 2 * scale.pause_seconds).alone
                )
    spread = Spread.of(2 * one / two for one, two in zip(used[1], used[2], strict=True))
    what = "frames that two workers deliver with two CPU-seconds, against one worker with one"
    return [spread.at_least(what, 1.8)]
