"""What an audience needs in processes, machines, store and network, from what each thing costs.

`python -m bench.simulate` prints the tables of docs/scaling.md; `bench/costs.json` is what was
measured, the rest is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import msgspec

COSTS = Path(__file__).resolve().parent / "costs.json"
SIZES = (1_000, 100_000, 1_000_000, 10_000_000)

# Ethernet, IP and TCP with timestamps around each packet of at most 1,448 bytes.
PACKET_BYTES = 1_448
PACKET_HEAD_BYTES = 66


@dataclass(frozen=True, slots=True)
class Costs:
    """What one of each costs; from `bench/costs.json`, which `make bench` writes."""

    frame_us: float
    connect_us: float
    post_us: float
    page_us: float
    viewer_kib: float
    process_mib: float
    # Beyond its workers, which share their code with it and each other.
    supervisor_mib: float
    frame_bytes: float
    deflated_share: float
    page_bytes: float
    visit_bytes: float
    announcement_us: float


@dataclass(frozen=True, slots=True)
class Hour:
    """The busiest minutes of an event. Not measured: what is assumed."""

    entries_a_second: float = 1.0
    # The count of viewers, told every 5 s when it changes, and with many it always does.
    counts_a_second: float = 0.2
    storm_seconds: float = 30.0
    backlog_entries: int = 10
    # With a CDN in front: so many of its places ask for the page once a second, the rest are hits.
    cdn_places: int = 300


@dataclass(frozen=True, slots=True)
class Machine:
    """What one machine gives. Not measured: what is assumed."""

    cores: int = 8
    busy_at_most: float = 0.5
    memory_gib: float = 16.0
    gigabits: float = 7.0
    # What the usual hard limit of open files allows; a fan-out to them takes a third of a second.
    viewers_a_process: int = 19_800


@dataclass(frozen=True, slots=True)
class Needs:
    """What it takes. Gigabits a second go out; announcements a second leave the store."""

    processes: int
    machines: int
    delivery_cores: float
    storm_cores: float
    memory_gib: float
    delivery_gigabits: float
    storm_gigabits: float
    announcements_a_second: float
    store_cores: float
    shards: int


def on_the_wire(size: float) -> float:
    """Bytes on the network for `size` bytes of one write."""
    return size + PACKET_HEAD_BYTES * ceil(size / PACKET_BYTES)


def delivery_seconds(costs: Costs, viewers: int, entries: float) -> float:
    """CPU of all processes to deliver `entries`, each in a write of its own, to `viewers`."""
    return viewers * entries * costs.frame_us / 1e6


def connect_seconds(costs: Costs, viewers: float) -> float:
    """CPU of all processes until `viewers` have connected and are current."""
    return viewers * costs.connect_us / 1e6


def memory_mib(costs: Costs, viewers: int, processes: int, machines: int = 1) -> float:
    """Memory of all processes; the kernel's socket buffers are not in it."""
    supervisors = machines if processes > 1 else 0
    return (
        supervisors * costs.supervisor_mib
        + processes * costs.process_mib
        + viewers * costs.viewer_kib / 1024
    )


def needs(
    viewers: int,
    costs: Costs,
    *,
    cdn: bool,
    hour: Hour | None = None,
    machine: Machine | None = None,
) -> Needs:
    """What `viewers` of one blog take in its busiest minutes, when all of them come at once."""
    hour, machine = hour or Hour(), machine or Machine()
    # A count is a small frame, but the system call costs as much.
    writes_a_second = hour.entries_a_second + hour.counts_a_second
    delivery_cores = delivery_seconds(costs, viewers, writes_a_second)
    come_a_second = viewers / hour.storm_seconds
    pages_a_second = min(come_a_second, hour.cdn_places) if cdn else come_a_second
    storm_cores = connect_seconds(costs, come_a_second) + pages_a_second * costs.page_us / 1e6
    cores = max(delivery_cores, storm_cores) / machine.busy_at_most
    processes = max(ceil(viewers / machine.viewers_a_process), ceil(cores))

    frame = costs.frame_bytes * costs.deflated_share
    each = hour.entries_a_second * on_the_wire(frame) + hour.counts_a_second * on_the_wire(34)
    delivery = viewers * each * 8 / 1e9
    visit = pages_a_second * (costs.page_bytes if cdn else costs.visit_bytes)
    backlog = come_a_second * on_the_wire(frame * hour.backlog_entries)
    storm = (visit + backlog) * 8 / 1e9
    announcements = processes * hour.entries_a_second
    store_cores = announcements * costs.announcement_us / 1e6
    machines = max(
        ceil(processes / machine.cores),
        ceil(max(delivery, storm) / machine.gigabits),
        ceil(memory_mib(costs, viewers, processes) / 1024 / machine.memory_gib),
    )
    memory = memory_mib(costs, viewers, processes, machines) / 1024
    return Needs(
        processes=processes,
        machines=machines,
        delivery_cores=delivery_cores,
        storm_cores=storm_cores,
        memory_gib=memory,
        delivery_gigabits=delivery,
        storm_gigabits=storm,
        announcements_a_second=announcements,
        store_cores=store_cores,
        shards=max(1, ceil(store_cores / machine.busy_at_most)),
    )


def read_costs(path: Path = COSTS) -> Costs:
    """The measured costs. Raises: OSError; msgspec.ValidationError where one is missing."""
    return msgspec.json.decode(path.read_bytes(), type=Costs)


def table(costs: Costs, *, cdn: bool, sizes: Sequence[int] = SIZES) -> str:
    """What each size takes, as a table in Markdown."""
    heads = (
        "viewers",
        "processes",
        "machines",
        "cores to deliver",
        "cores in the storm",
        "memory",
        "network to deliver",
        "network in the storm",
        "announcements a second",
        "store",
        "shards",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for viewers in sizes:
        need = needs(viewers, costs, cdn=cdn)
        cells = (
            f"{viewers:,}",
            f"{need.processes:,}",
            f"{need.machines:,}",
            _short(need.delivery_cores),
            _short(need.storm_cores),
            f"{_short(need.memory_gib)} GiB",
            f"{_short(need.delivery_gigabits)} Gbit/s",
            f"{_short(need.storm_gigabits)} Gbit/s",
            f"{need.announcements_a_second:,.0f}",
            f"{need.store_cores:.2%} of a core",
            f"{need.shards:,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


if __name__ == "__main__":
    measured = read_costs()
    print(f"Without a CDN\n\n{table(measured, cdn=False)}\n")
    print(f"With a CDN\n\n{table(measured, cdn=True)}")
