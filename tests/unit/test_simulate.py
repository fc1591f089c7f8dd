"""The model of what an audience needs, and that the docs show what it says."""

from __future__ import annotations

import pytest

from bench.simulate import Costs, Hour, Machine, memory_mib, needs, on_the_wire, read_costs, table
from tests.support import ROOT

COSTS = Costs(
    frame_us=4.0,
    connect_us=200.0,
    post_us=700.0,
    page_us=200.0,
    viewer_kib=4.0,
    process_mib=64.0,
    supervisor_mib=32.0,
    frame_bytes=1_000.0,
    deflated_share=0.5,
    page_bytes=5_000.0,
    visit_bytes=25_000.0,
    announcement_us=5.0,
)


@pytest.mark.parametrize("cdn", [False, True])
def test_the_docs_show_what_the_model_says(cdn: bool) -> None:
    assert table(read_costs(), cdn=cdn) in (ROOT / "docs" / "scaling.md").read_text()


def test_a_packet_each_and_one_more_for_what_is_over() -> None:
    assert on_the_wire(1_448) == 1_448 + 66
    assert on_the_wire(1_449) == 1_449 + 2 * 66


def test_ten_times_the_viewers_take_ten_times_the_cores_and_the_network() -> None:
    small, large = (needs(count, COSTS, cdn=False) for count in (1_000_000, 10_000_000))

    assert large.delivery_cores == pytest.approx(10 * small.delivery_cores)
    assert large.delivery_gigabits == pytest.approx(10 * small.delivery_gigabits)
    assert large.storm_cores == pytest.approx(10 * small.storm_cores)


def test_files_bound_a_process_and_then_cores_do() -> None:
    by_files = needs(198_000, COSTS, cdn=True, machine=Machine(viewers_a_process=19_800))
    by_cores = needs(198_000, COSTS, cdn=True, hour=Hour(entries_a_second=100.0))

    assert by_files.processes == 10
    assert by_cores.processes == pytest.approx(2 * by_cores.delivery_cores, abs=1)


def test_a_cdn_takes_the_pages_and_leaves_the_joins() -> None:
    without, behind = (needs(10_000_000, COSTS, cdn=cdn) for cdn in (False, True))

    joins = 10_000_000 / Hour().storm_seconds * COSTS.connect_us / 1e6
    assert without.storm_cores > behind.storm_cores > joins
    assert behind.storm_cores == pytest.approx(joins, rel=0.01)


def test_each_machine_of_several_processes_has_a_supervisor() -> None:
    assert memory_mib(COSTS, 0, 1) == COSTS.process_mib
    assert memory_mib(COSTS, 0, 16, machines=2) == 16 * COSTS.process_mib + 2 * COSTS.supervisor_mib


def test_the_least_is_one_of_each() -> None:
    need = needs(1, COSTS, cdn=False)

    assert (need.processes, need.machines, need.shards) == (1, 1, 1)
