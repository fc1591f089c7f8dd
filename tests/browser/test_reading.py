"""What a reader may rely on: their place, the posts they missed, the keyboard, a bounded page."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from liveblog.store import holder
from tests.browser.pages import Opened, call, connected, key_moment, scrolled, shown, texts
from tests.support import Server, TcpProxy

DESKTOP = {"width": 1280, "height": 900}
HALL = {"width": 1920, "height": 1080}
LONG = "It has some length to it. " * 12
BACK = 40_000


async def busy(server: Server, count: int = 12) -> None:
    for number in range(count):
        await server.post(f"Post {number}. {LONG}")


async def read_on(page: Page) -> None:
    """Scroll down by the wheel, as far as nothing of the page's top is in sight."""
    await page.mouse.move(100, 400)
    await page.mouse.wheel(0, 1500)
    await scrolled(page, "scrollY > 1000")


# The post at the top of the screen, and where it stands.
PLACE = """() => {
  const read = [...document.querySelectorAll("#posts article")]
    .find((article) => article.getBoundingClientRect().bottom > 100);
  return [read.dataset.id, Math.round(read.getBoundingClientRect().top)];
}"""


async def place(page: Page) -> Any:
    return await page.evaluate(PLACE)


@pytest.mark.parametrize("viewport", [{"width": 390, "height": 844}, DESKTOP])
async def test_the_place_is_kept_whatever_changes_above_it(
    server: Server, opened: Opened, viewport: dict[str, int]
) -> None:
    await busy(server)
    page = await opened(f"{server.url}/live", viewport=viewport)
    await connected(page)
    newest = (await server.get("/api/blogs/live/posts")).json()["posts"][0]
    path = f"/api/blogs/live/posts/{newest['id']}"
    await expect(texts(page)).to_have_count(12)
    await read_on(page)
    before = await place(page)
    assert before[0] != newest["id"]

    changed = {"body": LONG * 4, "key": True}
    await call(server, "PATCH", path, json=changed, headers={"If-Match": '"1"'})
    await expect(texts(page).first).to_have_text((LONG * 4).strip())
    assert (await place(page))[0] == before[0]
    assert abs((await place(page))[1] - before[1]) <= 2

    await call(server, "DELETE", path)
    await expect(texts(page)).to_have_count(11)
    assert (await place(page))[0] == before[0]
    assert abs((await place(page))[1] - before[1]) <= 2

    await server.post("New one.")
    pill = page.get_by_role("button", name="1 new post", exact=True)
    await expect(pill).to_be_visible()
    assert (await place(page))[0] == before[0]
    assert abs((await place(page))[1] - before[1]) <= 2


@pytest.mark.parametrize("more", [1, 5])
async def test_the_pill_leads_to_the_newest_post_also_while_more_arrive(
    server: Server, opened: Opened, more: int
) -> None:
    await busy(server)
    page = await opened(f"{server.url}/live")
    await connected(page)
    await read_on(page)
    await server.post(f"One. {LONG}")
    pill = page.get_by_role("button", name=re.compile("new posts?"))
    await expect(pill).to_be_visible()

    async with asyncio.TaskGroup() as together:
        together.create_task(pill.click())
        for number in range(more):
            together.create_task(server.post(f"Meanwhile {number}. {LONG}"))

    await expect(texts(page)).to_have_count(13 + more)
    await expect(pill).to_be_hidden()
    assert await page.evaluate("scrollY") == 0


@pytest.mark.parametrize("left", [1, 7])
async def test_whoever_scrolls_up_nearly_to_the_top_has_the_new_posts_in_sight(
    server: Server, opened: Opened, left: int
) -> None:
    await busy(server)
    page = await opened(f"{server.url}/live", viewport=DESKTOP)
    await connected(page)
    await read_on(page)
    for number in range(4):
        await server.post(f"New {number}. {LONG}")
    pill = page.get_by_role("button", name="4 new posts")
    await expect(pill).to_be_visible()

    await page.mouse.wheel(0, left - await page.evaluate("scrollY"))

    await expect(texts(page)).to_have_count(16)
    await scrolled(page, "scrollY === 0")
    await expect(pill).to_be_hidden()


