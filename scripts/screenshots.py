"""Draws every page into docs/screenshots/: a server of its own, a day's posts, a real Chromium."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Run as a file, only its own folder is on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx2
from playwright.async_api import Browser, Page, async_playwright

from tests.support import CHROMIUM_ARGUMENTS, ROOT, Server, chromium_path

FOLDER = ROOT / "docs" / "screenshots"
POSTS: list[dict[str, object]] = [
    {
        "headline": "The gift table is full by a quarter to ten",
        "body": "Somebody brought a *piano lesson*, somebody the piano.",
        "key": True,
    },
    {
        "body": "Lunch is over: 186 plates, cooked by eleven people who met at eight this morning. "
        "The pans are still looking for hands.",
        "session": "Kitchen",
    },
    {
        "headline": "The radio mender’s terms",
        "body": "*What did you bring today?*\n\n**Wen** Two soldering irons and the afternoon.\n\n"
        "*And what do you take home?*\n\n**Wen** Last time, a recipe and a lodger.",
        "kind": "interview",
        "session": "Foyer",
    },
    {
        "body": "An hour of reading aloud is worth an hour of plumbing. That’s the bank.”\n\n"
        "**Ruth**, keeps the books of a time bank",
        "kind": "quote",
        "tags": ["timebanks"],
    },
    {
        "body": "From the floor: who insures a gift? Nobody on the panel wants to go first.",
        "session": "Main hall",
    },
    {
        "headline": "Forty council vans, free at weekends",
        "body": "From January any group on the borough’s register may borrow one. "
        "“They were parked anyway,” says Leila.",
        "key": True,
        "session": "Main hall",
    },
]
ANNOUNCEMENT = {
    "body": "Mend a chair moves to the Reading room at 14:45. Bring the chair, if you have one.",
    "kind": "announcement",
}


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: which page, on what, in which light."""

    name: str
    path: str
    width: int = 390
    height: int = 844
    scheme: Literal["dark", "light"] = "light"
    scale: int = 2
    signed_in: bool = False


PHONE = [
    ("feed", "/gifts", False),
    ("feed-empty", "/empty", False),
    ("feed-before", "/soon", False),
    ("feed-paused", "/paused", False),
    ("feed-ended", "/ended", False),
    ("write", "/gifts/write", True),
    ("join", "/join", False),
    ("index", "/", False),
    ("problem", "/nothing-here", False),
]
SHOTS = [
    *(Shot(f"{name}-phone-light", path, signed_in=inside) for name, path, inside in PHONE),
    *(
        Shot(f"{name}-phone-dark", path, scheme="dark", signed_in=inside)
        for name, path, inside in PHONE[:1] + PHONE[5:7]
    ),
    Shot("write-phone-360", "/gifts/write", 360, 640, signed_in=True),
    *(
        Shot(f"{name}-desktop-{scheme}", path, 1280, 900, scheme, 1, inside)
        for name, path, inside in (
            ("feed", "/gifts", False),
            ("write", "/gifts/write", True),
            ("index", "/", True),
        )
        for scheme in ("light", "dark")
    ),
    Shot("screen-1080p", "/gifts/screen", 1920, 1080, scale=1),
    Shot("screen-720p", "/gifts/screen", 1280, 720, scale=1),
    Shot("screen-portrait", "/gifts/screen", 1080, 1920, scale=1),
    Shot("screen-empty", "/empty/screen", 1920, 1080, scale=1),
]


async def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with Server(Path(folder)) as server, async_playwright() as playwright:
            token, permalink = await _play_the_day(server)
            one = Shot("post-phone-light", permalink)
            wide = Shot("post-desktop-dark", permalink, 1280, 900, "dark", 1)
            browser = await playwright.chromium.launch(
                executable_path=chromium_path(), args=list(CHROMIUM_ARGUMENTS)
            )
            for shot in [*SHOTS, one, wide]:
                page = await _opened(browser, server, shot, token)
                if shot.name.startswith("write-phone"):
                    await _write_some(page)
                await _drawn(page, shot.name)
            await _offline(browser, server, token)
            await browser.close()


