"""The benchmark's own programs: the floor sends what the audience counts."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.peers import HERE as PEERS
from bench.peers import Peer, missing
from bench.programs import BenchError, Program, build, get
from bench.rows.measuring import watch
from bench.server import Server, stamped
from tests.support import lacking

VIEWERS = 50
FRAMES = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs, freshly built, warnings being errors."""
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        lacking("gcc")
    folder = tmp_path_factory.mktemp("bench")
    build(folder)
    return folder


# Payloads on both sides of the frame head's two lengths, and one torn over several reads.
@pytest.mark.parametrize("size", [120, 125, 126, 1_000, 60_000])
def test_every_viewer_is_counted_with_every_byte(folder: Path, size: int) -> None:
    with (
        Program("floor", folder=folder) as floor,
        Program("load", int(floor.hear()["port"]), folder=folder) as audience,
    ):
        audience.connect(VIEWERS, "/live/live?after=x")
        assert floor.ask("viewers") == {"viewers": VIEWERS}
        for number in range(FRAMES):
            assert floor.ask(f"send {size}") == {"written": VIEWERS, "blocked": 0}
            # A large frame may fill a socket, so each is awaited before the next.
            audience.wait_for_entries(number + 1)

        stats = audience.ask("stats")
        frame = size + (2 if size < 126 else 4)
        assert stats["frames"] == stats["entries"] == stats["timed"] == VIEWERS * FRAMES
        assert stats["bytes"] == stats["entry_bytes"] == VIEWERS * FRAMES * frame
        assert stats["fewest"] == stats["most"] == FRAMES
        assert stats["holes"] == 0


def test_a_viewer_that_missed_an_entry_spoils_the_run(folder: Path) -> None:
    with (
        Program("floor", folder=folder) as floor,
        Program("load", int(floor.hear()["port"]), folder=folder) as audience,
    ):
        audience.connect(VIEWERS, "/live/live")
        floor.ask("send 200")
        audience.wait_for_entries(1)
        audience.connect(1, "/live/live")
        audience.ask("reset")
        floor.ask("send 200")
        audience.wait_for_entries(1)
        with pytest.raises(BenchError, match="2 entries were due, a viewer got 1"):
            audience.wait_for_entries(2, within_seconds=0.2)


def test_an_entry_out_of_order_spoils_the_run(folder: Path) -> None:
    entries = [b'{"type":"entry","offset":%d}' % offset for offset in (1, 3)]
    accepted = b"HTTP/1.1 101 \r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    frames = b"".join(b"\x81%c%b" % (len(entry), entry) for entry in entries)
    kept: list[socket.socket] = []

    def serve() -> None:
        kept.append(listener.accept()[0])
        kept[0].recv(4096)
        kept[0].sendall(accepted + frames)

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Program("load", listener.getsockname()[1], folder=folder) as audience,
    ):
        serving = threading.Thread(target=serve)
        serving.start()
        audience.connect(1, "/live/live")
        serving.join()
        with pytest.raises(BenchError, match="not each entry once and in order"):
            audience.wait_for_entries(2)
        kept[0].close()


def test_dropped_viewers_are_gone_on_both_sides(folder: Path) -> None:
    with (
        Program("floor", folder=folder) as floor,
        Program("load", int(floor.hear()["port"]), folder=folder) as audience,
    ):
        audience.connect(VIEWERS, "/live/live")
        assert audience.ask("drop") == {"open": 0}
        # The floor hears the ends before anybody who comes after them.
        audience.connect(1, "/live/live")
        assert floor.ask("viewers") == {"viewers": 1}


def test_a_refused_viewer_is_an_error(folder: Path) -> None:
    with Program("floor", folder=folder) as floor:
        port = int(floor.hear()["port"])
    with (
        Program("load", port, folder=folder) as audience,
        pytest.raises(BenchError, match="1 of 1 viewers were refused"),
    ):
        audience.connect(1, "/live/live")


def test_an_unknown_command_is_said_to_be_one(folder: Path) -> None:
    with Program("floor", folder=folder) as floor:
        floor.hear()
        with pytest.raises(BenchError, match="floor: send 120"):
            floor.ask("sing")


