"""The pages, rendered on the server and complete without script."""

from __future__ import annotations

import secrets
from datetime import datetime
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import segno
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from liveblog.domain.blog import Blog, BlogState, checked_timezone
from liveblog.domain.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    Invalid,
    KeyReused,
    NotFound,
    Refusal,
    Stale,
    Unauthenticated,
)
from liveblog.domain.person import NAME_LONGEST, Action, Caller, Role, require, require_change
from liveblog.domain.post import Kind, Post, drafted
from liveblog.domain.text import line
from liveblog.store.log import Operation, Snapshot, checked_key
from liveblog.store.people import Session
from liveblog.web import api, auth, body
from liveblog.web.problems import STATUS, wants_page
from liveblog.web.render import short
from liveblog.web.site import site_of

FEED_POSTS = 30
SCREEN_POSTS = 8
COMPOSER_POSTS = 20


class Fields(dict[str, str]):
    """What was typed into a form, or is wrong with it; blank where nothing is."""

    def __missing__(self, name: str) -> str:
        return ""


async def index(request: Request) -> Response:
    return await _index(request, {}, {}, 200)


async def _index(
    request: Request, form: dict[str, str], errors: dict[str, str], status: int
) -> Response:
    site = site_of(request)
    caller = await auth.caller_of(request)
    blogs = await site.log.blogs()
    by_start = sorted(blogs, key=lambda blog: blog.starts_at or blog.created_at)
    context = {
        "me": caller.person,
        "blogs_live": [
            blog for blog in by_start if blog.state in (BlogState.LIVE, BlogState.PAUSED)
        ],
        "blogs_upcoming": [blog for blog in by_start if blog.state is BlogState.UPCOMING],
        "blogs_past": [blog for blog in reversed(by_start) if blog.state is BlogState.ENDED],
        "may_create": caller.may(Action.CREATE_BLOG),
        "form": Fields(form),
        "errors": Fields(errors),
    }
    return site.pages.page(request, "index.html", context, status)


async def create(request: Request) -> Response:
    """The form for a new blog, for who has no script."""
    require(await auth.caller_of(request), Action.CREATE_BLOG)
    form = await body.form(request)
    typed = {name: value.strip() for name, value in form.items()}
    named = {name: typed.get(name, "") for name in ("title", "slug")}
    given: dict[str, object] = {
        **named,
        **{name: typed[name] for name in ("summary", "venue", "timezone") if typed.get(name)},
    }
    wrong: dict[str, str] = {}
    blog: Blog | None = None
    if typed.get("starts_at"):
        try:
            given["starts_at"] = _in_zone("starts_at", typed["starts_at"], given.get("timezone"))
        except Invalid as error:
            wrong |= _said(error)
    try:
        blog = api.new_blog(body.converted(given, body.NewBlog))
    except Invalid as error:
        wrong |= _said(error)
    if blog is None or wrong:
        return await _index(request, form, wrong, 422)
    try:
        await site_of(request).log.create(blog)
    except Conflict as error:
        return await _index(request, form, {"slug": error.detail}, 409)
    return RedirectResponse(f"/{blog.slug}/write", 303)


def _said(error: Invalid) -> dict[str, str]:
    return {field: _sentence(message) for field, message in _by_field(error, "").items()}


def _sentence(message: str) -> str:
    return f"It {message}." if message.startswith(("must ", "is ")) else f"{message}."


def _in_zone(field: str, typed: str, timezone: object) -> datetime:
    # A form's date and time has no offset: it is the venue's clock.
    zone = ZoneInfo(checked_timezone(str(timezone or "UTC")))
    try:
        moment = datetime.fromisoformat(typed)
    except ValueError:
        raise Invalid(FieldError(field, "must be a date and a time")) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _by_field(error: Refusal, otherwise: str) -> dict[str, str]:
    if isinstance(error, Invalid):
        return {each.field: each.message for each in error.errors}
    return {otherwise: error.detail}


async def feed(request: Request) -> Response:
    site, slug = site_of(request), api.slug_of(request)
    before = api.number(request, "before", None, 1, 2**53)
    channel = await site.hub.channel(slug)

    async def made() -> Response:
        snapshot = await site.log.snapshot(slug, limit=FEED_POSTS, before=before)
        context = {
            **_shown(snapshot, await auth.caller_of(request, slug)),
            "older": snapshot.older,
            "is_head": before is None,
            "key_moments": [placed.post for placed in snapshot.moments],
            "viewers": channel.reading,
            "posts_count": snapshot.posts_count,
            "people_count": snapshot.people_count,
        }
        return site.pages.page(request, "feed.html", context)

    return await site.shelf.answer(request, channel, made)


def _shown(snapshot: Snapshot, caller: Caller) -> dict[str, Any]:
    return {
        "me": caller.person,
        "blog": snapshot.blog,
        "posts": [placed.post for placed in snapshot.posts],
        "positions": {
            placed.post.id: placed.offset for placed in (*snapshot.posts, *snapshot.moments)
        },
        "cursor": str(snapshot.cursor),
        "offset": snapshot.cursor.offset,
        "may_write": caller.may(Action.PUBLISH),
    }


