"""The map of the site: every address, and what answers there."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from liveblog.web import api, feeds, operations, pages
from liveblog.web.live import Live
from liveblog.web.render import STATIC


class Assets(StaticFiles):
    """`static/`, as it is; an address with its content's hash is kept for a year."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        hashed = b"v=" in scope.get("query_string", b"")
        response.headers["cache-control"] = (
            "public, max-age=31536000, immutable" if hashed else "no-cache"
        )
        response.headers["cross-origin-resource-policy"] = "cross-origin"
        return response


_BLOG = "/api/blogs/{slug}"

routes: list[BaseRoute] = [
    Route("/healthz", operations.healthz),
    Route("/readyz", operations.readyz),
    Route("/metrics", operations.metrics),
    Mount("/static", Assets(directory=STATIC), name="static"),
    Route("/api/me", api.me),
    Route("/api/join", api.join, methods=["POST"]),
    Route("/api/logout", api.logout, methods=["POST"]),
    Route("/api/blogs", api.list_blogs, methods=["GET"]),
    Route("/api/blogs", api.create_blog, methods=["POST"]),
    Route(_BLOG, api.show_blog, methods=["GET"]),
    Route(_BLOG, api.change_blog, methods=["PATCH"]),
    Route(f"{_BLOG}/posts", api.list_posts, methods=["GET"]),
    Route(f"{_BLOG}/posts", api.publish, methods=["POST"]),
    Route(f"{_BLOG}/posts/{{id}}", api.show_post, methods=["GET"]),
    Route(f"{_BLOG}/posts/{{id}}", api.change_post, methods=["PATCH"]),
    Route(f"{_BLOG}/posts/{{id}}", api.remove_post, methods=["DELETE"]),
    Route(f"{_BLOG}/entries", api.entries),
    Route(f"{_BLOG}/invitations", api.invite, methods=["POST"]),
    Route(f"{_BLOG}/invitations/{{id}}", api.revoke, methods=["DELETE"]),
    Route(f"{_BLOG}/people", api.list_people, methods=["GET"]),
    Route(f"{_BLOG}/people/{{id}}", api.change_person, methods=["PATCH"]),
    Route(f"{_BLOG}/people/{{id}}", api.remove_person, methods=["DELETE"]),
    Route("/", pages.index, methods=["GET"]),
    Route("/", pages.create, methods=["POST"]),
    Route("/join", pages.join, methods=["GET"]),
    Route("/join", pages.join_form, methods=["POST"]),
    Route("/{slug}", pages.feed),
    Route("/{slug}/posts/{id}", pages.post),
    Route("/{slug}/screen", pages.screen),
    Route("/{slug}/write", pages.write, methods=["GET"]),
    Route("/{slug}/write", pages.write_form, methods=["POST"]),
    Route("/{slug}/feed.atom", feeds.atom),
    Route("/{slug}/feed.json", feeds.json),
    Route("/{slug}/live", Live()),
    WebSocketRoute("/{slug}/live", Live()),
]
