"""Stands between the server and its Valkey: ends the one when the other has died, however it died.

Runs as a script in a bare interpreter, so it imports nothing of ours. Standard input is a pipe
whose other end only the server has. Standard output tells Valkey's pid and, later, its exit code,
negative for a signal that killed it. Standard error is Valkey's log.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

ENDINGS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def tell(number: int) -> None:
    # A server that was killed doesn't listen, and Valkey is to be ended nevertheless.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, b"%d\n" % number)


def guard(lock: int, patience_seconds: float, command: list[str]) -> None:
    # Handlers stand before Valkey is started: a signal in between would leave it unguarded.
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (*ENDINGS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    try:
        valkey = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=2, stderr=2, pass_fds=(lock,)
        )
    except OSError as error:
        sys.exit(f"{command[0]} can't be run: {error.strerror}")
    try:
        tell(valkey.pid)
        while valkey.poll() is None:
            ready, _, _ = select.select([0, wake], [], [])
            if 0 in ready or ENDINGS & set(os.read(wake, 64)):
                break
    finally:
        valkey.terminate()
        try:
            valkey.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            valkey.kill()
        tell(valkey.wait())


if __name__ == "__main__":
    guard(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
