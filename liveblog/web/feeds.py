"""The feeds for other programs: Atom (RFC 4287) and JSON Feed 1.1."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import orjson
from starlette.requests import Request
from starlette.responses import Response

from liveblog.domain.post import Post
from liveblog.store.log import Snapshot
from liveblog.web import api
from liveblog.web.render import iso
from liveblog.web.site import site_of

FEED_POSTS = 50


async def atom(request: Request) -> Response:
    return await _ready(request, _atom)


async def json(request: Request) -> Response:
    return await _ready(request, _json)


async def _ready(request: Request, feed: Callable[[Request, Snapshot], Response]) -> Response:
    site, slug = site_of(request), api.slug_of(request)
    channel = await site.hub.channel(slug)

    async def made() -> Response:
        return feed(request, await site.log.snapshot(slug, limit=FEED_POSTS))

    return await site.shelf.answer(request, channel, made)


def _atom(request: Request, snapshot: Snapshot) -> Response:
    posts = [placed.post for placed in snapshot.posts]
    updated = max((_updated(post) for post in posts), default=snapshot.blog.created_at)
    context = {"blog": snapshot.blog, "posts": posts, "updated": updated, "title_of": title_of}
    response = site_of(request).pages.page(request, "feed.atom", context)
    response.headers["content-type"] = "application/atom+xml; charset=utf-8"
    return response


def _json(request: Request, snapshot: Snapshot) -> Response:
    blog, origin = snapshot.blog, site_of(request).origin(request)
    slug = blog.slug
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": blog.title,
        "home_page_url": f"{origin}/{slug}",
        "feed_url": f"{origin}/{slug}/feed.json",
        "language": blog.language,
        "items": [
            {
                "id": f"{origin}/{slug}/posts/{placed.post.id}",
                "url": f"{origin}/{slug}/posts/{placed.post.id}",
                "title": title_of(placed.post),
                "content_html": placed.post.html,
                "date_published": iso(placed.post.published_at),
                "date_modified": iso(_updated(placed.post)),
                "authors": [{"name": placed.post.author.name}],
                "tags": placed.post.tags,
            }
            for placed in snapshot.posts
        ],
    }
    if blog.summary:
        feed["description"] = blog.summary
    return Response(orjson.dumps(feed), media_type="application/feed+json")


def title_of(post: Post) -> str:
    """The headline, else the beginning of the text."""
    if post.headline:
        return post.headline
    text = " ".join(post.body.split())
    return text if len(text) <= 80 else text[:79].rsplit(" ", 1)[0] + "…"


def _updated(post: Post) -> datetime:
    return post.edited_at or post.published_at
