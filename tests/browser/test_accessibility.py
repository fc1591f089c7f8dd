"""axe on every page in the states that a day brings, and pages that complain of nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.browser.pages import Opened, call, connected, key_moment, scrolled, signed_in
from tests.support import Server, TcpProxy

LONG = "It has some length to it. " * 12
LOOKS = [
    pytest.param(scheme, width, id=f"{scheme}-{width}")
    for scheme in ("light", "dark")
    for width in (390, 1280)
]


def looking(scheme: str, width: int) -> dict[str, Any]:
    """How a context looks; axe's own script is none that the pages' policy lets in."""
    return {
        "viewport": {"width": width, "height": 844},
        "color_scheme": scheme,
        "bypass_csp": True,
        "reduced_motion": "reduce",
    }


async def sound(page: Page, state: str) -> None:
    found = await Axe().run(page)
    assert not found.response["violations"], f"{state}: {found.generate_report()}"


@pytest.mark.parametrize("scheme, width", LOOKS)
async def test_the_feed_is_sound_while_posts_wait_and_while_it_is_parted(
    server: Server, opened: Opened, scheme: str, width: int
) -> None:
    for number in range(12):
        await server.post(f"Post {number}. {LONG}")
    async with TcpProxy(server.port) as wire:
        page = await opened(f"{wire.url}/live", **looking(scheme, width))
        await connected(page)
        await page.mouse.move(100, 400)
        await page.mouse.wheel(0, 1500)
        await scrolled(page, "scrollY > 1000")
        await server.post("New one.")
        await expect(page.get_by_role("button", name="1 new post", exact=True)).to_be_visible()
        await sound(page, "a post waits")

        screen = await opened(f"{wire.url}/live/screen", **looking(scheme, width))
        await connected(screen)
        await wire.down()
        await expect(page.get_by_role("button", name="Try now")).to_be_visible()
        await expect(screen.locator("[data-part=word]")).to_have_text("Reconnecting")
        await sound(page, "parted")
        await sound(screen, "the screen, parted")


@pytest.mark.parametrize("scheme, width", LOOKS)
async def test_every_state_of_the_event_is_sound(
    server: Server, opened: Opened, scheme: str, width: int
) -> None:
    await server.post("One post.")
    for state in ("upcoming", "paused", "ended"):
        change = {"state": state, "starts_at": "2031-11-26T09:00:00Z"}
        await call(server, "PATCH", "/api/blogs/live", json=change)
        for path in ("/", "/live", "/live/screen"):
            page = await opened(server.url + path, **looking(scheme, width))
            await page.wait_for_load_state()
            await sound(page, f"{path}, {state}")
            await page.close()


@pytest.mark.parametrize("scheme, width", LOOKS)
async def test_a_form_that_was_refused_is_sound(
    server: Server, opened: Opened, scheme: str, width: int
) -> None:
    page = await opened(f"{server.url}/join", **looking(scheme, width))
    await page.get_by_label("Your link or code").fill("live.no.such")
    await page.get_by_label("Your name").fill("Ana")
    await page.evaluate("document.querySelector('#join').submit()")
    await expect(page.locator(".field__wrong").first).to_be_visible()
    await sound(page, "/join, refused")

    owner = await owner_session(server)
    index = await opened(f"{server.url}/", cookie=owner, **looking(scheme, width))
    await expect(index.get_by_label("Title")).to_be_visible()
    await sound(index, "/, the owner's")
    await index.get_by_label("Title").fill("Again")
    await index.get_by_label("Address").fill("live")
    await index.get_by_role("button", name="Make it").click()
    await expect(index.locator(".field__wrong").first).to_be_visible()
    await sound(index, "/, refused")


@pytest.mark.parametrize("scheme, width", LOOKS)
async def test_every_state_of_joining_and_of_changing_a_post_is_sound(
    server: Server, opened: Opened, scheme: str, width: int
) -> None:
    ana, look = await signed_in(server), looking(scheme, width)
    page = await opened(f"{server.url}/join", cookie="dead", **look)
    await expect(page.get_by_text("You are signed out")).to_be_visible()
    await sound(page, "/join, why")
    page = await opened(f"{server.url}/join", cookie=ana, **look)
    await sound(page, "/join, signed in")

    plain = await opened(f"{server.url}/live/write", cookie=ana, java_script_enabled=False, **look)
    await plain.fill("textarea", "Typed.")
    await plain.get_by_role("button", name="Sign out").click()
    await expect(plain.get_by_text("This stood in the composer")).to_be_visible()

    ana = await signed_in(server)
    page = await opened(f"{server.url}/live/write", cookie=ana, **look)
    await page.fill("textarea", "A post.")
    await page.get_by_role("button", name="Post", exact=True).click()
    await page.locator("#posts").get_by_role("button", name="Edit").click()
    await page.locator(".composer").get_by_text("Remove", exact=True).click()
    await page.fill("textarea", "A post, changed.")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("button", name="1 unsent stays here")).to_be_visible()
    await sound(page, "/live/write, changing and leaving")


async def owner_session(server: Server) -> str:
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
        owner = {"secret": server.owner_token, "name": "Ana"}
        joined = await client.post("/api/join", json=owner)
        joined.raise_for_status()
        return str(joined.cookies["liveblog_session"])


@dataclass
class Watched:
    """A page and everything that its browser held against it, under the pages' own policy."""

    page: Page
    complaints: list[str]


