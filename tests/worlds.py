"""Small worlds to test in: a store without a server, blogs, posts, and a hand in the store."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from liveblog.domain.blog import Blog, BlogState
from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import Entry
from liveblog.domain.post import Author, Post, drafted, published
from liveblog.store.connection import Connection, Script
from liveblog.store.embedded import EmbeddedStore, binary, running_url
from liveblog.store.log import Log
from tests.support import RedisServer, Server, lacking

ANA = Author("ana", "Ana")
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def valkey_program() -> str:
    """The Valkey that is embedded, to be run by the test itself."""
    return binary() or lacking("valkey-server")


STORES = ("embedded", "redis-server")


@asynccontextmanager
async def a_store(kind: str, directory: Path) -> AsyncIterator[str]:
    """The address of a store of one's own: the embedded one, or a Redis beside."""
    if kind == "embedded":
        store = EmbeddedStore(directory)
        await store.start()
        try:
            yield store.url
        finally:
            await store.stop()
    else:
        async with RedisServer(directory, program=kind) as server:
            yield server.url


def a_blog(slug: str | None = None) -> Blog:
    """A blog, of a slug that no other test has."""
    return Blog(
        slug=slug or f"t-{secrets.token_hex(6)}",
        title="A test",
        state=BlogState.LIVE,
        created_at=NOON,
    )


def a_post(slug: str, body: str = "words", *, author: Author = ANA, key: bool = False) -> Post:
    return published(
        drafted(body=body, key=key), id=secrets.token_urlsafe(12), blog=slug, author=author, at=NOON
    )


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """The product's own connection to a store."""
    connection = Connection(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def meddling(url: str) -> AsyncIterator[Any]:
    """A plain client, to do to a store what no request would."""
    redis: Any = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=10)
    try:
        yield redis
    finally:
        await redis.aclose()


def store_url(server: Server) -> str:
    """Where a running server's embedded store answers."""
    url = running_url(server.data)
    assert url is not None, "its store isn't embedded, or it doesn't run"
    return url


def unannounced(append: Script) -> Script:
    """The script that appends, but tells nobody: as if the announcement were lost on its way."""
    text = append.text.replace("redis.call('SPUBLISH', channel,", "redis.sha1hex(")
    assert text != append.text
    return replace(append, text=text, sha=sha1(text.encode(), usedforsecurity=False).hexdigest())


async def whole_log(log: Log, slug: str) -> tuple[Cursor, list[Entry]]:
    """The head, and every entry that the store holds, read past any server."""
    first = await log.backlog(slug, 0, 1)
    if first.after is None:
        first = await log.backlog(slug, -(2**40), 1)
    assert first.after is not None
    head, at = first.head, first.after
    entries: list[Entry] = []
    while at.offset < head.offset:  # As of now: who goes on writing is not chased.
        found = (await log.backlog(slug, at.offset, 500)).entries[: head.offset - at.offset]
        assert found, f"a hole after {at}"
        entries += found
        at = entries[-1].cursor
    return head, entries
