"""Two servers on one store, with people at each who write and who read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.oracle import (
    Poster,
    Truth,
    Watcher,
    all_hold,
    check_acknowledged,
    check_unbroken,
    followed,
)
from tests.support import Server, eventually

WRITERS_EACH = 3
WATCHERS_EACH = 2
RESUMED_SECONDS = 40.0


class Hall:
    """What a fault of the store is tried on: it must not be told two stories, nor lose a word."""

    def __init__(self, folder: Path, url: str, *, replicas: int = 1) -> None:
        env = {"REDIS_URL": url, "LIVEBLOG_REPLICAS": str(replicas)}
        self.servers = [Server(folder / f"server-{number}", env=env) for number in range(2)]
        self.posters: list[Poster] = []
        self.watchers: list[Watcher] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            self._stack.push_async_callback(self._each, Server.aclose)
            await self._each(Server.start)
            for server in self.servers:
                self.posters.append(await self._stack.enter_async_context(Poster(server)))
            everybody = followed(*self.servers, count=WATCHERS_EACH)
            self.watchers = await self._stack.enter_async_context(everybody)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            for server in self.servers:
                told = [line for line in server.log.splitlines() if '"event":"request"' not in line]
                error.add_note("\n".join(told[-40:]))
        await self._stack.aclose()

    async def _each(self, do: Callable[[Server], Awaitable[None]]) -> None:
        await asyncio.gather(*(do(server) for server in self.servers))

    @property
    def acknowledged(self) -> dict[str, str]:
        return {body: id for poster in self.posters for body, id in poster.acknowledged.items()}

    @property
    def refused(self) -> int:
        return sum(poster.refused for poster in self.posters)

    @asynccontextmanager
    async def posting(self, prefix: str) -> AsyncIterator[None]:
        """Posts come from all sides within the block, and leaving it waits for the last answer."""
        stopped = False
        numbers = count()

        async def write(poster: Poster) -> None:
            while not stopped:
                await poster.post(f"{prefix} {next(numbers)}")

        writers = [
            asyncio.create_task(write(poster))
            for poster in self.posters
            for _ in range(WRITERS_EACH)
        ]
        try:
            yield
            stopped = True
            await asyncio.wait_for(asyncio.gather(*writers), RESUMED_SECONDS)
        finally:
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)

    async def progress(self, posts: int = 30) -> None:
        """Returns once so many more posts were taken, and some at each server."""
        before = [len(poster.acknowledged) for poster in self.posters]

        def taken() -> bool:
            more = [
                len(poster.acknowledged) - had
                for poster, had in zip(self.posters, before, strict=True)
            ]
            return sum(more) >= posts and all(more)

        await eventually(taken, RESUMED_SECONDS, what=f"{posts} more posts are taken")

    async def stuck(self, url: str, before: Truth, besides: int = 1) -> Truth:
        """What the store holds, once every writer has one post there that isn't acknowledged.

        `besides` are there that others wrote since `before`.
        """
        offset = before.head.offset + len(self.posters) * WRITERS_EACH + besides

        async def written() -> Truth | None:
            truth = await Truth.of(url)
            return truth if truth.head.offset == offset else None

        truth = await eventually(written, RESUMED_SECONDS, what=f"the log comes to {offset}")
        assert truth is not None
        return truth

    async def readiness(self) -> set[int]:
        """What `/readyz` answers at the servers now."""
        answers = await asyncio.gather(*(server.get("/readyz") for server in self.servers))
        return {answer.status_code for answer in answers}

    async def comes_to(self, status: int) -> None:
        """Returns once `/readyz` answers so at all servers."""

        async def all_do() -> bool:
            return await self.readiness() == {status}

        await eventually(all_do, RESUMED_SECONDS, what=f"/readyz is {status}")

    async def check(self, url: str) -> Truth:
        """What was acknowledged is in the store, once, and everybody is told what it holds."""
        truth = await self.agree(url)
        check_acknowledged(self.acknowledged, truth.entries)
        return truth

    async def agree(self, url: str) -> Truth:
        """Everybody is told what the store at `url` holds, and never two stories in one."""
        truth = await Truth.of(url)
        await all_hold(self.watchers, truth.head)
        truth.check(*self.watchers)
        for watcher in self.watchers:
            for chapter in watcher.chapters:
                check_unbroken(chapter)
        for server in self.servers:
            page = (await server.get("/api/blogs/live/posts?limit=100")).json()
            posts = {post["id"]: post["body"] for post in page["posts"]}
            assert page["cursor"] == str(truth.head)
            assert posts.items() <= truth.posts.items()
        return truth
