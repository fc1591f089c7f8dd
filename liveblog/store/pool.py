"""A pool of connections that knows how many began, and whose connections fail as they should."""

from __future__ import annotations

from functools import cache
from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection, Connection
from redis.exceptions import ConnectionError as RedisConnectionError


class Pool(BlockingConnectionPool):
    """Counts how often one of its connections began, also anew."""

    begun = 0

    def __init__(self, connection_class: Any = Connection, **settings: Any) -> None:
        super().__init__(connection_class=_failing_plainly(connection_class), **settings)

    def make_connection(self) -> AbstractConnection:
        connection: Any = super().make_connection()  # type: ignore[no-untyped-call]
        connection.register_connect_callback(self._count)
        made: AbstractConnection = connection
        return made

    async def _count(self, _: AbstractConnection) -> None:
        self.begun += 1


@cache
def _failing_plainly(kind: Any) -> type[AbstractConnection]:
    class Plain(kind):  # type: ignore[misc,no-any-unimported]
        async def send_packed_command(self, *args: Any, **more: Any) -> None:
            try:
                await super().send_packed_command(*args, **more)
            except RuntimeError as error:
                # What uvloop says of a transport that the other side closed a moment ago, and the
                # client library takes for a mistake of ours.
                if "the handler is closed" not in str(error):
                    raise
                raise RedisConnectionError("the server closed the connection") from error
            except AttributeError as error:
                # It was disconnected while it was about to write, and its writer is None now.
                if self.is_connected:
                    raise
                raise RedisConnectionError("the connection was closed meanwhile") from error

    return Plain
