"""Who holds a data directory is believed of living processes only."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from liveblog.store import holder
from liveblog.store.embedded import running_url
from liveblog.store.holder import Holder, Process
from tests.support import eventually, lacking

HOLDER = Holder(
    server=holder.me(),
    since=datetime(2026, 11, 28, 14, 0, tzinfo=UTC),
    socket="/data/store/store.sock",
    valkey=Process(7, "1234"),
    address="http://127.0.0.1:8000",
)


def by_ps(pid: int) -> str | None:
    if shutil.which("ps") is None:
        lacking("ps")
    return holder.born_by_ps(pid)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("born", [holder.born, by_ps])
async def test_a_process_is_born_once_and_a_zombie_is_dead(
    born: Callable[[int], str | None], child: subprocess.Popen[bytes]
) -> None:
    assert born(child.pid)
    assert born(child.pid) == born(child.pid)

    child.kill()

    await eventually(lambda: born(child.pid) is None)
    os.kill(child.pid, 0)  # It isn't reaped yet: the system still takes signals for it.
    child.wait()
    assert born(child.pid) is None


def test_a_later_process_under_the_same_pid_is_another() -> None:
    me = holder.me()

    assert me.lives()
    assert not replace(me, born="0").lives()


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    holder.write(tmp_path, HOLDER)

    assert holder.read(tmp_path) == HOLDER
    assert [path.name for path in tmp_path.iterdir()] == ["holder.json"]

    holder.forget(tmp_path)
    assert holder.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", '{"server":', "{}", '{"server": 7}'])
def test_half_a_note_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "holder.json").write_text(text)

    assert holder.read(tmp_path) is None


def test_only_a_living_server_has_an_address(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert running_url(tmp_path) is None

    holder.write(tmp_path / "store", HOLDER)
    assert running_url(tmp_path) == "unix:///data/store/store.sock"

    holder.write(tmp_path / "store", replace(HOLDER, server=Process(os.getpid(), "0")))
    assert running_url(tmp_path) is None


def test_the_kernel_names_who_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert holder.listener(path) is None

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert holder.listener(path) == os.getpid()

    assert holder.listener(path) is None


def test_a_lock_is_held_as_long_as_any_copy_of_it_is_open(tmp_path: Path) -> None:
    lock = holder.locked(tmp_path / "lock")
    assert lock is not None
    assert holder.locked(tmp_path / "lock") is None

    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,)
    ) as child:
        os.close(lock)
        assert holder.locked(tmp_path / "lock") is None
        child.kill()

    again = holder.locked(tmp_path / "lock")
    assert again is not None
    os.close(again)
