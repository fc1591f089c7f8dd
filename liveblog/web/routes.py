"""The map of the site: every address, and what answers there."""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from liveblog.web import api, auth, feeds, operations, pages, problems
from liveblog.web.live import Live
from liveblog.web.render import STATIC, STATIC_DIGEST

_DIGEST = re.compile("[0-9a-f]{10}")


class Assets(StaticFiles):
    """`static/`, as it is; an address with the digest of its content is kept for a year."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        digest, _, rest = path.partition("/")
        if not _DIGEST.fullmatch(digest):
            digest, rest = "", path
        # A page from before a deploy asks by the digest of then; it gets what there is now.
        response = await super().get_response(rest, scope)
        response.headers["cache-control"] = (
            "public, max-age=31536000, immutable" if digest == STATIC_DIGEST else "no-cache"
        )
        response.headers["cross-origin-resource-policy"] = "cross-origin"
        return response


class Guarded(Route):
    """A route that no other site's page can make a browser change something through."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A method that isn't taken here is told so by the route itself.
        if self.methods and scope["method"] in self.methods:
            auth.guard_origin(Request(scope))
        await super().handle(scope, receive, send)


_BLOG = "/api/blogs/{slug}"

routes: list[BaseRoute] = [
    # First: a hall that comes back asks for nothing else.
    WebSocketRoute("/{slug}/live", Live()),
    Route("/{slug}/live", Live()),
    Guarded("/healthz", operations.healthz),
    Guarded("/readyz", operations.readyz),
    Guarded("/metrics", operations.metrics),
    Mount("/static", Assets(directory=STATIC), name="static"),
    Guarded("/api/me", api.me),
    Guarded("/api/join", api.join, methods=["POST"]),
    Guarded("/api/logout", api.logout, methods=["POST"]),
    Guarded("/api/blogs", api.list_blogs, methods=["GET"]),
    Guarded("/api/blogs", api.create_blog, methods=["POST"]),
    Guarded(_BLOG, api.show_blog, methods=["GET"]),
    Guarded(_BLOG, api.change_blog, methods=["PATCH"]),
    Guarded(f"{_BLOG}/posts", api.list_posts, methods=["GET"]),
    Guarded(f"{_BLOG}/posts", api.publish, methods=["POST"]),
    Guarded(f"{_BLOG}/posts/{{id}}", api.show_post, methods=["GET"]),
    Guarded(f"{_BLOG}/posts/{{id}}", api.change_post, methods=["PATCH"]),
    Guarded(f"{_BLOG}/posts/{{id}}", api.remove_post, methods=["DELETE"]),
    Guarded(f"{_BLOG}/entries", api.entries),
    Guarded(f"{_BLOG}/entries/{{epoch}}/{{from}}-{{to}}-{{tag}}", api.closed_range),
    Guarded(f"{_BLOG}/invitations", api.invite, methods=["POST"]),
    Guarded(f"{_BLOG}/invitations/{{id}}", api.revoke, methods=["DELETE"]),
    Guarded(f"{_BLOG}/people", api.list_people, methods=["GET"]),
    Guarded(f"{_BLOG}/people/{{id}}", api.change_person, methods=["PATCH"]),
    Guarded(f"{_BLOG}/people/{{id}}", api.remove_person, methods=["DELETE"]),
    Guarded("/", pages.index, methods=["GET"]),
    Guarded("/", pages.create, methods=["POST"]),
    Guarded("/join", pages.join, methods=["GET"]),
    Guarded("/join", pages.join_form, methods=["POST"]),
    Guarded("/{slug}", pages.feed),
    Guarded("/{slug}/posts/{id}", pages.post),
    Guarded("/{slug}/screen", pages.screen),
    Guarded("/{slug}/write", pages.write, methods=["GET"]),
    Guarded("/{slug}/write", pages.write_form, methods=["POST"]),
    Guarded("/{slug}/feed.atom", feeds.atom),
    Guarded("/{slug}/feed.json", feeds.json),
]


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Where no route leads: 404, or back to the path that somebody typed a slash behind."""
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        detail = "There is no stream at this address; a blog's is at /{slug}/live."
        await socket.send_denial_response(problems.problem(404, detail))
        return
    # By path alone: what the request calls this host is not to be believed.
    path = "/" + scope["path"].strip("/")
    there = {**scope, "path": path}
    if path == scope["path"] or all(route.matches(there)[0] is Match.NONE for route in routes):
        raise HTTPException(404)
    query = scope["query_string"].decode("latin-1")
    await RedirectResponse(quote(path) + (f"?{query}" if query else ""))(scope, receive, send)
