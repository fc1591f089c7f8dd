"""The page: what it weighs, how soon it is seen, how many a core answers."""

from __future__ import annotations

import secrets

from bench.page import first_paints, weigh
from bench.programs import get, on_core
from bench.rows.measuring import LOAD_CORE, SERVER_CORE, Row, Scale, Spread
from bench.rows.words import WORDS
from bench.server import Server

POSTS_ON_THE_PAGE = 30
POSTS_IN_THE_BLOG = 200
READERS = 20

_PAGE_AIM_KB = 50
_JS_AIM_KB = 12
_PAGES_AIM = 5_000


def _fill(server: Server, posts: int) -> None:
    for number in range(posts):
        # No two posts alike, or gzip would make thirty weigh as much as one.
        start = number * 37 % len(WORDS)
        extra = secrets.token_urlsafe(24)
        server.publish(f"{WORDS[start:]} {WORDS[:start]} Seat {number}, ticket {extra}.")


def weight(scale: Scale) -> list[Row]:
    """What a first visit to the feed brings over the network, without pictures."""
    del scale
    with Server() as server:
        _fill(server, POSTS_ON_THE_PAGE)
        weighed = weigh(server.port, "/live")
    by = "" if weighed.server_compresses else ", as gzip (the smallest go out plain)"
    total, scripts = weighed.total / 1000, weighed.js / 1000
    return [
        Row(
            f"page weight, {POSTS_ON_THE_PAGE} posts, {weighed.files + 1} files{by}",
            f"{total:.1f} kB (HTML {weighed.html / 1000:.1f}, CSS {weighed.css / 1000:.1f},"
            f" JS {scripts:.1f})",
            f"under {_PAGE_AIM_KB} kB",
            total < _PAGE_AIM_KB,
            (("page_bytes", weighed.html), ("visit_bytes", weighed.total)),
        ),
        Row("of this, JS", f"{scripts:.1f} kB", f"under {_JS_AIM_KB} kB", scripts < _JS_AIM_KB),
    ]


def painting(scale: Scale) -> list[Row]:
    """How soon a phone on a slow network shows words."""
    with Server() as server:
        _fill(server, POSTS_ON_THE_PAGE)
        paints = first_paints(server.port, "/live", scale.paints)
    return [
        Row(
            "first contentful paint in Chromium, 1.6 Mbit/s and 150 ms",
            Spread.of(paints).show("ms", 0),
        )
    ]


def pages(scale: Scale) -> list[Row]:
    """The feed page to readers who keep their connection, for each CPU-second of the server."""
    each = []
    times = 5 * scale.viewers // READERS
    with on_core(LOAD_CORE), Server(core=SERVER_CORE) as server:
        _fill(server, POSTS_IN_THE_BLOG)
        get(server.port, "/live", readers=READERS, times=10)
        for _ in range(scale.rounds):
            server.settle()
            before = server.cpu_seconds()
            answered = get(server.port, "/live", readers=READERS, times=times)
            each.append(answered["answers"] / (server.cpu_seconds() - before))
    spread = Spread.of(each)
    what = f"feed pages a second and core, {POSTS_IN_THE_BLOG} posts, gzip"
    row = spread.at_least(what, _PAGES_AIM, digits=0)
    return [row.costing(page_us=1e6 / spread.middle)]