async def test_the_pill_counts_no_post_that_was_taken_back(server: Server, opened: Opened) -> None:
    await busy(server)
    page = await opened(f"{server.url}/live")
    await connected(page)
    await read_on(page)
    first = (await server.post("Too early.")).json()
    await server.post("In time.")
    await expect(page.get_by_role("button", name="2 new posts")).to_be_visible()

    await call(server, "DELETE", f"/api/blogs/live/posts/{first['id']}")

    pill = page.get_by_role("button", name="1 new post", exact=True)
    await expect(pill).to_be_visible()
    await pill.click()
    await expect(texts(page).first).to_have_text("In time.")
    await expect(page.get_by_text("Too early.")).to_have_count(0)


async def test_the_pill_and_older_posts_work_by_the_keyboard_alone(
    server: Server, opened: Opened
) -> None:
    await busy(server, 35)
    page = await opened(f"{server.url}/live", viewport=DESKTOP, reduced_motion="reduce")
    await connected(page)
    await expect(texts(page)).to_have_count(30)

    visited = await tabbed_to(page, "Older posts")
    assert visited.count("post__time") == 30
    await page.keyboard.press("Enter")
    await expect(texts(page)).to_have_count(35)
    assert [text.split(".")[0] for text in await shown(page)] == [
        f"Post {number}" for number in reversed(range(35))
    ]

    await server.post("By the keyboard.")
    await expect(page.get_by_role("button", name="1 new post", exact=True)).to_be_visible()
    await tabbed_to(page, "1 new post")
    await page.keyboard.press("Enter")
    await expect(texts(page).first).to_have_text("By the keyboard.")
    await scrolled(page, "scrollY < 20")


async def tabbed_to(page: Page, name: str, most: int = 120) -> list[str]:
    """Press Tab until the element with these words has the focus; what was passed, by class."""
    passed: list[str] = []
    for _ in range(most):
        await page.keyboard.press("Tab")
        words, kind = await page.evaluate(
            "[document.activeElement.textContent.trim(), document.activeElement.className]"
        )
        if words == name:
            return passed
        passed.append(kind)
    raise AssertionError(f"no Tab leads to {name!r}: {passed}")


async def test_a_key_moment_is_listed_and_leads_to_its_post(server: Server, opened: Opened) -> None:
    one = (await server.post(f"The vote. {LONG}", headline="The vote is in")).json()
    await busy(server)
    page = await opened(f"{server.url}/live", viewport=DESKTOP, reduced_motion="reduce")
    await connected(page)
    await expect(page.locator("#moments")).to_be_hidden()

    path = f"/api/blogs/live/posts/{one['id']}"
    await call(server, "PATCH", path, json={"key": True}, headers={"If-Match": '"1"'})
    await page.locator("#moments").get_by_role("link", name="The vote is in").click()

    article = page.locator(f'article[data-id="{one["id"]}"]')
    await expect(article).to_be_in_viewport()
    await expect(article.get_by_role("link").first).to_be_focused()
    assert page.url == f"{server.url}/live"


async def test_the_key_moments_are_reached_from_the_phones_dock(
    server: Server, opened: Opened
) -> None:
    for number in range(4):
        await key_moment(server, f"The vote. {LONG}", headline=f"Vote {number}")
    await busy(server)
    page = await opened(f"{server.url}/live")
    await connected(page)
    await read_on(page)

    await page.get_by_role("link", name="Key moments").click()

    await scrolled(
        page,
        """(() => {
          const top = document.querySelector("#moments").getBoundingClientRect().top;
          const head = document.querySelector(".feed__head").getBoundingClientRect().bottom;
          return top >= head && top < 200;
        })()""",
    )


async def test_no_way_in_the_dock_moves_under_a_thumb(server: Server, opened: Opened) -> None:
    page = await opened(f"{server.url}/live")
    await connected(page)
    way = page.get_by_role("navigation", name="This feed").get_by_role("link", name="Add yours")
    before = await way.bounding_box()
    assert before is not None

    server.kill()
    await expect(page.get_by_role("button", name="Try now")).to_be_visible(timeout=BACK)

    after = await way.bounding_box()
    assert after is not None
    assert after["x"] == pytest.approx(before["x"], abs=8)
    assert after["width"] == pytest.approx(before["width"], abs=8)


