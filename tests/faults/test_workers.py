"""Several workers serve as one does: killed, replaced or stopped, they lose and double nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from liveblog.delivery.server import listening
from liveblog.settings import Settings
from liveblog.store.keys import BlogKeys
from liveblog.store.log import Log
from liveblog.supervisor import Worker
from liveblog.web.operations import Counted
from liveblog.worker import LINE_MOST_BYTES, Answer, Assignment
from tests.oracle import Poster, Truth, Watcher, all_hold, check_acknowledged, metric
from tests.support import OWNER_TOKEN, Server, eventually, processes_of
from tests.worlds import a_blog, connected, meddling, store_url

TWO = ("--workers", "2")


def workers_of(server: Server) -> list[int]:
    """The pids of its workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if int(parent) == server.pid and b"liveblog.worker" in words:
                found.append(int(folder.name))
    return sorted(found)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def sockets_of(pid: int) -> int:
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count


@asynccontextmanager
async def followed(server: Server, count: int = 12) -> AsyncIterator[list[Watcher]]:
    """Watchers that follow already, so many that no worker is without."""
    async with contextlib.AsyncExitStack() as stack:
        watchers = [await stack.enter_async_context(Watcher(server.url)) for _ in range(count)]
        await eventually(lambda: all(watcher.is_following for watcher in watchers), 15)
        yield watchers


def count_told(watcher: Watcher) -> int | None:
    """How many read along, as it was last told."""
    for raw in reversed(watcher.raw):
        frame = json.loads(raw)
        if frame["type"] in ("welcome", "viewers"):
            count: int = frame["viewers" if frame["type"] == "welcome" else "count"]
            return count
    return None


async def acknowledged(poster: Poster, count: int) -> None:
    await eventually(lambda: len(poster.acknowledged) > count, 20)


async def settled(server: Server, poster: Poster, watchers: list[Watcher]) -> None:
    """Everybody comes to hold the log, and all that was acknowledged is in it, once."""
    truth = await Truth.of(store_url(server))
    await all_hold(watchers, truth.head)
    check_acknowledged(poster.acknowledged, truth.entries)
    truth.check(*watchers)
    for watcher in watchers:
        assert watcher.told_afresh == 0, "its cursor was good all the time"


async def test_each_worker_takes_its_share_and_all_see_the_same(tmp_path: Path) -> None:
    async with Server(tmp_path, *TWO) as server:
        before = {pid: sockets_of(pid) for pid in workers_of(server)}
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(60)]
        await eventually(
            lambda: sum(sockets_of(pid) - before[pid] for pid in before) >= len(idle), 10
        )
        shares = [sockets_of(pid) - count for pid, count in before.items()]
        for _, writer in idle:
            writer.close()
        async with followed(server) as watchers, Poster(server) as poster:
            await poster.storm(150)
            await settled(server, poster, watchers)
            count = len(watchers)
            await eventually(lambda: all(count_told(watcher) == count for watcher in watchers), 30)
            assert await metric(server, "liveblog_viewers") == count
        assert await metric(server, "liveblog_workers") == 2

    assert len(shares) == 2
    assert min(shares) >= 10, shares


async def test_a_worker_killed_in_mid_burst_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with (
        Server(tmp_path, *TWO) as server,
        followed(server) as watchers,
        Poster(server) as poster,
    ):
        counted = [0.0]
        storm = asyncio.create_task(poster.storm(300))
        for number, pid in enumerate(workers_of(server), 1):
            await acknowledged(poster, number * 80)
            counted.append(await metric(server, "liveblog_frames_total"))
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: server.log.count("worker_ready") == 2 + number, 20)
        await asyncio.wait_for(storm, 40)
        await settled(server, poster, watchers)
        counted.append(await metric(server, "liveblog_frames_total"))
        assert len(workers_of(server)) == 2

    assert server.log.count("worker_died") == 2
    assert any(watcher.joins > 1 for watcher in watchers)
    assert counted == sorted(counted), "a total went back"
    assert counted[-2] > 0


async def test_a_renewal_refuses_nobody_and_every_viewer_goes_on(tmp_path: Path) -> None:
    async with (
        Server(tmp_path, *TWO) as server,
        followed(server) as watchers,
        Poster(server) as poster,
    ):
        before = workers_of(server)
        stop = asyncio.Event()
        answers: list[int] = []

        async def write(number: int) -> None:
            # Each on a connection of its own, and nothing is sent a second time.
            while not stop.is_set():
                answers.append(await posted(server, f"{number} {len(answers)}"))

        async with asyncio.TaskGroup() as writers:
            for number in range(4):
                writers.create_task(write(number))
            await eventually(lambda: len(answers) > 20, 20)
            os.kill(server.pid, signal.SIGHUP)
            await eventually(lambda: '"renewed"' in server.log, 40)
            stop.set()
        await settled(server, poster, watchers)
        after = workers_of(server)

    assert len(after) == 2
    assert not set(before) & set(after)
    assert set(answers) == {201}
    for watcher in watchers:
        assert set(watcher.closes) == {4001}


