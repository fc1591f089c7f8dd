"""Around every request: who is believed about addresses, safe headers, one log line."""

from __future__ import annotations

import re
import time
from ipaddress import ip_address

import structlog
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liveblog.web.problems import on_failure, problem

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), screen-wake-lock=(self)"),
    (b"cache-control", b"no-cache"),
)
_HOST = re.compile(rb"[A-Za-z0-9._~-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")

PATH_LOGGED = 500
# What nginx writes, too, where nobody is left to be answered.
GONE = 499
# A stream's socket is given away without a word to us.
GIVEN_AWAY = {"http": 200, "websocket": 101}

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
        started = time.perf_counter()
        status = GONE  # Unless somebody answers, or gives the socket away.
        answered = False

        async def answering(message: Message) -> None:
            nonlocal status, answered
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status, answered = message["status"], True
                said = {name for name, _ in message["headers"]}
                ours = [header for header in _HEADERS if header[0] not in said]
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        try:
            if _host_is_sound(scope):
                await self._app(scope, receive, answering)
                status = status if answered else GIVEN_AWAY[scope["type"]]
            else:
                refusal = problem(400, "The Host header isn't the name of a host.")
                await refusal(scope, receive, answering)
        except ClientDisconnect:
            status = GONE
        except Exception as error:
            if answered:
                raise
            # Here and not in Starlette's own outermost layer, so that this answer is guarded too.
            failure = await on_failure(HTTPConnection(scope), error)
            await failure(scope, receive, answering)
        finally:
            # No query string: it can hold what somebody typed. No headers: they hold secrets. No
            # line for each of a hall that comes back at once: the metrics count viewers.
            say = _log.info if answered or status == GONE else _log.debug
            say(
                "request",
                method=scope.get("method", "GET"),
                path=scope["path"][:PATH_LOGGED],
                status=status,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
                client=scope["client"][0] if scope["client"] else None,
            )


def _host_is_sound(scope: Scope) -> bool:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if not hosts:
        is_old: bool = scope["http_version"] == "1.0"
        return is_old  # Since 1.1 a request names its host (RFC 9112, section 3.2).
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None


def _address(said: bytes) -> str | None:
    # A proxy writes an address, some of them with a port; whatever else it is goes into no log.
    text = said.decode("latin-1")
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _believe(scope: Scope, hops: int) -> None:
    # Each proxy appends whom it saw: the entry that the outermost trusted one wrote is the last we
    # can believe, everything before it is the client's own word.
    seen: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in (b"x-forwarded-for", b"x-forwarded-proto"):
            seen.setdefault(name, []).extend(part.strip() for part in value.split(b","))
    addresses = seen.get(b"x-forwarded-for", [])
    if len(addresses) >= hops and (client := _address(addresses[-hops])) is not None:
        scope["client"] = (client, 0)
    schemes = seen.get(b"x-forwarded-proto", [])
    if schemes:
        scheme = schemes[-min(hops, len(schemes))].lower()
        if scheme in (b"http", b"https"):
            secure = scheme == b"https"
            is_socket = scope["type"] == "websocket"
            scope["scheme"] = ("wss" if secure else "ws") if is_socket else scheme.decode()
