"""The command line: serve, invite, post, tail, doctor."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import click
import orjson
import segno
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.uri import parse_uri

from liveblog import __version__, limits, logs
from liveblog import settings as settings_of
from liveblog.app import opened, owner_token, stored
from liveblog.delivery import server
from liveblog.domain.blog import is_slug
from liveblog.domain.errors import Refusal, Unavailable
from liveblog.domain.invitation import EXPIRY_MOST_SECONDS
from liveblog.domain.person import NAME_LONGEST
from liveblog.domain.post import Author, Kind, drafted, published
from liveblog.domain.text import line
from liveblog.settings import Settings, SettingsError
from liveblog.store import holder
from liveblog.store.address import shown
from liveblog.store.connection import NO_ROOM, Connection, StoreRefused
from liveblog.store.embedded import EmbeddedStore, StoreFailed, running_url
from liveblog.store.log import Log, Operation
from liveblog.store.people import People
from liveblog.supervisor import Supervisor, WorkerFailed
from liveblog.web.api import checked_role, invited
from liveblog.web.site import OWNER, now

CLOCK_OFF_SECONDS = 2.0
FILES_WANTED = 4096
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 — compared with, not bound to


class _Commands(click.Group):
    """`liveblog` alone serves, also with options."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        _open_standard_files()
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("--help", "-h", "--version")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


