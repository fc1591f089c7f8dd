"""What the tests of whole pages share: signing in, what a page shows, waiting on a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
from playwright.async_api import Page, expect

from tests.support import Server, eventually

PHONE = {"width": 390, "height": 844}
Opened = Callable[..., Any]

# What a browser says by itself when a connection breaks, which is what these tests do to it.
BROKEN = re.compile(r"WebSocket connection to|Failed to load resource|net::ERR_|EventSource")


async def signed_in(server: Server, name: str = "Ana") -> str:
    """The session of a reporter who joined by an invitation."""
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
        invited = await client.post(
            "/api/blogs/live/invitations", json={}, headers=server.headers()
        )
        secret = invited.json()["secret"]
        joined = await client.post("/api/join", json={"secret": secret, "name": name})
        return str(joined.cookies["liveblog_session"])


def texts(page: Page) -> Any:
    return page.locator("#posts article .post__body")


async def shown(page: Page) -> list[str]:
    return [text.strip() for text in await texts(page).all_inner_texts()]


async def connected(page: Page, word: str = "Live") -> None:
    await expect(page.locator("[data-part=word]")).to_have_text(word)
    await page.wait_for_load_state("networkidle")


async def scrolled(page: Page, condition: str) -> None:
    # The page's policy forbids what `wait_for_function` would do.
    async def holds() -> bool:
        return bool(await page.evaluate(condition))

    await eventually(holds, 10, what=condition)


async def call(server: Server, method: str, path: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
        headers = {**server.headers(), **options.pop("headers", {})}
        answer = await client.request(method, path, headers=headers, **options)
        answer.raise_for_status()
        return answer


async def key_moment(server: Server, body: str, **fields: object) -> dict[str, Any]:
    """A key moment by the owner, as the API tells it."""
    post = {"body": body, "key": True, **fields}
    made: dict[str, Any] = (await call(server, "POST", "/api/blogs/live/posts", json=post)).json()
    return made
