"""What the suites share: waiting on a condition, a server of one's own, a network that fails."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar, overload

import httpx2
import pytest

ROOT = Path(__file__).resolve().parent.parent
OWNER_TOKEN = "the-owner-of-these-tests"
READY_SECONDS = 60.0
STOP_SECONDS = 15.0

_T = TypeVar("_T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[_T]],
    seconds: float = 5.0,
    *,
    every_seconds: float = 0.02,
    what: str = "",
) -> _T: ...


@overload
async def eventually(
    condition: Callable[[], _T],
    seconds: float = 5.0,
    *,
    every_seconds: float = 0.02,
    what: str = "",
) -> _T: ...


async def eventually(
    condition: Callable[[], object],
    seconds: float = 5.0,
    *,
    every_seconds: float = 0.02,
    what: str = "",
) -> object:
    """What `condition` gives as soon as it is true.

    An AssertionError or OSError within the condition counts as "not yet" and is shown if time runs
    out.
    """
    deadline = time.monotonic() + seconds
    reason: Exception | None = None
    seen: object = None
    while True:
        reason = None
        try:
            answer = condition()
            value = await answer if inspect.isawaitable(answer) else answer
            if value:
                return value
            seen = value
        except (AssertionError, OSError, httpx2.TransportError) as error:
            reason = error
        if time.monotonic() >= deadline:
            claim = what or inspect.getsource(condition).strip()
            raise AssertionError(f"not within {seconds} s: {claim}; last: {seen!r}") from reason
        await asyncio.sleep(every_seconds)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def lacking(part: str) -> NoReturn:
    """Skip for want of a program, except where nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(f"{part} is missing, and in CI nothing may be skipped", pytrace=False)
    pytest.skip(f"{part} is missing; `make test` says how to get it")


def clean_environment(extra: Mapping[str, str | None] = {}) -> dict[str, str]:
    """This process's environment without any setting of the server's, then `extra`.

    A None in `extra` removes a variable.
    """
    settings = {"HOST", "PORT", "WEB_CONCURRENCY", "REDIS_URL", "FORWARDED_ALLOW_IPS"}
    kept: dict[str, str | None] = {
        name: value
        for name, value in os.environ.items()
        if name not in settings and (not name.startswith("LIVEBLOG_"))
    }
    return {name: value for name, value in {**kept, **extra}.items() if value is not None}


def processes_of(directory: Path) -> list[int]:
    """The live processes that work in `directory` or name it, so also a store left behind.

    Only Linux tells; elsewhere the list is empty.
    """
    name = str(directory)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                continue
            if str((folder / "cwd").readlink()).startswith(name) or (
                name.encode() in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


class Server:
    """`liveblog serve` as a process of its own, on a free port, with data of its own.

        async with Server(tmp_path) as server:
            await server.get("/live")

    Leaving the block ends it, and its store, whatever state they are in.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        env: Mapping[str, str | None] = {},
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.websocket_url = f"ws://127.0.0.1:{self.port}"
        self.owner_token = env.get("LIVEBLOG_OWNER_TOKEN", OWNER_TOKEN) or ""
        self.directory = directory
        self.data = directory / "data"
        self.env = {
            "LIVEBLOG_OWNER_TOKEN": OWNER_TOKEN,
            "LIVEBLOG_DRAIN_SECONDS": "1",
            # What one process does, several must do too: run any test with TEST_WORKERS=2.
            "WEB_CONCURRENCY": os.environ.get("TEST_WORKERS"),
            **env,
        }
        self.workers = int(
            arguments[arguments.index("--workers") + 1]
            if "--workers" in arguments
            else self.env["WEB_CONCURRENCY"] or 1
        )
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self._launches = 0
        self._log = directory / f"server-{self.port}.log"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    @property
    def log(self) -> str:
        """All that it wrote to its two outputs, restarts included."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def headers(self, **more: str) -> dict[str, str]:
        """The owner's credentials, and `more` (with `_` for the hyphen)."""
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"Authorization": f"Bearer {self.owner_token}", **named}

    def launch(self) -> None:
        """Start the process and don't wait for it; `wait_ready` does."""
        assert self.process is None or self.process.poll() is not None, "it still runs"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._launches += 1
        command = [sys.executable, "-m", "liveblog", "serve", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(self.data), *self.arguments],
                cwd=ROOT,
                env=clean_environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def start(self, seconds: float = READY_SECONDS) -> None:
        """Start the process and wait until it is ready to take posts."""
        self.launch()
        await self.wait_ready(seconds)

    async def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=2.0) as client:

            async def ready() -> bool:
                process = self.process
                if process is None or process.poll() is not None:
                    code = process and process.returncode
                    raise RuntimeError(f"the server ended with {code}:\n{self.log}")
                answers = (await client.get(f"{self.url}/readyz")).status_code == 200
                # With several workers one may be ready before all are.
                return answers and self.log.count("\n  owner ") == self._launches

            try:
                await eventually(ready, seconds, what="ready")
            except AssertionError as error:
                error.add_note(self.log)
                raise

    async def wait_ended(self, seconds: float = STOP_SECONDS) -> int:
        """Its exit code, once it has ended."""
        process = self.process
        assert process is not None, "not started"
        await eventually(lambda: process.poll() is not None, seconds, what="the server ends")
        return process.returncode

    def is_draining(self) -> bool:
        """Whether it drains, with all its workers; for the first stop."""
        return self.log.count('"draining"') == self.workers

    def kill(self) -> None:
        """SIGKILL to the server alone; its store has to notice by itself."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    async def terminate(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None, "not started"
        self.process.send_signal(signal.SIGTERM)
        return await self.wait_ended(seconds)

    async def restart(self) -> None:
        """A graceful stop, then a start on the same port and the same data."""
        await self.terminate()
        await self.start()

    async def aclose(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                await self.wait_ended(STOP_SECONDS)
        self.kill()
        # The store goes with its server; one that didn't is ended here, or it would haunt the rest.
        with contextlib.suppress(AssertionError):
            await eventually(lambda: not processes_of(self.data), 5, what="the store ends")
        for pid in processes_of(self.data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """An anonymous GET, no redirect followed."""
        async with httpx2.AsyncClient(trust_env=False, timeout=30.0) as client:
            return await client.get(self.url + path, headers=headers)

    async def post(
        self, body: str, *, blog: str = "live", key: str | None = None, **fields: object
    ) -> httpx2.Response:
        """A post by the owner."""
        headers = self.headers(**({"Idempotency_Key": key} if key else {}))
        async with httpx2.AsyncClient(trust_env=False, timeout=30.0) as client:
            return await client.post(
                f"{self.url}/api/blogs/{blog}/posts", json={"body": body, **fields}, headers=headers
            )


class RedisServer:
    """A redis-server (or any like it) as a process of its own; on TCP, so that a proxy can part it.

    Where `program` isn't installed the test is skipped, or fails in CI.
    """

    def __init__(
        self, directory: Path, *arguments: str, program: str = "redis-server", port: int = 0
    ) -> None:
        self.program = shutil.which(program) or lacking(program)
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.directory = directory
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    async def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.directory), "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", "always", "--daemonize", "no", *self.arguments]
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            await eventually(self._answers, 10, what=f"{self.program} answers")
        except BaseException as error:
            self.kill()
            error.add_note((self.directory / "redis.log").read_text(errors="replace")[-2000:])
            raise

    def kill(self) -> None:
        """SIGKILL, as by the machine's own hand."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        """It keeps its sockets and answers nothing, until `thaw`."""
        assert self.process is not None, "not started"
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None, "not started"
        self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))


