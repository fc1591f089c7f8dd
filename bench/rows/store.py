"""What the store spends on telling processes of an entry."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from bench.programs import BenchError, on_core
from bench.rows.measuring import LOAD_CORE, PAYLOAD, SERVER_CORE, Row, Scale, Spread
from bench.server import Server

PROCESSES = 50

_CHANNEL = b"lb:{bench}:entries"


def _command(*words: bytes) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def announcing(scale: Scale) -> list[Row]:
    """CPU of the store for one announcement to one of many processes."""
    each = []
    payload = b"x" * PAYLOAD
    times = max(20, scale.viewers // 2)
    with on_core(LOAD_CORE), Server(core=SERVER_CORE) as server, ExitStack() as stack:
        listening = []
        for _ in range(PROCESSES):
            end = stack.enter_context(server.store())
            end.sendall(_command(b"SSUBSCRIBE", _CHANNEL))
            end.recv(4096)
            listening.append(end)
        asking = stack.enter_context(server.store())
        whole = len(_command(b"smessage", _CHANNEL, payload))
        for _ in range(scale.rounds):
            before = server.store_cpu_seconds()
            for _ in range(times):
                asking.sendall(_command(b"SPUBLISH", _CHANNEL, payload))
                if asking.recv(64) != b":%d\r\n" % PROCESSES:
                    raise BenchError("an announcement reached too few")
                for end in listening:
                    _hear(end, whole)
            each.append((server.store_cpu_seconds() - before) / times / PROCESSES * 1e6)
    spread = Spread.of(each)
    return [
        Row(
            f"CPU of the store to tell one of {PROCESSES} processes of an entry",
            spread.show("µs"),
            costs=(("announcement_us", spread.middle),),
        )
    ]


def _hear(end: socket.socket, size: int) -> None:
    while size > 0:
        heard = len(end.recv(size))
        if not heard:
            raise BenchError("the store ended a subscription")
        size -= heard