@pytest.fixture
async def watched(chromium: Browser) -> AsyncIterator[Watched]:
    context = await chromium.new_context()
    page = await context.new_page()
    watched = Watched(page, [])
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on(
        "console",
        lambda said: (
            watched.complaints.append(said.text) if said.type in {"error", "warning"} else None
        ),
    )
    page.on("requestfailed", lambda request: watched.complaints.append(f"{request.url} failed"))
    yield watched
    await context.close()


async def test_no_page_complains_of_anything(server: Server, watched: Watched) -> None:
    page = watched.page
    one = (await server.post("Some **words**", headline="A head", kind="announcement")).json()
    session = {"name": "liveblog_session", "value": await signed_in(server), "url": server.url}
    for path in ("/", "/live", f"/live/posts/{one['id']}", "/live/screen", "/join"):
        await page.goto(server.url + path)
        await page.wait_for_load_state("networkidle")
        assert not watched.complaints, path
    await page.context.add_cookies([session])  # type: ignore[list-item]
    for path in ("/", "/live", "/live/write"):
        await page.goto(server.url + path)
        await page.wait_for_load_state("networkidle")
        assert not watched.complaints, path


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
async def test_no_page_is_wider_than_its_window(server: Server, opened: Opened, width: int) -> None:
    word = "Donaudampfschifffahrtsgesellschaft" * 4
    about = {"title": word[:120], "venue": word[:120], "summary": word}
    await call(server, "PATCH", "/api/blogs/live", json=about)
    session = await signed_in(server, word[:80])
    fields = {"headline": word, "tags": ["a" * 50], "session": word[:100], "key": True}
    post = {"body": f"{word}\n\n`{word}`", **fields}
    hers = {"Authorization": f"Bearer {session}"}
    one = (await call(server, "POST", "/api/blogs/live/posts", json=post, headers=hers)).json()
    paths = ["/", "/live", f"/live/posts/{one['id']}", "/live/screen", "/live/write"]
    paths += ["/join", "/nothing"]
    for path in paths:
        page = await opened(
            server.url + path,
            cookie=session,
            viewport={"width": width, "height": 800},
        )
        await page.wait_for_load_state()
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, path
        # A word may be broken, a time may not.
        lines = await page.locator("time:visible").evaluate_all(
            """(times) => times.map((time) => {
              const words = document.createRange();
              words.selectNodeContents(time);
              return new Set([...words.getClientRects()].map(({ y }) => y)).size;
            })"""
        )
        assert set(lines) <= {0, 1}, path
        await page.close()


async def test_a_tag_is_not_torn_apart_at_the_end_of_a_line(server: Server, opened: Opened) -> None:
    await server.post("Tagged.", tags=[f"tag{number}" for number in range(10)])
    page = await opened(f"{server.url}/live", viewport={"width": 320, "height": 640})

    lines = await page.locator(".post__note span").evaluate_all(
        "(tags) => tags.map((tag) => new Set([...tag.getClientRects()].map(({ y }) => y)).size)"
    )

    assert lines == [1] * 10


@pytest.mark.parametrize("path", ["/join", "/nothing"])
async def test_a_page_with_little_on_it_doesnt_scroll(
    server: Server, opened: Opened, path: str
) -> None:
    page = await opened(server.url + path, viewport={"width": 1280, "height": 900})

    assert await page.evaluate("document.documentElement.scrollHeight") == 900


async def test_the_dock_holds_where_letters_are_twice_as_large(
    server: Server, opened: Opened
) -> None:
    await key_moment(server, "One.")
    page = await opened(f"{server.url}/live")
    await connected(page)
    await page.evaluate("document.documentElement.style.fontSize = '200%'")

    dock = page.get_by_role("navigation", name="This feed")

    # What is empty takes no room from the two ways beside it.
    room = "(middle) => middle.getBoundingClientRect().width"
    assert await dock.locator(".dock__middle").evaluate(room) == 0
    assert await dock.evaluate("(dock) => dock.scrollWidth") <= 390