async def test_try_now_has_a_ground_of_its_own(server: Server, opened: Opened) -> None:
    page = await opened(f"{server.url}/live", viewport=DESKTOP)
    await connected(page)
    server.kill()
    retry = page.get_by_role("button", name="Try now")
    await expect(retry).to_be_visible(timeout=BACK)

    grounds = await retry.evaluate(
        "(button) => [button, document.documentElement]"
        ".map((element) => getComputedStyle(element).backgroundColor)"
    )

    assert grounds[0] == grounds[1]


# A device that is a quarter of an hour ahead.
AHEAD = "const real = Date.now; Date.now = () => real() + 15 * 60_000;"


async def test_a_device_whose_clock_is_wrong_says_no_wrong_times(
    server: Server, opened: Opened
) -> None:
    await server.post("Just now.")
    for path in ("/live", "/live/screen"):
        page = await opened("about:blank")
        await page.add_init_script(AHEAD)
        await page.goto(server.url + path)
        await connected(page)
        at = datetime.now(UTC)
        clock = await page.locator("[data-part=clock]").inner_text()
        assert clock in {f"{at:%H:%M}", f"{at - timedelta(minutes=1):%H:%M}"}
        await expect(page.locator(".post__ago")).to_have_text("now")
        await expect(page.locator("[data-part=detail]")).to_have_text("1 reading")
        await page.close()


async def test_a_page_out_of_the_browsers_cache_asks_for_the_time(
    server: Server, opened: Opened
) -> None:
    await server.post("Just now.")
    page = await opened("about:blank")
    await page.add_init_script(AHEAD)
    await page.goto(f"{server.url}/live")
    await page.goto(f"{server.url}/")
    async with page.expect_request(lambda request: request.method == "HEAD"):
        await page.go_back()
    await connected(page)

    await server.post("Another.")

    await expect(page.locator(".post__ago").first).to_have_text("now")


async def test_a_connection_that_died_in_silence_is_replaced_and_nothing_is_lost(
    server: Server, opened: Opened
) -> None:
    await server.post("Before.")
    async with TcpProxy(server.port) as wire:
        page = await opened(f"{wire.url}/live")
        await connected(page)
        # What is open carries nothing any more and doesn't say so; only new connections do.
        wire.bury()
        for number in range(3):
            await server.post(f"Missed {number}.")
        # Waiting the silence out is tests/js/stream.test.js; here the device says it is back.
        await page.evaluate("dispatchEvent(new Event('online'))")

        await expect(texts(page)).to_have_text(
            ["Missed 2.", "Missed 1.", "Missed 0.", "Before."], timeout=BACK
        )
        await expect(page.locator("[data-part=word]")).to_have_text("Live")


async def test_a_device_without_network_says_so_and_catches_up(
    server: Server, opened: Opened
) -> None:
    await server.post("Before.")
    async with TcpProxy(server.port) as wire:
        page = await opened(f"{wire.url}/live")
        await connected(page)
        await page.context.set_offline(True)
        await wire.down()
        await expect(page.locator("[data-part=word]")).to_have_text("Offline")
        await expect(page.get_by_text("This device has no network.")).to_be_visible()
        await server.post("Missed.")
        await wire.up()

        await page.context.set_offline(False)

        await expect(texts(page)).to_have_text(["Missed.", "Before."], timeout=BACK)
        await expect(page.locator("[data-part=word]")).to_have_text("Live")
        await expect(page.get_by_text("This device has no network.")).to_be_hidden()


async def test_a_flapping_network_brings_every_post_once_and_in_order(
    server: Server, opened: Opened
) -> None:
    async with TcpProxy(server.port) as wire:
        pages = [await opened(f"{wire.url}/live"), await opened(f"{wire.url}/live/screen")]
        await connected(pages[0])
        for number in range(6):
            await server.post(f"{number}")
            wire.cut()
        await server.post("6")

        for page in pages:
            await expect(texts(page)).to_have_text([*"6543210"], timeout=BACK)


async def test_a_server_that_was_killed_is_come_back_to(server: Server, opened: Opened) -> None:
    await server.post("Before.")
    page = await opened(f"{server.url}/live", viewport=DESKTOP)
    screen = await opened(f"{server.url}/live/screen", viewport=HALL)
    await connected(page)
    await connected(screen)

    server.kill()
    for one in (page, screen):
        await expect(one.locator("[data-part=word]")).to_have_text("Reconnecting")
    await expect(screen.locator("[data-part=detail]")).to_contain_text("as of ")
    assert await shown(screen) == ["Before."]
    await server.start()
    await server.post("After.")

    for one in (page, screen):
        await expect(texts(one)).to_have_text(["After.", "Before."], timeout=BACK)
        await expect(one.locator("[data-part=word]")).to_have_text("Live")


