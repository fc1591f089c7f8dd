"""One life of a Valkey under its guard, and the end of one whose guard was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from liveblog.store.holder import Holder, listener

GUARD = Path(__file__).with_name("guard.py")

# From SIGTERM to SIGKILL. Nothing acknowledged hangs on it: every write is on the disk by then.
PATIENCE_SECONDS = 5.0
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.02

log = structlog.get_logger()


class Valkey:
    """A running Valkey and its guard; start it inside a running loop.

    A plain Popen, because asyncio's own kills its child with SIGKILL when the loop is closed before
    the child has ended: the guard would be the first to go, and Valkey would run on without it.
    """

    def __init__(self, command: list[str], socket: Path, log: Path, lock: int) -> None:
        self._socket = socket
        self._log = log
        guard = [sys.executable, "-I", "-S", str(GUARD), str(lock), str(PATIENCE_SECONDS)]
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                guard + command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C is the server's to answer, once it has drained.
            )
        self.guard_pid = self._guard.pid
        self._pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._listen())

    async def pid(self) -> int | None:
        """Valkey's pid, as soon as the guard has told it; None if it never will."""
        either: set[asyncio.Future[Any]] = {self._pid, self._life}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return self._pid.result() if self._pid.done() else None

    async def ended(self) -> str:
        """Waits until it has ended, or lost its guard, and says how."""
        code = await asyncio.shield(self._life)
        if code is None:
            return "lost its guard"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"

    async def failure(self) -> str | None:
        """Waits until it answers with all data loaded; else returns what came in between."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            if self._life.done():
                return await self.ended()
            answer = await _ping(self._socket)
            if answer.startswith(b"+PONG"):
                return None
            if answer:  # A long log may take minutes to load: it is there, and says so.
                deadline = time.monotonic() + ANSWER_SECONDS
            await asyncio.sleep(POLL_SECONDS)
        return f"didn't answer for {ANSWER_SECONDS:.0f} s"

    def log_tail(self) -> str:
        """Its last words."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])

    async def end(self) -> None:
        """Asks the guard to end it, and waits; a guard that doesn't listen is killed."""
        for ask, bound in (
            (self._guard.terminate, 2 * PATIENCE_SECONDS),
            (self._guard.kill, None),
        ):
            ask()
            if (await asyncio.wait({self._life}, timeout=bound))[0]:
                return

    async def _listen(self) -> int | None:
        assert self._guard.stdin
        report = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(report), self._guard.stdout
        )
        if pid := await report.readline():
            self._pid.set_result(int(pid))
        code = await report.read()
        pipe.close()
        await asyncio.to_thread(self._guard.wait)
        self._guard.stdin.close()
        return int(code) if code else None


async def end_leftover(noted: Holder) -> None:
    """Ends a Valkey that lost its guard: the noted process only, and only if it has our socket."""
    left = noted.valkey
    if left is None or (noted.guard and noted.guard.lives()):
        return
    for ask in (signal.SIGTERM, signal.SIGKILL):
        if not left.lives() or listener(noted.socket) != left.pid:
            return
        log.warning("store_leftover_ended", pid=left.pid, signal=ask.name)
        with suppress(ProcessLookupError):
            os.kill(left.pid, ask)
        await until(lambda: not left.lives(), PATIENCE_SECONDS)


async def until(holds: Callable[[], bool], seconds: float) -> None:
    """Waits for something that nobody announces, such as the end of a process not our own."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        await asyncio.sleep(POLL_SECONDS)


async def _ping(socket: Path) -> bytes:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"PING\r\n")
                return await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""
