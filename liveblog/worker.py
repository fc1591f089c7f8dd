"""One process of several that serve a site: what it is told by its supervisor, and tells it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Generic, Self, TypeVar

import msgspec
import structlog
import uvloop
from starlette.applications import Starlette

from liveblog import logs
from liveblog.app import Store, opened
from liveblog.delivery import server
from liveblog.domain.errors import Unavailable
from liveblog.settings import Settings, SettingsError
from liveblog.store.connection import Connection, StoreRefused
from liveblog.web.operations import Counted, Numbers

# The supervisor itself waits a second for who doesn't tell. Prometheus gives up after ten.
SUM_SECONDS = 5.0
# Whose subscription isn't up by then serves without, as one process does; /readyz says so.
STAND_SECONDS = 10.0
LINE_MOST_BYTES = 1 << 20

_log = structlog.get_logger()


class Message(msgspec.Struct, frozen=True, tag=True):
    """What goes between a supervisor and a worker, a line of JSON each."""


class Assignment(Message, frozen=True):
    """To a worker, first: what to serve, where, from which store."""

    settings: Settings
    listener: int
    store_url: str
    store_folder: str | None


class Ready(Message, frozen=True):
    """From a worker: it takes connections."""


class Failed(Message, frozen=True):
    """From a worker: why it can't start, for whoever can mend that."""

    reason: str


class Retracted(Message, frozen=True):
    """From a worker: words were taken back."""


class Tell(Message, frozen=True):
    """To a worker: say your numbers."""


class Told(Message, frozen=True):
    """From a worker: its numbers; also without being asked, as its last word."""

    counted: Counted


class Ask(Message, frozen=True):
    """From a worker: somebody wants to know all workers' numbers."""


class Answer(Message, frozen=True):
    """To a worker: the numbers of all."""

    counted: Counted


_M = TypeVar("_M", bound=Message)


class Line(Generic[_M]):
    """One end of what a supervisor and a worker say to each other; it ends when either does."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: object
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decode = msgspec.json.Decoder(heard).decode

    @classmethod
    async def over(cls, end: socket.socket, heard: object) -> Self:
        """`heard` is the type of what comes from the other end."""
        reader, writer = await asyncio.open_unix_connection(sock=end, limit=LINE_MOST_BYTES)
        return cls(reader, writer, heard)

    def say(self, message: Message) -> None:
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    async def hear(self) -> _M | None:
        """The next message; None once the other end is gone."""
        while True:
            try:
                line = await self._reader.readline()
            except ConnectionError:
                return None
            if not line.endswith(b"\n"):
                return None
            try:
                message: _M = self._decode(line)
            except msgspec.MsgspecError as error:
                # After a deploy the two may be of different releases.
                _log.warning("message_unknown", reason=str(error))
            else:
                return message

    async def hang_up(self) -> None:
        """Once all that was said is on its way."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


async def serve(end: socket.socket) -> None:
    """Serve as the supervisor at the other end says, until it says stop, or is gone."""
    line: Line[Assignment | Tell | Answer] = await Line.over(end, Assignment | Tell | Answer)
    assignment = await line.hear()
    if not isinstance(assignment, Assignment):
        return
    settings = assignment.settings
    logs.configure(settings.log_level)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(line.hang_up)
        try:
            app = await stack.enter_async_context(_opened(assignment, line))
        except (SettingsError, StoreRefused, Unavailable, OSError) as error:
            line.say(Failed(error.reason if isinstance(error, Unavailable) else str(error)))
            sys.exit(1)
        with suppress(TimeoutError):
            async with asyncio.timeout(STAND_SECONDS):
                await app.state.site.broker.comes_to_stand()
        numbers: Numbers = app.state.numbers
        running = server.Server(
            server.config(app, drain_seconds=settings.drain_seconds),
            drain=lambda: app.state.site.hub.drain(settings.drain_seconds),
            on_started=lambda: line.say(Ready()),
        )
        listening = asyncio.create_task(_listen(line, numbers, running), name="line")
        await running.serve(sockets=[socket.socket(fileno=assignment.listener)])
        line.say(Told(numbers.own()))
        listening.cancel()


@asynccontextmanager
async def _opened(
    assignment: Assignment, line: Line[Assignment | Tell | Answer]
) -> AsyncIterator[Starlette]:
    folder = Path(assignment.store_folder) if assignment.store_folder is not None else None
    connection = Connection(assignment.store_url, folder, assignment.settings.replicas)
    try:
        await connection.look()
        store = Store(connection, on_retracted=lambda: line.say(Retracted()))
        async with opened(assignment.settings, store) as app:
            yield app
    finally:
        await connection.close()


async def _listen(
    line: Line[Assignment | Tell | Answer], numbers: Numbers, running: server.Server
) -> None:
    asking: deque[asyncio.Future[Counted]] = deque()

    async def everybodys() -> Counted:
        answer: asyncio.Future[Counted] = asyncio.get_running_loop().create_future()
        asking.append(answer)
        line.say(Ask())
        async with asyncio.timeout(SUM_SECONDS):
            return await answer

    numbers.everybodys = everybodys
    try:
        while (message := await line.hear()) is not None:
            match message:
                case Tell():
                    line.say(Told(numbers.own()))
                case Answer(counted=counted):
                    # One answer for each question: a sum from before it was asked could be lower
                    # than what another worker has said meanwhile.
                    if asking and not (answer := asking.popleft()).done():
                        answer.set_result(counted)
    finally:
        # It is gone, or can't be understood: nobody would restart this one, or end it.
        running.should_exit = True


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(socket.socket(fileno=os.dup(0))))


if __name__ == "__main__":
    main()
