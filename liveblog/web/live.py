"""The live stream, as WebSocket or event stream; afterwards the hub owns the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import structlog
from starlette.requests import HTTPConnection, Request
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from liveblog.delivery import frames
from liveblog.delivery.frames import Format, Wire
from liveblog.delivery.handshake import HAND_OVER
from liveblog.delivery.hub import BLOG_GONE, RESTART, Channel, Hub
from liveblog.delivery.socket import EventStreamViewer, SocketViewer, Viewer, shares_deflate
from liveblog.domain.cursor import Cursor
from liveblog.domain.errors import NotFound, Refusal, Unavailable
from liveblog.web import auth, problems
from liveblog.web.api import slug_of
from liveblog.web.site import address_of, site_of

CATCH_UP_ENTRIES = 200
CATCH_UP_SECONDS = 30.0

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"access-control-allow-origin", b"*"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until its buffer is full.
)

# Viewers whose frames are alike share one wire, so that a fan-out can tell by identity.
_wire = lru_cache(256)(Wire)

_log = structlog.get_logger()


class Live:
    """`/{slug}/live`, as an ASGI application: it decides on the handshake and lets go."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            socket = WebSocket(scope, receive, send)
            await _join(socket, "ws", scope["extensions"][HAND_OVER], socket.send_denial_response)
            return
        request = Request(scope, receive, send)

        async def refuse(response: Any) -> None:
            await response(scope, receive, send)

        if request.method not in ("GET", "HEAD"):
            await refuse(problems.problem(405, "This address is only read.", {"allow": "GET"}))
        elif request.method == "HEAD" or "text/event-stream" not in request.headers.get(
            "accept", ""
        ):
            try:
                # Whoever mistyped the blog's name isn't helped by how a stream is opened.
                await site_of(request).hub.channel(slug_of(request))
            except Refusal as error:
                await refuse(problems.answer(request, error))
                return
            await refuse(
                problems.problem(
                    406,
                    "This is the live stream: open it as a WebSocket, or with "
                    "“Accept: text/event-stream”. Where neither gets through, "
                    "poll /api/blogs/{slug}/entries.",
                )
            )
        else:
            await _join(request, "sse", scope["extensions"][HAND_OVER], refuse)


async def _join(
    request: HTTPConnection,
    transport: Any,
    hand_over: Callable[..., Viewer | None],
    refuse: Callable[..., Any],
) -> None:
    site = site_of(request)
    try:
        site.gate.knock(asyncio.get_running_loop().time())
        slug = slug_of(request)
        if site.hub.closing:
            raise Unavailable("The server is about to stop; try again in a moment.")
        channel = await site.hub.channel(slug)
        after = _after(request)
        cursor = Cursor.parse(after) if after is not None else channel.head
        start = await site.hub.position(channel, cursor)
        seat = site.gate.enter(address_of(request), auth.token_of(request))
    except Refusal as error:
        await refuse(problems.answer(request, error))
        return

    format: Format = "html" if request.query_params.get("format") == "html" else "json"
    origin = site.shared_origin(request)
    # From here to the hub's join without an await where the ring reaches: nothing falls between.
    welcome = frames.wrapped(
        transport,
        frames.welcome(
            head=channel.head,
            resumed=start is not None,
            blog=channel.blog,
            viewers=channel.reading + 1,
        ),
    )
    if transport == "ws":
        viewer = hand_over(
            lambda extensions: SocketViewer(
                _wire("deflate" if shares_deflate(extensions) else "ws", format, origin), extensions
            ),
            welcome,
        )
    else:
        wire = _wire(transport, format, origin)
        viewer = hand_over(lambda: EventStreamViewer(wire), welcome, _STREAM_HEADERS)
    if viewer is None:
        seat.leave()
        return
    viewer.seat = seat
    if start is None:
        channel.join(viewer, channel.head.offset)
    elif channel.holds(start):
        channel.join(viewer, start.offset)
    else:
        try:
            await _catch_up(site.hub, channel, viewer, start)
        except BaseException:
            # Nobody else knows of this socket yet, and a viewer must not wait in silence.
            viewer.close(RESTART, "Come back with your cursor.")
            raise


async def _catch_up(hub: Hub, channel: Channel, viewer: Viewer, at: Cursor) -> None:
    """Read to somebody who was away for long what the ring no longer has, then let them join."""
    deadline = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
    while not channel.holds(at):
        if not viewer.is_open or asyncio.get_running_loop().time() > deadline:
            viewer.close(RESTART, "Come back with your cursor.")
            return
        if viewer.paused_at is not None:
            await asyncio.sleep(0.05)
            continue
        try:
            found = await hub.frames_after(channel, at, CATCH_UP_ENTRIES)
        except NotFound:
            viewer.close(BLOG_GONE, "This blog is gone.")
            return
        except Unavailable:
            found = None
        if not found:
            # The log was replaced under us, or the store is away: the cursor tells, next time.
            viewer.close(RESTART, "Come back with your cursor.")
            return
        for frame in found:
            # Frame by frame, so that no more than one goes beyond what the viewer has room for.
            if not viewer.has_room():
                break
            viewer.write(frame.encoded(viewer.wire))
            at = frame.entry.cursor
    if viewer.is_open:
        channel.join(viewer, at.offset)


def _after(request: HTTPConnection) -> str | None:
    if request.scope["type"] == "http" and (last := request.headers.get("last-event-id")):
        return str(last)
    return request.query_params.get("after")
