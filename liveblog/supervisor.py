"""Several processes that serve one site: started, restarted when they die, replaced one by one."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from liveblog.app import Store
from liveblog.settings import Settings
from liveblog.web.operations import Counted
from liveblog.worker import Answer, Ask, Assignment, Failed, Line, Ready, Retracted, Tell, Told

RESTART_SECONDS = 0.1
RESTART_SECONDS_LONGEST = 5.0
# What a worker dies of after so long a life is something new.
CALM_SECONDS = 60.0
READY_SECONDS = 60.0
TOLD_SECONDS = 1.0
# Beyond the drain time: posts in flight, closing the store's connection, the interpreter's end.
PATIENCE_SECONDS = 10.0

_log = structlog.get_logger()

_Heard = Ready | Failed | Retracted | Told | Ask


class WorkerFailed(Exception):
    """A worker didn't come up; the message says why, or where it is said."""


class Worker:
    """One life of a worker, as its supervisor sees it.

    A process of a fresh interpreter, so that a replacement runs what is installed by then. Its
    standard input is the line to here; in a session of its own it doesn't hear a terminal's Ctrl-C,
    which is the supervisor's to answer.
    """

    def __init__(self, place: int, listener: socket.socket) -> None:
        self.place = place
        self.counted = Counted()
        self.reason = ""
        self.is_ready = asyncio.Event()
        self.has_told = asyncio.Event()
        self.began = time.monotonic()
        self._end, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "liveblog.worker"],
                stdin=theirs.fileno(),
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
        self.line: Line[_Heard]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal that killed it; None while it runs."""
        return self._process.returncode

    async def live(
        self, assignment: Assignment, on_heard: Callable[[Worker, _Heard], None]
    ) -> None:
        """Tell it what to do and pass on what it says, until it has ended."""
        try:
            self.line = await Line.over(self._end, _Heard)
            self.line.say(assignment)
            while (message := await self.line.hear()) is not None:
                on_heard(self, message)
            await self.line.hang_up()
        except BaseException:
            self.kill()  # Nobody would hear of it any more, and its place would have two.
            raise
        finally:
            await asyncio.to_thread(self._process.wait)

    def stop(self) -> None:
        """Ask it to drain and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Polled first: a pid that was waited for may be another's by now.
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