async def post(request: Request) -> Response:
    site, slug = site_of(request), api.slug_of(request)
    blog = await site.log.blog(slug)
    # The cursor before the post: a change that falls between the two comes again, and is harmless.
    cursor = (await site.hub.channel(slug)).head
    found = await site.log.post(slug, request.path_params["id"])
    caller = await auth.caller_of(request, slug)
    context = {
        "me": caller.person,
        "blog": blog,
        "post": found,
        "cursor": str(cursor),
        "offset": cursor.offset,
        "may_change": caller.may_change(found),
    }
    return site.pages.page(request, "post.html", context)


async def screen(request: Request) -> Response:
    site, slug = site_of(request), api.slug_of(request)
    snapshot = await site.log.snapshot(slug, limit=SCREEN_POSTS)
    channel = await site.hub.channel(slug)
    address = f"{site.origin(request)}/{slug}"
    context = {
        **_shown(snapshot, await auth.caller_of(request, slug)),
        "viewers": channel.reading,
        "qr": qr(address),
        "short_address": short(address),
    }
    return site.pages.page(request, "screen.html", context)


def qr(address: str) -> Markup:
    """A QR code as SVG, without a fixed size and without colours of its own."""
    drawn = BytesIO()
    segno.make(address, micro=False, error="m").save(
        drawn, kind="svg", xmldecl=False, svgns=True, omitsize=True, border=0, svgclass="qr",
        lineclass=None, dark="#000",
    )  # fmt: skip
    # segno knows no colour but named ones and numbers; the page's own ink is what we want.
    svg = drawn.getvalue().decode().replace('stroke="#000"', 'stroke="currentColor"')
    return Markup(svg)  # noqa: S704 — segno's drawing holds no text


async def write(request: Request) -> Response:
    """The composer; with `?edit=ID` a post is open in it, however old."""
    site, slug = site_of(request), api.slug_of(request)
    await site.log.blog(slug)
    caller = await auth.caller_of(request, slug)
    if caller.person is None:
        why = "cookies" if "joined" in request.query_params else "first"
        why = "ended" if auth.has_cookie(request) else why
        return RedirectResponse(f"/join?why={why}", 303)
    require(caller, Action.PUBLISH)
    form: dict[str, str] = {}
    if id := request.query_params.get("edit"):
        post = await site.log.post(slug, id)
        require_change(caller, post)
        form = _typed(post)
    return await _composer(request, slug, caller, form, {}, 200)


async def _composer(
    request: Request,
    slug: str,
    caller: Caller,
    form: dict[str, str],
    errors: dict[str, str],
    status: int,
    notice: str = "",
) -> Response:
    site = site_of(request)
    snapshot = await site.log.snapshot(slug, limit=COMPOSER_POSTS)
    said = [text for name, text in _DONE.items() if name in request.query_params]
    context = {
        **_shown(snapshot, caller),
        "key": form.get("key") or secrets.token_urlsafe(16),
        "form": Fields(form),
        "errors": Fields(errors),
        "notice": said[0] if said else notice,
    }
    return site.pages.page(request, "write.html", context, status)


def _typed(post: Post) -> dict[str, str]:
    """A post as if it had been typed into the composer's form."""
    typed = {
        "post": post.id,
        "revision": str(post.revision),
        "body": post.body,
        "headline": post.headline or "",
        "kind": post.kind.value,
        "tags": ", ".join(post.tags),
    }
    return {**typed, "key_moment": "on"} if post.key else typed


async def write_form(request: Request) -> Response:
    """The composer's form, for who has no script."""
    slug = api.slug_of(request)
    await site_of(request).log.blog(slug)
    form = await body.form(request)
    caller = Caller(None, Role.VIEWER)
    try:
        caller = await auth.caller_of(request, slug)
        require(caller, Action.PUBLISH)
    except (Unauthenticated, Forbidden) as error:
        if not wants_page(request):
            raise
        said = f"{error.detail} It wasn’t posted. Nothing is lost: your words stand below."
        form = {**form, "blog": slug}
        return _joining(request, form, {}, STATUS[type(error)], caller, said)
    try:
        if form.get("post"):
            done = await _change(request, caller, slug, form)
        else:
            draft = drafted(**_words(form, Kind.UPDATE))
            key = checked_key(form["key"]) if form.get("key") else None
            await api.publish_draft(request, caller, slug, draft, key)
            done = "sent"
    except (KeyReused, Gone) as error:
        # Somebody went back, changed the words and sent the same form: they are kept, and the form
        # gets a key of its own.
        form.pop("key")
        errors = {"key": "was sent before. Send it again to post these words too"}
        return await _composer(request, slug, caller, form, errors, STATUS[type(error)])
    except Stale as error:
        form["revision"] = str((await site_of(request).log.post(slug, form["post"])).revision)
        errors = {"post": "was changed meanwhile. Save again to put these words over the others"}
        return await _composer(request, slug, caller, form, errors, STATUS[type(error)])
    except (NotFound, Forbidden) as error:
        # The words are kept all the same, as those of a post of their own.
        form.pop("post", None)
        why = "was removed" if isinstance(error, NotFound) else "isn't yours to change"
        errors = {"post": f"{why}. Sent again, these words are a new post"}
        return await _composer(request, slug, caller, form, errors, STATUS[type(error)])
    except Invalid as error:
        return await _composer(request, slug, caller, form, _by_field(error, "body"), 422)
    return RedirectResponse(f"/{slug}/write?{done}", 303)