async def test_a_network_that_refuses_sockets_gets_an_event_stream(
    server: Server, opened: Opened
) -> None:
    page = await opened("about:blank")
    refused: list[str] = []
    asked: list[str] = []

    async def refuse(route: WebSocketRoute) -> None:
        refused.append(route.url)
        await route.close(code=1011)

    await page.route_web_socket("**/live?*", refuse)
    page.on(
        "request",
        lambda request: (
            asked.append(request.url) if request.resource_type == "eventsource" else None
        ),
    )
    await page.goto(f"{server.url}/live")

    async with page.expect_response(lambda answer: "/live/live?" in answer.url, timeout=BACK):
        pass
    await server.post("It found a way.")
    await expect(texts(page)).to_have_text(["It found a way."], timeout=BACK)
    await expect(page.locator("[data-part=word]")).to_have_text("Live")
    assert refused
    assert asked


@pytest.mark.parametrize("path", ["/live", "/live/screen"])
async def test_a_page_is_live_only_once_something_has_come_through(
    server: Server, opened: Opened, path: str
) -> None:
    await server.post("Before.")
    page = await opened("about:blank")
    # Taken in and never answered, as a captive portal does.
    await page.route_web_socket("**/live?*", lambda route: None)
    await page.goto(server.url + path)
    word = page.locator("[data-part=word]")

    await expect(word).to_have_text("On now")
    await expect(page.locator("[data-part=detail]")).to_contain_text("as of ")
    await expect(word).to_have_text("Connecting", timeout=4000)
    await expect(word).to_have_text("Live", timeout=9000)
    await server.post("It found a way.")
    await expect(texts(page)).to_have_text(["It found a way.", "Before."])


@pytest.mark.parametrize("path", ["/live", "/live/screen"])
async def test_a_page_whose_scripts_dont_load_doesnt_claim_to_be_live(
    server: Server, opened: Opened, path: str
) -> None:
    page = await opened("about:blank")
    await page.route("**/backoff.js", lambda route: route.abort())

    await page.goto(server.url + path)
    await page.wait_for_load_state("networkidle")

    assert await page.locator("[data-part=word]").inner_text() == "On now"
    assert "as of " in await page.locator("[data-part=detail]").inner_text()


async def test_a_page_of_older_posts_follows_edits_and_removals_and_offers_what_is_new(
    server: Server, opened: Opened
) -> None:
    posts = [(await server.post(f"Post {number}.")).json() for number in range(3)]
    page = await opened(f"{server.url}/live?before=4")
    await connected(page)
    # The first entry is the blog's own.
    await expect(texts(page)).to_have_text(["Post 2.", "Post 1.", "Post 0."])

    path = f"/api/blogs/live/posts/{posts[1]['id']}"
    await call(server, "PATCH", path, json={"body": "Mended."}, headers={"If-Match": '"1"'})
    await call(server, "DELETE", f"/api/blogs/live/posts/{posts[2]['id']}")
    await server.post("New.")

    await expect(texts(page)).to_have_text(["Mended.", "Post 0."])
    await page.get_by_role("button", name="1 new post", exact=True).click()
    await page.wait_for_url(f"{server.url}/live")
    await expect(texts(page)).to_have_text(["New.", "Mended.", "Post 0."])


async def test_an_open_permalink_follows_its_post_and_loses_it_when_it_is_taken_back(
    server: Server, opened: Opened
) -> None:
    one = (await server.post("As it was.")).json()
    path = f"/api/blogs/live/posts/{one['id']}"
    page = await opened(f"{server.url}/live/posts/{one['id']}")
    await expect(texts(page)).to_have_text(["As it was."])

    await server.post("Another.")
    await call(server, "PATCH", path, json={"body": "Mended."}, headers={"If-Match": '"1"'})
    await expect(texts(page)).to_have_text(["Mended."])
    await call(server, "DELETE", path)

    await expect(texts(page)).to_have_count(0)
    await expect(page.get_by_text("This post was taken back.")).to_be_visible()
    assert "Mended" not in await page.title()


