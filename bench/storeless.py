"""The server with the store left out of posting: what the route alone can answer."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from typing import Any

import uvloop

from liveblog import app as apps
from liveblog import logs
from liveblog import settings as settings_of
from liveblog.app import opened, stored
from liveblog.delivery import server
from liveblog.domain.blog import Blog
from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import Entry, EntryAction
from liveblog.settings import Settings
from liveblog.store.log import Appended, Log, Operation


class Storeless(Log):
    """A log that says at once that it has appended, and remembers the blog."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._blogs: dict[str, Blog] = {}
        self._offsets = itertools.count(1)

    async def blog(self, slug: str) -> Blog:
        if slug not in self._blogs:
            self._blogs[slug] = await super().blog(slug)
        return self._blogs[slug]

    async def _append(
        self, slug: str, action: EntryAction, operation: Operation, **given: Any
    ) -> Appended:
        cursor = Cursor("storeless", next(self._offsets), "0")
        return Appended(Entry(cursor, action, given.get("id"), given.get("post")), replayed=False)


async def serve(settings: Settings) -> None:
    vars(apps)["Log"] = Storeless
    async with stored(settings) as store, opened(settings, store) as app:
        running = server.Server(
            server.config(app, drain_seconds=settings.drain_seconds),
            drain=lambda: app.state.site.hub.drain(settings.drain_seconds),
        )
        await running.serve(sockets=[server.listening(settings.host, settings.port)])


def main(arguments: list[str]) -> None:
    # As `liveblog serve` has them: --host, --port, --data-dir, each with its value.
    words = arguments[1:]
    options = {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in zip(words[::2], words[1::2], strict=True)
    }
    settings = settings_of.read(os.environ, **options)
    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main(sys.argv[1:])