_DONE = {
    "sent": "Your post is live.",
    "saved": "Your change is live.",
    "removed": "The post is removed.",
}


def _words(form: dict[str, str], kind: Kind) -> dict[str, Any]:
    """The words of a form; `kind` where none of those that it offers was chosen."""
    given = {"body": form.get("body", ""), "kind": form.get("kind") or kind.value}
    return {
        "body": given["body"],
        "kind": body.converted(given, body.NewPost).kind,
        "headline": form.get("headline"),
        "key": "key_moment" in form,
        "tags": [tag for tag in form.get("tags", "").split(",") if tag.strip()],
    }


async def _change(request: Request, caller: Caller, slug: str, form: dict[str, str]) -> str:
    """Change or remove the post that a form names; answers what was done."""
    site = site_of(request)
    try:
        post = await site.log.post(slug, form["post"])
    except NotFound:
        if "remove" in form:
            return "removed"
        raise
    require_change(caller, post)
    if "remove" in form:
        await site.log.retract(post, Operation.once())
        return "removed"
    if form.get("revision") != str(post.revision):
        raise Stale("Another revision stands meanwhile.")
    await api.change_words(request, post, _words(form, post.kind))
    return "saved"


async def join(request: Request) -> Response:
    caller = await auth.caller_of(request)
    why = "ended" if auth.has_cookie(request) else request.query_params.get("why", "")
    said = _WHY.get(why, "") if caller.person is None else ""
    return _joining(request, {}, {}, 200, caller, said)


_WHY = {
    "first": "To write you sign in first: open the link of your invitation, or paste it here.",
    "ended": "You are signed out: your session has ended, or your invitation was withdrawn. "
    "What this phone hasn’t sent yet is kept on it. Ask an editor for a new invitation.",
    "cookies": "You are signed out again: this browser didn’t keep the cookie that signs you in. "
    "Allow cookies for this site. The invitation may be used up; then ask for a new one.",
}


def _joining(
    request: Request,
    form: dict[str, str],
    errors: dict[str, str],
    status: int,
    caller: Caller,
    said: str = "",
    left: str = "",
) -> Response:
    context = {
        "me": caller.person,
        "form": Fields(form),
        "errors": Fields(errors),
        "said": said,
        "left": left,
    }
    headers = {"cache-control": "no-store"}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return site_of(request).pages.page(request, "join.html", context, status, headers)


async def join_form(request: Request) -> Response:
    """The form that redeems an invitation, for who has no script; a whole link is fine too."""
    form = await body.form(request)
    if "leave" in form:
        return await _leave(request, form)
    caller = await auth.caller_of(request)
    secret = form.get("secret", "").strip().rpartition("#")[2]
    try:
        # Who is signed in stays who they are, and isn't asked for a name.
        known = caller.person.name if caller.person else form.get("name", "")
        name = line("name", known, NAME_LONGEST)
        session, token, onward = await auth.join(request, secret, name, form.get("key"))
    except (Invalid, KeyReused, Unauthenticated) as error:
        return _joining(request, form, _by_field(error, "secret"), STATUS[type(error)], caller)
    if form.get("body"):
        response = await _kept(request, session, form)
    else:
        # Who comes there without the cookie that is set here is told so.
        response = RedirectResponse(
            f"{onward}?joined" if onward.endswith("/write") else onward, 303
        )
    auth.set_session(request, response, token)
    return response


async def _kept(request: Request, session: Session, form: dict[str, str]) -> Response:
    """The composer with the words that were typed before joining; the form again where not."""
    slug = form.get("blog", "")
    caller = await auth.caller_for(request, session, slug)
    if not caller.may(Action.PUBLISH):
        said = "You are signed in, but may not write there. Your words still stand below."
        return _joining(request, form, {}, 403, caller, said)
    notice = f"You are in, as {session.person.name}. Your words are here, not posted yet."
    return await _composer(request, slug, caller, form, {}, 200, notice)


async def _leave(request: Request, form: dict[str, str]) -> Response:
    caller = await auth.caller_of(request)
    if caller.person is not None and caller.person.id != form["leave"]:
        # A page that stood open from before: it doesn't speak for who came since.
        said = f"Meanwhile {caller.person.name} is signed in here, and stays so."
        return _joining(request, {}, {}, 409, caller, said)
    await auth.leave(request)
    # An invitation stays in its field. What stood in the composer goes into no field: it is not
    # for the next who signs in to post.
    kept = {"secret": form.get("secret", "")}
    nobody = Caller(None, Role.VIEWER)
    left = form.get("body", "").strip()
    response = _joining(request, kept, {}, 200, nobody, "You are signed out.", left)
    auth.clear_session(request, response)
    return response