async def test_a_tab_that_is_open_for_days_keeps_a_bounded_number_of_posts(
    server: Server, opened: Opened
) -> None:
    page = await opened(f"{server.url}/live", viewport=DESKTOP)
    await connected(page)
    for number in range(310):
        await server.post(f"{number}")
    await expect(texts(page).first).to_have_text("309")

    await expect(texts(page)).to_have_count(300)
    older = page.get_by_role("link", name="Older posts")
    await older.click()

    await expect(texts(page)).to_have_count(310)
    assert await shown(page) == [str(number) for number in reversed(range(310))]
    await expect(older).to_be_hidden()


async def test_pages_opened_while_the_store_is_away_come_by_themselves(
    server: Server, opened: Opened
) -> None:
    await server.post("Kept.")
    noted = holder.read(server.data / "store")
    assert noted is not None
    assert noted.valkey is not None
    os.kill(noted.valkey.pid, signal.SIGSTOP)
    try:
        screen = await opened(f"{server.url}/live/screen", viewport=HALL)
        feed = await opened(f"{server.url}/live")
        await expect(screen.locator("h1")).to_have_text("Reconnecting")
        await expect(feed.locator("h1")).to_have_text("Just a moment")
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        assert await screen.evaluate(ground) != await feed.evaluate(ground)
        # A form's answer doesn't load itself again: what was typed would be lost.
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
            sent = {"Accept": "text/html", "Origin": server.url}
            form = {"secret": "live.x.y", "name": "Ana"}
            answer = await client.post("/join", data=form, headers=sent, timeout=20)
        assert (answer.status_code, "refresh" in answer.text) == (503, False)
    finally:
        os.kill(noted.valkey.pid, signal.SIGCONT)

    for page in (screen, feed):
        await expect(texts(page)).to_have_text(["Kept."], timeout=BACK)


async def test_the_screen_shows_the_newest_largest_from_the_empty_hall_on(
    server: Server, opened: Opened
) -> None:
    screen = await opened(f"{server.url}/live/screen", viewport=HALL)
    await connected(screen)
    await expect(screen.get_by_text("Welcome. What did you bring?")).to_be_visible()
    for text in ("The first.", "The second."):
        await server.post(text)
        lead = screen.locator("article.is-lead")
        await expect(lead.locator(".post__body")).to_have_text(text)
        await expect(lead).to_have_count(1)
    await expect(screen.get_by_text("Welcome. What did you bring?")).to_be_hidden()
    sizes = await texts(screen).evaluate_all(
        "(bodies) => bodies.map((body) => parseFloat(getComputedStyle(body).fontSize))"
    )
    assert sizes[0] > sizes[1]


async def test_the_screen_cuts_no_line_of_a_post_that_is_longer_than_itself(
    server: Server, opened: Opened
) -> None:
    screen = await opened(f"{server.url}/live/screen", viewport=HALL)
    await connected(screen)
    await server.post("word " * 4000)
    await expect(texts(screen)).to_have_count(1)

    # At once, while the post is still on its way in.
    below, still = await screen.evaluate(
        """() => {
          const main = document.querySelector("#main");
          const lead = document.querySelector(".is-lead");
          const bottom = () => lead.offsetTop + lead.offsetHeight - main.clientHeight;
          const now = bottom();
          dispatchEvent(new Event("resize"));
          return [now, bottom()];
        }"""
    )

    assert below == still
    assert below <= 0


async def test_the_keyboard_is_never_left_at_the_pages_head(server: Server, opened: Opened) -> None:
    await busy(server, 32)
    page = await opened(f"{server.url}/live", viewport=DESKTOP)
    await connected(page)
    focused = "document.activeElement.closest('article')?.querySelector('.post__body').innerText"

    # The last older posts: the link is gone, the first of them has the focus.
    await page.get_by_role("link", name="Older posts").press("Enter")
    await expect(texts(page)).to_have_count(32)
    assert (await page.evaluate(focused)).startswith("Post 1.")

    # The post that is read goes: its neighbour takes over.
    newest = (await server.get("/api/blogs/live/posts?limit=1")).json()["posts"][0]
    article = page.locator(f'article[data-id="{newest["id"]}"]')
    await article.focus()
    await call(server, "DELETE", f"/api/blogs/live/posts/{newest['id']}")
    await expect(article).to_have_count(0)
    assert (await page.evaluate(focused)).startswith("Post 30.")

    # The pill: what it brought in is read next.
    await read_on(page)
    await server.post("New.")
    await page.get_by_role("button", name="1 new post", exact=True).press("Enter")
    assert await page.evaluate(focused) == "New."