async def _play_the_day(server: Server) -> tuple[str, str]:
    """Fill the blogs; the session token of a reporter, and the path of one of her posts."""
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
        headers = server.headers()
        london = {"timezone": "Europe/London", "title": "Public Gifts"}
        about = {
            "summary": "A day on public services and the gift economy",
            "venue": "Mulberry Hall, London",
        }
        soon = {"title": "Common Ground", "venue": "Leeds", "starts_at": "2030-11-27T09:30:00Z"}
        for slug, more in (
            ("gifts", about),
            ("empty", {}),
            ("paused", about),
            ("ended", about),
            ("soon", soon),
        ):
            made = await client.post(
                "/api/blogs", json={"slug": slug, **london, **more}, headers=headers
            )
            made.raise_for_status()
        for slug, state in (("paused", "paused"), ("ended", "ended")):
            await client.patch(f"/api/blogs/{slug}", json={"state": state}, headers=headers)
        names = ["Dee", "Priya", "Tom", "Tom", "Ana", "Ana"]
        people = {name: await _reporter(client, server, name) for name in dict.fromkeys(names)}
        for name, post in zip(names, POSTS, strict=True):
            for slug in ("gifts", "paused", "ended"):
                sent = await client.post(
                    f"/api/blogs/{slug}/posts",
                    json=post,
                    headers={"Authorization": f"Bearer {people[name]}"}
                    if slug == "gifts"
                    else headers,
                )
                sent.raise_for_status()
        await client.post("/api/blogs/gifts/posts", json=ANNOUNCEMENT, headers=headers)
        await client.patch("/api/blogs/live", json={"state": "ended"}, headers=headers)
        newest = (await client.get("/api/blogs/gifts/posts")).json()["posts"]
        permalink = next(post["url"] for post in newest if post["key"])
        return people["Ana"], permalink.removeprefix(server.url)


async def _reporter(client: httpx2.AsyncClient, server: Server, name: str) -> str:
    invited = await client.post("/api/blogs/gifts/invitations", json={}, headers=server.headers())
    joined = await client.post("/api/join", json={"secret": invited.json()["secret"], "name": name})
    client.cookies.clear()
    return joined.cookies["liveblog_session"]


async def _opened(browser: Browser, server: Server, shot: Shot, token: str) -> Page:
    context = await browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme=shot.scheme,
        device_scale_factor=shot.scale,
    )
    if shot.signed_in:
        await context.add_cookies([{"name": "liveblog_session", "value": token, "url": server.url}])
    page = await context.new_page()
    await page.goto(server.url + shot.path)
    await page.wait_for_load_state("networkidle")
    return page


async def _write_some(page: Page) -> None:
    await page.fill("textarea", "Hands up: who has borrowed a van? Two thirds of the hall.")


async def _offline(browser: Browser, server: Server, token: str) -> None:
    """The same pages when the server has gone."""
    feed = await _opened(browser, server, Shot("", "/gifts"), token)
    write = await _opened(browser, server, Shot("", "/gifts/write", signed_in=True), token)
    hall = Shot("", "/gifts/screen", 1920, 1080, scale=1)
    screen = await _opened(browser, server, hall, token)
    server.kill()
    await write.fill("textarea", "Nobody moves. Then somebody laughs.")
    await write.click("[name=submit]")
    await feed.wait_for_selector(".is-parted")
    await screen.wait_for_selector(".is-parted")
    await write.get_by_text("Not sent").first.wait_for()
    await _drawn(feed, "feed-phone-offline")
    await _drawn(write, "write-phone-offline")
    await _drawn(screen, "screen-reconnecting")


async def _drawn(page: Page, name: str) -> None:
    await page.screenshot(path=FOLDER / f"{name}.png")
    await page.context.close()


if __name__ == "__main__":
    asyncio.run(main())
