"""Who sent a request: by bearer token or by session cookie; and how somebody signs in and out."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

from liveblog.domain.errors import Forbidden, Unauthenticated
from liveblog.domain.person import Caller, Person, Role
from liveblog.store.people import SESSION_SECONDS, Joining, Session, dead_invitation, hashed
from liveblog.web.site import OWNER, now, site_of

PERSON = "liveblog-person"
_COOKIE = "liveblog_session"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def cookie_name(request: HTTPConnection) -> str:
    """Under https the name makes browsers insist on Secure, Path=/, no Domain (RFC 6265bis)."""
    return f"__Host-{_COOKIE}" if is_https(request) else _COOKIE


def is_https(request: HTTPConnection) -> bool:
    return site_of(request).origin(request).startswith("https://")


async def session_of(request: HTTPConnection) -> Session | None:
    """The live session that the request carries.

    Raises: Unauthenticated where a bearer token is dead, or where the cookie is somebody else's
    than the page that sent the request names. A dead cookie is as good as none: pages that all may
    read stay readable.
    """
    site = site_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Send the credential as “Authorization: Bearer TOKEN”.")
        if site.is_owner_token(token):
            return Session(OWNER, owner=True)
        session = await site.people.session(token)
        if session is None:
            raise Unauthenticated("This token is unknown, or its session has ended.")
        return session
    session = await _present(request)
    # A page that one person left open must not post in the name of the next who signs in.
    if session and request.headers.get(PERSON, session.person.id) != session.person.id:
        raise Unauthenticated("Somebody else is signed in on this browser now.")
    return session


async def caller_of(request: HTTPConnection, slug: str | None = None) -> Caller:
    """Who sent the request, and their role in one blog. Raises: Unauthenticated."""
    return await caller_for(request, await session_of(request), slug)


async def caller_for(
    request: HTTPConnection, session: Session | None, slug: str | None = None
) -> Caller:
    """Whom a session stands for, and their role in one blog."""
    if session is None:
        return Caller(None, Role.VIEWER)
    if session.owner:
        return Caller(session.person, Role.OWNER)
    role = await site_of(request).people.role(slug, session.person.id) if slug else Role.VIEWER
    return Caller(session.person, role)


def guard_origin(request: HTTPConnection) -> None:
    """Refuse a change that another site could have made the browser send.

    A request that carries the cookie, or that would set one, must come from our own origin.

    Raises: Forbidden.
    """
    if request.scope.get("method", "GET") in _SAFE or request.headers.get("authorization"):
        return
    origin = request.headers.get("origin")
    if origin is None:
        if cookie_name(request) in request.cookies:
            raise Forbidden(
                "A change with the session cookie must name its Origin. "
                "Programs use “Authorization: Bearer TOKEN” instead."
            )
    elif not is_own(request, origin):
        raise Forbidden("This change comes from another site's page.")


def is_own(request: HTTPConnection, origin: str) -> bool:
    """Whether `origin` is where this site itself is served from."""
    return _normal(origin) == _normal(site_of(request).origin(request))


def _normal(origin: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(origin.lower())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ("", origin, None)
    return (parts.scheme, parts.hostname or "", port)


async def join(
    request: HTTPConnection, secret: str, name: str, key: str | None
) -> tuple[Session, str, str]:
    """Turn a secret into a session: who it is for, its token, and where to go from here.

    Raises: Unauthenticated where the secret is dead; KeyReused where the key was another's.
    """
    site = site_of(request)
    present = await _present(request)
    if site.is_owner_token(secret):
        person = present.person if present else Person(_new_id(), name)
        session = Session(person, owner=True)
        onward = "/"
        blogs = await site.log.blogs()
        if len(blogs) == 1:
            onward = f"/{blogs[0].slug}/write"
    else:
        slug, _, rest = secret.partition(".")
        id, _, token = rest.partition(".")
        if not (slug and id and token):
            raise dead_invitation()
        # Somebody who is signed in stays who they are, also in another blog.
        person = present.person if present else Person(_new_id(), name)
        joining = Joining.of(secret, key, name)
        member = await site.people.redeem(slug, id, token, person, now(), joining)
        session = Session(member.person, owner=bool(present and present.owner))
        onward = f"/{slug}/write" if member.role >= Role.REPORTER else f"/{slug}"
    token = secrets.token_urlsafe(32)
    await site.people.begin_session(token, session)
    if present is not None:
        await site.people.end_session(present)
    return session, token, onward


async def leave(request: HTTPConnection) -> None:
    """End the session that the cookie stands for, if any."""
    present = await _present(request)
    if present is not None:
        await site_of(request).people.end_session(present)


def has_cookie(request: HTTPConnection) -> bool:
    """Whether the browser brings a session's cookie, dead or alive."""
    return cookie_name(request) in request.cookies


async def _present(request: HTTPConnection) -> Session | None:
    token = request.cookies.get(cookie_name(request), "")
    return await site_of(request).people.session(token) if token else None


def set_session(request: HTTPConnection, response: Response, token: str) -> None:
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=SESSION_SECONDS,
        path="/",
        secure=is_https(request),
        httponly=True,
        samesite="lax",
    )


def clear_session(request: HTTPConnection, response: Response) -> None:
    response.delete_cookie(
        cookie_name(request), path="/", secure=is_https(request), httponly=True, samesite="lax"
    )


def token_of(request: HTTPConnection) -> str:
    """A mark of whom the request says it is by, dead or alive; empty where it says nothing.

    Of one length, as it is kept for as long as the viewer: what was sent may be 64 KiB, and secret.
    """
    said: str = request.headers.get("authorization", "")
    said = said or request.cookies.get(cookie_name(request), "")
    return hashed(said) if said else ""


def _new_id() -> str:
    return secrets.token_urlsafe(9)
