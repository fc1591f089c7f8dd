"""Each request is one line of JSON that no stranger can forge and that gives nothing away."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.integration.cast import NOBODY, Stage, forgetful_client
from tests.support import Server, eventually


def lines(server: Server) -> list[dict[str, Any]]:
    """The log, each line decoded; the links that a start prints for a person aside."""
    written = [line for line in server.log.split("\n") if line and not line.startswith("  ")]
    return [orjson.loads(line) for line in written]


def requests(server: Server) -> list[dict[str, Any]]:
    return [line for line in lines(server) if line["event"] == "request"]


async def raw(server: Server, request: bytes) -> None:
    """Send these bytes, and wait for whatever comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    await reader.read(65536)
    writer.close()


async def test_every_line_is_json_with_its_event_level_and_time(tmp_path: Path) -> None:
    async with Server(tmp_path) as server, forgetful_client(server.url) as http:
        await http.get("/api/blogs")
        await http.get("/nothing/there")
        await raw(server, b"nonsense\r\n\r\n")
        await raw(server, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        server.kill()
        await server.start()
        await server.terminate()

        found = lines(server)

    assert {line["event"] for line in found} >= {"store", "request", "draining"}
    for line in found:
        assert {"event", "level", "timestamp"} <= set(line), line
        assert line["timestamp"].endswith("Z")
        assert line["level"] in {"info", "warning", "error"}


async def test_each_request_is_one_line(stage: Stage) -> None:
    before = len(requests(stage.server))
    post = await stage.publish()
    await stage.call(stage.owner, "DELETE", f"posts/{post['id']}")
    await stage.http.get(f"{stage.api}/posts/{post['id']}")
    await stage.http.get("/api/blogs", headers={"Host": "a b"})
    await stage.http.get("/static/nothing.css")

    def written() -> list[dict[str, Any]]:
        # The blog's own making may be written only now.
        new = [
            line
            for line in requests(stage.server)[before:]
            if line["status"] != 201 or line["path"] != "/api/blogs"
        ]
        assert len(new) == 5
        return new

    new = await eventually(written)
    assert [(line["method"], line["path"], line["status"]) for line in new] == [
        ("POST", f"{stage.api}/posts", 201),
        ("DELETE", f"{stage.api}/posts/{post['id']}", 204),
        ("GET", f"{stage.api}/posts/{post['id']}", 404),
        ("GET", "/api/blogs", 400),
        ("GET", "/static/nothing.css", 404),
    ]
    for line in new:
        assert set(line) == {
            "event", "level", "timestamp", "method", "path", "status", "milliseconds", "client",
        }  # fmt: skip
        assert line["client"] == "127.0.0.1"
        assert 0 <= line["milliseconds"] < 10_000


async def test_a_stream_is_a_line_where_it_is_refused_and_else_only_a_number(stage: Stage) -> None:
    before = len(requests(stage.server))
    url = f"{stage.server.websocket_url}/{stage.slug}/live"
    async with connect(url) as socket:
        await socket.recv()
    async with stage.http.stream(
        "GET", f"/{stage.slug}/live", headers={"Accept": "text/event-stream"}
    ) as stream:
        assert stream.status_code == 200
    with pytest.raises(InvalidStatus):
        async with connect(f"{stage.server.websocket_url}/no-such-blog/live"):
            pass

    def written() -> list[dict[str, Any]]:
        new = requests(stage.server)[before:]
        assert new
        return new

    new = await eventually(written)
    assert [(line["path"], line["status"]) for line in new] == [("/no-such-blog/live", 404)]


FORGED = b'{"event":"forged"}'


@pytest.mark.parametrize(
    "path",
    [
        b"/a%0a" + FORGED.replace(b'"', b"%22"),
        b"/a%0d%0a" + FORGED.replace(b'"', b"%22"),
        b"/a%22,%22event%22:%22forged%22,%22x%22:%22",
        b"/a%e2%80%a8forged",
        b"/a%c2%85forged",
        b"/a%1b%5b2J%1b%5b31mforged",
        b"/a%c2%9b31mforged",
        b"/a%e2%80%aeforged",
        b"/a%7fforged",
        b"/a%00forged",
        b"/a%ff%feforged",
        b"/api/blogs/a%0aforged/posts",
    ],
)
async def test_no_address_forges_a_line_or_commands_a_terminal(house: Stage, path: bytes) -> None:
    before = len(lines(house.server))

    await raw(house.server, b"GET " + path + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")

    await eventually(lambda: len(lines(house.server)) > before)
    (line,) = lines(house.server)[before:]
    assert line["event"] == "request"
    assert "forged" in line["path"]
    assert len(house.server.log.splitlines()) == len(house.server.log.split("\n")) - 1
    assert house.server.log.replace("\n", "").isprintable()


async def test_nothing_that_somebody_typed_or_holds_is_in_it(stage: Stage) -> None:
    secret = await stage.secret(name="For-Ana")
    ana = await stage.joined(secret, "Ana-Name", Idempotency_Key="joining-key")
    await stage.call(ana, "POST", "posts", {"body": "the-words"}, Idempotency_Key="posting-key")
    origin = {"Origin": stage.server.url}
    await stage.call(NOBODY, "POST", "posts", {"body": "the-words"}, **origin, **ana.cookie())
    await stage.call(NOBODY, "POST", "/api/join", {"secret": "wrong-secret", "name": "Eve-Name"})
    await stage.call(NOBODY, "POST", "posts", {"bdoy": "the-words"}, Authorization="Bearer guess-1")
    await stage.http.get(f"/join?secret={secret}", headers={"Referer": "http://h/?the-referrer"})
    await stage.http.get(f"{stage.api}/entries?after=the-cursor")
    await stage.http.get("/api/blogs", headers={"User-Agent": "the-agent", "Cookie": "a=the-crumb"})
    await stage.http.get("/api/blogs", auth=("user", "the-password"))
    await stage.call(ana, "POST", "/api/logout")
    await eventually(lambda: "/api/logout" in stage.server.log)

    log = stage.server.log
    for word in (
        secret.rpartition(".")[2], ana.token, stage.server.owner_token, "wrong-secret", "guess-1",
        "joining-key", "posting-key", "the-words", "bdoy", "Ana-Name", "Eve-Name", "For-Ana",
        "the-referrer", "the-cursor", "the-agent", "the-crumb", "the-password", "?",
    ):  # fmt: skip
        assert word not in log, word


@pytest.mark.parametrize(
    "level, events", [("debug", {"request"}), ("warning", set()), ("error", set())]
)
async def test_the_level_decides(tmp_path: Path, level: str, events: set[str]) -> None:
    async with Server(tmp_path, env={"LIVEBLOG_LOG_LEVEL": level}) as server:
        await server.get("/api/blogs")
        await server.terminate()

        assert {line["event"] for line in requests(server)} == events