def _open_standard_files() -> None:
    """Where one of the three was closed, nothing else may get its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free is the one that was closed.
            opened_as = os.open(os.devnull, os.O_RDWR)
            if opened_as != number:
                os.dup2(opened_as, number)
                os.close(opened_as)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="liveblog")
def main() -> None:
    """Live blogging for a team with phones, an audience, and a screen in the hall.

    \b
    liveblog                        start the server (the same as: liveblog serve)
    liveblog invite live            a link and QR code for one more reporter
    liveblog post live "Doors open" a post from here
    liveblog tail live              the feed, in this terminal
    liveblog doctor                 is everything as it should be?

    Each option has an environment variable; the option wins.
    """


_redis_option = click.option(
    "--redis-url", help="Redis 7+ or Valkey; unset: an embedded one. [REDIS_URL]"
)
_data_option = click.option(
    "--data-dir", help="Store, media and owner token. [LIVEBLOG_DATA_DIR; ./data]"
)


@main.command()
@click.option(
    "--host", help="Address to listen on; 0.0.0.0 for phones in the room. [HOST; 127.0.0.1]"
)
@click.option("--port", help="Port to listen on; 0 for any free one. [PORT; 8000]")
@click.option("--workers", help="Processes. [WEB_CONCURRENCY; 1]")
@_redis_option
@_data_option
def serve(**options: str | None) -> None:
    """Start the server and print its links."""
    settings = _settings(options)
    logs.configure(settings.log_level)
    limits.raise_files()
    _run(_serve(settings), settings)


async def _serve(settings: Settings) -> None:
    async with stored(settings) as store:
        listeners = _listening(settings)
        origin = settings.public_url or _origin(settings.host, listeners[0].getsockname()[1])
        if store.embedded is not None:
            store.embedded.note_address(origin)
        slugs = [blog.slug for blog in await Log(store.connection).blogs()]

        def print_links() -> None:
            _print_links(settings, origin, "live" if "live" in slugs else slugs[0])

        if settings.workers > 1:
            await Supervisor(settings, listeners, store).run(print_links)
            return
        async with opened(settings, store) as app:
            print_links()
            running = server.Server(
                server.config(app, drain_seconds=settings.drain_seconds),
                drain=lambda: app.state.site.hub.drain(settings.drain_seconds),
            )
            await running.serve(sockets=listeners)


def _listening(settings: Settings) -> list[socket.socket]:
    try:
        if settings.workers > 1:
            return server.listening_apart(settings.host, settings.port, settings.workers)
        return [server.listening(settings.host, settings.port)]
    except OSError as error:
        remedy = {
            errno.EADDRINUSE: "Another program holds the port: choose another with --port.",
            errno.EACCES: "Ports below 1024 need privileges: choose another with --port.",
        }.get(error.errno or 0, "Choose another address with --host.")
        _fail(
            f"Can't listen on {settings.host}:{settings.port}: {error.strerror or error}. " + remedy
        )
    except UnicodeError:
        _fail(
            f"Can't listen on {settings.host!r}: that is no name of a machine. "
            "Choose another address with --host."
        )


def _origin(host: str, port: int) -> str:
    if host in _EVERYWHERE:
        host = _address_in_the_room() or "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _address_in_the_room() -> str | None:
    # Asks the kernel which of our addresses leads out; a datagram socket sends nothing by that.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address: str = probe.getsockname()[0]
        except OSError:
            return None
    return address


def _print_links(settings: Settings, origin: str, slug: str) -> None:
    owner = f"{origin}/join#{owner_token(settings)}" if settings.owner_token is None else None
    click.echo(f"\n  write    {origin}/{slug}/write")
    click.echo(f"  watch    {origin}/{slug}")
    click.echo(f"  screen   {origin}/{slug}/screen")
    click.echo(f"  owner    {owner or f'{origin}/join, with LIVEBLOG_OWNER_TOKEN'}\n")
    if sys.stdout.isatty():
        click.echo("  Scan to write from a phone:\n")
        segno.make(owner or f"{origin}/{slug}/write", micro=False).terminal(compact=True, border=2)
        if urlsplit(origin).hostname in ("127.0.0.1", "localhost", "::1"):
            click.echo("  Only this machine can open these links. For phones in the same network:")
            click.echo("  liveblog --host 0.0.0.0\n")
    sys.stdout.flush()


@main.command(short_help="Make an invitation: its link and QR code.")
@click.argument("slug")
@click.option(
    "--role", default="reporter", show_default=True, help="contributor, reporter or editor."
)
@click.option("--name", help="Who it is for, as a note to yourself.")
@click.option("--uses", default=1, show_default=True, help="How many people may use it.")
@click.option("--hours", default=168.0, show_default=True, help="How long it holds.")
@_redis_option
@_data_option
def invite(
    slug: str, role: str, name: str | None, uses: int, hours: float, **options: str | None
) -> None:
    """Make an invitation to SLUG; prints its link and QR code, this once."""
    settings = _settings(options)
    _check_slug(slug)
    hours_most = EXPIRY_MOST_SECONDS // 3600
    if uses < 1 or not 0 < hours <= hours_most:
        _fail(f"--uses must be at least 1, and --hours more than 0 and at most {hours_most:,}.")

    async def work() -> None:
        async with _store(settings) as connection:
            await Log(connection).blog(slug)
            made, secret = invited(
                slug,
                role=checked_role(role),
                name=name,
                uses=uses,
                seconds=max(1, round(hours * 3600)),
                at=now(),
            )
            await People(connection).invite(made)
        url = f"{_known_origin(settings)}/join#{secret}"
        click.echo(url)
        if sys.stdout.isatty():
            segno.make(url, micro=False).terminal(compact=True, border=2)

    _run(work(), settings)


@main.command(short_help="Publish a post from here.")
@click.argument("slug")
@click.argument("text")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), default="update")
@click.option("--headline", help="A headline above the text.")
@click.option("--key", is_flag=True, help="Mark it as a key moment.")
@click.option("--name", default=OWNER.name, show_default=True, help="Whose post it is.")
@_redis_option
@_data_option
def post(
    slug: str,
    text: str,
    kind: str,
    headline: str | None,
    key: bool,
    name: str,
    **options: str | None,
) -> None:
    """Publish TEXT in SLUG; “-” reads it from standard input. Prints the post's address."""
    settings = _settings(options)
    _check_slug(slug)

    async def work() -> None:
        body = _standard_input() if text == "-" else text
        draft = drafted(body=body, kind=Kind(kind), headline=headline, key=key)
        author = Author(OWNER.id, line("name", name, NAME_LONGEST))
        made = published(draft, id=secrets.token_urlsafe(12), blog=slug, author=author, at=now())
        async with _store(settings) as connection:
            await Log(connection).publish(made, Operation.once())
        click.echo(f"{_known_origin(settings)}/{slug}/posts/{made.id}")

    _run(work(), settings)


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        _fail("What came on standard input isn't text in UTF-8.")


