"""The day as people meet it: a reporter's phone, two readers and the hall's screen, all at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.browser.pages import Opened, call, connected, scrolled, shown, signed_in, texts
from tests.support import Server, TcpProxy, eventually


@pytest.mark.parametrize("server", [(), ("--workers", "2")], indirect=True, ids=["one", "two"])
async def test_a_post_from_the_phone_is_on_both_pages_and_the_screen(
    server: Server, opened: Opened
) -> None:
    reporter = await opened(
        f"{server.url}/live/write",
        cookie=await signed_in(server),
        viewport={"width": 360, "height": 640},
        has_touch=True,
    )
    phone = await opened(f"{server.url}/live")
    desktop = await opened(f"{server.url}/live", viewport={"width": 1280, "height": 900})
    screen = await opened(f"{server.url}/live/screen", viewport={"width": 1920, "height": 1080})
    await expect(phone.get_by_text("Nothing yet. You are early.")).to_be_visible()
    await expect(screen.get_by_text("Welcome. What did you bring?")).to_be_visible()

    for text in ("Doors are open.", "Hands up: who has borrowed a van?"):
        await reporter.fill("textarea", text)
        await reporter.get_by_role("button", name="Post", exact=True).tap()
        for page in (phone, desktop, screen):
            await expect(texts(page).first).to_have_text(text)

    wanted = ["Hands up: who has borrowed a van?", "Doors are open."]
    for page in (phone, desktop, screen):
        assert await shown(page) == wanted
    await expect(phone.locator("#posts article").first).to_contain_text("from Ana")
    await expect(reporter.locator("[data-part=thread] li")).to_have_count(2)
    await expect(reporter.locator("textarea")).to_have_value("")
    await expect(phone.get_by_text("Nothing yet. You are early.")).to_be_hidden()


async def test_the_join_page_takes_the_secret_out_of_the_address_and_asks_for_a_name(
    server: Server, opened: Opened
) -> None:
    invited = (await call(server, "POST", "/api/blogs/live/invitations", json={})).json()
    page = await opened(invited["url"])

    assert "#" not in page.url
    await page.get_by_label("Your name").fill("Dee")
    await page.get_by_role("button", name="Join").click()

    await page.wait_for_url("**/live/write")
    await page.fill("textarea", "Here I am.")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#posts article").first).to_contain_text("from Dee")


async def test_edits_are_marked_and_a_removed_post_vanishes_everywhere(
    server: Server, opened: Opened
) -> None:
    first = (await server.post("One of them stays.")).json()
    second = (await server.post("This one goes.", key="k1")).json()
    feed = await opened(f"{server.url}/live")
    screen = await opened(f"{server.url}/live/screen", viewport={"width": 1920, "height": 1080})
    await connected(feed)

    post = f"/api/blogs/live/posts/{first['id']}"
    changed = {"body": "One of them stays, mended.", "key": True, "headline": "It stays"}
    await call(server, "PATCH", post, json=changed, headers={"If-Match": '"1"'})
    await call(server, "DELETE", f"/api/blogs/live/posts/{second['id']}")

    for page in (feed, screen):
        await expect(texts(page)).to_have_text(["One of them stays, mended."])
    await expect(feed.locator("#posts article")).to_contain_text("Edited")
    await expect(feed.locator("[data-part=moments] li")).to_have_count(1)
    await expect(feed.locator("[data-part=moments] li")).to_contain_text("It stays")

    await call(server, "DELETE", post)
    await expect(feed.locator("#posts article")).to_have_count(0)
    await expect(feed.locator("[data-part=moments] li")).to_have_count(0)
    await expect(screen.get_by_text("Welcome. What did you bring?")).to_be_visible()


async def test_whoever_has_scrolled_down_stays_there_and_is_offered_the_new_posts(
    server: Server, opened: Opened
) -> None:
    for number in range(12):
        await server.post(f"Post {number}. " + "It has some length to it. " * 12)
    page = await opened(f"{server.url}/live")
    await connected(page)
    await page.mouse.wheel(0, 1500)
    await scrolled(page, "scrollY > 1000")
    place = await page.evaluate("scrollY")

    await server.post("New one.")
    await server.post("And another.")

    pill = page.get_by_role("button", name="2 new posts")
    await expect(pill).to_be_visible()
    assert await page.evaluate("scrollY") == place
    await pill.click()
    await expect(texts(page).nth(0)).to_have_text("And another.")
    await expect(texts(page).nth(1)).to_have_text("New one.")
    await scrolled(page, "scrollY < 20")
    await expect(pill).to_be_hidden()


async def test_who_was_away_gets_exactly_what_it_missed(server: Server, opened: Opened) -> None:
    await server.post("Before.")
    async with TcpProxy(server.port) as wire:
        page = await opened(f"{wire.url}/live")
        screen = await opened(f"{wire.url}/live/screen")
        await connected(page)
        await wire.down()
        await expect(page.locator("[data-part=word]")).to_have_text("Reconnecting")
        await expect(page.get_by_text("You have every post up to")).to_be_visible()
        await expect(page.get_by_role("button", name="Try now")).to_be_visible()
        gone = (await server.post("Said and taken back.")).json()
        for number in range(3):
            await server.post(f"Missed {number}.")
        await call(server, "DELETE", f"/api/blogs/live/posts/{gone['id']}")

        await wire.up()

        wanted = ["Missed 2.", "Missed 1.", "Missed 0.", "Before."]
        for one in (page, screen):
            await expect(texts(one)).to_have_text(wanted, timeout=40_000)
        await expect(page.locator("[data-part=word]")).to_have_text("Live")
        await expect(page.get_by_text("You have every post up to")).to_be_hidden()


@pytest.mark.parametrize("server", [(), ("--workers", "2")], indirect=True, ids=["one", "two"])
async def test_pages_live_through_a_restart_of_the_server(server: Server, opened: Opened) -> None:
    await server.post("Before the restart.")
    page = await opened(f"{server.url}/live")
    screen = await opened(f"{server.url}/live/screen")
    await connected(page)

    await server.restart()
    await server.post("After it.")

    for one in (page, screen):
        await expect(texts(one)).to_have_text(["After it.", "Before the restart."], timeout=40_000)


async def test_a_page_starts_afresh_when_another_log_stands_at_its_address(
    server: Server, opened: Opened, tmp_path: Path
) -> None:
    await server.post("Of the old log.")
    page = await opened(f"{server.url}/live")
    screen = await opened(f"{server.url}/live/screen")
    await connected(page)
    await server.terminate()

    async with Server(tmp_path / "another", port=server.port) as other:
        await other.post("Of the new log.")
        for one in (page, screen):
            await expect(texts(one)).to_have_text(["Of the new log."], timeout=40_000)
        await other.post("And it goes on.")
        for one in (page, screen):
            await expect(texts(one)).to_have_text(["And it goes on.", "Of the new log."])


@pytest.mark.parametrize("blocked", [("WebSocket",), ("WebSocket", "EventSource")])
async def test_where_sockets_dont_get_through_posts_arrive_all_the_same(
    server: Server, opened: Opened, blocked: tuple[str, ...]
) -> None:
    script = "".join(
        f"window.{name} = class {{ constructor() {{"
        " setTimeout(() => { this.onclose?.({ code: 1006 }); this.onerror?.({}); }, 1);"
        "} close() {} };"
        for name in blocked
    )
    page = await opened("about:blank")
    await page.add_init_script(script)
    await page.goto(f"{server.url}/live")

    await expect(page.locator("[data-part=word]")).to_have_text("Live", timeout=60_000)
    await server.post("It found a way.")

    await expect(texts(page)).to_have_text(["It found a way."], timeout=60_000)
    await server.post("And again.")
    await expect(texts(page)).to_have_text(["And again.", "It found a way."], timeout=40_000)


async def test_the_state_of_the_event_is_always_said(server: Server, opened: Opened) -> None:
    page = await opened(f"{server.url}/live")
    await connected(page)
    for state, word, words in (
        ("paused", "Paused", "The desk is having tea."),
        ("ended", "Ended", "Thank you."),
        ("live", "Live", "Nothing yet. You are early."),
    ):
        await call(server, "PATCH", "/api/blogs/live", json={"state": state, "title": state})
        await expect(page.locator("[data-part=word]")).to_have_text(word)
        await expect(page.locator("[data-part=notice]")).to_contain_text(words)
        await expect(page.locator("h1")).to_have_text(state)


async def test_older_posts_come_on_demand_and_each_once(server: Server, opened: Opened) -> None:
    for number in range(65):
        await server.post(f"{number}")
    page = await opened(f"{server.url}/live")
    await connected(page)
    older = page.get_by_role("link", name="Older posts")

    for count in (60, 65):
        await older.click()
        await expect(page.locator("#posts article")).to_have_count(count)

    await expect(older).to_be_hidden()
    assert await shown(page) == [str(number) for number in reversed(range(65))]


async def test_without_script_the_feed_is_complete_and_writing_works(
    server: Server, opened: Opened
) -> None:
    for number in range(31):
        await server.post(f"{number}")
    page = await opened(f"{server.url}/live", java_script_enabled=False)
    assert len(await shown(page)) == 30
    await page.get_by_role("link", name="Older posts").click()
    await expect(texts(page)).to_have_text(["0"])

    write = await opened(
        f"{server.url}/live/write", cookie=await signed_in(server), java_script_enabled=False
    )
    await write.fill("textarea", "By a plain form.")
    await write.get_by_role("button", name="Post", exact=True).click()
    await expect(write.get_by_text("Your post is live.")).to_be_visible()
    assert (await shown(write))[0] == "By a plain form."


async def test_a_post_without_network_stays_on_the_phone_and_arrives_once(
    server: Server, opened: Opened
) -> None:
    cookie = await signed_in(server)
    async with TcpProxy(server.port) as wire:
        page = await opened(f"{wire.url}/live/write", cookie=cookie)
        await page.fill("textarea", "Half a")
        await page.reload()
        await expect(page.locator("textarea")).to_have_value("Half a")

        wire.drop_replies(to=b"POST /api/blogs/live/posts")
        await page.fill("textarea", "Whole.")
        await page.get_by_role("button", name="Post", exact=True).click()
        await expect(page.get_by_text("Not sent").first).to_be_visible()
        await eventually(lambda: wire.replies_dropped > 0, 10, what="the reply was lost")
        wire.restore()
        # By hand, or by itself where that was quicker.
        again = page.get_by_role("button", name=re.compile("Try again"))
        if await again.count():
            await again.click()

        await expect(texts(page)).to_have_text(["Whole."], timeout=40_000)
        await expect(page.locator("[data-part=thread] li")).to_have_count(1)
        await expect(page.locator("[data-part=thread] li")).to_contain_text("Live")
    posts = (await server.get("/api/blogs/live/posts")).json()["posts"]
    assert [post["body"] for post in posts] == ["Whole."]


async def test_a_post_can_be_taken_back_at_once_and_its_text_returns(
    server: Server, opened: Opened
) -> None:
    page = await opened(f"{server.url}/live/write", cookie=await signed_in(server))
    await page.fill("textarea", "Too early.")
    await page.get_by_role("button", name="Post", exact=True).click()

    await page.get_by_role("button", name="Undo").click()

    await expect(page.locator("textarea")).to_have_value("Too early.")
    await expect(page.locator("#posts article")).to_have_count(0)
    assert (await server.get("/api/blogs/live/posts")).json()["posts"] == []


async def test_own_posts_can_be_changed_and_removed_by_the_keyboard_alone(
    server: Server, opened: Opened
) -> None:
    page = await opened(f"{server.url}/live/write", cookie=await signed_in(server))
    await page.locator("textarea").focus()
    await page.keyboard.type("Forty vans")
    await page.keyboard.press("Control+Enter")
    article = page.locator("#posts article")
    await expect(article).to_contain_text("Forty vans")

    await article.get_by_role("button", name="Edit").press("Enter")
    await expect(page.locator("textarea")).to_have_value("Forty vans")
    await expect(page.locator("textarea")).to_be_focused()
    await page.keyboard.press("End")
    await page.keyboard.type(", free")
    await page.keyboard.press("Control+Enter")
    await expect(article).to_contain_text("Forty vans, free")
    await expect(article).to_contain_text("Edited")
    # Once the change is known to be live, the editor takes the focus no more.
    await expect(page.locator("[data-part=thread] li").last).to_contain_text("Live")

    await article.get_by_role("button", name="Remove", exact=True).press("Enter")
    await article.get_by_role("button", name="Yes, remove").press("Enter")
    await expect(article).to_have_count(0)


async def test_the_feed_is_read_by_the_keyboard_alone(server: Server, opened: Opened) -> None:
    await server.post("Read me.", headline="A moment", key=None)
    page = await opened(f"{server.url}/live")
    await connected(page)
    seen: list[str] = []
    for _ in range(12):
        await page.keyboard.press("Tab")
        seen.append(await page.evaluate("document.activeElement.className || 'none'"))
    assert seen[0] == "skip"
    assert "post__time" in seen


async def test_the_screen_shows_whole_posts_only(server: Server, opened: Opened) -> None:
    for number in range(6):
        await server.post(f"Number {number}. " + "The hall reads every word of it. " * 6)
    for viewport in ((1920, 1080), (1280, 720), (1080, 1920)):
        size = {"width": viewport[0], "height": viewport[1]}
        screen = await opened(f"{server.url}/live/screen", viewport=size)
        await expect(screen.locator("article.is-lead")).to_contain_text("Number 5.")
        cut = await screen.evaluate(
            """() => {
              const room = document.querySelector("#main").getBoundingClientRect().bottom;
              return [...document.querySelectorAll("#posts article")].filter((article) =>
                getComputedStyle(article).visibility === "visible" &&
                article.querySelector(".post__body").getBoundingClientRect().bottom > room + 1,
              ).length;
            }"""
        )
        assert cut == 0, viewport


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_axe_finds_nothing_on_any_page(
    server: Server, opened: Opened, scheme: str, width: int
) -> None:
    session = await signed_in(server)
    await call(server, "POST", "/api/blogs", json={"slug": "empty", "title": "Empty"})
    body = "Some **words** and https://example.org in\n\n> a quotation\n\n- a list"
    one = (await server.post(body, headline="A head", tags=["hall"])).json()
    for kind in ("announcement", "quote", "interview"):
        await server.post("More words.", kind=kind)
    await call(
        server,
        "PATCH",
        f"/api/blogs/live/posts/{one['id']}",
        json={"key": True},
        headers={"If-Match": '"1"'},
    )
    options = {
        "viewport": {"width": width, "height": 844},
        "color_scheme": scheme,
        "bypass_csp": True,
        "reduced_motion": "reduce",
    }
    for path, cookie in (
        ("/", None),
        ("/live", None),
        ("/empty", None),
        (f"/live/posts/{one['id']}", None),
        ("/live/screen", None),
        ("/join", None),
        ("/nothing-here", None),
        ("/live/write", session),
    ):
        page = await opened(server.url + path, cookie=cookie, **options)
        await page.wait_for_load_state()
        found = await Axe().run(page)
        assert not found.response["violations"], f"{path}: {found.generate_report()}"
        await page.close()
