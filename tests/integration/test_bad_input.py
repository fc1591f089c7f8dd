"""Whatever is sent: the answer that docs/protocol.md names, soon, and nothing is kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
import pytest

from liveblog.domain.blog import RESERVED
from tests.integration.cast import NOBODY, Player, Stage, assert_invalid, assert_problem
from tests.support import within

# Answers take milliseconds; this is for a machine that does something else besides.
SOON_SECONDS = 1.0
BODY_MOST_BYTES = 1_048_576


@dataclass(frozen=True)
class Writing:
    """A call that takes a body: where it goes, a body that it takes, and with which headers."""

    name: str
    method: str
    path: str
    good: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


WRITINGS = [
    Writing("publish", "POST", "posts", {"body": "x"}),
    Writing("edit", "PATCH", "posts/POST", {"body": "y"}, {"If-Match": '"1"'}),
    Writing("create blog", "POST", "/api/blogs", {"slug": "NEW", "title": "x"}),
    Writing("change blog", "PATCH", "", {"title": "y"}),
    Writing("invite", "POST", "invitations", {}),
    Writing("change role", "PATCH", "people/PERSON", {"role": "editor"}),
    Writing("join", "POST", "/api/join", {"secret": "SECRET", "name": "Eve"}),
]
BY_NAME = {writing.name: writing for writing in WRITINGS}


@dataclass
class Desk:
    """A blog with a post, a person and an invitation, and the means to send anything about them."""

    stage: Stage
    post: str
    person: str
    secret: str

    def put(self, value: Any) -> Any:
        """The places in a body or path filled with what stands on this desk."""
        named = {"NEW": f"{self.stage.slug}-new", "SECRET": self.secret}
        if isinstance(value, dict):
            return {
                name: named.get(each, each) if isinstance(each, str) else each
                for name, each in value.items()
            }
        return value.replace("POST", self.post).replace("PERSON", self.person)

    async def send(
        self,
        writing: Writing,
        content: bytes | Any,
        *,
        who: Player | None = None,
        media_type: str | None = "application/json",
    ) -> httpx2.Response:
        headers = {**(who or self.stage.owner).bearer, **writing.headers}
        if media_type is not None:
            headers["Content-Type"] = media_type
        with within(SOON_SECONDS, "the answer"):
            return await self.stage.http.request(
                writing.method,
                self.stage.address(self.put(writing.path)),
                content=content,
                headers=headers,
            )


@pytest.fixture
async def desk(stage: Stage) -> Desk:
    ben = await stage.player("reporter", "Ben")
    return Desk(stage, (await stage.publish(ben))["id"], ben.id, await stage.secret(uses=2))


each_writing = pytest.mark.parametrize("writing", WRITINGS, ids=lambda writing: writing.name)


@each_writing
async def test_what_these_tests_spoil_is_good(desk: Desk, writing: Writing) -> None:
    """The control: unspoilt, each of them is taken."""
    answer = await desk.send(writing, orjson.dumps(desk.put(writing.good)))

    assert answer.is_success, answer.text


UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "blank": b" \n",
    "half": b'{"body": "x"',
    "a word": b"body",
    "single quotes": b"{'body': 'x'}",
    "trailing comma": b'{"body": "x",}',
    "comment": b'{"body": "x"} // done',
    "two values": b'{"body": "x"}{"body": "y"}',
    "NaN": b'{"body": NaN}',
    "Infinity": b'{"body": -Infinity}',
    "too large a number": b'{"uses": 1e400}',
    "leading zero": b'{"uses": 01}',
    "hexadecimal": b'{"uses": 0x1}',
    "bad UTF-8": b'{"body": "\xff\xfe"}',
    "half a character": b'{"body": "\xe2\x82"}',
    "overlong": b'{"body": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"body": "\xed\xa0\x80"}',
    "Latin-1": '{"body": "é"}'.encode("latin-1"),
    "UTF-16": '{"body": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"body": "x"}',
    "a lone surrogate": b'{"body": "\\ud800"}',
    "surrogates the wrong way round": b'{"body": "\\udc00\\ud800"}',
    "a lone surrogate as a name": b'{"\\udfff": "x"}',
    "a bare control character": b'{"body": "a\x01b"}',
    "a bare line end": b'{"body": "a\nb"}',
    "a bare NUL": b'{"body": "a\x00b"}',
    "NULs": b"\x00" * 100,
    "a bad escape": b'{"body": "\\x41"}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "a form": b"body=x",
    "nested arrays": b"[" * 100_000 + b"]" * 100_000,
    "nested arrays, never closed": b"[" * 100_000,
    "nested objects": b'{"body":' * 100_000 + b"1" + b"}" * 100_000,
    "nested in a field": b'{"body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@each_writing
async def test_a_body_that_cannot_be_read_is_400(desk: Desk, writing: Writing) -> None:
    before = await desk.stage.seen()

    for what, content in UNREADABLE.items():
        answer = await desk.send(writing, content)
        assert answer.status_code == 400, f"{what}: {answer.status_code} {answer.text[:200]}"
        assert_problem(answer, 400)

    assert await desk.stage.seen() == before


@each_writing
async def test_a_body_of_another_form_is_422(desk: Desk, writing: Writing) -> None:
    before = await desk.stage.seen()

    for content in (
        b"null",
        b"true",
        b"7",
        b'"x"',
        b"[]",
        b'[{"body": "x"}]',
        b"[" * 900 + b"]" * 900,
    ):
        assert_invalid(await desk.send(writing, content), "body")

    assert await desk.stage.seen() == before


@each_writing
async def test_a_field_that_is_not_known_is_422_by_its_name(desk: Desk, writing: Writing) -> None:
    before = await desk.stage.seen()

    for name in ("id", "author", "revision", "__class__", "Body", "a.b", "é", "x" * 1000):
        body = {**desk.put(writing.good), name: "x"}
        assert_invalid(await desk.send(writing, orjson.dumps(body)), name)
    empty = await desk.send(writing, orjson.dumps({**desk.put(writing.good), "": 1}))
    assert_problem(empty, 422)

    assert await desk.stage.seen() == before


@pytest.mark.parametrize(
    "name, missing",
    [("publish", "body"), ("create blog", "slug"), ("create blog", "title"),
     ("change role", "role"), ("join", "secret"), ("join", "name")],
)  # fmt: skip
async def test_a_field_that_is_missing_is_422_by_its_name(
    desk: Desk, name: str, missing: str
) -> None:
    body = desk.put(BY_NAME[name].good)
    del body[missing]

    assert_invalid(await desk.send(BY_NAME[name], orjson.dumps(body)), missing)


TEXT: tuple[Any, ...] = (None, True, 7, 1.5, [], ["x"], {}, {"x": "y"})
OPTIONAL_TEXT = TEXT[1:]
SWITCH: tuple[Any, ...] = (None, "true", 1, 0, [], {})
MOMENT: tuple[Any, ...] = (
    True, 7, 1.5, [], {}, "", "soon", "2026-11-28", "09:30", "2026-11-28T09:30:00",
    "2026-13-28T09:30:00Z", "2026-11-31T09:30:00Z", "2026-11-28T25:30:00Z",
    "2026-11-28T09:30:00+25:00",
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "3000-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00",
    "99999-01-01T00:00:00Z", "-2026-01-01T00:00:00Z", "2026-11-28T09:30:00Z\n", "x" * 10_000,
)  # fmt: skip
HUGE = 123456789012345678901234567890
WHOLE: tuple[Any, ...] = (
    True,
    "1",
    1.0,
    1.5,
    [],
    {},
    0,
    -1,
    -(2**63),
    2**63,
    2**64 - 1,
    1e30,
    HUGE,
)

WRONG: list[tuple[str, str, tuple[Any, ...]]] = [
    ("publish", "body", (*TEXT, "", " \n", "\x00", "\u202e", "x" * 20_001, "é" * 20_001,
                         "x" * 1_000_000)),
    ("publish", "kind", (*TEXT, "", "Update", "poll", "update ")),
    ("publish", "headline", (*OPTIONAL_TEXT, "x" * 201)),
    ("publish", "key", SWITCH),
    ("publish", "pinned", SWITCH),
    ("publish", "tags", (None, True, "a", 7, {}, [""], ["#"], [" "], ["x" * 51],
                         list("abcdefghijk"), ["a"] * 100_000)),
    ("publish", "session", (*OPTIONAL_TEXT, "x" * 101)),
    ("publish", "media", (None, True, "a", 7, {}, ["x"], ["../../etc/passwd"], [""])),
    ("publish", "captured_at", MOMENT),
    ("edit", "body", (*TEXT, "", " \n", "\x00", "x" * 20_001)),
    ("edit", "kind", (*TEXT, "", "poll")),
    ("edit", "headline", (*OPTIONAL_TEXT, "x" * 201)),
    ("edit", "key", SWITCH),
    ("edit", "pinned", SWITCH),
    ("edit", "tags", (None, "a", [""], ["x" * 51], list("abcdefghijk"))),
    ("edit", "session", (*OPTIONAL_TEXT, "x" * 101)),
    ("edit", "media", (None, "a", ["x"])),
    ("edit", "captured_at", MOMENT),
    ("create blog", "slug", (*TEXT, "", "a", "A1", "a_b", "a b", "a/b", "..", "a.b", "é1", "x" * 65,
                             "ab\n", "a\x00", *sorted(RESERVED))),
    ("create blog", "title", (*TEXT, "", " ", "x" * 121)),
    ("create blog", "summary", (*OPTIONAL_TEXT, "x" * 501)),
    ("create blog", "venue", (*OPTIONAL_TEXT, "x" * 121)),
    ("create blog", "starts_at", MOMENT),
    ("create blog", "ends_at", MOMENT),
    ("create blog", "timezone", (*TEXT, "", "Mars/Olympus", "+01:00", "../../etc/passwd",
                                 "UTC\x00", "x" * 1000)),
    ("create blog", "language", (*TEXT, "", "e", "english", "en_GB", "<b>", "x" * 1000)),
    ("change blog", "title", (*TEXT, "", " ", "x" * 121)),
    ("change blog", "state", (*TEXT, "", "Live", "over")),
    ("change blog", "summary", (*OPTIONAL_TEXT, "x" * 501)),
    ("change blog", "venue", (*OPTIONAL_TEXT, "x" * 121)),
    ("change blog", "starts_at", MOMENT),
    ("change blog", "ends_at", MOMENT),
    ("change blog", "timezone", (*TEXT, "", "Mars/Olympus")),
    ("change blog", "language", (*TEXT, "", "english")),
    ("invite", "role", (*TEXT, "", "viewer", "owner", "Reporter", "root")),
    ("invite", "name", (*OPTIONAL_TEXT, "x" * 81)),
    ("invite", "uses", (None, *WHOLE, 1_001)),
    ("invite", "expires_in_seconds", (*WHOLE, 31_622_401)),
    ("change role", "role", (*TEXT, "", "viewer", "owner", "Reporter")),
    ("join", "secret", TEXT),
    ("join", "name", (*TEXT, "", " ", "\u202e", "x" * 81,
                      "x" * 1_000_000)),
]  # fmt: skip


@pytest.mark.parametrize("name, wrong, values", WRONG, ids=[f"{a}-{b}" for a, b, _ in WRONG])
async def test_a_wrong_field_is_422_by_its_name(
    desk: Desk, name: str, wrong: str, values: tuple[Any, ...]
) -> None:
    before = await desk.stage.seen()
    writing = BY_NAME[name]

    for value in values:
        body = {**desk.put(writing.good), wrong: value}
        content = orjson.dumps(body) if value != HUGE else b'{"%s": %d}' % (wrong.encode(), value)
        answer = await desk.send(writing, content)
        assert answer.status_code == 422, (
            f"{str(value)[:80]!r}: {answer.status_code} {answer.text[:200]}"
        )
        (error,) = assert_problem(answer, 422)["errors"]
        assert error["field"].partition("[")[0] == wrong
        assert len(answer.content) < 2_000, "what was refused isn't sent back"

    assert await desk.stage.seen() == before


def test_every_field_of_every_form_is_spoilt() -> None:
    from liveblog.web import body

    forms = {
        "publish": body.NewPost,
        "edit": body.PostChange,
        "create blog": body.NewBlog,
        "change blog": body.BlogChange,
        "invite": body.NewInvitation,
        "change role": body.RoleChange,
        "join": body.Joining,
    }
    named = {
        (name, form_field) for name, form in forms.items() for form_field in form.__struct_fields__
    }

    assert {(name, wrong) for name, wrong, _ in WRONG} == named


@pytest.mark.parametrize(
    "name, given",
    [
        ("publish", {"body": "x" * 20_000}),
        ("publish", {"body": "\U0001f680" * 20_000}),
        ("publish", {"body": "x", "headline": "x" * 200, "session": "x" * 100}),
        ("publish", {"body": "x", "tags": [chr(97 + n) * 50 for n in range(10)]}),
        ("publish", {"body": "x", "captured_at": "1900-01-01T00:00:00Z"}),
        ("publish", {"body": " " * 100_000 + "x"}),
        ("create blog", {"slug": "x" * 64, "title": "x" * 120, "summary": "x" * 500,
                         "venue": "x" * 120}),
        ("create blog", {"slug": "zz", "title": "x", "starts_at": "2999-12-30T00:00:00Z",
                         "timezone": "Pacific/Kiritimati"}),
        ("invite", {"name": "x" * 80, "uses": 1000, "expires_in_seconds": 31_622_400}),
        ("join", {"secret": "SECRET", "name": "x" * 80}),
        # No more marks stand on one character than any language needs: it is no work, and it fits.
        ("join", {"secret": "SECRET", "name": "x" + "\u0301\u0316" * 200_000}),
    ],
)  # fmt: skip
async def test_what_just_fits_is_taken(desk: Desk, name: str, given: dict[str, Any]) -> None:
    answer = await desk.send(BY_NAME[name], orjson.dumps(desk.put(given)))

    assert answer.is_success, answer.text


async def test_characters_that_no_screen_should_meet_are_not_kept(desk: Desk) -> None:
    answer = await desk.send(
        BY_NAME["publish"],
        rb'{"body": "a\u0000b\u0007\u202ec\u200dd", "headline": "x\ny\u001b[31m"}',
    )

    post = answer.json()
    assert (post["body"], post["headline"]) == ("abc\u200dd", "x y[31m")


# -- the size and type of bodies


def padded(good: dict[str, Any], size: int) -> bytes:
    """A body of just this size that would be taken if it were shorter."""
    content = orjson.dumps(good)
    return content[:-1] + b" " * (size - len(content)) + content[-1:]


@each_writing
async def test_a_body_over_a_mebibyte_is_413(desk: Desk, writing: Writing) -> None:
    before = await desk.stage.seen()
    content = padded(desk.put(writing.good), BODY_MOST_BYTES + 1)

    async def chunks() -> Any:
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    assert_problem(await desk.send(writing, content), 413)
    assert_problem(await desk.send(writing, chunks()), 413)

    assert await desk.stage.seen() == before


@each_writing
async def test_a_body_of_a_mebibyte_is_read(desk: Desk, writing: Writing) -> None:
    answer = await desk.send(writing, padded(desk.put(writing.good), BODY_MOST_BYTES))

    assert answer.is_success, answer.text


@each_writing
async def test_a_body_of_another_type_is_415(desk: Desk, writing: Writing) -> None:
    before = await desk.stage.seen()
    content = orjson.dumps(desk.put(writing.good))

    for media_type in (
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json-patch+json",
        "application/merge-patch+json",
        "text/json",
        "json",
        ",application/json",
    ):
        assert_problem(await desk.send(writing, content, media_type=media_type), 415)

    assert await desk.stage.seen() == before


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;x"]
)
async def test_a_types_parameters_are_no_matter(desk: Desk, media_type: str) -> None:
    answer = await desk.send(BY_NAME["publish"], b'{"body": "x"}', media_type=media_type)

    assert answer.status_code == 201


# -- raw requests: what no client library would send


async def raw(stage: Stage, request: bytes, *, at_once: bool = True) -> tuple[int, bytes]:
    """The status and the rest of the answer to these bytes; 0 for a connection just closed."""
    with within(SOON_SECONDS, "the answer"):
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.server.port)
        try:
            writer.write(request)
            async with asyncio.timeout(SOON_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            return 0, error.partial
        finally:
            writer.close()
    return int(head.split(b" ", 2)[1]), head


def get(path: bytes, *headers: bytes, host: bytes = b"h") -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: " + host, *headers, b"", b""])


@pytest.mark.parametrize(
    "path",
    [
        b"/api/blogs/live%2Fposts%2Fx",
        b"/api/blogs/..",
        b"/api/blogs/%2e%2e/posts",
        b"/api/blogs/../blogs/live/nothing",
        b"/api/blogs/live%00",
        b"/api/blogs/%00/posts",
        b"/api/blogs/live/posts/%00",
        b"/api/blogs/live/posts/..%2f..%2f",
        b"/api/blogs/live/posts/%ff%fe",
        b"/api/blogs/live/posts/%F0%9F%9A%80",
        b"/api/blogs/live/posts/" + b"x" * 30_000,
        b"/api/blogs/" + b"x" * 30_000,
        b"/api/blogs/live/posts/a%0d%0aSet-Cookie:%20x=y",
        b"/api/blogs/live%0d%0aX:%20y",
        b"/api/blogs/%6c%69%76%65/nothing",
        b"/api/blogs/live;x=y",
        b"/api/blogs/live%20",
        b"/api/blogs/Live",
        b"/api/blogs/{live}",
        b"/api/blogs/live%7d:people",
        b"/api//blogs",
        b"/live/posts/%00",
        b"/%00",
        b"/..%2f..%2fetc%2fpasswd",
        b"/static/../pyproject.toml",
        b"/static/..%2fpyproject.toml",
        b"/static/%2e%2e/pyproject.toml",
        b"/static/..%5cpyproject.toml",
        b"/static//etc/passwd",
        b"/static/%00",
        b"/static/" + b"x" * 5_000,
        b"/static/css",
        b"/static/",
        b"/favicon.ico/../../x",
    ],
)  # fmt: skip
async def test_an_address_with_tricks_is_404(house: Stage, path: bytes) -> None:
    status, head = await raw(house, get(path))

    assert status == 404
    assert b"set-cookie" not in head.lower()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /live HTTP/1.1\r\n\r\n",
        get(b"/live", host=b""),
        get(b"/live", host=b"a b"),
        get(b"/live", host=b"evil.example/live"),
        get(b"/live", host=b"user@evil.example"),
        get(b"/live", host=b'"><script>alert(1)</script>'),
        get(b"/live", host=b"a:1:2"),
        get(b"/live", b"Host: other.example"),
        get(b"/live", b"host: h"),
        get(b"/live/live", b"Host: b", b"Upgrade: websocket", b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        get(b"/live", b"Bad Header: x"),
        get(b"/live", b"X: a\x00b"),
        get(b"/live", b"X: a\rb"),
        get(b"/live", b": no name"),
        get(b"/live", b"no colon"),
        get(b"/live", b"Content-Length: -1"),
        get(b"/live", b"Content-Length: x"),
        get(b"/live", b"Content-Length: 1", b"Content-Length: 2"),
        get(b"/live", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        get(b"/live", b"Transfer-Encoding: chunked, gzip"),
        get(b"/live") .replace(b"HTTP/1.1", b"HTTP/9.9"),
        get(b"/live").replace(b"HTTP/1.1", b"ICY"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 64 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"get /live HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)  # fmt: skip
async def test_a_request_with_tricks_is_400(house: Stage, request_: bytes) -> None:
    status, _ = await raw(house, request_)

    assert status in {0, 400}
    assert (await house.http.get("/healthz")).status_code == 200


async def test_a_bad_chunk_ends_the_request_and_nothing_is_kept(stage: Stage) -> None:
    before = await stage.seen()
    head = b"\r\n".join(
        [
            f"POST {stage.api}/posts HTTP/1.1".encode(),
            b"Host: h",
            b"Authorization: Bearer " + stage.owner.token.encode(),
            b"Content-Type: application/json",
            b"Transfer-Encoding: chunked",
            b"",
            b"",
        ]
    )

    for chunks in (b"zz\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n", b'd\r\n{"body": "x"}no end'):
        status, _ = await raw(stage, head + chunks)
        assert status in {0, 400}

    assert await stage.seen() == before


async def test_a_body_that_breaks_off_is_not_taken(stage: Stage) -> None:
    before = await stage.seen()
    content = b'{"body": "x"}'
    request = b"\r\n".join(
        [
            f"POST {stage.api}/posts HTTP/1.1".encode(),
            b"Host: h",
            b"Authorization: Bearer " + stage.owner.token.encode(),
            b"Content-Type: application/json",
            b"Content-Length: %d" % (len(content) + 1),
            b"",
            content,
        ]
    )

    _, writer = await asyncio.open_connection("127.0.0.1", stage.server.port)
    writer.write(request)
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    # A request after it has been through the same loop.
    assert (await stage.http.get("/healthz")).status_code == 200
    assert await stage.seen() == before


@pytest.mark.parametrize("header", ["Authorization", "Cookie", "Origin", "If-Match", "Accept"])
async def test_a_very_long_header_is_no_failure(stage: Stage, header: str) -> None:
    value = {"Authorization": "Bearer ", "Cookie": "liveblog_session="}.get(
        header, ""
    ) + "x" * 60_000

    answer = await stage.http.get(stage.api, headers={header: value})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "cookie",
    [b"liveblog_session", b"liveblog_session=", b"=", b";;;", b"liveblog_session=\xff\xfe",
     b'liveblog_session="\\777"', b"liveblog_session=a; liveblog_session=b", b"a=b" * 1000],
)  # fmt: skip
async def test_an_odd_cookie_is_as_good_as_none(stage: Stage, cookie: bytes) -> None:
    answer = await stage.http.get("/api/me", headers=[(b"Cookie", cookie)])

    assert_problem(answer, 401)


@pytest.mark.parametrize(
    "query",
    ["after=%00", "after=%ff", "after=" + "x" * 20_000, "after=1&after=2", "&&&===", "wait=1e-9",
     "format=xml", "format=", "%", "limit[]=1", "x" * 20_000],
)  # fmt: skip
async def test_an_odd_query_is_no_failure(stage: Stage, query: str) -> None:
    for path in (f"{stage.api}/entries", f"{stage.api}/posts", "/api/blogs"):
        with within(SOON_SECONDS, "the answer"):
            answer = await stage.http.get(f"{path}?{query}")
        assert answer.status_code == 200


# -- whatever else: valid bodies, broken at random


def truncated(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randrange(len(content))]


def with_a_byte_changed(content: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(content))
    return content[:place] + bytes([dice.randrange(256)]) + content[place + 1 :]


def with_a_piece_put_in(content: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(content) + 1)
    piece = dice.choice(
        [b"\x00", b"\xff", b'"', b"\\", b"\\u0000", b"\\ud83d", b"{", b"]", b"null", b"-1",
         b"9" * 40, b"1e308", b'"":', b",", b"\xe2\x80\xae", b"<script>", b"' OR 1=1 --", b"${7*7}",
         b"{{7*7}}", b"%s%n", b"\r\n\r\n"]
    )  # fmt: skip
    return content[:place] + piece + content[place:]


def with_a_value_replaced(content: bytes, dice: random.Random) -> bytes:
    body: dict[str, Any] = orjson.loads(content)
    name = dice.choice(list(body))
    body[name] = dice.choice(
        [None, True, -1, 0, 2**53, 0.1, "", "\x00", "\u202e", "x" * 300, [], [[]], [None], {},
         {"a": {}}, ["x"] * 50, "../..", "2026-11-28T09:30:00Z", "🚀" * 99]
    )  # fmt: skip
    return orjson.dumps(body)


def with_a_piece_twice(content: bytes, dice: random.Random) -> bytes:
    start, end = sorted(dice.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start:end] + content[end:]


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    truncated,
    with_a_byte_changed,
    with_a_piece_put_in,
    with_a_value_replaced,
    with_a_piece_twice,
]
FULL: dict[str, dict[str, Any]] = {
    "publish": {"body": "a *b* https://c.org", "kind": "quote", "headline": "h", "key": True,
                "pinned": False, "tags": ["t"], "session": "s", "media": [],
                "captured_at": "2026-11-28T09:30:00Z"},
    "edit": {"body": "b", "tags": ["t", "u"], "headline": None},
    "create blog": {"slug": "NEW", "title": "t", "starts_at": "2031-11-28T09:30:00+01:00",
                    "timezone": "Europe/Berlin", "language": "de"},
    "change blog": {"title": "t", "state": "paused", "ends_at": "2031-11-28T09:30:00Z"},
    "invite": {"role": "reporter", "name": "n", "uses": 2, "expires_in_seconds": 60},
    "change role": {"role": "editor"},
    "join": {"secret": "SECRET", "name": "n"},
}  # fmt: skip


async def test_no_broken_body_breaks_us(desk: Desk) -> None:
    for seed in range(300):
        dice = random.Random(seed)
        writing = dice.choice(WRITINGS)
        content = orjson.dumps(desk.put(FULL[writing.name]))
        for _ in range(dice.randint(1, 3)):
            try:
                content = dice.choice(MUTATIONS)(content, dice) or b"{}"
            except (orjson.JSONDecodeError, AttributeError, IndexError):
                continue  # The mutation before has left no object to change a value of.

        answer = await desk.send(writing, content)

        assert answer.status_code < 500, f"seed {seed}: {writing.name} {content!r}"
        if not answer.is_success:
            assert_problem(answer, answer.status_code)

    assert (await desk.stage.http.get("/readyz")).json()["ready"]
    assert (await desk.stage.http.get(f"{desk.stage.api}/posts")).status_code == 200
    assert "Traceback" not in desk.stage.server.log


async def test_nobody_gets_further_by_a_bad_body(desk: Desk) -> None:
    """Who may not write is told so, whatever they send: nothing of it is read."""
    for name in ("publish", "create blog", "change blog", "invite", "change role"):
        answer = await desk.send(BY_NAME[name], b"[" * 100_000, who=NOBODY)
        assert_problem(answer, 401)
