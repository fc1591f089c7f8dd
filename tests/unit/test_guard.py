"""The guard believes only the proxies that stand there, and lets no odd host or failure by."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from liveblog.web.guard import POLICY, Guard

Headers = list[tuple[bytes, bytes]]


class Inner:
    """An application that remembers what it was asked."""

    def __init__(self, failure: Exception | None = None, *, too_late: bool = False) -> None:
        self.seen: Scope = {}
        self.failure = failure
        self.too_late = too_late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen = dict(scope)
        if self.failure and not self.too_late:
            raise self.failure
        answer = PlainTextResponse("well", headers={"referrer-policy": "no-referrer"})
        await answer(scope, receive, send)
        if self.failure:
            raise self.failure


async def asked(
    inner: Inner,
    headers: Headers,
    *,
    proxies: int = 0,
    kind: str = "http",
    version: str = "1.1",
    path: str = "/live",
) -> tuple[int, dict[str, str], bytes]:
    """The status, headers and body of the answer to a request with these headers."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nobody asked for a body")

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": kind,
        "method": "GET",
        "path": path,
        "query_string": b"after=secret",
        "scheme": "http" if kind == "http" else "ws",
        "http_version": version,
        "server": ("127.0.0.1", 8000),
        "client": ("10.0.0.9", 4711),
        "headers": headers,
        "extensions": {"websocket.http.response": {}},
    }
    if kind == "websocket":
        del scope["method"]
    await Guard(inner, trusted_proxies=proxies)(scope, receive, send)
    start, *rest = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], found, b"".join(message.get("body", b"") for message in rest)


HOST: Headers = [(b"host", b"live.example.org")]


def forwarded(*values: str) -> Headers:
    return [(b"x-forwarded-for", value.encode()) for value in values]


@pytest.mark.parametrize(
    "proxies, headers, client",
    [
        (0, forwarded("1.1.1.1"), "10.0.0.9"),
        (1, [], "10.0.0.9"),
        (1, forwarded("1.1.1.1"), "1.1.1.1"),
        (1, forwarded("6.6.6.6, 1.1.1.1"), "1.1.1.1"),
        (1, forwarded("6.6.6.6", "1.1.1.1"), "1.1.1.1"),
        (2, forwarded("6.6.6.6, 1.1.1.1, 2.2.2.2"), "1.1.1.1"),
        (2, forwarded("6.6.6.6,1.1.1.1", "2.2.2.2"), "1.1.1.1"),
        # Fewer than there are proxies: somebody came in by another way.
        (2, forwarded("6.6.6.6"), "10.0.0.9"),
        (1, forwarded(" 2001:db8::1 "), "2001:db8::1"),
    ],
)
async def test_the_last_address_that_a_trusted_proxy_wrote_is_believed(
    proxies: int, headers: Headers, client: str
) -> None:
    inner = Inner()

    await asked(inner, [*HOST, *headers], proxies=proxies)

    assert inner.seen["client"][0] == client


@pytest.mark.parametrize(
    "proxies, given, scheme",
    [
        (0, [b"https"], "http"),
        (1, [b"https"], "https"),
        (1, [b"HTTPS"], "https"),
        (1, [b"http, https"], "https"),
        (1, [b"https, http"], "http"),
        (2, [b"https, http"], "https"),
        (2, [b"https", b"http"], "https"),
        # Of several proxies often only the outermost says it.
        (2, [b"https"], "https"),
        (1, [b"gopher"], "http"),
        (1, [b""], "http"),
        (1, [], "http"),
    ],
)
async def test_the_scheme_is_believed_likewise(
    proxies: int, given: list[bytes], scheme: str
) -> None:
    inner = Inner()

    await asked(inner, [*HOST, *((b"x-forwarded-proto", each) for each in given)], proxies=proxies)

    assert inner.seen["scheme"] == scheme


async def test_behind_https_a_websocket_is_a_secure_one() -> None:
    inner = Inner()

    await asked(inner, [*HOST, (b"x-forwarded-proto", b"https")], proxies=1, kind="websocket")

    assert inner.seen["scheme"] == "wss"


@pytest.mark.parametrize(
    "host",
    ["live.example.org", "live.example.org:8000", "127.0.0.1:8000", "[::1]", "[2001:db8::1]:8000",
     "localhost", "raspberry_pi.local", "LIVE.example"],
)  # fmt: skip
async def test_a_host_is_a_name_or_an_address(host: str) -> None:
    status, _, _ = await asked(Inner(), [(b"host", host.encode())])

    assert status == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"")],
        [(b"host", b"a"), (b"host", b"a")],
        [(b"host", b"a b")],
        [(b"host", b"a/../b")],
        [(b"host", b"user@evil.example")],
        [(b"host", b'x"><script>')],
        [(b"host", b"a:port")],
        [(b"host", b"a:123456")],
        [(b"host", b"a, b")],
        [(b"host", b"[::1")],
        [(b"host", b"a\\b")],
        [(b"host", "ä".encode())],
    ],
)
async def test_any_other_host_is_400_and_reaches_nothing(headers: Headers, kind: str) -> None:
    inner = Inner()

    status, found, body = await asked(inner, headers, kind=kind)

    assert (status, inner.seen) == (400, {})
    assert found["content-type"] == "application/problem+json"
    assert orjson.loads(body)["status"] == 400


async def test_before_1_1_nobody_had_to_name_a_host() -> None:
    status, _, _ = await asked(Inner(), [], version="1.0")

    assert status == 200


async def test_every_answer_is_guarded_and_may_be_stricter_itself() -> None:
    _, headers, _ = await asked(Inner(), HOST)

    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-cache"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_policy_lets_nothing_inline_run() -> None:
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    for directive in ("base-uri", "frame-ancestors"):
        assert f"{directive} 'none'" in POLICY


async def test_a_failure_is_answered_under_guard_and_logged_once() -> None:
    with structlog.testing.capture_logs() as lines:
        status, headers, body = await asked(Inner(KeyError("the secret")), HOST)

    assert (status, headers["content-security-policy"]) == (500, POLICY)
    assert b"secret" not in body
    assert [line["event"] for line in lines] == ["failed", "request"]
    assert lines[1]["status"] == 500


async def test_a_failure_in_mid_answer_ends_the_connection() -> None:
    with pytest.raises(KeyError):
        await asked(Inner(KeyError("x"), too_late=True), HOST)


async def test_who_hangs_up_in_mid_request_is_no_failure_of_ours() -> None:
    with structlog.testing.capture_logs() as lines, pytest.raises(ValueError, match="not enough"):
        await asked(Inner(ClientDisconnect()), HOST)

    assert [(line["event"], line["status"]) for line in lines] == [("request", 499)]


async def test_a_line_has_neither_query_nor_headers_and_a_bound() -> None:
    with structlog.testing.capture_logs() as lines:
        await asked(
            Inner(), [*HOST, (b"authorization", b"Bearer secret")], path="/" + "x" * 100_000
        )

    (line,) = lines
    assert (line["event"], line["method"], line["status"]) == ("request", "GET", 200)
    assert line["client"] == "10.0.0.9"
    assert "secret" not in str(line)
    assert len(str(line)) < 1000