class TcpProxy:
    """A wire between a client and a server that can be cut, slowed and lied with.

    What is set applies to open and to new connections alike, from the next chunk on.
    """

    CHUNK = 16 * 1024

    def __init__(self, port: int, *, host: str = "127.0.0.1", listen: int | None = None) -> None:
        self.upstream = (host, port)
        self.port = listen or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.websocket_url = f"ws://127.0.0.1:{self.port}"
        self.delay_seconds = 0.0
        self.bytes_per_second: float | None = None
        self.accepted = 0
        self.replies_dropped = 0
        self._open = asyncio.Event()
        self._open.set()
        self._drop_replies = False
        self._drop_to = b""
        self._server: asyncio.Server | None = None
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.set()
        await self.down()
        for task in list(self._pairs):
            task.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._pairs)

    async def up(self) -> None:
        """Listen (again), at the same address."""
        if self._server is None:
            self._server = await asyncio.start_server(self._joined, "127.0.0.1", self.port)

    async def down(self) -> None:
        """Cut every connection and refuse new ones: a server that is gone, or no network at all."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """Reset every open connection; new ones are taken."""
        for writers in self._pairs.values():
            for writer in writers:
                raw = writer.get_extra_info("socket")
                if raw is not None and not writer.transport.is_closing():
                    # Zero linger makes the close a reset, as of a radio that went away.
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    def half_open(self) -> None:
        """Carry nothing in either direction and close nothing, until `restore`."""
        self._open.clear()

    def bury(self) -> None:
        """What is open now carries nothing for ever and is never closed; what is new is carried."""
        self._open.clear()
        self._open = asyncio.Event()
        self._open.set()

    def restore(self) -> None:
        """Carry everything again, at full speed."""
        self.delay_seconds = 0.0
        self.bytes_per_second = None
        self._drop_replies = False
        self._open.set()

    def drop_replies(self, to: bytes = b"") -> None:
        """Let requests through and their answers not: the next one cuts its connection instead.

        The server has then done what the client can't know. With `to`, only the answer to a request
        that contains it. Until `restore`.
        """
        self._drop_replies = True
        self._drop_to = to

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = (writer,)
        is_open = self._open
        asked = bytearray()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.upstream)
            self._pairs[task] = (writer, far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, far_writer, is_open, asked, is_reply=False))
                group.create_task(self._carry(far_reader, writer, is_open, asked, is_reply=True))
        except* OSError:
            pass  # either side went away; that is what the proxy is for
        finally:
            for end in self._pairs.pop(task, ()):
                end.transport.abort()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_open: asyncio.Event,
        asked: bytearray,
        *,
        is_reply: bool,
    ) -> None:
        while chunk := await reader.read(self.CHUNK):
            if not is_reply:
                asked[:] = chunk
            elif self._drop_replies and self._drop_to in asked:
                self.replies_dropped += 1
                raise ConnectionResetError("a reply was dropped")
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if self.bytes_per_second:
                await asyncio.sleep(len(chunk) / self.bytes_per_second)
            await is_open.wait()
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def chromium_path() -> str | None:
    """The system's Chromium; None where only Playwright's own may be there."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


CHROMIUM_ARGUMENTS: Sequence[str] = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Fail if the block took longer: for answers that are owed at once."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took <= seconds, f"{what} took {took:.2f} s, {seconds} s are allowed"
