"""The cast of a test against a running server: a blog of its own, and people with roles in it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2

from tests.support import Server

PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Player:
    """Somebody who is signed in, or nobody."""

    name: str = ""
    id: str = ""
    token: str = ""

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def cookie(self, name: str = "liveblog_session") -> dict[str, str]:
        return {"Cookie": f"{name}={self.token}"}


NOBODY = Player()


def forgetful_client(url: str) -> httpx2.AsyncClient:
    """A client that keeps no cookie: who sends a request is said with each one."""
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx2.AsyncClient(base_url=url, cookies=jar, trust_env=False, timeout=10.0)


class Stage:
    """A running server and one blog on it, which no other test touches."""

    def __init__(self, server: Server, http: httpx2.AsyncClient, slug: str = "live") -> None:
        self.server = server
        self.http = http
        self.slug = slug
        self.api = f"/api/blogs/{slug}"
        self.owner = Player("The desk", "owner", server.owner_token)

    async def another(self) -> Stage:
        """The same server, with a new blog."""
        slug = f"t-{secrets.token_hex(6)}"
        made = await self.http.post(
            "/api/blogs", json={"slug": slug, "title": "A test"}, headers=self.owner.bearer
        )
        assert made.status_code == 201, made.text
        return Stage(self.server, self.http, slug)

    def address(self, path: str) -> str:
        """A path without a leading slash is below the blog's own."""
        return path if path.startswith("/") else f"{self.api}/{path}".rstrip("/")

    async def call(
        self, who: Player, method: str, path: str = "", json: Any = None, **headers: str
    ) -> httpx2.Response:
        """A request by `who`; headers are named with `_` for the hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(
            method, self.address(path), json=json, headers={**who.bearer, **named}
        )

    async def secret(self, role: str = "reporter", **fields: Any) -> str:
        made = await self.call(self.owner, "POST", "invitations", {"role": role, **fields})
        assert made.status_code == 201, made.text
        return str(made.json()["secret"])

    async def joined(self, secret: str, name: str = "Ana", **headers: str) -> Player:
        answer = await self.call(
            NOBODY, "POST", "/api/join", {"secret": secret, "name": name}, **headers
        )
        assert answer.status_code == 200, answer.text
        return signed_in(answer)

    async def player(self, role: str, name: str = "Ana") -> Player:
        """Somebody new with a role in this blog; `anonymous`, `owner` and `stranger` exist too.

        A stranger is an editor, but of another blog.
        """
        match role:
            case "anonymous":
                return NOBODY
            case "owner":
                return self.owner
            case "stranger":
                return await (await self.another()).player("editor")
            case _:
                return await self.joined(await self.secret(role), name)

    async def publish(
        self, who: Player | None = None, body: str = "Doors open", **fields: Any
    ) -> Any:
        made = await self.call(who or self.owner, "POST", "posts", {"body": body, **fields})
        assert made.status_code == 201, made.text
        return made.json()

    async def seen(self) -> dict[str, Any]:
        """All that a change would have changed: the log's head, the blogs, the team."""
        blogs = await self.http.get("/api/blogs")
        people = await self.call(self.owner, "GET", "people")
        posts = await self.http.get(f"{self.api}/posts?limit=100")
        return {**blogs.json(), **people.json(), **posts.json()}


def signed_in(answer: httpx2.Response) -> Player:
    """Who an answer of `/api/join` is for, with the session that its cookie carries."""
    cookie = answer.headers["set-cookie"]
    person = answer.json()["person"]
    return Player(person["name"], person["id"], cookie.partition(";")[0].partition("=")[2])


def assert_problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The answer is a problem document with this status (RFC 9457), made for a person to read."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:300]}"
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"]
    assert problem["title"]
    assert isinstance(problem["detail"], str)
    assert problem["detail"]
    assert "Traceback" not in answer.text
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    if status == 422:
        assert all(set(each) == {"field", "message"} for each in problem.get("errors", []))
    return problem


def assert_invalid(answer: httpx2.Response, field: str) -> None:
    """The answer names this field as the wrong one."""
    problem = assert_problem(answer, 422)
    assert [each["field"] for each in problem["errors"]] == [field], problem
