"""What is ready is shared by those who may share it, and never older than what was heard."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Scope

from liveblog.delivery.broker import Broker
from liveblog.delivery.gate import Gate
from liveblog.delivery.hub import Channel, Hub
from liveblog.domain.errors import Unavailable
from liveblog.settings import Settings
from liveblog.store.connection import Connection
from liveblog.store.log import Log
from liveblog.store.people import People
from liveblog.web import ready
from liveblog.web.ready import PERSONAL, SHARED, VARY, Answer, Shelf
from liveblog.web.render import Pages
from liveblog.web.site import ORIGINS_MOST, Site
from tests.support import eventually
from tests.unit.test_hub import announcement, backlog

Headers = list[tuple[bytes, bytes]]
COOKIE = (b"cookie", b"theme=dark; liveblog_session=abc")


class Kitchen:
    """A shelf, a channel of entries 1 to 10, and a cook who counts what was ordered."""

    def __init__(self, site: Site, channel: Channel) -> None:
        self.site = site
        self.channel = channel
        self.cooked = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.failure: Exception | None = None
        self._app = Starlette()
        self._app.state.site = site

    def scope(self, *headers: tuple[bytes, bytes], host: str = "here", query: str = "") -> Scope:
        return {
            "type": "http",
            "app": self._app,
            "method": "GET",
            "scheme": "http",
            "path": "/live",
            "query_string": query.encode(),
            "headers": [(b"host", host.encode()), *headers],
        }

    async def cook(self) -> Response:
        self.cooked += 1
        dish = f"dish {self.cooked}"
        await self.may_go_on.wait()
        if self.failure is not None:
            raise self.failure
        return PlainTextResponse(dish)

    async def served(self, *headers: tuple[bytes, bytes], **named: Any) -> Response:
        request = Request(self.scope(*headers, **named))
        return await self.site.shelf.answer(request, self.channel, self.cook)

    async def words(self, *headers: tuple[bytes, bytes], **named: Any) -> str:
        return bytes((await self.served(*headers, **named)).body).decode()

    def ready(self, *headers: tuple[bytes, bytes], **named: Any) -> str | None:
        found = self.site.shelf.find(self.site, self.scope(*headers, **named))
        return bytes(found.body).decode() if found else None


@pytest.fixture
async def kitchen() -> AsyncIterator[Kitchen]:
    connection = Connection("redis://127.0.0.1:1")  # Nobody asks it for anything.
    log = Log(connection)
    hub = Hub(log, lambda blog, post, origin: "")
    broker = Broker(connection, on_entry=hub.offer, on_subscribed=hub.subscribed)
    site = Site(
        settings=Settings(),
        connection=connection,
        log=log,
        people=People(connection, "-"),
        hub=hub,
        broker=broker,
        pages=Pages(),
        owner_hash="-",
        release="-",
        gate=Gate(1, 1),
        shelf=Shelf(),
    )
    yield Kitchen(site, Channel("live", hub, backlog(1, 10)))
    await site.shelf.stop()
    await hub.stop()
    await connection.close()


async def test_many_who_ask_at_once_share_one_making(kitchen: Kitchen) -> None:
    served = await asyncio.gather(*(kitchen.words() for _ in range(200)))

    assert set(served) == {"dish 1"}
    assert kitchen.ready() == "dish 1"


async def test_an_entry_that_was_heard_of_makes_it_stale_at_once(kitchen: Kitchen) -> None:
    await kitchen.words()
    kitchen.channel.offer(announcement(10))
    assert kitchen.ready() == "dish 1", "that one was known"

    kitchen.channel.offer(announcement(11))

    assert kitchen.ready() is None
    assert await kitchen.words() == "dish 2"


async def test_a_hole_that_was_heard_of_makes_it_stale_at_once(kitchen: Kitchen) -> None:
    await kitchen.words()

    kitchen.channel.offer(announcement(13))
    assert kitchen.ready() is None

    assert await kitchen.words() == "dish 2"
    kitchen.channel.offer(announcement(14))  # While the hole is being repaired.
    assert kitchen.ready() is None
    kitchen.channel.stop()


async def test_ones_own_change_makes_it_stale_before_it_is_announced(kitchen: Kitchen) -> None:
    await kitchen.words()
    kitchen.site.hub._channels["live"] = kitchen.channel

    kitchen.site.hub.appended("live")

    assert kitchen.ready() is None


async def test_a_channel_that_was_closed_vouches_for_nothing(kitchen: Kitchen) -> None:
    await kitchen.words()

    kitchen.channel.stop()

    assert kitchen.ready() is None


async def test_nothing_stands_for_longer_than_its_time_and_then_takes_no_room(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing is heard at all."""
    monkeypatch.setattr(ready, "KEPT_SECONDS", 0.0)

    assert [await kitchen.words(), await kitchen.words()] == ["dish 1", "dish 2"]
    await eventually(lambda: not kitchen.site.shelf._kept)
    assert kitchen.site.shelf._bytes == 0


async def test_what_was_begun_before_a_change_is_not_for_who_came_after_it(
    kitchen: Kitchen,
) -> None:
    kitchen.may_go_on.clear()
    before = asyncio.create_task(kitchen.words())
    await eventually(lambda: kitchen.cooked == 1)
    kitchen.channel.offer(announcement(11))
    after = asyncio.create_task(kitchen.words())
    await asyncio.sleep(0)

    kitchen.may_go_on.set()

    assert await before == "dish 1"
    assert await after == "dish 2"
    assert kitchen.ready() == "dish 2"


