"""The model of docs/scaling.md against what is measured, at two sizes that it wasn't made from."""

from __future__ import annotations

from dataclasses import dataclass

from bench.programs import Program, on_core
from bench.rows.joining import BACKLOG
from bench.rows.measuring import (
    LOAD_CORE,
    REST_MICROSECONDS,
    SERVER_CORE,
    Row,
    Scale,
    Spread,
    Stage,
    watch,
)
from bench.server import Server, stamped
from bench.simulate import Costs, connect_seconds, delivery_seconds, memory_mib

_FRAMES = 20


@dataclass(frozen=True, slots=True)
class _Size:
    viewers: int
    workers: int


def prediction(scale: Scale, costs: Costs) -> list[Row]:
    """What was measured beside what was predicted."""
    rows = []
    for size in (_Size(scale.idle, 1), _Size(scale.many + scale.idle, 2)):
        measured: dict[str, list[float]] = {"connect": [], "delivery": [], "memory": []}
        for _ in range(scale.few_rounds):
            for name, value in _measured(scale, size).items():
                measured[name].append(value)
        predicted = {
            "connect": connect_seconds(costs, size.viewers),
            "delivery": delivery_seconds(costs, size.viewers, _FRAMES),
            "memory": memory_mib(costs, size.viewers, size.workers),
        }
        where = f"{size.viewers:,} viewers, {size.workers} worker{'s' if size.workers > 1 else ''}"
        for name, what, unit, digits in (
            ("connect", "CPU until all are current", "s", 2),
            ("delivery", f"CPU to deliver {_FRAMES} entries", "s", 2),
            ("memory", "memory of all processes", "MiB", 0),
        ):
            spread = Spread.of(measured[name])
            shown = f"{predicted[name]:.{digits}f} {unit}; measured {spread.show(unit, digits)}"
            rows.append(Row(f"predicted, {where}: {what}", shown))
    return rows


def _measured(scale: Scale, size: _Size) -> dict[str, float]:
    with (
        on_core(LOAD_CORE),
        Server("--workers", str(size.workers), core=SERVER_CORE) as server,
        Program("load", server.port) as quiet,
        Program("load", server.port) as audience,
    ):
        stage = Stage(server, quiet)
        old = watch(server)
        for _ in range(BACKLOG):
            server.publish(stamped(stage.filler))
        audience.connect(2 * size.workers, old)
        server.settle()
        before = server.cpu_seconds()
        audience.connect(size.viewers - 2 * size.workers, old)
        audience.wait_for_entries(BACKLOG)
        connect = server.cpu_seconds() - before
        server.settle()
        memory = server.memory_kib() / 1024
        audience.ask(f"rest {REST_MICROSECONDS}")
        pause = max(scale.pause_seconds, size.viewers * 25e-6)
        delivery = stage.delivery([audience], size.viewers, _FRAMES, pause).alone
    return {"connect": connect, "delivery": delivery, "memory": memory}
