"""Builds the store and the site, each in one lifespan, and closes them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from liveblog import __version__, limits
from liveblog.delivery.broker import Broker
from liveblog.delivery.gate import Gate
from liveblog.delivery.hub import Hub
from liveblog.domain.blog import Blog, BlogState
from liveblog.domain.errors import Conflict, Refusal
from liveblog.settings import OWNER_TOKEN_SHORTEST, Settings, SettingsError
from liveblog.store.connection import Connection
from liveblog.store.embedded import EmbeddedStore
from liveblog.store.forgetting import Forgetting
from liveblog.store.log import Log
from liveblog.store.people import People, hashed
from liveblog.web import operations, problems
from liveblog.web.guard import Guard
from liveblog.web.ready import GZIP_LEAST_BYTES, GZIP_LEVEL, Ready, Shelf
from liveblog.web.render import Pages
from liveblog.web.routes import nowhere, routes
from liveblog.web.site import Site, now

FIRST_SLUG = "live"
AGAIN_SECONDS = 1.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Store:
    """The store that a site stands on. `on_retracted` is to be told of each retraction."""

    connection: Connection
    embedded: EmbeddedStore | None = None
    on_retracted: Callable[[], None] | None = None


@asynccontextmanager
async def stored(settings: Settings) -> AsyncIterator[Store]:
    """The store, started where it is embedded, checked, and with a first blog in it.

    Raises: StoreRefused, StoreFailed; Unavailable where an external store doesn't answer.
    """
    async with AsyncExitStack() as stack:
        url = settings.redis_url
        embedded = None
        if url is None:
            embedded = EmbeddedStore(settings.data)
            await embedded.start()
            stack.push_async_callback(embedded.stop)
            _keep_running(stack, embedded.watch, "store watch")
            url = embedded.url
        connection = Connection(url, embedded.folder if embedded else None, settings.replicas)
        stack.push_async_callback(connection.close)
        facts = await connection.look()
        _log.info("store", server=str(facts), durability=facts.durability)
        if not facts.has_room:
            _log.error("store_full", folder=str(settings.data))
        on_retracted = None
        if embedded is not None:
            forgetting = Forgetting(connection, embedded.folder)
            _keep_running(stack, forgetting.keep_forgetting, "forgetting")
            on_retracted = forgetting.want
        await _first_blog(Log(connection))
        yield Store(connection, embedded, on_retracted)


@asynccontextmanager
async def opened(settings: Settings, store: Store) -> AsyncIterator[Starlette]:
    """The running site of one process, its subscription under way."""
    async with AsyncExitStack() as stack:
        connection = store.connection
        _keep_running(stack, connection.keep_looking, "store look")
        _keep_running(stack, limits.keep_watching, "limits")
        owner_hash = hashed(owner_token(settings))
        log = Log(
            connection,
            on_appended=lambda slug: hub.appended(slug),  # noqa: PLW0108 — the hub needs the log
            on_retracted=store.on_retracted,
        )
        people, pages = People(connection, owner_hash), Pages()
        hub = Hub(log, pages.post)
        broker = Broker(connection, on_entry=hub.offer, on_subscribed=hub.subscribed)
        broker.start()
        stack.push_async_callback(broker.stop)
        hub.start(broker)
        stack.push_async_callback(hub.stop)

        gate = Gate(settings.viewers_most or limits.viewers(), settings.viewers_per_address)
        shelf = Shelf()
        stack.push_async_callback(shelf.stop)

        app = Starlette(
            routes=routes,
            middleware=[
                Middleware(Guard, trusted_proxies=settings.trusted_proxies),
                Middleware(Ready),
                Middleware(GZipMiddleware, minimum_size=GZIP_LEAST_BYTES, compresslevel=GZIP_LEVEL),
            ],
            exception_handlers={
                Refusal: problems.on_refusal,
                HTTPException: problems.on_http_exception,
            },
        )
        app.router.redirect_slashes, app.router.default = False, nowhere
        app.state.site = Site(
            settings,
            connection,
            log,
            people,
            hub,
            broker,
            pages,
            owner_hash,
            __version__,
            gate,
            shelf,
        )
        app.state.numbers = operations.Numbers(hub, broker, gate)
        yield app


def _keep_running(
    stack: AsyncExitStack, work: Callable[[], Coroutine[None, None, None]], name: str
) -> None:
    running = asyncio.get_running_loop().create_task(_again_and_again(work, name), name=name)

    async def stop() -> None:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    stack.push_async_callback(stop)


async def _again_and_again(work: Callable[[], Coroutine[None, None, None]], name: str) -> None:
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 — what nobody foresaw must not end it for ever
            _log.exception("work_failed", work=name)
        else:
            return
        await asyncio.sleep(AGAIN_SECONDS)


async def _first_blog(log: Log) -> None:
    if await log.blogs():
        return
    first = Blog(
        slug=FIRST_SLUG,
        title="Live",
        state=BlogState.LIVE,
        created_at=now(),
        timezone=local_timezone(),
    )
    # Another process on the same empty store may have been quicker.
    with contextlib.suppress(Conflict):
        await log.create(first)


def local_timezone() -> str:
    """The machine's zone by its IANA name, for a first blog; UTC where it can't be told."""
    from zoneinfo import available_timezones

    named = os.environ.get("TZ", "").lstrip(":")
    place = Path("/etc/localtime")
    linked = str(place.resolve()).partition("zoneinfo/")[2] if place.is_symlink() else ""
    return next((name for name in (named, linked) if name in available_timezones()), "UTC")


def owner_token(settings: Settings) -> str:
    """The owner's token: as set, or made once and kept in the data directory.

    Raises: OSError where the data directory can't be written; SettingsError where what is kept
    there could be guessed.
    """
    if settings.owner_token is not None:
        return settings.owner_token
    kept = settings.data / "owner-token"
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not kept.exists():
        made = settings.data / f"owner-token.{secrets.token_hex(4)}"
        made.touch(0o600)
        made.write_text(secrets.token_urlsafe(24))
        with contextlib.suppress(FileExistsError):
            os.link(made, kept)  # Whole or not at all, and never over another's.
        made.unlink()
    token = kept.read_text("utf-8", "replace").strip()
    if len(token) < OWNER_TOKEN_SHORTEST:
        raise SettingsError(f"{kept} holds no token any more. Remove it: a new one will be made.")
    return token
