"""What goes over the wire: each frame is encoded once for all viewers that want it the same way."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
import orjson

from liveblog.domain.blog import Blog
from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import Entry
from liveblog.domain.post import Post

HEARTBEAT_SECONDS = 25

# Below this a compressed frame saves no packet, and the viewer's work is for nothing.
DEFLATE_LEAST_BYTES = 256

# "deflate" is a WebSocket that takes compressed messages without context takeover (RFC 7692).
Transport = Literal["ws", "deflate", "sse"]
Format = Literal["json", "html"]
Render = Callable[[Blog, Post, str], str]

_fields = msgspec.json.Encoder().encode


class Wire(NamedTuple):
    """One way to write frames; viewers with equal wires share the bytes.

    `origin` is part of it because a post names its own absolute address.
    """

    transport: Transport
    format: Format
    origin: str


def post_json(post: Post, origin: str) -> dict[str, Any]:
    """A post as the outside sees it."""
    shown: dict[str, Any] = orjson.loads(_fields(post))
    shown["url"] = f"{origin}/{post.blog}/posts/{post.id}"
    return shown


def blog_json(blog: Blog, origin: str) -> dict[str, Any]:
    """A blog as the outside sees it."""
    shown: dict[str, Any] = orjson.loads(_fields(blog))
    shown["url"] = f"{origin}/{blog.slug}"
    return shown


def welcome(*, head: Cursor, resumed: bool, blog: Blog, viewers: int) -> bytes:
    return orjson.dumps(
        {
            "type": "welcome",
            "cursor": str(head),
            "offset": head.offset,
            "resumed": resumed,
            "state": blog.state,
            "viewers": viewers,
            "heartbeat_seconds": HEARTBEAT_SECONDS,
        }
    )


def viewers(count: int) -> bytes:
    return orjson.dumps({"type": "viewers", "count": count})


def heartbeat(offset: int) -> bytes:
    return orjson.dumps({"type": "heartbeat", "offset": offset})


def wrapped(transport: Transport, payload: bytes, id: str | None = None) -> bytes:
    """A payload as one WebSocket text frame (RFC 6455, 5.2) or one server-sent event.

    Only entries have an `id`: a browser that saw one on a welcome would skip its backlog.
    """
    if transport == "sse":
        return b"".join((b"id: " + id.encode() + b"\n" if id else b"", b"data: ", payload, b"\n\n"))
    first = 0x81
    if transport == "deflate" and len(payload) >= DEFLATE_LEAST_BYTES:
        first, payload = 0xC1, _deflated(payload)
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def _deflated(payload: bytes) -> bytes:
    # A message of its own (RFC 7692, 7.2.1), so it can be shared: it refers to none before it.
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\x00\x00\xff\xff")


class Frame:
    """One entry of the log, ready to be written; the bytes are made at first need."""

    __slots__ = ("_blog", "_encoded", "_payloads", "_render", "entry")

    def __init__(self, entry: Entry, blog: Blog, render: Render) -> None:
        self.entry = entry
        self._blog = blog
        self._render = render
        self._payloads: dict[tuple[Format, str], bytes] = {}
        self._encoded: dict[Wire, bytes] = {}

    @property
    def offset(self) -> int:
        return self.entry.cursor.offset

    def payload(self, format: Format, origin: str) -> bytes:
        """The frame's JSON."""
        found = self._payloads.get((format, origin))
        if found is None:
            found = self._payloads[format, origin] = self._made(format, origin)
        return found

    def encoded(self, wire: Wire) -> bytes:
        """The frame as it is written."""
        found = self._encoded.get(wire)
        if found is None:
            payload = self.payload(wire.format, wire.origin)
            found = wrapped(wire.transport, payload, str(self.entry.cursor))
            self._encoded[wire] = found
        return found

    def _made(self, format: Format, origin: str) -> bytes:
        entry = self.entry
        shown: dict[str, Any] = {
            "type": "entry",
            "offset": entry.offset,
            "cursor": str(entry.cursor),
            "action": entry.action,
        }
        if entry.blog is not None:
            shown["blog"] = blog_json(entry.blog, origin)
        elif entry.post is None:
            shown["id"] = entry.post_id
        elif format == "html":
            shown["id"] = entry.post.id
            shown["html"] = self._render(self._blog, entry.post, origin)
        else:
            shown["post"] = post_json(entry.post, origin)
        return orjson.dumps(shown)
