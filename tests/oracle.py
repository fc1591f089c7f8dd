"""What every fault is judged by: viewers that follow as good clients do, and what they hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import Entry
from liveblog.store.log import Log
from tests.support import Server, eventually
from tests.worlds import connected, whole_log

RECONNECT_SECONDS = 0.05
ANSWER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Heard:
    """An entry as a viewer received it."""

    cursor: str
    offset: int
    action: str
    id: str | None
    body: str | None

    @classmethod
    def of(cls, frame: Mapping[str, Any]) -> Heard:
        post = frame.get("post")
        return cls(
            frame["cursor"],
            frame["offset"],
            frame["action"],
            post["id"] if post else frame.get("id"),
            post["body"] if post else None,
        )


@dataclass(slots=True)
class Chapter:
    """What a viewer holds since it last started afresh: a page, and the entries after it."""

    base: Cursor
    page: dict[str, str]
    entries: list[Heard] = field(default_factory=list)

    @property
    def cursor(self) -> str:
        return self.entries[-1].cursor if self.entries else str(self.base)

    @property
    def shown(self) -> dict[str, str]:
        """The posts on its screen, by id."""
        shown = dict(self.page)
        for entry in self.entries:
            if entry.id is None:
                continue
            if entry.body is not None:
                shown[entry.id] = entry.body
            else:
                shown.pop(entry.id, None)
        return shown


_compressions = cycle(["deflate", None])


class Watcher:
    """Follows a blog by WebSocket, through lost connections and restarts, by its cursor alone.

    It trusts the server and checks nothing: what it was given stands in `chapters` for the checks.
    """

    def __init__(self, url: str, slug: str = "live", *, after: Cursor | None = None) -> None:
        self.url = url
        self.slug = slug
        self.chapters: list[Chapter] = [] if after is None else [Chapter(after, {})]
        self.joins = 0
        self.told_afresh = 0
        self.closes: list[int] = []
        self.ended: int | None = None
        self.raw: list[str] = []
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def chapter(self) -> Chapter:
        return self.chapters[-1]

    @property
    def is_following(self) -> bool:
        """Connected, and not about to start afresh."""
        assert self._task is None or not self._task.done() or self.ended, "the watcher broke"
        return self._socket is not None

    def holds(self, cursor: Cursor) -> bool:
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()
        return bool(self.chapters) and self.chapter.cursor == str(cursor)

    async def _follow(self) -> None:
        while self.ended is None:
            try:
                if not self.chapters and not await self._start_afresh():
                    continue
                await self._listen()
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                self.closes.append(code)
                if 4400 <= code < 4500:
                    self.ended = code
            except InvalidStatus as refusal:
                if refusal.response.status_code == 404:
                    self.ended = 404
            except (OSError, InvalidHandshake, httpx2.TransportError):
                pass
            finally:
                self._socket = None
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _start_afresh(self) -> bool:
        """Take the page and its cursor, which are of one moment."""
        async with httpx2.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS) as client:
            page: dict[str, str] = {}
            first: Cursor | None = None
            before = ""
            while True:
                answer = await client.get(
                    f"{self.url}/api/blogs/{self.slug}/posts?limit=100{before}"
                )
                if answer.status_code == 404:
                    self.ended = 404
                if answer.status_code != 200:
                    await asyncio.sleep(RECONNECT_SECONDS)
                    return False
                found = answer.json()
                for post in found["posts"]:
                    page.setdefault(post["id"], post["body"])
                first = first or Cursor.parse(found["cursor"])
                assert first is not None
                if found["next"] is None or len(page) > 5_000:
                    break
                before = f"&before={found['next']}"
        self.chapters.append(Chapter(first, page))
        return True

    async def _listen(self) -> None:
        query = urlencode({"after": self.chapter.cursor})
        address = f"{self.url.replace('http', 'ws', 1)}/{self.slug}/live?{query}"
        # Every other one takes compressed frames, so that both are held against the truth.
        async with connect(
            address, proxy=None, compression=next(_compressions), max_size=None, ping_interval=None,
            open_timeout=ANSWER_SECONDS, close_timeout=0.2,
        ) as socket:  # fmt: skip
            welcome = json.loads(await socket.recv())
            assert welcome["type"] == "welcome", welcome
            self.joins += 1
            if not welcome["resumed"]:
                self.told_afresh += 1
                while not await self._start_afresh():
                    if self.ended:
                        return
                return
            self._socket = socket
            async for message in socket:
                assert isinstance(message, str)
                self.raw.append(message)
                frame = json.loads(message)
                if frame["type"] == "entry":
                    self.chapter.entries.append(Heard.of(frame))
            # Iteration ends quietly on 1000 and 1001.
            raise ConnectionClosed(socket.protocol.close_rcvd, socket.protocol.close_sent)


@asynccontextmanager
async def followed(*servers: Server, count: int = 3) -> AsyncIterator[list[Watcher]]:
    """Watchers that follow already, so many at each server."""
    async with AsyncExitStack() as stack:
        watchers = [
            await stack.enter_async_context(Watcher(server.url))
            for server in servers
            for _ in range(count)
        ]
        await eventually(lambda: all(watcher.is_following for watcher in watchers), 10)
        yield watchers


class Poster:
    """Posts as the composer does: each under its own key, repeated until it is acknowledged."""

    def __init__(self, server: Server, slug: str = "live", *, url: str | None = None) -> None:
        self.server = server
        self.slug = slug
        self.url = url or server.url
        self.acknowledged: dict[str, str] = {}
        self.refused = 0
        self.replayed = 0
        self.lost = 0
        self._client = httpx2.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def retract(self, id: str) -> None:
        answer = await self._client.delete(
            f"{self.url}/api/blogs/{self.slug}/posts/{id}", headers=self.server.headers()
        )
        assert answer.status_code == 204, answer.text

    async def post(self, body: str, *, key: str | None = None) -> str:
        """The id of the post, once it is acknowledged."""
        headers = self.server.headers(Idempotency_Key=key or secrets.token_hex(8))
        address = f"{self.url}/api/blogs/{self.slug}/posts"
        while True:
            try:
                answer = await self._client.post(address, json={"body": body}, headers=headers)
            except httpx2.TransportError:
                self.lost += 1
            else:
                if answer.status_code == 201:
                    id: str = answer.json()["id"]
                    self.acknowledged[body] = id
                    self.replayed += answer.headers.get("idempotent-replayed") == "true"
                    return id
                assert answer.status_code == 503, answer.text
                self.refused += 1
            await asyncio.sleep(RECONNECT_SECONDS)

    async def storm(self, count: int, *, writers: int = 8, prefix: str = "post") -> None:
        """So many posts from so many phones at once."""
        waiting = iter(range(count))

        async def write() -> None:
            for number in waiting:
                await self.post(f"{prefix} {number}")

        await asyncio.gather(*(write() for _ in range(writers)))


async def all_hold(watchers: Iterable[Watcher], head: Cursor, seconds: float = 20.0) -> None:
    """Wait until every watcher has come to `head` and follows from there."""
    waiting = list(watchers)
    await eventually(
        lambda: all(watcher.holds(head) and watcher.is_following for watcher in waiting),
        seconds,
        what=f"all hold {head}",
    )


def check_unbroken(chapter: Chapter) -> None:
    """In order, without a hole, each once, of one log."""
    offsets = [entry.offset for entry in chapter.entries]
    expected = list(range(chapter.base.offset + 1, chapter.base.offset + 1 + len(offsets)))
    assert offsets == expected, f"after {chapter.base.offset}: {offsets}"
    epochs = {entry.cursor.partition(".")[0] for entry in chapter.entries}
    assert epochs <= {chapter.base.epoch}, f"two logs in one: {epochs}"


def check_equals_log(chapter: Chapter, log: Sequence[Entry]) -> None:
    """All that was heard since the page is the log, place by place, to the end.

    Words may differ in one way: what was retracted since stands in the log without them.
    """
    check_unbroken(chapter)
    owed = [entry for entry in log if entry.offset > chapter.base.offset]
    assert [entry.cursor for entry in chapter.entries] == [str(entry.cursor) for entry in owed]
    for heard, entry in zip(chapter.entries, owed, strict=True):
        assert heard.id == entry.post_id, f"{heard} is not {entry}"
        if entry.post is not None:
            assert (heard.action, heard.body) == (entry.action, entry.post.body)
    before = [entry for entry in log if entry.offset == chapter.base.offset]
    assert all(entry.cursor == chapter.base for entry in before), "its page is of another log"


def check_shows(chapter: Chapter, posts: Mapping[str, str]) -> None:
    """What stands on the screen are the posts that stand."""
    assert chapter.shown == dict(posts)


def check_acknowledged(acknowledged: Mapping[str, str], log: Iterable[Entry]) -> None:
    """Nothing acknowledged is missing, nothing is there twice."""
    stored = [entry for entry in log if entry.action == "publish" and entry.post is not None]
    times = Counter(entry.post.body for entry in stored if entry.post is not None)
    doubles = {body: count for body, count in times.items() if count > 1}
    assert not doubles, f"stored more than once: {doubles}"
    ids = {entry.post.body: entry.post.id for entry in stored if entry.post is not None}
    missing = {body: id for body, id in acknowledged.items() if ids.get(body) != id}
    assert not missing, f"acknowledged and not stored: {missing}"


@dataclass(frozen=True, slots=True)
class Truth:
    """What the store holds, read past every server."""

    head: Cursor
    entries: list[Entry]
    posts: dict[str, str]

    @classmethod
    async def of(cls, url: str, slug: str = "live") -> Truth:
        async with connected(url) as connection:
            log = Log(connection)
            head, entries = await whole_log(log, slug)
            posts: dict[str, str] = {}
            before: int | None = None
            while True:
                page = await log.snapshot(slug, limit=500, before=before)
                posts |= {placed.post.id: placed.post.body for placed in page.posts}
                before = page.older
                if before is None:
                    return cls(head, entries, posts)

    def check(self, *watchers: Watcher) -> None:
        """Every watcher holds exactly this."""
        for watcher in watchers:
            check_equals_log(watcher.chapter, self.entries)
            check_shows(watcher.chapter, self.posts)


async def metric(server: Server, name: str) -> float:
    """One number of a server's `/metrics`."""
    for line in (await server.get("/metrics")).text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no {name} in /metrics")