@main.command(short_help="Follow a blog in this terminal.")
@click.argument("slug")
@click.option("--url", help="The server. [LIVEBLOG_PUBLIC_URL; http://127.0.0.1:PORT]")
@click.option("--after", help="Go on from this cursor; each line can show its own with --cursors.")
@click.option("--cursors", is_flag=True, help="End each line with its cursor.")
def tail(slug: str, url: str | None, after: str | None, cursors: bool) -> None:
    """Follow SLUG in this terminal; a lost connection goes on where it was."""
    settings = _settings({})
    _check_slug(slug)
    origin = (url or settings.public_url or f"http://127.0.0.1:{settings.port}").rstrip("/")
    address = f"ws{origin.removeprefix('http')}/{slug}/live"
    try:
        parse_uri(address)
    except (WebSocketException, ValueError):
        _fail(
            f"--url {url or origin}: must be the server's address, like https://live.example.org."
        )
    _run(_tail(address, after, cursors), settings)


class _Refused(Exception):
    """The server says that coming back is no use."""


async def _tail(url: str, cursor: str | None, cursors: bool) -> None:
    pause = 0.5
    while True:
        reason = ""
        try:
            async for frame in _frames(
                f"{url}?after={quote(cursor, errors='replace')}" if cursor else url
            ):
                pause = 0.5
                if frame["type"] == "welcome":
                    if not frame["resumed"]:
                        click.echo("-- the log was replaced; going on from its head", err=True)
                    if cursor is None or not frame["resumed"]:
                        cursor = frame["cursor"]
                elif frame["type"] == "entry":
                    cursor = frame["cursor"]
                    _tell(frame, f"  [{cursor}]" if cursors else "")
        except _Refused as error:
            _fail(str(error))
        except (OSError, TimeoutError, WebSocketException) as error:
            reason = f" ({error})" if str(error) else ""
        click.echo(f"-- not connected{reason}; next try in {pause:g} s", err=True)
        await asyncio.sleep(pause * (0.5 + secrets.randbelow(1000) / 2000))
        pause = min(pause * 2, 30)


async def _frames(url: str) -> AsyncIterator[dict[str, Any]]:
    try:
        async with connect(url, max_size=None) as stream:
            async for message in stream:
                yield orjson.loads(message)
    except InvalidStatus as error:
        if error.response.status_code in (401, 403, 404):
            raise _Refused(_detail(error.response.body) or str(error)) from error
        raise
    except ConnectionClosed as error:
        if error.rcvd is not None and 4400 <= error.rcvd.code < 4500:
            raise _Refused(f"{error.rcvd.reason} ({error.rcvd.code})") from error
        raise


