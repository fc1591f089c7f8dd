"""Frames are written as their standards say, once for all viewers that want them the same way."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as ReadFrame
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from liveblog.delivery import frames
from liveblog.delivery.frames import Frame, Wire
from liveblog.domain.blog import Blog
from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import Entry, EntryAction
from liveblog.domain.post import Post
from tests.worlds import a_blog, a_post

HERE = "https://live.example.org"
SOCKET = Wire("ws", "json", HERE)
STREAM = Wire("sse", "json", HERE)
AT = Cursor("e", 7, "t7")


def article(blog: Blog, post: Post, origin: str) -> str:
    return f"<article lang={blog.language}>{post.html}<a href={origin}></a></article>"


def publication(post: Post) -> Frame:
    return Frame(Entry(AT, EntryAction.PUBLISH, post.id, post), a_blog("live"), article)


def read_by_a_client(data: bytes, *extensions: Extension) -> list[ReadFrame]:
    client = ClientProtocol(parse_uri("ws://localhost"), max_size=None)
    client.state = State.OPEN
    client.extensions = list(extensions)
    client.reader.feed_data(data)
    client.parser = client.parse()  # As if the handshake were over.
    next(client.parser)
    return [event for event in client.events_received() if isinstance(event, ReadFrame)]


@pytest.mark.parametrize(
    "size, header",
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_frame_has_the_shortest_header(size: int, header: bytes) -> None:
    payload = b"x" * size

    written = frames.wrapped("ws", payload)

    assert written == header + payload
    [read] = read_by_a_client(written)
    assert (read.opcode, read.fin, bytes(read.data)) == (Opcode.TEXT, True, payload)


def test_frames_joined_in_one_write_are_read_as_many() -> None:
    sizes = (1, 125, 126, 65_535, 65_536, 2)

    read = read_by_a_client(b"".join(frames.wrapped("ws", b"x" * size) for size in sizes))

    assert [len(frame.data) for frame in read] == list(sizes)


def test_a_compressed_frame_is_a_message_of_its_own() -> None:
    payloads = [b'{"text":"%s"}' % (b"word " * count) for count in (100, 10_000, 50)]
    written = [frames.wrapped("deflate", payload) for payload in payloads]

    for order in ([0, 1, 2], [2, 1, 0], [1]):
        takes_them = PerMessageDeflate(True, True, zlib.MAX_WBITS, zlib.MAX_WBITS)
        read = read_by_a_client(b"".join(written[place] for place in order), takes_them)
        assert [bytes(frame.data) for frame in read] == [payloads[place] for place in order]
    assert len(written[1]) < len(payloads[1]) / 2


def test_what_is_short_is_not_compressed() -> None:
    payload = b"x" * (frames.DEFLATE_LEAST_BYTES - 1)

    assert frames.wrapped("deflate", payload) == frames.wrapped("ws", payload)


def test_an_event_has_an_id_only_if_it_is_an_entry() -> None:
    assert frames.wrapped("sse", b"{}") == b"data: {}\n\n"
    assert frames.wrapped("sse", b"{}", "e.1.t") == b"id: e.1.t\ndata: {}\n\n"


def test_a_line_break_in_a_post_does_not_end_its_event() -> None:
    event = publication(a_post("live", "one\r\ntwo\n\nid: forged\n\nthree")).encoded(STREAM)

    assert event.count(b"\n") == 3
    assert event.endswith(b"\n\n")
    assert b"\r" not in event


def test_every_viewer_of_one_kind_is_written_the_same_bytes() -> None:
    frame = publication(a_post("live"))

    assert frame.encoded(SOCKET) is frame.encoded(Wire("ws", "json", HERE))
    assert frame.encoded(SOCKET) != frame.encoded(STREAM)
    assert frame.payload("json", HERE) in frame.encoded(SOCKET)
    assert frame.payload("json", HERE) in frame.encoded(STREAM)


def test_a_post_names_its_address_as_its_reader_typed_the_site() -> None:
    post = a_post("live")
    frame = publication(post)

    for origin in (HERE, "http://10.0.0.7:8000"):
        assert shown(frame, origin=origin)["post"]["url"] == f"{origin}/live/posts/{post.id}"


def shown(frame: Frame, format: frames.Format = "json", origin: str = HERE) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(frame.payload(format, origin))
    return found


def test_a_publication_carries_the_post_as_fields_or_as_markup() -> None:
    post = a_post("live", "Doors **open**")
    common = {"type": "entry", "offset": 7, "cursor": "e.7.t7", "action": "publish"}

    as_fields, as_markup = shown(publication(post)), shown(publication(post), "html")

    assert as_fields["post"]["body"] == "Doors **open**"
    assert as_fields == {**common, "post": as_fields["post"]}
    assert as_markup == {
        **common,
        "id": post.id,
        "html": f"<article lang=en>{post.html}<a href={HERE}></a></article>",
    }


@pytest.mark.parametrize("format", ["json", "html"])
def test_a_retraction_carries_an_id_and_no_words(format: frames.Format) -> None:
    frame = Frame(Entry(AT, EntryAction.RETRACT, "p1"), a_blog("live"), article)

    assert shown(frame, format) == {
        "type": "entry",
        "offset": 7,
        "cursor": "e.7.t7",
        "action": "retract",
        "id": "p1",
    }


@pytest.mark.parametrize("format", ["json", "html"])
def test_a_change_of_the_blog_carries_its_new_form(format: frames.Format) -> None:
    blog = replace(a_blog("live"), title="Day two")
    frame = Frame(Entry(AT, EntryAction.BLOG, blog=blog), a_blog("live"), article)

    assert shown(frame, format)["blog"]["title"] == "Day two"
    assert shown(frame, format)["blog"]["url"] == f"{HERE}/live"


def test_what_is_no_entry_is_written_as_the_protocol_says() -> None:
    welcome = frames.welcome(head=AT, resumed=False, blog=a_blog("live"), viewers=3)

    assert json.loads(welcome) == {
        "type": "welcome",
        "cursor": "e.7.t7",
        "offset": 7,
        "resumed": False,
        "state": "live",
        "viewers": 3,
        "heartbeat_seconds": frames.HEARTBEAT_SECONDS,
    }
    assert json.loads(frames.viewers(413)) == {"type": "viewers", "count": 413}
    assert json.loads(frames.heartbeat(131)) == {"type": "heartbeat", "offset": 131}