class Supervisor:
    """Keeps a worker running at each listener.

    The listeners are opened once and stay open here: a worker and the one that replaces it share
    theirs, so no connection that the kernel has taken is lost between the two.
    """

    def __init__(
        self, settings: Settings, listeners: Sequence[socket.socket], store: Store
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._store = store
        self._at: dict[int, Worker] = {}
        self._lives: dict[Worker, asyncio.Task[None]] = {}
        self._changing = [asyncio.Lock() for _ in listeners]
        self._pauses: dict[int, float] = {}
        self._departed = Counted()
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._renewal = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until a signal says stop; `on_ready` is called once all workers are.

        SIGTERM and SIGINT have all workers drain at once, a second one ends them; SIGHUP replaces
        them one by one. Raises: WorkerFailed where one doesn't come up at the start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._renewal.set)
        try:
            starting = asyncio.gather(*map(self._start, range(len(self._listeners))))
            await _either(starting, self._stopping.wait())
            if starting.done():
                await starting
                on_ready()
                self._own(self._keep_renewing())
                await self._stopping.wait()
            else:
                starting.cancel()
        finally:
            await self._end_all()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._hurried.set()
        self._stopping.set()

    # -- lives

    async def _start(self, place: int) -> None:
        """Put a new worker at a place, once it is ready. Raises: WorkerFailed."""
        listener, embedded = self._listeners[place], self._store.embedded
        try:
            worker = Worker(place, listener)
        except OSError as error:  # No file or process more can be had: later, then.
            raise WorkerFailed(f"A worker can't be started: {error.strerror}.") from error
        assignment = Assignment(
            self._settings,
            listener.fileno(),
            self._store.connection.url,
            str(embedded.folder) if embedded is not None else None,
        )
        life = asyncio.create_task(worker.live(assignment, self._heard), name=f"worker {place}")
        self._lives[worker] = life
        life.add_done_callback(lambda _: self._ended(worker))
        await _either(life, worker.is_ready.wait(), READY_SECONDS)
        # One that was ready and has died since isn't put in the place, where nobody would miss it.
        if life.done() or not worker.is_ready.is_set():
            worker.kill()
            how = f"ended with {worker.code}" if life.done() else "wasn't ready in time"
            raise WorkerFailed(worker.reason or f"A worker {how}; what it said stands above.")
        self._at[place] = worker
        _log.info("worker_ready", place=place, pid=worker.pid)

    def _ended(self, worker: Worker) -> None:
        del self._lives[worker]
        self._departed = self._departed.later(Counted(totals=worker.counted.totals))
        if self._at.get(worker.place) is worker and not self._stopping.is_set():
            del self._at[worker.place]
            _log.error("worker_died", place=worker.place, pid=worker.pid, code=worker.code)
            if time.monotonic() - worker.began > CALM_SECONDS:
                self._pauses.pop(worker.place, None)
            self._was_retracted()  # What was, it may not have had the time to say.
            self._own(self._restart(worker.place))

    async def _restart(self, place: int) -> None:
        async with self._changing[place]:
            while place not in self._at:
                pause = self._pauses.get(place, RESTART_SECONDS)
                self._pauses[place] = min(2 * pause, RESTART_SECONDS_LONGEST)
                await asyncio.sleep(pause)
                try:
                    await self._start(place)
                except WorkerFailed as failure:
                    _say_failed("worker_not_restarted", place, failure)

    async def _keep_renewing(self) -> None:
        """Whenever it is wanted, a new worker at each place, ready before the old one drains."""
        while True:
            await self._renewal.wait()
            self._renewal.clear()
            _log.info("renewing")
            for place, changing in enumerate(self._changing):
                try:
                    async with changing:
                        before = self._at.get(place)
                        await self._start(place)
                except WorkerFailed as failure:
                    # What runs goes on running: a release that doesn't start isn't deployed.
                    _say_failed("worker_not_renewed", place, failure)
                    break
                # Outside: should the new one die meanwhile, it isn't missed for as long as this.
                if before is not None:
                    await self._retire(before)
            else:
                _log.info("renewed")

    async def _retire(self, worker: Worker) -> None:
        worker.stop()
        if (life := self._lives.get(worker)) is not None:
            await asyncio.wait({life}, timeout=self._patience_seconds)
        worker.kill()

    @property
    def _patience_seconds(self) -> float:
        return self._settings.drain_seconds + PATIENCE_SECONDS

    async def _end_all(self) -> None:
        self._stopping.set()
        for task in list(self._tasks):
            task.cancel()
        # The workers close their own copies when they drain; with these, nobody listens any more.
        for listener in self._listeners:
            listener.close()
        for worker in self._lives:
            worker.stop()
        if self._lives:
            ending = asyncio.gather(*self._lives.values(), return_exceptions=True)
            await _either(ending, self._hurried.wait(), self._patience_seconds)
            for worker in list(self._lives):
                worker.kill()
            await ending

    # -- what workers say

    def _heard(self, worker: Worker, message: _Heard) -> None:
        match message:
            case Ready():
                worker.is_ready.set()
            case Failed(reason=reason):
                worker.reason = reason
            case Retracted():
                self._was_retracted()
            case Told(counted=counted):
                worker.counted = counted
                worker.has_told.set()
            case Ask():
                self._own(self._answer(worker))

    def _was_retracted(self) -> None:
        if self._store.on_retracted is not None:
            self._store.on_retracted()

    async def _answer(self, asking: Worker) -> None:
        """Tell one worker what the numbers of all come to, those that have ended included."""
        workers = [worker for worker in self._lives if worker.is_ready.is_set()]
        for worker in workers:
            worker.has_told.clear()
            worker.line.say(Tell())
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD_SECONDS):
                await asyncio.gather(*(worker.has_told.wait() for worker in workers))
        total = self._departed
        for worker in workers:
            if worker in self._lives:
                total = total.later(worker.counted)
        asking.line.say(Answer(total))

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _either(
    work: asyncio.Future[Any], other: Coroutine[Any, Any, object], seconds: float | None = None
) -> None:
    """Wait until `work` is done, or `other`, or so many seconds have passed."""
    waiting = asyncio.get_running_loop().create_task(other)
    await asyncio.wait({work, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _say_failed(event: str, place: int, failure: WorkerFailed) -> None:
    _log.error(event, place=place, reason=str(failure))