def _detail(problem: bytes | bytearray | None) -> str | None:
    try:
        return str(orjson.loads(problem or b"")["detail"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None  # It isn't one of our servers that answers there.


def _tell(frame: dict[str, Any], end: str) -> None:
    line = _told(frame)
    if line is None:
        return
    try:
        click.echo(line + end)
    except BrokenPipeError:
        # Whoever read has seen enough. Python would still try to flush what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _told(frame: dict[str, Any]) -> str | None:
    """An entry as a line; None for what a later server may tell and this one doesn't know."""
    if "blog" in frame:
        return f"#{frame['offset']}  is now {frame['blog']['state']}"
    if "post" not in frame:
        return f"#{frame['offset']}  removed {frame['id']}" if "id" in frame else None
    told = frame["post"]
    time_of_day = told["published_at"][11:16]
    mark = " (edited)" if frame["action"] == "edit" else ""
    headline = f"{told['headline']}. " if told["headline"] else ""
    text = click.unstyle(" ".join(f"{headline}{told['body']}".split()))
    key = "◆ " if told["key"] else ""
    return f"#{frame['offset']}  {time_of_day} {told['author']['name']}{mark}: {key}{text}"


@main.command(short_help="Is everything as it should be?")
@_redis_option
@_data_option
def doctor(**options: str | None) -> None:
    """Look at store, durability, clock, limits and public address: good, or what to do."""
    settings = _settings(options)
    bad = 0

    def say(good: bool, what: str, remedy: str = "") -> None:
        nonlocal bad
        bad += not good
        click.echo(
            f"{'good' if good else 'MEND'}  {what}" + (f"\n      {remedy}" if not good else "")
        )

    async def work() -> None:
        try:
            async with _store(settings) as connection:
                facts = await connection.look()
                where = shown(connection.url)
                say(
                    facts.has_room,
                    f"store: {facts} at {where}, "
                    + ("takes writes" if facts.has_room else NO_ROOM),
                    f"Make room on the disk under {settings.data}.",
                )
                say(
                    facts.durability != "best-effort",
                    f"durability: {facts.durability}"
                    + (f", {connection.replicas} of {facts.replicas} replicas confirm each write")
                    * bool(connection.replicas),
                    "An acknowledged post can be lost. Turn on appendonly, with appendfsync always "
                    "or a server that has WAITAOF (Redis 7.2, Valkey); or have replicas confirm "
                    "each write, with LIVEBLOG_REPLICAS.",
                )
                if settings.redis_url is None:
                    # It is the same clock: comparing the two would be good whatever it shows.
                    say(True, f"clock: it is {now():%Y-%m-%d %H:%M:%S} UTC here; compare a watch")
                else:
                    clocks = await connection.each(lambda redis: redis.time())
                    off = max(
                        abs(time.time() - seconds - micros / 1e6) for seconds, micros in clocks
                    )
                    say(
                        off < CLOCK_OFF_SECONDS,
                        f"clock: {off:.1f} s from the store's",
                        "Turn on time synchronisation.",
                    )
        except Unavailable as error:
            say(False, "store", _silent(settings, error))
        except (StoreFailed, StoreRefused) as error:
            say(False, "store", str(error))
        files = limits.files()
        say(
            files >= FILES_WANTED,
            f"open files: {files:,}, enough for {limits.viewers():,} viewers",
            f"Raise the limit (ulimit -n, LimitNOFILE) to at least {FILES_WANTED:,}.",
        )
        if settings.public_url is None:
            say(
                settings.trusted_proxies == 0,
                "public URL: not set, so links begin with the address that each browser used",
                "Behind a proxy, set LIVEBLOG_PUBLIC_URL to the address people type.",
            )
        else:
            secure = settings.public_url.startswith("https://")
            say(
                secure,
                f"public URL: {settings.public_url}",
                "Serve it as https://: phones keep text and cameras to secure pages.",
            )

    _run(work(), settings)
    sys.exit(1 if bad else 0)


# -- what the commands share


def _settings(options: dict[str, str | None]) -> Settings:
    try:
        return settings_of.read(os.environ, **options)
    except SettingsError as error:
        _fail(str(error))


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Connection]:
    """The store: the one named, the one that a running server holds, or our own for the moment.

    None is made: in the wrong directory that would be a silent, empty one.
    """
    embedded = None
    url = settings.redis_url or running_url(settings.data)
    if url is None:
        if not (settings.data / "store").is_dir():
            raise StoreFailed(
                f"There is no store in the data directory {settings.data}. Name the server's own "
                "with --data-dir (LIVEBLOG_DATA_DIR); a new one is made by “liveblog serve”."
            )
        embedded = EmbeddedStore(settings.data)
        await embedded.start()
        url = embedded.url
    folder = None if settings.redis_url else settings.data / "store"
    connection = Connection(url, folder, settings.replicas)
    try:
        await connection.look()
        yield connection
    finally:
        await connection.close()
        if embedded is not None:
            await embedded.stop()


def _check_slug(slug: str) -> None:
    if not is_slug(slug):
        _fail(f"There is no blog at /{slug}.")


def _known_origin(settings: Settings) -> str:
    """The address people type: as set, or where the server on this data directory listens."""
    if settings.public_url is not None:
        return settings.public_url
    noted = holder.read(settings.data / "store") if settings.redis_url is None else None
    if noted is not None and noted.address is not None and noted.server.lives():
        return noted.address
    return _origin(settings.host, settings.port)


def _silent(settings: Settings, error: Unavailable) -> str:
    reason = error.reason.rstrip(".")
    if settings.redis_url is None:
        return f"The store in {settings.data} {error.state}: {reason}."
    told = f"The store at {shown(settings.redis_url)} {error.state}: {reason}. "
    if error.is_silent:
        return told + "Start it, or mend REDIS_URL; without it, an embedded store is used."
    return told + (
        "It must take every command on keys and channels that begin with lb: "
        "from the user in REDIS_URL."
    )


def _run(work: Coroutine[Any, Any, None], settings: Settings) -> None:
    """Run to the end; what a person can mend is one line on standard error and exit code 1."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except KeyboardInterrupt:
        sys.exit(130)
    except Unavailable as error:
        _fail(_silent(settings, error))
    except (StoreFailed, StoreRefused, SettingsError, Refusal, WorkerFailed) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")


def _fail(message: str) -> NoReturn:
    click.echo(f"liveblog: {message}", err=True)
    sys.exit(1)
