"""How long a post takes to the screens, and what readers who have stopped do to the others."""

from __future__ import annotations

import time

from bench.programs import BenchError, Program, on_core
from bench.rows.delivery import staged
from bench.rows.measuring import (
    LOAD_CORE,
    PAYLOAD,
    SERVER_CORE,
    Row,
    Scale,
    Spread,
    apart,
    watch,
)
from bench.server import Server, stamped

_LAST_AIM = 1.3
_OTHERS_AIM = 1.2
_FREED_AIM_SECONDS = 30
_FAT_POSTS = 12
_FAT_CHARACTERS = 18_000
# One write is all that is held for a viewer who waits: the mark is zero (decision 9).
STALLED_KIB_MOST = 64


def latency(scale: Scale) -> list[Row]:
    """From the moment before the post is sent to the moment when a viewer's socket was read."""
    return [
        *_latency(scale.viewers, scale.frames, 2 * scale.pause_seconds, scale.few_rounds),
        *_latency(
            scale.many, scale.many_frames, scale.many_pause_seconds, scale.few_rounds, aim=_LAST_AIM
        ),
    ]


def _latency(
    viewers: int, frames: int, pause_seconds: float, rounds: int, aim: float | None = None
) -> list[Row]:
    half, most, floor_half, floor_most = [], [], [], []
    with (
        staged() as (stage, audience),
        Program("floor", core=SERVER_CORE) as floor,
        Program("load", int(floor.hear()["port"]), 2) as floor_audience,
    ):
        audience.ask("rest 0")
        audience.connect(viewers, watch(stage.server))
        floor_audience.connect(viewers, "/live/live")
        for _ in range(rounds):
            stage.post("live", [audience], frames, pause_seconds)
            stats = audience.ask("stats")
            half.append(stats["p50_us"] / 1000)
            most.append(stats["p99_us"] / 1000)
            floor_audience.ask("reset")
            apart(frames, pause_seconds, lambda: floor.ask(f"send {PAYLOAD}"))
            floor_audience.wait_for_entries(frames)
            stats = floor_audience.ask("stats")
            floor_half.append(stats["p50_us"] / 1000)
            floor_most.append(stats["p99_us"] / 1000)
    rows = [
        Row(
            f"publish to screen, {viewers:,} viewers, {quantile}",
            f"{Spread.of(values).show('ms')}; floor {Spread.of(bare).show('ms')}",
        )
        for quantile, values, bare in (("p50", half, floor_half), ("p99", most, floor_most))
    ]
    if aim is not None:
        ratio = Spread.of(a / b for a, b in zip(most, floor_most, strict=True))
        rows.append(
            ratio.at_most(f"publish to the last of {viewers:,} viewers, p99 to floor's", aim)
        )
    return rows


def stalled(scale: Scale) -> list[Row]:
    """Readers who stop reading, among others who don't."""
    ratios, memories, freed = [], [], []
    for _ in range(scale.few_rounds):
        with (
            on_core(LOAD_CORE),
            Server(core=SERVER_CORE) as server,
            Program("load", server.port) as audience,
            Program("load", server.port, 2) as stuck,
        ):
            audience.connect(scale.idle - scale.stalled, watch(server))
            stuck.ask("buffer 4096")
            stuck.connect(scale.stalled, watch(server))

            def tail(server: Server = server, audience: Program = audience) -> float:
                audience.ask("reset")
                apart(
                    scale.frames // 2,
                    2 * scale.pause_seconds + scale.idle * 20e-6,
                    lambda: server.publish(stamped(300)),
                )
                audience.wait_for_entries(scale.frames // 2)
                return audience.ask("stats")["p99_us"]

            def growth(server: Server = server, audience: Program = audience) -> int:
                audience.ask("reset")
                server.settle()
                before = server.memory_kib()
                for _ in range(_FAT_POSTS):
                    server.publish(stamped(_FAT_CHARACTERS))
                audience.wait_for_entries(_FAT_POSTS)
                return server.memory_kib() - before

            without = tail()
            growth()
            anyway = growth()
            stuck.ask("stall")
            began = time.monotonic()
            memories.append(max(0.0, (growth() - anyway) / scale.stalled))
            ratios.append(tail() / without)
            freed.append(_seconds_until_gone(server, scale.idle - scale.stalled, began))
    what = f"{scale.stalled} readers stop among {scale.idle:,}"
    return [
        Spread.of(ratios).at_most(f"{what}: the others' p99, against without them", _OTHERS_AIM),
        Spread.of(memories).at_most(f"{what}: memory for each of them", STALLED_KIB_MOST, "KiB", 1),
        Spread.of(freed).at_most(
            f"{what}: until their sockets are freed", _FREED_AIM_SECONDS, "s", 0
        ),
    ]


def _seconds_until_gone(server: Server, left: int, began: float) -> float:
    while time.monotonic() - began < 2 * _FREED_AIM_SECONDS:
        if server.metric("liveblog_viewers") <= left:
            return time.monotonic() - began
        time.sleep(0.25)
    raise BenchError("readers who had stopped were never freed")