async def posted(server: Server, body: str) -> int:
    """The status that a post is answered with. Raises where it isn't answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    content = json.dumps({"body": body}).encode()
    writer.write(
        b"POST /api/blogs/live/posts HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n"
        b"Authorization: Bearer %b\r\nIdempotency-Key: %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (
            server.port,
            server.owner_token.encode(),
            secrets.token_hex(8).encode(),
            len(content),
            content,
        )
    )
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


async def test_a_stop_sends_all_viewers_away_and_leaves_nothing_running(tmp_path: Path) -> None:
    async with (
        Server(tmp_path, *TWO) as server,
        Poster(server) as poster,
        followed(server) as watchers,
    ):
        await poster.storm(20)
        workers = workers_of(server)
        code = await server.terminate(30)
        await eventually(lambda: all(watcher.closes for watcher in watchers), 10)

    assert code == 0
    assert not any(lives(pid) for pid in workers)
    assert processes_of(server.data) == []
    for watcher in watchers:
        assert watcher.closes[0] == 4001


async def test_what_a_killed_supervisor_leaves_ends_by_itself(tmp_path: Path) -> None:
    async with Server(tmp_path, *TWO) as server:
        workers = workers_of(server)
        assert all(lives(pid) for pid in workers)
        server.kill()
        await eventually(lambda: not any(lives(pid) for pid in workers), 20)
        await eventually(lambda: processes_of(server.data) == [], 20)
        await server.start()
        assert (await server.post("again")).status_code == 201


async def test_numbers_that_cannot_be_summed_are_not_given(tmp_path: Path) -> None:
    async with Server(tmp_path, *TWO) as server:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            refused = await server.get("/metrics")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        again = await server.get("/metrics")

    assert (refused.status_code, again.status_code) == (503, 200)
    assert "retry-after" in refused.headers


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_who_stops_takes_its_count_of_viewers_along(
    tmp_path: Path, valkey: str, workers: str
) -> None:
    async with connected(valkey) as connection, meddling(valkey) as redis:
        await connection.look()
        blog = a_blog()
        await Log(connection).create(blog)
        leases = BlogKeys(blog.slug).viewers
        async with Server(tmp_path, "--workers", workers, env={"REDIS_URL": valkey}) as server:
            watchers = [Watcher(server.url, blog.slug) for _ in range(6)]
            async with contextlib.AsyncExitStack() as stack:
                for watcher in watchers:
                    await stack.enter_async_context(watcher)
                # The store forgets what ran out only when it is counted again; nobody does here.
                await eventually(lambda: redis.hlen(leases), 20)
                assert await server.terminate() == 0
                left = await redis.hgetall(leases)

    assert left == {}


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file that keeps workers from starting while it is there, and the environment for it."""
    flag = tmp_path / "broken"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"if sys.orig_argv[-1:] == ['liveblog.worker'] and os.path.exists({str(flag)!r}):\n"
        "    os._exit(3)\n"
    )
    return flag, {"PYTHONPATH": str(tmp_path)}


async def test_workers_that_cannot_start_end_the_start(
    tmp_path: Path, broken: tuple[Path, dict[str, str]]
) -> None:
    flag, environment = broken
    flag.touch()
    server = Server(tmp_path, *TWO, env=environment)
    server.launch()
    try:
        assert await server.wait_ended(30) == 1
    finally:
        await server.aclose()

    assert "liveblog: A worker ended with 3" in server.log
    assert processes_of(server.data) == []


async def test_what_a_person_can_mend_is_said_in_one_line(tmp_path: Path) -> None:
    server = Server(tmp_path, *TWO, env={"LIVEBLOG_OWNER_TOKEN": None})
    server.data.mkdir()
    (server.data / "owner-token").write_text("too short")
    server.launch()
    try:
        assert await server.wait_ended(30) == 1
    finally:
        await server.aclose()

    assert "liveblog: " in server.log.splitlines()[-1]
    assert "holds no token any more. Remove it" in server.log.splitlines()[-1]
    assert "Traceback" not in server.log


