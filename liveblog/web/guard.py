"""Around every request: who is believed about addresses, safe headers, one log line."""

from __future__ import annotations

import re
import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liveblog.web.problems import problem

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), screen-wake-lock=(self)",
    "cross-origin-opener-policy": "same-origin",
}
_HOST = re.compile(rb"[A-Za-z0-9._~-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")

_log = structlog.get_logger()


class Guard:
    """The outermost of our own layers, in plain ASGI."""

    def __init__(self, app: ASGIApp, trusted_proxies: int) -> None:
        self._app = app
        self._trusted = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self._trusted:
            _believe(scope, self._trusted)
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def answering(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        try:
            if _host_is_sound(scope):
                await self._app(scope, receive, answering)
            else:
                refusal = problem(400, "The Host header isn't the name of a host.")
                await refusal(scope, receive, answering)
        finally:
            # No query string: it can hold what somebody typed. No headers: they hold secrets.
            _log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
                client=scope["client"][0] if scope["client"] else None,
            )


def _host_is_sound(scope: Scope) -> bool:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return len(hosts) <= 1 and all(_HOST.fullmatch(host) for host in hosts)


def _believe(scope: Scope, hops: int) -> None:
    # Each proxy appends whom it saw: the entry that the outermost trusted one wrote is the last we
    # can believe, everything before it is the client's own word.
    seen: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in (b"x-forwarded-for", b"x-forwarded-proto"):
            seen.setdefault(name, []).extend(part.strip() for part in value.split(b","))
    addresses = seen.get(b"x-forwarded-for", [])
    if len(addresses) >= hops:
        scope["client"] = (addresses[-hops].decode("latin-1"), 0)
    schemes = seen.get(b"x-forwarded-proto", [])
    if schemes:
        scheme = schemes[-min(hops, len(schemes))].lower()
        if scheme in (b"http", b"https"):
            secure = scheme == b"https"
            is_socket = scope["type"] == "websocket"
            scope["scheme"] = ("wss" if secure else "ws") if is_socket else scheme.decode()