async def test_a_screen_reader_hears_that_the_connection_went_and_came_back(
    server: Server, opened: Opened
) -> None:
    async with TcpProxy(server.port) as wire:
        page = await opened(f"{wire.url}/live")
        await connected(page)
        said = page.locator("[data-part=said]")
        await wire.down()
        await expect(said).to_have_text("Connection lost.", timeout=BACK)
        await server.post("Missed.")
        await wire.up()

        await expect(said).to_have_text("Connected again. 1 new post", timeout=BACK)


@pytest.mark.parametrize("scripting", [True, False])
async def test_a_key_moment_that_isnt_loaded_is_shown_among_its_neighbours(
    server: Server, opened: Opened, scripting: bool
) -> None:
    await server.post("Before it.")
    one = await key_moment(server, "The vote.")
    await busy(server, 31)
    page = await opened(f"{server.url}/live", java_script_enabled=scripting)
    await expect(texts(page)).to_have_count(30)

    await page.locator("#moments").get_by_role("link", name="The vote.").click()

    await page.wait_for_url(f"{server.url}/live?before=*#p-{one['id']}")
    await expect(texts(page)).to_have_text(["The vote.", "Before it."])


async def test_nothing_older_is_offered_once_the_oldest_post_was_taken_back(
    server: Server, opened: Opened
) -> None:
    oldest = (await server.post("The oldest.")).json()
    await server.post("Another.")
    page = await opened(f"{server.url}/live")
    await connected(page)

    await call(server, "DELETE", f"/api/blogs/live/posts/{oldest['id']}")

    await expect(texts(page)).to_have_text(["Another."])
    await expect(page.get_by_role("link", name="Older posts")).to_be_hidden()


async def test_words_stand_in_the_direction_of_their_script(server: Server, opened: Opened) -> None:
    await key_moment(server, "Left to right.\n\nשלום עולם\n\n- שלום", headline="שלום לכולם")
    page = await opened(f"{server.url}/live")
    for words, side in (("h3", "rtl"), (".post__body", "ltr"), ("#moments li span", "rtl")):
        computed = "(element) => getComputedStyle(element).direction"
        assert await page.locator(words).first.evaluate(computed) == side, words
    # Within one post each paragraph begins on its own side.
    begins = await page.locator(".post__body > p").evaluate_all(
        """(paragraphs) => paragraphs.map((paragraph) => {
          const words = document.createRange();
          words.selectNodeContents(paragraph);
          const [one, all] = [words.getBoundingClientRect(), paragraph.getBoundingClientRect()];
          return Math.abs(one.left - all.left) < 2 ? "left" : "right";
        })"""
    )
    assert begins == ["left", "right"]


async def test_what_has_begun_to_be_told_before_the_event_needs_no_promise(
    server: Server, opened: Opened
) -> None:
    await call(server, "PATCH", "/api/blogs/live", json={"state": "upcoming"})
    page = await opened(f"{server.url}/live")
    await connected(page, "Not begun")
    promise = page.get_by_text("The first post will appear here by itself.")
    await expect(promise).to_be_visible()

    await server.post("Doors open soon.")

    await expect(texts(page)).to_have_text(["Doors open soon."])
    await expect(promise).to_be_hidden()
    await expect(page.get_by_text("Not begun yet.")).to_be_visible()


@pytest.mark.parametrize("state", ["live", "upcoming", "paused", "ended"])
async def test_how_many_read_is_said_in_every_state(
    server: Server, opened: Opened, state: str
) -> None:
    await call(server, "PATCH", "/api/blogs/live", json={"state": state})
    for number, path in enumerate(("/live", "/live/screen")):
        page = await opened(server.url + path)
        detail = page.locator("[data-part=detail]")
        # Two rounds of counting: another process may say its own right after this one has looked.
        await expect(detail).to_have_text(f"{number + 1} reading", timeout=15_000)
