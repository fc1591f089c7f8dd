"""The HTTP API: JSON in, JSON out."""

from __future__ import annotations

import asyncio
import random
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from liveblog.delivery.frames import Format, blog_json, post_json
from liveblog.domain import blog as blogs
from liveblog.domain.blog import Blog, BlogState
from liveblog.domain.cursor import Cursor
from liveblog.domain.errors import (
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    Refusal,
    Stale,
    Unauthenticated,
    Unavailable,
)
from liveblog.domain.invitation import (
    EXPIRY_DEFAULT_SECONDS,
    EXPIRY_MOST_SECONDS,
    USES_MOST,
    Invitation,
)
from liveblog.domain.person import (
    NAME_LONGEST,
    Action,
    Caller,
    Role,
    require,
    require_change,
)
from liveblog.domain.post import Author, Draft, Post, drafted, edited, published
from liveblog.domain.text import Checks, line, optional_line
from liveblog.store.log import Appended, Operation
from liveblog.store.people import hashed
from liveblog.web import auth, body
from liveblog.web.ready import Answer
from liveblog.web.site import address_of, now, site_of

POSTS_DEFAULT = 30
POSTS_MOST = 100
WAIT_MOST_SECONDS = 25.0
ENTRIES_MOST = 500
RANGE_SHARED = "public, max-age=4"
# How long a change of a blog tries to come between those of others.
CHANGING_SECONDS = 5.0

_canonical = msgspec.json.Encoder(order="sorted").encode


