"""From what is wrong to what is answered (RFC 9457): where each error gets its status."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from liveblog.domain import errors
from liveblog.domain.errors import Refusal
from liveblog.web.site import site_of

STATUS: dict[type[Refusal], int] = {
    errors.Invalid: 422,
    errors.Unreadable: 400,
    errors.NotFound: 404,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.Conflict: 409,
    errors.KeyReused: 422,
    errors.Gone: 410,
    errors.Stale: 412,
    errors.ConditionMissing: 428,
    errors.TooMany: 429,
    errors.Busy: 503,
    errors.Unavailable: 503,
}

_log = structlog.get_logger()


class WrongType(Refusal):
    """A body of a type that isn't taken here."""


class TooLarge(Refusal):
    """A body over its bound."""


STATUS[WrongType] = 415
STATUS[TooLarge] = 413


def problem(
    status: int, detail: str, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """An `application/problem+json` answer."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **more,
    }
    return Response(
        orjson.dumps(body),
        status,
        {**(headers or {}), "cache-control": "no-store"},
        media_type="application/problem+json",
    )


def answer(request: HTTPConnection, error: Refusal) -> Response:
    """The answer to a refused request: a page for a person, a problem document for a program."""
    status = STATUS[type(error)]
    headers: dict[str, str] = {}
    more: dict[str, Any] = {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(error.retry_after_seconds)
    if isinstance(error, errors.Unavailable):
        _log.warning("unavailable", state=error.state, reason=error.reason)
    elif isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    elif isinstance(error, errors.Invalid):
        more["errors"] = [{"field": each.field, "message": each.message} for each in error.errors]
    elif isinstance(error, errors.Gone):
        more["id"] = error.id
    if wants_page(request):
        return site_of(request).pages.problem(request, status, error.detail, headers)
    return problem(status, error.detail, headers, **more)


async def on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return answer(request, error)


_SAID = {
    400: "The request can't be read.",
    404: "There is nothing at this address.",
    405: "This address doesn't take that method.",
}


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = _SAID.get(error.status_code, error.detail)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers = {"allow": ", ".join(sorted(_taken(request)))}
    if wants_page(request):
        return site_of(request).pages.problem(request, error.status_code, detail, headers)
    return problem(error.status_code, detail, headers)


def _taken(request: Request) -> set[str]:
    # One address can be several routes; Starlette names the methods of the first alone.
    return {
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


async def on_failure(request: HTTPConnection, error: Exception) -> Response:
    """Something of ours broke; the log has it, the answer says no more than that."""
    _log.error("failed", path=request.url.path, exc_info=error)
    detail = "Something broke on our side. It is in the log; please try again."
    if wants_page(request):
        return site_of(request).pages.problem(request, 500, detail, {})
    return problem(500, detail)


def wants_page(request: HTTPConnection) -> bool:
    """Whether a person reads the answer, in a browser."""
    if request.scope["type"] != "http" or request.url.path.startswith("/api/"):
        return False
    return "text/html" in request.headers.get("accept", "")