def test_a_peer_and_its_audience_understand_each_other(folder: Path) -> None:
    with (
        Peer("plain Starlette") as peer,
        Program("load", peer.port, folder=folder) as audience,
    ):
        audience.connect(VIEWERS, peer.path)
        for _ in range(FRAMES):
            peer.send(1_000)
        audience.wait_for_entries(FRAMES)
        stats = audience.ask("stats")

    assert stats["entry_bytes"] == VIEWERS * FRAMES * 1_004
    assert stats["timed"] == VIEWERS * FRAMES


def test_the_kernel_counts_a_write_for_each_viewer_of_an_entry(folder: Path) -> None:
    with Server() as server, Program("load", server.port, folder=folder) as audience:
        audience.connect(VIEWERS, watch(server))
        before = server.writes()
        for number in range(FRAMES):
            server.publish(stamped())
            audience.wait_for_entries(number + 1)

        assert server.writes() - before >= VIEWERS * FRAMES


def test_entries_that_come_at_once_save_writes(folder: Path) -> None:
    with Server() as server, Program("load", server.port, folder=folder) as audience:
        audience.connect(VIEWERS, watch(server))

        def post(number: int) -> None:
            headers = {
                "Authorization": f"Bearer {server.token}",
                "Content-Type": "application/json",
                "Idempotency-Key": f"at-once-{number:08d}",
            }
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            client.request("POST", "/api/blogs/live/posts", b'{"body":"x"}', headers)
            assert client.getresponse().status == 201
            client.close()

        before = server.writes()
        with ThreadPoolExecutor(FRAMES) as writers:
            list(writers.map(post, range(FRAMES)))
        audience.wait_for_entries(FRAMES)

        assert server.writes() - before < VIEWERS * FRAMES


def test_event_streams_are_counted_like_sockets(folder: Path) -> None:
    with Server() as server, Program("load", server.port, folder=folder) as audience:
        audience.ask("events 1")
        audience.connect(VIEWERS, "/live/live")
        for _ in range(FRAMES):
            server.publish(stamped())
        audience.wait_for_entries(FRAMES)
        stats = audience.ask("stats")

    assert stats["entries"] == VIEWERS * FRAMES
    assert stats["holes"] == 0


def test_who_stops_reading_is_not_waited_for_by_the_others(folder: Path) -> None:
    with (
        Server() as server,
        Program("load", server.port, folder=folder) as audience,
        Program("load", server.port, folder=folder) as stuck,
    ):
        stuck.ask("buffer 4096")
        stuck.connect(1, "/live/live")
        stuck.ask("stall")
        audience.connect(VIEWERS, "/live/live")
        server.publish(stamped(1_000))
        audience.wait_for_entries(1)

        assert stuck.ask("stats")["entries"] == 0


def test_without_the_store_a_post_is_answered_as_well() -> None:
    with Server(module="bench.storeless") as server:
        server.publish(stamped())
        assert server.head()[1] == 0


def test_readers_of_a_page_get_every_answer_whole(folder: Path) -> None:
    with Server() as server:
        answered = get(server.port, "/live", readers=3, times=7, folder=folder)
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            plain.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            page = b"".join(iter(lambda: plain.recv(65536), b""))

    assert answered["answers"] == 3 * 7
    # They take it compressed.
    assert 0 < answered["bytes"] < 3 * 7 * len(page) / 2


def test_a_page_that_is_refused_is_no_figure(folder: Path) -> None:
    with Server() as server, pytest.raises(BenchError, match=r"HTTP/1\.1 404"):
        get(server.port, "/no-such-blog", readers=1, times=1, folder=folder)


def test_the_peers_packages_are_locked_by_content_and_name_no_registry() -> None:
    wanted = json.loads((PEERS / "package.json").read_text())["dependencies"]
    locked = json.loads((PEERS / "package-lock.json").read_text())["packages"]

    assert wanted == locked.pop("")["dependencies"]
    for name, version in wanted.items():
        assert locked[f"node_modules/{name}"]["version"] == version
    for package in locked.values():
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package


def test_a_peer_that_is_not_there_is_told_and_not_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert missing("nchan").startswith("not here: ")
    assert missing("Node ws") == missing("Socket.IO") == "not here: Node.js isn't installed"
    assert not missing("plain Starlette")