def answered(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that no cache keeps."""
    return Response(
        orjson.dumps(value, option=orjson.OPT_UTC_Z),
        status,
        {"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def slug_of(request: HTTPConnection) -> str:
    """The blog that the address names. Raises: NotFound."""
    slug: str = request.path_params["slug"]
    if not blogs.is_slug(slug):
        raise NotFound(f"There is no blog at /{slug}.")
    return slug


# -- blogs


async def create_blog(request: Request) -> Response:
    require(await auth.caller_of(request), Action.CREATE_BLOG)
    blog = new_blog(await body.read(request, body.NewBlog))
    await site_of(request).log.create(blog)
    return answered(
        blog_json(blog, site_of(request).origin(request)), 201, {"location": f"/{blog.slug}"}
    )


def new_blog(form: body.NewBlog) -> Blog:
    """A blog out of what was typed. Raises: Invalid."""
    checks, at = Checks(), now()
    starts_at = checks.of(body.in_utc, "starts_at", form.starts_at)
    blog = Blog(
        slug=checks.of(blogs.checked_slug, form.slug),
        title=checks.of(line, "title", form.title, blogs.TITLE_LONGEST),
        state=BlogState.UPCOMING if starts_at and starts_at > at else BlogState.LIVE,
        created_at=at,
        summary=checks.of(optional_line, "summary", form.summary, blogs.SUMMARY_LONGEST),
        venue=checks.of(optional_line, "venue", form.venue, blogs.VENUE_LONGEST),
        starts_at=starts_at,
        ends_at=checks.of(body.in_utc, "ends_at", form.ends_at),
        timezone=checks.of(blogs.checked_timezone, form.timezone),
        language=checks.of(blogs.checked_language, form.language),
    )
    checks.settle()
    return _in_order(blog)


def _in_order(blog: Blog) -> Blog:
    if blog.starts_at and blog.ends_at and blog.ends_at < blog.starts_at:
        raise Invalid(FieldError("ends_at", "must not be before starts_at"))
    return blog


async def list_blogs(request: Request) -> Response:
    site = site_of(request)
    origin = site.origin(request)
    return answered({"blogs": [blog_json(blog, origin) for blog in await site.log.blogs()]})


async def show_blog(request: Request) -> Response:
    site = site_of(request)
    return answered(blog_json(await site.log.blog(slug_of(request)), site.origin(request)))


async def change_blog(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    await site.log.blog(slug)
    require(await auth.caller_of(request, slug), Action.CHANGE_BLOG)
    changes = body.changed(await body.read(request, body.BlogChange))
    operation = Operation.once()
    give_up_at = asyncio.get_running_loop().time() + CHANGING_SECONDS
    pause = 0.01
    while asyncio.get_running_loop().time() < give_up_at:
        before = await site.log.blog(slug)
        after = _changed_blog(before, changes)
        if replace(after, revision=before.revision) == before:
            return answered(blog_json(before, site.origin(request)))
        try:
            await site.log.change(after, operation)
        except Stale:
            # Somebody changed something at the same moment: on top of that, then, and apart.
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(2 * pause, 0.2)
            continue
        return answered(blog_json(after, site.origin(request)))
    raise Unavailable(
        "The blog is being changed by many at once. Please try again.",
        state="is being changed by many at once",
    )


def _changed_blog(blog: Blog, changes: dict[str, Any]) -> Blog:
    checks: dict[str, Any] = {
        "title": lambda value: line("title", value, blogs.TITLE_LONGEST),
        "summary": lambda value: optional_line("summary", value, blogs.SUMMARY_LONGEST),
        "venue": lambda value: optional_line("venue", value, blogs.VENUE_LONGEST),
        "starts_at": lambda value: body.in_utc("starts_at", value),
        "ends_at": lambda value: body.in_utc("ends_at", value),
        "timezone": blogs.checked_timezone,
        "language": blogs.checked_language,
        "state": _checked_state,
    }
    checked = {name: checks[name](value) for name, value in changes.items()}
    return _in_order(replace(blog, revision=blog.revision + 1, **checked))


def _checked_state(value: str) -> BlogState:
    try:
        return BlogState(value)
    except ValueError:
        raise Invalid(
            FieldError("state", f"must be one of {', '.join(state.value for state in BlogState)}")
        ) from None


# -- posts


async def list_posts(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    limit = number(request, "limit", POSTS_DEFAULT, 1, POSTS_MOST)
    before = number(request, "before", None, 1, 2**53)
    channel = await site.hub.channel(slug)

    async def made() -> Response:
        snapshot = await site.log.snapshot(slug, limit=limit or POSTS_DEFAULT, before=before)
        origin = site.origin(request)
        return answered(
            {
                "posts": [post_json(placed.post, origin) for placed in snapshot.posts],
                "cursor": str(snapshot.cursor),
                "offset": snapshot.cursor.offset,
                "next": snapshot.older,
            }
        )

    return await site.shelf.answer(request, channel, made)


def number(request: Request, name: str, default: int | None, least: int, most: int) -> int | None:
    """A whole number out of the query string. Raises: Invalid."""
    given = request.query_params.get(name)
    return default if given is None else whole_number(name, given, least, most)


def whole_number(name: str, given: str, least: int, most: int) -> int:
    """Raises: Invalid."""
    if not (
        given.isascii() and given.isdecimal() and len(given) <= 16 and least <= int(given) <= most
    ):
        raise Invalid(FieldError(name, f"must be a whole number from {least} to {most}"))
    return int(given)


async def publish(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    try:
        caller = await auth.caller_of(request, slug)
        require(caller, Action.PUBLISH)
        draft = _draft(msgspec.structs.asdict(await body.read(request, body.NewPost)))
        key = body.idempotency_key(request)
    except Unavailable:
        raise
    except Refusal:
        # That there is no such blog comes first. Whoever may post hears it from the log itself.
        await site.log.blog(slug)
        raise
    appended = await publish_draft(request, caller, slug, draft, key)
    post = appended.entry.post
    assert post is not None
    headers = {"location": f"/{slug}/posts/{post.id}", "etag": f'"{post.revision}"'}
    if appended.replayed:
        headers["idempotent-replayed"] = "true"
    return answered(post_json(post, site.origin(request)), 201, headers)


async def publish_draft(
    request: Request, caller: Caller, slug: str, draft: Draft, key: str | None
) -> Appended:
    """Publish a draft as the caller's; under the same key, once."""
    assert caller.person is not None
    operation = (
        Operation.keyed(caller.person.id, key, _canonical(draft)) if key else Operation.once()
    )
    post = published(
        draft,
        id=secrets.token_urlsafe(12),
        blog=slug,
        author=Author(caller.person.id, caller.person.name),
        at=now(),
    )
    return await site_of(request).log.publish(post, operation)


def _draft(fields: dict[str, Any]) -> Draft:
    if fields.pop("media", None):
        raise Invalid(FieldError("media", "names nothing that was uploaded here"))
    fields["captured_at"] = body.in_utc("captured_at", fields.get("captured_at"))
    return drafted(**fields)


async def show_post(request: Request) -> Response:
    site = site_of(request)
    post = await site.log.post(slug_of(request), request.path_params["id"])
    return answered(post_json(post, site.origin(request)), headers={"etag": f'"{post.revision}"'})


async def change_post(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    caller = await auth.caller_of(request, slug)
    post = await site.log.post(slug, request.path_params["id"])
    require_change(caller, post)
    stands = body.names_revision(request, post.revision)
    changes = body.changed(await body.read(request, body.PostChange))
    if not stands:
        raise Stale(
            f"Revision {post.revision} stands meanwhile. Load it and make the change again."
        )
    after = await change_words(request, post, changes)
    return answered(post_json(after, site.origin(request)), headers={"etag": f'"{after.revision}"'})


async def change_words(request: Request, post: Post, changes: dict[str, Any]) -> Post:
    """The post as it stands once some of its words are others. Raises: Invalid, Stale, NotFound."""
    after = edited(post, _draft({**_words(post), **changes}), now())
    if replace(after, revision=post.revision, edited_at=post.edited_at) == post:
        return post
    appended = await site_of(request).log.edit(after, Operation.once())
    assert appended.entry.post is not None
    return appended.entry.post


def _words(post: Post) -> dict[str, Any]:
    return {
        "body": post.body,
        "kind": post.kind,
        "headline": post.headline,
        "key": post.key,
        "pinned": post.pinned,
        "tags": list(post.tags),
        "session": post.session,
        "captured_at": post.captured_at,
    }


async def remove_post(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    caller = await auth.caller_of(request, slug)
    post = await site.log.post(slug, request.path_params["id"])
    require_change(caller, post)
    await site.log.retract(post, Operation.once())
    return Response(status_code=204)


# -- the log as long poll


async def entries(request: Request) -> Response:
    """The entries after a cursor; with `wait`, as soon as there are any."""
    site, slug = site_of(request), slug_of(request)
    wait = _seconds(request)
    given = request.query_params.get("after")
    format = _format(request)
    channel = await site.hub.channel(slug)
    if given is None:
        # Without a cursor there is nothing to resume: it starts at the head, and waits there.
        cursor: Cursor | None = channel.head
    else:
        cursor = Cursor.parse(given)
    start = await site.hub.position(channel, cursor)
    if start is None:
        return _entries_answer([], channel.head, resumed=False)
    if wait and channel.head.offset <= start.offset:
        with site.gate.enter(address_of(request), auth.token_of(request)):
            await channel.wait_beyond(start.offset, wait)
    # The log may have been replaced while we waited.
    frames = await site.hub.frames_after(channel, start, ENTRIES_MOST)
    if frames is None:
        return _entries_answer([], channel.head, resumed=False)
    origin = site.shared_origin(request)
    last = frames[-1].entry.cursor if frames else start
    payloads = [frame.payload(format, origin) for frame in frames]
    answer = _entries_answer(payloads, last, resumed=True)
    if frames:
        query = f"?format={format}" if format != "json" else ""
        path = f"{request.url.path}/{last.epoch}/{frames[0].offset}-{last.offset}-{last.tag}"
        answer.headers["link"] = f'<{path}{query}>; rel="duplicate"'
    return answer


def _format(request: Request) -> Format:
    return "html" if request.query_params.get("format") == "html" else "json"


def _entries_answer(payloads: list[bytes], cursor: Cursor, *, resumed: bool) -> Response:
    tail = orjson.dumps({"cursor": str(cursor), "offset": cursor.offset, "resumed": resumed})
    return Response(
        b'{"entries":[' + b",".join(payloads) + b"]," + tail[1:],
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )


async def closed_range(request: Request) -> Response:
    """Entries that stand for good, under an address that anybody in between may keep."""
    site, slug = site_of(request), slug_of(request)
    first, last = _range(request.path_params["from"], request.path_params["to"])
    end = Cursor(request.path_params["epoch"], last, request.path_params["tag"])
    channel = await site.hub.channel(slug)
    frames = await site.hub.frames_between(channel, first, end)
    if frames is None or len(frames) != last - first + 1:
        raise NotFound("This blog's log doesn't hold these entries, or not any more.")
    format, origin = _format(request), site.shared_origin(request)
    payloads = [frame.payload(format, origin) for frame in frames]
    return Answer(_entries_answer(payloads, end, resumed=True), RANGE_SHARED, "accept-encoding")


def _range(first: str, last: str) -> tuple[int, int]:
    checks = Checks()
    ends = (
        checks.of(whole_number, "from", first, 1, 2**53),
        checks.of(whole_number, "to", last, 1, 2**53),
    )
    checks.settle()
    if not 0 <= ends[1] - ends[0] < ENTRIES_MOST:
        raise Invalid(FieldError("to", f"must be from {ends[0]} to {ends[0] + ENTRIES_MOST - 1}"))
    return ends


def _seconds(request: Request) -> float:
    given = request.query_params.get("wait", "0")
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise Invalid(FieldError("wait", "must be a number of seconds, 0 or more"))
    return min(seconds, WAIT_MOST_SECONDS)


# -- people


async def invite(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    await site.log.blog(slug)
    caller = await auth.caller_of(request, slug)
    require(caller, Action.INVITE)
    form = await body.read(request, body.NewInvitation)
    role = checked_role(form.role)
    if not caller.may_grant(role):
        raise Forbidden(f"You can't give the role {role.label}: it is more than your own.")
    invitation, secret = invited(
        slug,
        role=role,
        name=form.name,
        uses=form.uses,
        seconds=form.expires_in_seconds,
        by=caller.person.id if caller.person else None,
        at=now(),
    )
    await site.people.invite(invitation)
    return answered(
        {
            "id": invitation.id,
            "role": role.label,
            "secret": secret,
            "url": f"{site.origin(request)}/join#{secret}",
            "name": invitation.name,
            "uses": invitation.uses,
            "expires_at": invitation.expires_at,
        },
        201,
    )


def invited(
    slug: str,
    *,
    role: Role,
    at: datetime,
    name: str | None = None,
    uses: int = 1,
    seconds: int | None = None,
    by: str | None = None,
) -> tuple[Invitation, str]:
    """An invitation and the secret that redeems it, which is kept nowhere. Raises: Invalid."""
    if uses > USES_MOST:
        raise Invalid(FieldError("uses", f"is {uses:,}; at most {USES_MOST:,} are given"))
    seconds = EXPIRY_DEFAULT_SECONDS if seconds is None else seconds
    if seconds > EXPIRY_MOST_SECONDS:
        raise Invalid(
            FieldError("expires_in_seconds", f"is over {EXPIRY_MOST_SECONDS:,} (366 days)")
        )
    id, token = secrets.token_hex(4), secrets.token_urlsafe(18)
    invitation = Invitation(
        id=id,
        blog=slug,
        role=role,
        secret_hash=hashed(token),
        uses=uses,
        expires_at=at + timedelta(seconds=seconds),
        created_at=at,
        name=optional_line("name", name, NAME_LONGEST),
        invited_by=by,
    )
    return invitation, f"{slug}.{id}.{token}"


def checked_role(name: str) -> Role:
    """A role that can be given. Raises: Invalid."""
    given = {role.label: role for role in (Role.CONTRIBUTOR, Role.REPORTER, Role.EDITOR)}
    if name not in given:
        raise Invalid(FieldError("role", f"must be one of {', '.join(given)}"))
    return given[name]


async def revoke(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    await site.log.blog(slug)
    require(await auth.caller_of(request, slug), Action.INVITE)
    await site.people.revoke(slug, request.path_params["id"])
    return Response(status_code=204)


async def join(request: Request) -> Response:
    form = await body.read(request, body.Joining)
    name = line("name", form.name, NAME_LONGEST)
    key = body.idempotency_key(request)
    session, token, onward = await auth.join(request, form.secret, name, key)
    person = {"id": session.person.id, "name": session.person.name}
    response = answered({**person, "person": person, "next": onward})
    auth.set_session(request, response, token)
    return response


async def me(request: Request) -> Response:
    site = site_of(request)
    session = await auth.session_of(request)
    if session is None:
        raise Unauthenticated("Nobody is signed in here.")
    if session.owner:
        roles = {blog.slug: Role.OWNER for blog in await site.log.blogs()}
    else:
        roles = await site.people.roles(session.person.id)
    return answered(
        {
            "person": {"id": session.person.id, "name": session.person.name},
            "roles": {slug: role.label for slug, role in roles.items()},
        }
    )


async def logout(request: Request) -> Response:
    session = await auth.session_of(request)
    if session is None:
        raise Unauthenticated("Nobody is signed in here.")
    if session.token_hash:
        await site_of(request).people.end_session(session)
    response = Response(status_code=204)
    auth.clear_session(request, response)
    return response


async def list_people(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    await site.log.blog(slug)
    require(await auth.caller_of(request, slug), Action.MANAGE_PEOPLE)
    return answered(
        {
            "people": [
                {
                    "id": member.person.id,
                    "name": member.person.name,
                    "role": member.role.label,
                    "joined_at": member.joined_at,
                    "invitation": member.invitation,
                }
                for member in await site.people.members(slug)
            ]
        }
    )


async def change_person(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    await site.log.blog(slug)
    caller = await auth.caller_of(request, slug)
    require(caller, Action.MANAGE_PEOPLE)
    role = checked_role((await body.read(request, body.RoleChange)).role)
    member = await site.people.member(slug, request.path_params["id"])
    if not caller.may_grant(role) or member.role > caller.role:
        raise Forbidden("You can't give or take a role that is more than your own.")
    await site.people.set_role(slug, member, role)
    return answered({"id": member.person.id, "name": member.person.name, "role": role.label})


async def remove_person(request: Request) -> Response:
    site, slug = site_of(request), slug_of(request)
    await site.log.blog(slug)
    caller = await auth.caller_of(request, slug)
    require(caller, Action.MANAGE_PEOPLE)
    member = await site.people.member(slug, request.path_params["id"])
    if member.role > caller.role:
        raise Forbidden("You can't remove somebody whose role is more than your own.")
    await site.people.remove(slug, member.person.id, now())
    return Response(status_code=204)