async def test_a_release_that_does_not_start_is_not_deployed(
    tmp_path: Path, broken: tuple[Path, dict[str, str]]
) -> None:
    flag, environment = broken
    async with Server(tmp_path, *TWO, env=environment) as server:
        before = workers_of(server)
        flag.touch()
        os.kill(server.pid, signal.SIGHUP)
        await eventually(lambda: "worker_not_renewed" in server.log, 20)
        still = workers_of(server)
        assert (await server.post("still here")).status_code == 201

        flag.unlink()
        os.kill(server.pid, signal.SIGHUP)
        await eventually(lambda: '"renewed"' in server.log, 30)

    assert still == before


async def test_a_worker_that_dies_again_and_again_is_started_until_it_stays(
    tmp_path: Path, broken: tuple[Path, dict[str, str]]
) -> None:
    flag, environment = broken
    async with Server(tmp_path, *TWO, env=environment) as server:
        flag.touch()
        os.kill(workers_of(server)[0], signal.SIGKILL)
        await eventually(lambda: server.log.count("worker_not_restarted") >= 2, 20)
        flag.unlink()
        await eventually(lambda: server.log.count("worker_ready") == 3, 20)
        assert len(workers_of(server)) == 2


async def test_a_worker_whose_line_cannot_be_read_any_more_is_ended_and_replaced_once(
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys, threading\n"
        "def flood():\n"
        "    os.set_blocking(0, True)\n"
        f"    os.write(0, b'x' * {3 * LINE_MOST_BYTES})\n"
        "if sys.orig_argv[-1:] == ['liveblog.worker']:\n"
        "    flooding = threading.Thread(target=flood, daemon=True)\n"
        "    signal.signal(signal.SIGUSR1, lambda *_: flooding.start())\n"
    )
    async with Server(tmp_path, *TWO, env={"PYTHONPATH": str(tmp_path)}) as server:
        flooding, other = workers_of(server)
        os.kill(flooding, signal.SIGUSR1)
        await eventually(lambda: server.log.count("worker_ready") == 3, 20)
        after = workers_of(server)
        counted = await metric(server, "liveblog_workers")

    assert len(after) == 2
    assert other in after
    assert flooding not in after, "two serve at its place"
    assert counted == 2
    [died] = [line for line in server.log.splitlines() if '"worker_died"' in line]
    assert f'"pid":{flooding},"code":-9' in died, "it was missed before it had ended"


async def test_a_worker_that_cannot_understand_its_supervisor_any_more_ends(valkey: str) -> None:
    with listening("127.0.0.1", 0) as listener:
        worker = Worker(0, listener)
        settings = Settings(owner_token=OWNER_TOKEN, drain_seconds=0)
        life = asyncio.create_task(
            worker.live(
                Assignment(settings, listener.fileno(), valkey, None),
                lambda worker, _: worker.is_ready.set(),
            )
        )
        try:
            await asyncio.wait_for(worker.is_ready.wait(), 20)
            worker.line.say(Answer(Counted(totals={"x" * 3 * LINE_MOST_BYTES: 1.0})))
            await asyncio.wait_for(asyncio.shield(life), 20)
        finally:
            worker.kill()
            await life

    assert worker.code == 0, "it drained"


async def test_a_worker_that_no_file_is_left_for_is_started_once_there_is(tmp_path: Path) -> None:
    async with Server(tmp_path, *TWO) as server:
        most = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, most[1]))
        os.kill(workers_of(server)[0], signal.SIGKILL)
        await eventually(lambda: server.log.count("worker_not_restarted") >= 2, 20)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, most)
        await eventually(lambda: server.log.count("worker_ready") == 3, 20)
        assert len(workers_of(server)) == 2


async def test_a_new_worker_that_dies_is_not_missed_until_the_old_one_has_gone(
    tmp_path: Path,
) -> None:
    async with Server(tmp_path, *TWO, env={"LIVEBLOG_DRAIN_SECONDS": "60"}) as server:
        before = workers_of(server)
        for pid in before:
            os.kill(pid, signal.SIGSTOP)  # It drains for as long as it may.
        os.kill(server.pid, signal.SIGHUP)
        try:
            await eventually(lambda: server.log.count("worker_ready") == 3, 20)
            [new] = set(workers_of(server)) - set(before)
            os.kill(new, signal.SIGKILL)
            await eventually(lambda: server.log.count("worker_ready") == 4, 20)
        finally:
            for pid in before:
                os.kill(pid, signal.SIGCONT)
        await eventually(lambda: '"renewed"' in server.log, 30)
