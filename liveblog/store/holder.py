"""Who holds the data directory: noted in a file, and believed only of processes that still live."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one under the same pid by the moment it was born."""

    pid: int
    born: str

    def lives(self) -> bool:
        """Whether it still runs; a zombie doesn't, although it can be signalled."""
        return born(self.pid) == self.born


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The server that holds the directory, its guard and Valkey, and where they are reached."""

    server: Process
    since: datetime
    socket: str
    guard: Process | None = None
    valkey: Process | None = None
    address: str | None = None


def me() -> Process:
    """The process that asks."""
    return Process(os.getpid(), born(os.getpid()) or "")


def process(pid: int) -> Process | None:
    """The process that runs under this pid now."""
    moment = born(pid)
    return None if moment is None else Process(pid, moment)


def born(pid: int) -> str | None:
    """When the process was started, in the system's own words; None if it has ended."""
    if not Path("/proc/self/stat").exists():
        return born_by_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold any character: count from the last one.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def born_by_ps(pid: int) -> str | None:
    """The same where there is no /proc, as on macOS."""
    command = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
    answer = subprocess.run(
        command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    state, _, moment = answer.stdout.strip().partition(" ")
    return moment.strip() if state and state[0] not in "ZX" else None


def listener(path: str) -> int | None:
    """The pid that listens on a Unix socket: the kernel's word, also for a process that hangs."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except OSError:
            return None
        if sys.platform == "darwin":
            sol_local, local_peerpid = 0, 2
            return int(probe.getsockopt(sol_local, local_peerpid))
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid: int = struct.unpack("3i", credentials)[0]
        return pid


def locked(path: Path) -> int | None:
    """A descriptor that holds the lock, until it and all its copies are closed; None if taken."""
    import fcntl  # Not on Windows, where the other floors run with REDIS_URL.

    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock


def read(folder: Path) -> Holder | None:
    """What was noted last; None where nothing that can be read was."""
    try:
        return msgspec.json.decode((folder / "holder.json").read_bytes(), type=Holder)
    except (FileNotFoundError, NotADirectoryError, PermissionError, msgspec.DecodeError):
        return None


def write(folder: Path, holder: Holder) -> None:
    """Notes it in one step, so that no reader finds half of it."""
    draft = folder / "holder.json.new"
    draft.write_bytes(msgspec.json.encode(holder))
    draft.replace(folder / "holder.json")


def forget(folder: Path) -> None:
    """Removes the note."""
    (folder / "holder.json").unlink(missing_ok=True)