async def test_who_asked_first_may_leave_and_the_others_are_served(kitchen: Kitchen) -> None:
    kitchen.may_go_on.clear()
    first = asyncio.create_task(kitchen.words())
    second = asyncio.create_task(kitchen.words())
    await eventually(lambda: kitchen.cooked == 1)

    first.cancel()
    kitchen.may_go_on.set()

    assert await second == "dish 1"


async def test_a_failure_is_everybodys_once_and_is_not_kept(kitchen: Kitchen) -> None:
    kitchen.failure = Unavailable("no fire")
    served = await asyncio.gather(*(kitchen.words() for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in served} == {Unavailable}
    assert kitchen.cooked == 1

    kitchen.failure = None

    assert await kitchen.words() == "dish 2"


@pytest.mark.parametrize(
    "credential",
    [COOKIE, (b"cookie", b"__Host-liveblog_session=abc"), (b"authorization", b"Bearer x")],
)
async def test_who_brings_a_credential_gets_and_leaves_nothing_on_the_shelf(
    kitchen: Kitchen, credential: tuple[bytes, bytes]
) -> None:
    own = await kitchen.served(credential)
    assert own.headers["cache-control"] == PERSONAL
    assert own.headers["vary"] == VARY
    assert kitchen.ready() is None

    assert await kitchen.words() == "dish 2"

    assert kitchen.ready(credential) is None
    assert await kitchen.words(credential) == "dish 3"
    assert kitchen.ready((b"cookie", b"theme=dark")) == "dish 2"


async def test_each_origin_has_its_own_and_there_are_only_so_many(kitchen: Kitchen) -> None:
    hosts = [f"host{number}" for number in range(ORIGINS_MOST + 2)]
    for host in hosts:
        await kitchen.words(host=host)

    kept = [kitchen.ready(host=host) for host in hosts]

    assert kept == [f"dish {number + 1}" for number in range(ORIGINS_MOST)] + [None, None]


async def test_a_query_is_answered_and_not_kept(kitchen: Kitchen) -> None:
    assert await kitchen.words(query="before=3") == "dish 1"
    assert kitchen.ready(query="before=3") is None
    assert kitchen.ready() is None


async def test_only_reading_is_answered_from_the_shelf(kitchen: Kitchen) -> None:
    await kitchen.words()
    scope = kitchen.scope()

    found = {
        method: kitchen.site.shelf.find(kitchen.site, {**scope, "method": method})
        for method in ("GET", "HEAD", "POST", "OPTIONS")
    }

    assert [method for method, answer in found.items() if answer] == ["GET", "HEAD"]


async def test_what_would_not_fit_is_answered_and_not_kept(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "KEPT_MOST_BYTES", 30)

    assert await kitchen.words(host="a") == "dish 1"
    assert await kitchen.words(host="b") == "dish 2"
    assert await kitchen.words(host="c") == "dish 3"

    assert [kitchen.ready(host=host) for host in "abc"] == ["dish 1", "dish 2", None]


# -- one answer in its representations


async def sent(answer: Answer, *headers: tuple[bytes, bytes]) -> tuple[int, dict[str, str], bytes]:
    messages: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nobody asked for a body")

    async def send(message: Message) -> None:
        messages.append(message)

    await answer({"type": "http", "headers": list(headers)}, receive, send)
    start, body = messages
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], found, body["body"]


GZIP = (b"accept-encoding", b"br, gzip")


@pytest.mark.parametrize("size", [5_000, ready.GZIP_ASIDE_BYTES + 1])
async def test_compressed_it_is_the_same_under_another_tag(size: int) -> None:
    words = "words " * (size // 6 + 1)
    answer = Answer(PlainTextResponse(words), SHARED, VARY)

    _, plain, body = await sent(answer)
    _, packed, compressed = await sent(answer, GZIP)

    assert body == gzip.decompress(compressed) == words.encode()
    assert "content-encoding" not in plain
    assert packed["content-encoding"] == "gzip"
    assert plain["etag"] != packed["etag"]
    assert int(packed["content-length"]) == len(compressed) < len(body)
    for headers in (plain, packed):
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert (headers["cache-control"], headers["vary"]) == (SHARED, VARY)


async def test_what_is_one_packet_anyway_is_not_compressed() -> None:
    answer = Answer(PlainTextResponse("short"), SHARED, VARY)
    await answer.compress()

    _, headers, body = await sent(answer, GZIP)

    assert body == b"short"
    assert "content-encoding" not in headers


@pytest.mark.parametrize("encoding", [(), (GZIP,)])
async def test_who_has_it_is_told_so_without_a_body(encoding: Headers) -> None:
    answer = Answer(PlainTextResponse("words " * 500), SHARED, VARY)
    _, whole, _ = await sent(answer, *encoding)
    tag = whole["etag"].encode()

    for known in (tag, b"W/" + tag, b'"other", ' + tag, b"*"):
        status, headers, body = await sent(answer, *encoding, (b"if-none-match", known))
        assert (status, body) == (304, b"")
        assert {name: whole[name] for name in headers} == headers
        assert {"etag", "cache-control", "vary"} == set(headers)


async def test_who_has_another_gets_the_whole() -> None:
    answer = Answer(PlainTextResponse("words " * 500), SHARED, VARY)
    _, packed, _ = await sent(answer, GZIP)

    for known in (b'"other"', packed["etag"].encode(), b""):
        status, _, body = await sent(answer, (b"if-none-match", known))
        assert (status, len(body)) == (200, 3_000)
